"""What `fetch` is to do, and what it found: frozen, plain data."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from greenprobe.engine.politeness import PaceOptions
from greenprobe.http.options import ClientOptions
from greenprobe.http.recorded import ArchivedBody
from greenprobe.http.request import Fields, Request
from greenprobe.http.retries import RetryPolicy
from greenprobe.http.trace import Hop, Trace
from greenprobe.http.wire import Headers

__all__ = [
    "Archived",
    "Conditions",
    "Failure",
    "FetchPlan",
    "FetchRecord",
    "FetchStatistics",
    "Taker",
    "TakerMaker",
    "Timings",
]

SCHEMA: Final = 1  # of `FetchRecord.row`; see docs/fetch-records.md


class Failure(NamedTuple):
    """Why a URL was not fetched: the name of the error's class, and its message."""

    kind: str
    message: str


class Taker(Protocol):
    """Takes the decoded body of one answer, and says at the end what belongs to the record because of it."""

    def __call__(self, piece: bytes, /) -> object:
        """Take the next piece."""

    def finish(self, trace: Trace, failure: Failure | None) -> dict[str, Any]:
        """Take it that the body is complete, or broken off with `failure`; return the fields it adds to the row."""


# Returns the header fields that make the request for an entry, spelled as in its record, a conditional one.
Conditions = Callable[[str], Fields]

# Returns where the body is archived that such a request asked about, if it is.
Archived = Callable[[str], ArchivedBody | None]

# Makes a taker for the answer in the trace, the head of which is there, to the entry of the list with this number.
TakerMaker = Callable[[int, Trace], Taker]


@dataclass(frozen=True, slots=True)
class FetchPlan:
    """How many URLs to fetch at once, and how to fetch each.

    `scheme` is put before a host without one; if it `falls_back`, http is next where https is not spoken. `retries` are
    those of the list: a URL that is to be tried again waits aside meanwhile. A host is given up with its
    `max_host_errors`th error in a row. `takers` get the bodies. `conditions` gives the fields that make the request for
    an entry a conditional one, `archived` where a body is that has not changed.
    """

    concurrency: int = 100
    client: ClientOptions = field(default_factory=ClientOptions)
    request: Request | None = None
    scheme: str | None = None
    falls_back: bool = False
    max_host_errors: int | None = None
    pace: PaceOptions | None = None
    retries: RetryPolicy = field(default_factory=RetryPolicy)
    takers: tuple[TakerMaker, ...] = ()
    wants_favicons: bool = False
    conditions: Conditions | None = None
    archived: Archived | None = None

    @property
    def is_plain(self) -> bool:
        """Tell whether each URL is a GET, once, at once, of which only the head is wanted."""
        client = self.client
        has_more = self.takers or self.wants_favicons or self.retries.retries or self.conditions
        has_more = has_more or self.falls_back or self.max_host_errors
        return not (has_more or self.request or self.pace or client.notes_tls or client.records_exchanges)


class Timings(NamedTuple):
    """Seconds. `dns`, `connect` and `tls` are None where a connection was used again; `first_byte` counts from the
    request, `total` from the moment there was a place for the URL."""

    dns: float | None
    connect: float | None
    tls: float | None
    first_byte: float | None
    total: float


class FetchRecord(NamedTuple):
    """What one entry of the list led to. With an error, the rest is what was learned before it.

    `ended` is Unix time; `extras` are fields of the row that only some runs have.
    """

    line: int
    url: str
    final_url: str | None
    status: int | None
    size_bytes: int
    headers: Headers
    redirects: tuple[Hop, ...]
    elapsed: Timings
    error: Failure | None
    address: str | None = None
    sent_bytes: int = 0
    received_bytes: int = 0
    attempts: int = 1
    ended: float = 0.0
    extras: dict[str, Any] | None = None

    def row(self) -> dict[str, Any]:
        """Return the record as JSON has it."""
        # Unpacked at once: a field of a NamedTuple costs three times a local variable, and this is the hot path.
        (
            line,
            url,
            final_url,
            status,
            size_bytes,
            headers,
            redirects,
            elapsed,
            error,
            address,
            sent_bytes,
            received_bytes,
            attempts,
            ended,
            extras,
        ) = self
        dns, connect, tls, first_byte, total = elapsed
        content_type = headers.get("content-type")
        row = {
            "v": SCHEMA,
            "line": line,
            "url": url,
            "final_url": final_url,
            "status": status,
            "bytes": size_bytes,
            "content_type": content_type and content_type[0],
            "redirects": [{"status": hop.status, "url": hop.url} for hop in redirects] if redirects else redirects,
            "elapsed": {
                "dns": dns and to_microseconds(dns),
                "connect": connect and to_microseconds(connect),
                "tls": tls and to_microseconds(tls),
                "first_byte": first_byte and int(first_byte * 1e6) / 1e6,
                "total": int(total * 1e6) / 1e6,
            },
            "address": address,
            "sent_bytes": sent_bytes,
            "received_bytes": received_bytes,
            "attempts": attempts,
            "ended": int(ended * 1e3) / 1e3,
            "headers": headers,
            "error": error and {"class": error.kind, "message": error.message},
        }
        if extras:
            row |= extras
        return row


def to_microseconds(seconds: float) -> float:
    """Cut a duration to what is worth writing; a third of the price of round()."""
    return int(seconds * 1e6) / 1e6


class FetchStatistics(NamedTuple):
    """How far a fetch is.

    `by_class` counts answers by the first digit of their status. `read_bytes` of `size_bytes` of the list are read; the
    latter is None for a pipe. `waiting` are put aside until their host may be asked. `listed` entries were read so far;
    those of them that are not taken are next.
    """

    taken: int
    done: int
    failed: int
    by_class: tuple[int, ...]
    body_bytes: int
    seconds: float
    read_bytes: int
    size_bytes: int | None
    waiting: int = 0
    listed: int = 0
