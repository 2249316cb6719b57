"""Name servers: how they are written, and what is remembered of how they behave.

A server is written as an address, or as a URL: `192.0.2.1`, `192.0.2.1:5353`, `[2001:db8::1]:53`, `udp://`, `tcp://`,
`tls://192.0.2.1#dns.example` (the name in its certificate), `https://dns.example/dns-query`.

`Book` decides in which order servers are asked. One that failed is asked last for PENALTY seconds, twice as long each
time it fails again; one that does not know EDNS is not told of it again for a day.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from greenprobe.errors import TargetError
from greenprobe.names import is_address

__all__ = ["Book", "Server", "parse_server", "parse_servers"]

PORTS: Final = {"udp": 53, "tcp": 53, "tls": 853, "https": 443}
PENALTY: Final = 30.0  # seconds
MAX_PENALTY: Final = 600.0
EDNS_MEMORY: Final = 86400.0  # seconds


class Server(NamedTuple):
    """Where and how to ask. `host` is numeric but for tls and https; `name` is what a certificate must be for."""

    host: str
    port: int = 53
    protocol: str = "udp"
    name: str = ""
    path: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        if self.protocol == "udp":
            return host if self.port == PORTS["udp"] else f"{host}:{self.port}"
        port = "" if self.port == PORTS[self.protocol] else f":{self.port}"
        return f"{self.protocol}://{host}{port}{self.path}" + (f"#{self.name}" if self.name else "")


def parse_server(text: str, port: int | None = None) -> Server:
    """Return the server that `text` names; `port` is for one that names none. Raises TargetError."""
    protocol, separator, rest = text.strip().partition("://")
    if not separator:
        protocol, rest = "udp", text.strip()
    if protocol not in PORTS:
        raise TargetError(f"name server {text!r}: the protocol is none of {', '.join(PORTS)}")
    rest, _, name = rest.partition("#")
    rest, slash, path = rest.partition("/")
    host, number = split_port(rest, text)
    if protocol == "https":
        path = slash + path or "/dns-query"
    elif slash:
        raise TargetError(f"name server {text!r}: a path makes sense with https only")
    if not host or (protocol in {"udp", "tcp"} and not is_address(host)):
        raise TargetError(
            f"name server {text!r} is no address; write it like 192.0.2.1, [2001:db8::1]:53 or tls://name"
        )
    default = port if port is not None and protocol in {"udp", "tcp"} else PORTS[protocol]
    return Server(host, number or default, protocol, name, path)


def split_port(text: str, whole: str) -> tuple[str, int]:
    """Return (host, port), port 0 if none is written. Raises TargetError."""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
    elif text.count(":") > 1:
        return text, 0
    else:
        host, colon, rest = text.partition(":")
        rest = colon + rest
    if not rest:
        return host, 0
    if not (rest[0] == ":" and rest[1:].isascii() and rest[1:].isdigit() and 0 < int(rest[1:]) < 65536):
        raise TargetError(f"name server {whole!r}: {rest!r} is no port; write it like 192.0.2.1:53")
    return host, int(rest[1:])


def parse_servers(texts: Iterable[str], port: int | None = None) -> list[Server]:
    """Return servers written as a list: commas or white space between them, comments after "#" at a line's start."""
    words = [
        word
        for text in texts
        for line in text.splitlines()
        if not line.lstrip().startswith("#")
        for word in line.replace(",", " ").split()
        if word != "nameserver"
    ]
    return list(dict.fromkeys(parse_server(word, port) for word in words))


class Conduct:
    """How one server behaves. `bad_until` and `plain_until` (without EDNS) are times of the caller's clock."""

    __slots__ = ("bad_until", "penalty", "plain_until")

    def __init__(self) -> None:
        self.bad_until = 0.0
        self.penalty = 0.0
        self.plain_until = 0.0


class Book:
    """What is remembered of servers. `now` is seconds of any clock."""

    def __init__(self) -> None:
        self._conduct: dict[Server, Conduct] = {}
        self._turn = 0

    @property
    def is_worried(self) -> bool:
        """Whether anything is held against any server."""
        return bool(self._conduct)

    def order(self, servers: Sequence[Server], now: float, *, rotate: bool = False) -> Sequence[Server]:
        """Return the servers in the order to ask them: the bad ones last, the soonest forgiven of them first."""
        if rotate and len(servers) > 1:
            self._turn = (self._turn + 1) % len(servers)
            servers = [*servers[self._turn :], *servers[: self._turn]]
        if not self._conduct or len(servers) == 1:
            return servers
        return sorted(servers, key=lambda server: self._bad_until(server, now))

    def failed(self, server: Server, now: float) -> None:
        """Note that a server did not answer, or said that it cannot."""
        conduct = self._conduct.setdefault(server, Conduct())
        if now < conduct.bad_until:
            return  # a failure of the same time
        conduct.penalty = min(max(conduct.penalty * 2, PENALTY), MAX_PENALTY)
        conduct.bad_until = now + conduct.penalty

    def answered(self, server: Server) -> None:
        """Note that a server is well."""
        conduct = self._conduct.get(server)
        if conduct is not None:
            conduct.bad_until = conduct.penalty = 0.0

    def refused_edns(self, server: Server, now: float) -> None:
        """Note that a server does not know EDNS."""
        self._conduct.setdefault(server, Conduct()).plain_until = now + EDNS_MEMORY

    def speaks_edns(self, server: Server, now: float) -> bool:
        """Tell whether to use EDNS with a server."""
        conduct = self._conduct.get(server)
        return conduct is None or now >= conduct.plain_until

    def _bad_until(self, server: Server, now: float) -> float:
        conduct = self._conduct.get(server)
        return conduct.bad_until if conduct is not None and now < conduct.bad_until else 0.0
