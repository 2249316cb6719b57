"""What to send to a UDP port so that who serves there answers, and how to read the answer.

Nobody answers an empty datagram, so each hello is a first message of its protocol, as short as it may be, that changes
nothing at the server. A parser is given one datagram, which is all there will be: it returns fields, or None if this is
not its protocol. Sources: RFC 1035, RFC 5905, RFC 1157, RFC 3261, RFC 2408, RFC 9000 sections 6 and 17.2.1, RFC 1002,
RFC 1350, RFC 5531 and 1833, RFC 7252, RFC 8489, RFC 2865, RFC 6762, UPnP Device Architecture 1.1, memcached's
protocol.txt.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from struct import pack, unpack_from
from typing import Final

from greenprobe.engine.probes.ber import element
from greenprobe.engine.probes.directory import dns_fields, dns_message, dns_query
from greenprobe.engine.probes.probe import MAX_ITEMS, Fields, Heard, Short, take, text_of

__all__ = ["DATAGRAMS", "Datagram", "hello_of", "identify", "wanders"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Datagram:
    """A protocol of datagrams: `hello` goes to `ports`, `parse` reads what comes back, `fields` says what they mean."""

    name: str
    about: str
    ports: tuple[int, ...]
    hello: bytes
    parse: Callable[[bytes], Fields | None]
    fields: Mapping[str, str] = field(default_factory=dict)
    is_text: bool = False
    wanders: bool = False  # the answer comes from another port


def hello_of(port: int) -> bytes:
    """Return what to send to a port; nothing but a datagram where we know no protocol."""
    known = BY_PORT.get(port)
    return known.hello if known is not None else b""


def wanders(port: int) -> bool:
    """Tell whether an answer to what was sent to a port comes from another one."""
    return port in BY_PORT and BY_PORT[port].wanders


def identify(said: bytes, port: int) -> tuple[Datagram, Fields] | None:
    """Return whose words a datagram from `port` is, and its fields; what fits the port is asked first."""
    fitting = BY_PORT.get(port)
    for one in ((fitting,) if fitting is not None else ()) + DATAGRAMS:
        try:
            found = one.parse(said)
        except (Short, ValueError):
            continue
        if found is not None:
            return one, found
    return None


# -- names and time


def parse_dns(said: bytes) -> Fields | None:
    """Read the answer to a query for version.bind."""
    found = dns_fields(said)
    return None if isinstance(found, Heard) else found


def parse_mdns(said: bytes) -> Fields | None:
    """Read which kinds of services a host announces."""
    message = dns_message(said)
    if message is None or not message.flags & 0x8000:
        return None
    names = [text_of(str(item).encode()) for rrset in message.answer for item in rrset]
    return {"services": names[:MAX_ITEMS], "product": "multicast DNS"} if names else None


def parse_ntp(said: bytes) -> Fields | None:
    """Read a server's packet. Source: RFC 5905, section 7.3."""
    first, stratum = take(said, 0, 48)[:2]
    leap, version, mode = first >> 6, first >> 3 & 7, first & 7
    if mode not in (4, 5) or not 1 <= version <= 4:
        return None
    source = said[12:16]
    is_text = stratum <= 1
    reference = text_of(source.rstrip(b"\0")) if is_text else ".".join(map(str, source))
    product = f"NTP server, stratum {stratum}"
    return {"version": version, "stratum": stratum, "leap": leap, "reference": reference, "product": product}


# -- management


def parse_snmp(said: bytes) -> Fields | None:
    """Read the answer to a request for the system's description."""
    tag, message, _ = element(said)
    version_tag, version, rest = element(message)
    community_tag, _, rest = element(rest)
    pdu_tag, pdu, _ = element(rest)
    if (tag, version_tag, community_tag, pdu_tag) != (0x30, 0x02, 0x04, 0xA2):
        return None
    for _ in range(3):  # id, error, index
        _, _, pdu = element(pdu)
    _, bindings, _ = element(pdu)
    _, binding, _ = element(bindings)
    _, _, value = element(binding)
    kind, what, _ = element(value)
    description = text_of(what) if kind == 0x04 else ""
    return {"version": int.from_bytes(version) + 1, "description": description, "product": description or "SNMP agent"}


