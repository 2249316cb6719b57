"""The fetch engine: greenthreads that take URLs from a list, and the records of what came of them, in batches.

There is no greenthread for each URL: `concurrency` of them each take the next line, fetch it and note the record. So
memory is a function of the concurrency, and a URL costs no spawn. They are started as there is work for them, always
with one at hand that waits for the next line of a slow list. Records are handed over as a list of all that were
completed since the last look: a consumer is woken once for all that the hub finished in a turn.

Where a host may have fewer connections than there are workers, a URL whose host has no place free is put aside, and the
worker goes on to the next line: a list that is sorted by host would otherwise run at the pace of one host. Whoever
leaves a place calls the oldest URL that waits for it. When too many are aside, workers wait in the host's line.
"""

from collections import deque
from collections.abc import Callable, Generator
from functools import partial

from greenlet import getcurrent, greenlet

from greenprobe.engine.fetchplan import Failure, FetchPlan, FetchRecord, FetchStatistics, Timings
from greenprobe.engine.urllist import UrlList
from greenprobe.errors import FetchError, PoolTimeout, UrlError
from greenprobe.greenthread import kill, spawn_n
from greenprobe.http.client import Client
from greenprobe.http.lanes import Lane
from greenprobe.http.trace import NO_HEADERS, Trace
from greenprobe.http.urls import Url, UrlReader, without_credentials
from greenprobe.hub import Hub
from greenprobe.sync import Event

__all__ = ["Fetcher"]

MAX_WAITING_RECORDS = 1000  # for a consumer that is slower than the network
ASIDE_PER_WORKER = 20

Job = tuple[int, bytes, Url]

_new_record: Callable[..., FetchRecord] = partial(tuple.__new__, FetchRecord)
_new_timings: Callable[..., Timings] = partial(tuple.__new__, Timings)


