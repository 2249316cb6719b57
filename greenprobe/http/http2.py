"""HTTP/2: many exchanges at once on one connection, framed by h2. What is waited for, and who is told what.

A session has a greenthread that reads, for as long as the connection lives: it feeds h2 and hands every event to its
stream. Those who fetch send for themselves and wait on their stream. What was received is acknowledged when its owner
has taken it, or has left, so that a slow reader slows its own stream down and no other.

Facts. All streams live from the window of the connection, too. Failure: if the windows of a few streams fill that one,
and their owners wait, for room in memory perhaps, then who has room receives nothing, and all wait for each other.
Choice: the streams share what a connection may hold, and the connection's window is twice that, as h2 renews a window
when half of it was taken. Price: with many streams allowed, each has a smaller window, so at most so much a round trip.

GOAWAY closes the session for new streams. Streams that the server has not begun (their number is above the last it
names) and streams that it refuses (REFUSED_STREAM) have done nothing, so they are asked again elsewhere, whatever
their method. h2 takes a GOAWAY for the end of everything; RFC 9113, section 6.8, lets the streams that were begun come
to their end, so its state is set back before it is given what comes behind.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from greenprobe.errors import (
    ConnectionLost,
    FetchError,
    HeaderTooLarge,
    IncompleteBody,
    ProtocolError,
)
from greenprobe.greenthread import kill, spawn_n
from greenprobe.http.connections import Connection, reason
from greenprobe.http.exchange import Exchange, OpenSink, Pieces
from greenprobe.http.http2_frames import FrameCutter
from greenprobe.http.request import Request
from greenprobe.http.trace import Trace
from greenprobe.http.wire import Headers, merge_headers
from greenprobe.hub import Hub
from greenprobe.lazy import Lazy
from greenprobe.sync import Event

__all__ = ["Http2Session", "NotBegun"]

h2_connection = Lazy("h2.connection")
h2_config = Lazy("h2.config")
h2_settings = Lazy("h2.settings")
h2_errors = Lazy("h2.errors")
h2_exceptions = Lazy("h2.exceptions")

HELD_BYTES: Final = 1 << 26  # of a connection, received and not taken by anybody
LARGEST_STREAM_WINDOW_BYTES: Final = 1 << 20
SMALLEST_STREAM_WINDOW_BYTES: Final = 1 << 14  # a frame
MAX_HEADER_LIST_BYTES: Final = 1 << 16  # of a head, when unpacked
MAX_INTERIM: Final = 100
MAX_IDLE_BYTES: Final = 1 << 18  # in a row that serve no exchange: SETTINGS, PING, resets, empty DATA
BODILESS: Final = frozenset({204, 304})
REFUSED_STREAM: Final = 7
NO_ERROR: Final = 0

HeaderFields = list[tuple[bytes, bytes]]


class NotBegun(ConnectionLost):
    """The server did nothing about a request: it may be sent again, on another connection.

    `has_served` tells whether it did something about another one on that connection.
    """

    def __init__(self, message: str, has_served: bool) -> None:
        super().__init__(message)
        self.has_served = has_served


class Stream:
    """One exchange: what has come for it and was not taken yet."""

    __slots__ = ("arrived", "events", "failure", "has_begun", "held_bytes", "interim", "is_decided", "window")

    def __init__(self) -> None:
        self.events: deque[Any] = deque()
        self.arrived = Event()
        self.window = Event()
        self.failure: Exception | None = None
        self.has_begun = False  # the head of the answer has come
        self.held_bytes = 0  # received and not acknowledged
        self.interim = 0
        self.is_decided = False  # more of the request's body would change nothing

    def put(self, event: Any) -> None:
        """Hand over an event, unless the exchange has failed."""
        if self.failure is None:
            self.has_begun |= type(event).__name__ == "ResponseReceived"
            self.events.append(event)
            self.arrived.set()
            if not self.is_decided and decides(event):
                self.is_decided = True
                self.window.set()

    def fail(self, failure: Exception) -> None:
        """End the exchange with an error, behind what has come for it."""
        if self.has_begun and type(failure) is ConnectionLost:
            failure = IncompleteBody(str(failure))
        if self.failure is None:
            self.failure = failure
        self.is_decided = True
        self.arrived.set()
        self.window.set()

    def next(self, deadline: float, clock: Callable[[], float]) -> Any:
        """Return the next event; raises TimeoutError at `deadline`, or what the stream failed with."""
        while not self.events:
            if self.failure is not None:
                raise self.failure
            self.arrived.clear()
            if not self.arrived.wait(max(0.0, deadline - clock())) and not self.events and self.failure is None:
                raise TimeoutError
        return self.events.popleft()


class Http2Session:
    """A connection that speaks HTTP/2. `max_streams` bounds ours; the server's limit counts too."""

    def __init__(
        self,
        hub: Hub,
        connection: Connection,
        exchange: Exchange,
        *,
        key: str,
        max_streams: int,
        idle_timeout: float,
        on_end: Callable[["Http2Session"], None],
    ) -> None:
        self._hub = hub
        self._exchange = exchange
        self._key = key
        self._max_streams, self._window_bytes = shares(max_streams)
        self._idle_timeout = idle_timeout
        self._on_end = on_end
        self._streams: dict[int, Stream] = {}
        self._reserved = 0
        self._idle_bytes = 0
        self._is_closing = False
        self._has_served = False
        self._cutter = FrameCutter()
        self.connection = connection
        config = h2_config.H2Configuration(client_side=True, header_encoding=None)
        self._h2 = h2_connection.H2Connection(config)
        self._reader: Any = None

    def start(self, deadline: float) -> None:
        """Say hello, and begin to read. Raises ConnectionLost or TimeoutError."""
        codes = h2_settings.SettingCodes
        wanted = {
            codes.ENABLE_PUSH: 0,
            codes.INITIAL_WINDOW_SIZE: self._window_bytes,
            codes.MAX_HEADER_LIST_SIZE: MAX_HEADER_LIST_BYTES,
        }
        # In their place and not as an update: what an update says counts only once the server has acknowledged it.
        self._h2.local_settings = h2_settings.Settings(client=True, initial_values=wanted)
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(2 * HELD_BYTES)
        self.connection.send_at_once()  # or Nagle's algorithm holds a window back until the peer's delayed ACK
        self._flush(deadline)
        self._reader = spawn_n(self._read)

    # -- places

    @property
    def has_room(self) -> bool:
        """Tell whether another stream may be opened."""
        limit = min(self._max_streams, self._h2.remote_settings.max_concurrent_streams)
        return not self._is_closing and len(self._streams) + self._reserved < limit

    @property
    def is_resting(self) -> bool:
        """Tell whether nothing is under way."""
        return not self._streams and not self._reserved

    def reserve(self) -> None:
        """Hold a place for an exchange that is about to begin."""
        self._reserved += 1

    def close(self) -> None:
        """Close the connection; what is under way fails."""
        self._end(ConnectionLost(f"the connection to {self._key} was closed"))
        reader, self._reader = self._reader, None
        if reader is not None:
            kill(reader)

    # -- an exchange

    def converse(self, fields: HeaderFields, trace: Trace, open_sink: OpenSink | None, request: Request | None) -> None:
        """Send a request in a reserved place and receive its answer. Raises FetchError."""
        stream = Stream()
        self._reserved -= 1
        try:
            number = self._open(fields, stream, trace, has_body=request is not None and request.body is not None)
        except h2_exceptions.ProtocolError as exc:
            raise NotBegun(f"{self._key} takes no more requests on this connection", self._has_served) from exc
        try:
            if request is not None and request.body is not None:
                self._send_body(number, stream, request, trace)
            self._exchange.take_body(self._pieces(number, stream, trace), trace, open_sink)
        except FetchError:
            raise  # a WriteTimeout has its name already
        except TimeoutError as exc:
            raise self._exchange.late(trace) from exc
        finally:
            self._forget(number)

    def _open(self, fields: HeaderFields, stream: Stream, trace: Trace, *, has_body: bool) -> int:
        number: int = self._h2.get_next_available_stream_id()
        self._h2.send_headers(number, fields, end_stream=not has_body)
        self._streams[number] = stream
        trace.sent_bytes += sum(len(name) + len(value) + 4 for name, value in fields)
        try:
            self._push(trace)
        except BaseException:
            self._forget(number)
            raise
        return number

    def _send_body(self, number: int, stream: Stream, request: Request, trace: Trace) -> None:
        """Send a body as the server's windows allow; stop where it refuses the rest, or has answered to the end.

        An answer that merely begins is no reason: it may be made of the body, piece by piece.
        """
        assert request.body is not None
        for piece in request.body.pieces():
            rest = memoryview(piece)
            while rest:
                room = self._room(number, stream, trace)
                if room == 0:
                    return
                self._h2.send_data(number, bytes(rest[:room]))
                trace.sent_bytes += min(room, len(rest))
                self._idle_bytes = 0
                rest = rest[room:]
                self._push(trace)
        try:
            self._h2.end_stream(number)
        except h2_exceptions.ProtocolError:
            return  # the stream is over; what there is to say of it has come
        self._push(trace)

    def _push(self, trace: Trace) -> None:
        """Send what there is of a request."""
        try:
            self._flush(min(trace.deadline, self._hub.clock() + self._exchange.read_timeout))
        except TimeoutError as exc:
            raise self._exchange.stuck(trace) from exc

    def _room(self, number: int, stream: Stream, trace: Trace) -> int:
        """Return how many bytes may be sent now; 0 if nobody wants them."""
        deadline = min(trace.deadline, self._hub.clock() + self._exchange.read_timeout)
        while True:
            if stream.is_decided:
                return 0
            room = min(self._h2.local_flow_control_window(number), self._h2.max_outbound_frame_size)
            if room > 0:
                return int(room)
            stream.window.clear()
            if not stream.window.wait(max(0.0, deadline - self._hub.clock())):
                raise self._exchange.stuck(trace)

    def _pieces(self, number: int, stream: Stream, trace: Trace) -> Pieces:
        """Yield the body of an answer, its head noted in `trace`."""
        clock = self._hub.clock
        patience = self._exchange.first_byte_timeout
        sent = clock()
        while True:
            trace.ended = now = clock()
            event = stream.next(min(trace.deadline, now + patience), clock)
            kind = type(event).__name__
            if kind == "ResponseReceived":
                trace.ended = clock()
                trace.first_byte = trace.ended - sent
                trace.status, trace.headers = head_of(event.headers)
                trace.received_bytes += sum(len(name) + len(value) + 4 for name, value in event.headers)
                patience = self._exchange.read_timeout
            elif kind == "DataReceived":
                trace.received_bytes += len(event.data)
                if event.data:
                    if trace.status in BODILESS:
                        raise ProtocolError(f"an answer with the status {trace.status} has a body")
                    yield event.data
                self._acknowledge(event.flow_controlled_length, number, stream, trace)
            elif kind == "StreamEnded":
                return True

    def _acknowledge(self, size_bytes: int, number: int, stream: Stream, trace: Trace) -> None:
        if size_bytes and number in self._streams:
            stream.held_bytes -= size_bytes
            try:
                self._h2.acknowledge_received_data(size_bytes, number)
                self._flush(trace.deadline)
            except (h2_exceptions.ProtocolError, ConnectionLost):
                pass  # it has ended meanwhile; what came before that is still to be taken

    def _forget(self, number: int) -> None:
        """Leave a stream; if it is not over, tell the server that nobody wants the rest."""
        stream = self._streams.pop(number, None)
        try:
            if stream is not None and stream.held_bytes:  # the others live from the same window
                self._h2.acknowledge_received_data(stream.held_bytes, number)
            self._h2.reset_stream(number, h2_errors.ErrorCodes.CANCEL)
            self._idle_bytes -= self._window_bytes  # which may be under way
            self._flush(self._hub.clock() + 1.0)
        except (h2_exceptions.ProtocolError, ConnectionLost, TimeoutError):
            pass  # it is over
        if self._is_closing and not self._streams:
            self._end(None)

    # -- the connection

    def _flush(self, deadline: float) -> None:
        data = self._h2.data_to_send()
        if data:
            try:
                self.connection.send(data, deadline)
            except TimeoutError:
                raise
            except OSError as exc:
                raise ConnectionLost(f"{self._key} broke the connection off: {reason(exc)}") from exc

    def _read(self) -> None:
        """Feed h2 until the connection ends, or has rested for too long."""
        try:
            while not self._is_closing or self._streams:
                try:
                    data = self.connection.receive(self._hub.clock() + self._idle_timeout)
                except TimeoutError:
                    if self.is_resting:
                        break
                    continue
                if not data:
                    break
                self._take(data)
            self._end(ConnectionLost(f"{self._key} ended the connection"))
        except OSError as exc:
            self._end(ConnectionLost(f"{self._key} broke the connection off: {reason(exc)}"))
        except (ProtocolError, ConnectionLost) as exc:
            # Of many, nobody knows whose fault it is.
            self._end(exc if len(self._streams) == 1 else ConnectionLost(f"a fault ended all exchanges: {exc}"))

    def _take(self, data: bytes) -> None:
        for piece in self._cutter.cut(data):
            self._take_piece(piece)

    def _take_piece(self, data: bytes) -> None:
        try:
            events = self._h2.receive_data(data)
        except h2_exceptions.DenialOfServiceError as exc:
            raise HeaderTooLarge(f"the head of an answer of {self._key} is too large: {exc}") from exc
        except h2_exceptions.NoSuchStreamError as exc:  # whose words are its number alone
            raise ProtocolError(f"{self._key} speaks on stream {exc.stream_id}, which is not open") from exc
        except h2_exceptions.ProtocolError as exc:
            raise ProtocolError(f"{self._key} breaks the rules of HTTP/2: {exc}") from exc
        self._count_idle(len(data), events)
        for event in events:
            handle = HANDLERS.get(type(event).__name__)
            if handle is not None:
                handle(self, event)
        self._flush(self._hub.clock() + self._exchange.read_timeout)

    def _count_idle(self, size_bytes: int, events: list[Any]) -> None:
        """Give a server up that keeps us busy with frames which bring no exchange on. CVE-2019-9512 to 9518."""
        if any(is_of_use(event) and event.stream_id in self._streams for event in events):
            self._idle_bytes = 0
            return
        self._idle_bytes += size_bytes
        if self._idle_bytes > MAX_IDLE_BYTES:
            raise ProtocolError(f"{self._key} floods us with frames that say nothing")

    def _hand_over(self, event: Any) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            self._has_served = True
            stream.held_bytes += getattr(event, "flow_controlled_length", 0)
            stream.put(event)
        elif type(event).__name__ == "DataReceived" and event.flow_controlled_length:
            # Nobody wants it any more, but the others live from the same window.
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    def _count_interim(self, event: Any) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.interim += 1
            if stream.interim > MAX_INTERIM:
                stream.fail(ProtocolError(f"more than {MAX_INTERIM} interim answers (1xx) and no final one"))

    def _reset(self, event: Any) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is None:
            return
        code = int(event.error_code)
        if code == REFUSED_STREAM:
            stream.fail(NotBegun(f"{self._key} refuses the stream", self._has_served))
        else:
            stream.fail(ConnectionLost(f"{self._key} reset the stream: {name_of(event.error_code)}"))

    def _open_windows(self, event: Any) -> None:
        for stream in self._streams.values():
            stream.window.set()

    def _go_away(self, event: Any) -> None:
        self._is_closing = True
        last = event.last_stream_id if event.last_stream_id is not None else 0
        for number in [number for number in self._streams if number > last]:
            self._streams[number].fail(NotBegun(f"{self._key} goes away", last > 0))
        if int(event.error_code) == NO_ERROR:
            self._h2.state_machine.state = h2_connection.ConnectionState.CLIENT_OPEN
        else:
            raise ConnectionLost(f"{self._key} goes away: {name_of(event.error_code)}")

    def _end(self, failure: Exception | None) -> None:
        """Close the connection and fail what is under way. A second call does nothing."""
        self._is_closing = True
        for stream in self._streams.values():
            stream.fail(failure or ConnectionLost(f"the connection to {self._key} was closed"))
        on_end, self._on_end = self._on_end, ignore
        on_end(self)


