"""DNS messages the fast way: queries made of names, and the replies that most names get, read without a library.

`read_plain` may only say no too often: it reads records of a few types in messages without surprises, and returns None
for the rest, which `library.py` reads with dnspython. A test feeds both the same mutated messages: what is read here
is what dnspython reads. It costs a twelfth of dnspython's 40 µs.

Records are in presentation format (RFC 1035, section 5.1): names end in a dot, data is as in a zone file.
Sources: RFC 1035, section 4; RFC 6891 (EDNS); RFC 2181, section 8 (a TTL with the top bit set is 0).
"""

import re
from collections.abc import Callable
from functools import lru_cache, partial
from socket import AF_INET, AF_INET6, inet_ntop
from struct import Struct, error as StructError  # noqa: N812 - a class
from typing import Final, NamedTuple

__all__ = [
    "FORMERR",
    "NOERROR",
    "NOTIMP",
    "NXDOMAIN",
    "REFUSED",
    "SERVFAIL",
    "TRUNCATED",
    "TYPES",
    "Question",
    "Record",
    "Reply",
    "encode_name",
    "make_query",
    "question",
    "read_plain",
]

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)
AUTHORITATIVE, TRUNCATED, RECURSION_AVAILABLE = 0x0400, 0x0200, 0x0080
RECURSION_DESIRED, AUTHENTIC, CHECKING_DISABLED = 0x0100, 0x0020, 0x0010
OPCODE: Final = 0x7800
DNSSEC_OK: Final = 0x8000  # in the flags of EDNS

TYPES: Final = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "AAAA": 28}  # those that are read here
OPT: Final = 41
IN: Final = 1
PAYLOAD_BYTES: Final = 1232  # what EDNS says we take: fits every path unfragmented (DNS flag day 2020)
MAX_TTL: Final = 0x7FFFFFFF
MAX_NAME_BYTES: Final = 255
MAX_LABEL_BYTES: Final = 63
MAX_POINTERS: Final = 16  # on the way through one name; servers need one, at most three or four
PLAIN_NAME: Final = re.compile(rb"[A-Za-z0-9_*/+=.-]*\Z").match  # what needs no escape in presentation format
LENGTHS: Final = [bytes([length]) for length in range(256)]

read_head = Struct("!HHHHHH").unpack_from
write_head = Struct("!HHHHHH").pack
read_fixed = Struct("!HHIH").unpack_from
read_numbers = Struct("!IIIII").unpack_from


class Question(NamedTuple):
    """A name and a type: `name` ends in a dot, `wire` is how both stand in a message."""

    name: str
    type: str
    wire: bytes


class Record(NamedTuple):
    """A resource record of class IN, in presentation format. `ttl` is seconds."""

    name: str
    type: str
    ttl: int
    data: str


class Reply(NamedTuple):
    """What a server said. `rcode` has the bits of EDNS, too; `flags` are those of the header (RFC 1035, 4.1.1)."""

    rcode: int
    flags: int
    answer: tuple[Record, ...]
    authority: tuple[Record, ...]
    additional: tuple[Record, ...]


new_question: Callable[..., Question] = partial(tuple.__new__, Question)
new_record: Callable[..., Record] = partial(tuple.__new__, Record)


def encode_name(name: str) -> bytes:
    """Return a plain ASCII name as it stands in a message, its final dot optional.

    Raises ValueError if a label or the name is too long, or empty, or needs escapes.
    """
    if len(name) > MAX_NAME_BYTES:  # first: it bounds the recursion
        raise ValueError(f"a name of {len(name):,} characters is longer than 255 bytes")
    first, dot, parent = name.partition(".")
    if not (first or (dot and parent)):
        return b"\0"
    label = first.encode("ascii")
    if not PLAIN_NAME(label):
        raise ValueError(f"{name!r} has characters that need care")
    if not 0 < len(label) <= MAX_LABEL_BYTES or parent == ".":
        raise ValueError(f"a label of {name!r} is empty, or has more than 63 bytes")
    wire = LENGTHS[len(label)] + label + (encode_parent(parent) if parent else b"\0")
    if len(wire) > MAX_NAME_BYTES:
        raise ValueError(f"{name!r} is longer than 255 bytes")
    return wire


@lru_cache(maxsize=4096)  # the names of a list have the same few parents
def encode_parent(name: str) -> bytes:
    """Return what `encode_name` does."""
    return encode_name(name)


def question(name: str, kind: str, number: int = 0, encoded: bytes | None = None) -> Question:
    """Return the question for a name and a type; `number` is the type's if it is none of TYPES. Raises ValueError."""
    wire = encode_name(name) if encoded is None else encoded
    return new_question((name if name[-1:] == "." else name + ".", kind, wire + end_of_question(number or TYPES[kind])))


@lru_cache(maxsize=256)
def end_of_question(number: int) -> bytes:
    """Return a type and the class IN as they stand in a message."""
    return number.to_bytes(2, "big") + b"\0\1"


def make_query(
    number: int, asked: bytes, *, flags: int = RECURSION_DESIRED, edns: bool = True, dnssec: bool = False
) -> bytes:
    """Return a query: `number` is its id, `asked` the question as it stands in a message."""
    head = write_head(number, flags, 1, 0, 0, 1 if edns else 0)
    return head + asked + (OPTIONS[dnssec] if edns else b"")


def options(*, dnssec: bool) -> bytes:
    """Return the OPT record that queries end in (RFC 6891, section 6.1.2)."""
    flags = DNSSEC_OK if dnssec else 0
    return b"\0" + Struct("!HHIH").pack(OPT, PAYLOAD_BYTES, flags, 0)


