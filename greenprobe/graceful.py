"""One process of a server: serve until a signal says stop, then stop in order; a second signal ends it now.

The supervisor, if there is one, holds the other end of `lifeline`: when that closes, the supervisor has died, and a
worker that stayed would hold the port for ever.
"""

import os
import signal
from collections.abc import Callable, Sequence
from types import FrameType

from greenprobe.greenthread import spawn
from greenprobe.hub import get_hub
from greenprobe.sync import Event
from greenprobe.wsgi import STOP_TIMEOUT, Server

__all__ = ["serve_until_stopped"]


class Stopper:
    """A signal handler that sets `event`; called again, it ends the process."""

    def __init__(self) -> None:
        self.event = Event()
        self._hub = get_hub()
        self._was_called = False

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        if self._was_called:
            os._exit(128 + signum)
        self._was_called = True
        self._hub.call_threadsafe(self.event.set)


def serve_until_stopped(
    servers: Sequence[Server],
    *,
    signals: Sequence[int] = (signal.SIGTERM, signal.SIGINT),
    stop_timeout: float = STOP_TIMEOUT,
    on_ready: Callable[[], object] | None = None,
    lifeline: int | None = None,
) -> None:
    """Start the servers and serve until one of `signals` comes; then stop them all within `stop_timeout` seconds.

    To be called in the main thread. Raises OSError if one cannot listen.
    """
    stopper = Stopper()
    before = {signum: signal.signal(signum, stopper) for signum in signals}
    watch = None if lifeline is None else spawn(wait_for_end, lifeline, stopper.event)
    try:
        for server in servers:
            server.start()
        if on_ready is not None:
            on_ready()
        stopper.event.wait()
    finally:
        if watch is not None:
            watch.kill()
        for stopping in [spawn(server.stop, stop_timeout) for server in servers]:
            stopping.join()
        for signum, handler in before.items():
            signal.signal(signum, handler)


def wait_for_end(lifeline: int, event: Event) -> None:
    """Set `event` when the other end of a pipe closes."""
    hub = get_hub()
    hub.wait(hub.poller.slot(lifeline).read)
    event.set()
