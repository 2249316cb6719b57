"""Whether a reply is what its zone's owner said: the chain of signatures from the root down to it (RFC 4035).

Every RRset is signed with a key of its zone; the keys of a zone are vouched for by a DS record in the zone above; the
root's are known. So a reply is *secure* (the chain holds), *insecure* (a zone on the way is proven not to be signed),
or *bogus* (it is broken, or a proof is missing). dnspython checks the single signatures; the chain is ours. What is
asked on the way comes through `ask`; what was learned of zones is kept for its TTL.

Needs the package cryptography (`pip install 'greenprobe[dnssec]'`).
"""

from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from time import time
from typing import Any, Final, NamedTuple

import dns.dnssec
import dns.exception
import dns.name
import dns.rdata
import dns.rdatatype
import dns.rrset

from greenprobe.dns.denial import Denial, ancestors, read_denial
from greenprobe.dns.wire import NXDOMAIN, Question, Record, Reply
from greenprobe.errors import TargetError

__all__ = ["BOGUS", "INSECURE", "ROOT_ANCHORS", "SECURE", "Judgement", "Validator"]

SECURE, INSECURE, BOGUS = "secure", "insecure", "bogus"
# The keys of the root, as IANA publishes them: KSK-2017 and KSK-2024.
ROOT_ANCHORS: Final = (
    "20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D",
    "38696 8 2 683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16",
)
MAX_ZONES: Final = 10_000
MAX_SIGNATURES: Final = 8  # of one RRset: more only cost time (KeyTrap)
LONGEST: Final = 3600.0  # seconds for which anything is believed of a zone

# Asks for a name and a type with the DNSSEC bits, CD too; None if nobody could say.
AskSigned = Callable[[str, str], Reply | None]


class Judgement(NamedTuple):
    """What a reply is worth: SECURE, INSECURE or BOGUS, and why it is not the first."""

    state: str
    reason: str = ""


class Keys(NamedTuple):
    """What is known of a zone: its keys if its state is SECURE, and until when."""

    judgement: Judgement
    rrset: Any
    until: float


class Signed(NamedTuple):
    """An RRset and its signatures."""

    rrset: Any
    signatures: tuple[Any, ...]


SURE: Final = Judgement(SECURE)
TOO_DEAR: Final = Judgement(INSECURE, "NSEC3 with too many iterations")  # RFC 9276, section 3.2


