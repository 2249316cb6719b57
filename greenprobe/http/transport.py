"""One request to one URL: a place in its origin's lane, a connection, the exchange, and the connection put back.

A connection that was idle may have been closed by the server just as the request went out, or forgotten: some keep it
open and never read from it again. If there is no byte of an answer, the request is sent once more on a new connection,
if its method is idempotent (RFC 9112, 9.3.1) and its body can be had again. The hot path goes past all this, see
`plain_gets.py`.
"""

from collections.abc import Callable
from functools import partial
from ssl import SSLContext
from typing import Final

from greenprobe.errors import ConnectionLost, FetchError, PoolTimeout, ReadTimeout
from greenprobe.http.connections import Connection
from greenprobe.http.connector import Connect, Connector, Resolve
from greenprobe.http.decoding import ACCEPT_ENCODING
from greenprobe.http.exchange import Exchange, OpenSink
from greenprobe.http.lanes import Lane, Lanes
from greenprobe.http.options import ClientOptions
from greenprobe.http.plain_gets import Unfinished
from greenprobe.http.proxy import proxy_authorization
from greenprobe.http.recorded import RecordingExchange
from greenprobe.http.request import Fields, Request, default_fields, request_head
from greenprobe.http.trace import Trace
from greenprobe.http.urls import Origin
from greenprobe.hub import Hub

__all__ = ["Transport"]

PLAIN: Final = Request()

# Sends the head of a request and what belongs to it, and receives the answer; see Exchange.
Converse = Callable[[Connection, bytes, Trace, OpenSink | None], bool]


class Transport:
    """Sends requests over pooled connections, for any number of greenthreads of one hub."""

    def __init__(
        self,
        hub: Hub,
        options: ClientOptions,
        *,
        trust: Callable[[], SSLContext],
        resolve: Resolve,
        connect: Connect,
    ) -> None:
        self._hub = hub
        self._options = options
        self._clock = hub.clock
        self._total_timeout = options.total_timeout
        self._proxies = options.proxies
        self._on_connect = options.hooks.connect if options.hooks is not None else None
        self._defaults = default_fields(options.user_agent, ACCEPT_ENCODING, options.headers)
        self._tail = "".join([f"{name}: {value}\r\n" for name, value in self._defaults])
        self.lanes = Lanes(hub, per_host=options.per_host, max_open=options.max_open, idle_timeout=options.idle_timeout)
        self._connector = Connector(hub, self.lanes, options, trust=trust, resolve=resolve, connect=connect)
        self._exchange = (RecordingExchange if options.records_exchanges else Exchange)(hub.clock, options)
        self._converse: Converse = self._exchange.converse

    def visit(
        self, trace: Trace, open_sink: OpenSink | None, request: Request | None = None, extra: Fields = ()
    ) -> None:
        """Send one request for the URL of `trace` and receive its answer; no request is a plain GET.

        `extra` are header fields that the request does not name itself. Raises FetchError or PoolTimeout.
        """
        origin, target, _ = trace.url
        lane = self.lanes.by_key.get(origin.key) or self._new_lane(origin)
        message, converse = lane.request_start + target + lane.request_tail, self._converse
        if request is not None:
            message, converse = self._prepared(lane, target, request, extra)
        connection = self.lanes.take(lane, trace.deadline or None)
        trace.ended = self._clock()
        if not trace.deadline:
            trace.started = trace.started or trace.ended
            trace.deadline = trace.ended + self._total_timeout
        self._visit_on(connection, lane, message, trace, open_sink, request or PLAIN, converse)

    def finish(self, unfinished: Unfinished) -> None:
        """Go on with a plain GET that did not come to its end on the short way. Raises as `visit` does."""
        connection, lane, trace, error = unfinished.connection, unfinished.lane, unfinished.trace, unfinished.error
        if isinstance(error, (FetchError, PoolTimeout)):  # there is no connection
            raise error
        message = lane.request_start + trace.url.target + lane.request_tail
        go_on = partial(self._exchange.go_on, unfinished.data, error)
        self._visit_on(connection, lane, message, trace, None, PLAIN, self._converse, go_on)

    def _visit_on(
        self,
        connection: Connection | None,
        lane: Lane,
        message: bytes,
        trace: Trace,
        open_sink: OpenSink | None,
        request: Request,
        converse: Converse,
        go_on: Converse | None = None,
    ) -> None:
        """Converse on an idle connection, or on a new one, and leave the place; `go_on` if the request is sent."""
        lanes = self.lanes
        try:
            if connection is None:
                connection = self.open(lane, trace)
            trace.address = connection.address
            trace.tls_facts = connection.tls_facts
            try:
                is_reusable = (go_on or converse)(connection, message, trace, open_sink)
            except (ConnectionLost, ReadTimeout):
                if not is_stale(connection, trace, request):
                    raise
                lanes.close(connection)  # it was idle for too long: once more, on a new one
                connection = None
                connection = self.open(lane, trace)
                is_reusable = converse(connection, message, trace, open_sink)
        except BaseException:
            if connection is not None:
                lanes.close(connection)
            lanes.leave(lane)
            raise
        if connection.is_fresh:
            self._connector.handshakes.remember(lane, connection)
        if is_reusable:
            lanes.keep(lane, connection, trace.ended)
        else:
            lanes.drop(lane, connection)

    def close(self) -> None:
        """Close all connections."""
        self.lanes.close_all()

    def open(self, lane: Lane, trace: Trace) -> Connection:
        """Open a connection in a place of `lane`. Raises FetchError or PoolTimeout."""
        connection = self._connector.open(lane, trace)
        trace.address = connection.address
        if self._on_connect is not None:
            try:
                self._on_connect(trace)
            except BaseException:
                self.lanes.close(connection)
                raise
        return connection

    def _new_lane(self, origin: Origin) -> Lane:
        proxy = self._proxies.choose(origin) if self._proxies is not None else None
        lane = Lane(origin, b"", proxy=proxy)
        to_proxy = proxy_authorization(proxy) if proxy is not None and lane.prefix else ""
        lane.request_tail = f" HTTP/1.1\r\nHost: {origin.authority}\r\n{self._tail}{to_proxy}\r\n".encode("latin-1")
        self.lanes.add(lane)
        return lane

    def _prepared(self, lane: Lane, target: bytes, request: Request, extra: Fields) -> tuple[bytes, Converse]:
        """Return the head of a request, and what sends it."""
        if lane.prefix and lane.proxy is not None and lane.proxy.credentials is not None:
            name, _, value = proxy_authorization(lane.proxy).rstrip().partition(": ")
            extra = (*extra, (name, value))
        head = request_head(lane.origin, lane.prefix + target, request, self._defaults, extra)
        if request.body is None and request.method != "HEAD":
            return head, self._converse
        return head, partial(self._exchange.converse_fully, request=request)


def is_stale(connection: Connection, trace: Trace, request: Request) -> bool:
    """Tell whether a connection broke because it had been idle for too long, and the request may be sent again."""
    return not connection.is_fresh and trace.first_byte is None and request.can_repeat
