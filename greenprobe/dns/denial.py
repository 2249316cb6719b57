"""Proofs that something is not there: what NSEC and NSEC3 records say. Pure; their signatures are checked elsewhere.

A NSEC names the next name of its zone, so there is none in between, and the types that its own name has. NSEC3 does the
same with hashes of names, and may leave out delegations that are not signed ("opt-out"). Sources: RFC 4035, section
5.4; RFC 5155, sections 8.3 to 8.9; RFC 6840, section 4.1 (what a delegation does not prove); RFC 9276 (iterations).
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import dns.dnssec
import dns.name
import dns.rdatatype
import dns.rdtypes.util

__all__ = ["MAX_ITERATIONS", "Denial", "read_denial"]

MAX_ITERATIONS: Final = 150  # of NSEC3; more is treated as not signed, as the common validators do
OPT_OUT: Final = 1
ASTERISK: Final = dns.name.Name([b"*"])


class Span(NamedTuple):
    """One NSEC or NSEC3: from `owner` to `next` there is no other name, or hash of a name."""

    owner: Any
    next: Any
    types: frozenset[int]
    opts_out: bool

    def covers(self, what: Any) -> bool:
        """Tell whether `what` lies in between; the last span of a zone leads back to its first name."""
        if self.owner < self.next:
            return bool(self.owner < what < self.next)
        return bool(what > self.owner or what < self.next)

    @property
    def is_cut(self) -> bool:
        """Whether what is below the owner is not this zone's to deny: it is another's, or a DNAME moves it."""
        return is_delegation(self.types) or dns.rdatatype.DNAME in self.types


class Denial:
    """What a zone proves in a reply, of its own names. `hashed`: None for NSEC, else (algorithm, iterations, salt)."""

    def __init__(self, spans: Sequence[Span], hashed: tuple[int, int, bytes] | None) -> None:
        self._spans = spans
        self._hashed = hashed
        self._hashes: dict[dns.name.Name, str] = {}

    @property
    def is_too_dear(self) -> bool:
        """Whether it would take too many hashes to look at it."""
        return self._hashed is not None and self._hashed[1] > MAX_ITERATIONS

    def types_of(self, name: dns.name.Name) -> frozenset[int] | None:
        """Return the types that a name has, or None if nothing is said of it."""
        span = self._at(name)
        return None if span is None else span.types

    def lacks(self, name: dns.name.Name, kind: int) -> bool:
        """Tell whether it is proven that a name that is there does not have a type."""
        types = self.types_of(name)
        if types is None:
            return self._is_empty(name)
        if dns.rdatatype.SOA in types if kind == dns.rdatatype.DS else is_delegation(types):
            return False  # of DS, the parent's word counts, and of all else the child's
        return kind not in types and dns.rdatatype.CNAME not in types

    def _is_empty(self, name: dns.name.Name) -> bool:
        """Tell whether a name has nothing itself, but names below it."""
        return self._hashed is None and any(
            span.covers(name) and span.next.is_subdomain(name) and span.next != name for span in self._spans
        )

    def denies(self, name: dns.name.Name) -> bool:
        """Tell whether it is proven that a name is not there, nor a wildcard that would stand for it."""
        encloser = self.encloser(name)
        return encloser is not None and self._covered(ASTERISK.concatenate(encloser)) is not None

    def denies_itself(self, name: dns.name.Name) -> bool:
        """Tell whether it is proven that a name is not there; a wildcard may stand for it."""
        return self._covered(name) is not None if self._hashed is None else self.encloser(name) is not None

    def leaves_to_wildcard(self, name: dns.name.Name, next_closer: dns.name.Name) -> bool:
        """Tell whether it is proven that nothing is nearer to a name than a wildcard that stands for it.

        `next_closer` is the name, or the one above it, right below the wildcard's parent. That the parent is there
        follows from the wildcard: of hashes, one proof is all that is sent (RFC 5155, section 7.2.6).
        """
        return self._covered(name if self._hashed is None else next_closer) is not None

    def lacks_by_wildcard(self, name: dns.name.Name, kind: int) -> bool:
        """Tell whether it is proven that a wildcard stands for a name and does not have a type."""
        encloser = self.encloser(name)
        return encloser is not None and self.lacks(ASTERISK.concatenate(encloser), kind)

    def opts_out(self, name: dns.name.Name) -> bool:
        """Tell whether a name may be a delegation that is left out, or be below one."""
        if self._hashed is None:
            return False
        _, span = self._enclosed(name)
        return span is not None and span.opts_out

    def encloser(self, name: dns.name.Name) -> dns.name.Name | None:
        """Return the nearest ancestor of a name that is there, if it is proven that the one below it is not."""
        if self._hashed is not None:
            return self._enclosed(name)[0]
        span = self._covered(name)
        return None if span is None else max(shared(name, span.owner), shared(name, span.next), key=len)

    def _enclosed(self, name: dns.name.Name) -> tuple[dns.name.Name | None, Span | None]:
        """Return that ancestor, and the span that the one below it would be in. RFC 5155, section 8.3."""
        below = name
        for ancestor in ancestors(name.parent()) if name != dns.name.root else ():
            there = self._at(ancestor)
            if there is not None:
                span = None if there.is_cut else self._covered(below)
                return (None if span is None else ancestor), span
            below = ancestor
        return None, None

    def _at(self, name: dns.name.Name) -> Span | None:
        key = self._key(name)
        return next((span for span in self._spans if span.owner == key), None)

    def _covered(self, name: dns.name.Name) -> Span | None:
        key = self._key(name)
        span = next((span for span in self._spans if span.covers(key)), None)
        if span is not None and self._hashed is None and span.is_cut and name.is_subdomain(span.owner):
            return None
        return span

    def _key(self, name: dns.name.Name) -> Any:
        if self._hashed is None:
            return name
        if name not in self._hashes:
            algorithm, iterations, salt = self._hashed
            self._hashes[name] = dns.dnssec.nsec3_hash(name, salt, iterations, algorithm)
        return self._hashes[name]


def is_delegation(types: frozenset[int]) -> bool:
    """Tell whether these are the types of a name where another zone begins, as the zone above has them."""
    return dns.rdatatype.NS in types and dns.rdatatype.SOA not in types


def shared(one: dns.name.Name, other: dns.name.Name) -> dns.name.Name:
    """Return the longest name that both are below, or are."""
    _, _, labels = one.fullcompare(other)
    return dns.name.Name(one.labels[len(one.labels) - labels :])


def ancestors(name: dns.name.Name) -> list[dns.name.Name]:
    """Return a name and all those above it, itself first, the root last."""
    return [dns.name.Name(name.labels[at:]) for at in range(len(name.labels))]


def read_denial(zone: dns.name.Name, rrsets: Sequence[Any]) -> Denial | None:
    """Return what NSEC or NSEC3 RRsets of a zone prove; None if there are none, or those of different parameters."""
    plain = [rrset for rrset in rrsets if rrset.rdtype == dns.rdatatype.NSEC]
    if plain:
        return Denial([Span(each.name, each[0].next, types_in(each[0].windows), False) for each in plain], None)
    hashed = [rrset for rrset in rrsets if rrset.rdtype == dns.rdatatype.NSEC3 and is_right_below(rrset, zone)]
    parameters = {(each[0].algorithm, each[0].iterations, each[0].salt) for each in hashed}
    if len(parameters) != 1:
        return None
    spans = [
        Span(
            each.name.labels[0].decode("ascii").upper(),
            each[0].to_text().split()[4].upper(),
            types_in(each[0].windows),
            bool(each[0].flags & OPT_OUT),
        )
        for each in hashed
    ]
    return Denial(spans, parameters.pop())


def is_right_below(rrset: Any, zone: dns.name.Name) -> bool:
    """Tell whether an RRset stands where a zone has its hashes."""
    return bool(rrset.name != dns.name.root and rrset.name.parent() == zone)


def types_in(windows: Sequence[tuple[int, bytes]]) -> frozenset[int]:
    """Return the types in a bitmap. Source: RFC 4034, section 4.1.2."""
    return frozenset(
        window << 8 | at << 3 | bit
        for window, bitmap in windows
        for at, byte in enumerate(bitmap)
        for bit in range(8)
        if byte & 0x80 >> bit
    )
