"""One WebSocket of an ASGI application: its messages between the application's task and a `WebSocket`.

The application decides whether to accept, so the handshake is answered when it says so. Which sites' pages may connect
is the application's to decide, too. What waits (the peer, a full buffer) waits in a greenthread, not in the loop.
"""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import suppress
from typing import Any, Final

from greenlet import GreenletExit

from greenprobe import aio
from greenprobe.errors import BadRequest, BrokenResourceError, ClosedResourceError, LocalProtocolError
from greenprobe.http.response_head import encode_fields
from greenprobe.http.websocket_frames import ConnectionType, Frames
from greenprobe.http.websocket_handshake import answer_handshake
from greenprobe.websocket import (
    ABNORMAL,
    CLOSE_TIMEOUT,
    FAILED,
    GOING_AWAY,
    MAX_MESSAGE_BYTES,
    NORMAL,
    PING_AFTER,
    WebSocket,
    refuse,
)

__all__ = ["serve_websocket"]

MAX_BYTES: Final = 16 * MAX_MESSAGE_BYTES  # as uvicorn
Message = MutableMapping[str, Any]


def serve_websocket(
    app: Callable[..., Awaitable[object]],
    scope: dict[str, Any],
    environ: dict[str, Any],
    start_response: Callable[..., Any],
) -> Iterable[bytes]:
    """Be the WSGI application of one handshake and of what follows it."""
    try:
        answer_handshake(environ, origins="*")
    except BadRequest as error:
        return refuse(start_response, error)
    offered = environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL", "")
    scope |= {
        "type": "websocket",
        "scheme": "wss" if scope["scheme"] == "https" else "ws",
        "subprotocols": [name.strip() for name in offered.split(",") if name.strip()],
    }
    del scope["method"]
    session = Session(environ)
    code, patience = FAILED, CLOSE_TIMEOUT
    try:
        aio.wait(app(scope, session.receive, session.send))
        code = NORMAL
    except GreenletExit:  # the server stops
        code, patience = GOING_AWAY, 0
        raise
    finally:
        if session.websocket is not None:
            session.websocket.close(code, timeout=patience)
    if session.websocket is None:
        return refuse(start_response, BadRequest(403, "not accepted"))
    return []


class Session:
    """What the application calls. `websocket` is None until it has accepted."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self.websocket: WebSocket | None = None
        self._environ = environ
        self._was_told = False  # that somebody connects
        self._refused = False

    async def receive(self) -> Message:
        """Return the next message to the application."""
        if not self._was_told:
            self._was_told = True
            return {"type": "websocket.connect"}
        if self.websocket is None:
            if self._refused:
                return {"type": "websocket.disconnect", "code": ABNORMAL}
            raise LocalProtocolError("the application wants to receive before it has accepted")
        data = await aio.to_greenthread(self.websocket.receive)
        if data is None:
            code, reason = self.websocket.close_code, self.websocket.close_reason
            return {"type": "websocket.disconnect", "code": code, "reason": reason}
        return {"type": "websocket.receive", "text" if isinstance(data, str) else "bytes": data}

    async def send(self, message: Message) -> None:
        """Take a message of the application."""
        kind = message["type"]
        if kind == "websocket.accept" and self.websocket is None and not self._refused:
            await aio.to_greenthread(self._accept, message)
        elif kind == "websocket.close" and self.websocket is None:
            self._refused = True
        elif self.websocket is None:
            raise LocalProtocolError(f"the application sends {kind!r} before it has accepted")
        elif kind == "websocket.send":
            data = message.get("text")
            data = message["bytes"] if data is None else data
            with suppress(BrokenResourceError, ClosedResourceError):  # the next message says that the peer has gone
                await aio.to_greenthread(self.websocket.send, data)
        elif kind == "websocket.close":
            code, reason = message.get("code", NORMAL), message.get("reason") or ""
            await aio.to_greenthread(self.websocket.close, code, reason)
        else:
            raise LocalProtocolError(f"the application sends {kind!r} where it has no place")

    def _accept(self, message: Message) -> None:
        chosen = message.get("subprotocol")
        handshake = answer_handshake(self._environ, subprotocols=[] if chosen is None else [chosen], origins="*")
        pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message.get("headers") or ()]
        connection = self._environ["greenprobe.connection"]
        sock, data = connection.hijack()
        connection.set_idle()
        sock.sendall(handshake.answer[:-2] + encode_fields(pairs) + b"\r\n")
        frames = Frames(ConnectionType.SERVER, list(handshake.extensions), data)
        self.websocket = WebSocket(
            sock, frames, subprotocol=handshake.subprotocol, max_message_bytes=MAX_BYTES, ping_after=PING_AFTER
        )
