"""Which of several addresses to try first (RFC 6724), as libc orders them, with the tables of /etc/gai.conf.

The kernel says from which address it would talk to each: a UDP connect looks that up and sends nothing. The rest is
comparing. Rule 7 (native transport) is left out, as no interface says so; rule 9 compares IPv4 addresses only within
the source's own network, as libc does.
"""

from _socket import socket as KernelSocket  # noqa: N812 - a class
from collections.abc import Callable, Sequence
from ipaddress import ip_network
from socket import AF_INET, AF_INET6, SOCK_CLOEXEC, SOCK_DGRAM, inet_pton
from typing import Final, NamedTuple

from greenprobe.dns.interfaces import Interface

__all__ = ["Ordering", "Policy", "parse_gai_conf", "source_of"]

Table = tuple[tuple[int, int, int], ...]  # bits to shift out, the prefix without them, value; the longest first

MAPPED: Final = 0xFFFF << 32
KIND: Final = int(SOCK_DGRAM | SOCK_CLOEXEC)
PREFIXES: Final = [  # RFC 6724, section 2.1, and libc's: prefix, precedence, label
    ("::1/128", 50, 0),
    ("::/0", 40, 1),
    ("2002::/16", 30, 2),
    ("::/96", 20, 3),
    ("::ffff:0:0/96", 10, 4),
    ("fec0::/10", 40, 5),
    ("fc00::/7", 40, 6),
    ("2001:0::/32", 40, 7),
]
LINK_LOCAL, SITE_LOCAL, GLOBAL = 2, 5, 14
NEAR: Final = ("127.", "::1", "::ffff:")  # loopback, and IPv4 in the clothes of IPv6: ask in any case


def table_of(rows: Sequence[tuple[str, int]]) -> Table:
    """Return a table to look the longest match up in."""
    networks = [(ip_network(prefix, strict=False), value) for prefix, value in rows]
    found = []
    for each, value in networks:
        shift = each.max_prefixlen - each.prefixlen
        found.append((shift, as_ipv6(each.network_address.packed) >> shift, value))
    return tuple(sorted(found))


def as_ipv6(packed: bytes) -> int:
    """Return a packed address as a number, one of IPv4 mapped into IPv6."""
    return int.from_bytes(packed, "big") | (MAPPED if len(packed) == 4 else 0)


PRECEDENCE: Final = table_of([(prefix, precedence) for prefix, precedence, _ in PREFIXES])
LABEL: Final = table_of([(prefix, label) for prefix, _, label in PREFIXES])


class Policy(NamedTuple):
    """The tables of precedence and labels."""

    precedence: Table = PRECEDENCE
    label: Table = LABEL


def parse_gai_conf(text: str) -> Policy:
    """Return the tables that a gai.conf gives: one that it mentions is replaced as a whole (gai.conf(5))."""
    rows: dict[str, list[tuple[str, int]]] = {"precedence": [], "label": []}
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if len(words) != 3 or words[0] not in rows or not words[2].isdigit():
            continue
        try:
            ip_network(words[1], strict=False)
        except ValueError:
            continue
        rows[words[0]].append((words[1], int(words[2])))
    default = Policy()
    return Policy(
        table_of(rows["precedence"]) if rows["precedence"] else default.precedence,
        table_of(rows["label"]) if rows["label"] else default.label,
    )


def source_of(address: str) -> str | None:
    """Return the address from which this machine would talk to another, or None if no route leads there."""
    try:
        sock = KernelSocket(AF_INET6 if ":" in address else AF_INET, KIND)
    except OSError:
        return None
    try:
        sock.connect((address, 65535))
        source: str = sock.getsockname()[0]
    except OSError:
        return None
    finally:
        sock.close()
    return source


class Way(NamedTuple):
    """Whom the kernel lets us talk from, and what the rules want to know of that; `is_deprecated` is an interface's."""

    source: int
    scope: int
    label: int
    is_deprecated: bool
    interface: Interface | None


