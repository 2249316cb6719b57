"""TLS in the words of Python 2 and eventlet: `wrap_socket` with keyfile, certfile and ca_certs, without a context."""

import ssl as stdlib
from typing import Any

from greenprobe.green_ssl import SSLSocket, wrap

__all__ = ["GreenSSLSocket", "wrap_socket"]

GreenSSLSocket = SSLSocket


def wrap_socket(
    sock: Any,
    keyfile: str | None = None,
    certfile: str | None = None,
    server_side: bool = False,
    cert_reqs: int = stdlib.CERT_NONE,
    ssl_version: int | None = None,
    ca_certs: str | None = None,
    do_handshake_on_connect: bool = True,
    suppress_ragged_eofs: bool = True,
    ciphers: str | None = None,
    *,
    ssl_context: stdlib.SSLContext | None = None,
    server_hostname: str | None = None,
) -> SSLSocket:
    """Return a TLS socket over a plain one: connected, or listening, or yet to be connected.

    As in eventlet, a peer's certificate is only looked at if `cert_reqs` says so, and its host name only if
    `server_hostname` is given as well. New programs do better with `greenprobe.wrap_ssl`, which verifies.
    """
    context = ssl_context
    if context is None:
        context = stdlib.SSLContext(protocol_of(ssl_version, server_side=server_side))
        context.check_hostname = False
        context.verify_mode = stdlib.VerifyMode(cert_reqs)
        context.check_hostname = bool(cert_reqs and server_hostname and not server_side)
        if ca_certs is not None:
            context.load_verify_locations(ca_certs)
        if certfile is not None:
            context.load_cert_chain(certfile, keyfile)
        if ciphers is not None:
            context.set_ciphers(ciphers)
    return wrap(
        sock,
        context,
        server_side=server_side,
        server_hostname=server_hostname,
        do_handshake_on_connect=do_handshake_on_connect,
        suppress_ragged_eofs=suppress_ragged_eofs,
    )


def protocol_of(version: int | None, *, server_side: bool) -> int:
    """Return the protocol for a context: the one asked for, unless that only means "any"."""
    if version is None or version == stdlib.PROTOCOL_TLS:
        return stdlib.PROTOCOL_TLS_SERVER if server_side else stdlib.PROTOCOL_TLS_CLIENT
    return version
