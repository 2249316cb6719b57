"""What `fetch` is to do, and what it found: frozen, plain data."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from greenprobe.http.client import ClientOptions
from greenprobe.http.trace import Hop
from greenprobe.http.wire import Headers

__all__ = ["Failure", "FetchPlan", "FetchRecord", "FetchStatistics", "Timings"]


@dataclass(frozen=True, slots=True)
class FetchPlan:
    """How many URLs to fetch at once, and how to fetch each."""

    concurrency: int = 100
    client: ClientOptions = field(default_factory=ClientOptions)


class Timings(NamedTuple):
    """Seconds. `dns`, `connect` and `tls` are None where a connection was used again; `first_byte` counts from the
    request, `total` from the moment there was a place for the URL."""

    dns: float | None
    connect: float | None
    tls: float | None
    first_byte: float | None
    total: float


class Failure(NamedTuple):
    """Why a URL was not fetched: the name of the error's class, and its message."""

    kind: str
    message: str


class FetchRecord(NamedTuple):
    """What one line of the list led to. With an error, the rest is what was learned before it."""

    line: int
    url: str
    final_url: str | None
    status: int | None
    size_bytes: int
    headers: Headers
    redirects: tuple[Hop, ...]
    elapsed: Timings
    error: Failure | None

    def row(self) -> dict[str, Any]:
        """Return the record as JSON has it."""
        elapsed = self.elapsed
        error = self.error
        content_type = self.headers.get("content-type")
        return {
            "line": self.line,
            "url": self.url,
            "final_url": self.final_url,
            "status": self.status,
            "bytes": self.size_bytes,
            "content_type": None if content_type is None else content_type[0],
            "redirects": [{"status": status, "url": url} for status, url in self.redirects] if self.redirects else [],
            "elapsed": {
                "dns": elapsed.dns,
                "connect": elapsed.connect,
                "tls": elapsed.tls,
                "first_byte": elapsed.first_byte,
                "total": elapsed.total,
            },
            "headers": self.headers,
            "error": None if error is None else {"class": error.kind, "message": error.message},
        }


class FetchStatistics(NamedTuple):
    """How far a fetch is.

    `by_class` counts answers by the first digit of their status. `read_bytes` of `size_bytes` of the list are read; the
    latter is None for a pipe.
    """

    taken: int
    done: int
    failed: int
    by_class: tuple[int, ...]
    body_bytes: int
    seconds: float
    read_bytes: int
    size_bytes: int | None
