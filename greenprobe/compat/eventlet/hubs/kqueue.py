"""eventlet.hubs.kqueue: a name that programs choose a hub by. Linux has none."""

from greenprobe.compat.eventlet.hubs.hub import Hub

__all__ = ["Hub", "is_available"]


def is_available() -> bool:
    """Tell whether the hub can be chosen."""
    return False
