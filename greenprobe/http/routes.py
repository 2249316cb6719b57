"""Where to connect to for a host, when the user knows better than the name servers: other addresses, another host.

What is asked of the server stays as the URL says: Host, SNI and the certificate's name. Rules are as curl reads those
of `--resolve` and `--connect-to`; the first that fits holds. A proxy is a host like others here; what lies behind an
HTTP or a socks5h proxy, it looks up itself.
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from greenprobe.errors import TargetError, UrlError
from greenprobe.http.connections import Address
from greenprobe.http.connector import Resolve, resolve_name
from greenprobe.http.urls import read_url
from greenprobe.names import is_address

__all__ = ["Detour", "Known", "Routes", "read_detour", "read_known"]

HOST: Final = r"\[[^\]]*\]|[^:\[\]]*"
_known = re.compile(rf"({HOST}):(\d{{1,5}}):(.+)").fullmatch
_detour = re.compile(rf"({HOST}):(\d{{0,5}}):({HOST}):(\d{{0,5}})").fullmatch


class Known(NamedTuple):
    """The addresses of a host at a port; host None is any host."""

    host: str | None
    port: int
    addresses: tuple[str, ...]


class Detour(NamedTuple):
    """To connect to `to_host` and `to_port` in place of a host and port; None is any of these, or the same."""

    host: str | None
    port: int | None
    to_host: str | None
    to_port: int | None


class Routes:
    """A `Resolve` that knows some answers, and asks another for all else."""

    def __init__(
        self, resolve: Resolve = resolve_name, *, known: Sequence[Known] = (), detours: Sequence[Detour] = ()
    ) -> None:
        self._resolve = resolve
        self._known = known
        self._detours = detours

    def __call__(self, host: str, port: int, timeout: float) -> list[Address]:
        """Return the addresses to connect to. Raises what the other raises."""
        for detour in self._detours:
            if detour.host in (None, host) and detour.port in (None, port):
                host, port = detour.to_host or host, detour.to_port or port
                break
        for known in self._known:
            if known.host in (None, host) and known.port == port:
                return [found for text in known.addresses for found in self._resolve(text, port, timeout)]
        return self._resolve(host, port, timeout)


def read_known(text: str) -> Known:
    """Return what HOST:PORT:ADDRESS[,ADDRESS] says; HOST may be `*`. Raises TargetError."""
    found = _known(text)
    if found is None:
        raise TargetError(f"{text!r} is not HOST:PORT:ADDRESS; write it as in example.test:443:192.0.2.1")
    host, port, words = found.groups()
    addresses = tuple(word.strip().removeprefix("[").removesuffix("]") for word in words.split(","))
    for address in addresses:
        if not is_address(address):
            raise TargetError(f"{text!r} has {address!r} where an address belongs, as 192.0.2.1 or 2001:db8::1")
    return Known(None if host == "*" else _host(text, host), _port(text, port), addresses)


def read_detour(text: str) -> Detour:
    """Return what HOST:PORT:HOST:PORT says; what is left out is any, or the same. Raises TargetError."""
    found = _detour(text)
    if found is None:
        raise TargetError(f"{text!r} is not HOST:PORT:HOST:PORT; write it as in example.test:443:127.0.0.1:8443")
    host, port, to_host, to_port = found.groups()
    return Detour(
        _host(text, host) if host else None,
        _port(text, port) if port else None,
        _host(text, to_host) if to_host else None,
        _port(text, to_port) if to_port else None,
    )


def _host(text: str, host: str) -> str:
    """Return a host as URLs have it."""
    try:
        return read_url(f"http://{host}/").origin.host
    except UrlError:
        raise TargetError(f"{text!r} has {host!r} for a host, which is neither a name nor an address") from None


def _port(text: str, digits: str) -> int:
    if not 0 < int(digits) < 65536:
        raise TargetError(f"{text!r} has the port {digits}; a port is a number from 1 to 65535")
    return int(digits)
