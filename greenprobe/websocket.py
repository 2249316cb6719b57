"""WebSockets (RFC 6455), from both ends: `WebSocketApp` makes a WSGI application of a handler, `connect` is a client.

wsproto knows the frames; here they meet a green socket. Pings are answered while somebody receives. A peer that has
been silent for a while is pinged, and given up if it stays silent: that is how a connection that died without a word
is noticed. Several greenthreads may send at once; one receives. A send that is killed or times out may leave half a
frame behind, in which the peer would read the next ones: the WebSocket is over then.

Messages are bounded as they come, decompressed: bytes are taken in small pieces, as each may stand for a thousand.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from ssl import SSLContext, create_default_context
from types import TracebackType
from typing import Any, Final, NamedTuple, Self
from urllib.parse import quote, urlsplit

from greenlet import GreenletExit, getcurrent, greenlet

from greenprobe.convenience import create_connection
from greenprobe.dns.deferred import to_ascii
from greenprobe.errors import (
    BadRequest,
    BrokenResourceError,
    ClosedResourceError,
    RemoteProtocolError,
    TargetError,
)
from greenprobe.green_socket import socket
from greenprobe.green_ssl import wrap
from greenprobe.http.websocket_frames import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    CloseReason,
    ConnectionState,
    ConnectionType,
    Event,
    Frames,
    Message,
    PerMessageDeflate,
    Ping,
    RejectConnection,
    RejectedByWsproto,
    Request,
    TextMessage,
    WSConnection,
)
from greenprobe.http.websocket_handshake import answer_handshake
from greenprobe.hub import get_hub
from greenprobe.outcome import AsyncResult
from greenprobe.sync import Lock
from greenprobe.timeout import move_on_after

__all__ = ["WebSocket", "WebSocketApp", "connect"]

MAX_MESSAGE_BYTES: Final = 1 << 20
PING_AFTER: Final = 20.0  # seconds of silence
CLOSE_TIMEOUT: Final = 5.0
CONNECT_TIMEOUT: Final = 20.0
RECEIVE_BYTES: Final = 1 << 14
FEED_BYTES: Final = 1 << 12  # deflate makes up to 1,032 bytes of one
SEND_BYTES: Final = 1 << 16
NORMAL, GOING_AWAY, PROTOCOL_ERROR, ABNORMAL, TOO_BIG, FAILED = 1000, 1001, 1002, 1006, 1009, 1011
UNESCAPED: Final = "!$%&'()*+,/:;=?@[]~"  # what may stand in a path or a query as it is
NO_STATUS: Final = CloseReason.NO_STATUS_RCVD  # wsproto asks for this very object: a close without a code


class WebSocket:
    """An open WebSocket. Users get it from `WebSocketApp` and `connect`; they never make one.

    Iterating gives the messages until it is closed. `close_code` is None while it is open; then the peer's code, or
    1006 if the connection ended without one. A context manager: closed on exit.
    """

    def __init__(
        self,
        sock: socket,
        frames: Frames | WSConnection,
        *,
        subprotocol: str | None,
        max_message_bytes: int,
        ping_after: float | None,
    ) -> None:
        self.subprotocol = subprotocol
        self.close_code: int | None = None
        self.close_reason = ""
        self.sock = sock
        self._frames = frames
        self._max_message_bytes = max_message_bytes
        self._unfed = b""  # received, and not given to the frames yet
        self._parts: list[Any] = []
        self._part_bytes = 0
        self._pinged = False  # and heard nothing since
        self._sending = Lock()
        self._receiver: greenlet | None = None  # who waits for the peer
        self._end = AsyncResult[None]()
        sock.settimeout(ping_after)

    def __repr__(self) -> str:
        return f"<WebSocket {'open' if self.close_code is None else f'closed: {self.close_code}'}>"

    @property
    def closed(self) -> bool:
        """Whether it is closed, by whichever side."""
        return self.close_code is not None

    # -- sending

    def send(self, message: str | bytes) -> None:
        """Send a text or a binary message. Raises ClosedResourceError, BrokenResourceError."""
        event: Message[Any] = TextMessage(message) if isinstance(message, str) else BytesMessage(bytes(message))
        self._send(event)

    def ping(self, payload: bytes = b"") -> None:
        """Send a ping; `receive` takes the answer, and tells nobody."""
        self._send(Ping(payload))

    def _send(self, event: Event) -> None:
        with self._sending:
            is_open = self._frames.state is ConnectionState.OPEN or isinstance(event, CloseConnection)
            if self.closed or not is_open:
                raise ClosedResourceError(f"{self!r} cannot send")
            data = self._frames.send(event)
            try:
                for at in range(0, len(data), SEND_BYTES):
                    self.sock.sendall(data[at : at + SEND_BYTES])
            except BaseException as error:
                self._note_end(ABNORMAL, "")
                if isinstance(error, OSError):
                    raise BrokenResourceError("the connection broke while a message was sent") from error
                raise

    # -- receiving

    def receive(self) -> str | bytes | None:
        """Return the next message, None when the WebSocket is closed."""
        while not self.closed:
            for event in self._frames.events():  # what is left of it waits in there: a close comes after the messages
                message = self._take(event)
                if message is not None or self.closed:
                    return message
            if not self._unfed:
                self._unfed = self._read()
            self._feed()
        return None

    def __iter__(self) -> Iterator[str | bytes]:
        while (message := self.receive()) is not None:
            yield message

    def _read(self) -> bytes:
        """Return what comes; ping a silent peer, and give up one that stays silent."""
        self._receiver = getcurrent()
        try:
            data = self.sock.recv(RECEIVE_BYTES)
        except TimeoutError:
            if self._pinged:
                self._note_end(ABNORMAL, "no answer to a ping")
            else:
                self._pinged = True
                with suppress(BrokenResourceError, ClosedResourceError):
                    self.ping()
            return b""
        except OSError:
            data = b""
        finally:
            self._receiver = None
        self._pinged = False
        if not data:
            self._note_end(ABNORMAL, "")
        return data

    def _feed(self) -> None:
        piece, self._unfed = self._unfed[:FEED_BYTES], self._unfed[FEED_BYTES:]
        if self.close_code is None and piece:
            self._frames.receive_data(piece)

    def _take(self, event: Event) -> str | bytes | None:
        """Act on an event; return the message that it completes, if it does."""
        if isinstance(event, Message):
            return self._take_part(event)
        if isinstance(event, Ping):
            with suppress(BrokenResourceError, ClosedResourceError):
                self._send(event.response())
        elif isinstance(event, CloseConnection):
            self._take_close(event)
        return None

    def _take_part(self, event: Message[Any]) -> str | bytes | None:
        if event.data:  # a part may be empty, and there may be any number of those
            self._parts.append(event.data)
            self._part_bytes += size_of(event.data)
        if self._part_bytes > self._max_message_bytes:
            self._say_close(TOO_BIG, "message too big")
            self._note_end(TOO_BIG, "message too big")
        elif event.message_finished:
            parts, self._parts, self._part_bytes = self._parts, [], 0
            return "".join(parts) if isinstance(event, TextMessage) else b"".join(parts)
        return None

    def _take_close(self, event: CloseConnection) -> None:
        """The peer closes, or has broken a rule: answer, and note the end."""
        code = int(event.code)
        self._say_close(NORMAL if code == NO_STATUS else code, event.reason)
        self._note_end(code, event.reason or "")

    def _note_end(self, code: int, reason: str) -> None:
        if self.close_code is None:
            self.close_code = code
            self.close_reason = reason
            self._end.set(None)

    # -- closing

    def close(self, code: int = NORMAL, reason: str = "", *, timeout: float = CLOSE_TIMEOUT) -> None:
        """Close it: say so, wait for the peer to say so, all that for `timeout` seconds, and close the connection.

        Messages that come meanwhile are dropped, unless another greenthread is receiving: it gets them, and then the
        close. Does nothing if it was closed.
        """
        clock = get_hub().clock
        deadline = clock() + timeout
        with move_on_after(timeout):
            self._say_close(code, reason)
        if self._receiver is not None:
            self._end.join(max(0.0, deadline - clock()))
        while self.close_code is None and self._receiver is None and (left := deadline - clock()) > 0:
            self.sock.settimeout(left)
            self._pinged = True  # the next silence is the end
            self.receive()
        self._note_end(ABNORMAL, "")
        self.sock.close()

    def _say_close(self, code: int, reason: str | None) -> None:
        if self._frames.state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
            with suppress(BrokenResourceError, ClosedResourceError):
                self._send(CloseConnection(code, (reason or "").encode()[:120].decode("utf-8", "ignore")))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.close(GOING_AWAY if issubclass(kind, GreenletExit) else FAILED, timeout=0)


def size_of(data: str | bytes | bytearray) -> int:
    """Return how many bytes a part of a message takes on the wire, decompressed."""
    return len(data.encode()) if isinstance(data, str) and not data.isascii() else len(data)


# -- the server's side


class WebSocketApp:
    """A WSGI application that calls `handler(websocket, environ)` for each WebSocket, and closes that afterwards.

    `subprotocols` are those it speaks, the best first. `origins` are the sites whose pages may connect, `*` is any;
    None is the site that is served. A message of more than `max_message_bytes` ends the connection. What the handler
    raises is reported as for any application, and the client gets code 1011.
    """

    def __init__(
        self,
        handler: Callable[[WebSocket, dict[str, Any]], object],
        *,
        subprotocols: Sequence[str] = (),
        origins: Collection[str] | None = None,
        compression: bool = True,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        ping_after: float | None = PING_AFTER,
    ) -> None:
        self._handler = handler
        self._agree = partial(answer_handshake, subprotocols=subprotocols, origins=origins, compression=compression)
        self._max_message_bytes = max_message_bytes
        self._ping_after = ping_after

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        try:
            handshake = self._agree(environ)
        except BadRequest as error:
            return refuse(start_response, error)
        connection = environ["greenprobe.connection"]
        sock, data = connection.hijack()
        connection.set_idle()  # to be ended when the server stops: it might go on for ever
        sock.sendall(handshake.answer)
        frames = Frames(ConnectionType.SERVER, list(handshake.extensions), data)
        websocket = WebSocket(
            sock,
            frames,
            subprotocol=handshake.subprotocol,
            max_message_bytes=self._max_message_bytes,
            ping_after=self._ping_after,
        )
        with websocket:
            try:
                self._handler(websocket, environ)
            except (BrokenResourceError, ClosedResourceError):
                if websocket.close_code is None:
                    raise
        return []


def refuse(start_response: Callable[..., Any], error: BadRequest) -> Iterable[bytes]:
    """Answer a handshake that cannot be met."""
    reasons = {400: "Bad Request", 403: "Forbidden", 426: "Upgrade Required"}
    fields = [("Content-Type", "text/plain"), ("Connection", "close")]
    if error.status == 426:
        fields.append(("Sec-WebSocket-Version", "13"))
    start_response(f"{error.status} {reasons[error.status]}", fields)
    return [f"{error}\n".encode()]


# -- the client's side


def connect(
    url: str,
    *,
    subprotocols: Sequence[str] = (),
    headers: Sequence[tuple[str, str]] = (),
    context: SSLContext | None = None,
    compression: bool = True,
    timeout: float = CONNECT_TIMEOUT,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    ping_after: float | None = PING_AFTER,
) -> WebSocket:
    """Open a WebSocket to a `ws:` or `wss:` URL; connecting and each step of the handshake may take `timeout` seconds.

    Raises TargetError for a URL that is none, OSError, and RemoteProtocolError if the server refuses.
    """
    server = read_url(url)
    deflate = [PerMessageDeflate(client_no_context_takeover=True)] if compression else []
    extra = [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers]
    frames = WSConnection(ConnectionType.CLIENT)
    request = frames.send(Request(server.authority, server.target, deflate, extra, list(subprotocols)))
    sock = create_connection((server.host, server.port), timeout)
    try:
        if server.is_secure:
            context = context or create_default_context()
            sock = wrap(sock, context, server_hostname=server.host, handshake_timeout=timeout)
        sock.sendall(request)
        accepted = receive_answer(sock, frames)
    except BaseException:
        sock.close()
        raise
    return WebSocket(
        sock,
        frames,
        subprotocol=accepted.subprotocol,
        max_message_bytes=max_message_bytes,
        ping_after=ping_after,
    )


class Location(NamedTuple):
    """What a WebSocket URL says: where to connect, and what to ask for there."""

    host: str
    port: int
    is_secure: bool
    authority: str
    target: str


def read_url(url: str) -> Location:
    """Take a `ws:` or `wss:` URL apart; what has to be escaped in its path is. Raises TargetError."""
    wrong = TargetError(f"{url!r} is no WebSocket URL; write ws://HOST/PATH or wss://HOST/PATH")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = to_ascii(parts.hostname or "")
    except ValueError as error:
        raise wrong from error
    if parts.scheme not in ("ws", "wss") or not host:
        raise wrong
    is_secure = parts.scheme == "wss"
    bracketed = f"[{host}]" if ":" in host else host
    authority = bracketed if port is None else f"{bracketed}:{port}"
    target = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=UNESCAPED)
    return Location(host, port or (443 if is_secure else 80), is_secure, authority, target)


def receive_answer(sock: socket, frames: WSConnection) -> AcceptConnection:
    """Read the answer to a handshake. Raises RemoteProtocolError if it is no."""
    while True:
        data = sock.recv(RECEIVE_BYTES)
        try:
            frames.receive_data(data or None)
            for event in frames.events():
                if isinstance(event, AcceptConnection):
                    return event
                if isinstance(event, RejectConnection):
                    raise RemoteProtocolError(f"the server answers {event.status_code} to the WebSocket handshake")
        except RejectedByWsproto as error:
            raise RemoteProtocolError(f"the server's handshake is not valid: {error}") from error
        if not data:
            raise RemoteProtocolError("the connection ended within the WebSocket handshake")
