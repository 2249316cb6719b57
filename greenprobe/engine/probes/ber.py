"""Elements of BER, which LDAP and SNMP are written in: a tag, a length, a content. Source: X.690, section 8.1."""

from greenprobe.engine.probes.probe import take

__all__ = ["element"]


def element(data: bytes) -> tuple[int, bytes, bytes]:
    """Return tag, content and what follows of an element. Raises Short."""
    tag, size = take(data, 0, 2)
    place = 2
    if size & 0x80:
        place += size & 0x7F
        size = int.from_bytes(take(data, 2, place - 2)) if place <= 6 else len(data) + 1
    return tag, take(data, place, size), data[place + size :]
