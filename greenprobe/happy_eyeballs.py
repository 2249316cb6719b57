"""Which of several addresses to connect to: begin the next attempt before the last has failed (RFC 8305).

`interleave` and `Race` decide and know no sockets and no clock; `race` acts on what they say.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Generic, Protocol, TypeVar

from greenprobe.greenthread import GreenThread, spawn
from greenprobe.hub import get_hub
from greenprobe.names import AddrInfo
from greenprobe.sync import Event

__all__ = ["ATTEMPT_DELAY", "Race", "interleave", "race"]

ATTEMPT_DELAY: Final = 0.25  # seconds; RFC 8305, section 5: the recommended Connection Attempt Delay


class Closable(Protocol):
    """What an attempt makes: of several, all but one are closed."""

    def close(self) -> None: ...


T = TypeVar("T")
Connected = TypeVar("Connected", bound=Closable)


def interleave(addresses: Iterable[AddrInfo]) -> list[AddrInfo]:
    """Return the addresses with their families in turn, else in their order (RFC 8305, section 4)."""
    by_family: dict[int, deque[AddrInfo]] = {}
    for address in addresses:
        by_family.setdefault(address[0], deque()).append(address)
    ordered = []
    while by_family:
        for family, rest in list(by_family.items()):
            ordered.append(rest.popleft())
            if not rest:
                del by_family[family]
    return ordered


class Race(Generic[T]):
    """When to begin which attempt: one each `delay` seconds, and at once when one has failed."""

    __slots__ = ("_delay", "_next_start", "_running", "_waiting")

    def __init__(self, candidates: Iterable[T], delay: float = ATTEMPT_DELAY) -> None:
        self._waiting = deque(candidates)
        self._delay = delay
        self._running = 0
        self._next_start: float | None = None

    def begin(self, now: float) -> T | None:
        """Return the candidate to begin with now, which then runs, or None if none is due."""
        if not self._waiting or (self._next_start is not None and now < self._next_start):
            return None
        self._running += 1
        self._next_start = now + self._delay
        return self._waiting.popleft()

    def fail_one(self) -> None:
        """Note that an attempt has failed: the next one is due."""
        self._running -= 1
        self._next_start = None

    @property
    def next_start(self) -> float | None:
        """When the next attempt is due, unless one fails before; None if none is left."""
        return self._next_start if self._waiting else None

    @property
    def is_lost(self) -> bool:
        """Whether all have failed."""
        return not self._waiting and not self._running


def race(
    candidates: Sequence[T],
    attempt: Callable[[T], Connected],
    *,
    delay: float = ATTEMPT_DELAY,
    all_errors: bool = False,
) -> Connected:
    """Return what the first successful `attempt(candidate)` returns; the others are killed, or closed if too late.

    An attempt fails by an OSError; anything else it raises ends the race. Raises the last error, or all of them in an
    ExceptionGroup if `all_errors`.
    """
    if len(candidates) == 1 and not all_errors:
        return attempt(candidates[0])
    clock = get_hub().clock
    plan = Race(candidates, delay)
    bell = Event()
    runners: list[GreenThread] = []
    errors: list[OSError] = []
    try:
        while not plan.is_lost:
            while (candidate := plan.begin(clock())) is not None:
                runners.append(spawn(attempt, candidate))
                runners[-1].link(lambda _: bell.set())
            bell.wait(None if plan.next_start is None else plan.next_start - clock())
            bell.clear()
            winner = _look(runners, plan, errors)
            if winner is not None:
                runners.remove(winner)
                return winner.wait()  # type: ignore[no-any-return]
    finally:
        for runner in runners:
            runner.kill()
            runner.link(_close_late)
    raise _verdict(errors, all_errors=all_errors)


def _look(runners: list[GreenThread], plan: Race[T], errors: list[OSError]) -> GreenThread | None:
    """Return the attempt that has won, or raised what is no failure to connect; note those that have failed."""
    for runner in [each for each in runners if each.ready()]:
        if not isinstance(runner.exception, OSError):
            return runner
        runners.remove(runner)
        errors.append(runner.exception)
        plan.fail_one()
    return None


def _close_late(runner: GreenThread) -> None:
    if runner.exception is None:
        runner.wait().close()


def _verdict(errors: list[OSError], *, all_errors: bool) -> Exception:
    if not errors:
        return OSError("there is no address to connect to")
    return ExceptionGroup("no address could be connected to", errors) if all_errors else errors[-1]
