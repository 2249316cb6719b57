"""The short way of the fetch that long lists consist of: a GET over plain TCP, and its whole answer.

Facts. A fetch may need a name looked up, a place waited for, another attempt, a body taken, decoded and bounded, a
`Trace` of all that. A GET whose answer comes in one piece needs nothing of it, and going past it all costs as much as
the interpreter's part of what it does need.
Choice. `PlainGets.get` takes a connection that waits idle, or opens one, sends, waits and reads in one function, and
returns an `Answer`. At whatever turns out not to be plain it stops and returns an `Unfinished`, from which the long way
goes on where this one ended: the record is the same. A sixth of all bytecodes of a fetch, and three frames less that
are parked with it.
Price: what is asked of an answer before it counts as plain is asked in `exchange.py` once more.
"""

from collections.abc import Callable
from typing import Final

from greenprobe.errors import FetchError, PoolTimeout
from greenprobe.http.connections import Address, Connection
from greenprobe.http.exchange import REDIRECTS
from greenprobe.http.lanes import Lane, Lanes
from greenprobe.http.options import ClientOptions
from greenprobe.http.trace import Trace
from greenprobe.http.urls import Url
from greenprobe.http.wire import Headers, PlainReader, PlainReply, read_plain
from greenprobe.hub import Hub

__all__ = ["PARTIAL", "Answer", "PlainGets", "Unfinished"]

PARTIAL: Final = 206
UNSETTLED: Final = REDIRECTS | {PARTIAL}  # answers that a fetch may not end with

# Seconds for DNS, connecting and TLS, None if there was none; to the first byte, and in all.
Elapsed = tuple[float | None, float | None, None, float, float]

# Status, headers, bytes of the body, bytes sent and received, the address, how long what took, and when it ended. A
# bare tuple: a NamedTuple takes 0.2 us to make.
Answer = tuple[int, Headers, int, int, int, Address, Elapsed, float]

Error = OSError | FetchError | PoolTimeout

# Opens a connection in a place of the lane and notes in the trace how long what took. Raises FetchError or PoolTimeout.
Open = Callable[[Lane, Trace], Connection]


class Unfinished:
    """A GET that is not plain: who asks, on what, and `data` or an `error` if anything came of it.

    It was sent, unless there is no connection, and no place either: then `error` says why.
    """

    __slots__ = ("connection", "data", "error", "lane", "trace")

    def __init__(
        self, trace: Trace, lane: Lane, connection: Connection | None, data: bytes | None, error: Error | None
    ) -> None:
        self.trace = trace
        self.lane = lane
        self.connection = connection
        self.data = data
        self.error = error


class PlainGets:
    """Goes the short way, for any number of greenthreads of one hub."""

    __slots__ = ("_clock", "_lanes", "_max_body_bytes", "_open", "_patience", "_read", "_total_timeout", "_wait")

    def __init__(self, hub: Hub, lanes: Lanes, options: ClientOptions, open_connection: Open) -> None:
        self._clock = hub.clock
        self._wait = hub.wait
        self._lanes = lanes
        self._open = open_connection
        self._read = PlainReader(self._read_whole).read
        self._max_body_bytes = options.max_body_bytes
        self._total_timeout = options.total_timeout
        self._patience = min(options.first_byte_timeout or options.read_timeout, options.total_timeout)

    def get(self, url: Url) -> Answer | Unfinished | None:
        """Fetch a URL; None if it is none for the short way: nothing was done."""
        origin, target, credentials = url
        lanes = self._lanes
        lane = lanes.by_key.get(origin.key)
        if lane is None or credentials is not None:
            return None
        connection, trace = lanes.lend(lane), None
        if connection is None:
            if not lanes.admit(lane):
                return None
            trace = Trace(url)
            try:
                connection = self._opened(lane, trace)
            except (FetchError, PoolTimeout) as exc:
                return Unfinished(trace, lane, None, None, exc)
        message = lane.request_start + target + lane.request_tail
        began = self._clock() if trace is None else trace.ended
        data: bytes | None = None
        error: Error | None = None
        try:
            if trace is None:
                connection.send(message, began + self._total_timeout)
                self._wait(connection.side, began + self._patience)
                data = connection.take()
            else:
                connection.send(message, trace.deadline)
                data = connection.receive(min(began + self._patience, trace.deadline))
        except OSError as exc:
            error = exc
        except BaseException:
            lanes.drop(lane, connection)
            raise
        if data and (reply := self._read(data)) is not None:
            ended = self._clock()
            status, headers, start, _, is_reusable = reply
            if is_reusable:
                lanes.keep(lane, connection, ended)
            else:
                lanes.drop(lane, connection)
            seconds = ended - began
            elapsed = (None, None, None, seconds, seconds) if trace is None else _elapsed(trace, seconds, ended)
            return status, headers, len(data) - start, len(message), len(data), connection.address, elapsed, ended
        if trace is None:
            trace = self._trace(url, began)
        trace.address = connection.address
        trace.sent_bytes = len(message)
        return Unfinished(trace, lane, connection, data, error)

    def _read_whole(self, data: bytes) -> PlainReply | None:
        """Read an answer that is all there, and that a fetch may end with."""
        reply = read_plain(data)
        if reply is None:
            return None
        status, headers, start, missing, _ = reply
        goes_on = missing or status in UNSETTLED or "content-encoding" in headers
        return None if goes_on or len(data) - start > self._max_body_bytes else reply

    def _opened(self, lane: Lane, trace: Trace) -> Connection:
        """Open a connection in the place that was taken, or leave it."""
        trace.started = trace.ended = self._clock()
        trace.deadline = trace.started + self._total_timeout
        try:
            return self._open(lane, trace)
        except BaseException:
            self._lanes.leave(lane)
            raise

    def _trace(self, url: Url, began: float) -> Trace:
        """Return what the long way would have noted by now of a fetch on an idle connection."""
        trace = Trace(url)
        trace.started = trace.ended = began
        trace.deadline = began + self._total_timeout
        return trace


def _elapsed(trace: Trace, first_byte: float, ended: float) -> Elapsed:
    """Return how long what took on a connection that was opened for it."""
    return trace.dns, trace.connect, None, first_byte, ended - trace.started
