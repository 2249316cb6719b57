"""A scan on several cores: processes that each ask every N-th place of the order, and this one, which writes.

Each process knows what it has learnt itself of hosts and paths, and what is bounded in all is divided. So together they
are as careful with a path as one, but for what one learns sooner.
"""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, NamedTuple

from greenprobe.engine.processes import Process, Processes
from greenprobe.engine.scanplan import ScanPlan, ScanRecord, ScanStatistics
from greenprobe.errors import GreenprobeError
from greenprobe.hub import Hub

__all__ = ["ScanBatch", "ScanReport", "ScanShards", "parts_of", "together"]


class ScanBatch(NamedTuple):
    """What a process has found since its last one: the `places` that are over, and either lines or records."""

    places: list[int]
    lines: bytes
    records: list[ScanRecord]
    statistics: ScanStatistics


class ScanReport(NamedTuple):
    """The last that a process says; `failure` is why it could not go on, "" if it could."""

    statistics: ScanStatistics
    failure: str = ""


class ScanShards(Processes[Process, ScanBatch]):
    """Runs a plan on several processes. Iterate over `run()`; look at `statistics()` meanwhile."""

    def __init__(self, hub: Hub, tasks: Sequence[object], *, total: int, command: list[str]) -> None:
        """`command` starts a process; a task is what it is told. `total` is how many ports there are for all."""
        self._total = total
        super().__init__(hub, [Process(hub, command, task) for task in tasks], what="scan")

    def statistics(self) -> ScanStatistics:
        """Return how far all processes are together."""
        known = [one.statistics for one in self._processes if one.statistics is not None]
        return replace(together(known), total=self._total)

    def _hear(self, one: Process, value: Any) -> ScanBatch | None:
        one.statistics = value.statistics
        if isinstance(value, ScanReport):
            one.report = value
            if value.failure:
                raise GreenprobeError(value.failure)
            return None
        batch: ScanBatch = value
        return batch


def parts_of(plan: ScanPlan, count: int) -> list[ScanPlan]:
    """Return a plan for each of `count` processes: together they ask what `plan` asks, and bound it as it does."""

    def part(whole: int) -> int:
        return max(1, -(-whole // count))

    divided = replace(
        plan,
        concurrency=part(plan.concurrency),
        rate=plan.rate / count,
        min_rate=plan.min_rate / count,
        first_window=part(plan.first_window),
        host_window=part(plan.host_window),
        shards=plan.shards * count,
    )
    return [replace(divided, shard=plan.shard + number * plan.shards) for number in range(count)]


def together(many: Sequence[ScanStatistics]) -> ScanStatistics:
    """Return the statistics of a scan whose parts are these."""
    sums = {field.name: sum(getattr(each, field.name) for each in many) for field in COUNTS}
    shortages: dict[str, int] = {}
    for each in many:
        for name, count in each.shortages.items():
            shortages[name] = shortages.get(name, 0) + count
    return ScanStatistics(**sums, elapsed=max((each.elapsed for each in many), default=0.0), shortages=shortages)


COUNTS = [field for field in fields(ScanStatistics) if field.name not in {"elapsed", "shortages"}]
