"""SSH: version, what it offers, and the fingerprint of its host key.

All that we have to say can be said at once: our version, a KEXINIT with a single key exchange, and the first message of
that exchange. The server's reply carries its host key before anything has to be computed. The public value is fixed: no
secret belongs to it, and nothing is ever encrypted with it. Sources: RFC 4253 sections 4.2, 6 and 7; RFC 8731.
"""

import re
from base64 import b64encode
from hashlib import sha256
from struct import pack, unpack_from
from typing import Final

from greenprobe.engine.probes.probe import MAX_ITEMS, MORE, OTHER, Fields, Heard, Probe, Short, take, text_of

__all__ = ["SSH"]

VERSION: Final = re.compile(rb"SSH-([\d.]{1,8})-([^ \r\n]{1,240})(?: ([^\r\n]{0,240}))?\r?\n")
KEXINIT, KEX_ECDH_INIT, KEX_ECDH_REPLY, DISCONNECT = 20, 30, 31, 1
MAX_PACKET: Final = 35_000  # RFC 4253, section 6.1
MAX_BEFORE: Final = 8192  # bytes of lines before the version
HOST_KEYS: Final = b"ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,rsa-sha2-512,rsa-sha2-256,ssh-rsa,ssh-dss"
CIPHERS: Final = b"aes128-ctr,aes256-ctr,chacha20-poly1305@openssh.com,aes128-cbc,3des-cbc"
MACS: Final = b"hmac-sha2-256,hmac-sha1,hmac-md5"
NAMES: Final = ("kex", "host_keys", "ciphers", "ciphers_back", "macs", "macs_back", "compression")


def _string(data: bytes) -> bytes:
    return pack(">I", len(data)) + data


def _packet(payload: bytes) -> bytes:
    padding = 8 - (len(payload) + 5) % 8
    padding += 8 if padding < 4 else 0
    return pack(">IB", len(payload) + padding + 1, padding) + payload + bytes(padding)


def _hello() -> bytes:
    lists = (b"curve25519-sha256", HOST_KEYS, CIPHERS, CIPHERS, MACS, MACS, b"none", b"none", b"", b"")
    cookie = sha256(b"greenprobe cookie").digest()[:16]
    kexinit = bytes([KEXINIT]) + cookie + b"".join(map(_string, lists)) + bytes(5)
    public = sha256(b"greenprobe public value").digest()
    return b"SSH-2.0-greenprobe\r\n" + _packet(kexinit) + _packet(bytes([KEX_ECDH_INIT]) + _string(public))


def parse_ssh(data: bytes, is_over: bool) -> Fields | Heard:
    """Read the version, the KEXINIT and the reply of the key exchange, as far as they have come."""
    version = _version(data)
    if version is None:
        may_come = (b"SSH-".startswith(data[:4]) or b"\nSSH-" in data) and len(data) < MAX_BEFORE
        return MORE if may_come and not is_over else OTHER
    fields: Fields = {
        "protocol": text_of(version[1]),
        "software": text_of(version[2]),
        "comment": text_of(version[3] or b""),
        "product": text_of(version[2]),
    }
    rest = data[version.end() :]
    try:
        while True:
            payload, rest = _take_packet(rest)
            if not payload or payload[0] == DISCONNECT:
                return fields
            if payload[0] == KEXINIT:
                fields.update(_offers(payload))
            elif payload[0] == KEX_ECDH_REPLY:
                fields.update(_host_key(payload))
                return fields
    except Short:
        return fields if is_over else MORE
    except ValueError:
        return fields


def _version(data: bytes) -> re.Match[bytes] | None:
    if data.startswith(b"SSH-"):
        return VERSION.match(data)
    place = data.find(b"\nSSH-", 0, MAX_BEFORE)
    return VERSION.match(data, place + 1) if place >= 0 else None


def _take_packet(data: bytes) -> tuple[bytes, bytes]:
    size, padding = unpack_from(">IB", take(data, 0, 5))
    if not padding < size <= MAX_PACKET:
        raise ValueError("no SSH packet")
    return take(data, 5, size - 1)[: size - 1 - padding], data[4 + size :]


def _take_string(data: bytes, place: int) -> tuple[bytes, int]:
    size = int.from_bytes(take(data, place, 4))
    return take(data, place + 4, size), place + 4 + size


def _offers(payload: bytes) -> Fields:
    fields: Fields = {}
    place = 17
    for name in NAMES:
        names, place = _take_string(payload, place)
        if not name.endswith("_back"):
            fields[name] = [text_of(word) for word in names.split(b",")[:MAX_ITEMS]]
    return fields


def _host_key(payload: bytes) -> Fields:
    key, _ = _take_string(payload, 1)
    kind, _ = _take_string(key, 0)
    digest = b64encode(sha256(key).digest()).rstrip(b"=").decode()
    return {"host_key": text_of(kind), "fingerprint": f"SHA256:{digest}"}


SSH: Final = Probe(
    name="ssh",
    about="remote shells",
    parse=parse_ssh,
    hello=_hello(),
    greets=True,
    ports=(22, 2222, 22222),
    fields={
        "protocol": "version of SSH",
        "software": "of the server",
        "comment": "after the software",
        "kex": "key exchanges offered",
        "host_keys": "kinds of host key offered",
        "ciphers": "offered to the server",
        "macs": "offered to the server",
        "compression": "offered",
        "host_key": "kind of the host key that was shown",
        "fingerprint": "of that key, as ssh-keygen prints it",
        "product": "the software",
    },
)
