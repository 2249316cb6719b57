"""`time.sleep`, green; and the CPU clock of a thread that is green, which is that of the OS thread it runs in."""

import sys
from _thread import get_ident as os_thread_ident
from time import pthread_getcpuclockid as os_getcpuclockid, sleep as os_sleep
from typing import Any, Final

from greenprobe.hub import get_hub

__all__ = ["PATCHES", "sleep"]

LONGEST: Final = 9e9  # seconds; above it the standard library raises OverflowError


def sleep(seconds: Any, /) -> None:
    """Let other threads run for `seconds`, as `time.sleep` does; 0 lets each one that is ready run once."""
    hub = get_hub()
    try:
        length = float(seconds) if not isinstance(seconds, str | bytes) else None
    except (TypeError, OverflowError):
        length = None
    if length is None or not 0 <= length <= LONGEST or not hub.in_greenthread():
        os_sleep(seconds)  # it raises; or nobody can wait in the loop, and whoever sleeps there means it
    else:
        hub.sleep(length)


def pthread_getcpuclockid(thread_id: int, /) -> int:
    """`time.pthread_getcpuclockid`, for green threads, too."""
    is_os_thread = thread_id in sys._current_frames()
    return os_getcpuclockid(thread_id if is_os_thread else os_thread_ident())


PATCHES: Final[dict[Any, dict[str, Any]]] = {"time": {"pthread_getcpuclockid": pthread_getcpuclockid, "sleep": sleep}}
