"""The fetch engine: greenthreads that take URLs from a list, and the records of what came of them, in batches.

There is no greenthread for each URL: `concurrency` of them each take the next entry, fetch it and note the record. So
memory is a function of the concurrency, and a URL costs no spawn. They are started as there is work for them, always
with one at hand that waits for the next line of a slow list. `workers.py` hands their records over.

Where a host may have fewer connections than there are workers, or may not be asked yet, a URL for it is put aside, and
the worker goes on to the next line: a list that is sorted by host would otherwise run at the pace of one host. Who may
go is called by `aside.py`. When too many are aside, workers wait in the host's line. How one URL is fetched is
`visits.py`'s.
"""

from collections import Counter, deque
from collections.abc import Generator
from operator import itemgetter
from typing import Any, Protocol

from greenprobe.engine.aside import Aside
from greenprobe.engine.fetchplan import FetchPlan, FetchRecord, FetchStatistics
from greenprobe.engine.politeness import Pace
from greenprobe.engine.turn import wait_for_turn
from greenprobe.engine.visits import Job, RichVisits, Visits, unread
from greenprobe.engine.workers import Workers
from greenprobe.errors import UrlError
from greenprobe.http.client import Client
from greenprobe.http.lanes import Lane
from greenprobe.http.urls import Url, UrlReader
from greenprobe.hub import Hub

__all__ = ["Fetcher"]

ASIDE_PER_WORKER = 20
STATUS, SIZE, ERROR = (itemgetter(FetchRecord._fields.index(name)) for name in ("status", "size_bytes", "error"))


class Source(Protocol):
    """A list of entries, read as it is needed; UrlList is one."""

    lines: deque[tuple[int, bytes]]
    carried: dict[int, dict[str, Any]]
    is_over: bool
    read_bytes: int
    size_bytes: int | None

    def refill(self) -> bool:
        """Read until there is an entry in `lines`, waiting if need be; False when there will be no more."""


class Fetcher:
    """Runs one plan over one list. Iterate over `run()`; look at `statistics()` meanwhile."""

    def __init__(self, hub: Hub, plan: FetchPlan, urls: Source, client: Client) -> None:
        self._hub = hub
        self._concurrency = plan.concurrency
        self._urls = urls
        self._client = client
        self._reader = UrlReader(plan.scheme)
        self._workers: Workers[FetchRecord] = Workers(hub, self._take_lines, has_more=self._has_aside)
        self._idle = 0
        self._called: deque[Job] = deque()
        self._pace = Pace(plan.pace) if plan.pace is not None else None
        self._is_crowding = plan.client.per_host < plan.concurrency or self._pace is not None
        self._max_aside = ASIDE_PER_WORKER * plan.concurrency
        self._aside = Aside(hub, self._pace, is_full=client.lanes.is_full, call=self._call)
        if self._is_crowding:
            client.lanes.when_free = self._when_free
        self._visits: Visits = Visits(hub, client, urls.carried)
        if not plan.is_plain:
            self._visits = RichVisits(hub, client, urls.carried, plan, self._pace, self._aside.put_later)
        self._fetch = self._visits.fetch
        self._taken = self._done = self._failed = self._body_bytes = 0
        self._by_class = [0] * 10
        self._began = hub.clock()

    def run(self) -> Generator[list[FetchRecord], None, None]:
        """Yield records, some at a time, as they are completed.

        KeyboardInterrupt stops all fetches; what was completed before is yielded before it is raised again.
        """
        try:
            for batch in self._workers.batches():
                self._count(batch)
                yield batch
        finally:
            self._aside.clear()
            self._visits.close()

    def statistics(self) -> FetchStatistics:
        """Return how far the run is."""
        urls = self._urls
        return FetchStatistics(
            self._taken,
            self._done,
            self._failed,
            tuple(self._by_class),
            self._body_bytes,
            self._hub.clock() - self._began,
            urls.read_bytes,
            urls.size_bytes,
            len(self._aside),
            self._taken + len(urls.lines),
        )

    def _count(self, batch: list[FetchRecord]) -> None:
        """Count what is handed over, by the batch: looking into each record costs three times as much."""
        self._done += len(batch)
        self._body_bytes += sum(map(SIZE, batch))
        failed = len(batch) - [*map(ERROR, batch)].count(None)
        if failed:
            self._failed += failed
            batch = [record for record in batch if record.error is None]
        for status, count in Counter(map(STATUS, batch)).items():
            self._by_class[(status or 0) // 100] += count

    # -- workers

    def _take_lines(self) -> None:
        """Take lines until there are no more."""
        lines, workers = self._urls.lines, self._workers
        crew = workers.crew
        while workers.crash is None:
            if self._called:
                self._visit(*self._called.popleft())
                continue
            if not lines and not self._wait_for_lines():
                return
            number, line = lines.popleft()
            self._taken += 1
            if len(crew) < self._concurrency and not self._idle and (lines or not self._urls.is_over):
                workers.start()
            try:
                url = self._reader.read(line)
            except UrlError as exc:
                workers.hand_over(unread(number, line, exc, self._urls.carried))
                continue
            if self._is_crowding:
                if len(self._aside) < self._max_aside and self._must_wait(url.origin.key):
                    self._aside.put((number, line, url))
                    continue
                self._visit(number, line, url)
                continue
            record = self._fetch(number, line, url)
            if record is not None:
                workers.hand_over(record)

    def _visit(self, number: int, line: bytes, url: Url) -> None:
        """Fetch an entry when its time has come: only that of the rate in all, unless too many are aside."""
        host = url.origin.key
        is_given_up = self._visits.is_given_up(host)
        if self._pace is not None and not is_given_up:
            wait_for_turn(self._hub, self._pace, host)
        if self._pace is not None or is_given_up:  # it takes no place that would call the next when it is left
            self._aside.call_next(host)
        record = self._fetch(number, line, url)
        if record is not None:
            self._workers.hand_over(record)

    def _must_wait(self, host: str) -> bool:
        return self._aside.must_wait(host) and not self._visits.is_given_up(host)

    def _when_free(self, lane: Lane) -> None:
        self._aside.call_next(lane.origin.key)

    def _call(self, job: Job) -> None:
        """Have an entry fetched whose host is free for it."""
        self._called.append(job)
        if len(self._workers.crew) < self._concurrency:  # who left may have to follow a redirect first
            self._workers.start()

    def _has_aside(self) -> bool:
        return bool(self._aside)

    def _wait_for_lines(self) -> bool:
        self._idle += 1
        try:
            return self._urls.refill()
        finally:
            self._idle -= 1