class Validator:
    """Judges replies. `anchors` are DS records of the root, `clock` is Unix time in seconds.

    Raises TargetError if the package cryptography is not there, ValueError for anchors that are none.
    """

    def __init__(
        self, ask: AskSigned, *, anchors: Sequence[str] = ROOT_ANCHORS, clock: Callable[[], float] = time
    ) -> None:
        if find_spec("cryptography") is None:
            raise TargetError("DNSSEC needs the package cryptography: pip install 'greenprobe[dnssec]'")
        self._ask = ask
        self._anchors = [read_anchor(anchor) for anchor in anchors]
        self._clock = clock
        self._zones: dict[dns.name.Name, Keys] = {}

    def judge(self, question: Question, reply: Reply) -> Judgement:
        """Judge a reply to a question that was asked with the DNSSEC bits."""
        try:
            return self._judge(question, reply)
        except (dns.exception.DNSException, ValueError) as error:
            return Judgement(BOGUS, f"a record is malformed: {error}")

    def _judge(self, question: Question, reply: Reply) -> Judgement:
        name = dns.name.from_text(question.name)
        kind = dns.rdatatype.from_text(question.type)
        for each in signed_in(reply.answer):
            judgement = self._check(each, reply)
            if judgement.state != SECURE:
                return judgement
            if each.rrset.rdtype == dns.rdatatype.CNAME and each.rrset.name == name:
                name = each.rrset[0].target
        if any(dns.name.from_text(record.name) == name and record.type == question.type for record in reply.answer):
            return SURE
        return self._check_denial(name, kind, reply)

    def _check(self, each: Signed, reply: Reply, above: dns.name.Name | None = None) -> Judgement:
        """Judge one RRset of a reply. Where it says something of the zone `above`, only zones above that may sign it.

        (Else a zone could vouch for itself, and we would go round in a circle to find its keys.)
        """
        rrset = each.rrset
        reason = f"{rrset.name} {dns.rdatatype.to_text(rrset.rdtype)} is not signed as it should be"
        for signature in each.signatures[:MAX_SIGNATURES]:
            if not may_sign(signature.signer, rrset.name, above):
                continue
            keys = self._keys(signature.signer)
            if keys.judgement.state == INSECURE:
                return keys.judgement
            if keys.judgement.state == BOGUS:
                reason = keys.judgement.reason
                continue
            try:
                dns.dnssec.validate_rrsig(rrset, signature, {signature.signer: keys.rrset}, now=self._clock())
            except (dns.exception.ValidationFailure, dns.exception.UnsupportedAlgorithm) as error:
                reason = f"{rrset.name} {dns.rdatatype.to_text(rrset.rdtype)}: {error}"
                continue
            return self._check_wildcard(rrset.name, signature, reply)
        return self._excuse(rrset.name, reason) if above is None else Judgement(BOGUS, reason)

    def _check_wildcard(self, name: dns.name.Name, signature: Any, reply: Reply) -> Judgement:
        """Judge an RRset that may come of a wildcard: then it must be proven that its name is not there itself."""
        if signature.labels >= len(name) - 1 - name.is_wild():
            return SURE
        denial, judgement = self._denial(reply)
        if denial is None or judgement.state != SECURE:
            return judgement
        if denial.is_too_dear:
            return TOO_DEAR
        next_closer = dns.name.Name(name.labels[-signature.labels - 2 :])
        denied = denial.denies_itself(name) or denial.denies_itself(next_closer)
        return SURE if denied else Judgement(BOGUS, f"no proof that {name} is not there beside the wildcard")

    def _check_denial(self, name: dns.name.Name, kind: dns.rdatatype.RdataType, reply: Reply) -> Judgement:
        """Judge a reply that says that there is none."""
        denial, judgement = self._denial(reply)
        if denial is None or judgement.state != SECURE:
            return self._excuse(name, judgement.reason) if judgement.state == BOGUS else judgement
        if denial.is_too_dear:
            return TOO_DEAR
        if reply.rcode == NXDOMAIN:
            proven = denial.denies(name)
        else:
            proven = denial.lacks(name, kind) or denial.lacks_by_wildcard(name, kind)
        if proven:
            return SURE
        if denial.opts_out(name):
            return Judgement(INSECURE, f"{name} may be below a delegation that is not signed")
        return self._excuse(name, f"no proof that {name} has no {dns.rdatatype.to_text(kind)}")

    def _denial(self, reply: Reply, above: dns.name.Name | None = None) -> tuple[Denial | None, Judgement]:
        """Return the proofs of a reply, once their signatures are checked; `above` as for `_check`."""
        proofs = [each for each in signed_in(reply.authority) if each.rrset.rdtype in PROOFS]
        for each in proofs:
            judgement = self._check(each, reply, above)
            if judgement.state != SECURE:
                return None, judgement
        denial = read_denial([each.rrset for each in proofs])
        return denial, SURE if denial is not None else Judgement(BOGUS, "there is no proof that it is not there")

    # -- the chain

    def _excuse(self, name: dns.name.Name, reason: str) -> Judgement:
        """Judge what is not signed as it should be: all is well if a zone above is proven not to be signed."""
        for ancestor in reversed(ancestors(name)):
            keys = self._keys(ancestor)
            if keys.judgement.state != SECURE:
                return keys.judgement
        return Judgement(BOGUS, reason)

    def _keys(self, zone: dns.name.Name) -> Keys:
        """Return the keys of a zone; of a name that is no zone, those of the zone it is in."""
        known = self._zones.get(zone)
        if known is not None and self._clock() < known.until:
            return known
        if len(self._zones) >= MAX_ZONES:
            self._zones.clear()
        keys = self._zones[zone] = self._find_keys(zone)
        return keys

    def _find_keys(self, zone: dns.name.Name) -> Keys:
        if zone == dns.name.root:
            return self._with_anchors(zone, self._anchors, LONGEST)
        parent = self._keys(zone.parent())
        if parent.judgement.state != SECURE:
            return parent
        reply = self._ask(zone.to_text(), "DS")
        if reply is None:
            return self._unknown(Judgement(BOGUS, f"nobody says whether {zone} is signed"))
        found = find_signed(reply, zone, dns.rdatatype.DS)
        if found is None:
            return self._undelegated(zone, parent, reply)
        judgement = self._check(found, reply, zone)
        if judgement.state != SECURE:
            return self._unknown(judgement)
        return self._with_anchors(zone, list(found.rrset), found.rrset.ttl)

    def _undelegated(self, zone: dns.name.Name, parent: Keys, reply: Reply) -> Keys:
        """Return what a name without DS is: a zone that is proven not to be signed, or no zone."""
        denial, judgement = self._denial(reply, zone)
        if denial is None or judgement.state != SECURE:
            return self._unknown(judgement)
        if denial.is_too_dear or denial.opts_out(zone):
            return self._unknown(Judgement(INSECURE, f"{zone} is not signed (opt-out)"))
        if not denial.lacks(zone, dns.rdatatype.DS):
            is_absent = denial.denies_itself(zone)
            return parent if is_absent else self._unknown(Judgement(BOGUS, f"no proof that {zone} has no DS"))
        is_zone = dns.rdatatype.NS in (denial.types_of(zone) or ())
        return self._unknown(Judgement(INSECURE, f"{zone} is not signed")) if is_zone else parent

    def _unknown(self, judgement: Judgement) -> Keys:
        return Keys(judgement, None, self._clock() + (LONGEST if judgement.state == INSECURE else 0))

    def _with_anchors(self, zone: dns.name.Name, anchors: Sequence[Any], ttl: float) -> Keys:
        """Return the keys of a zone, if one that is vouched for has signed them."""
        reply = self._ask(zone.to_text(), "DNSKEY")
        found = None if reply is None else find_signed(reply, zone, dns.rdatatype.DNSKEY)
        if found is None:
            return self._unknown(Judgement(BOGUS, f"{zone} has no keys"))
        usable = [anchor for anchor in anchors if anchor.digest_type in DIGESTS]
        if not usable:
            return self._unknown(Judgement(INSECURE, f"{zone} is vouched for in ways that are not known"))
        now = self._clock()
        if is_signed_by_any(found, trusted_keys(found.rrset, usable), now):
            return Keys(SURE, found.rrset, now + min(ttl, found.rrset.ttl, LONGEST))
        return self._unknown(Judgement(BOGUS, f"the keys of {zone} are not signed by one that is vouched for"))


