"""Whether a reply is what its zone's owner said: the chain of signatures from the root down to it (RFC 4035).

Every RRset is signed with a key of its zone; the keys of a zone are vouched for by a DS record in the zone above; the
root's are known. So a reply is *secure* (the chain holds), *insecure* (a zone on the way is proven not to be signed),
or *bogus* (it is broken, or a proof is missing). Single signatures are `signatures.py`'s, what proofs say is
`denial.py`'s, the chain is here. What is asked on the way comes through `ask`; what was learned of zones is kept for
its TTL.

Needs the package cryptography (`pip install 'greenprobe[dnssec]'`).
"""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from time import time
from typing import Any, Final, NamedTuple

import dns.exception
import dns.name
import dns.rdatatype

from greenprobe.dns.denial import Denial, ancestors, read_denial
from greenprobe.dns.signatures import (
    Effort,
    Ring,
    Signed,
    TooDear,
    find_signed,
    is_usable,
    read_anchor,
    ring_of,
    signed_in,
    vouched_for,
    why_not_by,
)
from greenprobe.dns.wire import NXDOMAIN, Question, Reply
from greenprobe.errors import TargetError

__all__ = ["BOGUS", "INSECURE", "ROOT_ANCHORS", "SECURE", "Judgement", "Validator"]

SECURE, INSECURE, BOGUS = "secure", "insecure", "bogus"
# The keys of the root, as IANA publishes them: KSK-2017 and KSK-2024.
ROOT_ANCHORS: Final = (
    "20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D",
    "38696 8 2 683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16",
)
MAX_ZONES: Final = 10_000
LONGEST: Final = 3600.0  # seconds for which anything is believed of a zone

Name = dns.name.Name
# Asks for a name and a type with the DNSSEC bits, CD too; None if nobody could say.
AskSigned = Callable[[str, str], Reply | None]


class Judgement(NamedTuple):
    """What a reply is worth: SECURE, INSECURE or BOGUS, and why it is not the first."""

    state: str
    reason: str = ""


class Keys(NamedTuple):
    """What is known of a zone: its keys if its state is SECURE, and until when."""

    judgement: Judgement
    ring: Ring
    until: float


SURE: Final = Judgement(SECURE)
UNPROVEN: Final = Judgement(BOGUS, "there is no proof that it is not there")
TOO_MANY_HASHES: Final = Judgement(INSECURE, "NSEC3 with too many iterations")  # RFC 9276, section 3.2


class Validator:
    """Judges replies. `anchors` are DS records of the root, `clock` is Unix time in seconds.

    Raises TargetError if the package cryptography is not there, ValueError for anchors that are none.
    """

    def __init__(
        self, ask: AskSigned, *, anchors: Sequence[str] = ROOT_ANCHORS, clock: Callable[[], float] = time
    ) -> None:
        if find_spec("cryptography") is None:
            raise TargetError("DNSSEC needs the package cryptography: pip install 'greenprobe[dnssec]'")
        self.ask = ask
        self.anchors = [read_anchor(anchor) for anchor in anchors]
        self.clock = clock
        self._zones: dict[Name, Keys] = {}

    def judge(self, question: Question, reply: Reply) -> Judgement:
        """Judge a reply to a question that was asked with the DNSSEC bits."""
        try:
            return _Trial(self).judge(question, reply)
        except (dns.exception.DNSException, ValueError) as error:
            return Judgement(BOGUS, f"a record is malformed: {error}")
        except TooDear as error:
            return Judgement(BOGUS, str(error))

    def known(self, zone: Name) -> Keys | None:
        """Return what is known of a zone, as long as it holds."""
        keys = self._zones.get(zone)
        return keys if keys is not None and self.clock() < keys.until else None

    def keep(self, zone: Name, keys: Keys) -> Keys:
        """Keep what was learned of a zone."""
        if len(self._zones) >= MAX_ZONES:
            self._zones.clear()
        self._zones[zone] = keys
        return keys


