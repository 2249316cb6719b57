"""Answers to datagrams: one of each protocol as servers send it, cut short, and noise."""

from struct import pack

import pytest
from hypothesis import given, strategies as st

from greenprobe.engine.probes.datagrams import DATAGRAMS, Datagram, hello_of, identify
from greenprobe.engine.scanplan import Service
from greenprobe.engine.udp import spoken

NTP = bytes.fromhex("240201e7 00000a1c 00000b2d c0a80001".replace(" ", "")) + bytes(32)
SNMP = (
    bytes.fromhex("302f")
    + bytes.fromhex("02010004067075626c6963a2220201010201000201003017301506082b060102010101000409")
    + b"Linux box"
)
SIP = (
    b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP invalid\r\nServer: Asterisk PBX 20.1\r\nAllow: INVITE, OPTIONS\r\n"
    b"Content-Length: 0\r\n\r\n"
)
IKE = b"gpgpgpgp" + b"RESPONDR" + bytes.fromhex("011002000000000000000054") + bytes(56)
QUIC = b"\x80" + bytes(4) + b"\x08greenprb\x08greenprb" + bytes.fromhex("000000016b3343cf0a0a0a0a")
NAME = b"SERVER         \x00\x04\x00"
NBSTAT = (
    pack(">HHHHHH", 0x6770, 0x8400, 0, 1, 0, 0)
    + b"\x20CK"
    + b"A" * 30
    + b"\0"
    + pack(">HHIH", 33, 1, 0, 43)
    + b"\x02"
    + NAME
    + b"WORKGROUP      \x00\x84\x00"
    + bytes.fromhex("001122334455")
)
SSDP = (
    b"HTTP/1.1 200 OK\r\nLocation: http://192.0.2.1/desc.xml\r\n"
    b"Server: Linux UPnP/1.0 MiniUPnPd/2.2\r\nST: upnp:x\r\n\r\n"
)
PORTMAP = pack(">IIIIII", 0x67706770, 1, 0, 0, 0, 0)
STUN = pack(">HHI", 0x0101, 12, 0x2112A442) + b"greenprobe!!" + pack(">HH", 0x8022, 6) + b"coturn\0\0"
RADIUS = pack(">BBH", 2, 1, 20) + bytes(16)
COAP = b"\x60\x45gp\xc0\xff</temp>;rt=t"
OPENVPN = b"\x40" + b"SESSION8" + b"\x01\0\0\0\0" + b"greenprb" + bytes(4)
MEMCACHED = b"gp" + bytes.fromhex("000000010000") + b"VERSION 1.6.18\r\n"
TFTP = b"\0\x05\0\x01File not found\0"

ANSWERS = {
    123: (NTP, "ntp", "NTP server, stratum 2"),
    161: (SNMP, "snmp", "Linux box"),
    5060: (SIP, "sip", "Asterisk PBX 20.1"),
    500: (IKE, "ike", "IKE 1.0"),
    4500: (bytes(4) + IKE, "ike", "IKE 1.0"),
    443: (QUIC, "quic", "QUIC"),
    137: (NBSTAT, "netbios-ns", "SERVER"),
    1900: (SSDP, "ssdp", "Linux UPnP/1.0 MiniUPnPd/2.2"),
    111: (PORTMAP, "rpcbind", "RPC port mapper"),
    3478: (STUN, "stun", "coturn"),
    1812: (RADIUS, "radius", "RADIUS server"),
    5683: (COAP, "coap", "CoAP server"),
    1194: (OPENVPN, "openvpn", "OpenVPN"),
    11211: (MEMCACHED, "memcached", "memcached 1.6.18"),
    69: (TFTP, "tftp", "TFTP server"),
}


@pytest.mark.parametrize("port", ANSWERS)
def test_an_answer_is_read(port: int) -> None:
    said, name, product = ANSWERS[port]
    found = identify(said, port)
    assert found is not None
    assert (found[0].name, found[1]["product"]) == (name, product)


@pytest.mark.parametrize("port", ANSWERS)
def test_an_answer_from_another_port_is_read_too(port: int) -> None:
    said, name, _ = ANSWERS[port]
    found = identify(said, 40_000)
    assert found is not None
    assert found[0].name == name


def test_details_are_fields() -> None:
    def fields(port: int) -> dict[str, object]:
        found = identify(ANSWERS[port][0], port)
        assert found is not None
        return found[1]

    assert fields(123)["reference"] == "192.168.0.1"
    assert fields(443)["versions"] == ["1", "2", "0a0a0a0a"]
    assert fields(137)["names"] == ["SERVER<00>", "WORKGROUP<00>"]
    assert fields(137)["address"] == "00:11:22:33:44:55"
    assert fields(5060)["status"] == "200 OK"
    assert fields(1900)["location"] == "http://192.0.2.1/desc.xml"
    assert fields(161)["version"] == 1
    assert fields(5683)["resources"] == "</temp>;rt=t"


@pytest.mark.parametrize("port", ANSWERS)
def test_an_answer_cut_short_raises_nothing(port: int) -> None:
    said = ANSWERS[port][0]
    for end in range(len(said)):
        identify(said[:end], port)


@given(st.binary(max_size=200), st.sampled_from(sorted(ANSWERS)))
def test_noise_raises_nothing(said: bytes, port: int) -> None:
    identify(said, port)
    start = ANSWERS[port][0][: len(said) // 4]
    identify(start + said, port)


@pytest.mark.parametrize("one", DATAGRAMS, ids=lambda one: one.name)
def test_a_port_that_echoes_is_no_server_of_the_protocol(one: Datagram) -> None:
    for port in one.ports:
        assert spoken(port, one.hello).name == "echo"


def test_words_that_nobody_knows_are_shown() -> None:
    assert spoken(9999, b"hello\x1b[2J") == Service("", banner="hello\\x1b[2J")


def test_a_port_without_a_protocol_gets_an_empty_datagram() -> None:
    assert hello_of(9) == b""
