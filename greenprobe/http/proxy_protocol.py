"""The PROXY protocol, versions 1 and 2: who the client of a proxy is, said before the first byte. No sockets.

A connection that should begin with such a header and does not is refused: whoever could leave it out could choose to
be taken for the proxy. Source: HAProxy's proxy-protocol.txt, sections 2.1 and 2.2.
"""

import re
from ipaddress import ip_address
from socket import AF_INET, AF_INET6, inet_ntop
from struct import Struct
from typing import Final, NamedTuple

from greenprobe.errors import BadRequest

__all__ = ["MAX_HEADER_BYTES", "ProxyHeader", "read_proxy_header"]

MAX_LINE_BYTES: Final = 107
MAX_HEADER_BYTES: Final = 4096  # version 2 with what proxies add to it, certificates' names above all
SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
START = Struct("!BBH")  # version and command, family and protocol, length of the rest
LOCAL, PROXY = 0x20, 0x21
FAMILIES: Final = {0x11: (AF_INET, Struct("!4s4sHH")), 0x21: (AF_INET6, Struct("!16s16sHH"))}
LINE = re.compile(rb"PROXY (?:UNKNOWN(?: [ -~]*)?|TCP([46]) (\S+) (\S+) ([0-9]{1,5}) ([0-9]{1,5}))").fullmatch


class ProxyHeader(NamedTuple):
    """How many bytes the header has, and the address and port of the client; None if the proxy speaks for itself."""

    size: int
    client: tuple[str, int] | None


def read_proxy_header(data: bytes) -> ProxyHeader | None:
    """Read the header at the start of `data`; None if more of it must come. Raises BadRequest."""
    if SIGNATURE.startswith(data[: len(SIGNATURE)]):
        return _read_binary(data) if len(data) >= len(SIGNATURE) + START.size else None
    end = data.find(b"\r\n", 0, MAX_LINE_BYTES)
    if end >= 0:
        return _read_line(data[:end])
    if len(data) >= MAX_LINE_BYTES or not b"PROXY ".startswith(data[:6]):
        raise BadRequest(400, "the connection does not begin with a PROXY header")
    return None


def _read_line(line: bytes) -> ProxyHeader:
    found = LINE(line)
    if found is None:
        raise BadRequest(400, "a PROXY line that is not valid")
    size = len(line) + 2
    if found[1] is None:
        return ProxyHeader(size, None)
    try:
        host = ip_address(found[2].decode("ascii"))
    except ValueError:
        raise BadRequest(400, "a PROXY line without a valid address") from None
    port = int(found[4])
    if host.version != int(found[1]) or port > 0xFFFF:
        raise BadRequest(400, "a PROXY line whose address is not of its family")
    return ProxyHeader(size, (str(host), port))


def _read_binary(data: bytes) -> ProxyHeader | None:
    command, family, length = START.unpack_from(data, len(SIGNATURE))
    begin = len(SIGNATURE) + START.size
    size = begin + length
    if command not in (LOCAL, PROXY) or size > MAX_HEADER_BYTES:
        raise BadRequest(400, "a PROXY header that is not valid")
    if len(data) < size:
        return None
    if command == LOCAL or family not in FAMILIES:
        return ProxyHeader(size, None)
    kind, addresses = FAMILIES[family]
    if length < addresses.size:
        raise BadRequest(400, "a PROXY header without room for its addresses")
    host, _, port, _ = addresses.unpack_from(data, begin)
    return ProxyHeader(size, (inet_ntop(kind, host), port))