class _Trial:
    """One judgement, and what it may still cost. Whatever raises TooDear here lets it pass."""

    def __init__(self, validator: Validator) -> None:
        self._validator = validator
        self._clock = validator.clock
        self._effort = Effort()

    def judge(self, question: Question, reply: Reply) -> Judgement:
        name = dns.name.from_text(question.name)
        kind = dns.rdatatype.from_text(question.type)
        answer = signed_in(reply.answer)
        for each in answer:
            if is_made_by_dname(each, answer):
                continue
            judgement = self._check(each, reply)
            if judgement.state != SECURE:
                return judgement
        if kind not in OF_ITSELF:
            name = end_of_aliases(name, answer)
        if any(each.rrset.name == name and kind in (each.rrset.rdtype, dns.rdatatype.ANY) for each in answer):
            return SURE
        return self._check_denial(name, kind, reply)

    def _check(self, each: Signed, reply: Reply, above: Name | None = None) -> Judgement:
        """Judge one RRset of a reply. Where it says something of the zone `above`, only zones above that may sign it.

        (Else a zone could vouch for itself, and we would go round in a circle to find its keys.)
        """
        rrset = each.rrset
        what = f"{rrset.name} {dns.rdatatype.to_text(rrset.rdtype)}"
        reason = f"{what} is not signed as it should be"
        for signature in each.signatures:
            if not may_sign(signature.signer, rrset.name, above):
                continue
            keys = self._keys(signature.signer)
            if keys.judgement.state == INSECURE:
                return keys.judgement
            if keys.judgement.state == BOGUS:
                reason = keys.judgement.reason
                continue
            fault = why_not_by(keys.ring, rrset, signature, self._clock(), self._effort)
            if fault:
                reason = f"{what}: {fault}"
                continue
            return self._check_wildcard(rrset.name, signature, reply) if each.is_expanded(signature) else SURE
        return self._excuse(rrset.name, reason) if above is None else Judgement(BOGUS, reason)

    def _check_wildcard(self, name: Name, signature: Any, reply: Reply) -> Judgement:
        """Judge an RRset that comes of a wildcard: it must be proven that its name is not there itself."""
        denial, judgement = self._denial(reply, name)
        if denial is None or judgement.state != SECURE:
            return judgement
        if denial.is_too_dear:
            return TOO_MANY_HASHES
        next_closer = Name(name.labels[-signature.labels - 2 :])
        proven = denial.leaves_to_wildcard(name, next_closer)
        return SURE if proven else Judgement(BOGUS, f"no proof that {name} is not there beside the wildcard")

    def _check_denial(self, name: Name, kind: dns.rdatatype.RdataType, reply: Reply) -> Judgement:
        """Judge a reply that says that there is none."""
        denial, judgement = self._denial(reply, name)
        if denial is None or judgement.state != SECURE:
            return self._excuse(name, judgement.reason) if judgement.state == BOGUS else judgement
        if denial.is_too_dear:
            return TOO_MANY_HASHES
        if denial.opts_out(name):
            return Judgement(INSECURE, f"{name} may be below a delegation that is not signed")
        if reply.rcode == NXDOMAIN:
            proven = denial.denies(name)
        else:
            proven = denial.lacks(name, kind) or denial.lacks_by_wildcard(name, kind)
        if proven:
            return SURE
        return self._excuse(name, f"no proof that {name} has no {dns.rdatatype.to_text(kind)}")

    def _denial(self, reply: Reply, name: Name, above: Name | None = None) -> tuple[Denial | None, Judgement]:
        """Return what a reply proves of a name, once the signatures are checked; `above` as for `_check`.

        A zone proves nothing of names outside it: a proof that there is nothing behind its last name is true of its
        own names alone. So of the zones that the name is in, the nearest speaks, and no other.
        """
        proofs = [each for each in signed_in(reply.authority) if each.rrset.rdtype in PROOFS]
        signers = {signature.signer for each in proofs for signature in each.signatures}
        zone = max((signer for signer in signers if name.is_subdomain(signer)), key=len, default=None)
        if zone is None:
            return None, UNPROVEN
        proofs = [by_zone for each in proofs if (by_zone := said_by(zone, each)).signatures]
        for each in proofs:
            judgement = self._check(each, reply, above)
            if judgement.state != SECURE:
                return None, judgement
        denial = read_denial(zone, [each.rrset for each in proofs])
        return denial, SURE if denial is not None else UNPROVEN

    # -- the chain

    def _excuse(self, name: Name, reason: str) -> Judgement:
        """Judge what is not signed as it should be: all is well if a zone above is proven not to be signed."""
        for ancestor in reversed(ancestors(name)):
            keys = self._keys(ancestor)
            if keys.judgement.state != SECURE:
                return keys.judgement
        return Judgement(BOGUS, reason)

    def _keys(self, zone: Name) -> Keys:
        """Return the keys of a zone; of a name that is no zone, those of the zone it is in."""
        return self._validator.known(zone) or self._validator.keep(zone, self._find_keys(zone))

    def _find_keys(self, zone: Name) -> Keys:
        if zone == dns.name.root:
            return self._with_anchors(zone, self._validator.anchors, LONGEST)
        parent = self._keys(zone.parent())
        if parent.judgement.state != SECURE:
            return parent
        reply = self._ask(zone, "DS")
        if reply is None:
            return self._unknown(Judgement(BOGUS, f"nobody says whether {zone} is signed"))
        found = find_signed(reply.answer, zone, dns.rdatatype.DS)
        if found is None:
            return self._undelegated(zone, parent, reply)
        judgement = self._check(found, reply, zone)
        if judgement.state != SECURE:
            return self._unknown(judgement)
        return self._with_anchors(zone, list(found.rrset), found.rrset.ttl)

    def _undelegated(self, zone: Name, parent: Keys, reply: Reply) -> Keys:
        """Return what a name without DS is: a zone that is proven not to be signed, or no zone."""
        denial, judgement = self._denial(reply, zone, zone)
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
        return Keys(judgement, {}, self._clock() + (LONGEST if judgement.state == INSECURE else 0))

    def _with_anchors(self, zone: Name, anchors: Sequence[Any], ttl: float) -> Keys:
        """Return the keys of a zone, if one that is vouched for has signed them."""
        reply = self._ask(zone, "DNSKEY")
        found = None if reply is None else find_signed(reply.answer, zone, dns.rdatatype.DNSKEY)
        if found is None:
            return self._unknown(Judgement(BOGUS, f"{zone} has no keys"))
        usable = [anchor for anchor in anchors if is_usable(anchor)]
        if not usable:
            return self._unknown(Judgement(INSECURE, f"{zone} is vouched for in ways that are not known"))
        now = self._clock()
        ring = ring_of(zone, found.rrset)
        trusted = vouched_for(zone, ring, usable)
        own = [signature for signature in found.signatures if signature.signer == zone]
        if any(not why_not_by(trusted, found.rrset, signature, now, self._effort) for signature in own):
            return Keys(SURE, ring, now + min(ttl, found.rrset.ttl, LONGEST))
        return self._unknown(Judgement(BOGUS, f"the keys of {zone} are not signed by one that is vouched for"))

    def _ask(self, zone: Name, kind: str) -> Reply | None:
        self._effort.ask()
        return self._validator.ask(zone.to_text(), kind)


