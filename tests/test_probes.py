"""The parsers of probes: real answers whole, cut, byte by byte, followed by more; and garbage of all kinds."""

import re
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from struct import pack
from typing import Any

import dns.message
import dns.rrset
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given, settings, strategies as st

from greenprobe.cli import cli, run
from greenprobe.engine.probes.certificates import certificate_fields, chain_fields
from greenprobe.engine.probes.datagrams import DATAGRAMS
from greenprobe.engine.probes.probe import MAX_TEXT, MORE, OTHER, Heard, Probe, text_of
from greenprobe.engine.probes.registry import BUILT_IN, Registry, load_probes
from greenprobe.errors import TargetError

PROBES = {probe.name: probe for probe in BUILT_IN}


def ssh_string(data: bytes) -> bytes:
    return pack(">I", len(data)) + data


def ssh_packet(payload: bytes) -> bytes:
    return pack(">IB", len(payload) + 5, 4) + payload + bytes(4)


SSH_LISTS = (b"curve25519-sha256,ecdh-sha2-nistp256", b"ssh-ed25519", *[b"aes128-ctr"] * 2, *[b"hmac-sha2-256"] * 2)
SSH_KEXINIT = bytes([20]) + bytes(16) + b"".join(map(ssh_string, (*SSH_LISTS, b"none", b"none", b"", b""))) + bytes(5)
SSH_KEY = ssh_string(b"ssh-ed25519") + ssh_string(bytes(range(32)))
SSH_REPLY = bytes([31]) + ssh_string(SSH_KEY) + ssh_string(bytes(32)) + ssh_string(b"signature")
SSH = b"SSH-2.0-OpenSSH_9.6 Debian-1\r\n" + ssh_packet(SSH_KEXINIT) + ssh_packet(SSH_REPLY)

MYSQL_FLAGS = b"\xff\xff\xff\x02\0\xff\xc7\x15"


def mysql_greeting(version: bytes) -> bytes:
    body = b"\x0a" + version + bytes(5) + b"abcdefgh\0" + MYSQL_FLAGS + bytes(10) + b"ijklmnopqrst\0"
    return len(body).to_bytes(3, "little") + b"\0" + body


POSTGRES_BODY = b"SFATAL\0VFATAL\0C0A000\0Munsupported frontend protocol 255.255\0RProcessStartupPacket\0\0"
POSTGRES = b"E" + pack(">I", len(POSTGRES_BODY) + 4) + POSTGRES_BODY

BSON_BODY = b"\x08isWritablePrimary\0\x01\x10maxWireVersion\0" + pack("<i", 21) + b"\x02setName\0\x04\0\0\0rs0\0"
BSON_BODY += b"\x03topology\0\x05\0\0\0\0\x01ok\0" + pack("<d", 1.0)
BSON = pack("<i", len(BSON_BODY) + 5) + BSON_BODY + b"\0"
MONGODB = pack("<iiii", 21 + len(BSON), 7, 1, 2013) + bytes(4) + b"\0" + BSON

INFO = b"# Server\r\nredis_version:7.2.4\r\nredis_mode:standalone\r\nos:Linux 6.1 x86_64\r\n"
REDIS = b"$%d\r\n%s\r\n" % (len(INFO), INFO)

AMQP_TABLE = b"\x07productS" + pack(">I", 8) + b"RabbitMQ" + b"\x07versionS" + pack(">I", 6) + b"3.12.1"
AMQP_BODY = b"\0\x09" + pack(">I", len(AMQP_TABLE)) + AMQP_TABLE + ssh_string(b"PLAIN AMQPLAIN") + ssh_string(b"en_US")
AMQP = pack(">BHIHH", 1, 0, len(AMQP_BODY) + 4, 10, 10) + AMQP_BODY + b"\xce"

SMB = b"\0\0\0\xf8\xfeSMB" + bytes(60) + pack("<HHHH", 65, 3, 0x0311, 0) + b"0123456789abcdef" + bytes(100)


