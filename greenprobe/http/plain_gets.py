"""The short way of the fetch that long lists consist of: a GET on a connection that waits idle, and its whole answer.

Facts. A fetch may need a connection opened, a place waited for, another attempt, a body taken, decoded and bounded, a
`Trace` of all that. A GET on a kept connection whose answer comes in one piece needs nothing of it, and going past it
all costs as much as the interpreter's part of what it does need.
Choice. `PlainGets.get` sends, waits and reads in one function, and returns an `Answer`. At whatever turns out not to be
plain it stops and returns an `Unfinished`, from which the long way goes on where this one ended: the record is the
same. A sixth of all bytecodes of a fetch, and three frames less that are parked with it.
Price: what is asked of an answer before it counts as plain is asked in `exchange.py` once more.
"""

from typing import Final

from greenprobe.http.connections import Address, Connection
from greenprobe.http.exchange import REDIRECTS
from greenprobe.http.lanes import Lane, Lanes
from greenprobe.http.options import ClientOptions
from greenprobe.http.trace import Trace
from greenprobe.http.urls import Url
from greenprobe.http.wire import Headers, PlainReader
from greenprobe.hub import Hub

__all__ = ["PARTIAL", "Answer", "PlainGets", "Unfinished"]

PARTIAL: Final = 206
UNSETTLED: Final = REDIRECTS | {PARTIAL}  # answers that a fetch may not end with

# Status, headers, bytes of the body, bytes sent and received, the address, and when it began and ended. A bare tuple: a
# NamedTuple takes 0.2 us to make.
Answer = tuple[int, Headers, int, int, int, Address, float, float]


class Unfinished:
    """A GET that was sent and is not plain: who asks, on what, and `data` or an `error` if anything came of it."""

    __slots__ = ("connection", "data", "error", "lane", "trace")

    def __init__(
        self, trace: Trace, lane: Lane, connection: Connection, data: bytes | None, error: OSError | None
    ) -> None:
        self.trace = trace
        self.lane = lane
        self.connection = connection
        self.data = data
        self.error = error


class PlainGets:
    """Goes the short way, for any number of greenthreads of one hub."""

    __slots__ = ("_clock", "_lanes", "_max_body_bytes", "_patience", "_read", "_total_timeout", "_wait")

    def __init__(self, hub: Hub, lanes: Lanes, options: ClientOptions) -> None:
        self._clock = hub.clock
        self._wait = hub.wait
        self._lanes = lanes
        self._read = PlainReader().read
        self._max_body_bytes = options.max_body_bytes
        self._total_timeout = options.total_timeout
        self._patience = min(options.first_byte_timeout or options.read_timeout, options.total_timeout)

    def get(self, url: Url) -> Answer | Unfinished | None:
        """Fetch a URL; None if it has credentials, or if no connection to its origin waits idle: nothing was done."""
        origin, target, credentials = url
        lanes = self._lanes
        lane = lanes.by_key.get(origin.key)
        if lane is None or credentials is not None:
            return None
        connection = lanes.lend(lane)
        if connection is None:
            return None
        message = lane.request_start + target + lane.request_tail
        began = self._clock()
        data = error = None
        try:
            connection.send(message, began + self._total_timeout)
            self._wait(connection.side, began + self._patience)
            data = connection.take()
        except OSError as exc:
            error = exc
        except BaseException:
            lanes.drop(lane, connection)
            raise
        reply = self._read(data) if data else None
        if data and reply is not None:
            ended = self._clock()
            status, headers, start, missing, is_reusable = reply
            size = len(data) - start
            if not (missing or status in UNSETTLED or size > self._max_body_bytes or "content-encoding" in headers):
                if is_reusable:
                    lanes.keep(lane, connection, ended)
                else:
                    lanes.drop(lane, connection)
                return status, headers, size, len(message), len(data), connection.address, began, ended
        return Unfinished(self._trace(url, message, connection, began), lane, connection, data, error)

    def _trace(self, url: Url, message: bytes, connection: Connection, began: float) -> Trace:
        """Return what the long way would have noted by now."""
        trace = Trace(url)
        trace.started = trace.ended = began
        trace.deadline = began + self._total_timeout
        trace.sent_bytes = len(message)
        trace.address = connection.address
        return trace
