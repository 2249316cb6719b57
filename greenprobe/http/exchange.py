"""One request and its answer on an open connection, HTTP/1.1: what is sent, what is read, and by when.

Errors are FetchErrors, whatever the socket or TLS raised. The body goes to a sink, decoded and piece by piece, or is
only counted. What goes well at once does not come here at all, see `plain_gets.py`.

A body that is sent may be answered before it is through (413, a server that closes): when the peer stops taking it,
whatever it has said by then is the answer.
"""

from collections.abc import Callable, Generator, Iterator
from ssl import SSLError
from typing import Final, Protocol

from greenprobe.errors import (
    BodyTooLarge,
    ConnectionLost,
    EmptyReply,
    FetchError,
    IncompleteBody,
    ProtocolError,
    ReadTimeout,
    TlsError,
    TotalTimeout,
    WriteTimeout,
)
from greenprobe.http.connections import reason
from greenprobe.http.decoding import BodyDecoder, Sink
from greenprobe.http.options import ClientOptions
from greenprobe.http.request import Request
from greenprobe.http.trace import Trace
from greenprobe.http.wire import Body, Head, PlainReader, ResponseReader

__all__ = ["REDIRECTS", "Carrier", "Exchange", "OpenSink", "is_redirect"]

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
MAX_REDIRECT_BODY_BYTES: Final = 1 << 16  # reading that much is cheaper than a new connection; more is not
STATUS_AND_MORE: Final = b"HTTP/1.1 100"
CONTINUE_SECONDS: Final = 1.0  # how long to wait for a 100; RFC 9110, section 10.1.1, forbids to wait for ever

# The pieces of a body as they come; what it returns tells whether the connection can be used again.
Pieces = Generator[bytes, None, bool]
# Called when the head of an answer is there that is no redirect; returns what takes its decoded body, or None.
OpenSink = Callable[[Trace], Sink | None]


class Carrier(Protocol):
    """What an exchange needs of a connection."""

    def send(self, data: bytes, deadline: float) -> None:
        """Send all of `data`; raises TimeoutError or OSError."""

    def receive(self, deadline: float) -> bytes:
        """Return the next bytes, `b""` at the end; raises TimeoutError or OSError."""

    def send_at_once(self) -> None:
        """From now on hold no small piece back."""


