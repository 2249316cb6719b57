"""DNSSEC: what is signed is believed, what is proven not to be signed is told apart, and everything else is refused."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from socket import EAI_AGAIN, gaierror

import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import dns.rrset
import pytest
from dns_servers import DnsServer
from signed_zones import SignedZones

from greenprobe.cli import cli, run
from greenprobe.dns.conf import ResolvConf
from greenprobe.dns.deferred import make_question, read_reply
from greenprobe.dns.denial import MAX_ITERATIONS
from greenprobe.dns.dnssec import BOGUS, INSECURE, SECURE, Judgement, Validator
from greenprobe.dns.resolver import Resolver
from greenprobe.dns.wire import Reply
from greenprobe.green_dns import getaddrinfo
from greenprobe.hub import Hub

Spoil = Callable[[dns.message.Message], None]


@pytest.fixture(scope="module", params=["nsec", "nsec3"])
def zones(request: pytest.FixtureRequest) -> SignedZones:
    return SignedZones(nsec3=request.param == "nsec3")


def asker(zones: SignedZones, spoil: Spoil = lambda response: None) -> Callable[[str, str], Reply]:
    def ask(name: str, kind: str) -> Reply:
        response = zones.respond(dns.message.make_query(name, kind, want_dnssec=True))
        spoil(response)
        return read_reply(response.to_wire(max_size=65535), make_question(name, kind))

    return ask


def judge(
    zones: SignedZones, name: str, kind: str = "A", spoil: Spoil = lambda response: None, **options: object
) -> Judgement:
    ask = asker(zones, spoil)
    validator = Validator(ask, **{"anchors": zones.anchors, **options})  # type: ignore[arg-type]
    return validator.judge(make_question(name, kind), ask(name, kind))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("www.test", "A"),
        ("www.secure.test", "AAAA"),
        ("alias.test", "A"),
        ("anything.wild.test", "A"),
        ("test", "DNSKEY"),
        ("secure.test", "DS"),
        ("www.test", "MX"),  # the name has no such record
        ("nowhere.test", "A"),
        ("deep.er.nowhere.test", "A"),
        ("empty.test", "A"),  # there are only names below it
        ("nowhere", "A"),
        ("anything.wild.test", "MX"),
    ],
)
def test_what_is_signed_and_what_is_proven_not_to_be_there_is_secure(zones: SignedZones, name: str, kind: str) -> None:
    assert judge(zones, name, kind) == Judgement(SECURE)


@pytest.mark.parametrize("name", ["www.plain.test", "nowhere.plain.test"])
def test_a_zone_that_is_proven_not_to_be_signed_is_insecure(zones: SignedZones, name: str) -> None:
    assert judge(zones, name) == Judgement(INSECURE, "plain.test. is not signed")


def test_a_delegation_that_opt_out_leaves_out_is_insecure() -> None:
    zones = SignedZones(nsec3=True, opts_out=True)
    assert judge(zones, "www.plain.test").state == INSECURE
    assert judge(zones, "www.secure.test").state == SECURE


@pytest.mark.parametrize("name", ["nowhere.test", "www.plain.test", "anything.wild.test"])
def test_proofs_that_take_too_many_hashes_are_not_looked_at(name: str) -> None:
    """RFC 9276, section 3.2: a resolver may treat them as if nothing were signed."""
    zones = SignedZones(nsec3=True, iterations=MAX_ITERATIONS + 1)
    assert judge(zones, name).state == INSECURE
    zones = SignedZones(nsec3=True, iterations=MAX_ITERATIONS)
    assert judge(zones, name).state == (INSECURE if "plain" in name else SECURE)


def without(kind: str) -> Spoil:
    """Leave records of a type out."""

    def spoil(response: dns.message.Message) -> None:
        for section in (response.answer, response.authority):
            section[:] = [rrset for rrset in section if dns.rdatatype.to_text(rrset.rdtype) != kind]

    return spoil


def with_address(response: dns.message.Message) -> None:
    """Put another address into the answer."""
    response.answer[:] = [
        dns.rrset.from_text(rrset.name, 60, "IN", "A", "192.0.2.66") if rrset.rdtype == dns.rdatatype.A else rrset
        for rrset in response.answer
    ]


def emptied(response: dns.message.Message) -> None:
    """Say that there is none, without any proof."""
    if response.question[0].rdtype == dns.rdatatype.A:
        response.answer.clear()


def of_another_name(response: dns.message.Message) -> None:
    """Say that the name is not there, and prove that of another one."""
    if response.question[0].rdtype == dns.rdatatype.A and response.answer:
        response.answer.clear()
        response.set_rcode(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("www.test", with_address),
        ("www.secure.test", with_address),
        ("www.test", without("RRSIG")),
        ("www.test", emptied),
        ("nowhere.test", without("NSEC")),
        ("www.secure.test", without("DS")),
        ("www.secure.test", without("DNSKEY")),
        ("www.test", of_another_name),
    ],
)
def test_what_was_changed_or_left_out_is_bogus(zones: SignedZones, name: str, spoil: Spoil) -> None:
    if zones.nsec3 and name == "nowhere.test":
        spoil = without("NSEC3")
    judgement = judge(zones, name, spoil=spoil)
    assert judgement.state == BOGUS
    assert judgement.reason


def test_a_wildcard_must_be_proven_to_stand_for_the_name(zones: SignedZones) -> None:
    def bare(response: dns.message.Message) -> None:
        if response.answer and response.question[0].rdtype == dns.rdatatype.A:
            response.authority.clear()

    assert judge(zones, "anything.wild.test", spoil=bare).state == BOGUS


def with_types_of(kind: str, rcode: int = 0) -> Callable[[SignedZones], Callable[[str, str], Reply]]:
    """Answer questions for A with the reply, proofs and all, to one for another type."""

    def make(zones: SignedZones) -> Callable[[str, str], Reply]:
        def ask(name: str, wanted: str) -> Reply:
            asked = kind if wanted == "A" else wanted
            response = zones.respond(dns.message.make_query(name, asked, want_dnssec=True))
            if wanted == "A":
                response.question[0].rdtype = dns.rdatatype.A
                response.set_rcode(rcode)  # type: ignore[arg-type]
            return read_reply(response.to_wire(max_size=65535), make_question(name, wanted))

        return ask

    return make


@pytest.mark.parametrize(("name", "rcode"), [("www.test", 0), ("www.test", 3), ("anything.wild.test", 3)])
def test_true_proofs_do_not_deny_what_is_there(zones: SignedZones, name: str, rcode: int) -> None:
    ask = with_types_of("MX", rcode)(zones)
    reply = ask(name, "A")
    assert not reply.answer
    assert Validator(ask, anchors=zones.anchors).judge(make_question(name, "A"), reply).state == BOGUS


@pytest.mark.parametrize("section", ["answer", "authority"])
def test_a_zone_cannot_vouch_for_itself(zones: SignedZones, section: str) -> None:
    """Neither by signing its own DS, nor by its own word that it has none; and nobody goes round in a circle."""

    def spoil(response: dns.message.Message) -> None:
        if response.question[0].rdtype != dns.rdatatype.DS or response.question[0].name.to_text() != "secure.test.":
            return
        own = zones.respond(dns.message.make_query("nowhere.secure.test.", "A", want_dnssec=True))
        if section == "authority":
            response.answer.clear()
            response.authority[:] = own.authority
        for at, rrset in enumerate(response.answer):
            if rrset.rdtype == dns.rdatatype.RRSIG:
                signature = rrset[0].replace(signer=dns.name.from_text("secure.test."))
                response.answer[at] = dns.rrset.from_rdata(rrset.name, 60, signature)

    assert judge(zones, "www.secure.test", spoil=spoil).state == BOGUS


def test_signatures_end(zones: SignedZones) -> None:
    far = 4_000_000_000.0
    judgement = judge(zones, "www.test", clock=lambda: far)
    assert judgement.state == BOGUS


def test_the_root_must_have_the_key_that_is_known(zones: SignedZones) -> None:
    other = "20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D"
    assert judge(zones, "www.test", anchors=[other]).state == BOGUS


def test_zones_are_asked_for_their_keys_once(zones: SignedZones) -> None:
    asked: list[tuple[str, str]] = []
    ask = asker(zones)

    def counting(name: str, kind: str) -> Reply:
        asked.append((name, kind))
        return ask(name, kind)

    validator = Validator(counting, anchors=zones.anchors)
    for name in ("www.test", "nowhere.test", "www.secure.test"):
        assert validator.judge(make_question(name, "A"), ask(name, "A")).state == SECURE
    assert sorted(asked) == sorted({*asked})


def test_a_record_that_is_none_is_bogus(zones: SignedZones) -> None:
    ask = asker(zones)
    reply = ask("www.test", "A")
    broken = reply._replace(answer=tuple(record._replace(data="nonsense") for record in reply.answer))
    assert Validator(ask, anchors=zones.anchors).judge(make_question("www.test", "A"), broken).state == BOGUS


# -- in the resolver and the command


class SignedServer(DnsServer):
    """Serves signed zones as a recursive server does that does not validate."""

    zones: SignedZones

    def respond(self, query: dns.message.Message) -> dns.message.Message:
        return self.zones.respond(query)


@pytest.fixture
def server(zones: SignedZones, hub: Hub) -> Iterator[SignedServer]:
    server = SignedServer({}, {"www": forged_on_demand})
    server.zones = zones
    yield server
    server.close()


FORGED: set[str] = set()


def forged_on_demand(server: DnsServer, query: bytes, response: dns.message.Message, way: str) -> list[bytes]:
    if response.question[0].name.to_text() in FORGED:
        with_address(response)
    return [response.to_wire(max_size=65535)]


@pytest.fixture
def _forged() -> Iterator[None]:
    FORGED.add("www.test.")
    yield
    FORGED.clear()


def resolver_of(server: SignedServer) -> Resolver:
    return Resolver([server.server], conf=ResolvConf(attempts=1), hosts_path=os.devnull, validates=True,
                    anchors=server.zones.anchors)  # fmt: skip


def test_a_validating_resolver_tells_proven_facts_from_others(server: SignedServer) -> None:
    resolver = resolver_of(server)
    proven, unsigned, absent = (resolver.look_up(name, "A") for name in ("www.test", "www.plain.test", "no.test"))
    assert (proven.data, proven.is_authentic) == (("192.0.2.1",), True)
    assert (unsigned.data, unsigned.is_authentic) == (("192.0.2.3",), False)
    assert (absent.status, absent.is_authentic) == ("NXDOMAIN", True)
    assert all(query.flags & dns.flags.CD and query.ednsflags & dns.flags.DO for query in server.queries)


@pytest.mark.usefixtures("_forged")
def test_a_validating_resolver_refuses_what_is_forged(server: SignedServer) -> None:
    resolver = resolver_of(server)
    fact = resolver.look_up("www.test", "A")
    assert (fact.status, fact.data) == ("BOGUS", ())
    with pytest.raises(gaierror) as raised:
        getaddrinfo("www.test", 80, resolver=resolver)
    assert raised.value.errno == EAI_AGAIN


@pytest.mark.usefixtures("_forged")
def test_the_command_validates(server: SignedServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "names").write_text("www.secure.test\nwww.plain.test\nwww.test\n")
    (tmp_path / "anchors").write_text("; of the tests\n" + "\n".join(server.zones.anchors))
    words = ["resolve", str(tmp_path / "names"), "-s", str(server.server), "--dnssec", "--trust-anchors"]
    assert run(cli, [*words, str(tmp_path / "anchors")]) == 1
    rows = {row["name"]: row for row in map(json.loads, capfd.readouterr().out.splitlines())}
    assert rows["www.secure.test"]["queries"][0]["authentic"] is True
    assert [answer["type"] for answer in rows["www.secure.test"]["answers"]] == ["A"]
    assert rows["www.plain.test"]["queries"][0]["authentic"] is False
    assert (rows["www.test"]["status"], rows["www.test"]["answers"]) == ("BOGUS", [])
    (tmp_path / "anchors").write_text("nonsense\n")
    assert run(cli, [*words, str(tmp_path / "anchors")]) == 2


@pytest.mark.parametrize("more", [[], ["--trace"]])
def test_keys_that_many_need_at_once_are_asked_for_once(
    server: SignedServer, tmp_path: Path, capfd: pytest.CaptureFixture[str], more: list[str]
) -> None:
    (tmp_path / "names").write_text("".join(f"n{number}.secure.test\n" for number in range(10)))
    (tmp_path / "anchors").write_text("\n".join(server.zones.anchors))
    words = ["resolve", str(tmp_path / "names"), "-s", str(server.server), "--dnssec", "--trust-anchors"]
    assert run(cli, [*words, str(tmp_path / "anchors"), *more]) == 0
    rows = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [row["queries"][0]["authentic"] for row in rows] == [True] * 10
    assert sorted(server.kinds()) == ["A"] * 10 + ["DNSKEY"] * 3 + ["DS"] * 2


class Authority(DnsServer):
    """Serves one signed zone with authority, and refers to the servers of those below it, which are at `places`."""

    def __init__(self, zones: SignedZones, zone: str, places: dict[str, str], port: int = 0) -> None:
        super().__init__({}, {"www": forged_on_demand}, host=places[zone], port=port)
        self.zones = zones
        above = {each: each.partition(".")[2] or "." for each in places if each != "."}
        self.below = {each: places[each] for each in above if above[each] == zone}

    def respond(self, query: dns.message.Message) -> dns.message.Message:
        name, kind = query.question[0].name, query.question[0].rdtype
        for zone, host in self.below.items():
            cut = dns.name.from_text(zone)
            if name.is_subdomain(cut) and (name, kind) != (cut, dns.rdatatype.DS):
                response = dns.message.make_response(query)
                response.authority.append(dns.rrset.from_text(zone, 60, "IN", "NS", f"ns.{zone}"))
                response.additional.append(dns.rrset.from_text(f"ns.{zone}", 60, "IN", "A", host))
                return response
        response = self.zones.respond(query)
        response.flags |= dns.flags.AA
        response.flags &= ~dns.flags.RA
        return response


@pytest.mark.usefixtures("_forged")
def test_a_trace_validates_what_it_meets(
    zones: SignedZones, hub: Hub, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    places = {".": "127.0.0.70", "test.": "127.0.0.71", "secure.test.": "127.0.0.72", "plain.test.": "127.0.0.73"}
    servers = [Authority(zones, ".", places)]
    port = servers[0].address[1]
    servers += [Authority(zones, zone, places, port) for zone in places if zone != "."]
    names = ["www.secure.test", "no.secure.test", "www.plain.test", "alias.test", "www.test"]
    (tmp_path / "names").write_text("\n".join(names))
    (tmp_path / "anchors").write_text("\n".join(zones.anchors))
    anchors = ["--trust-anchors", str(tmp_path / "anchors")]
    words = ["-s", places["."], "--port", str(port), "--trace", "--dnssec", *anchors]
    try:
        assert run(cli, ["resolve", str(tmp_path / "names"), *words]) == 1
    finally:
        for server in servers:
            server.close()
    rows = {row["name"]: row for row in map(json.loads, capfd.readouterr().out.splitlines())}
    assert {name: (row["status"], row["queries"][0].get("authentic")) for name, row in rows.items()} == {
        "www.secure.test": ("NOERROR", True), "no.secure.test": ("NXDOMAIN", True),
        "www.plain.test": ("NOERROR", False), "alias.test": ("NOERROR", True), "www.test": ("BOGUS", None),
    }  # fmt: skip
    assert [answer["type"] for answer in rows["www.secure.test"]["answers"]] == ["A"]
    (steps,) = [query["trace"] for query in rows["www.secure.test"]["queries"]]
    assert [step["referral"] for step in steps if step["referral"]][-1] == "secure.test."
