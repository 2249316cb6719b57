"""eventlet.asyncio: coroutines from green code. Works on the one hub there is; see `greenprobe.aio` for more."""

from collections.abc import Awaitable
from typing import Any

from greenprobe import aio
from greenprobe.compat.eventlet.greenthread import GreenThread, spawn

__all__ = ["spawn_for_awaitable"]


def spawn_for_awaitable(coroutine: Awaitable[Any]) -> GreenThread:
    """Run a coroutine, or await what can be awaited, on this thread's background loop; return a greenthread of it.

    Its `wait()` returns the result. Killing it cancels the coroutine.
    """
    return spawn(aio.wait, coroutine)
