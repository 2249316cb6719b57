"""Databases: MySQL, PostgreSQL, MongoDB.

Sources: MySQL's client/server protocol, HandshakeV10 and ERR packets; PostgreSQL's frontend/backend protocol,
SSLRequest and ErrorResponse; MongoDB's wire protocol, OP_MSG, and bsonspec.org.
"""

from struct import error as StructError, pack, unpack_from  # noqa: N812 - a class
from typing import Any, Final

from greenprobe.engine.probes.probe import MAX_ITEMS, MORE, OTHER, Fields, Heard, Probe, Short, take, text_of

__all__ = ["MONGODB", "MYSQL", "POSTGRESQL"]

MAX_GREETING: Final = 1024
SSL_CAPABILITY: Final = 0x800


def parse_mysql(data: bytes, is_over: bool) -> Fields | Heard:
    """Read the packet that a server greets with: its version, or why it does not want us."""
    if len(data) < 5:
        return OTHER if is_over or (len(data) > 3 and data[3] != 0) else MORE
    size = int.from_bytes(data[:3], "little")
    if data[3] != 0 or data[4] not in (9, 10, 255) or not 4 < size <= MAX_GREETING:
        return OTHER
    if len(data) < 4 + size and not is_over:
        return MORE
    packet = data[4 : 4 + size]
    return _mysql_refusal(packet) if packet[0] == 255 else _mysql_handshake(packet)


def _mysql_refusal(packet: bytes) -> Fields | Heard:
    code = int.from_bytes(packet[1:3], "little")
    return {"version": "", "error": code, "message": text_of(packet[3:])} if 1000 <= code < 5000 else OTHER


def _mysql_handshake(packet: bytes) -> Fields | Heard:
    version, nul, rest = packet[1:].partition(b"\0")
    if not nul or not version[:1].isdigit() or not version.isascii():
        return OTHER
    capabilities = int.from_bytes(rest[13:15], "little")
    kind = "MariaDB" if b"mariadb" in version.lower() else "MySQL"
    version = version.removeprefix(b"5.5.5-")  # MariaDB 10 says so for replicas that cannot read two digits
    return {
        "version": text_of(version),
        "tls": bool(capabilities & SSL_CAPABILITY),
        "product": f"{kind} {text_of(version)}",
    }


SEVERITIES: Final = (b"FATAL", b"ERROR", b"PANIC")


def parse_postgresql(data: bytes, is_over: bool) -> Fields | Heard:
    """Read the answer to a start-up message for a protocol that does not exist: an error that names the real ones."""
    if not data.startswith(b"E"):
        return OTHER if is_over or data else MORE
    if len(data) < 5:
        return OTHER if is_over else MORE
    size = int.from_bytes(data[1:5])
    if not 8 <= size <= 4096:
        return OTHER
    if len(data) < 1 + size and not is_over:
        return MORE
    parts = data[5 : 1 + size].split(b"\0")[:MAX_ITEMS]
    found = {part[:1]: part[1:] for part in parts if part}
    if b"S" not in found or (b"V" not in found and found[b"S"] not in SEVERITIES) or b"C" not in found:
        return OTHER
    return {
        "severity": text_of(found[b"S"]),
        "code": text_of(found[b"C"]),
        "message": text_of(found.get(b"M", b"")),
        "routine": text_of(found.get(b"R", b"")),
        "product": "PostgreSQL",
    }


OP_MSG: Final = 2013


def _bson_hello() -> bytes:
    body = b"\x10hello\0" + pack("<i", 1) + b"\x02$db\0" + pack("<i", 6) + b"admin\0"
    document = pack("<i", len(body) + 5) + body + b"\0"
    message = pack("<I", 0) + b"\0" + document
    return pack("<iiii", len(message) + 16, 1, 0, OP_MSG) + message


def parse_mongodb(data: bytes, is_over: bool) -> Fields | Heard:
    """Read the answer to the command `hello`."""
    if len(data) < 16:
        return OTHER if is_over else MORE
    size, _, answers, operation = unpack_from("<iiii", data)
    if operation != OP_MSG or answers != 1 or not 26 <= size <= 1 << 20:
        return OTHER
    if len(data) < size and not is_over:
        return MORE
    try:
        found = _bson(data[21:size])
    except (Short, StructError):
        return OTHER
    fields: Fields = {"product": "MongoDB"}
    wanted = {"maxWireVersion": "max_wire_version", "setName": "replica_set", "isWritablePrimary": "primary"}
    fields.update({ours: found[theirs] for theirs, ours in wanted.items() if theirs in found})
    if "ok" not in found:
        return OTHER
    return fields


SIZES: Final = {0x01: 8, 0x07: 12, 0x08: 1, 0x09: 8, 0x0A: 0, 0x10: 4, 0x11: 8, 0x12: 8, 0x13: 16}
TEXT, DOCUMENT, ARRAY, BINARY = 0x02, 0x03, 0x04, 0x05


def _bson(data: bytes) -> dict[str, Any]:
    """Return the flat values of a document; documents inside are stepped over. Raises Short."""
    found: dict[str, Any] = {}
    place = 4
    while place < len(data) and data[place] and len(found) < MAX_ITEMS:
        kind = data[place]
        end = data.find(b"\0", place + 1)
        if end < 0:
            raise Short
        name = text_of(data[place + 1 : end])
        place = end + 1
        if kind in SIZES:
            size = SIZES[kind]
            found[name] = _bson_value(kind, take(data, place, size))
        elif kind == TEXT:
            size = 4 + max(1, unpack_from("<i", data, place)[0])
            found[name] = text_of(take(data, place + 4, size - 4)[:-1])
        elif kind in (DOCUMENT, ARRAY):
            size = max(5, unpack_from("<i", data, place)[0])
        elif kind == BINARY:
            size = 5 + max(0, unpack_from("<i", data, place)[0])
        else:
            raise Short
        place += size
    return found


def _bson_value(kind: int, data: bytes) -> Any:
    if kind == 0x08:
        return data != b"\0"
    if kind in (0x10, 0x12):
        return int.from_bytes(data, "little", signed=True)
    return unpack_from("<d", data)[0] if kind == 0x01 else None


MYSQL: Final = Probe(
    name="mysql",
    about="MySQL and MariaDB",
    parse=parse_mysql,
    greets=True,
    ports=(3306, 33060),
    fields={
        "version": "of the server",
        "tls": "whether it can speak TLS",
        "error": "a number, if it refuses us",
        "message": "of the error",
        "product": "name and version",
    },
)
POSTGRESQL: Final = Probe(
    name="postgresql",
    about="PostgreSQL",
    parse=parse_postgresql,
    hello=pack(">Ihh", 9, 255, 255) + b"\0",
    ports=(5432, 5433),
    fields={
        "severity": "of the error it answers with",
        "code": "of the error",
        "message": "of the error",
        "routine": "that raised it; differs between versions",
        "product": "PostgreSQL",
    },
)
MONGODB: Final = Probe(
    name="mongodb",
    about="MongoDB",
    parse=parse_mongodb,
    hello=_bson_hello(),
    ports=(27017, 27018, 27019),
    fields={
        "max_wire_version": "newest wire version",
        "replica_set": "name of its set",
        "primary": "whether it takes writes",
        "product": "MongoDB",
    },
)
