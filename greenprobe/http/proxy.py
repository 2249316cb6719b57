"""Which proxy a URL goes through, and how to ask a proxy for a way to the origin: HTTP, CONNECT, SOCKS5.

`Proxies` decides, from options or from the environment with NO_PROXY. `tunnel` and `socks` are the conversations that
open a way, as generators: they yield bytes to send (perhaps none) and are sent what comes back, so they know no
sockets. They raise ProxyError. Sources: RFC 9110, section 9.3.6 (CONNECT); RFC 1928 and 1929 (SOCKS5); curl's manual
for the variables.
"""

import re
import socket
from collections.abc import Generator, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from greenprobe.errors import ProxyError, TargetError
from greenprobe.http.urls import Origin, basic_authorization

__all__ = ["Conversation", "NoProxy", "Proxies", "Proxy", "read_proxy", "socks", "tunnel"]

DEFAULT_PORTS: Final = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
MAX_REPLY_BYTES: Final = 1 << 16

# Yields what to send, is sent what was received, returns what came behind the proxy's answer.
Conversation = Generator[bytes, bytes, bytes]


class Proxy(NamedTuple):
    """A proxy. `credentials` is "user:password" as bytes, None for none."""

    kind: str
    host: str
    port: int
    credentials: bytes | None = None

    @property
    def is_socks(self) -> bool:
        """Tell whether it speaks SOCKS rather than HTTP."""
        return self.kind.startswith("socks")

    def reads(self, origin: Origin) -> bool:
        """Tell whether it reads requests to an origin, and answers them; if not, it opens a way there."""
        return origin.scheme == "http" and not self.is_socks

    def __str__(self) -> str:
        return f"the proxy {self.kind}://{self.host}:{self.port}"  # no credentials: this ends up in messages

    def __repr__(self) -> str:
        return f"<Proxy {self.kind}://{self.host}:{self.port}>"


def read_proxy(text: str) -> Proxy:
    """Return the proxy that `text` names: [SCHEME://][USER:PASSWORD@]HOST[:PORT]. Raises TargetError."""
    shown = re.sub(r"//[^/]*@", "//***@", text) if "://" in text else text.rpartition("@")[2]
    whole = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(whole)
        port = parts.port
    except ValueError as exc:
        raise TargetError(f"the proxy {shown!r} cannot be understood: {exc}") from exc
    kind = {"socks": "socks5"}.get(parts.scheme, parts.scheme)
    if kind not in DEFAULT_PORTS:
        raise TargetError(f"the proxy {shown!r} has the scheme {kind!r}; write http, https, socks5 or socks5h")
    if not parts.hostname or re.search(r"[\x00-\x20\x7f]", whole):
        raise TargetError(f"the proxy {shown!r} names no host; write http://HOST:PORT")
    credentials = None
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    return Proxy(kind, parts.hostname, port or DEFAULT_PORTS[kind], credentials)


class NoProxy:
    """The hosts that are asked without a proxy: names, and all under them; addresses and blocks; with a port or not."""

    __slots__ = ("_blocks", "_is_everything", "_names")

    def __init__(self, text: str = "") -> None:
        """`text` is a list between commas or spaces; `*` is everything. What cannot be understood matches nothing."""
        words = [word.lower() for word in re.split(r"[\s,]+", text) if word]
        self._is_everything = "*" in words
        self._blocks: list[tuple[IPv4Network | IPv6Network, int | None]] = []
        self._names: list[tuple[str, int | None]] = []
        for word in words:
            host, port = _host_and_port(word)
            try:
                self._blocks.append((ip_network(host, strict=False), port))
            except ValueError:
                self._names.append((host.removeprefix("*").strip("."), port))

    def covers(self, host: str, port: int) -> bool:
        """Tell whether to ask this host directly."""
        if self._is_everything:
            return True
        host = host.removesuffix(".")
        try:
            address = ip_address(host)
        except ValueError:
            return any(
                (host == name or host.endswith("." + name)) and wanted in {None, port} for name, wanted in self._names
            )
        return any(address in block and wanted in {None, port} for block, wanted in self._blocks)


def _host_and_port(word: str) -> tuple[str, int | None]:
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::(\d+))?", word)
    plain = bracketed or re.fullmatch(r"([^:]*)(?::(\d+))?", word)
    if plain is None:
        return word, None  # an IPv6 address without brackets
    return plain[1], int(plain[2]) if plain[2] else None


