"""Which addresses and ports to probe: words become ranges of integers, and a number becomes an (address, port).

Nothing is ever expanded: a /0 is one range. Ranges are sorted and disjoint, so an address named twice is probed once
and an exclusion is a subtraction. Text is made when a probe needs it. Resolving names is an argument, as it waits.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_network
from itertools import accumulate, chain, product
from math import prod
from operator import attrgetter
from socket import AF_INET, AF_INET6, if_nameindex, if_nametoindex, inet_ntop
from typing import Final, NamedTuple

from greenprobe.engine.order import Permutation
from greenprobe.engine.ports import Ports
from greenprobe.errors import TargetError

__all__ = ["BLOCK", "Address", "Hosts", "Resolve", "Span", "Target", "Targets", "parse_hosts", "scope_id_of"]

WIDTH: Final[dict[int, int]] = {AF_INET: 4, AF_INET6: 16}
LINK_LOCAL: Final = (0xFE80 << 112, (0xFEC0 << 112) - 1)
NUMERIC: Final = re.compile(r"[0-9./]+", re.ASCII)
OCTETS: Final = re.compile(r"[0-9,-]+(\.[0-9,-]+){3}", re.ASCII)
FROM_TO: Final = re.compile(r"(\d+\.\d+\.\d+\.\d+)-(\d+\.\d+\.\d+\.\d+)", re.ASCII)
WITHOUT_PORT: Final = re.compile(r":\d*\Z")
MAX_SPANS: Final = 1 << 18  # that one word of octet ranges may come to
NAME: Final = re.compile(r"[\w-]+(\.[\w-]+)*\.?")

BLOCK: Final = 2048  # hosts that are scanned side by side

# A place in the order, the index of the host, the port.
Target = tuple[int, int, int]
# Gives the addresses of a name, best first; raises OSError where it has none.
Resolve = Callable[[str], list[str]]
# Calls a function for each of some names, and gives what it returns in their order.
Spread = Callable[[Resolve, Iterable[str]], Iterable[list[str]]]


class Address(NamedTuple):
    """An address as a socket wants it. `scope_id` is 0 but for link-local IPv6; `text` is what to show."""

    family: int
    ip: str
    scope_id: int
    text: str


class Span(NamedTuple):
    """The addresses from `low` to `high`, as integers; `scope` is an interface's name or "" (IPv6 only)."""

    family: int
    scope: str
    low: int
    high: int


class Hosts:
    """A set of addresses in numeric order: `hosts.at(i)` is one of `hosts.count`. `names` says who asked by name."""

    __slots__ = ("_ends", "count", "names", "spans")

    def __init__(self, spans: Iterable[Span], *, names: dict[str, str] | None = None) -> None:
        self.spans = _merge(sorted(spans))
        self._ends = list(accumulate(span.high - span.low + 1 for span in self.spans))
        self.count = self._ends[-1] if self._ends else 0
        self.names = names if names is not None else {}

    def __repr__(self) -> str:
        return f"<Hosts: {self.count} addresses in {len(self.spans)} spans>"

    def at(self, index: int) -> Address:
        """Return the address at place `index`; raises IndexError outside of 0..count-1."""
        if not 0 <= index < self.count:
            raise IndexError(f"host {index} is outside of 0..{self.count - 1}")
        place = bisect_right(self._ends, index)
        family, scope, _, high = self.spans[place]
        number = high - (self._ends[place] - 1 - index)
        ip = inet_ntop(family, number.to_bytes(WIDTH[family], "big"))
        if not scope:
            return Address(family, ip, 0, ip)
        return Address(family, ip, scope_id_of(scope), f"{ip}%{scope}")

    def name_of(self, address: Address) -> str:
        """Return the name that led to `address`, or its text if it was asked for by number."""
        return self.names.get(address.text, address.text)

    def without(self, excluded: "Hosts") -> "Hosts":
        """Return the addresses that are not in `excluded`."""
        return Hosts(_subtract(self.spans, excluded.spans), names=self.names)