class Exchange:
    """Converses as the options say; it keeps nothing from one answer to the next but the last head."""

    __slots__ = ("_clock", "_max_body_bytes", "_read_plain", "_total_timeout", "first_byte_timeout", "read_timeout")

    def __init__(self, clock: Callable[[], float], options: ClientOptions) -> None:
        self._clock = clock
        self.read_timeout = options.read_timeout
        self.first_byte_timeout = options.first_byte_timeout or options.read_timeout
        self._total_timeout = options.total_timeout
        self._max_body_bytes = options.max_body_bytes
        self._read_plain = PlainReader().read

    def converse(self, connection: Carrier, message: bytes, trace: Trace, open_sink: OpenSink | None) -> bool:
        """Send a request without a body and receive its answer; tell whether the connection can be used again."""
        trace.sent_bytes += len(message)
        try:
            connection.send(message, trace.deadline)
        except OSError as exc:
            raise self.failed(trace, exc) from exc
        return self.hear(connection, None, trace, open_sink)

    def go_on(
        self,
        data: bytes | None,
        error: OSError | None,
        connection: Carrier,
        message: bytes,
        trace: Trace,
        open_sink: OpenSink | None,
    ) -> bool:
        """Do the rest where the request is sent already, and `data` or an error came of it, or nothing yet."""
        if error is not None:
            raise self.failed(trace, error) from error
        return self.hear(connection, data, trace, open_sink)

    def hear(self, connection: Carrier, data: bytes | None, trace: Trace, open_sink: OpenSink | None) -> bool:
        """Receive the answer to what was sent at `trace.ended`; tell whether the connection can be used again.

        `data` are its first bytes if somebody has taken them, else None.
        """
        sent = trace.ended
        if data is None:
            data = self._first(connection, sent + self.first_byte_timeout, trace)
        elif not data:
            raise empty(trace)
        trace.ended = now = self._clock()
        trace.first_byte = now - sent
        trace.received_bytes += len(data)
        reply = self._read_plain(data)
        if reply is None:
            return self.take_body(self._parsed(connection, data, trace, ResponseReader()), trace, open_sink)
        trace.status, headers, start, missing, is_reusable = reply
        trace.headers = headers.copy()  # a script may change its own
        size = len(data) - start
        if missing or open_sink is not None or size > self._max_body_bytes or "content-encoding" in trace.headers:
            pieces = self._plain(connection, data[start:], missing, trace)
            return self.take_body(pieces, trace, open_sink) and is_reusable
        trace.size_bytes = size
        return is_reusable

    def converse_fully(
        self, connection: Carrier, head: bytes, trace: Trace, open_sink: OpenSink | None, *, request: Request
    ) -> bool:
        """Send any request and receive its answer; tell whether the connection can be used again."""
        reader = ResponseReader(expects_body=request.method != "HEAD")
        sent = trace.ended
        data, is_sent = self._send(connection, head, request, trace)
        if not data:
            data = self._first(connection, self._clock() + self.first_byte_timeout, trace)
        trace.ended = now = self._clock()
        trace.first_byte = now - sent
        trace.received_bytes += len(data)
        return self.take_body(self._parsed(connection, data, trace, reader), trace, open_sink) and is_sent

    # -- sending

    def _send(self, connection: Carrier, head: bytes, request: Request, trace: Trace) -> tuple[bytes, bool]:
        """Send all of a request; return what was received meanwhile, and whether all was sent."""
        pieces = framed(request)
        said = b""
        try:
            if request.expects_continue:
                self._put(connection, head, trace)
                said = self._consent(connection, trace)
                if said and not is_consent(said):
                    return said, False
                said = behind_head(said)
            else:
                self._put(connection, head + next(pieces, b""), trace)
            for number, piece in enumerate(pieces):
                if number == 0:
                    connection.send_at_once()
                self._put(connection, piece, trace)
        except OSError as exc:
            said = said or self._last_words(connection, trace, exc)
            if not said:
                raise self._unsent(trace, exc) from exc
            return said, False
        return said, True

    def _put(self, connection: Carrier, data: bytes, trace: Trace) -> None:
        connection.send(data, min(trace.deadline, self._clock() + self.read_timeout))
        trace.sent_bytes += len(data)

    def _consent(self, connection: Carrier, trace: Trace) -> bytes:
        """Wait a little for the server to say whether it wants the body; return its words, with a status if any."""
        patience = min(trace.deadline, self._clock() + CONTINUE_SECONDS)
        said = b""
        try:
            while len(said) < len(STATUS_AND_MORE):
                data = connection.receive(patience)
                if not data:
                    break
                said += data
        except TimeoutError:
            pass
        return said

    def _last_words(self, connection: Carrier, trace: Trace, exc: OSError) -> bytes:
        """Return what a peer said that did not take the whole request, `b""` for nothing.

        Where it just stopped reading, it has had its time.
        """
        patience = 0.0 if isinstance(exc, TimeoutError) else CONTINUE_SECONDS
        try:
            return connection.receive(min(trace.deadline, self._clock() + patience))
        except OSError:
            return b""

    def _unsent(self, trace: Trace, exc: OSError) -> FetchError:
        """Return the error of a request that could not be sent."""
        return self.stuck(trace) if isinstance(exc, TimeoutError) else lost(trace, exc)

    # -- receiving

    def _first(self, connection: Carrier, patience: float, trace: Trace) -> bytes:
        """Receive the first bytes of an answer until `patience`, or the deadline."""
        try:
            data = connection.receive(min(trace.deadline, patience))
        except OSError as exc:
            raise self.failed(trace, exc) from exc
        if not data:
            raise empty(trace)
        return data

    def take_body(self, pieces: Pieces, trace: Trace, open_sink: OpenSink | None) -> bool:
        """Decode the pieces of a body and pass them on; tell whether the connection can be used again."""
        decoder: BodyDecoder | None = None
        try:
            while True:
                piece = next(pieces)
                if decoder is None:
                    decoder = self._decoder(trace, open_sink)
                decoder.take(piece)
                trace.size_bytes = decoder.decoded_bytes
        except StopIteration as end:
            is_reusable = bool(end.value)
        except BodyTooLarge:
            if not is_redirect(trace):
                raise
            return False
        if decoder is not None:
            decoder.finish()
        elif open_sink is not None:
            self._decoder(trace, open_sink)
        trace.ended = self._clock()
        return is_reusable

    def _decoder(self, trace: Trace, open_sink: OpenSink | None) -> BodyDecoder:
        """Return what takes the body of the answer in `trace`; of a redirect, nobody wants it."""
        if is_redirect(trace):
            return BodyDecoder((), max_bytes=MAX_REDIRECT_BODY_BYTES)
        sink = None if open_sink is None else open_sink(trace)
        return BodyDecoder(trace.headers.get("content-encoding", ()), max_bytes=self._max_body_bytes, sink=sink)

    def _plain(self, connection: Carrier, body: bytes, missing: int, trace: Trace) -> Pieces:
        """Yield the body of a plain answer; return whether nothing came behind it."""
        yield body
        while missing > 0:
            data = self._more(connection, trace)
            if not data:
                raise IncompleteBody(f"the connection ended with {missing:,} bytes of the body missing")
            yield data[:missing]
            missing -= len(data)
        return missing == 0

    def _parsed(self, connection: Carrier, data: bytes, trace: Trace, reader: ResponseReader) -> Pieces:
        """Yield the body of any answer, its head noted in `trace`; return whether the connection is reusable."""
        while True:
            for event in reader.feed(data):
                if isinstance(event, Body):
                    yield event.data
                elif isinstance(event, Head):
                    trace.status, trace.headers, _ = event
                else:
                    return event.reusable
            data = self._more(connection, trace)

    def _more(self, connection: Carrier, trace: Trace) -> bytes:
        """Receive more of an answer that has begun."""
        trace.ended = now = self._clock()
        try:
            data = connection.receive(min(trace.deadline, now + self.read_timeout))
        except TimeoutError as exc:
            raise self.late(trace) from exc
        except OSError as exc:
            raise IncompleteBody(f"the connection broke in the middle of the answer: {reason(exc)}") from exc
        trace.received_bytes += len(data)
        return data

    def failed(self, trace: Trace, exc: OSError) -> FetchError:
        """Return the error of a connection that failed with `exc` before the answer began."""
        return self.late(trace) if isinstance(exc, TimeoutError) else lost(trace, exc)

    def late(self, trace: Trace) -> FetchError:
        """Return the error of a wait that was too long."""
        if self._clock() >= trace.deadline:
            return TotalTimeout(f"not done after {self._total_timeout:g} s")
        seconds = self.first_byte_timeout if trace.first_byte is None else self.read_timeout
        return ReadTimeout(f"nothing came from {trace.url.origin.key} for {seconds:g} s")

    def stuck(self, trace: Trace) -> FetchError:
        """Return the error of a peer that took nothing for too long."""
        if self._clock() >= trace.deadline:
            return self.late(trace)
        return WriteTimeout(f"{trace.url.origin.key} took nothing for {self.read_timeout:g} s")


