"""eventlet's namespace over greenprobe: `install()` makes it what `import eventlet` gives.

Nothing of greenprobe knows this package; what eventlet does in ways of its own is done here. See docs/eventlet.md.
"""

import greenlet

from greenprobe.compat.eventlet.convenience import StopServe, connect, listen, serve, wrap_ssl
from greenprobe.compat.eventlet.event import Event
from greenprobe.compat.eventlet.greenpool import GreenPile, GreenPool
from greenprobe.compat.eventlet.greenthread import (
    TimeoutError,
    call_after_global,
    exc_after,
    kill,
    sleep,
    spawn,
    spawn_after,
    spawn_n,
)
from greenprobe.compat.eventlet.patcher import import_patched, monkey_patch
from greenprobe.compat.eventlet.queue import Queue
from greenprobe.compat.eventlet.semaphore import BoundedSemaphore, CappedSemaphore, Semaphore
from greenprobe.compat.eventlet.standin import install
from greenprobe.compat.eventlet.support.greenlets import getcurrent
from greenprobe.compat.eventlet.timeout import Timeout, is_timeout, with_timeout, wrap_is_timeout
from greenprobe.compat.eventlet.version import EventletDeprecationWarning, __version__

__all__ = [
    "BoundedSemaphore",
    "CappedSemaphore",
    "Event",
    "EventletDeprecationWarning",
    "GreenPile",
    "GreenPool",
    "Queue",
    "Semaphore",
    "StopServe",
    "Timeout",
    "TimeoutError",
    "__version__",
    "call_after_global",
    "connect",
    "exc_after",
    "getcurrent",
    "greenlet",
    "import_patched",
    "install",
    "is_timeout",
    "kill",
    "listen",
    "monkey_patch",
    "serve",
    "sleep",
    "spawn",
    "spawn_after",
    "spawn_n",
    "with_timeout",
    "wrap_is_timeout",
    "wrap_ssl",
]
