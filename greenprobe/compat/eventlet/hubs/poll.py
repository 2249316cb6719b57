"""eventlet.hubs.poll: a name that programs choose a hub by. Greenprobe's one hub, on epoll, stands for it."""

from greenprobe.compat.eventlet.hubs.hub import Hub

__all__ = ["Hub", "is_available"]


def is_available() -> bool:
    """Tell whether the hub can be chosen."""
    return True
