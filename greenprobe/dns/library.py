"""What takes a library: messages that are not plain, through dnspython, and international names, through idna.

dnspython knows all types and all rules; it takes 40 µs a message and 50 ms to load. So nothing imports this file but
`deferred.py`, which does so when the first such message or name comes along.
"""

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import idna

from greenprobe.dns.wire import MAX_TTL, Question, Record, Reply, question
from greenprobe.errors import DnsFormError

__all__ = ["ask", "read_reply", "to_ascii", "type_number"]


def read_reply(wire: bytes) -> tuple[Reply, tuple[str, str] | None]:
    """Return a reply, and the name and type it says it answers (None if it does not say).

    Raises DnsFormError if it is malformed.
    """
    try:
        message = dns.message.from_wire(wire, one_rr_per_rrset=True, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError, NotImplementedError) as exc:
        raise DnsFormError(f"the reply is malformed: {type(exc).__name__}") from exc
    sections = [
        tuple(
            Record(
                rrset.name.to_text(),
                dns.rdatatype.to_text(rrset.rdtype),
                rrset.ttl if rrset.ttl <= MAX_TTL else 0,
                rrset[0].to_text() if len(rrset) else "",
            )
            for rrset in section
        )
        for section in (message.answer, message.authority, message.additional)
    ]
    asked = message.question[0] if message.question else None
    about = (asked.name.to_text(), dns.rdatatype.to_text(asked.rdtype)) if asked is not None else None
    return Reply(int(message.rcode()), int(message.flags), *sections), about


def type_number(name: str) -> int:
    """Return the number of a type such as "MX" or "TYPE65280". Raises ValueError if there is none of that name."""
    try:
        return int(dns.rdatatype.from_text(name))
    except (dns.exception.DNSException, ValueError) as exc:
        raise ValueError(f"{name!r} is no type of DNS record") from exc


def ask(name: str, kind: str) -> Question:
    """Return the question for a name in presentation format, with escapes if need be. Raises ValueError."""
    try:
        parsed = dns.name.from_text(name)
    except dns.exception.DNSException as exc:
        raise ValueError(f"{name!r} is no name: {exc}") from exc
    return question(parsed.to_text(), kind, type_number(kind), parsed.to_wire())


def to_ascii(host: str) -> str:
    """Return an international name in ASCII. Source: IDNA 2008 (RFC 5891), mapped as UTS 46 says. Raises ValueError."""
    try:
        return idna.encode(host, uts46=True).decode("ascii")
    except idna.IDNAError as exc:
        raise ValueError(f"{host!r} is no name that IDNA 2008 allows: {exc}") from exc
