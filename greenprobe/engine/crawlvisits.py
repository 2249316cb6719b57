"""One visit of a crawl: what an address is asked before it is fetched, the fetch, and what is made of the answer.

| before it is fetched | if not |
| --- | --- |
| robots.txt of its host, which the first visitor reads | skipped: "robots"; if it is not to be had, that error |
| the pages of its host, if they are limited | skipped: "host limit" |
| the addresses of its host, if it must be where a start is | skipped: "other address" |
| the clock of its host and of its IP address | it comes again when it may |
| the budget of its pattern | it comes again while pages of the pattern are under way; then skipped: "budget" |

An answer of a media type that nobody wants is left after its head, and skipped: "content type".
"""

from collections import Counter
from collections.abc import Callable
from itertools import islice
from time import time
from typing import Final, NamedTuple

from greenprobe.engine.bodyroom import Body, BodyRoom
from greenprobe.engine.budgets import Budgets
from greenprobe.engine.canonical import Address, canonical
from greenprobe.engine.crawlhosts import Host, Hosts
from greenprobe.engine.crawlplan import CrawlPlan, Examine, LinkRecord, PageRecord
from greenprobe.engine.frontier import Claim, Found, Frontier
from greenprobe.engine.linkrules import LinkRules
from greenprobe.engine.links import Link
from greenprobe.engine.pagerecords import PageRecords
from greenprobe.engine.politeness import Pace, PaceOptions
from greenprobe.engine.readers import Readers
from greenprobe.engine.reading import Outlink, Understood, kind_of, outlinks
from greenprobe.engine.rendering import Rendered, Renderer
from greenprobe.engine.robotsreader import RobotsReader
from greenprobe.engine.scope import Scope
from greenprobe.errors import (
    ConnectionLost,
    ConnectTimeout,
    FetchError,
    PoolTimeout,
    ReadTimeout,
    RedirectError,
    UnreadablePage,
    UnwantedType,
)
from greenprobe.http.client import Client
from greenprobe.http.connector import Resolve
from greenprobe.http.decoding import Sink
from greenprobe.http.exchange import REDIRECTS
from greenprobe.http.recorded import RecordedExchange, RecordedTrace
from greenprobe.http.retries import retry_after
from greenprobe.http.trace import Trace
from greenprobe.http.urls import Url, UrlReader, read_url
from greenprobe.hub import Hub

__all__ = ["Arrival", "CrawlVisits"]

FIRST_PAUSE: Final = 1.0  # seconds before what failed is visited again; doubled each time
LONGEST_PAUSE: Final = 120.0
LONGEST_GAP: Final = 5.0  # between two starts to a host that refuses: it may be a few of its pages only
REFILL_PAUSE: Final = 0.05  # before who found a budget spent asks whether news have refilled it
AGAIN: Final = frozenset({429, 500, 502, 503, 504})
BUSY: Final = frozenset({429, 503})
TRANSIENT: Final = (ConnectionLost, ConnectTimeout, ReadTimeout, PoolTimeout)
RENDERED_TYPE: Final = ("text/html; charset=utf-8",)
MANY_LINKS: Final = 500  # that are judged in one go; then others have a turn


class Arrival(NamedTuple):
    """What came of one claim: its record, its links as they were judged, and what of them goes into the frontier.

    `exchanges`, if they are recorded, are those of its last attempt, and before them those of attempts that another
    followed, and such as belong to no record.
    """

    claim: Claim
    record: PageRecord
    links: list[LinkRecord]
    found: list[Found]
    exchanges: tuple[RecordedExchange, ...] = ()


