"""Which asyncio loop runs: asked by asyncio for each OS thread, true for each greenthread.

Facts. asyncio notes the running loop in the OS thread: `asyncio.run` refuses to start while one is noted, and
coroutines find their loop there. Failure: a greenthread that parks inside its loop leaves the note behind, so nobody
else in the thread can run a loop, and `get_running_loop` in a greenthread without one returns a stranger's.
Choice. A hub in which an asyncio loop runs moves the note along with the greenthread: it is taken away when that parks
and put back when it goes on. All parks of a hub go through `Hub.switch`, which is wrapped for this, only in hubs that
poll for asyncio, from their first such poll on. Price: half a microsecond a park there, nothing elsewhere.
"""

import sys
from collections.abc import Callable

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
            wrap_switch(hub, events._get_running_loop, events._set_running_loop)


def wrap_switch(hub: Hub, get: Callable[[], object], note: Callable[[object], None]) -> None:
    """Have `hub.switch` take the note of the running loop away, and put it back."""
    switch = hub.switch

    def switch_without_loop() -> object:
        loop = get()
        if loop is None:
            return switch()
        note(None)
        try:
            return switch()
        finally:
            note(loop)

    hub.switch = switch_without_loop  # type: ignore[method-assign]
