"""From an answer to what a crawler does with it: facts, links with their verdicts, digests. Bytes in, a Reading out.

What kind of document it is decides who reads it: HTML, a list (sitemap, feed), a stylesheet, or nobody. A type that is
missing or too general is guessed from the first bytes, as browsers do.
"""

from collections.abc import Callable, Iterator
from hashlib import blake2b
from itertools import islice
from typing import Final, NamedTuple

from greenprobe.engine.budgets import print_of
from greenprobe.engine.canonical import Address, QueryRule, Refused, canonical
from greenprobe.engine.links import (
    KINDS,
    MAX_PAGE_BYTES,
    NO_FACTS,
    Link,
    PageFacts,
    css_links,
    header_links,
    html_facts,
    refresh_target,
    robots_words,
)
from greenprobe.engine.similarity import simhash
from greenprobe.engine.sitemaps import listed
from greenprobe.http.charset import decode_text
from greenprobe.http.wire import Headers

__all__ = ["Outlink", "Reading", "Understood", "outlinks", "read_answer", "understood"]

MAX_CSS_LINKS: Final = 1000
KEPT_TEXT: Final = 1000  # characters of a page's text, once it is hashed
HTML_TYPES: Final = frozenset({"text/html", "application/xhtml+xml"})
LIST_TYPES: Final = frozenset(
    """
    application/xml text/xml application/rss+xml application/atom+xml application/rdf+xml application/gzip
    application/x-gzip
    """.split()
)
VAGUE_TYPES: Final = frozenset({"", "application/octet-stream", "text/plain", "unknown/unknown"})


class Reading(NamedTuple):
    """What an answer says. `fingerprint` is what the page says, its own address and digits left out.

    `unread_bytes` are those at its end that were not looked at.
    """

    facts: PageFacts
    robots: frozenset[str]
    digest: str
    simhash: int
    fingerprint: int
    unread_bytes: int = 0


class Outlink(NamedTuple):
    """A link as a crawler sees it: its address or why it has none, and what a list says of its priority."""

    link: Link
    address: Address | Refused
    priority: float = 0.5


class Understood(NamedTuple):
    """An answer that was read, and its links; of the text only so much that tells whether there is any."""

    reading: Reading
    outlinks: list[Outlink]


def understood(address: Address, headers: Headers, body: bytes, rule: QueryRule) -> Understood:
    """Read an answer and give its links their addresses. Never raises for what is in it."""
    reading = read_answer(address, headers, body)
    found = list(outlinks(address, reading.facts, rule))
    facts = reading.facts._replace(links=(), text=reading.facts.text[:KEPT_TEXT])
    return Understood(reading._replace(facts=facts), found)


def read_answer(address: Address, headers: Headers, body: bytes) -> Reading:
    """Read an answer. Never raises for what is in it."""
    content_type = (headers.get("content-type") or ("",))[0]
    kind = kind_of(content_type, body, address)
    facts = DOCUMENTS[kind](body, content_type)
    unread_bytes = max(0, len(body) - MAX_PAGE_BYTES) if kind in {"html", "css"} else 0
    said = frozenset[str]().union(*map(robots_words, headers.get("x-robots-tag", ())))
    extra = [*header_links(list(headers.get("link", ())))]
    for value in headers.get("refresh", ()):
        target = refresh_target(value)
        if target:
            extra.append(Link(target, "refresh"))
    if extra:
        facts = facts._replace(links=(*extra, *facts.links))
    digest = blake2b(body, digest_size=16).hexdigest()
    if not facts.text:
        return Reading(facts, facts.robots | said, digest, 0, int(digest[:16], 16), unread_bytes)
    said |= facts.robots
    return Reading(facts, said, digest, simhash(facts.text), print_of(facts.text, address), unread_bytes)


def outlinks(address: Address, facts: PageFacts, rule: QueryRule) -> Iterator[Outlink]:
    """Yield the links of a page, each canonical address once."""
    base = address.url
    if facts.base:
        joined = canonical(base, facts.base, QueryRule.KEEP)
        base = joined.url if isinstance(joined, Address) else base
    met = set()
    for link in facts.links:
        kind = KINDS[link.kind]
        if kind == "never":
            continue
        found = canonical(base, link.href, rule)
        key = found if isinstance(found, Refused) else found.url
        if key in met:
            continue
        met.add(key)
        yield Outlink(link, found, PRIORITIES.get(link.rel, 0.5) if link.kind == "listed" else 0.5)


PRIORITIES: Final = {f"priority {tenth}": tenth / 10 for tenth in range(11)}  # how a list's link carries it


def kind_of(content_type: str, body: bytes, address: Address) -> str:
    """Return which row of DOCUMENTS reads a body."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type in HTML_TYPES:
        return "html"
    start = body[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    path = address.target.partition("?")[0]
    if media_type in LIST_TYPES or (media_type in VAGUE_TYPES and start.startswith((b"<?xml", b"\x1f\x8b"))):
        return "html" if b"<html" in start else "list"
    if media_type == "text/plain" and path.endswith("sitemap.txt"):
        return "list"
    if media_type == "text/css":
        return "css"
    if media_type in VAGUE_TYPES - {"text/plain"} and start.startswith(
        (b"<!doctype html", b"<html", b"<head", b"<body")
    ):
        return "html"
    return "other"


def list_facts(body: bytes, content_type: str) -> PageFacts:
    """Read a sitemap or a feed; an entry's priority is its link's rel."""
    links = [
        Link(entry.url, "list" if entry.is_list else "listed", f"priority {round(entry.priority * 10)}")
        for entry in listed(body)
    ]
    return NO_FACTS._replace(links=tuple(links))


def css_facts(body: bytes, content_type: str) -> PageFacts:
    """Read a stylesheet."""
    text = decode_text(body[:MAX_PAGE_BYTES], content_type)
    return NO_FACTS._replace(links=tuple(islice(css_links(text), MAX_CSS_LINKS)))


def no_facts(body: bytes, content_type: str) -> PageFacts:
    """Read nothing."""
    return NO_FACTS


DOCUMENTS: Final[dict[str, Callable[[bytes, str], PageFacts]]] = {
    "html": html_facts,
    "list": list_facts,
    "css": css_facts,
    "other": no_facts,
}