class Ordering:
    """How this machine orders addresses at a time; make a new one when routes or interfaces may have changed.

    The kernel is asked once for each /24 and /64, the smallest networks that have routes of their own on the internet:
    it takes four system calls. For this machine's own addresses, and those with a scope, each is asked for. For a
    family of which no interface but loopback has an address, there is no way.
    """

    def __init__(
        self, policy: Policy, here: Sequence[Interface], find_source: Callable[[str], str | None] = source_of
    ) -> None:
        self._policy = policy
        self._here = {each.address: each for each in here}
        self._reach = {each.family for each in here if not each.is_loopback}
        self._find_source = find_source
        self._ways: dict[int, Way | None] = {}

    def sort(self, addresses: Sequence[str]) -> list[str]:
        """Return addresses, best first."""
        return sorted(addresses, key=self._rank)

    def _rank(self, address: str) -> tuple[int, ...]:
        """Return what to sort by, the smaller the better. Source: RFC 6724, section 6; the numbers are its rules.

        A key can stand for the rules, which compare pairs, as each of them looks at one address and its source only;
        rule 9 is between addresses of one family, and the family is settled before by the precedence.
        """
        target = number_of(address)
        way = self._way(address, target)
        precedence = look_up(self._policy.precedence, target)
        reach = scope(target)
        if way is None:
            return (1, 0, 0, 0, -precedence, reach, 0)
        return (
            0,  # 1: avoid unusable destinations
            reach != way.scope,  # 2: prefer matching scope
            way.is_deprecated,  # 3: avoid deprecated addresses
            look_up(self._policy.label, target) != way.label,  # 5: prefer matching label
            -precedence,  # 6: prefer higher precedence
            reach,  # 8: prefer smaller scope
            -common_bits(target, way.source, way.interface),  # 9: use longest matching prefix
        )

    def _way(self, address: str, target: int) -> Way | None:
        """Return the way to an address, None if there is none."""
        if address in self._here or "%" in address:
            return self._find_way(address)
        network = target >> 64 or target >> 8
        try:
            return self._ways[network]
        except KeyError:
            way = self._ways[network] = self._find_way(address)
            return way

    def _find_way(self, address: str) -> Way | None:
        family = AF_INET6 if ":" in address else AF_INET
        source = self._find_source(address) if family in self._reach or address.startswith(NEAR) else None
        if source is None:
            return None
        interface = self._here.get(source)
        number = number_of(source)
        is_deprecated = interface is not None and interface.is_deprecated
        return Way(number, scope(number), look_up(self._policy.label, number), is_deprecated, interface)


def number_of(address: str) -> int:
    """Return an address as a number, its scope left out."""
    if ":" in address:
        return int.from_bytes(inet_pton(AF_INET6, address.partition("%")[0]), "big")
    return int.from_bytes(inet_pton(AF_INET, address), "big") | MAPPED


def look_up(table: Table, address: int) -> int:
    """Return the value of the longest prefix that fits."""
    for shift, prefix, value in table:
        if address >> shift == prefix:
            return value
    return 1


def scope(address: int) -> int:
    """Return the scope of an address. Source: RFC 6724, sections 3.1 and 3.2."""
    if address >> 32 == 0xFFFF:
        is_near = address >> 24 & 0xFF == 127 or address >> 16 & 0xFFFF == 0xA9FE
        return LINK_LOCAL if is_near else GLOBAL
    high = address >> 112
    if high >= 0xFF00:
        return high & 15
    if address == 1 or high & 0xFFC0 == 0xFE80:
        return LINK_LOCAL
    return SITE_LOCAL if high & 0xFFC0 == 0xFEC0 else GLOBAL


def common_bits(target: int, source: int, interface: Interface | None) -> int:
    """Return how many bits from the front are the same; of IPv4, only within the network of the source."""
    same = 128 - (target ^ source).bit_length()
    if target >> 32 != 0xFFFF:
        return same
    return same if interface is not None and same - 96 >= interface.prefix else 0
