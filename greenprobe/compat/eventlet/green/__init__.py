"""eventlet.green: the standard library on green sockets, locks and time, whatever is patched in the process."""

from greenprobe.compat.eventlet.green.lazily import __getattr__

__all__ = ["__getattr__"]
