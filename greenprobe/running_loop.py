"""Which asyncio loop runs: asked by asyncio for each OS thread, true for each greenthread.

Facts. asyncio notes the running loop in the OS thread: `asyncio.run` refuses to start while one is noted, and
coroutines find their loop there. Failure: a greenthread that parks inside its loop leaves the note behind, so nobody
else in the thread can run a loop, and `get_running_loop` in a greenthread without one returns a stranger's.
Choice. A hub in which an asyncio loop runs moves the note along with the greenthread: it is taken away when that parks
and put back when it goes on. Who parks asks `Hub.successor` whom to switch to; that is wrapped for this, only in hubs
that poll for asyncio, from their first such poll on. Price: half a microsecond a park there, nothing elsewhere.
"""

import sys
from collections.abc import Callable
from typing import Any

from greenprobe.hub import Hub, get_hub

__all__ = ["keep_running_loops_apart"]

_KEEPING = "_greenprobe_keeps_running_loops"


def keep_running_loops_apart() -> None:
    """From now on, let a greenthread of this hub have a running asyncio loop that no other greenthread sees.

    Called by who polls. Does nothing if asyncio has not been imported; calling it twice does nothing.
    """
    events = sys.modules.get("asyncio.events")
    if events is not None and hasattr(events, "_set_running_loop"):
        hub = get_hub()
        if not hasattr(hub, _KEEPING):
            setattr(hub, _KEEPING, True)
            wrap_successor(hub, events._get_running_loop, events._set_running_loop)


class Aside:
    """Whom to switch to, with the note of `loop` put aside for that time."""

    __slots__ = ("loop", "note", "successor")

    def __init__(self, successor: Any, loop: object, note: Callable[[object], None]) -> None:
        self.successor = successor
        self.loop = loop
        self.note = note

    def switch(self) -> object:
        """Take the note away, switch, and put it back."""
        self.note(None)
        try:
            return self.successor.switch()
        finally:
            self.note(self.loop)


def wrap_successor(hub: Hub, get: Callable[[], object], note: Callable[[object], None]) -> None:
    """Have who parks in `hub` put the note of the running loop aside."""
    successor = hub.successor

    def successor_without_loop(patience: float | None = None) -> Any:
        loop = get()
        return successor(patience) if loop is None else Aside(successor(patience), loop, note)

    hub.successor = successor_without_loop  # type: ignore[method-assign]
