"""What is known of names and hosts, and how it is put together: a fact from a reply, what is found from facts. Pure."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

from greenprobe.dns.chain import follow
from greenprobe.dns.hosts import Entry
from greenprobe.dns.resolution import Result
from greenprobe.dns.wire import AUTHENTIC, NOERROR, Question, Reply
from greenprobe.errors import DnsFormError

__all__ = [
    "Fact",
    "Found",
    "complaints",
    "emptiness",
    "is_said_authentic",
    "merged",
    "of_hosts",
    "plain_fact",
    "worst",
]


class Fact(NamedTuple):
    """What is known of a name and a type. `status` as in `Result`; NOERROR without `data` is "none of that type".

    `canonical` is the name at the end of `aliases`; `reason` says who said what, where there is no data.
    `is_authentic` is True where DNSSEC proves it, or a server says so that resolv.conf has us trust (`trust-ad`), False
    where a zone is not signed, None where nobody looked; what is forged has the status BOGUS, and no data.
    """

    status: str
    data: tuple[str, ...]
    canonical: str
    aliases: tuple[str, ...]
    ttl: float
    reason: str
    is_authentic: bool | None = None


new_fact: Callable[..., Fact] = partial(tuple.__new__, Fact)


class Found(NamedTuple):
    """What is known of a host, or of an address: its status is NOERROR only if there is something in it."""

    status: str
    canonical: str
    aliases: tuple[str, ...]
    addresses: tuple[str, ...]
    reason: str
    until: float


# -- facts


def plain_fact(question: Question, result: Result) -> Fact | None:
    """Return what a reply says that has all there is to say; None if it leads on, or in a circle."""
    assert result.reply is not None
    try:
        data, canonical, aliases, ttl, ends_short = follow(question, result.reply)
    except DnsFormError:
        return None
    if ends_short:
        return None
    if result.reply.rcode != NOERROR:
        data = ()
    reason = "" if data else f"{result.server}: {result.status}"
    return new_fact((result.status, data, canonical, aliases, ttl, reason, None))


def is_said_authentic(reply: Reply | None) -> bool:
    """Tell whether a server says that it has checked the signatures (the bit AD). Source: RFC 4035, section 3.2.3."""
    return reply is not None and bool(reply.flags & AUTHENTIC)


def complaints(result: Result) -> str:
    """Say in one line what each server said."""
    return ", ".join(dict.fromkeys(str(each) for each in result.complaints)) or "no server was asked"


# -- what is found


def of_hosts(lines: Sequence[Entry], now: float) -> Found:
    """Return what lines of the hosts file say; it holds for no time, as the file is looked at each time."""
    canonical = lines[0].canonical
    aliases = list(lines[0].aliases)
    for line in lines[1:]:
        aliases += line.aliases
        if line.canonical != canonical:
            aliases.append(line.canonical)
    return Found("NOERROR", canonical, tuple(aliases), tuple(line.address for line in lines), "", now)


def merged(name: str, facts: Sequence[Fact], until: float) -> Found:
    """Put what is known of a name by several types together. Addresses of one excuse the failure of the other."""
    good = [fact for fact in facts if fact.data]
    if good:
        addresses = tuple(address for fact in good for address in fact.data)
        aliases = tuple(alias.removesuffix(".") for alias in good[0].aliases)
        canonical = good[0].canonical if aliases else name  # in the case of letters that this asker used
        return Found("NOERROR", canonical.removesuffix("."), aliases, addresses, "", until)
    return worst([Found(emptiness(each), name, (), (), each.reason, until) for each in facts])


def emptiness(fact: Fact) -> str:
    """Return the status of a fact without data; DANGLING is an alias that leads to nothing."""
    if fact.status != "NOERROR":
        return fact.status
    return "DANGLING" if fact.aliases else "NODATA"


def worst(found: Sequence[Found]) -> Found:
    """Return which of several failures to report: one that may pass first, then that the name is there, at least."""
    return min(found, key=lambda each: RANK.get(each.status, 0))


RANK: Final = {"NODATA": 1, "DANGLING": 2, "NXDOMAIN": 3}
