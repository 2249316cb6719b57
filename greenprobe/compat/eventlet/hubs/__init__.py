"""eventlet.hubs: the hub of this thread, and waiting for bare descriptors."""

from greenprobe.compat.eventlet.hubs.choice import (
    builtin_hub_modules,
    builtin_hub_names,
    epolls,
    get_default_hub,
    kqueue,
    poll,
    selects,
    use_hub,
)
from greenprobe.compat.eventlet.hubs.hub import get_hub
from greenprobe.compat.eventlet.hubs.levels import IOClosed, notify_close, notify_opened, trampoline
from greenprobe.errors import HubError

__all__ = [
    "HubError",
    "IOClosed",
    "builtin_hub_modules",
    "builtin_hub_names",
    "epolls",
    "get_default_hub",
    "get_hub",
    "kqueue",
    "notify_close",
    "notify_opened",
    "poll",
    "selects",
    "trampoline",
    "use_hub",
]