class CrawlVisits:
    """The visits of one crawl. `come_again` takes a claim that is to be visited later, and when."""

    def __init__(
        self,
        hub: Hub,
        plan: CrawlPlan,
        frontier: Frontier,
        client: Client,
        *,
        resolve: Resolve,
        examine: Examine | None,
        come_again: Callable[[Claim, float], None],
    ) -> None:
        self._hub = hub
        self._plan = plan
        self._frontier = frontier
        self._client = client
        self._resolve = resolve
        self._examine = examine
        self._come_again = come_again
        scope = Scope(plan.scope, plan.starts)
        self._rules = LinkRules(plan, scope)
        self._hosts = Hosts(plan.delay)
        self._trace: Callable[[Url], Trace] = RecordedTrace if plan.client.records_exchanges else Trace
        self._exchanges: list[RecordedExchange] = []
        self._robots = RobotsReader(hub, plan, client, scope, self._trace, self._keep)
        self._budgets = Budgets()
        self._room = BodyRoom(plan.body_memory_bytes, plan.client.max_body_bytes, plan.concurrency)
        self._pace = Pace(PaceOptions(longest_retry_after=LONGEST_PAUSE, knows_all=True, longest_gap=LONGEST_GAP))
        self._records = PageRecords(frontier)
        self._readers = Readers(hub, plan.processes)
        self._renderer: Renderer | None = None
        if plan.browser:
            self._renderer = Renderer(
                hub,
                plan.browser,
                client,
                count=plan.renders,
                longest=plan.render_seconds,
                may_ask=self._may_ask,
                trace=self._trace,
                keep=self._keep,
            )
        self._attempts: Counter[int] = Counter()
        self._urls = UrlReader()
        self._start_ips: frozenset[str] | None = None
        self.started = 0

    def close(self) -> None:
        """End the processes that read, and the browser."""
        self._readers.close()
        if self._renderer is not None:
            self._renderer.close()

    def visit(self, claim: Claim) -> Arrival | None:
        """Visit an address; None if it is to be visited again."""
        arrival = self._arrival(claim)
        if arrival is not None and self._exchanges:
            beside, self._exchanges = self._exchanges, []
            arrival = arrival._replace(exchanges=(*beside, *arrival.exchanges))
        return arrival

    def _arrival(self, claim: Claim) -> Arrival | None:
        origin = claim.address.origin
        host = self._hosts.of(origin)
        if not host.ips and (host.delay or self._plan.same_ip):
            self._locate(host, origin)
        reason = self._reason_to_skip(host, claim)
        if reason is None or self._is_early(host, claim):
            return None
        if not reason and not self._attempts[claim.number] and not self._budgets.spend(claim.address):
            if self._budgets.may_be_refilled(claim.address):
                self._come_again(claim, self._hub.clock() + REFILL_PAUSE)
                return None
            reason = "budget"
        if reason:
            return Arrival(claim, self._skipped(host, claim, reason), [], [])
        body = Body(self._room)
        self._begin(host, origin)
        self._budgets.begin(claim.address)
        try:
            return self._fetched(host, claim, body)
        finally:
            self._budgets.end(claim.address)
            body.close()
            self._end(host, origin)

    # -- before it is fetched

    def _reason_to_skip(self, host: Host, claim: Claim) -> str | None:
        """Return why an address is not to be asked for, "" if it is, None if it must come again."""
        if self._plan.same_ip and host.ips.isdisjoint(self._ips_of_starts()):
            return "other address"
        if self._plan.obeys_robots:
            if host.robots is None:
                if self._is_early(host, claim):
                    return None
                self._read_robots(host, claim.address.origin)
            assert host.robots is not None
            if not host.robots.wait().allows(claim.address.url):
                return "robots"
        limit = self._plan.max_host_pages
        return "host limit" if limit is not None and host.pages >= limit else ""

    def _skipped(self, host: Host, claim: Claim, reason: str) -> PageRecord:
        """Return the record of what is not asked for; without a robots.txt, of the error that kept us from it."""
        record = self._records.skipped(claim, reason)
        if reason == "robots" and host.robots is not None and (error := host.robots.wait().error) is not None:
            return record._replace(skipped="", error=error)
        return record

    def _is_early(self, host: Host, claim: Claim) -> bool:
        """Tell whether the host's clock or pace says no; the claim then comes again when it may."""
        now = self._hub.clock()
        wait = self._hosts.wait_time(host, now) or max(0.0, self._pace.ready_at(claim.address.origin) - now)
        if wait:
            self._come_again(claim, now + wait)
        return bool(wait)

    def _begin(self, host: Host, origin: str) -> None:
        self._hosts.begin(host)
        now = self._hub.clock()
        self._pace.start(origin, now)
        ready = self._pace.ready_at(origin)
        if ready > now:  # it is in trouble
            self._frontier.delay(origin, ready)

    def _end(self, host: Host, origin: str) -> None:
        until = self._hosts.end(host, self._hub.clock())
        self._frontier.delay(origin, max(until, self._pace.ready_at(origin)))

    def _locate(self, host: Host, origin: str) -> None:
        """Find a host's addresses, for the clock that it shares; who cannot be found says so when it is fetched."""
        ips = self._ips_of(origin)
        if ips:
            self._hosts.share(host, ips)

    def _ips_of(self, origin: str) -> list[str]:
        where = read_url(origin + "/").origin
        try:
            addresses = self._resolve(where.host, where.port, self._plan.client.connect_timeout)
        except OSError:
            return []
        return [str(address.sockaddr[0]) for address in addresses]

    def _ips_of_starts(self) -> frozenset[str]:
        if self._start_ips is None:
            self._start_ips = frozenset(ip for start in self._plan.starts for ip in self._ips_of(start.origin))
        return self._start_ips

    def _read_robots(self, host: Host, origin: str) -> None:
        self._hosts.begin(host)
        delay = self._robots.read(host, origin)
        until = self._hosts.end(host, self._hub.clock())
        if delay is not None and delay > host.delay:
            host.delay = delay
            self._locate(host, origin)
            host.clock.free_at = until = self._hub.clock() + host.delay
        self._frontier.delay(origin, until)
        if self._plan.reads_sitemaps:
            self._frontier.put(self._robots.sitemaps(host, origin))

    # -- fetching

    def _fetched(self, host: Host, claim: Claim, body: Body) -> Arrival | None:
        trace = self._trace(self._urls.read(claim.address.url.encode()))
        error: Exception | None = None
        if not self._attempts[claim.number]:
            self.started += 1
            host.pages += 1

        def opened(trace: Trace) -> Sink:
            return body.sink(self._plan.limit_of(trace.headers))

        try:
            self._client.fetch(trace, open_sink=opened)
        except (FetchError, PoolTimeout) as exc:
            is_redirect = isinstance(exc, RedirectError) and trace.status in REDIRECTS
            error = None if is_redirect else exc
            trace.ended = self._hub.clock()
        self._attempts[claim.number] += 1
        self._pace.answered(
            claim.address.origin,
            status=trace.status,
            headers=trace.headers,
            seconds=trace.first_byte,
            asked=trace.started,
            now=trace.ended,
            unix_now=time(),
        )
        if self._postponed(claim, trace, error):
            self._keep(trace)
            return None
        if trace.status is None or trace.status >= 400:
            self._budgets.refund(claim.address)
        arrival = self._read(claim, trace, body.whole(), error)
        del self._attempts[claim.number]
        return arrival._replace(exchanges=tuple(trace.exchanges)) if isinstance(trace, RecordedTrace) else arrival

    def _keep(self, trace: Trace) -> None:
        """Keep exchanges for the next arrival: of a robots.txt, of a page's scripts, of a visit that is made again."""
        if isinstance(trace, RecordedTrace):
            self._exchanges += trace.exchanges

    def _postponed(self, claim: Claim, trace: Trace, error: Exception | None) -> bool:
        """Tell whether this is worth another visit, which is then arranged."""
        attempts = self._attempts[claim.number]
        if attempts > self._plan.retries or not (isinstance(error, TRANSIENT) or trace.status in AGAIN):
            return False
        now = self._hub.clock()
        pause = FIRST_PAUSE * 2.0 ** (attempts - 1)
        if trace.status in BUSY:
            pause = max(pause, retry_after(trace.headers, time()) or 0.0)
        pause = min(pause, LONGEST_PAUSE)
        if trace.status in BUSY:
            self._frontier.delay(claim.address.origin, now + pause)
        self._come_again(claim, now + pause)
        return True

    # -- reading

    def _read(self, claim: Claim, trace: Trace, body: bytes, error: Exception | None) -> Arrival:
        """Read an answer into a record, and judge its links."""
        address, status = claim.address, trace.status
        if error is None and status is not None and status < 300:
            return self._page(claim, trace, body)
        if isinstance(error, UnwantedType):
            skipped = self._records.failed(claim, trace, self._attempts[claim.number], None)
            return Arrival(claim, skipped._replace(skipped="content type"), [], [])
        record = self._records.failed(claim, trace, self._attempts[claim.number], error)
        if status not in REDIRECTS or not record.location or not self._budgets.redirect(address):
            return Arrival(claim, record, [], [])
        target = Outlink(Link(record.location, "redirect"), canonical(address.url, record.location, self._plan.query))
        links, found = self._rules.judge(claim, [target], frozenset())
        return Arrival(claim, record, links, found)

    def _page(self, claim: Claim, trace: Trace, body: bytes) -> Arrival:
        address, attempts = claim.address, self._attempts[claim.number]
        rendered = self._rendered(address, trace, body)
        headers, body, hrefs = trace.headers, rendered.body, rendered.hrefs
        if rendered.how == "ok":
            headers = {**headers, "content-type": RENDERED_TYPE}
        try:
            said = self._readers.read(address, headers, body, self._plan.query)
        except UnreadablePage as exc:
            return Arrival(claim, self._records.failed(claim, trace, attempts, exc), [], [])
        reading, fields = said.reading, None
        self._budgets.learn(address, reading.fingerprint)
        if self._examine is not None and reading.facts.text:
            fields, more = self._examine(address, headers, body)
            hrefs = (*hrefs, *more)
        if hrefs:
            facts = reading.facts._replace(links=tuple([Link(href, "a") for href in hrefs]))
            said.outlinks.extend(outlinks(address, facts, self._plan.query))
        links, found = self._judged(claim, said)
        record = self._records.page(claim, trace, attempts, reading, len(links))
        if fields is not None or rendered.how:
            record = record._replace(fields=fields, rendered=rendered.how or None)
        return Arrival(claim, record, links, found)

    def _rendered(self, address: Address, trace: Trace, body: bytes) -> Rendered:
        """Return what a browser makes of a page, if there is one and it is HTML; else the page as it is."""
        content_type = (trace.headers.get("content-type") or ("",))[0]
        if self._renderer is None or kind_of(content_type, body, address) != "html":
            return Rendered(body, (), "")
        return self._renderer.render(address.url, trace.headers, body)

    def _may_ask(self, url: str) -> bool:
        """Tell whether a page's scripts may ask for a URL, as far as robots.txt is known."""
        slash = url.find("/", 8)
        host = self._hosts.known(url[:slash] if slash > 0 else url)
        if not self._plan.obeys_robots or host is None or host.robots is None or not host.robots.ready():
            return True
        return host.robots.wait().allows(url)

    def _judged(self, claim: Claim, said: Understood) -> tuple[list[LinkRecord], list[Found]]:
        """Judge the links of a page; between many of them, others have a turn."""
        robots = said.reading.robots
        if len(said.outlinks) <= MANY_LINKS:
            return self._rules.judge(claim, said.outlinks, robots)
        links: list[LinkRecord] = []
        found: list[Found] = []
        rest = iter(said.outlinks)
        while some := list(islice(rest, MANY_LINKS)):
            more_links, more_found = self._rules.judge(claim, some, robots)
            links += more_links
            found += more_found
            self._hub.sleep(0)
        return links, found
