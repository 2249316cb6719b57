"""When the next request to a host may start: delays, rates, and stepping back from a host that is in trouble.

Pure decisions on numbers; the fetcher waits. A host that answers 429 or 503 is left alone for as long as its
Retry-After says (capped), and from then on asked more slowly: its gap doubles, up to a limit, and shrinks by a tenth
with every good answer. A host whose answers take more than SLOW_FACTOR times as long as its best ones is given gaps
too, before it has to refuse. What answers a request from before the last step back is no news, and no reason for
another: a hundred that were under way and are refused together are one refusal.
"""

from dataclasses import dataclass
from typing import Final

from greenprobe.http.retries import retry_after
from greenprobe.http.wire import Headers

__all__ = ["Pace", "PaceOptions"]

BUSY: Final = frozenset({429, 503})
FIRST_GAP: Final = 0.5  # seconds, after a first refusal
LONGEST_GAP: Final = 60.0
SMALLEST_GAP: Final = 0.005  # a gap below this is none
SLOW_FACTOR: Final = 8.0
SLOW_AT_LEAST: Final = 0.5  # seconds; below, an answer is never called slow
FIRST_SLOW_GAP: Final = 0.05  # seconds, after a slow answer; half as much again after each
LONGEST_SLOW_GAP: Final = 1.0
FADING: Final = 1.01  # the best time of a host counts for so much more with each answer: what it was once is past
MAX_HOSTS: Final = 100_000


@dataclass(frozen=True, slots=True)
class PaceOptions:
    """Seconds between two starts to a host; starts a second in all and to a host (None: no limit).

    `adapts` steps back from hosts in trouble, to `longest_gap` seconds between two starts; a Retry-After is obeyed up
    to `longest_retry_after` seconds. A host is remembered from its first refusal or slow answer on; with `knows_all`
    from its first answer on, so that one which was quick and becomes slow is noticed.
    """

    delay: float = 0.0
    rate_per_s: float | None = None
    host_rate_per_s: float | None = None
    adapts: bool = True
    longest_retry_after: float = 120.0
    knows_all: bool = False
    longest_gap: float = LONGEST_GAP

    @property
    def is_free(self) -> bool:
        """Tell whether there is nothing to wait for but hosts in trouble."""
        return self.delay == 0.0 and self.rate_per_s is None and self.host_rate_per_s is None


class _Host:
    """What is remembered of one host."""

    __slots__ = ("best", "gap", "next_at", "stepped_at")

    def __init__(self) -> None:
        self.next_at = 0.0
        self.gap = 0.0
        self.best: float | None = None
        self.stepped_at = float("-inf")

    def step_back(self, gap: float, asked: float, now: float) -> None:
        """Take this gap, if what was asked then was asked since the last step."""
        if asked >= self.stepped_at:
            self.gap = gap
            self.stepped_at = now


class Pace:
    """The pace of one run. Times are seconds of one clock."""

    def __init__(self, options: PaceOptions) -> None:
        self._options = options
        host_gap = 1.0 / options.host_rate_per_s if options.host_rate_per_s else 0.0
        self._gap = max(options.delay, host_gap)
        self._all_gap = 1.0 / options.rate_per_s if options.rate_per_s else 0.0
        self._all_next = 0.0
        self._hosts: dict[str, _Host] = {}

    def ready_at(self, host: str) -> float:
        """Return from when on a request to `host` may start; it says nothing about the rate in all."""
        known = self._hosts.get(host)
        return known.next_at if known is not None else 0.0

    def start(self, host: str, now: float) -> float:
        """Note that a request to `host` starts, and return when it may: now, or later if the rate in all says so."""
        begins = max(now, self._all_next)
        self._all_next = begins + self._all_gap
        known = self._hosts.get(host)
        if known is None and self._gap:
            known = self._add(host)
        if known is not None:
            known.next_at = max(known.next_at, begins + max(self._gap, known.gap))
        return begins

    def answered(
        self,
        host: str,
        *,
        status: int | None,
        headers: Headers,
        seconds: float | None,
        asked: float,
        now: float,
        unix_now: float,
    ) -> None:
        """Learn from an answer that took `seconds` to its first byte, or from none at all; `asked` is when it began."""
        if not self._options.adapts:
            return
        known = self._hosts.get(host)
        if status in BUSY:
            known = known or self._add(host)
            known.step_back(min(self._options.longest_gap, max(FIRST_GAP, 2 * known.gap)), asked, now)
            pause = min(retry_after(headers, unix_now) or 0.0, self._options.longest_retry_after)
            known.next_at = max(known.next_at, now + max(known.gap, pause))
        elif seconds is not None and (known is not None or seconds > SLOW_AT_LEAST or self._options.knows_all):
            self._relax(known or self._add(host), seconds, asked, now)

    def _relax(self, known: _Host, seconds: float, asked: float, now: float) -> None:
        known.best = seconds if known.best is None else min(known.best * FADING, seconds)
        if seconds > SLOW_AT_LEAST and seconds > SLOW_FACTOR * known.best:
            known.step_back(min(LONGEST_SLOW_GAP, max(FIRST_SLOW_GAP, 1.5 * known.gap)), asked, now)
        elif known.gap:
            known.gap *= 0.9
            if known.gap < SMALLEST_GAP:
                known.gap = 0.0

    def _add(self, host: str) -> _Host:
        if len(self._hosts) >= MAX_HOSTS:
            self._forget()
        known = self._hosts[host] = _Host()
        return known

    def _forget(self) -> None:
        """Drop the older half, but hosts that are in trouble; one that comes again starts afresh."""
        hosts = list(self._hosts.items())
        old, young = hosts[: MAX_HOSTS // 2], hosts[MAX_HOSTS // 2 :]
        self._hosts = dict([pair for pair in old if pair[1].gap][: MAX_HOSTS // 4] + young)