class Fetcher:
    """Runs one plan over one list. Iterate over `run()`; look at `statistics()` meanwhile."""

    def __init__(self, hub: Hub, plan: FetchPlan, urls: UrlList, client: Client) -> None:
        self._hub = hub
        self._concurrency = plan.concurrency
        self._urls = urls
        self._client = client
        self._reader = UrlReader()
        self._workers: set[greenlet] = set()
        self._idle = 0
        self._records: list[FetchRecord] = []
        self._consumer: greenlet | None = None
        self._has_room = Event()
        self._crash: Exception | None = None
        self._is_crowding = plan.client.per_host < plan.concurrency
        self._max_aside = ASIDE_PER_WORKER * plan.concurrency
        self._aside: dict[str, deque[Job]] = {}
        self._aside_count = 0
        self._called: deque[Job] = deque()
        if self._is_crowding:
            client.lanes.when_free = self._call_next
        self._taken = self._done = self._failed = self._body_bytes = 0
        self._by_class = [0] * 10
        self._began = hub.clock()

    def run(self) -> Generator[list[FetchRecord], None, None]:
        """Yield records, some at a time, as they are completed.

        KeyboardInterrupt stops all fetches; what was completed before is yielded before it is raised again.
        """
        self._start_worker()
        try:
            while (self._workers or self._records) and self._crash is None:
                self._wait_for_records()
                if self._records:
                    yield self._take_records()
            if self._crash is not None:
                raise self._crash
        except KeyboardInterrupt:
            self._stop()
            yield self._take_records()
            raise
        finally:
            self._stop()

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
        )

    def _wait_for_records(self) -> None:
        try:
            while self._workers and not self._records and self._crash is None:
                self._consumer = getcurrent()
                self._hub.switch()
        finally:
            self._consumer = None

    def _take_records(self) -> list[FetchRecord]:
        records, self._records = self._records, []
        self._has_room.set()
        return records

    def _wake_consumer(self) -> None:
        if self._consumer is not None:
            self._hub.schedule(self._consumer)
            self._consumer = None

    def _stop(self) -> None:
        """Kill the workers, and give them the turn in which they put away what they hold."""
        if self._workers:
            for worker in self._workers:
                kill(worker)
            self._hub.sleep()
            self._workers.clear()

    # -- workers

    def _start_worker(self) -> None:
        self._workers.add(spawn_n(self._work))

    def _work(self) -> None:
        """Take lines until there are no more."""
        try:
            self._take_lines()
        except Exception as exc:  # ours, not the peer's: the consumer gets it
            self._crash = exc
        finally:
            self._workers.discard(getcurrent())
            self._wake_consumer()

    def _take_lines(self) -> None:
        lines = self._urls.lines
        while self._crash is None:
            if self._called:
                self._note(self._fetch(*self._called.popleft()))
                continue
            if not lines and not self._wait_for_lines():
                return
            number, line = lines.popleft()
            self._taken += 1
            if len(self._workers) < self._concurrency and not self._idle and (lines or not self._urls.is_over):
                self._start_worker()
            try:
                url = self._reader.read(line)
            except UrlError as exc:
                self._note(_unread(number, line, exc))
                continue
            if self._is_crowding and self._put_aside(number, line, url):
                continue
            self._note(self._fetch(number, line, url))

    def _note(self, record: FetchRecord) -> None:
        """Count a record and have it handed over; wait if the consumer is too far behind."""
        self._done += 1
        self._body_bytes += record.size_bytes
        if record.error is not None:
            self._failed += 1
        else:
            self._by_class[(record.status or 0) // 100] += 1
        self._records.append(record)
        if self._consumer is not None:
            self._wake_consumer()
        elif len(self._records) >= MAX_WAITING_RECORDS:
            self._wait_for_room()

    def _put_aside(self, number: int, line: bytes, url: Url) -> bool:
        """Put a URL aside if its host has no place free; False if it has, or if enough are aside."""
        key = url.origin.key
        if self._aside_count >= self._max_aside or not (key in self._aside or self._client.lanes.is_full(key)):
            return False
        self._aside.setdefault(key, deque()).append((number, line, url))
        self._aside_count += 1
        return True

    def _call_next(self, lane: Lane) -> None:
        """A place of `lane` is free: have the URL fetched that has waited for it the longest."""
        waiting = self._aside.get(lane.origin.key)
        if waiting is None:
            return
        self._called.append(waiting.popleft())
        self._aside_count -= 1
        if not waiting:
            del self._aside[lane.origin.key]
        if len(self._workers) < self._concurrency:  # who left may have to follow a redirect first
            self._start_worker()

    def _wait_for_lines(self) -> bool:
        self._idle += 1
        try:
            return self._urls.refill()
        finally:
            self._idle -= 1

    def _wait_for_room(self) -> None:
        while len(self._records) >= MAX_WAITING_RECORDS:
            self._has_room.clear()
            self._has_room.wait()

    def _fetch(self, number: int, line: bytes, url: Url) -> FetchRecord:
        trace = Trace(url)
        failure = None
        try:
            self._client.fetch(trace)
        except (FetchError, PoolTimeout) as exc:
            failure = Failure(type(exc).__name__, str(exc))
            trace.ended = self._hub.clock()
        timings = (trace.dns, trace.connect, trace.tls, trace.first_byte, trace.ended - trace.started)
        origin, target, _ = trace.url
        text = line.decode()
        if url.credentials is not None:
            text = without_credentials(text)
        return _new_record(
            (
                number,
                text,
                origin.key + target.decode(),
                trace.status,
                trace.size_bytes,
                trace.headers,
                trace.hops,
                _new_timings(timings),
                failure,
            )
        )


def _unread(number: int, line: bytes, exc: UrlError) -> FetchRecord:
    failure = Failure(type(exc).__name__, str(exc))
    text = without_credentials(line.decode("utf-8", "backslashreplace"))
    return FetchRecord(number, text, None, None, 0, NO_HEADERS, (), Timings(None, None, None, None, 0.0), failure)