def parse_portmap(said: bytes) -> Fields | None:
    """Read the reply to a call of procedure 0. Source: RFC 5531, section 9."""
    xid, kind, state = unpack_from(">III", take(said, 0, 12))
    if (xid, kind) != (0x67706770, 1):
        return None
    return {"accepted": state == 0, "product": "RPC port mapper"}


def parse_nbstat(said: bytes) -> Fields | None:
    """Read the names of a Windows host. Source: RFC 1002, section 4.2.18."""
    ident, flags, _, answers = unpack_from(">HHHH", take(said, 0, 8))
    if ident != 0x6770 or not flags & 0x8000 or answers != 1 or take(said, 46, 2) != b"\x00\x21":
        return None
    count = take(said, 56, 1)[0]
    rows = [take(said, 57 + 18 * row, 18) for row in range(count)]
    names = [text_of(row[:15].rstrip()) + f"<{row[15]:02x}>" for row in rows][:MAX_ITEMS]
    address = take(said, 57 + 18 * count, 6).hex(":")
    host = _netbios_host(rows)
    return {"names": names, "address": address, "host": host, "product": host or "NetBIOS"}


def _netbios_host(rows: list[bytes]) -> str:
    """Return the host's own name: of kind 0, and no group's."""
    return next((text_of(row[:15].rstrip()) for row in rows if row[15] == 0 and not row[16] & 0x80), "")


def parse_radius(said: bytes) -> Fields | None:
    """Read the answer to Status-Server."""
    code, ident, size = unpack_from(">BBH", take(said, 0, 20))
    if ident != 1 or size != len(said) or code not in RADIUS_CODES:
        return None
    return {"code": RADIUS_CODES[code], "product": "RADIUS server"}


# -- calls, tunnels, the web


def parse_sip(said: bytes) -> Fields | None:
    """Read the status line and the headers of an answer."""
    head = _head(said, b"SIP/2.0 ")
    if head is None:
        return None
    status, headers = head
    product = headers.get("server") or headers.get("user-agent") or "SIP server"
    return {"status": status, "allow": headers.get("allow", ""), "product": product}


def parse_ssdp(said: bytes) -> Fields | None:
    """Read who announces a device, and where it is described."""
    head = _head(said, b"HTTP/1.1 ")
    if head is None:
        return None
    _, headers = head
    info: Fields = {name: headers[name] for name in ("location", "st", "usn") if name in headers}
    return info | {"product": headers.get("server", "UPnP device")}


def _head(said: bytes, start: bytes) -> tuple[str, dict[str, str]] | None:
    if not said.startswith(start):
        return None
    first, *lines = said.split(b"\r\n\r\n")[0].split(b"\r\n")
    pairs = (line.partition(b":") for line in lines[:MAX_ITEMS])
    return text_of(first[len(start) :]), {text_of(name).lower(): text_of(value.strip()) for name, _, value in pairs}


def parse_ike(said: bytes) -> Fields | None:
    """Read the header of an answer, behind the four zeros of NAT traversal or not. Source: RFC 2408, section 3.1."""
    said = said.removeprefix(bytes(4))
    initiator, responder, _, version, exchange, _, _, size = unpack_from(">8s8sBBBBII", take(said, 0, 28))
    if initiator != b"gpgpgpgp" or size < 28:
        return None
    name = f"IKE {version >> 4}.{version & 15}"
    refused = exchange == 5
    return {"version": f"{version >> 4}.{version & 15}", "refused": refused, "spi": responder.hex(), "product": name}


def parse_quic(said: bytes) -> Fields | None:
    """Read a Version Negotiation packet. Source: RFC 9000, section 17.2.1."""
    if not take(said, 0, 7)[0] & 0x80 or said[1:5] != bytes(4):
        return None
    place = 6 + said[5]
    place += 1 + take(said, place, 1)[0]
    versions = [said[at : at + 4].hex() for at in range(place, len(said) - 3, 4)][:MAX_ITEMS]
    return {"versions": [QUIC_VERSIONS.get(version, version) for version in versions], "product": "QUIC"}


def parse_openvpn(said: bytes) -> Fields | None:
    """Read the server's reset of the control channel, which is what a first packet is answered with."""
    if take(said, 0, 9)[0] >> 3 != 8 or len(said) < 14 or b"greenprb" not in said[9:]:
        return None
    return {"session": said[1:9].hex(), "product": "OpenVPN"}


