"""Which hosts are there: those that answer something, open or closed, at a few common ports."""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from socket import AF_INET, AF_INET6
from typing import Final

from greenprobe.engine.scanner import Scanner
from greenprobe.engine.scanplan import ScanPlan, ScanRecord
from greenprobe.engine.targets import Hosts, Span, Targets

__all__ = ["PING_PORTS", "alive_hosts"]

PING_PORTS: Final = (22, 80, 135, 443, 445, 3389)
OF_A_ROUTER: Final = frozenset({"host-unreach", "net-unreach", "time-exceeded"})


def alive_hosts(plan: ScanPlan) -> Hosts:
    """Return the hosts of a plan that answer. Raises what a scan raises."""
    targets = Targets(plan.targets.hosts, PING_PORTS, seed=plan.targets.seed)
    records = Scanner(replace(plan, targets=targets, shard=0, shards=1)).run()
    return Hosts(_spans(records), names=plan.targets.hosts.names)


def _spans(records: Iterator[ScanRecord]) -> Iterator[Span]:
    for record in records:
        if answers(record):
            ip, _, scope = record.ip.partition("%")
            number = int(ip_address(ip))
            yield Span(AF_INET6 if ":" in ip else AF_INET, scope, number, number)


def answers(record: ScanRecord) -> bool:
    """Tell whether a record is the host's own word: not silence, and not a router's that it cannot be reached."""
    return record.reason != "no-response" and record.reason not in OF_A_ROUTER and record.state != "unreported"
