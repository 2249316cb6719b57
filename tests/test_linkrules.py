"""Which links are walked: the table of `linkrules.py`, row by row, without a crawler."""

from typing import Any

import pytest

from greenprobe.engine.canonical import Address, Refused, canonical
from greenprobe.engine.crawlplan import CrawlPlan
from greenprobe.engine.frontier import Claim, Found, rank_of
from greenprobe.engine.linkrules import LinkRules
from greenprobe.engine.links import Link
from greenprobe.engine.reading import Outlink
from greenprobe.engine.scope import Scope, ScopeRules

HOME = Address("http://a.test", "/")
PAGE = Claim(7, HOME, 2, 1)
RULES = ScopeRules(max_depth=3)


def judge(
    href: str, kind: str = "a", rel: str = "", robots: str = "", priority: float = 0.5, **plan: Any
) -> tuple[str, list[Found]]:
    """Return the verdict on one link of PAGE, and what goes into the frontier."""
    what = CrawlPlan((HOME,), RULES, **plan)
    outlink = Outlink(Link(href, kind, rel), canonical(HOME.url, href), priority)
    (record,), found = LinkRules(what, Scope(RULES, (HOME,))).judge(PAGE, [outlink], frozenset(robots.split()))
    assert (record.page, record.link) == (HOME.url, outlink.link)
    assert record.url == (outlink.address.href if isinstance(outlink.address, Refused) else outlink.address.url)
    return record.verdict, found


TABLE: list[tuple[str, dict[str, Any], str]] = [
    ("/x", {}, ""),
    ("javascript:alert(1)", {}, "scheme"),
    ("data:text/html,x", {}, "scheme"),
    ("file:///etc/passwd", {}, "scheme"),
    ("http://u:p@a.test/", {}, "userinfo"),
    ("http://a.test:0/", {}, "port"),
    ("/" + "x" * 1_000_000, {}, "long"),
    ("/x.png", {"kind": "image"}, "asset"),
    ("/x.png", {"kind": "image", "fetches_assets": True}, ""),
    ("/feed", {"kind": "feed"}, ""),
    ("/feed", {"kind": "feed", "reads_sitemaps": False}, "list"),
    ("/x", {"rel": "next nofollow"}, "nofollow"),
    ("/x", {"rel": "ugc"}, "nofollow"),
    ("/x", {"rel": "sponsored"}, "nofollow"),
    ("/x", {"rel": "nofollow", "follows_nofollow": True}, ""),
    ("/x", {"robots": "noindex nofollow"}, "nofollow"),
    ("/x", {"robots": "nofollow", "follows_nofollow": True}, ""),
    ("http://b.test/", {}, "host"),
    ("http://b.test/", {"kind": "redirect"}, "host"),
]


@pytest.mark.parametrize(("href", "words", "verdict"), TABLE, ids=lambda value: str(value)[:40])
def test_a_link_gets_the_verdict_of_the_table(href: str, words: dict[str, Any], verdict: str) -> None:
    said, found = judge(href, **words)
    assert said == verdict
    assert bool(found) == (not verdict)


def test_a_port_beyond_the_last_is_no_address() -> None:
    said, found = judge("http://a.test:99999/")
    assert said in {"port", "invalid"}
    assert not found


def test_a_link_is_a_step_and_a_redirect_is_none() -> None:
    for kind, depth in (("a", 3), ("redirect", 2), ("canonical", 2)):
        (found,) = judge("/x", kind, priority=1.0)[1]
        assert found == Found(Address("http://a.test", "/x"), depth, PAGE.number, rank_of(depth, 1.0))
