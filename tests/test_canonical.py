"""One spelling for each resource: the table of rules, and properties that hold for any link."""

import pytest
from hypothesis import given, strategies as st

from greenprobe.engine.canonical import Address, QueryRule, Refused, canonical

PAGE = "http://site.test/a/b.html"

SPELLINGS = [
    ("c.html", "/a/c.html"),
    ("../c", "/c"),
    ("/x/./y/../../a", "/a"),
    ("//site.test/a", "/a"),
    ("HTTP://SITE.test:80/a", "/a"),
    ("  /a\n ", "/a"),
    ("/a\tb", "/ab"),
    ("/a\\b", "/a/b"),
    ("/a#top", "/a"),
    ("#top", "/a/b.html"),
    ("?page=2", "/a/b.html?page=2"),
    ("/a?", "/a"),
    ("/%7ea/%41%2f%c3%a9", "/~a/A%2F%C3%A9"),
    ("/ä?ö", "/%C3%A4?%C3%B6"),
    ("/a?utm_source=x&b=1&fbclid=y", "/a?b=1"),
    ("/a?utm_source=x", "/a"),
    ("/a;jsessionid=1F?b=2&PHPSESSID=3", "/a?b=2"),
    ("/a?b=2&a=1", "/a?b=2&a=1"),
    ("/a?b&a", "/a?b&a"),
    ("/%zz", "/%zz"),
]


@given(st.text("/.a%~- ?", max_size=12))
def test_the_short_way_of_plain_paths_leads_where_the_long_one_does(href: str) -> None:
    short, long = canonical(PAGE, "/" + href), canonical(PAGE, "\t/" + href)  # the tab is dropped, on the long way
    assert short == long or (isinstance(short, Refused) and isinstance(long, Refused))


@pytest.mark.parametrize(("href", "target"), SPELLINGS)
def test_spellings_of_one_resource_are_one_address(href: str, target: str) -> None:
    assert canonical(PAGE, href) == Address("http://site.test", target)


def test_a_host_is_written_in_ascii() -> None:
    assert canonical(PAGE, "https://b\u00fccher.test:8443/") == Address("https://xn--bcher-kva.test:8443", "/")
    assert canonical(PAGE, "http://\uff33\uff29te.test/") == Address("http://site.test", "/")
    assert canonical(PAGE, "http://0x7f.1/") == Address("http://127.0.0.1", "/")


@pytest.mark.parametrize(
    ("rule", "target"),
    [
        (QueryRule.KEEP, "/a?utm_id=1&b=2&a=1"),
        (QueryRule.CLEAN, "/a?b=2&a=1"),
        (QueryRule.SORT, "/a?a=1&b=2"),
        (QueryRule.DROP, "/a"),
    ],
)
def test_a_rule_decides_about_the_query(rule: QueryRule, target: str) -> None:
    assert canonical(PAGE, "/a?utm_id=1&b=2&a=1", rule) == Address("http://site.test", target)


REFUSED = [
    ("mailto:a@b.test", "scheme"),
    ("javascript:void(0)", "scheme"),
    ("data:text/html,x", "scheme"),
    ("file:///etc/passwd", "scheme"),
    ("ftp://site.test/", "scheme"),
    ("http://user:secret@site.test/", "userinfo"),
    ("http://site.test:0/", "port"),
    ("http://site.test:99999/", "invalid"),
    ("http://[::1", "invalid"),
    ("http://a b.test/", "invalid"),
    ("http://%zz.test/", "invalid"),
    ("http://", "invalid"),
    ("/" + "a" * 8193, "long"),
    ("/" + "\u00e4" * 3000, "long"),
    ("x" * 1_000_000, "long"),
]


@pytest.mark.parametrize(("href", "reason"), REFUSED, ids=lambda value: value[:30])
def test_what_is_not_to_be_followed_says_why(href: str, reason: str) -> None:
    found = canonical(PAGE, href)
    assert isinstance(found, Refused)
    assert found.reason == reason
    assert len(found.href) <= 8192


def test_a_password_in_a_link_is_never_told() -> None:
    found = canonical(PAGE, "http://user:secret@site.test/")
    assert isinstance(found, Refused)
    assert found.href == "http://site.test/"


@given(st.text(max_size=60), st.sampled_from(QueryRule))
def test_any_link_is_an_address_or_refused_and_an_address_stays_as_it_is(href: str, rule: QueryRule) -> None:
    found = canonical(PAGE, href, rule)
    if isinstance(found, Address):
        assert found.url.isascii()
        assert "#" not in found.url
        assert canonical(found.url, found.url, rule) == found
