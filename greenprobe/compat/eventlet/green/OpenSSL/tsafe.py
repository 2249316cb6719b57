"""OpenSSL.tsafe, which pyOpenSSL has given up: a green connection."""

from greenprobe.compat.eventlet.green.OpenSSL.SSL import Connection

__all__ = ["Connection"]
