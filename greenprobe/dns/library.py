"""What takes a library: messages that are not plain, through dnspython, and international names, through idna.

dnspython knows all types and all rules; it takes 40 µs a message and 50 ms to load. So nothing imports this file but
`deferred.py`, which does so when the first such message or name comes along.

Facts. dnspython's messages compare the data of each record in canonical form, for which it makes a name of each tail of
each name in it. Failure: a reply of 64 KB, full of pointers to one long name, kept the hub busy for 36 s. Choice: names
and data are read by dnspython, and the walk through the message is ours; where a pointer leads is read once.
"""

import dns.exception
import dns.name
import dns.rdata
import dns.rdatatype
import dns.wire
import idna

from greenprobe.dns.wire import MAX_TTL, OPCODE, Question, Record, Reply, question
from greenprobe.errors import DnsFormError

__all__ = ["ask", "read_reply", "to_ascii", "type_number"]

ADDITIONAL = 2  # the last of the three sections of records


def read_reply(wire: bytes) -> tuple[Reply, tuple[str, str] | None]:
    """Return a reply, and the name and type it says it answers (None if it does not say).

    Raises DnsFormError if it is malformed.
    """
    try:
        return Walk(wire).reply()
    except (dns.exception.DNSException, ValueError, NotImplementedError) as exc:
        raise DnsFormError(f"the reply is malformed: {type(exc).__name__}") from exc


class Walk(dns.wire.Parser):
    """A walk through a message, which knows the names that it has met, by where they stand."""

    def __init__(self, wire: bytes) -> None:
        super().__init__(wire)
        self._names: dict[int, dns.name.Name] = {}
        self._texts: dict[dns.name.Name, str] = {}
        self._high: int | None = None  # bits of the rcode, once OPT was met

    def reply(self) -> tuple[Reply, tuple[str, str] | None]:
        """Read the whole message. Raises DNSException, DnsFormError."""
        _, flags, questions, *counts = self.get_struct("!HHHHHH")
        if flags & OPCODE:
            raise DnsFormError("the reply is malformed: it is none to a query")
        about = [self._question() for _ in range(questions)]
        sections = [self._section(number, count) for number, count in enumerate(counts)]
        return Reply(flags & 15 | (self._high or 0), flags, *sections), about[0] if about else None

    def get_name(self, origin: dns.name.Name | None = None, decompress: bool = False) -> dns.name.Name:
        """Read a name; also called by dnspython where there is one in the data of a record."""
        at = self.current
        if decompress and self.remaining() >= 2 and self.wire[at] >= 0xC0:
            at = (self.wire[at] & 0x3F) << 8 | self.wire[at + 1]
            if at in self._names:
                self.get_bytes(2)
                return self._names[at]
        name = self._names[at] = super().get_name(origin, decompress)
        return name

    def _question(self) -> tuple[str, str]:
        name = self.get_name(decompress=True)
        kind, _ = self.get_struct("!HH")
        return name.to_text(), dns.rdatatype.to_text(kind)

    def _section(self, number: int, count: int) -> tuple[Record, ...]:
        records = []
        for _ in range(count):
            name = self.get_name(decompress=True)
            kind, class_, ttl, length = self.get_struct("!HHIH")
            with self.restrict_to(length):
                data = dns.rdata.from_wire_parser(class_, kind, self)
            if kind == dns.rdatatype.OPT:
                self._take_options(name, ttl, number)
            elif kind == dns.rdatatype.TSIG:
                raise DnsFormError("the reply is malformed: it is signed with a key that nobody has")
            else:
                text = self._texts.get(name) or self._texts.setdefault(name, name.to_text())
                lasts = ttl if ttl <= MAX_TTL else 0
                records.append(Record(text, dns.rdatatype.to_text(kind), lasts, data.to_text()))
        return tuple(records)

    def _take_options(self, name: dns.name.Name, ttl: int, section: int) -> None:
        if self._high is not None or section != ADDITIONAL or name != dns.name.root:
            raise DnsFormError("the reply is malformed: OPT stands where it may not")
        self._high = ttl >> 24 << 4


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