OF_ITSELF: Final = frozenset({dns.rdatatype.CNAME, dns.rdatatype.ANY})  # asked of a name, wherever it leads
PROOFS: Final = frozenset({dns.rdatatype.NSEC, dns.rdatatype.NSEC3})


def may_sign(signer: Name, name: Name, above: Name | None) -> bool:
    """Tell whether a zone may sign records of a name, and, if they say something of a zone, stands above that."""
    return name.is_subdomain(signer) and (above is None or not signer.is_subdomain(above))


def said_by(zone: Name, proof: Signed) -> Signed:
    """Return a proof with those signatures that a zone may have made for its very name: no wildcard stands for it."""
    return proof._replace(
        signatures=tuple(each for each in proof.signatures if each.signer == zone and not proof.is_expanded(each))
    )


def is_made_by_dname(each: Signed, answer: Sequence[Signed]) -> bool:
    """Tell whether an alias that is not signed is what a DNAME beside it makes of the name.

    The DNAME is signed, and judged like all others. Source: RFC 6672, section 5.3.1.
    """
    alias = each.rrset
    if alias.rdtype != dns.rdatatype.CNAME or each.signatures:
        return False
    moves = [other.rrset for other in answer if other.rrset.rdtype == dns.rdatatype.DNAME]
    return any(moved(alias.name, move.name, move[0].target) == alias[0].target for move in moves)


def moved(name: Name, owner: Name, target: Name) -> Name | None:
    """Return what a DNAME makes of a name below its owner. Raises DNSException for one that gets too long."""
    if name == owner or not name.is_subdomain(owner):
        return None
    return name.relativize(owner).concatenate(target)


def end_of_aliases(name: Name, answer: Sequence[Signed]) -> Name:
    """Return where the aliases of an answer lead a name; nowhere, if in a circle."""
    aliases = {each.rrset.name: each.rrset[0].target for each in answer if each.rrset.rdtype == dns.rdatatype.CNAME}
    while name in aliases:
        name = aliases.pop(name)
    return name
