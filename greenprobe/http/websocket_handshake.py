"""The server's side of a WebSocket handshake (RFC 6455, 4.2): an environ in, an answer out. No sockets."""

import binascii
from base64 import b64decode, b64encode
from collections.abc import Collection, Mapping, Sequence
from hashlib import sha1
from typing import Any, Final, NamedTuple

from greenprobe.errors import BadRequest
from greenprobe.http.response_head import encode_fields
from greenprobe.http.websocket_frames import PerMessageDeflate

__all__ = ["Handshake", "answer_handshake", "is_upgrade"]

MAGIC: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
VERSION: Final = "13"


class Handshake(NamedTuple):
    """The answer, whole, and what was agreed on."""

    answer: bytes
    subprotocol: str | None
    extensions: list[PerMessageDeflate]


def is_upgrade(environ: Mapping[str, Any]) -> bool:
    """Tell whether a request asks for a WebSocket."""
    connection = {token.strip().lower() for token in environ.get("HTTP_CONNECTION", "").split(",")}
    return "upgrade" in connection and environ.get("HTTP_UPGRADE", "").lower() == "websocket"


def answer_handshake(
    environ: Mapping[str, Any],
    *,
    subprotocols: Sequence[str] = (),
    origins: Collection[str] | None = None,
    compression: bool = True,
) -> Handshake:
    """Return the answer to a handshake; of `subprotocols` the first that the client offers is chosen.

    A browser says which site a connection is made for (Origin). It has to be the one that is served, or one of
    `origins`, of which `*` is any. Raises BadRequest: 400, 403, 426.
    """
    if not is_upgrade(environ) or environ["REQUEST_METHOD"] != "GET" or environ["SERVER_PROTOCOL"] != "HTTP/1.1":
        raise BadRequest(400, "no WebSocket handshake")
    if environ.get("HTTP_SEC_WEBSOCKET_VERSION") != VERSION:
        raise BadRequest(426, "only version 13 of the WebSocket protocol is spoken here")
    key = environ.get("HTTP_SEC_WEBSOCKET_KEY", "")
    if not is_key(key):
        raise BadRequest(400, "the Sec-WebSocket-Key is not 16 bytes in base64")
    if not is_allowed(environ.get("HTTP_ORIGIN"), environ.get("HTTP_HOST", ""), origins):
        raise BadRequest(403, "not from this site")
    offered = [name.strip() for name in environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL", "").split(",")]
    subprotocol = next((name for name in subprotocols if name in offered), None)
    fields = [
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Accept", b64encode(sha1(key.encode() + MAGIC).digest()).decode()),
    ]
    if subprotocol is not None:
        fields.append(("Sec-WebSocket-Protocol", subprotocol))
    extensions = []
    for offer in environ.get("HTTP_SEC_WEBSOCKET_EXTENSIONS", "").split(",") if compression else ():
        deflate = PerMessageDeflate(client_no_context_takeover=True, server_no_context_takeover=True)
        accepted = accept_offer(deflate, offer.strip())
        if accepted is not None:
            fields.append(("Sec-WebSocket-Extensions", f"permessage-deflate; {accepted}"))
            extensions.append(deflate)
            break
    answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n" + encode_fields(fields) + b"\r\n"
    return Handshake(answer, subprotocol, extensions)


def is_key(key: str) -> bool:
    """Tell whether a key is one: 16 bytes in base64."""
    try:
        return len(b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def is_allowed(origin: str | None, host: str, origins: Collection[str] | None) -> bool:
    """Tell whether a connection may be made for `origin`; None is a client that is no browser."""
    if origin is None or (origins is not None and ("*" in origins or origin in origins)):
        return True
    return origins is None and host != "" and origin.partition("://")[2].lower() == host.lower()


# Both sides forget their compressor after each message: it would take 300 kB for as long as the connection lasts.
def accept_offer(deflate: PerMessageDeflate, offer: str) -> str | None:
    """Return the parameters to agree on, None if the offer is of something else or cannot be met."""
    if offer.partition(";")[0].strip() != deflate.name:
        return None
    try:
        accepted = deflate.accept(offer)
    except (ValueError, IndexError):
        return None
    return accepted if isinstance(accepted, str) else None
