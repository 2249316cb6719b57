"""Letting others run where a green thread never waits: what Python's switch interval does for real threads.

Facts. Code written for threads may spin on something that never blocks: a queue's `get(False)`, a lock's
`acquire(False)`, a signal sent again and again. Real threads take turns by the clock; a greenthread that never waits
keeps all others from running, so what it spins for never comes.
Choice. What threads meet all the time, locks first of all, looks at the clock once in SAMPLE calls, and lets the others
run if this greenthread has not changed for INTERVAL. A loop over `select` that always finds something ready does so
each POLLS calls. To let others run is to wait for a moment that has come: so descriptors are polled in between, where
a plain turn of the run queue would put that off. Price: a decrement a call.
"""

from time import monotonic
from typing import Final

from greenlet import getcurrent

from greenprobe.hub import get_hub

__all__ = ["give_way", "give_way_between_polls"]

SAMPLE: Final = 64
INTERVAL: Final = 0.01  # seconds; twice Python's own
POLLS: Final = 16

_left = SAMPLE
_polls_left = POLLS
_running = 0  # the greenlet that was seen at the last look, by its id
_since = 0.0


def give_way() -> None:
    """Let the others run once if the current greenthread has kept them waiting. A switch like any other."""
    global _left
    _left -= 1
    if _left < 0:
        look()


def look() -> None:
    """Look at the clock, and let the others run if it is time."""
    global _left, _running, _since
    _left = SAMPLE
    try:
        now, green = monotonic(), getcurrent()
    except RuntimeError:  # the interpreter ends, and nobody else runs any more
        return
    if id(green) != _running:
        _running, _since = id(green), now
    elif now - _since > INTERVAL:
        _since = now
        let_others_run()


def give_way_between_polls() -> None:
    """Let the others run once in a number of calls: for who polls, which real threads may run beside."""
    global _polls_left
    _polls_left -= 1
    if _polls_left < 0:
        _polls_left = POLLS
        let_others_run()


def let_others_run() -> None:
    """Let the others run, and who waits for a descriptor that is ready by now."""
    hub = get_hub()
    if hub.in_greenthread():
        hub.sleep_until(hub.clock())
