"""Exchanges as they were on the wire, kept for archives: heads byte for byte, bodies in the coding that came.

A `RecordingExchange` converses like any other and listens meanwhile: heads are overheard from the connection, bodies
taken before their content coding is undone. What is left out is the framing: chunks are joined, interim answers (1xx)
skipped. HTTP/2 has no such bytes; its heads are written down as HTTP/1.1 would have them. Headers that hold secrets of
ours are not kept. Who wants all this gives the client a `RecordedTrace`, which has every exchange of its fetch, those
that were redirects and challenges too.
"""

from time import time
from typing import IO, Final, NamedTuple

from greenprobe.errors import BodyTooLarge, FetchError, IncompleteBody, StorageError
from greenprobe.http.decoding import Sink
from greenprobe.http.exchange import Carrier, Exchange, OpenSink, Pieces
from greenprobe.http.request import SECRET_HEADERS, Request
from greenprobe.http.trace import Trace
from greenprobe.http.urls import Url
from greenprobe.lazy import Lazy

__all__ = [
    "ArchivedBody",
    "RecordedExchange",
    "RecordedTrace",
    "RecordingExchange",
    "final_head",
    "without_secret_lines",
]

http = Lazy("http")
tempfile = Lazy("tempfile")

IN_MEMORY_BYTES: Final = 1 << 16
MAX_HEARD_BYTES: Final = 1 << 18  # interim answers and a head; the reader of heads gives up long before


class ArchivedBody(NamedTuple):
    """Where a body was archived: the target URI and the date of that record."""

    url: str
    date: str


class RecordedExchange:
    """A request and what came of it. Small bodies wait in memory, others in a temporary file.

    `refers_to` is where the body is that an answer without one (304) speaks of, if that is known. `truncated` says why
    a body is not whole, in the words of WARC: "length", "time", "disconnect", "unspecified".
    """

    __slots__ = (
        "address",
        "body",
        "body_bytes",
        "head",
        "heard",
        "is_listening",
        "refers_to",
        "request",
        "started",
        "truncated",
        "url",
    )

    def __init__(self, url: Url, request: bytes, address: str | None) -> None:
        self.url = url
        self.address = address
        self.started = time()
        self.request = bytearray(without_secret_lines(request))
        self.heard = bytearray()
        self.is_listening = True
        self.head = b""  # none: there was no answer
        self.body: IO[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)
        self.body_bytes = 0
        self.truncated: str | None = None
        self.refers_to: ArchivedBody | None = None

    def hear(self, data: bytes) -> None:
        """Take what came over the connection, as long as the head is not complete."""
        if self.is_listening:
            self.heard += data
            self.is_listening = len(self.heard) < MAX_HEARD_BYTES

    def pieces(self, pieces: Pieces) -> Pieces:
        """Pass the pieces of a body on and keep them."""
        self.truncated = "unspecified"  # until the end is seen
        while True:
            try:
                piece = next(pieces)
            except StopIteration as end:
                self.truncated = None
                return bool(end.value)
            self.is_listening = False
            try:
                self.body.write(piece)
            except OSError as exc:
                raise StorageError(f"cannot keep a body for the archive: {exc.strerror}") from exc
            self.body_bytes += len(piece)
            yield piece

    def finish(self, trace: Trace) -> None:
        """Take the head of the answer, if there was one."""
        if trace.status is not None:
            self.head = final_head(bytes(self.heard)) or head_of(trace)
        self.is_listening = False
        self.heard.clear()

    def drop_body(self) -> None:
        """Keep the heads alone."""
        if self.body_bytes:
            self.body.close()
            self.body = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)
            self.body_bytes = 0
            self.truncated = "length"

    def close(self) -> None:
        """Let go of the body."""
        self.body.close()


class RecordedTrace(Trace):
    """A trace that has the exchanges themselves."""

    __slots__ = ("exchanges",)

    def __init__(self, url: Url) -> None:
        super().__init__(url)
        self.exchanges: list[RecordedExchange] = []

    def begin(self, request: bytes) -> RecordedExchange:
        """Begin another exchange, with the head of its request."""
        address = self.address.sockaddr[0] if self.address is not None else None
        exchange = RecordedExchange(self.url, request, address)
        self.exchanges.append(exchange)
        return exchange

    def close(self) -> None:
        """Let go of all bodies."""
        for exchange in self.exchanges:
            exchange.close()


