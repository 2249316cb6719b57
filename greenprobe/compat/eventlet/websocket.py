"""eventlet.websocket: `WebSocketWSGI` and the sockets it hands out, over greenprobe's WebSockets.

Versions 8 and 13 of the protocol (RFC 6455) are spoken, permessage-deflate included. Versions 75 and 76, drafts of
2010, are not: `support_legacy_versions` is taken and does nothing.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

from greenprobe.compat.eventlet import wsgi
from greenprobe.errors import BadRequest as Refused, BrokenResourceError, ClosedResourceError
from greenprobe.http.websocket_frames import ConnectionType, Frames
from greenprobe.http.websocket_handshake import answer_handshake
from greenprobe.websocket import FAILED, NO_STATUS, NORMAL, PROTOCOL_ERROR, WebSocket as Core, refuse

__all__ = ["ConnectionClosedError", "FailedConnectionError", "RFC6455WebSocket", "WebSocket", "WebSocketWSGI"]

DEFAULT_MAX_FRAME_LENGTH: Final = 8 << 20
CLOSE_TIMEOUT: Final = 5.0
Handler = Callable[["WebSocket"], object]


class ConnectionClosedError(Exception):
    """The peer closed."""


class FailedConnectionError(Exception):
    """The connection failed by its rules; `status` is the code, `message` the reason."""

    def __init__(self, status: int = PROTOCOL_ERROR, message: str = "") -> None:
        super().__init__(status, message)
        self.message = message
        self.status = status


class BadRequest(Exception):
    """A handshake that cannot be met."""

    def __init__(
        self, status: str = "400 Bad Request", body: bytes | None = None, headers: list[tuple[str, str]] | None = None
    ) -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        self.headers = headers


class WebSocketWSGI:
    """A WSGI application that calls `handler(websocket)` for each WebSocket, and closes that afterwards.

    `max_frame_length` bounds messages, in bytes. `configured` makes one with more options, also as a decorator.
    """

    def __init__(self, handler: Handler, max_frame_length: int = DEFAULT_MAX_FRAME_LENGTH) -> None:
        self.handler = handler
        self.protocol_version: int | None = None
        self.support_legacy_versions = True
        self.supported_protocols: Iterable[str] = []
        self.origin_checker: Callable[[str | None, str], object] | None = None
        self.max_frame_length = max_frame_length

    @classmethod
    def configured(
        cls,
        handler: Handler | None = None,
        supported_protocols: Iterable[str] | None = None,
        origin_checker: Callable[[str | None, str], object] | None = None,
        support_legacy_versions: bool = False,
    ) -> Any:
        """Return an application, or without a handler a decorator that makes one."""

        def decorator(handler: Handler) -> "WebSocketWSGI":
            made = cls(handler)
            made.support_legacy_versions = support_legacy_versions
            made.origin_checker = origin_checker
            if supported_protocols:
                made.supported_protocols = supported_protocols
            return made

        return decorator if handler is None else decorator(handler)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        try:
            websocket = self._open(environ)
        except Refused as error:
            return refuse(start_response, error)
        if "eventlet.set_idle" in environ:
            environ["eventlet.set_idle"]()
        try:
            self.handler(websocket)
        except (BrokenPipeError, ConnectionResetError):
            pass
        except BaseException:  # the server reports it; to the client it is a close, as an answer would be no frame
            websocket._core._say_close(FAILED, "")
            if "greenprobe.connection" in environ:
                environ["greenprobe.connection"].broken = True
            raise
        websocket._send_closing_frame(True)
        wsgi.WSGI_LOCAL.already_handled = True
        return []

    def _open(self, environ: dict[str, Any]) -> "RFC6455WebSocket":
        """Answer the handshake on the socket. Raises greenprobe's BadRequest."""
        origin = environ.get("HTTP_ORIGIN", "")
        if self.origin_checker is not None and not self.origin_checker(environ.get("HTTP_HOST"), origin):
            raise Refused(403, "not from this site")
        version = {"SERVER_PROTOCOL": "HTTP/1.1"}
        if environ.get("HTTP_SEC_WEBSOCKET_VERSION") == "8":  # the last draft, the same but for the number
            version["HTTP_SEC_WEBSOCKET_VERSION"] = "13"
        offered = [name.strip() for name in environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL", "").split(",")]
        spoken = [name for name in offered if name in self.supported_protocols]  # the client's order decides
        handshake = answer_handshake({**environ, **version}, subprotocols=spoken, origins="*")
        sock = socket_of(environ)
        sock.sendall(handshake.answer)
        self.protocol_version = 13
        made = RFC6455WebSocket(sock, environ, 13, handshake.subprotocol, max_frame_length=self.max_frame_length)
        made._frames = Frames(ConnectionType.SERVER, list(handshake.extensions))
        return made


def socket_of(environ: dict[str, Any]) -> Any:
    """Return the socket of a request, whichever server it came by."""
    if "eventlet.input" in environ:
        return environ["eventlet.input"].get_socket()
    if "gunicorn.socket" in environ:
        return environ["gunicorn.socket"]
    raise Exception("no eventlet.input or gunicorn.socket in the environ")  # as eventlet


class WebSocket:
    """What a handler gets. `wait` returns the next message, None when the peer has closed; `send` sends one."""

    def __init__(self, sock: Any, environ: dict[str, Any], version: int = 13) -> None:
        self.socket = sock
        self.log_context: dict[str, Any] = {}
        self.origin = environ.get("HTTP_ORIGIN")
        self.protocol = environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL")
        self.path = environ.get("PATH_INFO", "")
        self.environ = environ
        self.version = version
        self.websocket_closed = False
        self._max_bytes = DEFAULT_MAX_FRAME_LENGTH
        self._frames: Any = None
        self._made: Core | None = None

    @property
    def _core(self) -> Core:
        if self._made is None:
            frames = self._frames or Frames(ConnectionType.SERVER)
            self._made = Core(
                self.socket, frames, subprotocol=self.protocol, max_message_bytes=self._max_bytes, ping_after=None
            )
        return self._made

    def send(self, message: Any) -> None:
        """Send a text or a binary message; anything that is neither is sent as text."""
        if self.websocket_closed:
            return
        data = message if isinstance(message, str | bytes) else str(message)
        try:
            self._core.send(data)
        except (BrokenResourceError, ClosedResourceError) as error:
            self.websocket_closed = True
            raise BrokenPipeError(str(error)) from error

    def wait(self) -> str | bytes | None:
        """Return the next message, None when the WebSocket is closed."""
        if self.websocket_closed:
            return None
        message = self._core.receive()
        if message is None:
            self.websocket_closed = True
        return message

    def _send_closing_frame(self, ignore_send_errors: bool = False) -> None:
        if not self.websocket_closed:
            self.websocket_closed = True
            self._core._say_close(NO_STATUS, "")

    def close(self) -> None:
        """Close it."""
        self._send_closing_frame(True)
        self._core.close(timeout=CLOSE_TIMEOUT)


class RFC6455WebSocket(WebSocket):
    """A WebSocket of version 13."""

    def __init__(
        self,
        sock: Any,
        environ: dict[str, Any],
        version: int = 13,
        protocol: str | None = None,
        client: bool = False,
        extensions: Any = None,
        max_frame_length: int = DEFAULT_MAX_FRAME_LENGTH,
    ) -> None:
        super().__init__(sock, environ, version)
        self.protocol = protocol
        self._max_bytes = max_frame_length
        self.extensions = extensions
        if client:
            self._frames = Frames(ConnectionType.CLIENT)

    def ping(self, data: bytes = b"") -> None:
        """Send a ping."""
        self._core.ping(data)

    def close(self, close_data: tuple[int, str] | None = None) -> None:
        """Close it with a code and a reason."""
        code, reason = close_data or (NORMAL, "")
        self.websocket_closed = True
        self._core.close(code, reason, timeout=CLOSE_TIMEOUT)
