"""Single signatures: the RRsets of a section with their RRSIGs, the keys they may be by, and what checking may cost.

dnspython checks one signature with one key; a signature names its key by an algorithm and a number of 16 bits.
Facts. A zone may have any number of keys with one number, and an RRset any number of signatures. Failure: each has to
be tried with each, and one reply keeps a validator busy for hours (CVE-2023-50387, "KeyTrap"). Choice: few of each are
looked at, and an `Effort` is what one judgement may cost in all; then it is over. Price: a zone that untidy is bogus.
The same holds for data that is long once it is unpacked: names behind pointers, and types in bitmaps, are read as text;
and to compare or to check an RRset dnspython makes a name of each tail of each name.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import dns.dnssec
import dns.dnssecalgs
import dns.exception
import dns.name
import dns.rdata
import dns.rdataset
import dns.rdatatype
import dns.rrset

from greenprobe.dns.wire import Record

__all__ = ["Effort", "Ring", "Signed", "TooDear", "find_signed", "is_usable", "read_anchor", "ring_of", "signed_in",
           "vouched_for", "why_not_by"]  # fmt: skip

MAX_SIGNATURES: Final = 8  # of one RRset
MAX_ANCHORS: Final = 16  # DS records of one zone
MAX_SAME_TAG: Final = 4  # keys of one zone that a signature may mean
MAX_CHECKS: Final = 256  # a cold cache and a reverse name of IPv6 take 150
MAX_FAILURES: Final = 16
MAX_QUESTIONS: Final = 128
MAX_STEPS: Final = 1 << 19  # through a section: at most 80 ms of names, 0.3 s of bitmaps; 4,000 addresses are 90,000
TEXTS: Final = frozenset({"TXT", "SPF"})  # whose dots are none of names
DIGESTS: Final = {1: "SHA1", 2: "SHA256", 4: "SHA384"}

# The keys of a zone, each as an RRset of its own, by algorithm and tag.
Ring = dict[tuple[int, int], list[Any]]


class TooDear(Exception):
    """To judge this would cost more than it may."""


class Effort:
    """What is left of what one judgement may cost. Each method raises TooDear when it is spent."""

    __slots__ = ("_checks", "_failures", "_questions")

    def __init__(self) -> None:
        self._checks, self._failures, self._questions = MAX_CHECKS, MAX_FAILURES, MAX_QUESTIONS

    def check(self) -> None:
        """Account for a signature that is about to be checked."""
        self._checks -= 1
        if self._checks < 0 or self._failures <= 0:
            raise TooDear("it would take too many signatures to check")

    def fail(self) -> None:
        """Account for one that was checked in vain."""
        self._failures -= 1

    def ask(self) -> None:
        """Account for a question."""
        self._questions -= 1
        if self._questions < 0:
            raise TooDear("it would take too many questions")


class Signed(NamedTuple):
    """An RRset and its signatures, no more of them than are looked at."""

    rrset: Any
    signatures: tuple[Any, ...]

    def is_expanded(self, signature: Any) -> bool:
        """Tell whether a signature is that of a wildcard which stands for the name. RFC 4035, section 5.3.4."""
        name = self.rrset.name
        return bool(signature.labels < len(name) - 1 - name.is_wild())


def read_anchor(text: str) -> Any:
    """Return a DS record of the root, written as in a zone file. Raises ValueError."""
    try:
        return dns.rdata.from_text("IN", "DS", text)
    except dns.exception.DNSException as exc:
        raise ValueError(f"{text!r} is no DS record: {exc}") from exc


def is_usable(anchor: Any) -> bool:
    """Tell whether a DS record speaks of a digest and an algorithm that are known here, and still believed in."""
    is_known = any(algorithm == anchor.algorithm for algorithm, _ in dns.dnssecalgs.algorithms)
    return anchor.digest_type in DIGESTS and is_known and dns.dnssec.default_policy.ok_to_validate(anchor)


def ring_of(zone: dns.name.Name, keys: Iterable[Any]) -> Ring:
    """Return keys of a zone by what signatures name them with."""
    ring: Ring = {}
    for key in keys:
        held = ring.setdefault((key.algorithm, dns.dnssec.key_id(key)), [])
        if len(held) < MAX_SAME_TAG:
            held.append(dns.rrset.from_rdata(zone, 0, key))
    return ring


def vouched_for(zone: dns.name.Name, ring: Ring, anchors: Sequence[Any]) -> Ring:
    """Return those of a zone's keys that a DS record is of."""
    return ring_of(
        zone,
        [
            key[0]
            for anchor in anchors[:MAX_ANCHORS]
            for key in ring.get((anchor.algorithm, anchor.key_tag), ())
            if is_of_key(zone, key[0], anchor)
        ],
    )


def is_of_key(zone: dns.name.Name, key: Any, anchor: Any) -> bool:
    try:
        return bool(dns.dnssec.make_ds(zone, key, DIGESTS[anchor.digest_type], validating=True) == anchor)
    except dns.exception.DNSException:
        return False


def why_not_by(ring: Ring, rrset: Any, signature: Any, now: float, effort: Effort) -> str:
    """Return why a signature of an RRset is by none of these keys, "" if it is by one. Raises TooDear."""
    reason = "no such key"
    for key in ring.get((signature.algorithm, signature.key_tag), ()):
        effort.check()
        try:
            dns.dnssec.validate_rrsig(rrset, signature, {signature.signer: key}, now=now)
        except (dns.exception.ValidationFailure, dns.exception.UnsupportedAlgorithm) as error:
            effort.fail()
            reason = str(error)
        else:
            return ""
    return reason


def find_signed(records: tuple[Record, ...], name: dns.name.Name, kind: int) -> Signed | None:
    """Return an RRset of a section, with its signatures."""
    for each in signed_in(records):
        if each.rrset.rdtype == kind and each.rrset.name == name:
            return each
    return None


@lru_cache(maxsize=16)  # a reply is looked at from several sides
def signed_in(records: tuple[Record, ...]) -> tuple[Signed, ...]:
    """Return the RRsets of a section, each with its signatures. Raises DNSException for what is none, TooDear."""
    if steps_through(records) > MAX_STEPS:
        raise TooDear("it would take too long to read what is in it")
    data: dict[tuple[str, str], list[Record]] = {}
    signatures: dict[tuple[str, str], list[Any]] = {}
    for record in records:
        if record.type == "RRSIG":
            signature: Any = dns.rdata.from_text("IN", "RRSIG", record.data)
            covered = dns.rdatatype.to_text(signature.type_covered)
            signatures.setdefault((record.name.lower(), covered), []).append(signature)
        else:
            data.setdefault((record.name.lower(), record.type), []).append(record)
    return tuple(
        Signed(
            dns.rrset.from_text(rows[0].name, min(row.ttl for row in rows), "IN", kind, *[row.data for row in rows]),
            tuple(signatures.get((name, kind), ())[:MAX_SIGNATURES]),
        )
        for (name, kind), rows in data.items()
    )


def steps_through(records: Iterable[Record]) -> int:
    """Return how many characters there are in the data of some records, and labels, at most, in all tails of names."""
    return sum(len(record.data) + (0 if record.type in TEXTS else record.data.count(".") ** 2) for record in records)
