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
        # Unpacked at once: a field of a NamedTuple costs three times a local variable, and this is the hot path.
        line, url, final_url, status, size_bytes, headers, redirects, elapsed, error = self
        dns, connect, tls, first_byte, total = elapsed
        content_type = headers.get("content-type")
        return {
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
            "headers": headers,
            "error": error and {"class": error.kind, "message": error.message},
        }


def to_microseconds(seconds: float) -> float:
    """Cut a duration to what is worth writing; a third of the price of round()."""
    return int(seconds * 1e6) / 1e6


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
