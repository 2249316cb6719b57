"""A storm: greenthreads do deeds at random, and are killed and timed out while they do them.

All that is random is drawn from one seed: who does what, who is hit, who runs next. So a storm on one hub with the
jumping clock comes again with its seed, as far as no thread or socket has a say in when things happen.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from random import Random
from typing import Any, Final

from greenlet import GreenletExit

from greenprobe.condition import BrokenBarrierError
from greenprobe.errors import ClosedResourceError
from greenprobe.greenthread import GreenThread, sleep, spawn
from greenprobe.hub import get_hub
from greenprobe.queue import Empty, Full, ShutDown
from greenprobe.timeout import Timeout, fail_after, move_on_after
from greenprobe.whereabouts import where

__all__ = ["Deed", "Hit", "Storm"]

PATIENCE: Final = 30.0  # seconds, of the hub's clock, after which a deed waits for what will never come


class Hit(Exception):
    """What a greenthread of a storm is killed with, when it is not a plain kill."""


Deed = Callable[["Storm"], object]
HARMLESS: Final = (  # how a deed may end in a storm
    Hit,
    Timeout,
    OSError,  # TimeoutError is one
    Empty,
    Full,
    ShutDown,
    ClosedResourceError,
    BrokenBarrierError,
    BaseExceptionGroup,
)
DEADLINES: Final[tuple[Callable[[float], AbstractContextManager[Any]], ...]] = (
    *[nullcontext] * 8,
    move_on_after,
    move_on_after,
    fail_after,
    Timeout,
    partial(Timeout, exception=False),
)


class Storm:
    """What happens to the greenthreads of one hub. `actors` may be shared by the storms of several threads."""

    def __init__(self, seed: int, actors: list[GreenThread] | None = None) -> None:
        self.random = Random(seed)
        self.actors = actors if actors is not None else []
        self.started: list[GreenThread] = []
        self.done: Counter[Deed] = Counter()  # to the end
        self.faults: list[BaseException] = []
        get_hub().on_error = self._note

    def chance(self, probability: float) -> bool:
        """Tell whether something happens that does so with a probability."""
        return self.random.random() < probability

    def patience(self) -> float | None:
        """Return a time to wait at most."""
        return self.random.choice((None, 0.001, 0.01))

    def pause(self) -> None:
        """Let others run, for a moment or a few milliseconds."""
        sleep(self.random.choice((0, 0, 0.0005, 0.003)))

    def spawn(self, function: Callable[..., Any], *args: Any) -> GreenThread:
        """Start a greenthread that the storm waits for in the end, as who started it may be killed before that."""
        green = spawn(function, *args)
        self.started.append(green)
        return green

    def strike(self) -> None:
        """Kill some actor, now and then the current one."""
        self.random.choice(self.actors).kill(self.random.choice((None, Hit, Hit("again"))))

    def nudge(self) -> None:
        """Wake somebody for nothing, as the hub may at any time."""
        green = self.random.choice(self.started)
        if green.started and not green.dead:
            get_hub().schedule(green)

    def blow(self, deeds: Iterable[Deed], actors: int, tide: Deed | None = None) -> None:
        """Have `actors` greenthreads do `deeds`; `tide`, if any, comes again and again meanwhile.

        Raises AssertionError if one of them waits for ever, else the first exception that no deed may fail with.
        """
        deeds = [*deeds, Storm.pause, Storm.strike]
        self.actors += [self.spawn(self._act, deeds) for _ in range(actors)]
        water = spawn(self._come_and_go, tide) if tide is not None else None
        now = get_hub().clock
        end = now() + PATIENCE
        for green in self.started:  # which grows meanwhile
            # Whom a lost wake-up has left waiting may go on when some timer ends the poll at last: too late.
            green.join(end - now())
            assert now() < end, f"{green!r} {where(green)}"
            self._note(green.exception)
        if water is not None:
            water.kill()
            water.join()
            self._note(water.exception)
        if self.faults:
            raise self.faults[0]

    def _come_and_go(self, tide: Deed) -> None:
        while True:
            tide(self)
            sleep(0.002)

    def _act(self, deeds: list[Deed]) -> None:
        for _ in range(self.random.randrange(1, 12)):
            deed = self.random.choice(deeds)
            seconds = self.random.choice((0.0005, 0.003, 0.01))
            try:
                with self.random.choice(DEADLINES)(seconds), self.random.choice(DEADLINES)(seconds):
                    deed(self)
                    self.done[deed] += 1
            except HARMLESS:
                pass
            except GreenletExit:
                if self.chance(0.5):
                    raise

    def _note(self, error: BaseException | None) -> None:
        if error is not None and not isinstance(error, (*HARMLESS, GreenletExit)):
            self.faults.append(error)
