"""`socket` and `ssl` as a patched process sees them: which names stand for what, and what old references become.

Who did `from socket import socket` before the patch holds the standard library's class. It is not replaced under him:
making one of it makes a green one, which is an instance of it, too. `SSLContext` is never replaced; it makes sockets
of the class that its `sslsocket_class` names, whoever holds the context.
"""

import socket as stdlib
import ssl
from _socket import getnameinfo as os_getnameinfo, socket as kernel
from typing import Any, Final

from greenprobe import green_dns, green_socket, green_ssl

__all__ = ["SOCKET_PATCHES", "SSL_PATCHES"]

PLAIN: Final = stdlib.socket


def make_green(cls: type, *args: Any, **kwargs: Any) -> Any:
    """`__new__` of the standard library's socket: a green one. Subclasses that exist already stay what they are."""
    return kernel.__new__(green_socket.socket if cls is PLAIN else cls, *args, **kwargs)


def getnameinfo(sockaddr: Any, flags: int, /) -> tuple[str, str]:
    """`socket.getnameinfo`, green."""
    if not isinstance(sockaddr, tuple) or not isinstance(flags, int):
        return os_getnameinfo(sockaddr, flags)  # says what is wrong
    return green_dns.getnameinfo(sockaddr, flags)


SOCKET_PATCHES: Final[dict[Any, dict[str, Any]]] = {
    "socket": {
        "fromfd": green_socket.fromfd,
        "getaddrinfo": green_dns.getaddrinfo,
        "gethostbyaddr": green_dns.gethostbyaddr,
        "gethostbyname": green_dns.gethostbyname,
        "gethostbyname_ex": green_dns.gethostbyname_ex,
        "getfqdn": green_dns.getfqdn,
        "getnameinfo": getnameinfo,
        "socket": green_socket.socket,
        "socketpair": green_socket.socketpair,
    },
    PLAIN: {"__new__": make_green},
}
SSL_PATCHES: Final[dict[Any, dict[str, Any]]] = {
    "ssl": {"SSLSocket": green_ssl.SSLSocket},
    ssl.SSLContext: {"sslsocket_class": green_ssl.SSLSocket},
}
