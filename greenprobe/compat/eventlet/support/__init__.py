"""eventlet.support: small things that programs import from there."""

from greenprobe.compat.eventlet.support.tools import bytes_to_str, get_errno, wrap_deprecated

PY33 = False

__all__ = ["PY33", "bytes_to_str", "get_errno", "wrap_deprecated"]