class Overheard:
    """A connection that is listened to."""

    __slots__ = ("_connection", "_exchange", "send", "send_at_once")

    def __init__(self, connection: Carrier, exchange: RecordedExchange) -> None:
        self._connection = connection
        self._exchange = exchange
        self.send = connection.send
        self.send_at_once = connection.send_at_once

    def receive(self, deadline: float) -> bytes:
        """Return the next bytes."""
        data = self._connection.receive(deadline)
        self._exchange.hear(data)
        return data


class RecordingExchange(Exchange):
    """Converses, and records where the trace is a RecordedTrace."""

    __slots__ = ()

    def converse(self, connection: Carrier, message: bytes, trace: Trace, open_sink: OpenSink | None) -> bool:
        """Send a request without a body and receive its answer; tell whether the connection can be used again."""
        if isinstance(trace, RecordedTrace):
            connection = Overheard(connection, trace.begin(message))
        return super().converse(connection, message, trace, open_sink or nobody)

    def converse_fully(
        self, connection: Carrier, head: bytes, trace: Trace, open_sink: OpenSink | None, *, request: Request
    ) -> bool:
        """Send any request and receive its answer; tell whether the connection can be used again."""
        if isinstance(trace, RecordedTrace):
            exchange = trace.begin(head)
            if request.body is not None and request.body.can_repeat and request.body.length is not None:
                exchange.request += b"".join(request.body.pieces())
            connection = Overheard(connection, exchange)
        return super().converse_fully(connection, head, trace, open_sink, request=request)

    def take_body(self, pieces: Pieces, trace: Trace, open_sink: OpenSink | None) -> bool:
        """Keep a body, decode it and pass it on; tell whether the connection can be used again."""
        if not isinstance(trace, RecordedTrace):
            return super().take_body(pieces, trace, open_sink)
        exchange = trace.exchanges[-1]
        try:
            is_reusable = super().take_body(exchange.pieces(pieces), trace, open_sink)
            if exchange.truncated is not None:  # a redirect's, of which nobody wants more
                exchange.truncated = "length"
            return is_reusable
        except (FetchError, TimeoutError) as exc:
            if exchange.truncated is not None:
                exchange.truncated = truncation(exc)
            raise
        finally:
            exchange.finish(trace)


def nobody(_: Trace) -> Sink | None:
    """Want no body; it is received with everything that belongs to it all the same."""
    return None


def truncation(exc: Exception) -> str:
    """Return why a body is not whole. Source: ISO 28500:2017, section 5.13."""
    return next((word for kind, word in TRUNCATIONS.items() if isinstance(exc, kind)), "unspecified")


TRUNCATIONS: Final[dict[type[Exception], str]] = {
    BodyTooLarge: "length",
    TimeoutError: "time",
    IncompleteBody: "disconnect",
}


def without_secret_lines(head: bytes) -> bytes:
    """Return the head of a request without the headers that hold secrets."""
    lines = head.split(b"\r\n")
    return b"\r\n".join(
        [line for line in lines if line.partition(b":")[0].decode("latin-1").lower() not in SECRET_HEADERS]
    )


def final_head(heard: bytes) -> bytes | None:
    """Return the head of the answer that is none of 1xx, with its empty line; None if it is not there."""
    rest = heard.lstrip(b"\r\n")
    while True:
        end = rest.find(b"\r\n\r\n")
        if end < 0 or not rest.startswith(b"HTTP/"):
            return None
        head = rest[: end + 4]
        status = head.split(b"\r\n", 1)[0].split(b" ", 2)[1:2]
        if not status or not status[0].startswith(b"1"):
            return head
        rest = rest[end + 4 :]


def head_of(trace: Trace) -> bytes:
    """Return the head of an answer as HTTP/1.1 would have it."""
    lines = [f"{name}: {value}" for name, values in trace.headers.items() for value in values]
    text = "\r\n".join([f"HTTP/1.1 {trace.status} {phrase_of(trace.status)}", *lines, "\r\n"])
    return text.encode("latin-1", "replace")


def phrase_of(status: int | None) -> str:
    """Return the usual words for a status."""
    try:
        phrase: str = http.HTTPStatus(status or 0).phrase
    except ValueError:
        return "Unknown"
    return phrase
