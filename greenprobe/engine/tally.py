"""What came of a run, counted while it runs: statuses, errors with examples, timings, the slowest hosts.

Of a bounded size: timings go into buckets, of 10 us below 10 ms, and above each 5 % wider than the one before, so that
a percentile is right to 2.5 %. Every record passes through here, so whole columns are counted at a time.
"""

from collections import Counter
from collections.abc import Iterable
from math import exp, log
from typing import Any, Final

from greenprobe.engine.fetchplan import FetchRecord

__all__ = ["Tally"]

FINE_S: Final = 0.01
FINE_BUCKETS: Final = 1000
STEP: Final = log(1.05)
PERCENTILES: Final = (50, 90, 95, 99)
MAX_EXAMPLES: Final = 3
MAX_HOSTS: Final = 1000
MANY: Final = 256
SLOW_S: Final = 0.5  # hosts are only looked at for answers that took longer


class Timing:
    """One duration over all records."""

    __slots__ = ("_buckets", "_count", "_largest", "_sum")

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self._count = 0
        self._sum = 0.0
        self._largest = 0.0

    def add(self, values: Iterable[float | None]) -> None:
        """Count durations in seconds; None is not counted."""
        found = [value for value in values if value is not None]
        if not found:
            return
        self._buckets.update([int(value * 1e5) if value < FINE_S else coarse(value) for value in found])
        self._count += len(found)
        self._sum += sum(found)
        self._largest = max(self._largest, *found)

    def merge(self, other: "Timing") -> None:
        """Add the durations of another."""
        self._buckets += other._buckets
        self._count += other._count
        self._sum += other._sum
        self._largest = max(self._largest, other._largest)

    def row(self) -> dict[str, float] | None:
        """Return count, mean, percentiles and maximum, seconds; None if there is nothing."""
        if not self._count:
            return None
        row = {"count": self._count, "mean": round(self._sum / self._count, 6)}
        row |= {f"p{percent}": round(self.percentile(percent), 6) for percent in PERCENTILES}
        return row | {"max": round(self._largest, 6)}

    def percentile(self, percent: float) -> float:
        """Return the duration that `percent` of 100 stay under."""
        wanted = self._count * percent / 100
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= wanted:
                return min(self._largest, middle(bucket))
        return self._largest


def coarse(seconds: float) -> int:
    """Return the bucket of a duration of at least FINE_S."""
    return FINE_BUCKETS + int(log(seconds / FINE_S) / STEP)


def middle(bucket: int) -> float:
    """Return the duration in the middle of a bucket."""
    if bucket < FINE_BUCKETS:
        return (bucket + 0.5) * FINE_S / FINE_BUCKETS
    return FINE_S * exp((bucket - FINE_BUCKETS + 0.5) * STEP)


class Tally:
    """The counts of one run."""

    def __init__(self) -> None:
        self._statuses: Counter[int] = Counter()
        self._errors: Counter[str] = Counter()
        self._examples: dict[str, list[dict[str, str]]] = {}
        self._timings = {name: Timing() for name in ("dns", "connect", "tls", "first_byte", "total")}
        self._hosts: dict[str, list[float]] = {}  # slow answers and their seconds, by host
        self.sent_bytes = 0
        self.received_bytes = 0
        self.records = 0
        self._waiting: list[FetchRecord] = []

    def add(self, records: list[FetchRecord]) -> None:
        """Take a batch; it is counted with others, MANY at a time, or when somebody asks."""
        self._waiting += records
        if len(self._waiting) >= MANY:
            self._count()

    def _count(self) -> None:
        records, self._waiting = self._waiting, []
        if not records:
            return
        self.records += len(records)
        columns = dict(zip(FetchRecord._fields, zip(*records, strict=True), strict=True))
        self.sent_bytes += sum(columns["sent_bytes"])
        self.received_bytes += sum(columns["received_bytes"])
        timings = list(zip(*columns["elapsed"], strict=True))
        for timing, values in zip(self._timings.values(), timings, strict=True):
            timing.add(values)
        if any(columns["error"]):
            self._statuses.update([record.status for record in records if record.error is None and record.status])
            for record in records:
                if record.error is not None:
                    self._add_error(record)
        else:
            self._statuses.update(columns["status"])
        if max(timings[-1]) > SLOW_S:
            for record in records:
                if record.elapsed[4] > SLOW_S:
                    self._add_slow(record)

    def slowest(self, count: int) -> list[tuple[str, float]]:
        """Return the hosts with the longest mean of their slow answers, and that mean in seconds."""
        self._count()
        means = {host: total / number for host, (number, total) in self._hosts.items()}
        return sorted(means.items(), key=lambda pair: -pair[1])[:count]

    def errors(self) -> list[tuple[str, int]]:
        """Return the classes of errors, the most frequent first."""
        self._count()
        return self._errors.most_common()

    def row(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        self._count()
        return {
            "records": self.records,
            "statuses": {str(status): count for status, count in sorted(self._statuses.items())},
            "errors": {kind: {"count": n, "examples": self._examples[kind]} for kind, n in self._errors.most_common()},
            "timings": {name: timing.row() for name, timing in self._timings.items()},
            "sent_bytes": self.sent_bytes,
            "received_bytes": self.received_bytes,
            "slowest_hosts": [{"host": host, "mean": round(mean, 6)} for host, mean in self.slowest(10)],
        }

    def settle(self) -> None:
        """Count what waits: before the tally goes to another process."""
        self._count()

    def merge(self, other: "Tally") -> None:
        """Add what another tally has counted."""
        self._count()
        self.records += other.records
        self.sent_bytes += other.sent_bytes
        self.received_bytes += other.received_bytes
        self._statuses += other._statuses
        self._errors += other._errors
        for kind, examples in other._examples.items():
            self._examples[kind] = (self._examples.get(kind, []) + examples)[:MAX_EXAMPLES]
        for name, timing in self._timings.items():
            timing.merge(other._timings[name])
        for host, (count, seconds) in other._hosts.items():
            known = self._hosts.setdefault(host, [0.0, 0.0])
            known[0] += count
            known[1] += seconds

    def _add_error(self, record: FetchRecord) -> None:
        assert record.error is not None
        kind, message = record.error
        self._errors[kind] += 1
        examples = self._examples.setdefault(kind, [])
        if len(examples) < MAX_EXAMPLES:
            examples.append({"url": record.url, "message": message})

    def _add_slow(self, record: FetchRecord) -> None:
        host = (record.final_url or "").partition("://")[2].partition("/")[0]
        known = self._hosts.get(host)
        if known is None:
            if len(self._hosts) >= MAX_HOSTS:
                return
            known = self._hosts[host] = [0.0, 0.0]
        known[0] += 1
        known[1] += record.elapsed[4]
