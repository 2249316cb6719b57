"""What a report shows, gathered from the lines of a result of fetch: counts, hosts, certificates, in bounded memory.

Lines are outside data, however they came about: what is not as it should be is counted and left out. Of many hosts, a
page shows those that somebody would look for, and the rest as one line; of many certificates, those that expire first.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from math import log10
from operator import attrgetter
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

__all__ = ["Findings", "gather", "rows_of"]

MAX_HOSTS: Final = 2000  # on the page
MAX_KNOWN_HOSTS: Final = 100_000  # that are told apart; some 60 MB
MAX_CERTIFICATES: Final = 1000
OTHERS: Final = "(others)"
FAILED: Final = "failed"
MAX_EXAMPLES: Final = 5
MAX_TEXT: Final = 300
TIMELINE_BINS: Final = 120
STEPS_A_DECADE: Final = 5  # of the latency histogram
SHORTEST_S: Final = 1e-4
MAX_SECONDS_KEPT: Final = 200_000

Row = dict[str, Any]


class Host:
    """What is known of one host."""

    __slots__ = ("bytes", "failed", "requests", "seconds", "slowest", "statuses")

    def __init__(self) -> None:
        self.requests = self.failed = self.bytes = 0
        self.seconds = self.slowest = 0.0
        self.statuses: Counter[str] = Counter()

    def add(self, seconds: float, size_bytes: int, outcome: str) -> None:
        """Take one result."""
        self.requests += 1
        self.failed += outcome == FAILED
        self.seconds += seconds
        self.slowest = max(self.slowest, seconds)
        self.bytes += size_bytes
        self.statuses[outcome] += 1

    def absorb(self, other: "Host") -> None:
        """Take all results of another host."""
        self.requests += other.requests
        self.failed += other.failed
        self.seconds += other.seconds
        self.slowest = max(self.slowest, other.slowest)
        self.bytes += other.bytes
        self.statuses += other.statuses

    def row(self, name: str) -> list[Any]:
        """Return the cells of the table."""
        shown = " ".join(f"{status}:{count}" for status, count in self.statuses.most_common(4))
        mean = self.seconds / self.requests if self.requests else 0.0
        return [name, self.requests, self.failed, round(mean, 4), round(self.slowest, 4), self.bytes, shown]


class Findings:
    """The counts behind a report."""

    def __init__(self) -> None:
        self.records = self.failed = self.broken_lines = self.bytes = 0
        self._statuses: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._examples: dict[str, list[list[str]]] = {}
        self._latencies: Counter[int] = Counter()
        self._times: Counter[int] = Counter()  # by second
        self._failures: Counter[int] = Counter()
        self._hosts: dict[str, Host] = {}
        self._certificates: dict[str, list[Any]] = {}
        self._types: Counter[str] = Counter()

    def add(self, row: Row) -> None:
        """Take one result."""
        self.records += 1
        error, status = row.get("error"), row.get("status")
        seconds = number(nested(row, "elapsed", "total"))
        self.bytes += int(number(row.get("bytes")))
        if isinstance(error, dict):
            self.failed += 1
            self._add_error(row, error)
        else:
            self._statuses[text(status)] += 1
            self._types[text(row.get("content_type") or "none").partition(";")[0]] += 1
            first_byte = number(nested(row, "elapsed", "first_byte"))
            self._latencies[bucket(first_byte or seconds)] += 1
        self._add_time(row, failed=isinstance(error, dict))
        outcome = FAILED if isinstance(error, dict) else text(status)
        self._host(host_of(row)).add(seconds, int(number(row.get("bytes"))), outcome)
        self._add_certificate(row)

    def _add_error(self, row: Row, error: Row) -> None:
        kind = text(error.get("class"))
        self._errors[kind] += 1
        examples = self._examples.setdefault(kind, [])
        if len(examples) < MAX_EXAMPLES and len(self._examples) < MAX_HOSTS:
            examples.append([text(row.get("url")), text(error.get("message"))])

    def _add_time(self, row: Row, *, failed: bool) -> None:
        second = int(number(row.get("ended")))
        if second > 0 and (second in self._times or len(self._times) < MAX_SECONDS_KEPT):
            self._times[second] += 1
            self._failures[second] += failed

    def _host(self, name: str) -> Host:
        host = self._hosts.get(name)
        if host is None:
            name = name if len(self._hosts) < MAX_KNOWN_HOSTS else OTHERS
            host = self._hosts.setdefault(name, Host())
        return host

    def _add_certificate(self, row: Row) -> None:
        certificate = nested(row, "tls", "certificate")
        if not isinstance(certificate, dict):
            return
        name = host_of(row)
        version = text(nested(row, "tls", "version"))
        subject, issuer = text(certificate.get("subject")), text(certificate.get("issuer"))
        self._certificates[name] = [name, number(certificate.get("expires")) or None, subject, issuer, version]
        if len(self._certificates) >= 2 * MAX_CERTIFICATES:
            self._certificates = {cells[0]: cells for cells in self._first_to_expire()}

    def row(self) -> dict[str, Any]:
        """Return everything that the page draws."""
        return {
            "records": self.records,
            "failed": self.failed,
            "broken_lines": self.broken_lines,
            "bytes": self.bytes,
            "statuses": self._statuses.most_common(30),
            "types": self._types.most_common(15),
            "errors": [[kind, count, self._examples.get(kind, [])] for kind, count in self._errors.most_common(30)],
            "latencies": [[edge(place), self._latencies[place]] for place in full_range(self._latencies)],
            "timeline": self._timeline(),
            "host_count": len(self._hosts),
            "hosts": [host.row(name) for name, host in shown(self._hosts)],
            "certificates": self._first_to_expire(),
        }

    def _first_to_expire(self) -> list[list[Any]]:
        return sorted(self._certificates.values(), key=lambda cells: cells[1] or 0.0)[:MAX_CERTIFICATES]

    def _timeline(self) -> list[list[float]]:
        """Return [start, answers, failures] of equal spans of time."""
        if not self._times:
            return []
        first, last = min(self._times), max(self._times)
        width = max(1, -(-(last - first + 1) // TIMELINE_BINS))
        bins = [[float(first + width * place), 0.0, 0.0] for place in range((last - first) // width + 1)]
        for second, count in self._times.items():
            bins[(second - first) // width][1] += count - self._failures[second]
            bins[(second - first) // width][2] += self._failures[second]
        return bins


def shown(hosts: dict[str, Host]) -> list[tuple[str, Host]]:
    """Return the hosts to show, the rest as one: who was asked the most, who failed the most, who was the slowest."""
    by_requests = sorted(hosts.items(), key=lambda pair: -pair[1].requests)
    if len(hosts) <= MAX_HOSTS:
        return by_requests
    third = MAX_HOSTS // 3
    chosen = {name for name, _ in by_requests[:third]}
    for measure in (attrgetter("failed"), attrgetter("slowest")):
        order = sorted(hosts, key=lambda name: measure(hosts[name]), reverse=True)
        chosen.update(islice((name for name in order if name not in chosen), third))
    others = Host()
    for name, host in by_requests:
        if name not in chosen:
            others.absorb(host)
    return [*(pair for pair in by_requests if pair[0] in chosen), (OTHERS, others)]


def gather(lines: Iterable[bytes]) -> Findings:
    """Return the findings of the lines of a result."""
    found = Findings()
    for row in rows_of(lines):
        if isinstance(row, dict) and "url" in row:
            found.add(row)
        else:
            found.broken_lines += 1
    return found


def rows_of(lines: Iterable[bytes]) -> Iterator[Any]:
    """Yield what lines of JSON say; None for one that says nothing."""
    for line in lines:
        if line.strip():
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError:
                yield None


def nested(row: Row, first: str, second: str) -> Any:
    """Return row[first][second], None where that is not."""
    inner = row.get(first)
    return inner.get(second) if isinstance(inner, dict) else None


def number(value: Any) -> float:
    """Return a number, 0 for what is none."""
    return float(value) if isinstance(value, (int, float)) else 0.0


def text(value: Any) -> str:
    """Return a value as text of a bounded length."""
    return str(value)[:MAX_TEXT]


def host_of(row: Row) -> str:
    """Return the host and port that was asked."""
    try:
        return urlsplit(text(row.get("final_url") or row.get("url"))).netloc.rpartition("@")[2] or "(no host)"
    except ValueError:
        return "(no host)"


def bucket(seconds: float) -> int:
    """Return the place of a duration in the histogram."""
    return 0 if seconds <= SHORTEST_S else int(log10(seconds / SHORTEST_S) * STEPS_A_DECADE) + 1


def edge(place: int) -> float:
    """Return the upper edge of a place, in seconds."""
    return float(f"{SHORTEST_S * 10 ** (place / STEPS_A_DECADE):.3g}")


def full_range(counts: Counter[int]) -> range:
    """Return all places from the first that is counted to the last."""
    return range(min(counts), max(counts) + 1) if counts else range(0)
