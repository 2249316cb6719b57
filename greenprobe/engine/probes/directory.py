"""SMB, LDAP and DNS over TCP: what networks of offices run.

Sources: MS-SMB2 sections 2.2.3 and 2.2.4; RFC 4511 sections 4.2 and 4.5; RFC 1035 section 4.2.2, RFC 4892.
"""

from struct import pack, unpack_from
from typing import Any, Final

from greenprobe.engine.probes.ber import element
from greenprobe.engine.probes.probe import MAX_ITEMS, MORE, OTHER, Fields, Heard, Probe, Short, text_of
from greenprobe.lazy import Lazy

__all__ = ["DNS", "LDAP", "SMB", "dns_fields", "dns_query"]

DIALECTS: Final = (0x0202, 0x0210, 0x0300, 0x0302)
SMB_HEADER: Final = b"\xfeSMB"


def _smb_hello() -> bytes:
    header = SMB_HEADER + pack("<HHIHHIIQIIQ16s", 64, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, b"")
    body = pack("<HHHHI16sQ", 36, len(DIALECTS), 1, 0, 0, b"greenprobe-guid!", 0)
    message = header + body + pack(f"<{len(DIALECTS)}H", *DIALECTS)
    return pack(">I", len(message)) + message


def parse_smb(data: bytes, is_over: bool) -> Fields | Heard:
    """Read the answer to NEGOTIATE."""
    if len(data) < 8:
        return OTHER if is_over or data[:1] not in (b"\0", b"") else MORE
    if data[4:8] not in (SMB_HEADER, b"\xffSMB") or data[0]:
        return OTHER
    if data[4:8] != SMB_HEADER:
        return {"dialect": "1", "product": "SMB server"}
    if len(data) < 4 + 64 + 8 + 16:
        return OTHER if is_over else MORE
    security, dialect = unpack_from("<HH", data, 4 + 64 + 2)
    return {
        "dialect": f"{dialect >> 8}.{dialect >> 4 & 15}.{dialect & 15}",
        "signing": "required" if security & 2 else "enabled" if security & 1 else "off",
        "server_guid": data[4 + 64 + 8 : 4 + 64 + 24].hex(),
        "product": "SMB server",
    }


def _ber(tag: int, content: bytes) -> bytes:
    return bytes([tag, len(content)]) + content


def _ldap_hello() -> bytes:
    attributes = b"".join(_ber(4, name) for name in (b"namingContexts", b"vendorName", b"supportedLDAPVersion"))
    search = (
        _ber(4, b"")
        + _ber(10, b"\0")
        + _ber(10, b"\0")
        + _ber(2, b"\1")
        + _ber(2, b"\5")
        + _ber(1, b"\0")
        + _ber(0x87, b"objectClass")
        + _ber(0x30, attributes)
    )
    return _ber(0x30, _ber(2, b"\1") + _ber(0x63, search))


SEARCH_ENTRY, SEARCH_DONE = 0x64, 0x65


def parse_ldap(data: bytes, is_over: bool) -> Fields | Heard:
    """Read the answer to a search of the root entry: its attributes, or why not."""
    if data[:1] not in (b"\x30", b""):
        return OTHER
    try:
        tag, message, _ = element(data)
        number, identifier, body = element(message)
        if number != 2 or identifier != b"\1":
            return OTHER
        kind, content, _ = element(body)
        if kind == SEARCH_DONE:
            return {"result": int.from_bytes(element(content)[1][:4]), "product": "LDAP server"}
        return _ldap_entry(content) if kind == SEARCH_ENTRY and tag == 0x30 else OTHER
    except Short:
        return OTHER if is_over or len(data) > 1 << 14 else MORE


def _ldap_entry(content: bytes) -> Fields:
    _, _, rest = element(content)
    _, attributes, _ = element(rest)
    fields: Fields = {"product": "LDAP server"}
    names = {"namingcontexts": "contexts", "vendorname": "vendor", "supportedldapversion": "versions"}
    while attributes:
        _, attribute, attributes = element(attributes)
        _, name, rest = element(attribute)
        _, values, _ = element(rest)
        found: list[str] = []
        while values and len(found) < MAX_ITEMS:
            _, value, values = element(values)
            found.append(text_of(value))
        if text_of(name).lower() in names:
            fields[names[text_of(name).lower()]] = found
    return fields


QUERY_ID: Final = 0x6770
messages = Lazy("dns.message")  # 20 ms, which only a scan that meets a name server needs
exceptions = Lazy("dns.exception")
rcodes = Lazy("dns.rcode")


def dns_query() -> bytes:
    """Return the query for version.bind, class CHAOS, type TXT."""
    return pack(">HHHHHH", QUERY_ID, 0x0100, 1, 0, 0, 0) + b"\x07version\x04bind\0" + pack(">HH", 16, 3)


def dns_message(wire: bytes) -> Any:
    """Return the message of a datagram, None if it is none."""
    try:
        return messages.from_wire(wire, ignore_trailing=True)
    except (ValueError, IndexError, exceptions.DNSException):
        return None


def dns_fields(wire: bytes) -> Fields | Heard:
    """Read the answer to `dns_query`, without a length before it."""
    message = dns_message(wire)
    if message is None or message.id != QUERY_ID or not message.flags & 0x8000:
        return OTHER
    version = _first_text(message)
    return {"version": version, "code": rcodes.to_text(message.rcode()), "product": version or "DNS server"}


def _first_text(message: Any) -> str:
    texts = [b"".join(item.strings) for rrset in message.answer for item in rrset if hasattr(item, "strings")]
    return text_of(texts[0]) if texts else ""


def parse_dns(data: bytes, is_over: bool) -> Fields | Heard:
    """Read an answer with its length before it."""
    size = int.from_bytes(data[:2]) if len(data) >= 2 else 0
    if len(data) < 2 + max(size, 12):
        may_come = len(data) < 4 or data[2:4] == pack(">H", QUERY_ID)
        return MORE if may_come and not is_over else OTHER
    return dns_fields(data[2 : 2 + size])


SMB: Final = Probe(
    name="smb",
    about="Windows shares",
    parse=parse_smb,
    hello=_smb_hello(),
    ports=(445, 139),
    fields={
        "dialect": "newest that both speak",
        "signing": "required, enabled or off",
        "server_guid": "stays the same over restarts of most",
        "product": "an SMB server",
    },
)
LDAP: Final = Probe(
    name="ldap",
    about="directories",
    parse=parse_ldap,
    hello=_ldap_hello(),
    ports=(389, 3268),
    fields={
        "contexts": "naming contexts",
        "vendor": "of the server",
        "versions": "of LDAP",
        "result": "code, if it shows nothing",
        "product": "an LDAP server",
    },
    secure_name="ldaps",
    secure_ports=(636, 3269),
)
DNS: Final = Probe(
    name="dns",
    about="name servers, over TCP",
    parse=parse_dns,
    hello=pack(">H", len(dns_query())) + dns_query(),
    ports=(53,),
    fields={"version": "of version.bind", "code": "of the answer", "product": "the version"},
    secure_name="dot",
    secure_ports=(853,),
)
