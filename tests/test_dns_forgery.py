"""DNSSEC against who can sign: what the owner of one zone may not say of another, and what his zone may cost."""

from collections.abc import Callable, Iterable
from time import time
from typing import Any

import dns.dnssec
import dns.dnssectypes
import dns.message
import dns.name
import dns.rdata
import dns.rdatatype
import dns.rrset
import pytest
from signed_zones import SignedZones, key_of

from greenprobe.dns.deferred import make_question, read_reply
from greenprobe.dns.dnssec import BOGUS, INSECURE, SECURE, Judgement, Validator
from greenprobe.dns.signatures import signed_in
from greenprobe.dns.wire import Record, Reply

Message = dns.message.Message
Spoil = Callable[[Message], None]
HOUR = 3600


@pytest.fixture(scope="module", params=["nsec", "nsec3"])
def zones(request: pytest.FixtureRequest) -> SignedZones:
    return SignedZones(nsec3=request.param == "nsec3")


@pytest.fixture(scope="module")
def plain_zones() -> SignedZones:
    return SignedZones()


def judge(zones: SignedZones, name: str, spoil: Spoil, kind: str = "A") -> Judgement:
    """Judge what the zones answer, after `spoil` has had every answer in its hands."""
    where = dns.name.from_text(name)

    def ask(name: str, kind: str) -> Reply:
        response = zones.respond(dns.message.make_query(name, kind, want_dnssec=True))
        spoil(response)
        return read_reply(response.to_wire(max_size=65535), make_question(name, kind))

    question = make_question(where.to_text(), kind)
    return Validator(ask, anchors=zones.anchors).judge(question, ask(where.to_text(), kind))


def only_for(name: str, kind: str) -> Callable[[Spoil], Spoil]:
    """Spoil the answer to one question alone."""

    def narrowed(spoil: Spoil) -> Spoil:
        def narrow(response: Message) -> None:
            asked = response.question[0]
            if (asked.name.to_text(), dns.rdatatype.to_text(asked.rdtype)) == (name, kind):
                spoil(response)

        return narrow

    return narrowed


def signed(zone: str, owner: str, kind: str, data: Iterable[str]) -> list[Any]:
    """Return records as the owner of a zone signs them, whatever their name, with their signature."""
    rrset = dns.rrset.from_text_list(owner, 60, "IN", kind, list(data))
    private, key = key_of(zone)
    now = int(time())
    signature = dns.dnssec.sign(
        rrset, private, dns.name.from_text(zone), key, inception=now - HOUR, expiration=now + HOUR, deterministic=False
    )
    return [rrset, dns.rrset.from_rdata(rrset.name, 60, signature)]


def denied_by(records: list[Any], rcode: int) -> Spoil:
    """Say that there is none, with these records for a proof."""

    def spoil(response: Message) -> None:
        response.answer.clear()
        response.authority[:] = records
        response.set_rcode(rcode)  # type: ignore[arg-type]

    return spoil


def proofs_of(zones: SignedZones, name: str) -> list[Any]:
    """Return what the zone of a name proves."""
    query = dns.message.make_query(f"nowhere.{name}", "A", want_dnssec=True)
    return list(zones.respond(query).authority)


def foreign_proofs(zones: SignedZones, parent: str) -> list[Any]:
    """Return proofs by the owner of evil.test that there is nothing but `parent` in the whole world."""
    if not zones.nsec3:
        return signed("evil.test.", "evil.test.", "NSEC", ["evil.test. NS RRSIG NSEC"])
    owner = dns.dnssec.nsec3_hash(dns.name.from_text(parent), "aa", 1, 1)
    return signed("evil.test.", f"{owner}.evil.test.", "NSEC3", [f"1 0 1 aa {owner} NS RRSIG"])


def test_a_zone_proves_nothing_of_names_outside_it(zones: SignedZones) -> None:
    spoil = only_for("nowhere.www.test.", "A")(denied_by(foreign_proofs(zones, "test."), 3))
    assert judge(zones, "nowhere.www.test", spoil).state == BOGUS


def test_a_zone_cannot_make_another_one_look_unsigned() -> None:
    zones = SignedZones(nsec3=True)
    spoil = only_for("secure.test.", "DS")(denied_by(foreign_proofs(zones, "secure.test."), 0))
    assert judge(zones, "www.secure.test", spoil).state == BOGUS


@pytest.mark.parametrize(("name", "kind", "rcode"), [("www.secure.test.", "A", 3), ("ns.secure.test.", "A", 3),
                                                     ("secure.test.", "SOA", 0)])  # fmt: skip
def test_who_delegates_a_zone_denies_nothing_in_it(zones: SignedZones, name: str, kind: str, rcode: int) -> None:
    """RFC 6840, section 4.1."""
    spoil = only_for(name, kind)(denied_by(proofs_of(zones, "test."), rcode))
    assert judge(zones, name, spoil, kind).state == BOGUS