def lost(trace: Trace, exc: OSError) -> FetchError:
    """Return the error of a connection that broke before the answer began.

    With TLS 1.3, a server that does not like our certificate, or misses one, says so only then.
    """
    if isinstance(exc, SSLError) and "_ALERT_" in (exc.reason or ""):
        return TlsError(f"TLS with {trace.url.origin.key} failed: {exc.reason}")
    return ConnectionLost(f"{trace.url.origin.key} broke the connection off: {reason(exc)}")


def empty(trace: Trace) -> EmptyReply:
    """Return the error of a connection that ended before the answer began."""
    return EmptyReply(f"{trace.url.origin.key} closed the connection without an answer")


def is_redirect(trace: Trace) -> bool:
    """Tell whether the answer leads elsewhere."""
    return trace.status in REDIRECTS and bool(trace.headers.get("location", ("",))[0])


def is_consent(said: bytes) -> bool:
    """Tell whether the first bytes of an answer leave the body wanted; raises ProtocolError if they are no HTTP.

    They do if they are of an interim answer. A 103, say, is none to the body, but a 100 behind it is not waited for.
    """
    if not said.startswith(b"HTTP/1."):
        raise ProtocolError("the answer is not HTTP")
    return said[len("HTTP/1.1 ") :].startswith(b"1")


def behind_head(said: bytes) -> bytes:
    """Return what follows the head of a 100; all of it, if the head is not complete."""
    _, blank, rest = said.partition(b"\r\n\r\n")
    return rest if blank else said


def framed(request: Request) -> Iterator[bytes]:
    """Yield the body of a request as it goes on the wire."""
    body = request.body
    if body is None:
        return
    if body.length is not None:
        yield from body.pieces()
        return
    for piece in body.pieces():
        yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"
