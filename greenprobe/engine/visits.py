"""One entry of a list: fetch it and make its record.

`Visits` does what most runs want. `RichVisits` also sends any request, hands the body to takers, and learns the pace of
hosts; it returns None where the entry is to be tried again later.
"""

from collections.abc import Callable
from functools import partial
from random import random
from time import time
from typing import Any

from greenprobe.engine.attempts import Attempts
from greenprobe.engine.favicons import Favicons
from greenprobe.engine.fetchplan import Failure, FetchPlan, FetchRecord, Taker, Timings
from greenprobe.engine.givenup import GivenUp
from greenprobe.engine.lineforms import FAULT
from greenprobe.engine.politeness import Pace
from greenprobe.engine.schemes import plain_url
from greenprobe.engine.turn import wait_for_turn
from greenprobe.errors import FetchError, PoolTimeout, UrlError
from greenprobe.http.client import Client
from greenprobe.http.conditional import NOT_MODIFIED
from greenprobe.http.decoding import Sink
from greenprobe.http.plain_gets import Unfinished
from greenprobe.http.recorded import RecordedExchange, RecordedTrace
from greenprobe.http.request import Request
from greenprobe.http.trace import NO_HEADERS, Trace
from greenprobe.http.urls import Url, without_credentials
from greenprobe.hub import Hub

__all__ = ["Job", "RichVisits", "Visits", "unread"]

# An entry's number, its text, and the URL that it is.
Job = tuple[int, bytes, Url]
Extras = dict[str, Any]

_new_record: Callable[..., FetchRecord] = partial(tuple.__new__, FetchRecord)
_new_timings: Callable[..., Timings] = partial(tuple.__new__, Timings)


class Visits:
    """Fetches entries with a GET and counts their bodies. `carried` is what belongs to entries by their number."""

    def __init__(self, hub: Hub, client: Client, carried: dict[int, Extras]) -> None:
        self._hub = hub
        self._client = client
        self._plain_gets = client.plain_gets
        self._carried = carried
        self._epoch = time() - hub.clock()

    def fetch(self, number: int, line: bytes, url: Url) -> FetchRecord | None:
        """Fetch a URL and return its record."""
        found = self._plain_gets.get(url) if self._plain_gets is not None else None
        if not isinstance(found, tuple):
            return self._fetch_fully(number, line, url, found)
        status, headers, size, sent, received, address, elapsed, ended = found
        origin, target, _ = url
        return _new_record(
            (
                number,
                line.decode(),
                origin.key + target.decode(),
                status,
                size,
                headers,
                (),
                _new_timings(elapsed),
                None,
                address.sockaddr[0],
                sent,
                received,
                1,
                ended + self._epoch,
                self._carried.pop(number, None) if self._carried else None,
            )
        )

    def is_given_up(self, host: str) -> bool:
        """Tell whether entries for a host are done without asking it; here, none is."""
        return False

    def close(self) -> None:
        """Let go of what waits; here, nothing does."""

    def _fetch_fully(self, number: int, line: bytes, url: Url, unfinished: Unfinished | None) -> FetchRecord:
        """Fetch a URL, or go on with it, on the long way."""
        trace = unfinished.trace if unfinished is not None else Trace(url)
        failure = None
        try:
            if unfinished is not None:
                self._client.finish(unfinished)
            else:
                self._client.fetch(trace)
        except (FetchError, PoolTimeout) as exc:
            failure = Failure(type(exc).__name__, str(exc))
            trace.ended = self._hub.clock()
        return self._record(number, line, url, trace, failure, None)

    def _record(
        self, number: int, line: bytes, url: Url, trace: Trace, failure: Failure | None, extras: Extras | None
    ) -> FetchRecord:
        """Make the record of a fetch that is over."""
        if self._carried:
            extras = {**self._carried.pop(number, NOTHING), **(extras or NOTHING)}
        return FetchRecord(
            number,
            spelled(line, url),
            trace.url.text,
            trace.status,
            trace.size_bytes,
            trace.headers,
            trace.hops,
            Timings(trace.dns, trace.connect, trace.tls, trace.first_byte, trace.ended - trace.started),
            failure,
            trace.address and trace.address.sockaddr[0],
            trace.sent_bytes,
            trace.received_bytes,
            trace.attempts,
            trace.ended + self._epoch,
            extras,
        )


