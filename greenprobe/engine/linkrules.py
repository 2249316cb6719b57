"""Which links of a page are walked: kind, nofollow, scope; each link gets a verdict, and the walked ones an entry.

| link | verdict |
| --- | --- |
| no address (see `canonical.py`) | its reason: "scheme", "userinfo", "port", "long", "invalid" |
| an image, script, stylesheet... and assets are not asked for | "asset" |
| a list (sitemap, feed) and lists are not asked for | "list" |
| the page or the link says nofollow (also ugc, sponsored), and that is honoured | "nofollow" |
| not in scope (see `scope.py`) | its reason: "scheme", "host", "depth", "path", "excluded", "not included", "repeats" |
| else | "", it is walked |
"""

from collections.abc import Iterable
from typing import Final

from greenprobe.engine.canonical import Refused
from greenprobe.engine.crawlplan import CrawlPlan, LinkRecord
from greenprobe.engine.frontier import Claim, Found, rank_of
from greenprobe.engine.links import KINDS
from greenprobe.engine.reading import Outlink
from greenprobe.engine.scope import Scope

__all__ = ["LinkRules"]

NOFOLLOW: Final = frozenset({"nofollow", "ugc", "sponsored"})
NO_STEP: Final = frozenset({"redirect", "canonical"})  # the same page under another address


class LinkRules:
    """The rules of one crawl."""

    def __init__(self, plan: CrawlPlan, scope: Scope) -> None:
        self._plan = plan
        self._scope = scope

    def judge(
        self, claim: Claim, outlinks: Iterable[Outlink], robots: frozenset[str]
    ) -> tuple[list[LinkRecord], list[Found]]:
        """Return a record for each link of a page, and what of them is walked; `robots` is what the page says."""
        page = claim.address.url
        says_nofollow = "nofollow" in robots and not self._plan.follows_nofollow
        records, found = [], []
        for link, address, priority in outlinks:
            depth = claim.depth + (link.kind not in NO_STEP)
            if isinstance(address, Refused):
                records.append(LinkRecord(page, address.href, link, address.reason))
                continue
            verdict = self._of_kind(link.kind) or ("nofollow" if says_nofollow or self._is_nofollow(link.rel) else "")
            verdict = verdict or self._scope.verdict(address, depth)
            records.append(LinkRecord(page, address.url, link, verdict))
            if not verdict:
                found.append(Found(address, depth, claim.number, rank_of(depth, priority)))
        return records, found

    def _of_kind(self, kind: str) -> str:
        family = KINDS[kind]
        if family == "asset":
            return "" if self._plan.fetches_assets else "asset"
        return "list" if family == "list" and not self._plan.reads_sitemaps else ""

    def _is_nofollow(self, rel: str) -> bool:
        return bool(rel) and not self._plan.follows_nofollow and not NOFOLLOW.isdisjoint(rel.split())
