"""What to send to a UDP port so that who serves there answers: nobody answers an empty datagram.

Each is a first message of its protocol, as short as it may be, that changes nothing at the server. Sources: RFC 1035,
RFC 5905, RFC 1157, RFC 3261, RFC 2408, RFC 9000 section 6, RFC 1002, RFC 1350, RFC 5531 and 1833, RFC 7252, RFC 8489,
RFC 2865, RFC 6762, UPnP Device Architecture 1.1, memcached's protocol.txt.
"""

from struct import pack
from typing import Final

from greenprobe.engine.probes.directory import dns_query

__all__ = ["payload_of"]

SIP: Final = (
    b"OPTIONS sip:greenprobe@invalid SIP/2.0\r\nVia: SIP/2.0/UDP invalid;branch=z9hG4bKgp;rport\r\n"
    b"From: <sip:greenprobe@invalid>;tag=gp\r\nTo: <sip:greenprobe@invalid>\r\nCall-ID: gp@invalid\r\n"
    b"CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)
SNMP: Final = bytes.fromhex("302602010004067075626c6963a019020101020100020100300e300c06082b060102010101000500")
# Main mode: one proposal, 3DES, SHA-1, pre-shared key, group 2.
IKE: Final = (
    bytes.fromhex("6770676770676770" + "00" * 8 + "0110020000000000" + "00000050")
    + bytes.fromhex("000000340000000100000001000000280101000100000020")
    + bytes.fromhex("010100008001000580020002800400028003000180 0b0001800c7080".replace(" ", ""))
)
# A version that nobody speaks: a server answers with those that it does.
QUIC: Final = b"\xc0\x1a\x2a\x3a\x4a\x08greenprb\x08greenprb\x00\x00".ljust(1200, b"\0")
NBSTAT: Final = pack(">HHHHHH", 0x6770, 0, 1, 0, 0, 0) + b"\x20CK" + b"A" * 30 + b"\0" + pack(">HH", 33, 1)
SSDP: Final = (
    b'M-SEARCH * HTTP/1.1\r\nHost: 239.255.255.250:1900\r\nMan: "ssdp:discover"\r\nMX: 1\r\nST: ssdp:all\r\n\r\n'
)
PORTMAP: Final = pack(">IIIIIIIIII", 0x67706770, 0, 2, 100000, 2, 0, 0, 0, 0, 0)
MDNS: Final = (
    pack(">HHHHHH", 0, 0, 1, 0, 0, 0) + b"\x09_services\x07_dns-sd\x04_udp\x05local\0" + pack(">HH", 12, 0x8001)
)
STUN: Final = pack(">HHI", 1, 0, 0x2112A442) + b"greenprobe!!"
RADIUS: Final = pack(">BBH", 12, 1, 20) + b"greenprobe stat!"

PAYLOADS: Final = {
    53: dns_query(),
    69: pack(">H", 1) + b"greenprobe\0octet\0",
    111: PORTMAP,
    123: b"\xe3" + bytes(47),
    137: NBSTAT,
    161: SNMP,
    443: QUIC,
    500: IKE,
    1194: b"\x38greenprb" + bytes(5),
    1812: RADIUS,
    1900: SSDP,
    3478: STUN,
    4500: bytes(4) + IKE,
    5060: SIP,
    5353: MDNS,
    5683: bytes.fromhex("40016770") + b"\xbb.well-known\x04core",
    11211: bytes.fromhex("6770000000010000") + b"version\r\n",
}


def payload_of(port: int) -> bytes:
    """Return what to send to a port; nothing but a datagram where we know no protocol."""
    return PAYLOADS.get(port, b"")
