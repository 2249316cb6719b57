"""GET a URL: a place in the pool, a request, its answer, redirects; what happened is in a Trace.

Every fetch has a total deadline. A connection that was idle may have been closed by the server just as the request went
out; if it ends before the first byte of an answer, the request is sent once more on a new connection (GET may be
repeated: RFC 9112, section 9.3.1). Errors are FetchErrors, whatever the socket or TLS raised. The body goes to a sink,
decoded and piece by piece, or is only counted.

`Client._converse` is the hot path: with a connection at hand it makes two system calls and parses once.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from ssl import SSLContext
from typing import Final

from greenprobe.errors import (
    BodyTooLarge,
    ConnectionLost,
    EmptyReply,
    FetchError,
    IncompleteBody,
    ReadTimeout,
    RedirectError,
    TotalTimeout,
)
from greenprobe.http.connections import Connection, connect_tcp
from greenprobe.http.connector import Connect, Connector, Resolve, reason, resolve_name
from greenprobe.http.decoding import ACCEPT_ENCODING, BodyDecoder, Sink
from greenprobe.http.lanes import Lane, Lanes
from greenprobe.http.trace import Trace
from greenprobe.http.trust import trusting
from greenprobe.http.urls import Origin, basic_authorization, join_redirect
from greenprobe.http.wire import Body, Head, ResponseReader, read_plain
from greenprobe.hub import Hub

__all__ = ["Client", "ClientOptions"]

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
MAX_REDIRECT_BODY_BYTES: Final = 1 << 16  # reading that much is cheaper than a new connection; more is not

# The pieces of a body as they come; what it returns tells whether the connection can be used again.
Pieces = Generator[bytes, None, bool]


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """How to fetch. Times are seconds; `total_timeout` counts from the moment there is a place in the pool."""

    per_host: int = 100
    max_open: int = 1000
    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    total_timeout: float = 60.0
    max_redirects: int = 10
    max_body_bytes: int = 1 << 26
    allows_downgrade: bool = False
    user_agent: str = "greenprobe"


class Client:
    """Fetches URLs over pooled connections, for any number of greenthreads of one hub."""

    def __init__(
        self,
        hub: Hub,
        options: ClientOptions,
        *,
        trust: Callable[[], SSLContext] = trusting,
        resolve: Resolve = resolve_name,
        connect: Connect = connect_tcp,
    ) -> None:
        """`trust` is called once, when the first https URL needs it."""
        self._clock = hub.clock
        self._options = options
        self._read_timeout = options.read_timeout
        self._total_timeout = options.total_timeout
        self._max_body_bytes = options.max_body_bytes
        self.lanes = Lanes(hub, per_host=options.per_host, max_open=options.max_open)
        self._connector = Connector(
            hub, self.lanes, timeout=options.connect_timeout, trust=trust, resolve=resolve, connect=connect
        )

    def fetch(self, trace: Trace, sink: Sink | None = None) -> None:
        """GET the URL of `trace` and follow its redirects; hand the last answer's decoded body to `sink`.

        Raises FetchError or PoolTimeout; `trace` then holds what was learned before.
        """
        self._visit(trace, sink)
        while trace.status in REDIRECTS and is_redirect(trace):
            self._follow(trace)
            self._visit(trace, sink)

    def close(self) -> None:
        """Close all connections."""
        self.lanes.close_all()

    def _follow(self, trace: Trace) -> None:
        options = self._options
        if len(trace.hops) >= options.max_redirects:
            raise RedirectError(f"more than {options.max_redirects} redirects; the last is from {trace.url.text}")
        trace.redirect(
            join_redirect(trace.url, trace.headers["location"][0], allows_downgrade=options.allows_downgrade)
        )

    def _visit(self, trace: Trace, sink: Sink | None) -> None:
        """Get one answer, in a place of its origin's lane."""
        lanes = self.lanes
        origin, target, credentials = trace.url
        lane = lanes.by_key.get(origin.key) or self._new_lane(origin)
        connection = lanes.take(lane, trace.deadline or None)
        try:
            trace.ended = self._clock()
            if not trace.deadline:
                trace.started = trace.ended
                trace.deadline = trace.ended + self._total_timeout
            request = b"GET " + target + lane.request_tail
            if credentials is not None:
                request = authorized(request, credentials)
            while True:
                if connection is None:
                    connection = self._connector.open(lane, trace)
                try:
                    is_reusable = self._converse(connection, request, trace, sink)
                    break
                except ConnectionLost:
                    if connection.is_fresh or trace.first_byte is not None:
                        raise
                    lanes.close(connection)  # it was idle for too long: once more, on a new one
                    connection = None
        except BaseException:
            if connection is not None:
                lanes.close(connection)
            lanes.leave(lane)
            raise
        if connection.is_fresh:
            self._connector.remember(lane, connection)
        if is_reusable:
            lanes.keep(lane, connection, trace.ended)
        else:
            lanes.close(connection)
            lanes.leave(lane)

    def _new_lane(self, origin: Origin) -> Lane:
        lane = Lane(
            origin,
            f" HTTP/1.1\r\nHost: {origin.authority}\r\nUser-Agent: {self._options.user_agent}\r\nAccept: */*\r\n"
            f"Accept-Encoding: {ACCEPT_ENCODING}\r\n\r\n".encode(),
        )
        self.lanes.add(lane)
        return lane

    def _converse(self, connection: Connection, request: bytes, trace: Trace, sink: Sink | None) -> bool:
        """Send a request and receive its answer; tell whether the connection can be used again."""
        sent = trace.ended
        deadline = trace.deadline
        patience = sent + self._read_timeout
        try:
            connection.send(request, deadline)
            data = connection.receive(patience if patience < deadline else deadline)  # noqa: FURB136 - min() is a call
        except TimeoutError as exc:
            raise self._late(trace) from exc
        except OSError as exc:
            raise ConnectionLost(f"{trace.url.origin.key} broke the connection off: {reason(exc)}") from exc
        if not data:
            raise EmptyReply(f"{trace.url.origin.key} closed the connection without an answer")
        trace.ended = now = self._clock()
        trace.first_byte = now - sent
        reply = read_plain(data)
        if reply is None:
            return self._take_body(self._parsed(connection, data, trace), trace, sink)
        trace.status, trace.headers, body, missing, is_reusable = reply
        if missing or sink is not None or len(body) > self._max_body_bytes or "content-encoding" in trace.headers:
            return self._take_body(self._plain(connection, body, missing, trace), trace, sink) and is_reusable
        trace.size_bytes = len(body)
        return is_reusable

    def _take_body(self, pieces: Pieces, trace: Trace, sink: Sink | None) -> bool:
        """Decode the pieces of a body and pass them on; tell whether the connection can be used again."""
        decoder: BodyDecoder | None = None
        try:
            while True:
                piece = next(pieces)
                if decoder is None:
                    decoder = self._decoder(trace, sink)
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
        trace.ended = self._clock()
        return is_reusable

    def _decoder(self, trace: Trace, sink: Sink | None) -> BodyDecoder:
        """Return what takes the body of the answer in `trace`; of a redirect, nobody wants it."""
        if is_redirect(trace):
            return BodyDecoder((), max_bytes=MAX_REDIRECT_BODY_BYTES)
        return BodyDecoder(trace.headers.get("content-encoding", ()), max_bytes=self._max_body_bytes, sink=sink)

    def _plain(self, connection: Connection, body: bytes, missing: int, trace: Trace) -> Pieces:
        """Yield the body of a plain answer; return whether nothing came behind it."""
        yield body
        while missing > 0:
            data = self._more(connection, trace)
            if not data:
                raise IncompleteBody(f"the connection ended with {missing:,} bytes of the body missing")
            yield data[:missing]
            missing -= len(data)
        return missing == 0

    def _parsed(self, connection: Connection, data: bytes, trace: Trace) -> Pieces:
        """Yield the body of any answer, its head noted in `trace`; return whether the connection is reusable."""
        reader = ResponseReader()
        while True:
            for event in reader.feed(data):
                if isinstance(event, Body):
                    yield event.data
                elif isinstance(event, Head):
                    trace.status, trace.headers, _ = event
                else:
                    return event.reusable
            data = self._more(connection, trace)

    def _more(self, connection: Connection, trace: Trace) -> bytes:
        """Receive more of an answer that has begun."""
        trace.ended = now = self._clock()
        try:
            return connection.receive(min(trace.deadline, now + self._read_timeout))
        except TimeoutError as exc:
            raise self._late(trace) from exc
        except OSError as exc:
            raise IncompleteBody(f"the connection broke in the middle of the answer: {reason(exc)}") from exc

    def _late(self, trace: Trace) -> FetchError:
        if self._clock() >= trace.deadline:
            return TotalTimeout(f"not done after {self._total_timeout:g} s")
        return ReadTimeout(f"nothing came from {trace.url.origin.key} for {self._read_timeout:g} s")


def is_redirect(trace: Trace) -> bool:
    """Tell whether the answer leads elsewhere."""
    return trace.status in REDIRECTS and "location" in trace.headers


def authorized(request: bytes, credentials: bytes) -> bytes:
    """Add an Authorization header to a whole request."""
    return request[:-2] + b"Authorization: " + basic_authorization(credentials) + b"\r\n\r\n"