OPTIONS: Final = {dnssec: options(dnssec=dnssec) for dnssec in (False, True)}


# -- reading


class NotPlainError(Exception):
    """The message is one for the library."""


Names = dict[int, str]


def read_plain(wire: bytes, asked: Question) -> Reply | None:
    """Return the reply to `asked` that `wire` holds, or None if it takes a library to say, or is malformed."""
    at = 12 + len(asked.wire)
    try:
        _, flags, questions, *counts = read_head(wire)
        if questions != 1 or wire[12:at] != asked.wire or flags & OPCODE:
            return None
        names = {12: asked.name}
        answer, at, _ = read_section(wire, at, counts[0], names)
        authority, at, _ = read_section(wire, at, counts[1], names) if counts[1] else ((), at, 0)
        if counts[2] == 1 and wire[at:] == PLAIN_OPTIONS and flags & 15 <= NXDOMAIN:
            return new_reply((flags & 15, flags, answer, authority, ()))  # as most end
        additional, at, high = read_section(wire, at, counts[2], names, may_end=True) if counts[2] else ((), at, 0)
    except (NotPlainError, IndexError, StructError):
        return None
    return Reply(flags & 15 | high, flags, answer, authority, additional) if at == len(wire) else None


PLAIN_OPTIONS: Final = options(dnssec=False)  # what we send is what most answer
new_reply: Callable[..., Reply] = partial(tuple.__new__, Reply)


def read_section(
    wire: bytes, at: int, count: int, names: Names, *, may_end: bool = False
) -> tuple[tuple[Record, ...], int, int]:
    """Read `count` records; return them, where they end, and the high bits of the rcode.

    Those are in the OPT record, which may be there if `may_end`.
    """
    found = []
    high = -1
    for _ in range(count):
        if wire[at] == 0xC0 and wire[at + 1] == 12:
            name = names[12]
            at += 2
        elif may_end and not wire[at] and high < 0 and wire[at + 1 : at + 3] == b"\0\x29":
            high = read_options(wire, at)
            at += 11
            continue
        else:
            name, at = read_name(wire, at, names)
        kind, class_, ttl, length = read_fixed(wire, at)
        at += 10
        end = at + length
        reader = READERS.get(kind)
        if reader is None or class_ != IN or end > len(wire):
            raise NotPlainError
        found.append(new_record((name, TYPE_NAMES[kind], ttl if ttl <= MAX_TTL else 0, reader(wire, at, end, names))))
        at = end
    return tuple(found), at, max(high, 0)


def read_options(wire: bytes, at: int) -> int:
    """Return the high bits of the rcode in an OPT record; with options in it, it is not plain."""
    _, _, ttl, length = read_fixed(wire, at + 1)
    if length:
        raise NotPlainError
    return int(ttl >> 24) << 4


def read_name(wire: bytes, at: int, names: Names) -> tuple[str, int]:
    """Return a name and where it ends. A pointer must lead further back than any before it (RFC 1035, 4.1.4).

    Pointers that lead to pointers would cost the square of a long message: 4 s for 64 KB.
    """
    start = first = lowest = at
    end = pointers = 0
    labels: list[bytes] = []
    tail = ""
    while length := wire[at]:
        if length <= MAX_LABEL_BYTES:
            labels.append(wire[at + 1 : at + 1 + length])
            at += length + 1
            continue
        target = (length & 0x3F) << 8 | wire[at + 1]
        end = end or at + 2
        pointers += 1
        if length < 0xC0 or target >= lowest or pointers > MAX_POINTERS:
            raise NotPlainError
        if target in names:
            tail = names[target]
            break
        if at == start:  # all of it is there
            first = target
        at = lowest = target
    else:
        end = end or at + 1
    text = join_labels(labels) + tail or "."
    if len(text) >= MAX_NAME_BYTES or (tail == "." and labels):
        raise NotPlainError
    names[start] = names[first] = text
    return text, end


def join_labels(labels: list[bytes]) -> str:
    """Return labels in presentation format, each with a dot behind it, if none needs an escape."""
    if not labels:
        return ""
    joined = b".".join(labels)
    if joined.count(b".") != len(labels) - 1 or not PLAIN_NAME(joined):
        raise NotPlainError
    return joined.decode("ascii") + "."


def read_ipv4(wire: bytes, at: int, end: int, names: Names) -> str:
    if end - at != 4:
        raise NotPlainError
    return inet_ntop(AF_INET, wire[at:end])


def read_ipv6(wire: bytes, at: int, end: int, names: Names) -> str:
    if end - at != 16:
        raise NotPlainError
    return inet_ntop(AF_INET6, wire[at:end])


def read_target(wire: bytes, at: int, end: int, names: Names) -> str:
    name, stop = read_name(wire, at, names)
    if stop != end:
        raise NotPlainError
    return name


def read_soa(wire: bytes, at: int, end: int, names: Names) -> str:
    server, at = read_name(wire, at, names)
    mailbox, at = read_name(wire, at, names)
    if at + 20 != end:
        raise NotPlainError
    return " ".join([server, mailbox, *map(str, read_numbers(wire, at))])


READERS: Final[dict[int, Callable[[bytes, int, int, Names], str]]] = {
    1: read_ipv4,
    2: read_target,
    5: read_target,
    6: read_soa,
    12: read_target,
    28: read_ipv6,
}
TYPE_NAMES: Final = {number: name for name, number in TYPES.items()}