@pytest.mark.parametrize(("name", "kind"), [("secure.test.", "DS"), ("www.secure.test.", "A")])
def test_opt_out_is_said_of_what_is_left_out_alone(name: str, kind: str) -> None:
    """Not of a delegation that is there, nor of what is below it: all of .com would be unsigned."""
    zones = SignedZones(nsec3=True, opts_out=True)
    spoil = only_for(name, kind)(denied_by(proofs_of(zones, "test."), 0))
    assert judge(zones, "www.secure.test", spoil).state == BOGUS
    proofs = [each for each in proofs_of(zones, "test.") if each.name.labels[0].upper() != hashed("secure.test.")]
    spoil = only_for(name, kind)(denied_by(proofs, 0))
    assert judge(zones, "www.secure.test", spoil).state == BOGUS


def test_where_delegations_are_left_out_no_name_is_proven_to_be_none() -> None:
    """It may be one of them. RFC 5155, section 9.2."""
    zones = SignedZones(nsec3=True, opts_out=True)
    assert judge(zones, "nowhere.test", lambda response: None).state == INSECURE
    assert judge(zones, "www.test", lambda response: None, "MX") == Judgement(SECURE)


def hashed(name: str) -> bytes:
    return dns.dnssec.nsec3_hash(dns.name.from_text(name), "aa", 1, 1).encode()


def test_what_is_below_a_dname_is_not_denied_by_what_is_beside_it(zones: SignedZones) -> None:
    spoil = only_for("www.moved.test.", "A")(denied_by(proofs_of(zones, "test."), 3))
    assert judge(zones, "www.moved.test", spoil).state == BOGUS


def test_a_proof_that_stands_for_a_wildcard_is_none(plain_zones: SignedZones) -> None:
    """A signature of *.wild.test holds for every name below wild.test: its NSEC must not."""
    rrset, signature = signed("test.", "*.wild.test.", "NSEC", ["www.test. A RRSIG NSEC"])
    at = dns.name.from_text("a.wild.test.")
    moved = [dns.rrset.from_rdata_list(at, 60, list(each)) for each in (rrset, signature)]
    spoil = only_for("anything.wild.test.", "A")(denied_by(moved, 3))
    assert judge(plain_zones, "anything.wild.test", spoil) == Judgement(BOGUS, "there is no proof that it is not there")


def test_a_wildcard_in_hashes_takes_no_more_proof_than_servers_send() -> None:
    """The name below the wildcard's parent is covered; that the parent is there follows (RFC 5155, section 7.2.6)."""
    zones = SignedZones(nsec3=True)

    def spare(response: Message) -> None:
        covered = dns.dnssec.nsec3_hash(dns.name.from_text("anything.wild.test."), "aa", 1, 1)
        owners = [each.name for each in response.authority if each.rdtype == dns.rdatatype.NSEC3]
        before = [each for each in owners if each.labels[0].decode().upper() < covered]
        wanted = max(before or owners, key=lambda name: name.labels[0])
        response.authority[:] = [each for each in response.authority if each.name == wanted]

    assert judge(zones, "anything.wild.test", only_for("anything.wild.test.", "A")(spare)) == Judgement(SECURE)


# -- aliases of whole trees


def test_an_alias_that_a_dname_makes_is_not_signed_itself(zones: SignedZones) -> None:
    """RFC 6672, section 5.3.1: the DNAME is."""
    assert judge(zones, "www.moved.test", lambda response: None) == Judgement(SECURE)


def test_an_alias_beside_a_dname_that_does_not_make_it_is_bogus(zones: SignedZones) -> None:
    def elsewhere(response: Message) -> None:
        for at, rrset in enumerate(response.answer):
            if rrset.rdtype == dns.rdatatype.CNAME:
                response.answer[at] = dns.rrset.from_text(rrset.name, 60, "IN", "CNAME", "www.test.")

    assert judge(zones, "www.moved.test", only_for("www.moved.test.", "A")(elsewhere)).state == BOGUS


def test_some_of_all_types_are_an_answer_to_any(zones: SignedZones) -> None:
    """RFC 8482: a server may answer with what it likes."""
    rrsets = zones.respond(dns.message.make_query("www.secure.test.", "AAAA", want_dnssec=True)).answer

    def pick(response: Message) -> None:
        response.answer[:] = rrsets
        response.authority.clear()

    assert judge(zones, "www.secure.test", only_for("www.secure.test.", "ANY")(pick), "ANY") == Judgement(SECURE)


def test_the_order_of_an_answer_does_not_matter(zones: SignedZones) -> None:
    def turn(response: Message) -> None:
        response.answer.reverse()

    assert judge(zones, "alias.alias.test", turn) == Judgement(SECURE)


# -- what it costs


