"""ssl, green, with eventlet's names and the `wrap_socket` that Python had before 3.12."""

from typing import Any

from greenprobe.compat.eventlet.green.private import contents, green
from greenprobe.compat.eventlet.legacy_ssl import GreenSSLSocket, wrap_socket

globals().update(contents(green("ssl")))

SSLSocket = GreenSSLSocket
GreenSSLContext: Any = green("ssl").SSLContext


def sslwrap_simple(sock: Any, keyfile: str | None = None, certfile: str | None = None) -> GreenSSLSocket:
    """Return a TLS client over a connected socket. Deprecated: use `wrap_socket`."""
    return wrap_socket(sock, keyfile, certfile)
