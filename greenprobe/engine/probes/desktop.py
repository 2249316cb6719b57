"""Remote desktops: RDP and VNC. Sources: MS-RDPBCGR sections 2.2.1.1 and 2.2.1.2; RFC 6143, section 7.1."""

import re
from struct import unpack_from
from typing import Final

from greenprobe.engine.probes.probe import MAX_TEXT, MORE, OTHER, Fields, Heard, Probe, text_of

__all__ = ["RDP", "VNC"]

# TPKT, X.224 connection request, negotiation request for TLS, CredSSP and their early-authorization kind.
RDP_HELLO: Final = bytes.fromhex("030000130ee000000000000100080003000000")
PROTOCOLS: Final = {0: "RDP", 1: "TLS", 2: "CredSSP", 8: "CredSSP with early authorization", 4: "RDSTLS"}
CONNECTION_CONFIRM: Final = 0xD0
NEGOTIATED, REFUSED = 2, 3


def parse_rdp(data: bytes, is_over: bool) -> Fields | Heard:
    """Read the X.224 connection confirm."""
    if not b"\x03\x00".startswith(data[:2]):
        return OTHER
    if len(data) < 7:
        return OTHER if is_over else MORE
    size = int.from_bytes(data[2:4])
    if data[5] & 0xF0 != CONNECTION_CONFIRM or not 11 <= size <= 64:
        return OTHER
    if len(data) < size:
        return OTHER if is_over else MORE
    if size < 19:
        return {"security": "RDP", "product": "RDP server"}
    kind, flags, _, value = unpack_from("<BBHI", data, 11)
    if kind == NEGOTIATED:
        return {"security": PROTOCOLS.get(value, str(value)), "flags": flags, "product": "RDP server"}
    return {"failure": value, "product": "RDP server"} if kind == REFUSED else OTHER


RFB: Final = re.compile(rb"RFB (\d{3})\.(\d{3})\n")
SECURITY: Final = {1: "none", 2: "VNC password", 5: "RA2", 16: "Tight", 18: "TLS", 19: "VeNCrypt", 30: "Apple"}


def parse_vnc(data: bytes, is_over: bool) -> Fields | Heard:
    """Read the version, and the kinds of security that follow ours."""
    version = RFB.match(data)
    if version is None:
        return MORE if not is_over and len(data) < 12 and b"RFB ".startswith(data[:4]) else OTHER
    major, minor = int(version[1]), int(version[2])
    fields: Fields = {"version": f"{major}.{minor}", "product": f"VNC server (RFB {major}.{minor})"}
    kinds = data[12:]
    if (major, minor) < (3, 7):
        return fields
    if not kinds or len(kinds) < 1 + kinds[0]:
        return fields if is_over else MORE
    if kinds[0]:
        fields["security"] = [SECURITY.get(kind, str(kind)) for kind in kinds[1 : 1 + kinds[0]]]
        return fields
    end = 5 + int.from_bytes(kinds[1:5])
    if len(kinds) < min(max(end, 5), MAX_TEXT) and not is_over:
        return MORE
    return {**fields, "refusal": text_of(kinds[5:end])}


RDP: Final = Probe(
    name="rdp",
    about="Remote Desktop",
    parse=parse_rdp,
    hello=RDP_HELLO,
    ports=(3389,),
    fields={
        "security": "what it chose of TLS and CredSSP",
        "flags": "of the negotiation",
        "failure": "why it refused, a number",
        "product": "an RDP server",
    },
)
VNC: Final = Probe(
    name="vnc",
    about="VNC",
    parse=parse_vnc,
    hello=b"RFB 003.008\n",
    greets=True,
    ports=(5900, 5901, 5902),
    fields={
        "version": "of RFB",
        "security": "kinds that it offers",
        "refusal": "why it does not talk to us",
        "product": "with its version",
    },
)
