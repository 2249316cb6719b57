"""What a scan is to do, and what it found: the frozen records that go into the scanner and come out of it."""

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from greenprobe.engine.targets import Target, Targets
from greenprobe.engine.verdicts import State

__all__ = ["ScanPlan", "ScanRecord", "ScanStatistics", "Service"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanPlan:
    """A scan to run. `timeout` is the longest wait for one answer; `retries` come after the first try of a port.

    `rate` is how many probes a second at most, `min_rate` how many at least, whatever is lost; 0 leaves it to the path.
    `first_window` is how many are on the wire before anything is known, `host_window` how many to one host at most.
    Every `shards`-th target from `shard` on is asked. `prepare` is called with each new socket.
    """

    targets: Targets
    concurrency: int = 4000
    timeout: float = 1.0
    retries: int = 9
    rate: float = 0.0
    min_rate: float = 0.0
    first_window: int = 64
    host_window: int = 4000
    shard: int = 0
    shards: int = 1
    prepare: Callable[[Any], object] | None = None

    def walk(self, done: Container[int] | None = None) -> Iterator[Target]:
        """Yield the targets of this shard that are not done."""
        walk = self.targets.walk(self.shard, self.shards)
        return walk if done is None else (target for target in walk if target[0] not in done)

    @property
    def total(self) -> int:
        """How many targets there are in this shard."""
        return -(-max(0, self.targets.count - self.shard) // self.shards)  # len(range()) ends at 2**63


class Service(NamedTuple):
    """What speaks at a port. `name` is "" if nobody knows; `note` says what happened instead of an answer."""

    name: str
    banner: str = ""
    product: str = ""
    info: dict[str, Any] | None = None
    tls: dict[str, Any] | None = None
    note: str = ""

    def row(self) -> dict[str, Any]:
        """Return it as it is written to files."""
        row: dict[str, Any] = {"service": self.name or None, "product": self.product or None}
        row["banner"] = self.banner or None
        row["info"] = self.info
        row["tls"] = self.tls
        row["note"] = self.note or None
        return row

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "Service":
        """Return what `row` was made of."""
        name, banner, product, note = (row[key] or "" for key in ("service", "banner", "product", "note"))
        return cls(name, banner, product, row["info"], row["tls"], note)


class ScanRecord(NamedTuple):
    """One port and what it said. `rtt` is in seconds, None without an answer; `sender` wrote the ICMP error, if any.

    `service` is None unless it was asked what speaks there. `place` is where the port stands in the order.

    A named tuple: the cheapest thing that cannot be changed, and a scan makes one a probe.
    """

    host: str
    ip: str
    port: int
    state: State
    reason: str
    rtt: float | None
    tries: int
    sender: str | None = None
    service: Service | None = None
    proto: str = "tcp"
    place: int = 0

    def row(self) -> dict[str, Any]:
        """Return the record as it is written to files. `rtt_ms` has microseconds."""
        host, ip, port, state, reason, rtt, tries, sender, service, proto, _ = (
            self  # a third of the price of the attributes
        )
        row = {
            "host": host,
            "ip": ip,
            "port": port,
            "proto": proto,
            "state": state,
            "reason": reason,
            "rtt_ms": None if rtt is None else int(rtt * 1e6) / 1e3,
            "tries": tries,
            "icmp_from": sender,
        }
        return row if service is None else row | service.row()

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "ScanRecord":
        """Return what `row` was made of, without its place."""
        host, ip, port, state, reason, tries = (row[key] for key in ("host", "ip", "port", "state", "reason", "tries"))
        rtt = None if row["rtt_ms"] is None else row["rtt_ms"] / 1e3
        service = Service.of_row(row) if "service" in row else None
        return cls(host, ip, port, state, reason, rtt, tries, row["icmp_from"], service, row["proto"])


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanStatistics:
    """How far a scan is.

    `unclear` ports are open or filtered, nobody knows. `silent` ports were asked and are decided when more is known of
    their host. `held` hosts fell silent as a whole, of which `lost` ones for good.
    `shortages` counts how often this machine ran out of something, by the errno's name.
    """

    total: int
    done: int
    open: int
    closed: int
    filtered: int
    unclear: int
    unreported: int
    silent: int
    tries: int
    under_way: int
    window: int
    elapsed: float
    held: int
    lost: int
    shortages: dict[str, int]
