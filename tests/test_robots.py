"""robots.txt by RFC 9309: rules, statuses, bounds."""

import pytest
from hypothesis import given, strategies as st

from greenprobe.engine.robots import MAX_BYTES, robots_of

AGENT = "greenprobe"
HOME = "http://h.test"

RULES = [
    ("User-agent: *\nDisallow: /private/\n", {"/private/a": False, "/private": True, "/public": True}),
    (
        "User-agent: *\nDisallow: /*.cgi$\nDisallow: /*?sid=\n",
        {"/x.cgi": False, "/x.cgi.html": True, "/y?sid=3": False},
    ),
    ("User-agent: *\nDisallow: /a/\nAllow: /a/b/\n", {"/a/z": False, "/a/b/ok": True}),
    ("User-agent: greenprobe\nDisallow: /us/\n\nUser-agent: *\nDisallow: /all/\n", {"/us/a": False, "/all/a": True}),
    (
        "User-agent: *\nDisallow: /one/\n\nUser-agent: foo\nDisallow: /\n\nUser-agent: *\nDisallow: /two/\n",
        {"/one/a": False, "/two/a": False, "/three": True},
    ),
    ("USER-AGENT:*\nDISALLOW :/up/ # note\n", {"/up/a": False, "/UP/a": True}),
    ("\ufeffUser-agent: *\r\nDisallow: /private/\r\n", {"/private/a": False}),
    ("User-agent: *\nDisallow: /%C3%A9/\n", {"/%C3%A9/a": False, "/e/a": True}),
    ("User-agent: *\nDisallow:\n", {"/a": True}),
    ("", {"/a": True}),
    ("<html>User-agent: *<br>Disallow: /</html>", {"/a": True}),
]


@pytest.mark.parametrize(("text", "verdicts"), RULES)
def test_rules_allow_and_forbid(text: str, verdicts: dict[str, bool]) -> None:
    robots = robots_of(200, text.encode(), AGENT)
    assert {path: robots.allows(HOME + path) for path in verdicts} == verdicts


@pytest.mark.parametrize(
    ("status", "allowed"),
    [(404, True), (403, True), (401, True), (301, True), (429, False), (500, False), (503, False), (None, False)],
)
def test_an_answer_without_rules_allows_all_or_nothing(status: int | None, allowed: bool) -> None:
    robots = robots_of(status, b"User-agent: *\nDisallow: /\n", AGENT)
    assert robots.allows(HOME + "/a") is allowed
    assert (robots.error is None) is allowed


def test_delay_and_sitemaps_are_told() -> None:
    robots = robots_of(200, b"User-agent: *\nCrawl-delay: 2.5\nSitemap: http://h.test/s.xml\n", AGENT)
    assert robots.delay == 2.5
    assert robots.sitemaps == ("http://h.test/s.xml",)


def test_an_endless_delay_is_cut() -> None:
    assert robots_of(200, b"User-agent: *\nCrawl-delay: 99999999\n", AGENT).delay == 300


def test_only_the_first_half_megabyte_counts() -> None:
    early, late = b"User-agent: *\nDisallow: /early/\n", b"Disallow: /late/\n"
    robots = robots_of(200, early + b"# filler\n" * (MAX_BYTES // 9) + late, AGENT)
    assert not robots.allows(HOME + "/early/a")
    assert robots.allows(HOME + "/late/a")


def test_a_rule_that_is_cut_in_half_does_not_count() -> None:
    start = b"User-agent: *\nDisallow: /x\n"
    body = start + b"#" * (MAX_BYTES - len(start) - len(b"\nDisallow: /")) + b"\nDisallow: /private/\n"
    assert robots_of(200, body, AGENT).allows(HOME + "/public")


@given(st.binary(max_size=300))
def test_any_bytes_are_rules(body: bytes) -> None:
    robots_of(200, b"User-agent: *\nDisallow: /" + body, AGENT).allows(HOME + "/a")