def parse_stun(said: bytes) -> Fields | None:
    """Read the answer to a binding request. Source: RFC 8489, section 5."""
    kind, size, cookie, ident = unpack_from(">HHI12s", take(said, 0, 20))
    if kind not in (0x0101, 0x0111) or cookie != 0x2112A442 or ident != b"greenprobe!!" or size % 4:
        return None
    place, software = 20, ""
    while place + 4 <= len(said):
        attribute, length = unpack_from(">HH", said, place)
        if attribute == 0x8022:
            software = text_of(take(said, place + 4, length))
        place += 4 + length + -length % 4
    return {"software": software, "product": software or "STUN server"}


def parse_coap(said: bytes) -> Fields | None:
    """Read which resources a thing has. Source: RFC 7252, section 3, RFC 6690."""
    first, code, ident = unpack_from(">BBH", take(said, 0, 4))
    if first >> 6 != 1 or first & 15 or ident != 0x6770 or code >> 5 not in (2, 4, 5):
        return None
    _, _, links = said.partition(b"\xff")
    return {"code": f"{code >> 5}.{code & 31:02}", "resources": text_of(links), "product": "CoAP server"}


def parse_memcached(said: bytes) -> Fields | None:
    """Read the version behind the frame header of UDP."""
    if take(said, 0, 2) != b"gp" or not said[8:].startswith(b"VERSION "):
        return None
    version = text_of(said[16:].split(b"\r\n")[0])
    return {"version": version, "product": f"memcached {version}"}


def parse_tftp(said: bytes) -> Fields | None:
    """Read an error or a first block. Source: RFC 1350, section 5."""
    kind, number = unpack_from(">HH", take(said, 0, 4))
    if kind == 5 and number <= 8 and said.endswith(b"\0"):
        return {"error": text_of(said[4:-1]), "product": "TFTP server"}
    return {"product": "TFTP server"} if (kind, number) == (3, 1) else None


