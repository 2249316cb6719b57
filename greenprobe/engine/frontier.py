"""What a crawl still has to fetch: the five calls that an engine makes, whoever keeps the queue.

An address is PENDING from the moment it is put, LEASED while somebody fetches it, and DONE when that was acknowledged.
A lease ends with its holder: an engine that dies takes none of them along, and its addresses are PENDING again.

Hosts are asked in turn. A host is ready when its time has come (`delay`) and it has fewer than `per_host` leases;
within a host the lowest rank goes first, then who came first. Times are the caller's: seconds of one clock.

What is put and acknowledged between two commits is one step: it has all happened, or none of it. Whoever writes
results elsewhere writes them first and hands `commit` a mark (how long the file is, say); after a crash, `mark` tells
up to where the results and the frontier agree.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

from greenprobe.engine.canonical import Address

__all__ = ["NO_STATUSES", "Claim", "Found", "Frontier", "FrontierStatistics", "rank_of"]

NO_STATUSES: Final[Mapping[int, int | None]] = MappingProxyType({})
RANK_PER_STEP = 16  # a step away from the start weighs as much as a sitemap's whole range of priorities


class Found(NamedTuple):
    """An address that was met: how many steps from the start, on which page (its number; 0 for a start), its rank."""

    address: Address
    depth: int
    via: int = 0
    rank: int = 0


class Claim(NamedTuple):
    """An address that is leased, with its number."""

    number: int
    address: Address
    depth: int
    via: int


class FrontierStatistics(NamedTuple):
    """How many addresses are in which state, and how many hosts have something to do."""

    pending: int
    leased: int
    done: int
    blocked: int
    hosts: int


class Frontier(Protocol):
    """A queue of addresses that outlives its engine."""

    @property
    def mark(self) -> str:
        """What the last commit was given."""

    def put(self, found: Iterable[Found]) -> int:
        """Add addresses that are not known yet; return how many were new."""

    def claim(self, count: int, now: float) -> list[Claim]:
        """Lease up to `count` addresses of hosts that are ready at `now`."""

    def ack(self, claims: Iterable[Claim], statuses: Mapping[int, int | None] = NO_STATUSES) -> None:
        """Say that these are done, and by their numbers what was answered."""

    def delay(self, origin: str, until: float) -> None:
        """Let nobody claim from a host before `until`; an earlier time than it has already changes nothing."""

    def block(self, origin: str) -> None:
        """Give up a host: nothing of it is claimed any more, now or later."""

    def next_time(self) -> float | None:
        """Return from when on there is something to claim; None if that takes an `ack` or a `put`."""

    def commit(self, mark: str = "") -> None:
        """Make what happened since the last commit last."""

    def status_of(self, url: str) -> int | None:
        """Return what was answered at a URL; None if that was nothing, or is not known."""

    def url_of(self, number: int) -> str | None:
        """Return the URL of an address by its number."""

    def statistics(self) -> FrontierStatistics:
        """Count the addresses by state."""

    def close(self) -> None:
        """Let go of everything; what was not committed has not happened."""


def rank_of(depth: int, priority: float = 0.5) -> int:
    """Return the rank of an address: near to the start first, then what a sitemap says (0 to 1)."""
    return depth * RANK_PER_STEP + int((0.5 - priority) * RANK_PER_STEP)