def ber(tag: int, content: bytes) -> bytes:
    return bytes([tag, len(content)]) + content


LDAP_CONTEXTS = ber(0x30, ber(4, b"namingContexts") + ber(0x31, ber(4, b"dc=example,dc=test")))
LDAP = ber(0x30, ber(2, b"\1") + ber(0x64, ber(4, b"") + ber(0x30, LDAP_CONTEXTS)))


def dns_answer() -> bytes:
    query = dns.message.from_wire(PROBES["dns"].hello[2:])
    answer = dns.message.make_response(query)
    answer.answer.append(dns.rrset.from_text("version.bind.", 0, "CH", "TXT", '"9.18.24"'))
    wire = answer.to_wire()
    return pack(">H", len(wire)) + wire


PAGE = b"<html><head><title>\n A &amp; B </title></head></html>"
HTTP = (
    b"HTTP/1.1 301 Moved Permanently\r\nServer: nginx/1.24.0\r\nLocation: https://x.test/\r\n"
    b"Content-Type: text/html\r\nContent-Length: %d\r\n\r\n%s" % (len(PAGE), PAGE)
)

ANSWERS: list[tuple[str, bytes, dict[str, Any]]] = [
    ("http", HTTP, {"status": 301, "server": "nginx/1.24.0", "title": "A & B", "location": "https://x.test/"}),
    ("http", b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n", {"status": 200, "version": "1.0"}),
    (
        "smtp",
        b"220 mx.test ESMTP Postfix\r\n250-mx.test\r\n250-SIZE 1\r\n250 STARTTLS\r\n",
        {"starttls": True, "extensions": ["SIZE 1", "STARTTLS"], "product": "Postfix"},
    ),
    ("smtp", b"220 mx.test\r\n502 5.5.2 Error\r\n", {"starttls": False, "greeting": "mx.test"}),
    (
        "ftp",
        b"220 (vsFTPd 3.0.5)\r\n211-Features:\r\n AUTH TLS\r\n UTF8\r\n211 End\r\n",
        {"starttls": True, "product": "vsFTPd 3.0.5"},
    ),
    (
        "pop3",
        b"+OK ready.\r\n+OK\r\nSTLS\r\nUIDL\r\n.\r\n",
        {"starttls": True, "capabilities": ["STLS", "UIDL"]},
    ),
    ("pop3", b"+OK ready\r\n-ERR what?\r\n", {"starttls": False}),
    (
        "imap",
        b"* OK [CAPABILITY IMAP4rev1] ready.\r\n* CAPABILITY IMAP4rev1 STARTTLS\r\na1 OK done\r\n",
        {"starttls": True, "product": ""},
    ),
    ("ssh", SSH, {"software": "OpenSSH_9.6", "comment": "Debian-1", "host_key": "ssh-ed25519"}),
    ("mysql", mysql_greeting(b"8.0.36"), {"version": "8.0.36", "tls": True, "product": "MySQL 8.0.36"}),
    ("mysql", mysql_greeting(b"5.5.5-10.11.6-MariaDB"), {"product": "MariaDB 10.11.6-MariaDB"}),
    ("mysql", b"\x11\0\0\0\xff\x6a\x04Host not allow", {"error": 1130}),
    ("postgresql", POSTGRES, {"severity": "FATAL", "code": "0A000", "routine": "ProcessStartupPacket"}),
    ("mongodb", MONGODB, {"max_wire_version": 21, "replica_set": "rs0", "primary": True}),
    ("redis", REDIS, {"version": "7.2.4", "mode": "standalone", "product": "Redis 7.2.4"}),
    ("redis", b"-NOAUTH Authentication required.\r\n", {"error": "NOAUTH Authentication required."}),
    ("memcached", b"VERSION 1.6.23\r\n", {"version": "1.6.23"}),
    ("mqtt", b"\x20\x02\x00\x05", {"code": 5, "says": "not authorized"}),
    ("amqp", AMQP, {"version": "0.9", "product": "RabbitMQ 3.12.1", "mechanisms": ["PLAIN", "AMQPLAIN"]}),
    ("amqp", b"AMQP\0\1\0\0", {"version": "1.0.0"}),
    ("rdp", bytes.fromhex("030000130ed000001234000209080002000000"), {"security": "CredSSP"}),
    ("rdp", bytes.fromhex("0300000b06d00000123400"), {"security": "RDP"}),
    ("rdp", bytes.fromhex("030000130ed000001234000300080005000000"), {"failure": 5}),
    ("vnc", b"RFB 003.003\n", {"version": "3.3", "security": None}),
    ("vnc", b"RFB 003.008\n\0\0\0\0\x12Too many attempts.", {"version": "3.8", "refusal": "Too many attempts."}),
    ("vnc", b"RFB 003.008\n\x02\x01\x02", {"version": "3.8", "security": ["none", "VNC password"]}),
    ("smb", SMB, {"dialect": "3.1.1", "signing": "required"}),
    ("ldap", LDAP, {"contexts": ["dc=example,dc=test"]}),
    ("dns", dns_answer(), {"version": "9.18.24", "code": "NOERROR"}),
]
IDS = [f"{name}-{number}" for number, (name, _, _) in enumerate(ANSWERS)]


def fields_of(probe: Probe, data: bytes, *, is_over: bool = False) -> dict[str, Any]:
    found = probe.parse(data, is_over)
    assert not isinstance(found, Heard), found
    return found


@pytest.mark.parametrize(("name", "data", "expected"), ANSWERS, ids=IDS)
def test_an_answer_gives_its_fields(name: str, data: bytes, expected: dict[str, Any]) -> None:
    found = fields_of(PROBES[name], data)
    assert {key: found.get(key) for key in expected} == expected
    assert found.keys() <= PROBES[name].fields.keys(), "a field is not declared"


@pytest.mark.parametrize(("name", "data", "expected"), ANSWERS, ids=IDS)
def test_an_answer_that_comes_byte_by_byte_gives_the_same(name: str, data: bytes, expected: dict[str, Any]) -> None:
    """Until it has come, a parser asks for more, and never says that it is something else."""
    parse = PROBES[name].parse
    for end in range(len(data) + 1):
        found = parse(data[:end], False)
        assert found is not OTHER, data[:end]
        if found is not MORE:
            break
    assert not isinstance(found, Heard)
    assert {key: found.get(key) for key in expected} == expected


@pytest.mark.parametrize(("name", "data", "expected"), ANSWERS, ids=IDS)
def test_an_answer_cut_anywhere_ends_the_wait(name: str, data: bytes, expected: dict[str, Any]) -> None:
    for end in range(len(data) + 1):
        assert PROBES[name].parse(data[:end], True) is not MORE


@pytest.mark.parametrize(("name", "data", "expected"), ANSWERS, ids=IDS)
def test_an_answer_is_known_whoever_was_asked(name: str, data: bytes, expected: dict[str, Any]) -> None:
    found = Registry().identify(data, 1)
    assert found is not None
    assert found[0].name == name


@pytest.mark.parametrize("probe", BUILT_IN, ids=lambda probe: probe.name)
@settings(max_examples=40)
@given(data=st.binary(max_size=300), is_over=st.booleans())
def test_garbage_raises_nothing_and_ends(probe: Probe, data: bytes, is_over: bool) -> None:
    found = probe.parse(data, is_over)
    assert not (is_over and found is MORE)


@pytest.mark.parametrize(("name", "data", "expected"), ANSWERS, ids=IDS)
@settings(max_examples=25)
@given(place=st.integers(0, 10_000), noise=st.binary(min_size=1, max_size=8))
def test_an_answer_with_a_fault_raises_nothing(
    name: str, data: bytes, expected: dict[str, Any], place: int, noise: bytes
) -> None:
    place %= len(data)
    PROBES[name].parse(data[:place] + noise + data[place + len(noise) :], True)
    PROBES[name].parse(data[:place] + noise + data[place:], False)


@pytest.mark.parametrize("probe", BUILT_IN, ids=lambda probe: probe.name)
def test_what_is_kept_of_a_long_answer_is_bounded(probe: Probe) -> None:
    for _, data, _ in ANSWERS:
        found = probe.parse(data + b"x" * 100_000, True)
        if not isinstance(found, Heard):
            assert len(str(found)) < 20_000


def test_an_ssh_fingerprint_is_what_ssh_keygen_prints() -> None:
    found = fields_of(PROBES["ssh"], SSH)
    assert re.fullmatch(r"SHA256:[A-Za-z0-9+/]{43}", found["fingerprint"])
    assert found["kex"] == ["curve25519-sha256", "ecdh-sha2-nistp256"]


def test_the_greetings_of_ftp_and_smtp_are_told_apart_by_their_words_or_answers() -> None:
    registry = Registry()
    for greeting, name in (
        (b"220 ProFTPD Server ready.\r\n", "ftp"),
        (b"220 host ESMTP\r\n", "smtp"),
        (b"220 welcome\r\n530 Please login with USER and PASS.\r\n", "ftp"),
    ):
        found = registry.identify(greeting, 1)
        assert found is not None
        assert found[0].name == name
    assert registry.identify(b"220 welcome\r\n", 1) is None


@pytest.mark.parametrize(
    ("greeting", "product"),
    [
        (b"220 vm ESMTP Exim 4.96 Wed, 25 Nov 2026 02:45:26 +0000\r\n", "Exim 4.96"),
        (b"220 mx.test ESMTP Postfix (Debian/GNU)\r\n", "Postfix"),
        (b"220 mx.test ESMTP Sendmail 8.17.1/8.17.1; Wed, 25 Nov 2026 02:45:26 GMT\r\n", "Sendmail 8.17.1"),
        (b"220 mx.test ESMTP a1-20020a05600c.131 - gsmtp\r\n", ""),
        (b"220 exim-fans.test ESMTP\r\n", ""),
    ],
)
def test_a_product_holds_nothing_that_changes_from_one_greeting_to_the_next(greeting: bytes, product: str) -> None:
    assert fields_of(PROBES["smtp"], greeting, is_over=True)["product"] == product


def test_bytes_of_a_server_cannot_steer_a_terminal() -> None:
    assert text_of(b"\x1b[2J\x00\xff ok") == "\\x1b[2J\\x00\\xff ok"
    assert len(text_of(b"\x1b" * 10_000)) == MAX_TEXT


def test_every_probe_says_what_it_is() -> None:
    for probe in BUILT_IN:
        assert probe.about
        assert probe.fields
        assert probe.hello or probe.greets
        assert probe.ports or probe.secure_ports
    assert len(PROBES) == len(BUILT_IN)


@given(st.binary(max_size=200))
def test_what_is_no_certificate_is_told_by_its_hash(der: bytes) -> None:
    found = certificate_fields(der)
    assert len(found["sha256"]) == 64
    assert "unreadable" in found


def certificate(key: Any, *, names: x509.SubjectAlternativeName | None) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a.test")])
    begins = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 255, begins, begins + timedelta(days=1))
    if names is not None:
        builder = builder.add_extension(names, critical=False)
    kind = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, kind).public_bytes(Encoding.DER)


