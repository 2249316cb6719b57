"""One spelling for each resource: what a crawler makes of a link before it asks whether it knows it.

A page writes one address in many ways, and a crawler that takes each for a page of its own fetches half as much again.
Joining as browsers do (WHATWG, by ada-url) is not enough, as it leaves percent-escapes alone. The rules, in order:

| rule | from | to | source |
| --- | --- | --- | --- |
| joined as browsers do: space, case, port, dots, IDNA | ` HTTP://EX.com:80/a/../b` | `http://ex.com/b` | URL standard |
| only http and https, no user in it, no port 0 | `mailto:x`, `http://u:p@h/` | refused | |
| the fragment is dropped | `/a#top` | `/a` | RFC 3986, 3.5 |
| escapes of unreserved characters are decoded, others in capitals | `/%7ea%2f` | `/~a%2F` | RFC 3986, 6.2.2 |
| an empty query is dropped | `/a?` | `/a` | |
| trackers and session ids are dropped, if asked | `/a?utm_source=x&b=1` | `/a?b=1` | `TRACKERS` |
| the query is sorted, if asked | `/a?b=1&a=2` | `/a?a=2&b=1` | |
| the query is dropped, if asked | `/a?b=1` | `/a` | |
"""

import re
from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple

from ada_url import URL, join_url

__all__ = ["Address", "QueryRule", "Refused", "canonical"]

MAX_URL_CHARS: Final = 8192  # what common servers accept in a request line

TRACKERS: Final = frozenset(
    """
    _ga _gl dclid fbclid gclid gclsrc igshid mc_cid mc_eid mkt_tok msclkid oly_anon_id oly_enc_id vero_id wbraid yclid
    phpsessid jsessionid aspsessionid cfid cftoken
    """.split()
)
TRACKER_PREFIXES: Final = ("utm_", "pk_", "mtm_", "hsa_")

# Most links: none of the rules has anything to do here. A dot only between letters, so that it is no dot segment.
_is_canonical_path = re.compile(r"/(?!/)(?:[A-Za-z0-9_~/-]|(?<=[A-Za-z0-9])\.(?=[A-Za-z0-9]))*+").fullmatch
_escape = re.compile(r"%([0-9A-Fa-f]{2})")
_path_session = re.compile(r";jsessionid=[^/?;]*", re.IGNORECASE)
_unreserved = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


class QueryRule(Enum):
    """What is done with the query of a link."""

    KEEP = "keep"
    CLEAN = "clean"
    SORT = "sort"
    DROP = "drop"


class Address(NamedTuple):
    """A canonical URL, cut where a crawler needs it cut: `origin` is "http://host:port", `target` path and query."""

    origin: str
    target: str

    @property
    def url(self) -> str:
        """The whole URL."""
        return self.origin + self.target


class Refused(NamedTuple):
    """A link that is not to be followed, and why: "scheme", "userinfo", "port", "long", or "invalid"."""

    href: str
    reason: str


def canonical(base: str, href: str, rule: QueryRule = QueryRule.CLEAN) -> Address | Refused:
    """Return the canonical address of `href` on a page at `base`, which is canonical, or why it has none."""
    if len(href) > MAX_URL_CHARS:
        return Refused(href[:200], "long")
    if _is_canonical_path(href):
        return Address(base[: base.find("/", 8)], href)
    try:
        joined = join_url(base, href)
    except ValueError:
        return Refused(href, "invalid")
    if not joined.startswith(("http://", "https://")):
        return Refused(href, "scheme")
    joined = joined.partition("#")[0]
    slash = joined.find("/", 8)
    origin, target = joined[:slash], joined[slash:]
    if "@" in origin:
        return Refused(without_userinfo(joined), "userinfo")
    if origin.endswith(":0"):
        return Refused(href, "port")
    if "%" in target:
        target = _escape.sub(respelled, target)
    if "?" in target or ";" in target:
        target = QUERY_RULES[rule](target)
    if len(target) > MAX_URL_CHARS:
        return Refused(target[:200], "long")
    return Address(origin, target)


def without_userinfo(url: str) -> str:
    """Return a URL without the user and password in it, to be told of."""
    parsed = URL(url)
    parsed.username = parsed.password = ""
    return str(parsed.href)


def respelled(escape: "re.Match[str]") -> str:
    """Return an unreserved character for its escape; another escape in capitals."""
    character = chr(int(escape[1], 16))
    return character if character in _unreserved else escape[0].upper()


def kept(target: str) -> str:
    """Return a target as it is, but for an empty query."""
    return target.removesuffix("?")


def cleaned(target: str) -> str:
    """Return a target without trackers and session ids."""
    path, _, query = target.partition("?")
    if ";" in path:
        path = _path_session.sub("", path)
    if not query:
        return path
    fields = [field for field in query.split("&") if not is_tracker(field.partition("=")[0].lower())]
    return f"{path}?{'&'.join(fields)}" if fields else path


def is_tracker(name: str) -> bool:
    """Tell whether a parameter of this lower-case name only follows the reader."""
    return name in TRACKERS or name.startswith(TRACKER_PREFIXES)


def sorted_query(target: str) -> str:
    """Return a target without trackers and with its parameters in order."""
    path, _, query = cleaned(target).partition("?")
    return f"{path}?{'&'.join(sorted(query.split('&')))}" if query else path


def without_query(target: str) -> str:
    """Return the path alone."""
    return cleaned(target).partition("?")[0]


QUERY_RULES: Final[dict[QueryRule, Callable[[str], str]]] = {
    QueryRule.KEEP: kept,
    QueryRule.CLEAN: cleaned,
    QueryRule.SORT: sorted_query,
    QueryRule.DROP: without_query,
}
