"""Cookies: what servers ask us to remember, and which of it goes into a request.

RFC 6265bis decides who may set what and who gets it; the public suffix list (of the publicsuffixlist package, loaded
with the first cookie that names a domain) keeps `co.uk` from setting cookies for everybody under it. Everything is
bounded: bytes a cookie, cookies a host, cookies in all; the oldest go first.
"""

import re
from calendar import timegm
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from ipaddress import ip_address
from itertools import islice
from typing import Any, Final, NamedTuple

from greenprobe.http.urls import Url
from greenprobe.lazy import Lazy

__all__ = ["Cookie", "CookieJar", "cookie_date", "cookies_txt", "read_cookies_txt", "site_of"]

publicsuffixlist = Lazy("publicsuffixlist")

MAX_COOKIE_BYTES: Final = 4096
MAX_ATTRIBUTE_BYTES: Final = 1024
MAX_PER_HOST: Final = 50
MAX_PER_ANSWER: Final = 100  # each is looked for among all that there are
MAX_COOKIES: Final = 3000
MAX_HEADER_BYTES: Final = 8192  # of a request's Cookie header; servers refuse more
MAX_AGE_S: Final = 400 * 86400
PREFIXES: Final = ("__secure-", "__host-")

_has_controls = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]").search


class Cookie(NamedTuple):
    """A cookie as it is kept. `expires` is Unix time, None for the end of the run."""

    name: str
    value: str
    domain: str
    path: str
    expires: float | None = None
    is_secure: bool = False
    is_host_only: bool = True
    is_http_only: bool = False

    def goes_to(self, url: Url, path: str) -> bool:
        """Tell whether it is sent with a request for `url`, the path of which is `path`."""
        host = url.origin.host
        if host != self.domain and (self.is_host_only or not _is_under(host, self.domain)):
            return False
        return _path_matches(path, self.path) and (url.origin.scheme == "https" or not self.is_secure)


class CookieJar:
    """The cookies of one client."""

    __slots__ = ("_count", "_hosts")

    def __init__(self, cookies: Iterable[Cookie] = ()) -> None:
        self._hosts: dict[str, dict[tuple[str, str], Cookie]] = {}  # by domain, then by name and path, oldest first
        self._count = 0
        for cookie in cookies:
            self._keep(cookie)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Cookie]:
        for held in self._hosts.values():
            yield from held.values()

    def changes_since(self, before: Iterable[Cookie]) -> tuple[list[Cookie], list[Cookie]]:
        """Return the cookies that were gained and those that were lost since the jar had `before` in it."""
        now, then = set(self), set(before)
        return [cookie for cookie in self if cookie not in then], [cookie for cookie in then if cookie not in now]

    def change(self, gained: Iterable[Cookie], lost: Iterable[Cookie]) -> None:
        """Make the changes of another jar in this one."""
        for cookie in lost:
            self._drop(cookie.domain, (cookie.name, cookie.path))
        for cookie in gained:
            self._keep(cookie)

    def take(self, url: Url, values: Iterable[str], now: float) -> None:
        """Take the Set-Cookie values of an answer to `url`; `now` is Unix time. What may not be set is dropped."""
        for value in islice(values, MAX_PER_ANSWER):
            cookie = parse_set_cookie(value, url, now)
            if cookie is None or self._hides_secure(cookie, url):
                continue
            if cookie.expires is not None and cookie.expires <= now:
                self._drop(cookie.domain, (cookie.name, cookie.path))
            else:
                self._keep(cookie)

    def header(self, url: Url, now: float) -> str | None:
        """Return the value of the Cookie header for `url`, longer paths first, or None."""
        if not self._count:
            return None
        path = path_of(url)
        found: list[Cookie] = []
        for domain in domains_above(url.origin.host):
            for key, cookie in list(self._hosts.get(domain, {}).items()):
                if cookie.expires is not None and cookie.expires <= now:
                    self._drop(domain, key)
                elif cookie.goes_to(url, path):
                    found.append(cookie)
        found.sort(key=lambda cookie: -len(cookie.path))
        return _joined(found)

    def _hides_secure(self, cookie: Cookie, url: Url) -> bool:
        """Tell whether a cookie set in the clear would stand in for one set over TLS. RFC 6265bis, 5.7, step 16."""
        if url.origin.scheme == "https":
            return False
        near = [domain for domain in domains_above(cookie.domain) if domain in self._hosts]
        if not cookie.is_host_only:
            near += [domain for domain in self._hosts if _is_under(domain, cookie.domain)]
        return any(each.is_secure and each.name == cookie.name for at in near for each in self._hosts[at].values())

    def _keep(self, cookie: Cookie) -> None:
        held = self._hosts.setdefault(cookie.domain, {})
        key = (cookie.name, cookie.path)
        if key not in held:
            if len(held) >= MAX_PER_HOST:
                self._drop(cookie.domain, next(iter(held)))
            elif self._count >= MAX_COOKIES:
                domain = next(iter(self._hosts))
                self._drop(domain, next(iter(self._hosts[domain])))
            held = self._hosts.setdefault(cookie.domain, {})
            self._count += 1
        held[key] = cookie

    def _drop(self, domain: str, key: tuple[str, str]) -> None:
        held = self._hosts.get(domain)
        if held is not None and held.pop(key, None) is not None:
            self._count -= 1
            if not held:
                del self._hosts[domain]


