"""Which hosts are there: those that answer an echo request, or something, open or closed, at a few common ports."""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from socket import AF_INET, AF_INET6
from typing import Final, NamedTuple

from greenprobe.engine.icmp import echo_hosts
from greenprobe.engine.scanner import Scanner
from greenprobe.engine.scanplan import ScanPlan, ScanRecord
from greenprobe.engine.targets import Hosts, Span, Targets
from greenprobe.hub import get_hub

__all__ = ["PING_PORTS", "Alive", "alive_hosts"]

PING_PORTS: Final = (22, 80, 135, 443, 445, 3389)
OF_A_ROUTER: Final = frozenset({"host-unreach", "net-unreach", "time-exceeded"})


class Alive(NamedTuple):
    """The hosts that answered, and why those of a family could not be asked for echoes."""

    hosts: Hosts
    refusals: dict[int, OSError]


def alive_hosts(plan: ScanPlan) -> Alive:
    """Ask the hosts of a plan whether they are there. Raises what a scan raises."""
    hosts = plan.targets.hosts
    seed = plan.targets.seed
    echoes = echo_hosts(get_hub(), hosts, seed=seed, timeout=plan.timeout, rate_per_s=plan.rate, prepare=plan.prepare)
    spans = [_span(hosts.at(number).text) for number in echoes.alive]
    left = hosts.without(Hosts(spans))
    if left.count:
        targets = Targets(left, PING_PORTS, seed=seed)
        records = Scanner(replace(plan, targets=targets, shard=0, shards=1)).run()
        spans += _spans(records)
    return Alive(Hosts(spans, names=hosts.names), echoes.refusals)


def _spans(records: Iterator[ScanRecord]) -> Iterator[Span]:
    return (_span(record.ip) for record in records if answers(record))


def _span(text: str) -> Span:
    ip, _, scope = text.partition("%")
    number = int(ip_address(ip))
    return Span(AF_INET6 if ":" in ip else AF_INET, scope, number, number)


def answers(record: ScanRecord) -> bool:
    """Tell whether a record is the host's own word: not silence, and not a router's that it cannot be reached."""
    return record.reason != "no-response" and record.reason not in OF_A_ROUTER and record.state != "unreported"