RADIUS_CODES: Final = {2: "accept", 3: "reject", 5: "accounting-response", 11: "challenge"}
QUIC_VERSIONS: Final = {"00000001": "1", "6b3343cf": "2"}
SIP_HELLO: Final = (
    b"OPTIONS sip:greenprobe@invalid SIP/2.0\r\nVia: SIP/2.0/UDP invalid;branch=z9hG4bKgp;rport\r\n"
    b"From: <sip:greenprobe@invalid>;tag=gp\r\nTo: <sip:greenprobe@invalid>\r\nCall-ID: gp@invalid\r\n"
    b"CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)
SNMP_HELLO: Final = bytes.fromhex("302602010004067075626c6963a019020101020100020100300e300c06082b060102010101000500")
# Main mode: one proposal, 3DES, SHA-1, pre-shared key, group 2.
IKE_HELLO: Final = bytes.fromhex(
    "6770676770676770 0000000000000000 0110020000000000 00000050 000000340000000100000001"
    "000000280101000100000020 010100008001000580020002800400028003000180 0b0001800c7080"
)
# A version that nobody speaks: a server answers with those that it does.
QUIC_HELLO: Final = b"\xc0\x1a\x2a\x3a\x4a\x08greenprb\x08greenprb\x00\x00".ljust(1200, b"\0")
NBSTAT_HELLO: Final = pack(">HHHHHH", 0x6770, 0, 1, 0, 0, 0) + b"\x20CK" + b"A" * 30 + b"\0" + pack(">HH", 33, 1)
SSDP_HELLO: Final = (
    b'M-SEARCH * HTTP/1.1\r\nHost: 239.255.255.250:1900\r\nMan: "ssdp:discover"\r\nMX: 1\r\nST: ssdp:all\r\n\r\n'
)
MDNS_HELLO: Final = (
    pack(">HHHHHH", 0, 0, 1, 0, 0, 0) + b"\x09_services\x07_dns-sd\x04_udp\x05local\0" + pack(">HH", 12, 0x8001)
)
NTP_HELLO: Final = b"\xe3" + bytes(47)
RADIUS_HELLO: Final = pack(">BBH", 12, 1, 20) + b"greenprobe stat!"
STUN_HELLO: Final = pack(">HHI", 1, 0, 0x2112A442) + b"greenprobe!!"
PORTMAP_HELLO: Final = pack(">IIIIIIIIII", 0x67706770, 0, 2, 100000, 2, 0, 0, 0, 0, 0)
OPENVPN_HELLO: Final = b"\x38greenprb" + bytes(5)
COAP_HELLO: Final = b"\x40\x01gp\xbb.well-known\x04core"
MEMCACHED_HELLO: Final = b"gp" + bytes.fromhex("000000010000") + b"version\r\n"

DATAGRAMS: Final = (
    Datagram(
        name="dns",
        about="name servers",
        ports=(53,),
        hello=dns_query(),
        parse=parse_dns,
        fields={"version": "of version.bind", "code": "of the answer"},
    ),
    Datagram(
        name="ntp",
        about="time servers",
        ports=(123,),
        hello=NTP_HELLO,
        parse=parse_ntp,
        fields={
            "version": "of NTP",
            "stratum": "1 is next to a clock",
            "leap": "3: not set",
            "reference": "its source",
        },
    ),
    Datagram(
        name="snmp",
        about="network management, community public",
        ports=(161,),
        hello=SNMP_HELLO,
        parse=parse_snmp,
        fields={"version": "of SNMP", "description": "sysDescr"},
    ),
    Datagram(
        name="sip",
        about="telephony",
        ports=(5060,),
        hello=SIP_HELLO,
        parse=parse_sip,
        fields={"status": "code and reason", "allow": "methods"},
        is_text=True,
    ),
    Datagram(
        name="ike",
        about="IPsec key exchange",
        ports=(500, 4500),
        hello=IKE_HELLO,
        parse=parse_ike,
        fields={"version": "of IKE", "refused": "whether our proposal was", "spi": "of the responder"},
    ),
    Datagram(
        name="quic",
        about="HTTP/3 and others",
        ports=(443,),
        hello=QUIC_HELLO,
        parse=parse_quic,
        fields={"versions": "that the server speaks"},
    ),
    Datagram(
        name="netbios-ns",
        about="names of Windows hosts",
        ports=(137,),
        hello=NBSTAT_HELLO,
        parse=parse_nbstat,
        fields={"names": "with their kinds", "address": "of the network card", "host": "its name"},
    ),
    Datagram(
        name="ssdp",
        about="UPnP devices",
        ports=(1900,),
        hello=SSDP_HELLO,
        parse=parse_ssdp,
        fields={"location": "of the description", "st": "what it is", "usn": "which one it is"},
        is_text=True,
    ),
    Datagram(
        name="rpcbind",
        about="RPC port mappers",
        ports=(111,),
        hello=PORTMAP_HELLO,
        parse=parse_portmap,
        fields={"accepted": "whether it serves us"},
    ),
    Datagram(
        name="mdns",
        about="services announced on the link",
        ports=(5353,),
        hello=MDNS_HELLO,
        parse=parse_mdns,
        fields={"services": "kinds that it announces"},
    ),
    Datagram(
        name="stun",
        about="NAT traversal",
        ports=(3478,),
        hello=STUN_HELLO,
        parse=parse_stun,
        fields={"software": "of the server"},
    ),
    Datagram(
        name="radius",
        about="authentication; answers known clients only",
        ports=(1812,),
        hello=RADIUS_HELLO,
        parse=parse_radius,
        fields={"code": "of the answer"},
    ),
    Datagram(
        name="coap",
        about="things",
        ports=(5683,),
        hello=COAP_HELLO,
        parse=parse_coap,
        fields={"code": "of the answer", "resources": "as links"},
    ),
    Datagram(
        name="openvpn",
        about="tunnels without tls-auth",
        ports=(1194,),
        hello=OPENVPN_HELLO,
        parse=parse_openvpn,
        fields={"session": "of the server"},
    ),
    Datagram(
        name="memcached",
        about="caches that serve datagrams",
        ports=(11211,),
        hello=MEMCACHED_HELLO,
        parse=parse_memcached,
        fields={"version": "of the server"},
    ),
    Datagram(
        name="tftp",
        about="files",
        ports=(69,),
        hello=pack(">H", 1) + b"greenprobe\0octet\0",
        parse=parse_tftp,
        fields={"error": "what it says of our file"},
        wanders=True,
    ),
)
BY_PORT: Final = {port: one for one in DATAGRAMS for port in one.ports}
