"""eventlet.corolocal: attributes that are each greenthread's own."""

from greenlet import getcurrent

from greenprobe import local as core

__all__ = ["get_ident", "local"]

local = core.local


def get_ident() -> int:
    """Return the number of the current greenlet."""
    return id(getcurrent())
