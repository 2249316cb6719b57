"""Crawling from a script: pages as they come, and a function that extracts fields and adds links.

    from greenprobe import crawl

    def extract(page):
        for href in page.selector.css("a.more::attr(href)").getall():
            page.follow(href)
        return {"price": page.selector.css(".price::text").get()}

    for page in crawl("http://127.0.0.1:8000/", extract=extract, delay=0.5):
        print(page.url, page.status, page.fields)

`extract` runs in the visit's greenthread, once for each HTML page; what it raises ends the crawl and is raised by the
loop. The loop may be left early; with `state` (a file) a later call goes on from there.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from typing import Any

from parsel import Selector

from greenprobe.engine.canonical import Address
from greenprobe.engine.crawler import Crawler
from greenprobe.engine.crawlplan import CrawlPlan, Examine, Examined, PageRecord, start_of
from greenprobe.engine.scope import ScopeRules, Within
from greenprobe.engine.sqlite_frontier import SqliteFrontier
from greenprobe.http.charset import decode_text
from greenprobe.http.client import Client, ClientOptions
from greenprobe.http.wire import Headers
from greenprobe.hub import get_hub

__all__ = ["Source", "crawl"]


class Source:
    """A page that `extract` looks at: `url`, `headers` by lower-case name, `body`; `selector` for CSS and XPath."""

    def __init__(self, address: Address, headers: Headers, body: bytes) -> None:
        self.url = address.url
        self.headers = headers
        self.body = body
        self.hrefs: list[str] = []

    @cached_property
    def text(self) -> str:
        """The body as text."""
        return decode_text(self.body, (self.headers.get("content-type") or (None,))[0])

    @cached_property
    def selector(self) -> Selector:
        """A parsel selector over the page."""
        return Selector(self.text)

    def follow(self, href: str) -> None:
        """Walk this link, too, if it is in scope; relative to the page."""
        self.hrefs.append(href)


Extract = Callable[[Source], Mapping[str, Any] | None]


def crawl(
    *starts: str,
    extract: Extract | None = None,
    within: str = "host",
    max_depth: int | None = None,
    include: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    state: str = ":memory:",
    client: ClientOptions | None = None,
    **plan: Any,
) -> Iterator[PageRecord]:
    """Walk sites and yield a record for each page, as it comes.

    `within` is "host", "subdomains", "domain" or "any"; `include` and `exclude` are regular expressions; the rest are
    fields of `CrawlPlan` (delay, per_host, max_pages, obeys_robots...). Raises TargetError for a start that is no URL,
    FrontierError for a state that cannot be used, and what `extract` raises.
    """
    options = client or ClientOptions(user_agent=plan.get("agent", "greenprobe"))
    rules = ScopeRules(Within(within), max_depth=max_depth, include=include, exclude=exclude)
    if plan.get("delay"):
        plan.setdefault("per_host", 1)
    what = CrawlPlan(tuple(map(start_of, starts)), rules, client=without_redirects(options), **plan)
    return records(what, state, examiner(extract) if extract is not None else None)


def records(plan: CrawlPlan, state: str, examine: Examine | None) -> Iterator[PageRecord]:
    """Run a plan; a page is acknowledged when the loop comes back for the next batch."""
    hub = get_hub()
    with (
        closing(SqliteFrontier(state, per_host=plan.per_host)) as frontier,
        closing(Client(plan.client, hub=hub)) as client,
        closing(Crawler(hub, plan, frontier, client, examine=examine).run()) as batches,
    ):
        for batch in batches:
            for arrival in batch:
                yield arrival.record


def without_redirects(options: ClientOptions) -> ClientOptions:
    """Return options for a client that leaves redirects to the crawler, for which each is a page of its own."""
    return replace(options, max_redirects=0)


def examiner(extract: Extract) -> Examine:
    """Return what the crawler calls for a page, of what the script wants to be called with."""

    def examine(address: Address, headers: Headers, body: bytes) -> Examined:
        source = Source(address, headers, body)
        return Examined(dict(extract(source) or {}), tuple(source.hrefs))

    return examine