NAMES = x509.SubjectAlternativeName(
    [x509.DNSName("a.test"), x509.IPAddress(ip_address("192.0.2.1")), x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))]
)


@pytest.mark.parametrize(
    ("key", "names", "expected"),
    (
        (ec.generate_private_key(ec.SECP256R1()), None, ("EC secp256r1", "sha256", [])),
        (rsa.generate_private_key(65537, 1024), None, ("RSA 1024", "sha256", [])),
        (ed25519.Ed25519PrivateKey.generate(), NAMES, ("Ed25519", "", ["a.test", "192.0.2.1"])),
    ),
)
def test_a_certificate_tells_its_key_its_time_and_the_names_it_is_for(
    key: Any, names: x509.SubjectAlternativeName | None, expected: tuple[str, str, list[str]]
) -> None:
    der = certificate(key, names=names)
    found = chain_fields([der, der])
    facts = found["certificate"]
    assert (facts["key"], facts["signature"], facts["names"]) == expected
    assert (facts["not_before"], facts["serial"], facts["self_signed"]) == ("2026-01-01T00:00:00Z", "ff", True)
    assert found["chain"] == ["CN=a.test"]


# -- probes of users


def write(folder: Path, text: str) -> Path:
    path = folder / "own.toml"
    path.write_text(text)
    return path