NOTHING: Extras = {}


def spelled(line: bytes, url: Url) -> str:
    """Return an entry as its record spells it."""
    text = line.decode()
    return text if url.credentials is None else without_credentials(text)


class RichVisits(Visits):
    """Fetches entries with everything a plan may ask for. `later` takes what is to be tried again, and when."""

    def __init__(
        self,
        hub: Hub,
        client: Client,
        carried: dict[int, Extras],
        plan: FetchPlan,
        pace: Pace | None,
        later: Callable[[Job, float], None],
    ) -> None:
        super().__init__(hub, client, carried)
        self._plan = plan
        self._pace = pace
        self._later = later
        self._trace: Callable[[Url], Trace] = RecordedTrace if plan.client.records_exchanges else Trace
        self._beside: list[RecordedExchange] = []  # what was asked besides the entries, for the next row
        self._favicons = Favicons(client, self._trace, self._keep, self._take_turn) if plan.wants_favicons else None
        self._wants_open = bool(plan.takers or plan.retries.retries)
        self._attempts = Attempts()
        self._given_up = GivenUp(plan.max_host_errors) if plan.max_host_errors is not None else None

    def fetch(self, number: int, line: bytes, url: Url) -> FetchRecord | None:
        """Fetch a URL and return its record, or None if it will be fetched again."""
        trace = self._trace(url)
        self._attempts.resume(number, trace)
        takers: list[Taker] = []
        error: FetchError | PoolTimeout | None = None
        request, is_conditional = self._request(line, url)
        try:
            if self._given_up is not None:
                self._given_up.check(url.origin.key)
            open_sink = partial(self._open, number, takers) if self._wants_open else None
            self._client.fetch(trace, None, request, open_sink=open_sink)
        except (FetchError, PoolTimeout) as exc:
            error = exc
            trace.ended = self._hub.clock()
            trace.started = trace.started or trace.ended
        except BaseException:
            closed(takers, trace, ABANDONED)
            raise
        self._learn(url, trace, error)
        failure = failure_of(error)
        try:
            extras = closed(takers, trace, failure)
        except FetchError as exc:
            failure, extras = failure_of(exc), {}
        if self._is_put_off(number, line, url, trace, error):
            return None
        if is_conditional:
            extras["not_modified"] = trace.status == NOT_MODIFIED
        if trace.tls_facts is not None:
            extras["tls"] = tls_row(trace)
        if self._favicons is not None and failure is None:
            extras["favicon"] = self._favicons.hash_of(trace.url.origin)
        if isinstance(trace, RecordedTrace):
            if extras.get("not_modified") and self._plan.archived is not None:
                trace.exchanges[-1].refers_to = self._plan.archived(spelled(line, url))
            extras["warc"] = [*self._beside, *trace.exchanges]
            self._beside.clear()
        return self._record(number, line, url, trace, failure, extras)

    def is_given_up(self, host: str) -> bool:
        """Tell whether a host is given up."""
        return self._given_up is not None and host in self._given_up

    def close(self) -> None:
        """Let go of what waits for another attempt."""
        self._attempts.clear()

    def _keep(self, trace: Trace) -> None:
        """Keep the exchanges of a favicon for an archive."""
        if isinstance(trace, RecordedTrace):
            self._beside += trace.exchanges

    def _take_turn(self, host: str) -> None:
        """Wait until a host may be asked once more."""
        if self._pace is not None:
            wait_for_turn(self._hub, self._pace, host)

    def _request(self, line: bytes, url: Url) -> tuple[Request | None, bool]:
        """Return what to ask with for an entry, and whether only for what has changed."""
        plan = self._plan
        if plan.conditions is None:
            return plan.request, False
        fields = plan.conditions(spelled(line, url))
        if not fields:
            return plan.request, False
        request = plan.request or Request()
        return request._replace(fields=(*request.fields, *fields)), True

    def _open(self, number: int, takers: list[Taker], trace: Trace) -> Sink | None:
        """The head of the answer is there: make what takes its body."""
        closed(takers, trace, ABANDONED)
        if trace.status == NOT_MODIFIED:
            return None  # nothing is no body
        if self._plan.retries.wants(trace.attempts, status=trace.status, error=None) and self._can_repeat():
            return None
        takers += [make(number, trace) for make in self._plan.takers]
        if len(takers) == 1:
            return takers[0]
        return partial(to_each, takers) if takers else None

    def _is_put_off(
        self, number: int, line: bytes, url: Url, trace: Trace, error: FetchError | PoolTimeout | None
    ) -> bool:
        """Tell whether an entry is to be asked for again, which is then arranged."""
        plain = None
        if self._plan.falls_back and (not trace.sent_bytes or self._can_repeat()):
            plain = plain_url(line, url, trace, error)
        pause = self._pause(trace, error) if plain is None else 0.0
        if pause is None:
            return False
        self._attempts.put_off(number, trace, counts=plain is None)
        self._later((number, line, plain or url), self._hub.clock() + pause)
        return True

    def _pause(self, trace: Trace, error: FetchError | PoolTimeout | None) -> float | None:
        """Return how long to wait before another attempt, None for no other."""
        retries = self._plan.retries
        if not retries.wants(trace.attempts, status=trace.status, error=error) or not self._can_repeat():
            return None
        return retries.pause(trace.attempts, trace.headers, random=random, now=time())

    def _can_repeat(self) -> bool:
        return self._plan.request is None or self._plan.request.can_repeat

    def _learn(self, url: Url, trace: Trace, error: FetchError | PoolTimeout | None) -> None:
        if self._given_up is not None:
            self._given_up.note(url.origin.key, trace, error)
        if self._pace is not None:
            self._pace.answered(
                trace.url.origin.key,
                status=trace.status,
                headers=trace.headers,
                seconds=trace.first_byte,
                asked=trace.started,
                now=trace.ended,
                unix_now=time(),
            )


