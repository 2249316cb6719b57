"""What an XML document lists: sitemaps, indexes of sitemaps, feeds. Bytes in, addresses out, both bounded.

A document is read element by element and thrown away as it goes. Entities are not resolved, nothing external is
loaded, and a gzip is unpacked up to MAX_BYTES only. Sources: https://www.sitemaps.org/protocol.html; RFC 4287 (Atom).
"""

import zlib
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from typing import Any, Final, NamedTuple

from lxml import etree

__all__ = ["Listed", "listed", "unpacked"]

MAX_BYTES: Final = 50 << 20  # the protocol's own limit for a sitemap, unpacked
MAX_ENTRIES: Final = 50_000  # likewise
PIECE_BYTES: Final = 1 << 12  # that are unpacked in one go


class Listed(NamedTuple):
    """An address in a list. `is_list` tells that it is another sitemap; `priority` is from 0 to 1, 0.5 unless given."""

    url: str
    is_list: bool
    priority: float = 0.5


def unpacked(body: bytes) -> bytes:
    """Return a body without its gzip, cut at MAX_BYTES; what is broken ends where it breaks, or a little before."""
    if not body.startswith(b"\x1f\x8b"):
        return body[:MAX_BYTES]
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    whole = bytearray()
    with suppress(zlib.error):  # which takes with it what a piece has given by then
        for start in range(0, len(body), PIECE_BYTES):
            whole += unpacker.decompress(body[start : start + PIECE_BYTES], MAX_BYTES - len(whole))
            if len(whole) == MAX_BYTES:
                break
    return bytes(whole)


def listed(body: bytes) -> Iterator[Listed]:
    """Yield what a sitemap, an index or a feed lists, MAX_ENTRIES at most. Broken XML ends where it breaks."""
    count = 0
    try:
        for entry in entries(unpacked(body)):
            yield entry
            count += 1
            if count == MAX_ENTRIES:
                return
    except etree.XMLSyntaxError:
        return


def entries(body: bytes) -> Iterator[Listed]:
    """Yield each entry; raises XMLSyntaxError where the document is broken."""
    text = body.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not text.startswith(b"<"):
        yield from plain_lines(text)
        return
    events = etree.iterparse(
        BytesIO(text), events=("end",), resolve_entities=False, no_network=True, recover=True, huge_tree=False
    )
    for _, element in events:
        entry = READERS.get(local_name(element), ignore)(element)
        if entry is not None:
            yield entry
        if local_name(element) in READERS:
            element.clear()


def plain_lines(text: bytes) -> Iterator[Listed]:
    """Yield the lines of a sitemap that is plain text."""
    for line in text.split(b"\n"):
        url = line.decode("utf-8", "replace").strip()
        if url.startswith(("http://", "https://")):
            yield Listed(url, is_list=False)


def local_name(element: Any) -> str:
    """Return an element's name without its namespace."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def child_text(element: Any, name: str) -> str:
    """Return the text of the first child of that local name."""
    return next(((child.text or "").strip() for child in element if local_name(child) == name), "")


def read_url(element: Any) -> Listed | None:
    """Read a page of a sitemap."""
    url = child_text(element, "loc")
    try:
        priority = min(1.0, max(0.0, float(child_text(element, "priority") or 0.5)))
    except ValueError:
        priority = 0.5
    return Listed(url, is_list=False, priority=priority) if url else None


def read_sitemap(element: Any) -> Listed | None:
    """Read a sitemap of an index."""
    url = child_text(element, "loc")
    return Listed(url, is_list=True) if url else None


def read_item(element: Any) -> Listed | None:
    """Read an item of RSS, or an entry of Atom, whose link is an attribute."""
    url = child_text(element, "link")
    if not url:
        links = [child for child in element if local_name(child) == "link" and child.get("href")]
        best = next((link for link in links if link.get("rel", "alternate") == "alternate"), None)
        url = best.get("href") if best is not None else ""
    return Listed(url, is_list=False) if url else None


def ignore(element: Any) -> None:
    """Read nothing of an element."""


READERS: Final = {"url": read_url, "sitemap": read_sitemap, "item": read_item, "entry": read_item}