def test_a_probe_from_toml_is_asked_before_the_built_in_ones(tmp_path: Path) -> None:
    path = write(
        tmp_path, '[[probe]]\nname = "gopher"\nports = [70]\nhello = "\\r\\n"\nmatch = \'i(?P<text>[^\\t]*)\\t\'\n'
    )
    registry = Registry(load_probes(path))
    (probe,) = registry.for_port(70)
    assert (probe.name, probe.hello, probe.greets) == ("gopher", b"\r\n", False)
    assert probe.parse(b"ihello\tx", False) == {"text": "hello"}
    assert probe.parse(b"", False) is MORE
    assert probe.parse(b"nothing", True) is OTHER
    assert registry.probes[0] is probe


@pytest.mark.parametrize(
    ("text", "message"),
    (
        ("[[probe]\n", "is no TOML"),
        ("x = 1\n", "has no [[probe]]"),
        ('[[probe]]\nname = "a"\n', "needs name and match"),
        ('[[probe]]\nname = "a"\nmatch = "("\n', "probe 'a'"),
        ('[[probe]]\nname = "a"\nmatch = "b"\nports = [0]\n', "are not all 1 to 65535"),
        ('[[probe]]\nname = "a"\nmatch = "b"\ncolour = "red"\n', "'colour' = 'red' is not understood"),
    ),
)
def test_a_fault_in_a_toml_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TargetError) as caught:
        load_probes(write(tmp_path, text))
    assert message in str(caught.value)


