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
from heapq import heappop, heappush
from typing import Final

from greenprobe.engine.crawlplan import CrawlPlan, CrawlStatistics, Examine, PageRecord
from greenprobe.engine.crawlvisits import Arrival, CrawlVisits
from greenprobe.engine.frontier import Claim, Found, Frontier
from greenprobe.greenthread import spawn, spawn_n
from greenprobe.http.client import Client
from greenprobe.http.connector import Resolve, resolve_name
from greenprobe.hub import Hub
from greenprobe.sync import Event

__all__ = ["Crawler"]

MANY_LINKS: Final = 1000  # that are put into the frontier in one go; then others have a turn


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
        self._visits = CrawlVisits(
            hub, plan, frontier, client, resolve=resolve, examine=examine, come_again=self._come_again
        )
        self._arrivals: list[Arrival] = []
        self._unsettled: list[Arrival] = []
        self._in_flight = 0
        self._later: list[tuple[float, int, Claim]] = []
        self._wake = Event()
        self._news = Event()
        self._is_over = self._is_ending = self._is_paused = False
        self._crash: BaseException | None = None
        self._began = hub.clock()
        self._pages = self._failed = self._skipped = self._body_bytes = 0
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
            self._visits.close()

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
        self._unsettled += arrivals
        if arrivals:
            yield arrivals
        self._settle()

    def _settle(self) -> None:
        """Have the frontier know what was handed over. Interrupted, it begins again: an address is put only once."""
        put = 0
        for arrival in self._unsettled:
            self._frontier.put(arrival.found)
            put += len(arrival.found)
            if put >= MANY_LINKS:
                put = 0
                self._hub.sleep(0)
        statuses = {arrival.claim.number: arrival.record.status for arrival in self._unsettled}
        self._frontier.ack((arrival.claim for arrival in self._unsettled), statuses)
        self._unsettled = []
        self._frontier.commit(self.mark)
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
        return plan.max_pages is not None and self._visits.started >= plan.max_pages

    def _due(self, room: int, now: float) -> Iterator[Claim]:
        if self._is_ending or self._is_paused or self._has_enough():
            return
        while room > 0 and self._later and self._later[0][0] <= now:
            room -= 1
            yield heappop(self._later)[2]
        if self._plan.max_pages is not None:
            # of those in flight some may not have begun
            room = min(room, self._plan.max_pages - self._visits.started - self._in_flight)
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
            arrival = self._visits.visit(claim)
            if arrival is not None:
                self._count(arrival.record)
                self._arrivals.append(arrival)
                self._news.set()
        except Exception as exc:  # ours, not the peer's
            self._crash = exc
            self._news.set()
        finally:
            self._in_flight -= 1
            self._wake.set()

    def _come_again(self, claim: Claim, when: float) -> None:
        heappush(self._later, (when, claim.number, claim))

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
