"""eventlet.hubs.asyncio: a name that programs choose a hub by. Greenprobe's one hub stands for it.

What it is chosen for, asyncio beside green code, works on that hub anyway.
"""

from greenprobe.compat.eventlet.hubs.hub import Hub

__all__ = ["Hub", "is_available"]


def is_available() -> bool:
    """Tell whether the hub can be chosen."""
    return True
