"""What came of a run, counted while it runs: statuses, errors with examples, timings, the slowest hosts.

Of a bounded size: of a duration an even sample is kept, every record of the first MAX_SAMPLE, then every second, every
fourth and so on. Every record passes through here, so whole columns are counted at a time.
"""

from array import array
from collections import Counter
from operator import itemgetter
from typing import Any, Final

from greenprobe.engine.fetchplan import FetchRecord

__all__ = ["Tally"]

MAX_SAMPLE: Final = 1 << 16
PERCENTILES: Final = (50, 90, 95, 99)
MAX_EXAMPLES: Final = 3
MAX_HOSTS: Final = 1000
MANY: Final = 64  # records that are counted together
SLOW_S: Final = 0.5  # hosts are only looked at for answers that took longer


_columns = itemgetter(*map(FetchRecord._fields.index, ("status", "elapsed", "error", "sent_bytes", "received_bytes")))


class Timing:
    """One duration over all records: exact in number, sum and maximum, its percentiles by an even sample."""

    __slots__ = ("_count", "_largest", "_sample", "_skip", "_stride", "_sum")

    def __init__(self) -> None:
        self._count = 0
        self._sum = 0.0
        self._largest = 0.0
        self._sample = array("d")
        self._stride = 1  # every which is in the sample
        self._skip = 0  # of the next, until one is

    def add(self, values: tuple[float | None, ...]) -> None:
        """Count durations in seconds; None is not counted."""
        if values.count(None) == len(values):
            return  # of most runs, three columns of five
        known = [value for value in values if value is not None]
        self._count += len(known)
        self._sum += sum(known)
        self._largest = max(self._largest, *known)
        self._sample.extend(known[self._skip :: self._stride])
        self._skip = (self._skip - len(known)) % self._stride
        if len(self._sample) >= MAX_SAMPLE:
            self._thin()

    def _thin(self) -> None:
        self._sample = self._sample[::2]
        self._stride *= 2
        self._skip %= self._stride

    def merge(self, other: "Timing") -> None:
        """Add the durations of another."""
        self._count += other._count
        self._sum += other._sum
        self._largest = max(self._largest, other._largest)
        while self._stride < other._stride:
            self._thin()
        self._sample.extend(other._sample[:: self._stride // other._stride])

    def row(self) -> dict[str, float] | None:
        """Return count, mean, percentiles and maximum, seconds; None if there is nothing."""
        if not self._count:
            return None
        ordered = sorted(self._sample)
        row = {"count": self._count, "mean": round(self._sum / self._count, 6)}
        row |= {f"p{percent}": round(ordered[(len(ordered) - 1) * percent // 100], 6) for percent in PERCENTILES}
        return row | {"max": round(self._largest, 6)}


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
        statuses, elapsed, errors, sent_bytes, received_bytes = zip(*map(_columns, records), strict=True)
        self.sent_bytes += sum(sent_bytes)
        self.received_bytes += sum(received_bytes)
        timings = list(zip(*elapsed, strict=True))
        for timing, values in zip(self._timings.values(), timings, strict=True):
            timing.add(values)
        if any(errors):
            self._statuses.update([record.status for record in records if record.error is None and record.status])
            for record in records:
                if record.error is not None:
                    self._add_error(record)
        else:
            self._statuses.update(statuses)
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
