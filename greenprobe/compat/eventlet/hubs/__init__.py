"""eventlet.hubs: the hub of this thread, and waiting for bare descriptors."""

from greenprobe.compat.eventlet.hubs.choice import builtin_hub_names, get_default_hub, use_hub
from greenprobe.compat.eventlet.hubs.hub import get_hub
from greenprobe.compat.eventlet.hubs.levels import IOClosed, notify_close, notify_opened, trampoline
from greenprobe.errors import HubError

__all__ = [
    "HubError",
    "IOClosed",
    "builtin_hub_names",
    "get_default_hub",
    "get_hub",
    "notify_close",
    "notify_opened",
    "trampoline",
    "use_hub",
]
