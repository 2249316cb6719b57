"""Which addresses belong to a crawl."""

import pytest

from greenprobe.engine.canonical import Address
from greenprobe.engine.scope import Scope, ScopeRules, Within, host_of, repeats_itself

START = Address("http://www.site.co.uk", "/docs/index.html")


def verdict(rules: ScopeRules, origin: str, target: str = "/docs/a", depth: int = 0) -> str:
    return Scope(rules, [START]).verdict(Address(origin, target), depth)


@pytest.mark.parametrize(
    ("within", "inside", "outside"),
    [
        (
            Within.HOST,
            ["http://www.site.co.uk", "https://www.site.co.uk:8443"],
            ["http://site.co.uk", "http://a.www.site.co.uk"],
        ),
        (
            Within.SUBDOMAINS,
            ["http://www.site.co.uk", "http://a.www.site.co.uk"],
            ["http://site.co.uk", "http://evilwww.site.co.uk"],
        ),
        (Within.DOMAIN, ["http://site.co.uk", "http://a.site.co.uk"], ["http://other.co.uk", "http://notsite.co.uk"]),
        (Within.ANY, ["http://anything.test"], []),
    ],
)
def test_a_crawl_keeps_to_its_hosts(within: Within, inside: list[str], outside: list[str]) -> None:
    assert [verdict(ScopeRules(within), origin) for origin in inside] == [""] * len(inside)
    assert [verdict(ScopeRules(within), origin) for origin in outside] == ["host"] * len(outside)


def test_an_address_is_a_domain_of_its_own() -> None:
    scope = Scope(ScopeRules(Within.DOMAIN), [Address("http://127.0.0.1:8000", "/")])
    assert scope.verdict(Address("http://127.0.0.1", "/"), 0) == ""
    assert scope.verdict(Address("http://127.0.0.2", "/"), 0) == "host"


RULES = [
    (ScopeRules(below=True), "/docs/a/b", 0, ""),
    (ScopeRules(below=True), "/docs", 0, "path"),
    (ScopeRules(below=True), "/docsother/", 0, "path"),
    (ScopeRules(schemes=("http",)), "/a", 0, ""),
    (ScopeRules(schemes=("http", "https")), "/a", 0, ""),
    (ScopeRules(schemes=("https",)), "/a", 0, "scheme"),
    (ScopeRules(max_depth=2), "/a", 2, ""),
    (ScopeRules(max_depth=2), "/a", 3, "depth"),
    (ScopeRules(include=(r"\.html$", "docs")), "/a.html", 0, ""),
    (ScopeRules(include=(r"\.html$",)), "/a.png", 0, "not included"),
    (ScopeRules(exclude=("logout",)), "/user/logout", 0, "excluded"),
    (ScopeRules(include=("a",), exclude=("a",)), "/a", 0, "excluded"),
    (ScopeRules(), "/a/b/a/b/a/b/a/b/", 0, "repeats"),
]


@pytest.mark.parametrize(("rules", "target", "depth", "expected"), RULES)
def test_rules_say_why_not(rules: ScopeRules, target: str, depth: int, expected: str) -> None:
    assert verdict(rules, START.origin, target, depth) == expected


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/", False),
        ("/2024/01/01/x", False),
        ("/a/b/a/b/a/b", False),
        ("/a/a/a/a", True),
        ("/" + "/".join(map(str, range(41))), True),
        ("/s?f=1&f=2&f=3", False),
        ("/s?f=1&f=2&f=3&f=4", True),
        ("//////", False),
    ],
)
def test_a_path_that_goes_round_is_seen(target: str, expected: bool) -> None:
    assert repeats_itself(target) is expected


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://a.test", "a.test"),
        ("https://a.test:8443", "a.test"),
        ("http://[::1]:80", "::1"),
        ("http://[fe80::1]", "fe80::1"),
    ],
)
def test_the_host_of_an_origin(origin: str, host: str) -> None:
    assert host_of(origin) == host
