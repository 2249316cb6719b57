"""From an answer to facts: which reader a body gets, what headers add, and what is left of a big page."""

import gzip

import pytest

from greenprobe.engine.canonical import Address, QueryRule, Refused
from greenprobe.engine.links import MAX_PAGE_BYTES, NO_FACTS, Link
from greenprobe.engine.reading import kind_of, outlinks, read_answer, understood
from greenprobe.http.wire import Headers

HERE = Address("http://a.test", "/dir/page?q=1")
ENTRY = b"<urlset><url><loc>http://a.test/x</loc><priority>0.8</priority></url></urlset>"

KINDS = [
    ("text/html", b"anything", "/", "html"),
    ("Text/HTML; charset=x", b"", "/", "html"),
    ("application/xhtml+xml", b"<?xml version='1.0'?><html>", "/", "html"),
    ("", b"\xef\xbb\xbf \r\n<!DOCTYPE html>", "/", "html"),
    ("", b"<HTML><p>", "/", "html"),
    ("application/octet-stream", b"<body>", "/", "html"),
    ("", b"<p>no sign of a page", "/", "other"),
    ("text/plain", b"<html>is shown as it is", "/", "other"),
    ("application/xml", ENTRY, "/", "list"),
    ("text/xml", b"<?xml version='1.0'?><html xmlns='x'>", "/", "html"),
    ("application/rss+xml", b"<rss>", "/", "list"),
    ("application/x-gzip", b"\x1f\x8b\x08", "/", "list"),
    ("", b"<?xml version='1.0'?><urlset>", "/", "list"),
    ("application/octet-stream", b"\x1f\x8b\x08", "/sitemap.xml.gz", "list"),
    ("text/plain", b"http://a.test/x", "/sitemap.txt?v=2", "list"),
    ("text/plain", b"http://a.test/x", "/notes.txt", "other"),
    ("text/css", b"a{}", "/", "css"),
    ("image/png", b"<html>", "/", "other"),
    ("application/json", b"{}", "/", "other"),
]


@pytest.mark.parametrize(("content_type", "body", "target", "kind"), KINDS)
def test_the_type_and_the_first_bytes_tell_who_reads_a_body(
    content_type: str, body: bytes, target: str, kind: str
) -> None:
    assert kind_of(content_type, body, Address("http://a.test", target)) == kind


def hrefs(headers: Headers, body: bytes = b"") -> list[tuple[str, str]]:
    """Return the links of an answer, each with its kind."""
    return [(link.href, link.kind) for link in read_answer(HERE, headers, body).facts.links]


def test_headers_add_links_before_those_of_the_page() -> None:
    headers: Headers = {
        "content-type": ("text/html",),
        "link": ('</next>; rel="next", </c>; rel=canonical',),
        "refresh": ("5; url=/r", "3"),
    }
    assert hrefs(headers, b"<a href=/x>") == [("/next", "header"), ("/c", "canonical"), ("/r", "refresh"), ("/x", "a")]


def test_headers_count_where_nobody_reads_the_body() -> None:
    assert hrefs({"content-type": ("image/png",), "link": ("</x>",)}, b"\x89PNG") == [("/x", "header")]


def test_a_list_gives_its_entries_with_their_priority_packed_or_not() -> None:
    for body in (ENTRY, gzip.compress(ENTRY)):
        said = understood(HERE, {"content-type": ("application/xml",)}, body, QueryRule.CLEAN)
        ((link, address, priority),) = said.outlinks
        assert (link.kind, address, priority) == ("listed", Address("http://a.test", "/x"), 0.8)


def test_the_robots_words_of_page_and_header_are_joined() -> None:
    headers: Headers = {"content-type": ("text/html",), "x-robots-tag": ("noarchive", "other: noindex", "none")}
    reading = read_answer(HERE, headers, b"<meta name=robots content=nosnippet>text")
    assert reading.robots == {"noarchive", "none", "noindex", "nofollow", "nosnippet"}


def test_a_page_without_text_can_forbid_to_follow_its_links() -> None:
    reading = read_answer(HERE, {"content-type": ("text/html",)}, b"<meta name=robots content=nofollow><img src=x>")
    assert not reading.facts.text
    assert reading.robots == {"nofollow"}


def test_equal_bytes_have_equal_digests_and_a_text_has_a_simhash_of_its_own() -> None:
    html: Headers = {"content-type": ("text/html",)}
    first, same, other = (
        read_answer(HERE, html, body) for body in (b"<p>one two three", b"<p>one two three", b"<b>three two one")
    )
    assert first.digest == same.digest != other.digest
    assert first.simhash == other.simhash != 0
    assert read_answer(HERE, {"content-type": ("image/png",)}, b"x").simhash == 0


def test_the_fingerprint_is_blind_to_digits_and_the_pages_own_address() -> None:
    html: Headers = {"content-type": ("text/html",)}
    may = read_answer(Address("http://a.test", "/cal/5"), html, b"<p>day 5 of /cal/5")
    june = read_answer(Address("http://a.test", "/cal/6"), html, b"<p>day 6 of /cal/6")
    news = read_answer(Address("http://a.test", "/cal/6"), html, b"<p>day 6 of /cal/6: party")
    assert may.fingerprint == june.fingerprint != news.fingerprint
    pictures = [read_answer(HERE, {"content-type": ("image/png",)}, body).fingerprint for body in (b"1", b"2")]
    assert pictures[0] != pictures[1]  # without a text the bytes are what it says


@pytest.mark.parametrize("content_type", ["text/html", "text/css"])
def test_only_the_start_of_a_big_page_is_read_and_the_rest_is_counted(content_type: str) -> None:
    start = b"<a href=/x>" if content_type == "text/html" else b"a{background:url(/x)}"
    body = start + b" " * MAX_PAGE_BYTES + start.replace(b"/x", b"/y")
    reading = read_answer(HERE, {"content-type": (content_type,)}, body)
    assert [link.href for link in reading.facts.links] == ["/x"]
    assert reading.unread_bytes == len(body) - MAX_PAGE_BYTES
    assert read_answer(HERE, {"content-type": (content_type,)}, start).unread_bytes == 0


def test_links_inside_three_hundred_elements_are_found() -> None:
    reading = read_answer(HERE, {"content-type": ("text/html",)}, b"<font>" * 300 + b"<a href=/x>")
    assert [link.href for link in reading.facts.links] == ["/x"]


def addresses(base: str, *links: Link) -> list[str]:
    """Return what the links of a page at HERE lead to."""
    found = outlinks(HERE, NO_FACTS._replace(base=base, links=links), QueryRule.CLEAN)
    return [each.address.href if isinstance(each.address, Refused) else each.address.url for each in found]


def test_links_are_joined_to_the_base_if_that_is_an_address() -> None:
    assert addresses("", Link("x", "a")) == ["http://a.test/dir/x"]
    assert addresses("/other/", Link("x", "a")) == ["http://a.test/other/x"]
    assert addresses("http://b.test/", Link("x", "a")) == ["http://b.test/x"]
    assert addresses("javascript:1", Link("x", "a")) == ["http://a.test/dir/x"]


def test_an_address_is_given_once_however_it_is_written_and_a_ping_never() -> None:
    links = [Link(href, "a") for href in ("/x", "/x#top", "/%78", "mailto:m", "mailto:m")]
    assert addresses("", *links, Link("/ping", "ping")) == ["http://a.test/x", "mailto:m"]