PROOFS: Final = frozenset({dns.rdatatype.NSEC, dns.rdatatype.NSEC3})
DIGESTS: Final = {1: "SHA1", 2: "SHA256", 4: "SHA384"}


def may_sign(signer: dns.name.Name, name: dns.name.Name, above: dns.name.Name | None) -> bool:
    """Tell whether a zone may sign records of a name, and, if they say something of a zone, stands above that."""
    return name.is_subdomain(signer) and (above is None or not signer.is_subdomain(above))


def read_anchor(text: str) -> Any:
    """Return a DS record of the root, written as in a zone file. Raises ValueError."""
    try:
        return dns.rdata.from_text("IN", "DS", text)
    except dns.exception.DNSException as exc:
        raise ValueError(f"{text!r} is no DS record: {exc}") from exc


def is_vouched_for(zone: dns.name.Name, key: Any, anchor: Any) -> bool:
    """Tell whether a DS record is that of a key."""
    if dns.dnssec.key_id(key) != anchor.key_tag or key.algorithm != anchor.algorithm:
        return False
    try:
        return bool(dns.dnssec.make_ds(zone, key, DIGESTS[anchor.digest_type], validating=True) == anchor)
    except dns.exception.DNSException:
        return False


def trusted_keys(rrset: Any, anchors: Sequence[Any]) -> list[Any]:
    """Return those of a zone's keys that a DS record vouches for."""
    return [key for key in rrset if any(is_vouched_for(rrset.name, key, anchor) for anchor in anchors)]


def is_signed_by_any(found: Signed, keys: Sequence[Any], now: float) -> bool:
    """Tell whether one of the keys has signed an RRset of its own zone."""
    pairs = [(signature, key) for signature in found.signatures[:MAX_SIGNATURES] for key in keys]
    return any(is_signed_by(found.rrset, signature, key, now) for signature, key in pairs)


def is_signed_by(rrset: Any, signature: Any, key: Any, now: float) -> bool:
    """Tell whether a signature is by one key, of the zone whose apex the RRset is at."""
    only = dns.rrset.from_rdata(rrset.name, rrset.ttl, key)
    try:
        dns.dnssec.validate_rrsig(rrset, signature, {rrset.name: only}, now=now)
    except (dns.exception.ValidationFailure, dns.exception.UnsupportedAlgorithm):
        return False
    return True


def find_signed(reply: Reply, name: dns.name.Name, kind: int) -> Signed | None:
    """Return an RRset in the answer of a reply, with its signatures."""
    for each in signed_in(reply.answer):
        if each.rrset.rdtype == kind and each.rrset.name == name:
            return each
    return None


def signed_in(records: Iterable[Record]) -> list[Signed]:
    """Return the RRsets in a section, each with its signatures. Raises DNSException for what is none."""
    data: dict[tuple[str, str], list[Record]] = {}
    signatures: dict[tuple[str, str], list[Any]] = {}
    for record in records:
        if record.type == "RRSIG":
            signature = dns.rdata.from_text("IN", "RRSIG", record.data)
            covered = dns.rdatatype.to_text(signature.type_covered)  # type: ignore[attr-defined]
            signatures.setdefault((record.name.lower(), covered), []).append(signature)
        else:
            data.setdefault((record.name.lower(), record.type), []).append(record)
    return [
        Signed(
            dns.rrset.from_text(rows[0].name, min(row.ttl for row in rows), "IN", kind, *[row.data for row in rows]),
            tuple(signatures.get((name, kind), ())),
        )
        for (name, kind), rows in data.items()
    ]