ABANDONED = Failure("Abandoned", "another attempt follows")


def failure_of(error: Exception | None) -> Failure | None:
    """Return what a record says of an error."""
    return None if error is None else Failure(type(error).__name__, str(error))


def closed(takers: list[Taker], trace: Trace, failure: Failure | None) -> Extras:
    """Finish takers, leave none, and return what they add to the row."""
    extras: Extras = {}
    while takers:
        extras |= takers.pop().finish(trace, failure)
    return extras


def to_each(takers: list[Taker], piece: bytes) -> None:
    """Hand a piece to all takers."""
    for take in takers:
        take(piece)


def tls_row(trace: Trace) -> Extras:
    """Return the TLS facts of a trace as JSON has them."""
    facts = trace.tls_facts
    assert facts is not None
    row: Extras = {
        "version": facts.version,
        "cipher": facts.cipher,
        "alpn": facts.alpn,
        "resumed": facts.is_resumed,
        "certificate": None,
    }
    if facts.certificate is not None:
        row["certificate"] = facts.certificate._asdict()
    return row


def unread(number: int, line: bytes, exc: UrlError, carried: dict[int, Extras]) -> FetchRecord:
    """Return the record of an entry that is no URL."""
    extras = carried.pop(number, None)
    fault = extras.pop(FAULT, None) if extras is not None else None
    failure = Failure(type(exc).__name__, fault or str(exc))
    text = without_credentials(line.decode("utf-8", "backslashreplace"))
    nothing = Timings(None, None, None, None, 0.0)
    return FetchRecord(number, text, None, None, 0, NO_HEADERS, (), nothing, failure, extras=extras)
