"""The crawl engine: claims addresses, visits them, and hands over what it found, in batches; it prints nothing.

Three parts run side by side. The dispatcher claims addresses whose hosts are ready, as many as there are free places,
and starts a visit for each. A visit asks robots.txt, the clock of its host and the budgets, fetches, reads, and leaves
an `Arrival`. The consumer, who iterates over `run()`, gets all arrivals of a turn at once; when it comes back for more,
what they linked to is put into the frontier and they are acknowledged, in one commit with the consumer's `mark`. So
whatever kills the process, an address is in the consumer's results exactly if the frontier calls it done.

What fails for the moment keeps its lease and is visited again when its time has come (`_later`).
"""

from collections import Counter
from collections.abc import Generator, Iterator
from functools import partial
from heapq import heappop, heappush
from time import time
from typing import Final, NamedTuple

from greenprobe.engine.budgets import Budgets
from greenprobe.engine.canonical import Address, Refused, canonical
from greenprobe.engine.crawlhosts import Host, Hosts
from greenprobe.engine.crawlplan import CrawlPlan, CrawlStatistics, Examine, LinkRecord, PageRecord
from greenprobe.engine.frontier import Claim, Found, Frontier, rank_of
from greenprobe.engine.linkrules import LinkRules
from greenprobe.engine.links import Link
from greenprobe.engine.pagerecords import PageRecords
from greenprobe.engine.reading import Outlink, outlinks, read_answer
from greenprobe.engine.robots import MAX_BYTES, Robots, robots_of
from greenprobe.engine.scope import Scope
from greenprobe.errors import ConnectionLost, ConnectTimeout, FetchError, PoolTimeout, ReadTimeout, RedirectError
from greenprobe.greenthread import spawn, spawn_n
from greenprobe.http.client import Client
from greenprobe.http.connector import Resolve, resolve_name
from greenprobe.http.exchange import REDIRECTS
from greenprobe.http.retries import retry_after
from greenprobe.http.trace import Trace
from greenprobe.http.urls import read_url
from greenprobe.hub import Hub
from greenprobe.outcome import AsyncResult
from greenprobe.sync import Event

__all__ = ["Arrival", "Crawler"]

ROBOTS_HOPS: Final = 5  # RFC 9309, 2.3.1.2
FIRST_PAUSE: Final = 1.0  # seconds before what failed is visited again; doubled each time
LONGEST_PAUSE: Final = 120.0
AGAIN: Final = frozenset({429, 500, 502, 503, 504})
BUSY: Final = frozenset({429, 503})
TRANSIENT: Final = (ConnectionLost, ConnectTimeout, ReadTimeout, PoolTimeout)


class Arrival(NamedTuple):
    """What came of one claim: its record, its links as they were judged, and what of them goes into the frontier."""

    claim: Claim
    record: PageRecord
    links: list[LinkRecord]
    found: list[Found]