def parse_set_cookie(text: str, url: Url, now: float) -> Cookie | None:
    """Return the cookie of a Set-Cookie value, or None if it is none that `url` may set. RFC 6265bis, 5.6 and 5.7."""
    if _has_controls(text):
        return None
    pair, *attributes = text.split(";")
    name, equals, value = (part.strip(" \t") for part in pair.partition("="))
    if not equals:
        name, value = "", name
    if len(name) + len(value) > MAX_COOKIE_BYTES or not (name or value):
        return None
    named = dict(_attribute(text) for text in attributes)
    scope = _scope(named.get("domain", ""), url.origin.host)
    is_secure = "secure" in named
    if scope is None or (is_secure and url.origin.scheme != "https"):
        return None
    domain, is_host_only = scope
    path = named.get("path", "")
    cookie = Cookie(
        name,
        value,
        domain,
        path if path.startswith("/") else default_path(url),
        _expiry(named, now),
        is_secure,
        is_host_only,
        "httponly" in named,
    )
    return cookie if _keeps_promise(cookie) else None


def _attribute(text: str) -> tuple[str, str]:
    name, _, value = (part.strip(" \t") for part in text.partition("="))
    return (name.lower(), value) if len(value) <= MAX_ATTRIBUTE_BYTES else ("", "")


def _scope(domain: str, host: str) -> tuple[str, bool] | None:
    """Return the domain of a cookie and whether it is for that host alone; None if `host` may not set it."""
    domain = domain.removeprefix(".").lower()
    if not domain or domain == host:
        is_alone = not domain or is_address(host) or _suffixes().is_public(host)
        return host, is_alone
    if not _is_under(host, domain) or is_address(host) or _suffixes().is_public(domain):
        return None
    return domain, False


def _expiry(named: dict[str, str], now: float) -> float | None:
    age = named.get("max-age")
    if age is not None and re.fullmatch(r"-?[0-9]+", age):
        return now + min(int(age), MAX_AGE_S) if int(age) > 0 else 0.0
    expires = cookie_date(named["expires"]) if "expires" in named else None
    return None if expires is None else min(expires, now + MAX_AGE_S)


def _keeps_promise(cookie: Cookie) -> bool:
    """Tell whether a cookie is what its name says. RFC 6265bis, section 4.1.3."""
    name = (cookie.name or cookie.value).lower()
    if not name.startswith(PREFIXES):
        return True
    if not cookie.name or not cookie.is_secure:
        return False
    return not name.startswith("__host-") or (cookie.is_host_only and cookie.path == "/")


def domains_above(host: str) -> Iterator[str]:
    """Yield a host and the domains it is under."""
    yield host
    if not is_address(host):
        while "." in host:
            host = host.partition(".")[2]
            yield host


def _is_under(host: str, domain: str) -> bool:
    return host.endswith("." + domain)


def site_of(host: str) -> str:
    """Return the domain that a host shares cookies with, at the widest."""
    return host if is_address(host) else _suffixes().privatesuffix(host) or host


@cache
def _suffixes() -> Any:
    return publicsuffixlist.PublicSuffixList(accept_unknown=True)


