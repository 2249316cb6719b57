"""What a page says: its links by kind, its title, its directives; whatever the markup."""

import pytest
from hypothesis import given, strategies as st

from greenprobe.engine import links
from greenprobe.engine.links import KINDS, PageFacts, css_links, header_links, html_facts, refresh_target, robots_words


def facts(body: str, content_type: str = "text/html; charset=utf-8") -> PageFacts:
    return html_facts(body.encode(), content_type)


FOUND = [
    ('<a href="/t">x</a>', "a"),
    ("<A HREF=/t>x</A>", "a"),
    ("<a class=k href='/t' >x</a>", "a"),
    ('<div><p><a href="/t">x<table><tr><td></div>', "a"),
    ('nul \0 here <a href="/t">x</a>', "a"),
    ("<noscript><a href=/t>x</a></noscript>", "a"),
    ("<svg><a xlink:href=/t><text>x</text></a></svg>", "a"),
    ("<map name=m><area href=/t></map>", "area"),
    ("<iframe src=/t></iframe>", "frame"),
    ("<link rel=next href=/t>", "next"),
    ("<link rel=alternate hreflang=de href=/t>", "alternate"),
    ("<link rel=alternate type=application/atom+xml href=/t>", "feed"),
    ("<link rel='shortcut icon' href=/t>", "icon"),
    ("<link rel=stylesheet href=/t>", "style"),
    ("<link rel=canonical href=/t>", "canonical"),
    ("<embed src=/t>", "object"),
    ("<object data=/t></object>", "object"),
    ("<img src=/t>", "image"),
    ("<img srcset='/t 2x'>", "image"),
    ("<picture><source srcset='/t 800w'></picture>", "image"),
    ("<img data-src=/t>", "image"),
    ("<video poster=/t></video>", "image"),
    ("<video src=/t></video>", "media"),
    ("<script src=/t></script>", "script"),
    ("<div style='background:url(/t)'></div>", "css"),
    ("<style>.a{background:url('/t')}</style>", "css"),
    ("<div data-href=/t>x</div>", "data"),
    ('<script type="application/ld+json">{"@graph": [{"url": "/t"}]}</script>', "json-ld"),
    ("<form method=get action=/t><input name=q></form>", "form"),
    ("<form action=/t></form>", "form"),
    ("<meta http-equiv=Refresh content=\"0; URL='/t'\">", "refresh"),
]


@pytest.mark.parametrize(("markup", "kind"), FOUND)
def test_a_link_is_found_and_its_kind_is_known(markup: str, kind: str) -> None:
    found = [link for link in facts(f"<html><body>{markup}").links if link.href == "/t"]
    assert [link.kind for link in found] == [kind]
    assert kind in KINDS


NOT_FOUND = [
    "<!-- <a href=/t>x</a> -->",
    "<textarea><a href=/t>x</a></textarea>",
    "<form method=post action=/t></form>",
    '<script type="application/ld+json">{"url": "/t"</script>',
    "<style>/* url(/t) */</style>",
    "&lt;a href=/t&gt;",
]


@pytest.mark.parametrize("markup", NOT_FOUND)
def test_what_a_browser_would_not_follow_is_no_link(markup: str) -> None:
    assert not [link for link in facts(f"<body>{markup}").links if link.href == "/t"]


def test_entities_are_decoded_once() -> None:
    assert facts('<a href="/t?a=1&amp;amp;b=2&lt;">x</a>').links[0].href == "/t?a=1&amp;b=2<"


def test_a_link_is_called_by_its_text_in_one_line() -> None:
    assert facts("<a href=/t> two\n  <b>words</b> </a>").links[0].text == "two words"
    assert len(facts(f"<a href=/t>{'x' * 5000}</a>").links[0].text) == 200


def test_a_page_says_title_language_base_canonical_and_robots() -> None:
    found = facts(
        "<html lang=de><head><title>\n Ein  Titel</title><base href=/x/><link rel=canonical href=/c>"
        "<meta name=ROBOTS content='NoIndex, nofollow'></head><body><svg><title>no</title></svg>"
    )
    assert (found.title, found.language, found.base, found.canonical) == ("Ein Titel", "de", "/x/", "/c")
    assert found.robots == {"noindex", "nofollow"}


@pytest.mark.parametrize(
    "body",
    [
        ("\ufeff<a href=/\u00e4>x</a>").encode("utf-16-le"),
        "<meta charset=iso-8859-1><a href=/\u00e4>x</a>".encode("latin-1"),
        "<a href=/\u00e4>x</a>".encode(),
    ],
)
def test_a_page_is_read_in_its_own_charset(body: bytes) -> None:
    assert html_facts(body, "text/html").links[0].href == "/\u00e4"


@pytest.mark.slow
def test_hostile_pages_are_read_in_bounds() -> None:
    """Slow: megabytes of markup are parsed."""
    many = html_facts(b"<a href=/x>y</a>" * 100_000)
    assert len(many.links) == links.MAX_LINKS
    assert many.left_out == 80_000
    html_facts(b"<div>" * 1_000_000 + b"<a href=/x>")
    assert len(html_facts(b"<title>" + b"x" * 1_000_000).title) <= 200
    assert len(html_facts(b"<p>" + b"words " * 1_000_000).text) <= links.MAX_PAGE_TEXT


@given(st.binary(max_size=400), st.sampled_from(["text/html", "text/html; charset=utf-16", "x", ""]))
def test_any_bytes_are_a_page(body: bytes, content_type: str) -> None:
    html_facts(body, content_type)


@given(st.lists(st.sampled_from([*"<>='\"/ &;", "a", "href", "script", "!--", "textarea", "\0", "url("]), max_size=40))
def test_any_soup_of_tags_is_a_page(pieces: list[str]) -> None:
    facts("".join(pieces))


@pytest.mark.parametrize(
    ("css", "hrefs"),
    [
        ('@import "a.css"; .x{}', ["a.css"]),
        ("@import url(b.css);", ["b.css"]),
        (".a{background:url( 'c.png' )}", ["c.png"]),
        (".a{background:url(d.png)} .b{background:url(data:x)} .c{fill:url(#e)}", ["d.png"]),
        ("/* url(f.png) */", []),
    ],
)
def test_a_stylesheet_imports_and_loads(css: str, hrefs: list[str]) -> None:
    assert [link.href for link in css_links(css)] == hrefs


@pytest.mark.parametrize(
    ("value", "target"),
    [
        ("0; url=/t", "/t"),
        ("5;URL='/t'", "/t"),
        ('0,"/t"', "/t"),
        ("0;/t", "/t"),
        ("30", ""),
        ("", ""),
    ],
)
def test_a_refresh_leads_somewhere_or_nowhere(value: str, target: str) -> None:
    assert refresh_target(value) == target


def test_link_headers_are_read() -> None:
    found = list(header_links(['</n>; rel="next", </c>;rel=canonical; title="a, b"', "<x"]))
    assert [(link.href, link.kind, link.rel) for link in found] == [
        ("/n", "header", "next"),
        ("/c", "canonical", "canonical"),
    ]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("noindex, NOFOLLOW", {"noindex", "nofollow"}),
        ("none", {"none", "noindex", "nofollow"}),
        ("googlebot: nofollow", set()),
        ("greenprobe: nofollow", {"nofollow"}),
        ("max-snippet: 50, nofollow", {"max-snippet: 50", "nofollow"}),
        ("", set()),
    ],
)
def test_robots_directives_are_for_us_or_not(value: str, words: set[str]) -> None:
    assert robots_words(value) == words