HANDLERS: Final[dict[str, Callable[[Http2Session, Any], None]]] = {
    "ResponseReceived": Http2Session._hand_over,
    "DataReceived": Http2Session._hand_over,
    "StreamEnded": Http2Session._hand_over,
    "InformationalResponseReceived": Http2Session._count_interim,
    "StreamReset": Http2Session._reset,
    "WindowUpdated": Http2Session._open_windows,
    "RemoteSettingsChanged": Http2Session._open_windows,
    "ConnectionTerminated": Http2Session._go_away,
}


def shares(max_streams: int) -> tuple[int, int]:
    """Return how many streams a connection may have, and the window of each: together at most HELD_BYTES."""
    streams = min(max_streams, HELD_BYTES // SMALLEST_STREAM_WINDOW_BYTES)
    return streams, min(LARGEST_STREAM_WINDOW_BYTES, HELD_BYTES // streams)


def is_of_use(event: Any) -> bool:
    """Tell whether an event brings the exchange on that it belongs to."""
    kind = type(event).__name__
    return kind in {"ResponseReceived", "StreamEnded"} or (kind == "DataReceived" and bool(event.data))


def decides(event: Any) -> bool:
    """Tell whether an event makes the rest of a request's body useless: no 2xx, or the end of the answer."""
    kind = type(event).__name__
    if kind == "ResponseReceived":
        return not dict(event.headers)[b":status"].startswith(b"2")
    return kind == "StreamEnded"


def ignore(session: Http2Session) -> None:
    """Do nothing."""


def name_of(code: Any) -> str:
    """Return the name of an error code."""
    return str(getattr(code, "name", code))


def head_of(fields: HeaderFields) -> tuple[int, Headers]:
    """Return status and headers of a response's fields. Raises ProtocolError."""
    status = dict(fields).get(b":status", b"")
    if len(status) != 3 or not status.isdigit():
        raise ProtocolError(f"the answer has the status {status!r}")
    pairs = (
        (name.decode("latin-1"), (value.decode("latin-1"),)) for name, value in fields if not name.startswith(b":")
    )
    return int(status), merge_headers(pairs)