class Targets:
    """Every (host, port), each once, in the pseudo-random order of `seed`.

    The hosts come in blocks of BLOCK: within a block all is mixed, and a block is finished before the next one begins.
    So what a scan learns of a host can be used while it is known, however many hosts there are.
    """

    __slots__ = ("count", "hosts", "ports", "seed")

    def __init__(self, hosts: Hosts, ports: Ports, *, seed: int) -> None:
        self.hosts = hosts
        self.ports = ports
        self.seed = seed
        self.count = hosts.count * len(ports)

    def walk(self, start: int = 0, stride: int = 1) -> Iterator[Target]:
        """Yield what comes at places start, start + stride, ... of the order."""
        width = len(self.ports)
        size = BLOCK * width
        place = start
        while place < self.count:
            first = place - place % size
            order = Permutation(min(size, self.count - first), self.seed + first)
            yield from self._walk_block(order, first, place, stride)
            place += -(-(first + order.size - place) // stride) * stride

    def at(self, place: int) -> Target:
        """Return what comes at one place of the order. Raises IndexError outside of 0..count-1."""
        if not 0 <= place < self.count:
            raise IndexError(f"place {place} is outside of 0..{self.count - 1}")
        return next(self.walk(place))

    def _walk_block(self, order: Permutation, first: int, place: int, stride: int) -> Iterator[Target]:
        ports = self.ports
        width = len(ports)
        host = first // width
        for index in order.walk(place - first, stride):
            yield place, host + index // width, ports[index % width]
            place += stride


def parse_hosts(
    words: Iterable[str],
    resolve: Resolve,
    *,
    all_addresses: bool = False,
    spread: Spread = map,
    leave_out: Callable[[TargetError], object] | None = None,
) -> Hosts:
    """Return the addresses that `words` name: IPv4, IPv6 (with %scope), CIDR blocks, ranges of octets (10.0.0-3.1-254)
    or of addresses (10.0.0.1-10.0.2.5), host names.

    Of a name with several addresses the first is taken, or all. `spread` looks several names up at once, as map does
    one after the other. Raises TargetError, which names the word; of names without an address `leave_out` is told
    instead, if it is given.
    """
    spans: list[Span] = []
    names: dict[str, str] = {}
    asked: dict[str, None] = {}  # each name once, in order
    for word in words:
        span = _parse_number(word)
        found_spans = [span] if span is not None else _parse_range(word)
        spans += found_spans
        if not found_spans:
            asked[word] = None
    _refuse_no_names(asked)
    for word, addresses in zip(asked, spread(partial(_resolve, resolve, leave_out), asked), strict=True):
        for ip in addresses[: None if all_addresses else 1]:
            found = _parse_number(ip)
            if found is not None:
                spans.append(found)
                names.setdefault(Hosts([found]).at(0).text, word)
    return Hosts(spans, names=names)


def _parse_number(word: str) -> Span | None:
    """Return the span that an address or a block is, or None if `word` looks like a name."""
    text = word[1:-1] if word.startswith("[") and word.endswith("]") else word
    if NUMERIC.fullmatch(text):
        return _block(text, text, AF_INET, "")
    if ":" not in text:
        return None
    _refuse_url(word)
    before, percent, after = text.partition("%")
    scope, slash, prefix = after.partition("/")
    if percent and not scope:
        raise TargetError(f"{word!r} ends where an interface should be named; write {before}%{_interfaces()[0]}")
    span = _block(word, before + slash + prefix, AF_INET6, scope)
    _check_scope(word, span)
    return span


def _parse_range(word: str) -> list[Span]:
    """Return the spans of a range of addresses or of octets, none if `word` looks like a name."""
    ends = FROM_TO.fullmatch(word)
    if ends is not None:
        low, high = (_block(word, end, AF_INET, "").low for end in ends.groups())
        if low > high:
            raise TargetError(f"{word!r} runs backwards; write {ends[2]}-{ends[1]}")
        return [Span(AF_INET, "", low, high)]
    if not OCTETS.fullmatch(word):
        return []
    first, second, third, last = (_octet(word, part) for part in word.split("."))
    if prod(sum(map(len, part)) for part in (first, second, third)) > MAX_SPANS:
        raise TargetError(f"{word!r} is too many pieces; write blocks such as 10.0.0.0/8, and --exclude the rest")
    spans = []
    for a, b, c in product(*(chain.from_iterable(part) for part in (first, second, third))):
        base = a << 24 | b << 16 | c << 8
        spans += [Span(AF_INET, "", base + part[0], base + part[-1]) for part in last]
    return spans


def _octet(word: str, text: str) -> list[range]:
    """Return the ranges that one octet names: 1, 1-5, 1,3,7-9 or - for all."""
    ranges = []
    for part in text.split(","):
        first, dash, after = part.partition("-")
        low = int(first) if first else 0
        high = int(after) if after.isdecimal() else 255 if dash and not after else low
        if not (part and low <= high <= 255) or (after and not after.isdecimal()):
            raise TargetError(f"{word!r} has {part!r} for an octet; write numbers and ranges from 0 to 255")
        ranges.append(range(low, high + 1))
    return ranges


def _block(word: str, text: str, family: int, scope: str) -> Span:
    address, slash, prefix = text.partition("/")
    kind, bits = (IPv4Address, 32) if family == AF_INET else (IPv6Address, 128)
    try:
        kind(address)
    except AddressValueError:
        how = "four numbers from 0 to 255" if family == AF_INET else "groups of hexadecimal digits such as 2001:db8::1"
        raise TargetError(f"{word!r} is no IPv{4 if bits == 32 else 6} address; write {how}") from None
    if slash and not (prefix.isdecimal() and prefix.isascii() and int(prefix) <= bits):
        raise TargetError(f"{word!r} has no prefix length that fits; write {address}/N with N from 0 to {bits}")
    network = ip_network(text, strict=False)
    return Span(family, scope, int(network.network_address), int(network.broadcast_address))


def _check_scope(word: str, span: Span) -> None:
    if span.scope:
        try:
            scope_id_of(span.scope)
        except OSError:
            known = ", ".join(_interfaces())
            raise TargetError(f"{word!r}: there is no interface {span.scope!r} here; there are {known}") from None
    elif LINK_LOCAL[0] <= span.low and span.high <= LINK_LOCAL[1]:
        raise TargetError(f"{word!r} is link-local: say on which interface, as in {word}%{_interfaces()[-1]}")


def scope_id_of(scope: str) -> int:
    """Return the number of an interface given by name or number. Raises OSError if there is none."""
    return int(scope) if scope.isdecimal() and scope.isascii() else if_nametoindex(scope)


def _interfaces() -> list[str]:
    return [name for _, name in if_nameindex()] or ["eth0"]


def _refuse_url(word: str) -> None:
    scheme, found, rest = word.partition("://")
    if found:
        host = WITHOUT_PORT.sub("", rest.partition("/")[0].rpartition("@")[2])
        raise TargetError(f"{word!r} is a URL; write its host only: {host or scheme}")
    name, _, port = word.rpartition(":")
    if ":" not in name and port.isdecimal():
        raise TargetError(f"{word!r} has a port in it; ports are the last word: greenprobe scan {name} {port}")


def _refuse_no_names(words: Iterable[str]) -> None:
    """Raise TargetError for a word that cannot be a name, before any is looked up."""
    for word in words:
        if not NAME.fullmatch(word):
            _refuse_url(word)
            raise TargetError(f"{word!r} is no host; write a name, an address, or a block such as 192.0.2.0/24")


def _resolve(resolve: Resolve, leave_out: Callable[[TargetError], object] | None, word: str) -> list[str]:
    """Return the addresses of a name; where it has none raise TargetError, or tell `leave_out` and return nothing."""
    why = ""
    try:
        if found := resolve(word):
            return found
    except (OSError, UnicodeError) as exc:
        why = f" ({getattr(exc, 'strerror', None) or exc})"
    failure = TargetError(f"host {word!r} has no address{why}; check the name, or give its address")
    if leave_out is None:
        raise failure
    leave_out(failure)
    return []


def _merge(spans: list[Span]) -> list[Span]:
    """Join sorted spans of one family and scope that overlap or touch."""
    merged: list[Span] = []
    for span in spans:
        last = merged[-1] if merged else None
        if last is not None and last[:2] == span[:2] and span.low <= last.high + 1:
            merged[-1] = last._replace(high=max(last.high, span.high))
        else:
            merged.append(span)
    return merged


def _subtract(spans: list[Span], excluded: list[Span]) -> list[Span]:
    """Return what is left; an exclusion without scope counts for every scope. Both lists are sorted and disjoint."""
    holes: dict[tuple[int, str], list[Span]] = {}
    for hole in excluded:
        holes.setdefault(hole[:2], []).append(hole)
    left: list[Span] = []
    for span in spans:
        meeting = [hole for scope in {"", span.scope} for hole in _meeting(span, holes.get((span.family, scope), []))]
        left += _punch(span, sorted(meeting, key=_LOW))
    return left


def _meeting(span: Span, holes: list[Span]) -> Iterator[Span]:
    """Yield the holes of one scope that share an address with `span`."""
    for place in range(bisect_left(holes, span.low, key=_HIGH), len(holes)):
        if holes[place].low > span.high:
            return
        yield holes[place]


def _punch(span: Span, holes: list[Span]) -> Iterator[Span]:
    low = span.low
    for hole in holes:
        if hole.low > low:
            yield span._replace(low=low, high=hole.low - 1)
        low = max(low, hole.high + 1)
    if low <= span.high:
        yield span._replace(low=low)


_LOW, _HIGH = attrgetter("low"), attrgetter("high")
