"""`greenprobe resolve` and the resolver against unbound and dnsmasq: what they say is what we write.

Slow, all of them: they start servers.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import dns.message
import dns.rdatatype
import dns.rrset
import dns.zone
import pytest
import trustme
from dns_servers import DnsServer
from real_servers import dnsmasq_server, unbound_server
from signed_zones import SignedZones

from greenprobe.cli import cli, run
from greenprobe.dns.conf import ResolvConf
from greenprobe.dns.resolver import Resolver
from greenprobe.hub import Hub

pytestmark = pytest.mark.slow

LOCAL = """
    local-zone: "test." nodefault
    local-zone: "local.lab." static
    local-data: "local.lab. 60 IN SOA ns.local.lab. host.local.lab. 1 2 3 4 60"
    local-data: "a.local.lab. 60 IN A 192.0.2.1"
    local-data: "a.local.lab. 60 IN AAAA 2001:db8::1"
    local-data: 'text.local.lab. 60 IN TXT "two words" "more"'
    local-data: "_sip._tcp.local.lab. 60 IN SRV 1 2 5060 a.local.lab."
    local-zone: "closed.lab." refuse
    local-zone: "2.0.192.in-addr.arpa." static
    local-data-ptr: "192.0.2.1 a.local.lab."
"""
MANY = "".join(f'    local-data: "many.local.lab. 60 IN A 10.0.{number}.1"\n' for number in range(200))


class Signed(DnsServer):
    """Serves signed zones; the address of one name is forged on the way."""

    def __init__(self, zones: SignedZones) -> None:
        super().__init__({}, host="127.0.0.53")
        self.zones = zones

    def respond(self, query: dns.message.Message) -> dns.message.Message:
        response = self.zones.respond(query)
        if query.question[0].name.to_text() == "www.secure.test.":
            forged = dns.rrset.from_text("www.secure.test.", 60, "IN", "A", "192.0.2.66")
            response.answer = [forged if each.rdtype == dns.rdatatype.A else each for each in response.answer]
        return response


class Unbound(NamedTuple):
    """An unbound over signed zones: its ports, the authority of its certificate, the anchors of the root."""

    port: int
    tls_port: int
    authority: Path
    anchors: Path


@pytest.fixture
def unbound(hub: Hub, tmp_path: Path) -> Iterator[Unbound]:
    zones = SignedZones()
    upstream = Signed(zones)
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "dns.test")
    files = {"cert.pem": b"".join(blob.bytes() for blob in certificate.cert_chain_pems),
             "key.pem": certificate.private_key_pem.bytes()}  # fmt: skip
    lines = LOCAL + MANY + '    tls-service-pem: "cert.pem"\n    tls-service-key: "key.pem"\n'
    lines += "".join(f'    trust-anchor: ". DS {anchor}"\n' for anchor in zones.anchors)
    lines += "forward-zone:\n    name: .\n    forward-addr: {}@{}\n".format(*upstream.address)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    (tmp_path / "anchors").write_text("\n".join(zones.anchors))
    with unbound_server(lines, files) as ports:
        yield Unbound(*ports, tmp_path / "ca.pem", tmp_path / "anchors")
    upstream.close()


class Answers(NamedTuple):
    """What `resolve` said."""

    code: int
    rows: dict[str, dict[str, Any]]
    err: str

    def data(self, name: str) -> list[str]:
        return sorted(answer["data"] for answer in self.rows[name]["answers"])


def resolve(tmp_path: Path, capfd: pytest.CaptureFixture[str], names: str, *words: object) -> Answers:
    (tmp_path / "names").write_text(names.replace(" ", "\n"))
    code = run(cli, ["resolve", str(tmp_path / "names"), "--timeout", "10", *map(str, words)])
    out, err = capfd.readouterr()
    return Answers(code, {row["name"]: row for row in map(json.loads, out.splitlines())}, err)


def test_local_data_of_unbound(unbound: Unbound, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    names = "a.local.lab text.local.lab _sip._tcp.local.lab nowhere.local.lab x.closed.lab"
    found = resolve(tmp_path, capfd, names, "-s", f"127.0.0.1:{unbound.port}", "-t", "A,AAAA,TXT,SRV")
    assert found.code == 1  # who is refused has no answer
    assert found.data("a.local.lab") == ["192.0.2.1", "2001:db8::1"]
    assert found.data("text.local.lab") == ['"two words" "more"']
    assert found.data("_sip._tcp.local.lab") == ["1 2 5060 a.local.lab."]
    assert {name: row["status"] for name, row in found.rows.items()} == {
        "a.local.lab": "NOERROR", "text.local.lab": "NOERROR", "_sip._tcp.local.lab": "NOERROR",
        "nowhere.local.lab": "NXDOMAIN", "x.closed.lab": "REFUSED",
    }  # fmt: skip
    block = resolve(tmp_path, capfd, "192.0.2.0/31", "-s", f"127.0.0.1:{unbound.port}")
    assert (block.code, block.data("192.0.2.1")) == (0, ["a.local.lab."])
    assert block.rows["192.0.2.0"]["status"] == "NXDOMAIN"


@pytest.mark.parametrize("way", ["udp", "tcp", "tls"])
def test_a_long_answer_comes_over_every_way(
    way: str, unbound: Unbound, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    port = unbound.tls_port if way == "tls" else unbound.port
    words = ["-s", f"{way}://127.0.0.1:{port}", "--ca-file", unbound.authority]
    found = resolve(tmp_path, capfd, "many.local.lab", *words)
    assert (found.code, len(found.data("many.local.lab"))) == (0, 200)
    (said,) = found.rows["many.local.lab"]["queries"]
    assert (said["protocol"], said["tries"]) == ({"udp": "tcp"}.get(way, way), 2 if way == "udp" else 1)


def test_a_certificate_of_unbound_that_nobody_vouches_for_is_refused(
    unbound: Unbound, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found = resolve(tmp_path, capfd, "a.local.lab", "-s", f"tls://127.0.0.1:{unbound.tls_port}#dns.test")
    assert found.code == 1
    assert "certificate" in found.rows["a.local.lab"]["error"]["message"]


def test_what_unbound_finds_forged_is_a_failure_and_what_we_find_forged_is_bogus(
    unbound: Unbound, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    names, server = "www.test www.secure.test www.plain.test nowhere.test", ["-s", f"127.0.0.1:{unbound.port}"]
    found = resolve(tmp_path, capfd, names, *server, "--retries", 0)
    assert {name: row["status"] for name, row in found.rows.items()} == {
        "www.test": "NOERROR", "www.secure.test": "SERVFAIL", "www.plain.test": "NOERROR", "nowhere.test": "NXDOMAIN",
    }  # fmt: skip
    ours = resolve(tmp_path, capfd, names, *server, "--dnssec", "--trust-anchors", unbound.anchors)
    assert ours.code == 1
    assert {name: (row["status"], row["queries"][0].get("authentic")) for name, row in ours.rows.items()} == {
        "www.test": ("NOERROR", True), "www.secure.test": ("BOGUS", None), "www.plain.test": ("NOERROR", False),
        "nowhere.test": ("NXDOMAIN", True),
    }  # fmt: skip


def test_who_trusts_a_validating_server_hears_what_it_found_authentic(unbound: Unbound) -> None:
    def found(name: str, *, trusts: bool) -> bool | None:
        conf = ResolvConf(trust_ad=trusts)
        resolver = Resolver([f"127.0.0.1:{unbound.port}"], conf=conf, hosts_path=os.devnull)
        try:
            return resolver.look_up(name, "A").is_authentic
        finally:
            resolver.close()

    assert found("www.test", trusts=True) is True
    assert found("www.plain.test", trusts=True) is False
    assert found("www.test", trusts=False) is None


def test_dnsmasq_answers_what_it_knows_and_refuses_the_rest(
    hub: Hub, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = ["--host-record=box.lan,192.0.2.9,2001:db8::9", "--cname=www.lan,box.lan", "--mx-host=lan,mail.lan,10",
               "--txt-record=lan,v=spf1 -all", "--address=/wild.lan/192.0.2.7", "--local=/lan/"]  # fmt: skip
    with dnsmasq_server(*options) as port:
        names = "box.lan www.lan lan x.wild.lan y.wild.lan nowhere.lan elsewhere.test 192.0.2.9"
        words = ["-s", f"127.0.0.1:{port}", "-t", "A,AAAA,MX,TXT", "--wildcards", "--retries", "1"]
        found = resolve(tmp_path, capfd, names, *words)
        assert run(cli, ["resolve", str(tmp_path / "names"), "--format", "zone", *map(str, words)]) == 1
    assert found.code == 1
    assert found.data("box.lan") == ["192.0.2.9", "2001:db8::9"]
    assert "192.0.2.9" in found.data("www.lan")
    assert "box.lan." in found.data("www.lan")
    assert found.data("lan") == ['"v=spf1 -all"', "10 mail.lan."]
    assert found.data("192.0.2.9") == ["box.lan."]
    assert (found.rows["x.wild.lan"]["wildcard"], found.rows["box.lan"]["wildcard"]) == (True, False)
    assert found.rows["nowhere.lan"]["status"] == "NXDOMAIN"
    assert found.rows["elsewhere.test"]["status"] == "REFUSED"
    zone = dns.zone.from_text(capfd.readouterr().out, origin=".", check_origin=False, relativize=False)
    assert zone.find_rdataset("box.lan.", "AAAA").to_text() == "0 IN AAAA 2001:db8::9"
