"""Greenthreads that are used again: who has finished one job takes the next.

A new greenthread costs as much as half a question (see docs/benchmarks.md). So one that has finished lets those run who
waited for it, as they may bring another job, and ends only if there is none then. An idle crew has nobody.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

from greenprobe.greenthread import kill, spawn_n
from greenprobe.hub import Hub
from greenprobe.outcome import AsyncResult

__all__ = ["Crew"]


class Crew:
    """Runs functions, each in a greenthread of one hub, and gives their outcomes."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._jobs: deque[tuple[AsyncResult[Any], Callable[..., Any], tuple[Any, ...]]] = deque()
        self._free = 0  # those about to look for a job, less the jobs that are theirs already
        self._hands: set[greenlet] = set()

    def run(self, function: Callable[..., Any], *args: Any) -> AsyncResult[Any]:
        """Have a function called soon; return its outcome."""
        outcome: AsyncResult[Any] = AsyncResult()
        self.run_into(outcome, function, *args)
        return outcome

    def run_into(self, outcome: AsyncResult[Any], function: Callable[..., Any], *args: Any) -> None:
        """Have a function called soon, and its outcome put where somebody waits for it already."""
        self._jobs.append((outcome, function, args))
        if self._free > 0:
            self._free -= 1
        else:
            self._hands.add(spawn_n(self._work))

    def close(self) -> None:
        """Kill all jobs; who waits for one gets GreenletExit."""
        for hand in list(self._hands):
            kill(hand)
        while self._jobs:  # whose hands may not have begun, and never will
            self._jobs.popleft()[0].set_exception(GreenletExit())

    def _work(self) -> None:
        jobs = self._jobs
        try:
            while jobs:
                do(*jobs.popleft())
                if not jobs:
                    self._free += 1
                    self._hub.sleep(0)
            self._free = max(self._free - 1, 0)
        except BaseException as error:
            while jobs:
                jobs.popleft()[0].set_exception(error)
            raise
        finally:
            self._hands.discard(getcurrent())


def do(outcome: AsyncResult[Any], function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Do one job. Raises only what ends the greenthread too."""
    try:
        result = function(*args)
    except Exception as error:
        outcome.set_exception(error)
    except BaseException as error:
        outcome.set_exception(error)
        raise
    else:
        outcome.set(result)
