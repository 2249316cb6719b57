"""How long to wait for an answer, how often to ask, how many to have under way: numbers in, decisions out.

No clock, no socket, no greenthread: the scanner tells what happened, `Timing` says what to do.

Waiting. Each host has the estimator of RFC 6298: `timeout = srtt + 4 * rttvar`, within bounds. A host that has not
answered yet gets the longest timeout for its first few ports, as nothing is known of its path, and after that what the
others have shown. Every try is a new connect, so an answer always belongs to the try that it answers (no ambiguity
as in Karn's algorithm).

Asking again. Silence is what a filter does, and what a lost packet does. A silent port of a host that answers on
others is asked at least MIN_TRIES times: with 2 % of the tries lost, three in a row are 8 of a million. If an answer
came only at the n-th try, loss is worse than that, and every silent port of that host gets at least n + 1. A host that
never answers soon gets one try a port.

Window. How many may be under way. Exhaustion of descriptors or local ports closes it to less than what was
reached, and it opens again by one each time as many answers came as it is wide.
"""

from typing import Final

__all__ = ["HostTiming", "Timing"]

SHORTEST: Final = 0.1  # seconds; below it a busy peer looks silent
FIRST_VARIANCE: Final = 0.005  # seconds: a first sample of a few microseconds would leave no room at all
STRANGER_TRIES: Final = 8  # silences of a host without any answer that each get the longest timeout
DEAD_AFTER: Final = 16  # silences of a host without any answer after which a port gets one try
MIN_TRIES: Final = 3  # for a silent port of a host that has answered
STRANGER_MIN: Final = 2  # for a silent port of a host that has not
SAMPLE_EVERY: Final = 16  # answers of a host so near that its timeout is the shortest anyway
BACKOFF: Final = 1.5  # each further try waits that much longer: what was lost in a full queue should not meet it again


class HostTiming:
    """What is known of the path to one host. Seconds."""

    __slots__ = ("answers", "best_try", "rttvar", "silences", "srtt", "timeout")

    def __init__(self) -> None:
        self.srtt = -1.0  # negative: no sample yet
        self.rttvar = 0.0
        self.timeout = 0.0
        self.answers = 0
        self.silences = 0
        self.best_try = 1

    def __repr__(self) -> str:
        return f"<HostTiming srtt={self.srtt:.6f} timeout={self.timeout:.3f} {self.answers} answers>"

    def sample(self, rtt: float) -> None:
        """Take one round-trip time into the estimate. Source: RFC 6298, section 2."""
        if self.srtt < 0:
            self.srtt = rtt
            self.rttvar = max(rtt / 2, FIRST_VARIANCE)
        else:
            off = rtt - self.srtt
            self.srtt += off / 8
            self.rttvar += (abs(off) - self.rttvar) / 4
        self.timeout = self.srtt + 4 * self.rttvar


class Timing:
    """The timing of one scan.

    `longest` bounds a wait for one answer, `max_tries` the tries a port, `limit` the connects under way; `window` is
    how many may be under way now.
    """

    __slots__ = ("_credit", "everybody", "limit", "longest", "max_tries", "shortest", "window")

    def __init__(self, *, longest: float, max_tries: int, limit: int) -> None:
        self.longest = longest
        self.shortest = min(SHORTEST, longest)
        self.max_tries = max_tries
        self.limit = limit
        self.window = limit
        self.everybody = HostTiming()
        self._credit = 0

    def limit_to(self, under_way: int) -> None:
        """Never have more than `under_way` connects under way."""
        self.limit = min(self.limit, under_way)
        self.window = min(self.window, self.limit)

    def timeout(self, host: HostTiming, attempt: int) -> float:
        """Return the seconds to wait for the answer to the `attempt`-th try (from 1) of a port of `host`."""
        if host.srtt >= 0:
            base = host.timeout
        elif self.everybody.srtt >= 0 and host.silences >= STRANGER_TRIES:
            base = self.everybody.timeout
        else:
            return self.longest
        return min(max(base, self.shortest) * BACKOFF ** (attempt - 1), self.longest)

    def answered(self, host: HostTiming, rtt: float, attempt: int) -> None:
        """Note that the `attempt`-th try was answered after `rtt` seconds."""
        host.answers += 1
        if host.answers % SAMPLE_EVERY == 1 or rtt * 4 > self.shortest or host.timeout > self.shortest:
            host.sample(rtt)
            self.everybody.sample(rtt)
        if attempt > host.best_try:
            host.best_try = attempt
        if self.window < self.limit:
            self._open_window()

    def silent(self, host: HostTiming, attempt: int) -> bool:
        """Note that the `attempt`-th try got no answer; tell whether to try again."""
        host.silences += 1
        return attempt < self.tries(host)

    def tries(self, host: HostTiming) -> int:
        """Return how often a silent port of `host` is asked in all."""
        if host.answers:
            wanted = max(MIN_TRIES, host.best_try + 1)
        else:
            wanted = 1 if host.silences >= DEAD_AFTER else STRANGER_MIN
        return min(wanted, self.max_tries)

    def exhausted(self, under_way: int) -> None:
        """Note that something of this machine ran out with `under_way` connects open."""
        self.window = max(1, min(self.window, under_way) * 3 // 4)
        self._credit = 0

    def _open_window(self) -> None:
        self._credit += 1
        if self._credit >= self.window:
            self._credit = 0
            self.window += 1
