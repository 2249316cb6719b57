"""From a question through CNAMEs to its data: what of a reply counts, and for how long. Pure.

Only records that hang on the question's name are looked at: whatever else a server, or a forger, put into the reply is
never believed of another name.
"""

from typing import Final, NamedTuple

from greenprobe.dns.wire import NOERROR, Question, Record, Reply
from greenprobe.errors import DnsFormError

__all__ = ["MAX_ALIASES", "Chain", "follow", "negative_ttl"]

MAX_ALIASES: Final = 16  # as many as BIND and Unbound follow, about; libc has no limit within one reply


class Chain(NamedTuple):
    """Where a question led. `aliases` are the names passed on the way to `canonical`, `ttl` holds for all of it.

    `ends_short` says that the reply stops at an alias: the server has not followed it, so ask for `canonical`.
    """

    data: tuple[str, ...]
    canonical: str
    aliases: tuple[str, ...]
    ttl: float
    ends_short: bool


def follow(question: Question, reply: Reply) -> Chain:
    """Follow the aliases in a reply. Raises DnsFormError if they go in a circle, or are too many."""
    answer = reply.answer
    if len(answer) == 1 and answer[0].name == question.name and answer[0].type == question.type:
        return Chain((answer[0].data,), question.name, (), answer[0].ttl, False)  # as most are
    by_name: dict[str, list[Record]] = {}
    for record in answer:
        by_name.setdefault(record.name.lower(), []).append(record)
    name, ttl = question.name, float("inf")
    aliases: list[str] = []
    while True:
        here = by_name.get(name.lower(), [])
        data = [record for record in here if record.type == question.type]
        alias = next((record for record in here if record.type == "CNAME"), None)
        if data or alias is None:
            return end_of_chain(reply, data, name, aliases, ttl)
        aliases.append(name)
        name, ttl = alias.data, min(ttl, alias.ttl)
        if len(aliases) > MAX_ALIASES or name.lower() in map(str.lower, aliases):
            raise DnsFormError(f"the aliases of {question.name} go in a circle, or are too many")


def end_of_chain(reply: Reply, data: list[Record], name: str, aliases: list[str], ttl: float) -> Chain:
    """Return the chain that ends at `name`, with data or without."""
    if data:
        ttl = min(ttl, *(record.ttl for record in data))
        return Chain(tuple(dict.fromkeys(record.data for record in data)), name, tuple(aliases), ttl, False)
    if aliases and reply.rcode == NOERROR and not any(record.type == "SOA" for record in reply.authority):
        return Chain((), name, tuple(aliases), ttl, True)
    return Chain((), name, tuple(aliases), min(ttl, negative_ttl(reply)), False)


def negative_ttl(reply: Reply) -> float:
    """Return for how long "there is none" holds: 0 if the reply does not say. Source: RFC 2308, sections 3 and 5."""
    for record in reply.authority:
        if record.type == "SOA":
            return min(record.ttl, int(record.data.rpartition(" ")[2]))
    return 0