class Proxies:
    """Says which proxy an origin is asked through."""

    __slots__ = ("_by_scheme", "_none")

    def __init__(self, by_scheme: Mapping[str, Proxy], none: NoProxy | None = None) -> None:
        """`by_scheme` has keys "http" and "https"."""
        self._by_scheme = dict(by_scheme)
        self._none = none or NoProxy()

    @classmethod
    def always(cls, proxy: Proxy, none: NoProxy | None = None) -> "Proxies":
        """Use one proxy for everything but what `none` covers."""
        return cls({"http": proxy, "https": proxy}, none)

    @classmethod
    def of_environment(cls, environ: Mapping[str, str]) -> "Proxies":
        """Read http_proxy, https_proxy, all_proxy and no_proxy, the last three in capitals as well.

        HTTP_PROXY is left alone, as curl does: a CGI server sets it from a header of its client. Raises TargetError.
        """
        everything = environ.get("all_proxy") or environ.get("ALL_PROXY")
        named = {
            "http": environ.get("http_proxy") or everything,
            "https": environ.get("https_proxy") or environ.get("HTTPS_PROXY") or everything,
        }
        none = NoProxy(environ.get("no_proxy") or environ.get("NO_PROXY") or "")
        return cls({scheme: read_proxy(text) for scheme, text in named.items() if text}, none)

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing goes through a proxy."""
        return not self._by_scheme

    def choose(self, origin: Origin) -> Proxy | None:
        """Return the proxy for an origin, None for none."""
        proxy = self._by_scheme.get(origin.scheme)
        return None if proxy is None or self._none.covers(origin.host, origin.port) else proxy


def proxy_authorization(proxy: Proxy) -> str:
    """Return the header line that says who we are to an HTTP proxy, or nothing."""
    if proxy.credentials is None:
        return ""
    return f"Proxy-Authorization: {basic_authorization(proxy.credentials).decode()}\r\n"


def tunnel(proxy: Proxy, host: str, port: int, user_agent: str) -> Conversation:
    """Ask an HTTP proxy for a tunnel."""
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    agent = f"User-Agent: {user_agent}\r\n" if user_agent else ""
    lines = f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n{agent}{proxy_authorization(proxy)}\r\n"
    reply = yield lines.encode("latin-1")
    while b"\r\n\r\n" not in reply and b"\n\n" not in reply:
        if len(reply) > MAX_REPLY_BYTES:
            raise ProxyError(f"{proxy} answers CONNECT with a head without end")
        more = yield b""
        if not more:
            raise ProxyError(f"{proxy} hung up instead of opening a tunnel to {where}")
        reply += more
    found = re.match(rb"HTTP/1\.[01] ([0-9]{3})[ \r\n]", reply)
    if found is None:
        raise ProxyError(f"{proxy} does not answer CONNECT in HTTP")
    if not found[1].startswith(b"2"):
        hint = "; it wants a user and password" if found[1] == b"407" and proxy.credentials is None else ""
        raise ProxyError(f"{proxy} answers {found[1].decode()} to a tunnel to {where}{hint}")
    end = reply.find(b"\r\n\r\n")
    return reply[end + 4 :] if end >= 0 else reply[reply.find(b"\n\n") + 2 :]


SOCKS_ERRORS: Final = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "time to live ran out",
    7: "it knows no CONNECT",
    8: "it knows no such kind of address",
}
NO_AUTH, USER_PASSWORD, NOTHING_FITS = 0, 2, 0xFF


def socks(proxy: Proxy, host: str, port: int) -> Conversation:
    """Ask a SOCKS5 proxy for a connection to `host`, a name or an address."""
    methods = bytes([NO_AUTH] if proxy.credentials is None else [NO_AUTH, USER_PASSWORD])
    reply = yield from _at_least(2, bytes([5, len(methods)]) + methods, b"", proxy)
    if reply[0] != 5 or (reply[1] not in methods and reply[1] != NOTHING_FITS):
        raise ProxyError(f"{proxy} does not speak SOCKS5")
    if reply[1] == NOTHING_FITS:
        raise ProxyError(f"{proxy} takes none of our ways to say who we are; it wants a user and password, perhaps")
    rest = reply[2:]
    if reply[1] == USER_PASSWORD:
        rest = yield from _log_in(proxy, rest)
    reply = yield from _at_least(5, b"\x05\x01\x00" + socks_address(host) + port.to_bytes(2, "big"), rest, proxy)
    if reply[0] != 5:
        raise ProxyError(f"{proxy} does not speak SOCKS5")
    if reply[1] != 0:
        what = SOCKS_ERRORS.get(reply[1], f"error {reply[1]}")
        raise ProxyError(f"{proxy} makes no connection to {host}:{port}: {what}")
    size = {1: 10, 4: 22, 3: 7 + reply[4]}.get(reply[3])
    if size is None:
        raise ProxyError(f"{proxy} answers with an address of an unknown kind, {reply[3]}")
    reply = yield from _at_least(size, b"", reply, proxy)
    return reply[size:]


def _log_in(proxy: Proxy, rest: bytes) -> Conversation:
    assert proxy.credentials is not None
    user, _, password = proxy.credentials.partition(b":")
    if not 0 < len(user) < 256 or len(password) > 255:
        raise ProxyError(f"the user or password for {proxy} is empty or longer than 255 bytes")
    said = b"\x01" + bytes([len(user)]) + user + bytes([len(password)]) + password
    reply = yield from _at_least(2, said, rest, proxy)
    if reply[1] != 0:
        raise ProxyError(f"{proxy} does not accept the user and password")
    return reply[2:]


def _at_least(count: int, said: bytes, got: bytes, proxy: Proxy) -> Conversation:
    """Send `said` and return at least `count` bytes, `got` among them."""
    if said:
        got += yield said
    while len(got) < count:
        more = yield b""
        if not more:
            raise ProxyError(f"{proxy} hung up in the middle of its SOCKS greeting")
        got += more
    return got


def socks_address(host: str) -> bytes:
    """Return a host as SOCKS5 writes it: kind and address. Raises ProxyError for a name that is too long."""
    for family, kind in ((socket.AF_INET, b"\x01"), (socket.AF_INET6, b"\x04")):
        try:
            return kind + socket.inet_pton(family, host)
        except OSError:
            pass
    name = host.encode("ascii")
    if len(name) > 255:
        raise ProxyError(f"the name {host[:40]}... is too long for SOCKS5")
    return b"\x03" + bytes([len(name)]) + name
