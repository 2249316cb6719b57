"""URLs of http and https: text in, an origin and a request target out; and the joining of redirects.

What is accepted is what can be sent: a host that is a name or an address, a port from 1 to 65535, no control
characters, no spaces. Non-ASCII is percent-encoded as UTF-8, hosts by IDNA, backslashes count as slashes, dot segments
are resolved, as WHATWG and curl agree. Sources: RFC 3986, section 5.2; https://url.spec.whatwg.org.

A list holds many URLs of few origins, so the part up to the third slash is looked up first (`UrlReader`); 0.4 us.
"""

import re
import socket
from binascii import b2a_base64
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from greenprobe.errors import RedirectError, UrlError

__all__ = ["Origin", "Url", "UrlReader", "has_scheme", "join_redirect", "read_url", "without_credentials"]

MAX_URL_BYTES: Final = 1 << 16
MAX_KNOWN_ORIGINS: Final = 4096
PORTS: Final = {"http": 80, "https": 443}

# Sent as they are. A percent sign too: what is escaped stays escaped as it is.
PLAIN_BYTES: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:/?[]@!$&'()*+,;=%|"
PLAIN: Final = PLAIN_BYTES.decode()

# RFC 3986, appendix B. Groups: scheme, authority (None if there is none), path, query with its question mark.
_parts = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.\-]*):)?(?://([^/?#]*))?([^?#]*)(\?[^#]*)?(?:#.*)?", re.DOTALL).fullmatch
_is_bare_origin = re.compile(rb"[A-Za-z]+://[^/?#@\\]+").fullmatch
# "host:81/x" and "host:81" have none; "mailto:x" has one.
has_scheme = re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]*:(?![0-9]{1,5}(?:[/?#]|$))").match
_is_name = re.compile(r"[A-Za-z0-9_\-.]{1,253}").fullmatch
# Anything up to the last @ before the path, also where that makes no valid URL.
_userinfo = re.compile(r"((?:^|//|\\\\))[^/?#\\]*@")
_unsendable = re.compile(r"[\x00-\x20\x7f]").search


class Origin(NamedTuple):
    """Who is asked. `key` is unique for it; `host` has no brackets; `authority` is what the Host header says."""

    key: str
    scheme: str
    host: str
    port: int
    authority: str


class Url(NamedTuple):
    """A URL that can be fetched. `target` goes into the request line; `credentials` is "user:password" as bytes."""

    origin: Origin
    target: bytes
    credentials: bytes | None = None

    @property
    def text(self) -> str:
        """The whole URL, normalized, without credentials and fragment."""
        return self.origin.key + self.target.decode("ascii")


# Url(...) without the Python function that a NamedTuple is made by.
_new_url: Callable[[tuple[Origin, bytes, None]], Url] = partial(tuple.__new__, Url)


class UrlReader:
    """Reads URLs from lines of a list; knows the origins it has seen. A line without a scheme gets `scheme`."""

    __slots__ = ("_origins", "_scheme")

    def __init__(self, scheme: str | None = None) -> None:
        self._origins: dict[bytes, Origin] = {}
        self._scheme = scheme

    def read(self, line: bytes) -> Url:
        """Return the URL on `line`, which has no white space around it. Raises UrlError."""
        slash = line.find(b"/", 8)
        if slash > 0:
            origin = self._origins.get(line[:slash])
            if origin is not None:
                target = line[slash:]
                # find() takes half as long as "in"
                if target.find(b"/.") < 0 and not target.translate(None, PLAIN_BYTES):
                    return _new_url((origin, target, None))
        return self._learn(line, slash)

    def _learn(self, line: bytes, slash: int) -> Url:
        if self._scheme is not None and not has_scheme(line):
            return self.read(self._scheme.encode() + b"://" + line)
        try:
            url = read_url(line.decode())
        except UnicodeDecodeError as exc:
            raise UrlError(f"{line!r} is not UTF-8") from exc
        if _is_bare_origin(line[:slash]):
            if len(self._origins) >= MAX_KNOWN_ORIGINS:
                self._origins.clear()
            self._origins[line[:slash]] = url.origin
        return url


def read_url(text: str) -> Url:
    """Return the URL that `text` is. Raises UrlError, which says what is wrong with it and what to write."""
    if len(text) > MAX_URL_BYTES:
        raise UrlError(f"the URL is {len(text):,} characters long; at most {MAX_URL_BYTES:,} are sent")
    try:
        return _read_url(text)
    except UrlError as exc:
        if "@" not in text:
            raise
        shown = without_credentials(text)
        if shown == text:
            text = "***@" + text.rpartition("@")[2]
            raise UrlError(f"{text!r} cannot be read; if that is a user and password, write %2F for a slash") from None
        raise UrlError(str(exc).replace(repr(text), repr(shown))) from None


def without_credentials(text: str) -> str:
    """Return a URL, or what was meant for one, with its user and password blotted out: for messages and records."""
    return _userinfo.sub(r"\1***@", text)


def _read_url(text: str) -> Url:
    found = _unsendable(text)
    if found:
        escaped = quote(found[0])
        raise UrlError(f"{text!r} has a space or control character in it; write {escaped} for it")
    scheme, authority, path, query = _split(text)
    if scheme is None:
        raise UrlError(f"{text!r} has no scheme; write http://{text.lstrip('/')}")
    if scheme not in PORTS:
        raise UrlError(f"{text!r} has the scheme {scheme!r}; only http and https can be fetched")
    if authority is None:
        raise UrlError(f"{text!r} names no host; write {scheme}://HOST/")
    userinfo, at, host_and_port = authority.rpartition("@")
    origin = _origin(scheme, host_and_port, text)
    target = _target(path, query)
    return Url(origin, target, unquote_to_bytes(userinfo) if at else None)


def join_redirect(base: Url, location: str, *, allows_downgrade: bool = False) -> Url:
    """Return where a redirect from `base` to `location` leads.

    `location` is a header's value (bytes as latin-1). Whatever it holds that cannot be sent is percent-encoded.
    Credentials in it are dropped. Raises RedirectError for a target that is no URL, or not http(s), or http where
    `base` is https and `allows_downgrade` is not set.
    """
    text = _from_wire(location)
    try:
        scheme, authority, path, query = _split(text)
        if scheme is not None:
            url = read_url(text)
        elif authority is not None:
            url = read_url(f"{base.origin.scheme}:{text}")
        else:
            url = Url(base.origin, _target(*_joined(base, path, query)))
    except UrlError as exc:
        raise RedirectError(f"redirected to something that cannot be fetched: {exc}") from exc
    if base.origin.scheme == "https" and url.origin.scheme == "http" and not allows_downgrade:
        raise RedirectError(f"redirected from https to {url.text}, which is not encrypted")
    return url._replace(credentials=None)


def basic_authorization(credentials: bytes) -> bytes:
    """Return the value of an Authorization header for "user:password". Source: RFC 7617."""
    return b"Basic " + b2a_base64(credentials if b":" in credentials else credentials + b":", newline=False)


def _split(text: str) -> tuple[str | None, str | None, str, str | None]:
    """Return scheme (lower-case), authority, path and query; backslashes before the query are slashes."""
    question = text.find("?")
    before = text if question < 0 else text[:question]
    if "\\" in before:
        text = before.replace("\\", "/") + text[len(before) :]
    found = _parts(text)
    assert found is not None  # every text matches
    scheme, authority, path, query = found.groups()
    return (scheme.lower() if scheme else None), authority, path, query


def _origin(scheme: str, host_and_port: str, text: str) -> Origin:
    host, port = _host_and_port(scheme, host_and_port, text)
    in_brackets = f"[{host}]" if ":" in host else host
    authority = in_brackets if port == PORTS[scheme] else f"{in_brackets}:{port}"
    return Origin(f"{scheme}://{authority}", scheme, host, port, authority)


def _host_and_port(scheme: str, host_and_port: str, text: str) -> tuple[str, int]:
    if host_and_port.startswith("["):
        literal, bracket, rest = host_and_port[1:].partition("]")
        if not bracket or not _is_ipv6(literal) or (rest and not rest.startswith(":")):
            raise UrlError(f"{text!r} has a host that is no IPv6 address in brackets")
        return literal.lower(), _port(scheme, rest[1:], text)
    host, _, digits = host_and_port.partition(":")
    return _host(host, text), _port(scheme, digits, text)


def _is_ipv6(literal: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET6, literal)
    except (OSError, UnicodeError, ValueError):
        return False
    return True


def _host(host: str, text: str) -> str:
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError as exc:
            raise UrlError(f"{text!r} has a host that is no internationalized name: {exc}") from exc
    if not _is_name(host):
        raise UrlError(f"{text!r} has {host!r} for a host, which is neither a name nor an address")
    return host.lower()


def _port(scheme: str, digits: str, text: str) -> int:
    if not digits:
        return PORTS[scheme]
    if digits.isascii() and digits.isdigit() and len(digits) <= 5 and 0 < int(digits) < 65536:
        return int(digits)
    raise UrlError(f"{text!r} has the port {digits!r}; a port is a number from 1 to 65535")


def _target(path: str, query: str | None) -> bytes:
    if "/." in path:
        path = _without_dots(path)
    return quote((path or "/") + (query or ""), safe=PLAIN).encode("ascii")


def _without_dots(path: str) -> str:
    """Resolve `.` and `..`, as RFC 3986, section 5.2.4, does."""
    kept: list[str] = []
    *folders, last = path.split("/")[1:]
    for segment in folders:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if last == "..":
        del kept[-1:]
    kept.append("" if last in {".", ".."} else last)
    return "/" + "/".join(kept)


def _joined(base: Url, path: str, query: str | None) -> tuple[str, str | None]:
    """Join a relative reference without an authority. Source: RFC 3986, section 5.2.2."""
    base_path, question, base_query = base.target.decode("ascii").partition("?")
    if not path:
        return base_path, query if query is not None else question + base_query
    if path.startswith("/"):
        return path, query
    return base_path[: base_path.rfind("/") + 1] + path, query


def _from_wire(location: str) -> str:
    """Percent-encode what is not ASCII or not printable, byte by byte: UTF-8 stays UTF-8, latin-1 stays latin-1."""
    raw = location.strip(" \t").encode("latin-1")
    return quote(raw, safe=PLAIN + '#\\<>"{}^`')
