"""eventlet.support.greendns: names to addresses, over greenprobe's green_dns."""

import socket as stdlib
from typing import Any, NamedTuple

from greenprobe import green_dns
from greenprobe.names import is_numeric

__all__ = [
    "getaddrinfo",
    "getaliases",
    "gethostbyname",
    "gethostbyname_ex",
    "getnameinfo",
    "is_ip_addr",
    "is_ipv4_addr",
    "is_ipv6_addr",
    "reset",
    "resolve",
    "resolve_cname",
]

gethostbyname = green_dns.gethostbyname
gethostbyname_ex = green_dns.gethostbyname_ex
getnameinfo = green_dns.getnameinfo


class Address(NamedTuple):
    """One address of a name."""

    address: str

    def __str__(self) -> str:
        return self.address


def getaddrinfo(host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> list[Any]:
    """Return what `socket.getaddrinfo` would, without blocking the thread."""
    return green_dns.getaddrinfo(host, port, family, type, proto, flags)


def resolve(name: Any, family: int = stdlib.AF_INET, raises: bool = True) -> list[Address]:
    """Return the addresses of a name. Raises socket.gaierror if there are none, unless told not to."""
    try:
        found = green_dns.getaddrinfo(name, None, family, stdlib.SOCK_STREAM)
    except stdlib.gaierror:
        if raises:
            raise
        return []
    return [Address(str(address[0])) for *_, address in found]


def resolve_cname(host: Any) -> str:
    """Return the canonical name of a host. Raises socket.gaierror."""
    return gethostbyname_ex(host)[0]


def getaliases(host: Any) -> list[str]:
    """Return the other names of a host. Raises socket.gaierror."""
    return gethostbyname_ex(host)[1]


def reset() -> None:
    """Forget what is known of names, and look anew what resolv.conf and the hosts file say."""
    green_dns.install()


def is_ipv4_addr(host: Any) -> bool:
    """Tell whether a text is an IPv4 address."""
    return bool(host) and is_numeric(host) and ":" not in as_text(host)


def is_ipv6_addr(host: Any) -> bool:
    """Tell whether a text is an IPv6 address."""
    return bool(host) and is_numeric(host) and ":" in as_text(host)


def is_ip_addr(host: Any) -> bool:
    """Tell whether a text is an address."""
    return is_ipv4_addr(host) or is_ipv6_addr(host)


def as_text(host: Any) -> str:
    """Return a host as text."""
    return host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
