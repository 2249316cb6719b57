"""A call that is made again and again while a block runs, from a timer of the hub."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from greenprobe.hub import get_hub
from greenprobe.timers import Timer

__all__ = ["regularly"]


@contextmanager
def regularly(seconds: float, call: Callable[[], object], *, first: float | None = None) -> Iterator[None]:
    """Make a call every so many seconds, the first one after `first` seconds if that is given, until the block ends."""
    hub = get_hub()
    timer: Timer

    def turn() -> None:
        nonlocal timer
        call()
        timer = hub.timers.add(hub.clock() + seconds, turn)

    timer = hub.timers.add(hub.clock() + (seconds if first is None else first), turn)
    try:
        yield
    finally:
        timer.cancel()
