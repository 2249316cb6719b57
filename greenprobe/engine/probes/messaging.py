"""MQTT and AMQP. Sources: MQTT 3.1.1 (OASIS), sections 3.1 and 3.2; AMQP 0-9-1, sections 2.2 and 4.2; AMQP 1.0, 2.2."""

from struct import pack, unpack_from
from typing import Final

from greenprobe.engine.probes.probe import MAX_ITEMS, MORE, OTHER, Fields, Heard, Probe, Short, take, text_of

__all__ = ["AMQP", "MQTT"]

CONNECT_BODY: Final = b"\x00\x04MQTT\x04\x02\x00\x0a\x00\x0agreenprobe"
RETURN_CODES: Final = {
    0: "accepted",
    1: "unacceptable protocol version",
    2: "identifier rejected",
    3: "server unavailable",
    4: "bad user name or password",
    5: "not authorized",
}


def parse_mqtt(data: bytes, is_over: bool) -> Fields | Heard:
    """Read the CONNACK."""
    if not b"\x20\x02".startswith(data[:2]) or len(data) > 64:
        return OTHER
    if len(data) < 4:
        return OTHER if is_over else MORE
    if data[2] > 1 or data[3] not in RETURN_CODES:
        return OTHER
    return {"code": data[3], "says": RETURN_CODES[data[3]], "product": "MQTT broker"}


METHOD: Final = 1
CONNECTION_START: Final = (10, 10)


def parse_amqp(data: bytes, is_over: bool) -> Fields | Heard:
    """Read Connection.Start, or the protocol header that a server of another version answers with."""
    if data.startswith(b"AMQP"):
        if len(data) < 8:
            return OTHER if is_over else MORE
        return {"version": ".".join(map(str, data[5:8])), "product": "AMQP broker"}
    try:
        return _connection_start(data)
    except Short:
        may_come = b"\x01\0\0".startswith(data[:3]) or b"AMQP".startswith(data[:4])
        return MORE if may_come and not is_over and len(data) < 1 << 14 else OTHER


def _connection_start(data: bytes) -> Fields | Heard:
    kind, channel, size, *ids = unpack_from(">BHIHH", take(data, 0, 11))
    if kind != METHOD or channel or tuple(ids) != CONNECTION_START or size > 1 << 14:
        return OTHER
    body = take(data, 11, size - 4)
    table, place = _long_string(body, 2)
    mechanisms, _ = _long_string(body, place)
    found = _text_values(table)
    return {
        "version": f"{body[0]}.{body[1]}",
        "properties": found,
        "mechanisms": [text_of(word) for word in mechanisms.split()[:MAX_ITEMS]],
        "product": f"{found.get('product', 'AMQP broker')} {found.get('version', '')}".strip(),
    }


def _long_string(data: bytes, place: int) -> tuple[bytes, int]:
    size = int.from_bytes(take(data, place, 4))
    return take(data, place + 4, size), place + 4 + size


def _text_values(table: bytes) -> dict[str, str]:
    """Return the text values of a field table; other kinds are stepped over where their size is plain."""
    found: dict[str, str] = {}
    place = 0
    while place < len(table) and len(found) < MAX_ITEMS:
        size = table[place]
        name = text_of(take(table, place + 1, size))
        place += 1 + size
        kind = take(table, place, 1)
        if kind in (b"S", b"F", b"A"):
            value, place = _long_string(table, place + 1)
            if kind == b"S":
                found[name] = text_of(value)
        elif kind == b"t":
            place += 2
        else:
            break
    return found


MQTT: Final = Probe(
    name="mqtt",
    about="MQTT brokers",
    parse=parse_mqtt,
    hello=b"\x10" + pack("B", len(CONNECT_BODY)) + CONNECT_BODY,
    ports=(1883,),
    fields={"code": "of the CONNACK", "says": "what the code means", "product": "a broker"},
    secure_name="mqtts",
    secure_ports=(8883,),
)
AMQP: Final = Probe(
    name="amqp",
    about="AMQP brokers, such as RabbitMQ",
    parse=parse_amqp,
    hello=b"AMQP\x00\x00\x09\x01",
    ports=(5672,),
    fields={
        "version": "of AMQP",
        "properties": "of the server",
        "mechanisms": "of authentication",
        "product": "name and version",
    },
    secure_name="amqps",
    secure_ports=(5671,),
)
