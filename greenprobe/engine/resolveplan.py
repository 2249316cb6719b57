"""What `resolve` is to do, and what it found: frozen, plain data."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from greenprobe.dns.servers import Server
from greenprobe.dns.wire import Record

__all__ = ["ResolvePlan", "ResolveRecord", "ResolveStatistics", "Said", "Step"]


@dataclass(frozen=True, slots=True)
class ResolvePlan:
    """What to ask whom, and how hard. `timeout` is for the first try, in seconds; each further one waits longer.

    `servers` are the root's where `traces`. `port` is that of the servers that a trace meets. `rate_per_s` bounds the
    queries, tries and all; None does not.
    """

    servers: tuple[Server, ...]
    types: tuple[str, ...] = ("A",)
    concurrency: int = 1000
    timeout: float = 2.0
    retries: int = 3
    rate_per_s: float | None = None
    uses_tcp: bool = False
    mixes_case: bool = False
    dnssec: bool = False
    finds_wildcards: bool = False
    traces: bool = False
    port: int = 53


class Step(NamedTuple):
    """A server that was asked on the way from the root. `zone` is the one it was asked for, `referral` where it led.

    `status` is as in `Said`; a step from memory has `is_cached`.
    """

    zone: str
    server: str
    status: str
    referral: str
    elapsed: float
    is_cached: bool

    def row(self) -> dict[str, Any]:
        """Return the step as JSON has it."""
        return {
            "zone": self.zone,
            "server": self.server,
            "status": self.status,
            "referral": self.referral or None,
            "elapsed": round(self.elapsed, 6),
            "cached": self.is_cached,
        }


class Said(NamedTuple):
    """What came of one type. `status` is an rcode's name, or TIMEOUT, MALFORMED, LAME, UNREACHABLE, BOGUS, BADNAME.

    `is_authentic` is True where DNSSEC proved it, False where there is no chain of trust, None where nobody looked.
    """

    type: str
    status: str
    answers: tuple[Record, ...]
    server: str | None
    protocol: str | None
    tries: int
    elapsed: float
    reason: str | None
    is_authentic: bool | None = None
    steps: tuple[Step, ...] = ()

    def row(self) -> dict[str, Any]:
        """Return the part of a record that is one type's."""
        kind, status, _, server, protocol, tries, elapsed, _, is_authentic, steps = self
        row: dict[str, Any] = {
            "type": kind,
            "status": status,
            "server": server,
            "protocol": protocol,
            "tries": tries,
            "elapsed": int(elapsed * 1e6) / 1e6,
        }
        if is_authentic is not None:
            row["authentic"] = is_authentic
        if steps:
            row["trace"] = [step.row() for step in steps]
        return row


class ResolveRecord(NamedTuple):
    """What one name of the list led to. `is_wildcard` is None where nobody looked."""

    line: int
    name: str
    status: str
    said: tuple[Said, ...]
    reason: str | None
    is_wildcard: bool | None

    def row(self) -> dict[str, Any]:
        """Return the record as JSON has it."""
        line, name, status, said, reason, is_wildcard = self
        return {
            "line": line,
            "name": name,
            "status": status,
            "answers": [
                {"name": owner, "type": kind, "ttl": ttl, "data": data}
                for each in said
                for owner, kind, ttl, data in each.answers
            ],
            "wildcard": is_wildcard,
            "queries": [each.row() for each in said],
            "error": None if reason is None else {"class": status, "message": reason},
        }


class ResolveStatistics(NamedTuple):
    """How far a run is. `by_status` counts names; `read_bytes` of `size_bytes` of the list are read (None: a pipe)."""

    taken: int
    done: int
    by_status: dict[str, int]
    queries: int
    timeouts: int
    seconds: float
    read_bytes: int
    size_bytes: int | None
    unanswered: int