def test_the_listing_has_a_line_for_each_protocol_and_begins_with_the_users_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ports = ", ".join(map(str, range(7000, 7020)))
    own = write(tmp_path, f'[[probe]]\nname = "own"\nports = [{ports}]\nmatch = "(?P<text>.)"\n')
    assert run(cli, ["probes", "--probes", str(own)]) == 0
    head, first, *others = capsys.readouterr().out.splitlines()
    assert head.split() == ["NAME", "BEGINS", "IN", "TLS", "PORTS", "ABOUT"]
    assert first.split()[:4] == ["own", "server", "-", "7000,7001,7002,7003,7004,7005,…"]
    assert [line.split()[:4] for line in others if line.startswith(("smtp ", "dns "))] == [
        ["smtp", "server", "smtps", "25,587,2525,465"],
        ["dns", "client", "dot", "53,853"],
        ["dns", "client", "-", "U:53"],
    ]
    assert len(others) == len(BUILT_IN) + len(DATAGRAMS)


def test_the_fields_of_one_protocol_are_told_over_whatever_it_is_spoken(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["probes", "memcached"]) == 0
    told = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    both = [one for one in (*BUILT_IN, *DATAGRAMS) if one.name == "memcached"]
    assert told == list(dict.fromkeys(field for one in both for field in one.fields))
    assert run(cli, ["probes", "nothing"]) == 2
    assert "'nothing' is no probe; there are http, ssh," in capsys.readouterr().err


def test_a_toml_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"none\.toml: No such file"):
        load_probes(tmp_path / "none.toml")
