"""What a reply of an authoritative server leads to: pure decisions of an iterative resolver.

A referral counts only if it leads down: from the zone that the server was asked for to one below it, on the way to the
name. Addresses of name servers that come with it count only for names inside the zone that was asked; what a server
says of other names is hearsay. Sources: RFC 1034, section 5.3.3; RFC 2181, section 5.4.1; RFC 9471 (glue).
"""

from typing import Final, NamedTuple

from greenprobe.dns.wire import AUTHORITATIVE, NOERROR, Reply

__all__ = ["ROOT_SERVERS", "Referral", "is_below", "referral_in"]

# The IPv4 addresses of the thirteen root servers, a to m, as in IANA's root hints.
ROOT_SERVERS: Final = """
198.41.0.4 170.247.170.2 192.33.4.12 199.7.91.13 192.203.230.10 192.5.5.241 192.112.36.4
198.97.190.53 192.36.148.17 192.58.128.30 193.0.14.129 199.7.83.42 202.12.27.33
""".split()


class Referral(NamedTuple):
    """A zone cut: the zone below, its servers' names, what addresses came along, and for how many seconds it holds."""

    zone: str
    names: tuple[str, ...]
    glue: dict[str, tuple[str, ...]]
    ttl: int


def is_below(name: str, zone: str) -> bool:
    """Tell whether a name is in a zone, or is its apex. Both end in a dot and are in lower case."""
    return zone == "." or name == zone or name.endswith("." + zone)


def referral_in(reply: Reply, name: str, zone: str) -> Referral | None:
    """Return where a reply of a server of `zone` refers us to for `name`; None if it is no referral."""
    if reply.answer or reply.rcode != NOERROR or reply.flags & AUTHORITATIVE:
        return None
    name = name.lower()
    cuts = [record for record in reply.authority if record.type == "NS" and leads_down(record.name.lower(), name, zone)]
    if not cuts:
        return None
    cut = max((record.name.lower() for record in cuts), key=len)
    servers = tuple(dict.fromkeys(record.data.lower() for record in cuts if record.name.lower() == cut))
    return Referral(cut, servers, glue_in(reply, servers, zone), min(record.ttl for record in cuts))


def glue_in(reply: Reply, servers: tuple[str, ...], zone: str) -> dict[str, tuple[str, ...]]:
    """Return the addresses of servers that a server of `zone` may tell."""
    glue: dict[str, tuple[str, ...]] = {}
    for record in reply.additional:
        owner = record.name.lower()
        if record.type in {"A", "AAAA"} and owner in servers and is_below(owner, zone):
            glue[owner] = (*glue.get(owner, ()), record.data)
    return glue


def leads_down(cut: str, name: str, zone: str) -> bool:
    """Tell whether a cut is below `zone` and on the way to `name`."""
    return cut != zone and is_below(cut, zone) and is_below(name, cut)