class Crawler:
    """Runs one plan over one frontier. Iterate over `run()`; set `mark` before you come back; see `statistics()`."""

    def __init__(
        self,
        hub: Hub,
        plan: CrawlPlan,
        frontier: Frontier,
        client: Client,
        *,
        resolve: Resolve = resolve_name,
        examine: Examine | None = None,
    ) -> None:
        """`examine` is called for each HTML page; what it raises ends the run and comes out of it."""
        self._hub = hub
        self._plan = plan
        self._frontier = frontier
        self._client = client
        self._resolve = resolve
        self._examine = examine
        self._scope = Scope(plan.scope, plan.starts)
        self._rules = LinkRules(plan, self._scope)
        self._hosts = Hosts(plan.delay)
        self._budgets = Budgets()
        self._records = PageRecords(frontier)
        self._arrivals: list[Arrival] = []
        self._unsettled = 0
        self._in_flight = 0
        self._later: list[tuple[float, int, Claim]] = []
        self._attempts: Counter[int] = Counter()
        self._wake = Event()
        self._news = Event()
        self._is_over = self._is_ending = self._is_paused = False
        self._crash: BaseException | None = None
        self._began = hub.clock()
        self._pages = self._failed = self._skipped = self._body_bytes = self._started = 0
        self._by_class = [0] * 10
        self._errors: Counter[str] = Counter()
        self.mark = frontier.mark

    # -- the consumer's side

    def run(self) -> Generator[list[Arrival], None, None]:
        """Yield what arrived, some at a time. KeyboardInterrupt ends the visits; what had arrived is yielded first."""
        self._frontier.put(Found(start, 0) for start in self._plan.starts)
        self._frontier.commit(self.mark)
        dispatcher = spawn(self._dispatch)
        try:
            while self._wait_for_news():
                yield from self._handed_over()
            if self._crash is not None:
                raise self._crash
        except KeyboardInterrupt:
            self._is_ending = self._is_paused = True
            yield from self._handed_over()
            raise
        finally:
            dispatcher.kill()

    def finish(self) -> None:
        """Claim nothing more; the run ends when what is in flight has arrived."""
        self._is_ending = True
        self._wake.set()

    def pause(self, paused: bool) -> None:
        """Start no more visits until it is called with False."""
        self._is_paused = paused
        self._wake.set()

    def statistics(self) -> CrawlStatistics:
        """Return how far the run is."""
        frontier = self._frontier.statistics()
        return CrawlStatistics(
            self._pages,
            self._failed,
            self._skipped,
            frontier.pending + len(self._later),
            self._in_flight,
            frontier.hosts,
            tuple(self._by_class),
            self._body_bytes,
            self._hub.clock() - self._began,
            dict(self._errors),
        )

    def _wait_for_news(self) -> bool:
        while not self._arrivals and not self._is_over and self._crash is None:
            self._news.clear()
            self._news.wait()
        return bool(self._arrivals) and self._crash is None

    def _handed_over(self) -> Iterator[list[Arrival]]:
        arrivals, self._arrivals = self._arrivals, []
        if not arrivals:
            return
        self._unsettled += len(arrivals)
        yield arrivals
        for arrival in arrivals:
            self._frontier.put(arrival.found)
        self._frontier.ack(arrival.claim for arrival in arrivals)
        self._frontier.commit(self.mark)
        self._unsettled -= len(arrivals)
        self._wake.set()

    # -- the dispatcher

    def _dispatch(self) -> None:
        """Start visits as there are places and ready hosts, until nothing is left."""
        try:
            while True:
                self._wake.clear()
                now = self._hub.clock()
                for claim in self._due(self._plan.concurrency - self._in_flight, now):
                    self._in_flight += 1
                    spawn_n(self._visit, claim)
                if self._is_finished():
                    break
                self._wake.wait(self._pause_from(now))
        except Exception as exc:  # ours, not a peer's: the consumer gets it
            self._crash = exc
        self._is_over = True
        self._news.set()

    def _is_finished(self) -> bool:
        if self._in_flight or self._arrivals or self._unsettled:
            return False
        if self._is_ending or self._has_enough():
            return True
        return not self._later and self._frontier.next_time() is None

    def _has_enough(self) -> bool:
        plan = self._plan
        if plan.max_seconds is not None and self._hub.clock() - self._began >= plan.max_seconds:
            return True
        return plan.max_pages is not None and self._started >= plan.max_pages

    def _due(self, room: int, now: float) -> Iterator[Claim]:
        if self._is_ending or self._is_paused or self._has_enough():
            return
        while room > 0 and self._later and self._later[0][0] <= now:
            room -= 1
            yield heappop(self._later)[2]
        if self._plan.max_pages is not None:
            room = min(room, self._plan.max_pages - self._started - self._in_flight)  # some of these may not have begun
        if room > 0:
            yield from self._frontier.claim(room, now)

    def _pause_from(self, now: float) -> float | None:
        """Return how long there is nothing to start; None until a visit ends, or something is put."""
        if self._in_flight >= self._plan.concurrency or self._is_paused:
            return None
        times = [self._later[0][0]] if self._later else []
        ready = self._frontier.next_time()
        if ready is not None:
            times.append(ready)
        if self._plan.max_seconds is not None:
            times.append(self._began + self._plan.max_seconds)
        return max(0.001, min(times) - now) if times else None

    # -- visits

    def _visit(self, claim: Claim) -> None:
        try:
            arrival = self._arrival(claim)
            if arrival is not None:
                self._attempts.pop(claim.number, None)
                self._count(arrival.record)
                self._arrivals.append(arrival)
                self._news.set()
        except Exception as exc:  # ours, not the peer's
            self._crash = exc
            self._news.set()
        finally:
            self._in_flight -= 1
            self._wake.set()

    def _arrival(self, claim: Claim) -> Arrival | None:
        """Visit an address; None if it is to be visited again."""
        origin = claim.address.origin
        host = self._hosts.of(origin)
        if host.ip is None and host.delay:
            self._locate(host, origin)
        reason = self._reason_to_skip(host, claim)
        if reason is None or self._is_early(host, claim):
            return None
        if not reason and not self._attempts[claim.number] and not self._budgets.spend(claim.address):
            reason = "budget"
        if reason:
            return Arrival(claim, self._records.skipped(claim, reason), [], [])
        self._hosts.begin(host)
        try:
            return self._fetched(host, claim)
        finally:
            self._frontier.delay(origin, self._hosts.end(host, self._hub.clock()))

    def _reason_to_skip(self, host: Host, claim: Claim) -> str | None:
        """Return why an address is not to be asked for, "" if it is, None if it must come again."""
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

    def _is_early(self, host: Host, claim: Claim) -> bool:
        """Tell whether the host's clock says no; the claim then comes again when it may."""
        now = self._hub.clock()
        wait = self._hosts.wait_time(host, now)
        if wait:
            self._come_again(claim, now + wait)
        return bool(wait)

    def _come_again(self, claim: Claim, when: float) -> None:
        heappush(self._later, (when, claim.number, claim))

    def _locate(self, host: Host, origin: str) -> None:
        """Find a host's address, for the clock that it shares; who cannot be found says so when it is fetched."""
        where = read_url(origin + "/").origin
        try:
            addresses = self._resolve(where.host, where.port, self._plan.client.connect_timeout)
        except OSError:
            return
        if addresses:
            self._hosts.share(host, str(addresses[0].sockaddr[0]))

    # -- robots.txt

    def _read_robots(self, host: Host, origin: str) -> None:
        """Read a host's robots.txt; who comes meanwhile waits for it."""
        outcome: AsyncResult[Robots] = AsyncResult()
        host.robots = outcome
        robots = robots_of(None, b"", self._plan.agent)
        self._hosts.begin(host)
        try:
            robots = robots_of(*self._fetch_robots(origin), self._plan.agent)
        finally:
            until = self._hosts.end(host, self._hub.clock())
            outcome.set(robots)
        if robots.delay is not None and robots.delay > host.delay:
            host.delay = robots.delay
            self._locate(host, origin)
            host.clock.free_at = until = self._hub.clock() + host.delay
        self._frontier.delay(origin, until)
        if self._plan.reads_sitemaps:
            self._frontier.put(self._sitemaps(origin, robots))

    def _fetch_robots(self, origin: str) -> tuple[int | None, bytes]:
        """Return the status and the start of a host's robots.txt; status None if there is no answer."""
        url = read_url(origin + "/robots.txt")
        for _ in range(ROBOTS_HOPS + 1):
            trace = Trace(url)
            body = bytearray()
            try:
                self._client.fetch(trace, partial(take_start, body))
            except RedirectError:
                found = canonical(url.text, (trace.headers.get("location") or ("",))[0])
                if isinstance(found, Refused):
                    return 404, b""
                url = read_url(found.url)
                continue
            except (FetchError, PoolTimeout):
                return (trace.status, bytes(body)) if body else (None, b"")
            return trace.status, bytes(body)
        return 404, b""

    def _sitemaps(self, origin: str, robots: Robots) -> Iterator[Found]:
        for href in robots.sitemaps:
            found = canonical(origin + "/", href, self._plan.query)
            if isinstance(found, Address) and not self._scope.verdict(found, 0):
                yield Found(found, 0, 0, rank_of(0))

    # -- fetching

    def _fetched(self, host: Host, claim: Claim) -> Arrival | None:
        body = bytearray()
        trace = Trace(read_url(claim.address.url))
        error: Exception | None = None
        if not self._attempts[claim.number]:
            self._started += 1
            host.pages += 1

        def opened(_: Trace) -> object:
            body.clear()
            return body.extend

        try:
            self._client.fetch(trace, open_sink=opened)  # type: ignore[arg-type]
        except (FetchError, PoolTimeout) as exc:
            is_redirect = isinstance(exc, RedirectError) and trace.status in REDIRECTS
            error = None if is_redirect else exc
            trace.ended = self._hub.clock()
        self._attempts[claim.number] += 1
        if self._postponed(claim, trace, error):
            return None
        if trace.status is None or trace.status >= 400:
            self._budgets.refund(claim.address)
        return self._read(claim, trace, bytes(body), error)

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

    def _read(self, claim: Claim, trace: Trace, body: bytes, error: Exception | None) -> Arrival:
        """Read an answer into a record, and judge its links."""
        address, status = claim.address, trace.status
        if error is None and status is not None and status < 300:
            return self._page(claim, trace, body)
        record = self._records.failed(claim, trace, self._attempts[claim.number], error)
        if status not in REDIRECTS or not record.location or not self._budgets.redirect(address):
            return Arrival(claim, record, [], [])
        target = Outlink(Link(record.location, "redirect"), canonical(address.url, record.location, self._plan.query))
        links, found = self._rules.judge(claim, [target], frozenset())
        return Arrival(claim, record, links, found)

    def _page(self, claim: Claim, trace: Trace, body: bytes) -> Arrival:
        address = claim.address
        reading = read_answer(address, trace.headers, body)
        self._budgets.learn(address, reading.fingerprint)
        facts, fields = reading.facts, None
        if self._examine is not None and facts.text:
            fields, hrefs = self._examine(address, trace.headers, body)
            facts = facts._replace(links=(*facts.links, *[Link(href, "a") for href in hrefs]))
        links, found = self._rules.judge(claim, outlinks(address, facts, self._plan.query), reading.robots)
        record = self._records.page(claim, trace, self._attempts[claim.number], reading, len(links))
        return Arrival(claim, record if fields is None else record._replace(fields=fields), links, found)

    def _count(self, record: PageRecord) -> None:
        if record.skipped:
            self._skipped += 1
        elif record.error is not None:
            self._failed += 1
            self._errors[record.error[0]] += 1
        else:
            self._pages += 1
            self._body_bytes += record.size_bytes
            self._by_class[(record.status or 0) // 100] += 1


def take_start(body: bytearray, piece: bytes) -> None:
    """Keep a piece of a robots.txt, if it is near enough to the start."""
    body.extend(piece[: max(0, MAX_BYTES + 1 - len(body))])