def test_a_zone_signed_in_an_unknown_way_alone_is_insecure(plain_zones: SignedZones) -> None:
    """RFC 4035, section 5.2: as if it were not signed."""
    records = signed("test.", "secure.test.", "DS", [f"4711 12 2 {'ab' * 32}"])

    def spoil(response: Message) -> None:
        response.answer[:] = records

    assert judge(plain_zones, "www.secure.test", only_for("secure.test.", "DS")(spoil)).state == INSECURE


def with_same_tag(key: Any, count: int) -> list[str]:
    """Return keys that have the tag of `key`: pairs of its bytes in another order."""
    keys = []
    for at in range(2, 2 + 2 * count, 2):
        turned = bytearray(key.key)
        turned[0:2], turned[at % 62 : at % 62 + 2] = turned[at % 62 : at % 62 + 2], turned[0:2]
        keys.append(key.replace(key=bytes(turned)).to_text())
    return keys


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the signatures that dnspython checks."""
    count = [0]
    check = dns.dnssec._validate_signature

    def counting(*args: Any) -> None:
        count[0] += 1
        check(*args)

    monkeypatch.setattr(dns.dnssec, "_validate_signature", counting)
    return count


def test_keys_and_signatures_that_collide_cost_little(plain_zones: SignedZones, checked: list[int]) -> None:
    """CVE-2023-50387: each of these signatures may be by each of these keys."""
    _, key = key_of("secure.test.")
    keys = signed("secure.test.", "secure.test.", "DNSKEY", [key.to_text(), *with_same_tag(key, 28)])

    def trap(response: Message) -> None:
        asked = response.question[0]
        if asked.rdtype == dns.rdatatype.DNSKEY and asked.name.to_text() == "secure.test.":
            response.answer[:] = keys
        elif asked.rdtype == dns.rdatatype.A:
            response.answer.clear()
            for number in range(8):
                rrset, signatures = signed("secure.test.", f"n{number}.secure.test.", "A", ["192.0.2.1"])
                for forged in range(10):
                    false = signatures[0].replace(signature=bytes([forged]) * 64)
                    signatures.add(false)
                response.answer += [rrset, signatures]

    judge(plain_zones, "www.secure.test", trap)
    assert checked[0] < 100


def test_a_long_answer_does_not_keep_us_for_long(
    plain_zones: SignedZones, checked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greenprobe.dns.signatures.MAX_CHECKS", 20)

    def long(response: Message) -> None:
        if response.question[0].rdtype == dns.rdatatype.A:
            response.answer.clear()
            for number in range(30):
                response.answer += signed("secure.test.", f"n{number}.secure.test.", "A", ["192.0.2.1"])

    judgement = judge(plain_zones, "www.secure.test", long)
    assert judgement == Judgement(BOGUS, "it would take too many signatures to check")
    assert checked[0] == 20


def test_a_name_does_not_make_us_ask_without_end(plain_zones: SignedZones, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenprobe.dns.signatures.MAX_QUESTIONS", 20)
    name = ".".join(["a"] * 24) + ".test."
    asked: list[str] = []

    def unproven(response: Message) -> None:
        asked.append(dns.rdatatype.to_text(response.question[0].rdtype))
        if asked[-1] == "A":
            response.authority.clear()

    assert judge(plain_zones, name, unproven) == Judgement(BOGUS, "it would take too many questions")
    assert len(asked) == 21


LONG_DATA = {  # what fits into one reply of 64 KB, and how long it took to look at it
    "NS": [f"ns{number}." + "a." * 119 for number in range(4000)],  # each a pointer and a label: 9 s
    "NSEC": [
        f"n{number}.test. " + " ".join(f"TYPE{kind}" for kind in range(300, 50_000)) for number in range(9)
    ],  # 2 s
}


@pytest.mark.parametrize("kind", LONG_DATA)
def test_data_that_is_long_when_it_is_unpacked_does_not_keep_us_for_long(plain_zones: SignedZones, kind: str) -> None:
    answer = tuple(Record("example.test.", kind, 60, data) for data in LONG_DATA[kind])
    validator = Validator(lambda name, kind: None, anchors=plain_zones.anchors)
    judgement = validator.judge(make_question("example.test.", kind), Reply(0, 0, answer, (), ()))
    assert judgement == Judgement(BOGUS, "it would take too long to read what is in it")


@pytest.mark.parametrize(
    ("kind", "data"),
    (
        ("PTR", [f"host-{number}.example.test." for number in range(300)]),
        ("A", [f"192.0.2.{number}" for number in range(256)]),
        ("TXT", [" ".join(['"' + "\\200" * 255 + '"'] * 255)]),
        ("TXT", [" ".join(['"' + "." * 255 + '"'] * 4)]),
    ),
)
def test_what_zones_have_many_of_is_looked_at(kind: str, data: list[str]) -> None:
    (found,) = signed_in(tuple(Record("example.test.", kind, 60, each) for each in data))
    assert len(found.rrset) == len(data)