def is_address(host: str) -> bool:
    """Tell whether a host is an IP address."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def path_of(url: Url) -> str:
    """Return the path of a URL, without its query."""
    return url.target.partition(b"?")[0].decode("ascii")


def default_path(url: Url) -> str:
    """Return the folder of a URL. RFC 6265bis, section 5.1.4."""
    path = path_of(url)
    return path[: path.rfind("/")] or "/"


def _path_matches(path: str, cookie_path: str) -> bool:
    if path == cookie_path:
        return True
    return path.startswith(cookie_path) and (cookie_path.endswith("/") or path[len(cookie_path)] == "/")


def _joined(cookies: Iterable[Cookie]) -> str | None:
    """Return as many as fit into a header."""
    words: list[str] = []
    room = MAX_HEADER_BYTES
    for cookie in cookies:
        word = f"{cookie.name}={cookie.value}" if cookie.name else cookie.value
        room -= len(word) + 2
        if room < 0:
            break
        words.append(word)
    return "; ".join(words) or None


_tokens = re.compile(r"[^\x09\x20-\x2f\x3b-\x40\x5b-\x60\x7b-\x7e]+").findall


def cookie_date(text: str) -> float | None:
    """Return the Unix time of a cookie's Expires, read as loosely as browsers do; None if it is no date.

    Source: RFC 6265bis, section 5.1.1.
    """
    found: dict[str, tuple[int, ...]] = {}
    for token in _tokens(text):
        for part, read in DATE_PARTS.items():
            if part not in found and (numbers := read(token)) is not None:
                found[part] = numbers
                break
    if len(found) < len(DATE_PARTS):
        return None
    (day,), (month,), (year,), clock = found["day"], found["month"], found["year"], found["time"]
    year += 1900 if 70 <= year <= 99 else 2000 if year <= 69 else 0
    is_time = clock <= (23, 59, 59) and max(clock[1:]) <= 59
    return float(timegm((year, month, day, *clock))) if is_time and 1 <= day <= 31 and year >= 1601 else None


def _numbers(pattern: str) -> Callable[[str], tuple[int, ...] | None]:
    match = re.compile(pattern).match

    def read(token: str) -> tuple[int, ...] | None:
        found = match(token)
        return tuple(map(int, found.groups())) if found is not None else None

    return read


def _month(token: str) -> tuple[int, ...] | None:
    short = token[:3].lower()
    return (MONTHS.index(short) + 1,) if short in MONTHS else None


MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
# In the order in which a token is tried for them.
DATE_PARTS: Final = {
    "time": _numbers(r"(\d{1,2}):(\d{1,2}):(\d{1,2})(?!\d)"),
    "day": _numbers(r"(\d{1,2})(?!\d)"),
    "month": _month,
    "year": _numbers(r"(\d{2,4})(?!\d)"),
}


def read_cookies_txt(lines: Iterable[str]) -> Iterator[Cookie]:
    """Yield the cookies of a file in Netscape's form, as curl and browsers' extensions write it; skip other lines."""
    for line in lines:
        fields = line.rstrip("\r\n").removeprefix("#HttpOnly_").split("\t")
        if (line.startswith("#") and not line.startswith("#HttpOnly_")) or len(fields) != 7:
            continue
        domain, tail, path, secure, expires, name, value = fields
        if _has_controls(line.rstrip("\r\n")) or not expires.isascii() or not expires.isdigit():
            continue
        ends = float(expires) or None
        is_everywhere = tail.upper() == "TRUE"
        yield Cookie(
            name,
            value,
            domain.lstrip(".").lower(),
            path,
            ends,
            secure.upper() == "TRUE",
            not is_everywhere,
            line.startswith("#HttpOnly_"),
        )


def cookies_txt(cookies: Iterable[Cookie]) -> Iterator[str]:
    """Yield the lines of a file in Netscape's form. What the form cannot hold, a tab in a value, is left out."""
    yield "# Netscape HTTP Cookie File\n"
    for cookie in cookies:
        fields = (
            ("#HttpOnly_" if cookie.is_http_only else "") + ("" if cookie.is_host_only else ".") + cookie.domain,
            "FALSE" if cookie.is_host_only else "TRUE",
            cookie.path,
            "TRUE" if cookie.is_secure else "FALSE",
            str(int(cookie.expires or 0)),
            cookie.name,
            cookie.value,
        )
        if not any("\t" in field for field in fields):
            yield "\t".join(fields) + "\n"
