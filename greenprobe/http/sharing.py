"""The transport where servers may speak HTTP/2: exchanges with one origin share connections.

Whether a server does, the first connection to it tells; who comes meanwhile waits for that, and fails as it does: else
they would all knock at a dead server, one after the other. A server that does not is served as `Transport` does it, on
connections of one exchange each.
"""

from typing import Final

from greenprobe.errors import ConnectError, ConnectionLost, DnsError, FetchError, TlsError, TotalTimeout
from greenprobe.http.connections import TlsConnection
from greenprobe.http.exchange import OpenSink
from greenprobe.http.http2 import Http2Session, NotBegun
from greenprobe.http.lanes import Lane
from greenprobe.http.recorded import RecordedTrace
from greenprobe.http.request import Fields, Request, http2_fields, request_head
from greenprobe.http.trace import Trace
from greenprobe.http.transport import PLAIN, Transport
from greenprobe.outcome import AsyncResult

__all__ = ["SharingTransport"]

MAX_TRIES: Final = 3  # of a request, on connections that served nobody
OF_THE_ORIGIN: Final = (ConnectError, DnsError, TlsError)  # what a connection fails with, whoever opens it


class SharingTransport(Transport):
    """A transport that shares connections where it can."""

    def visit(
        self, trace: Trace, open_sink: OpenSink | None, request: Request | None = None, extra: Fields = ()
    ) -> None:
        """Send one request for the URL of `trace` and receive its answer. Raises FetchError or PoolTimeout."""
        origin = trace.url.origin
        lane = self.lanes.by_key.get(origin.key) or self._new_lane(origin)
        can_share = origin.scheme == "https" and lane.can_share is not False
        if not can_share or not self._visit_any(lane, trace, open_sink, request, extra):
            super().visit(trace, open_sink, request, extra)

    def _visit_any(
        self, lane: Lane, trace: Trace, open_sink: OpenSink | None, request: Request | None, extra: Fields
    ) -> bool:
        """Do it on a shared connection, on another where one did nothing about it; False if the server has none.

        Servers that take a few requests and go away are asked for as long as they take some.
        """
        tries = 0
        while True:
            try:
                return self._visit_shared(lane, trace, open_sink, request, extra)
            except (NotBegun, Stale) as exc:
                tries += isinstance(exc, Stale) or not exc.has_served
                if tries >= MAX_TRIES or trace.first_byte is not None or not may_repeat(request, exc):
                    raise ConnectionLost(str(exc)) from exc

    def _visit_shared(
        self, lane: Lane, trace: Trace, open_sink: OpenSink | None, request: Request | None, extra: Fields
    ) -> bool:
        """Do it on a shared connection; False if the server has none."""
        left_with = self.lanes.take(lane, trace.deadline or None)
        if left_with is not None:  # a connection of one exchange: the server has just turned out to have no others
            self.lanes.keep(lane, left_with, self._clock())
            return False
        try:
            trace.ended = self._clock()
            if not trace.deadline:
                trace.started = trace.started or trace.ended
                trace.deadline = trace.ended + self._total_timeout
            session = self._session(lane, trace)
            if session is None:
                return False
            try:
                self._converse_shared(session, lane, trace, open_sink, request, extra)
            finally:
                self.lanes.rest(session)
        finally:
            self.lanes.leave(lane)
        return True

    def _converse_shared(
        self,
        session: Http2Session,
        lane: Lane,
        trace: Trace,
        open_sink: OpenSink | None,
        request: Request | None,
        extra: Fields,
    ) -> None:
        was_fresh = session.connection.is_fresh
        trace.address = session.connection.address
        trace.tls_facts = session.connection.tls_facts
        trace.protocol = "h2"
        if isinstance(trace, RecordedTrace):
            trace.begin(request_head(lane.origin, trace.url.target, request or PLAIN, self._defaults, extra))
        fields = http2_fields(lane.origin, trace.url.target, request or PLAIN, self._defaults, extra)
        try:
            session.converse(fields, trace, open_sink, request)
        except NotBegun:
            raise
        except ConnectionLost as exc:
            if was_fresh or trace.first_byte is not None:
                raise
            raise Stale(str(exc)) from exc
        if was_fresh:
            session.connection.is_fresh = False
            self._connector.handshakes.remember(lane, session.connection)

    def _session(self, lane: Lane, trace: Trace) -> Http2Session | None:
        """Return a session with a place reserved in it; None if the server speaks HTTP/1.1 only."""
        while lane.can_share is not False:
            for session in lane.sessions:
                if session.has_room and isinstance(session, Http2Session):
                    session.reserve()
                    return session
            if lane.is_opening is None:
                return self._open_session(lane, trace)
            try:
                lane.is_opening.wait(max(0.0, trace.deadline - self._clock()))
            except FetchError:
                raise
            except TimeoutError as exc:
                raise TotalTimeout(f"out of time while a connection to {lane.origin.key} was opened") from exc
        return None

    def _open_session(self, lane: Lane, trace: Trace) -> Http2Session | None:
        lane.is_opening = opening = AsyncResult[None]()
        try:
            connection = self.open(lane, trace)
            lane.can_share = isinstance(connection, TlsConnection) and connection.protocol == "h2"
            if not lane.can_share:
                lane.busy += 1  # the place that keep() leaves
                self.lanes.keep(lane, connection, self._clock())
                return None
            session = Http2Session(
                self._hub,
                connection,
                self._exchange,
                key=lane.origin.key,
                max_streams=self._options.max_streams,
                idle_timeout=self._options.idle_timeout,
                on_end=lambda session: self._forget(lane, session),
            )
            try:
                session.start(trace.deadline)
            except BaseException:
                self.lanes.close(connection)
                raise
            session.reserve()
            lane.sessions.append(session)
            return session
        except OF_THE_ORIGIN as exc:
            opening.set_exception(exc)
            raise
        finally:
            lane.is_opening = None
            if not opening.ready():
                opening.set(None)

    def _forget(self, lane: Lane, session: Http2Session) -> None:
        if session in lane.sessions:
            lane.sessions.remove(session)
        self.lanes.close(session.connection)


class Stale(ConnectionLost):
    """A connection that had served before broke before the answer began."""


def may_repeat(request: Request | None, exc: ConnectionLost) -> bool:
    """Tell whether to send a request again that was not answered."""
    if request is None or request.body is None:
        return request is None or isinstance(exc, NotBegun) or request.can_repeat
    return request.body.can_repeat and (isinstance(exc, NotBegun) or request.can_repeat)
