"""Sitemaps, indexes and feeds: what they list, in bounds."""

import gzip
from random import Random

import pytest
from hypothesis import given, strategies as st

from greenprobe.engine import sitemaps
from greenprobe.engine.sitemaps import Listed, listed, unpacked

NS = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'

DOCUMENTS = [
    (
        f"<urlset {NS}><url><loc> http://h/a </loc><priority>0.9</priority></url><url><loc>/b?x=1&amp;y=2</loc></url>",
        [Listed("http://h/a", False, 0.9), Listed("/b?x=1&y=2", False)],
    ),
    (
        f"<sitemapindex {NS}><sitemap><loc>http://h/s.xml</loc></sitemap></sitemapindex>",
        [Listed("http://h/s.xml", True)],
    ),
    (
        "<rss><channel><link>http://h/</link><item><link>http://h/i</link></item></channel></rss>",
        [Listed("http://h/i", False)],
    ),
    (
        '<feed xmlns="http://www.w3.org/2005/Atom"><entry><link rel="edit" href="/e"/><link href="/x"/></entry></feed>',
        [Listed("/x", False)],
    ),
    (f"<urlset {NS}><url><loc>http://h/a</loc><priority>high</priority></url>", [Listed("http://h/a", False)]),
    (
        f"<urlset {NS}><url><loc>http://h/a</loc><priority>7</priority></url></urlset>",
        [Listed("http://h/a", False, 1.0)],
    ),
    ("http://h/a\nno url\r\nhttps://h/b\n", [Listed("http://h/a", False), Listed("https://h/b", False)]),
    ("", []),
    ("<", []),
    ("<html><body>not found</body></html>", []),
]


@pytest.mark.parametrize(("text", "entries"), DOCUMENTS)
def test_a_document_lists_its_entries(text: str, entries: list[Listed]) -> None:
    assert list(listed(text.encode())) == entries
    assert list(listed(gzip.compress(text.encode()))) == entries


def test_entities_of_a_document_are_not_expanded() -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "%s"><!ENTITY b "%s">]><urlset><url><loc>http://h/&b;</loc></url></urlset>'
    found = list(listed((bomb % ("x" * 100, "&a;" * 100)).encode()))
    assert all(len(entry.url) < 100 for entry in found)


def test_no_external_entity_is_loaded() -> None:
    text = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]><urlset><url><loc>http://h/&e;</loc></url></urlset>'
    assert [entry.url for entry in listed(text.encode())] in ([], ["http://h/"])


def test_a_gzip_bomb_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sitemaps, "MAX_BYTES", 1000)
    assert len(unpacked(gzip.compress(b"x" * 1_000_000))) == 1000
    assert unpacked(b"\x1f\x8bbroken") == b""


def test_what_is_packed_and_broken_is_read_as_far_as_it_is_whole() -> None:
    chance = Random(1)
    names = [f"http://h/{chance.getrandbits(64):x}" for _ in range(2000)]
    packed = gzip.compress("\n".join(names).encode())
    half = len(packed) // 2
    for broken in (packed[:half], packed[:half] + b"\xff" * 1000, packed[:-8] + bytes(8)):
        found = [entry.url for entry in listed(broken)]
        assert 500 < len(found) <= 2000
        assert found[:500] == names[:500]


def test_no_more_entries_are_taken_than_the_protocol_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sitemaps, "MAX_ENTRIES", 3)
    assert len(list(listed(b"<urlset>" + b"<url><loc>http://h/</loc></url>" * 9))) == 3


@given(st.binary(max_size=300))
def test_any_bytes_list_something_or_nothing(body: bytes) -> None:
    list(listed(body))
    list(listed(b"<urlset>" + body))
