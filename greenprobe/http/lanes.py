"""The pool of connections: a lane for each origin, places in it, and who waits for one.

A lane has at most `per_host` places. Who takes a place gets a connection that waits idle there, or none and opens one;
who finds no place free waits in line. Idle connections are lent last in, first out, so that those over the need grow
old and are closed. All connections of all lanes count against `max_open`: who would open one more closes the oldest
idle one, or waits in line until some connection ends; while anybody waits in that line, connections are closed after
use and not kept. Deciding what to close and doing it are apart (`surplus`, `_trim`). Nothing here opens a connection.
"""

from collections.abc import Callable, Iterable
from ssl import SSLSession
from typing import Final, NamedTuple, Protocol

from greenprobe.errors import PoolTimeout
from greenprobe.http.connections import Address, Connection
from greenprobe.http.proxy import Proxy
from greenprobe.http.urls import Origin
from greenprobe.hub import Hub
from greenprobe.outcome import AsyncResult
from greenprobe.timers import Timer
from greenprobe.waitqueue import WaitQueue

__all__ = ["Lane", "Lanes", "LanesStatistics"]

TRIM_SECONDS: Final = 5.0
MIN_FORGOTTEN: Final = 1024  # so many lanes without a connection are not worth looking for


class Lane:
    """What is known of one origin: its places, its idle connections, its addresses, what every request to it says.

    A plain GET is `request_start`, the target, and `request_tail`. `prefix` stands before the target in every request
    line: nothing, or the origin where a proxy wants to know it.
    """

    __slots__ = (
        "addresses",
        "addresses_until",
        "busy",
        "can_resume",
        "can_share",
        "certificate",
        "certificate_until",
        "handshakes",
        "idle",
        "is_opening",
        "offered_from",
        "origin",
        "prefix",
        "proxy",
        "request_start",
        "request_tail",
        "session",
        "sessions",
        "waiting",
    )

    def __init__(self, origin: Origin, request_tail: bytes, *, proxy: Proxy | None = None) -> None:
        self.origin = origin
        self.proxy = proxy
        self.prefix = origin.key.encode() if proxy is not None and proxy.reads(origin) else b""
        self.request_start = b"GET " + self.prefix
        self.request_tail = request_tail
        self.busy = 0
        self.idle: list[Connection] = []
        self.waiting = WaitQueue()
        self.addresses: list[Address] = []
        self.addresses_until = 0.0
        self.session: SSLSession | None = None
        self.handshakes = 0
        self.offered_from = 0  # the handshake from which on every one was offered the session
        self.can_resume = True  # as far as is known
        self.certificate: bytes | None = None  # DER, to be recognized
        self.certificate_until = 0.0
        self.sessions: list[Shared] = []  # connections that many exchanges share
        self.can_share: bool | None = None
        self.is_opening: AsyncResult[None] | None = None  # somebody is finding out whether there can be one

    def __repr__(self) -> str:
        return f"<Lane {self.origin.key} busy={self.busy} idle={len(self.idle)} waiting={len(self.waiting)}>"


class Shared(Protocol):
    """A connection that many exchanges share, as far as the pool is concerned."""

    connection: Connection

    @property
    def has_room(self) -> bool:
        """Tell whether it takes another exchange."""

    @property
    def is_resting(self) -> bool:
        """Tell whether nothing is under way."""

    def close(self) -> None:
        """Close it."""


class LanesStatistics(NamedTuple):
    """How many there are of each, now."""

    lanes: int
    busy: int
    idle: int
    waiting: int


class Lanes:
    """All lanes of a client, by origin key."""

    def __init__(self, hub: Hub, *, per_host: int, max_open: int, idle_timeout: float = 15.0) -> None:
        self._hub = hub
        self._per_host = per_host
        self._max_open = max_open
        self._idle_timeout = idle_timeout
        self._opening = 0
        self._in_line = 0
        self._line = WaitQueue()  # for one of the `max_open`
        self._forget_at = MIN_FORGOTTEN
        self._open: dict[Connection, Lane] = {}  # in the order they were opened
        self._trimmer: Timer | None = None
        self.by_key: dict[str, Lane] = {}
        self.when_free: Callable[[Lane], None] | None = None  # called when a place was left that nobody waits for

    def add(self, lane: Lane) -> None:
        """Take up a new lane, and forget those that nobody uses once they are many."""
        if len(self.by_key) >= self._forget_at:
            self.by_key = {key: kept for key, kept in self.by_key.items() if kept.busy or kept.idle or kept.sessions}
            self._forget_at = MIN_FORGOTTEN + 2 * len(self.by_key)
        self.by_key[lane.origin.key] = lane

    def take(self, lane: Lane, deadline: float | None = None) -> Connection | None:
        """Take a place: an idle connection, or None if you have to open one. Raises PoolTimeout at `deadline`."""
        if lane.busy >= self._per_host:
            self._wait_for_place(lane, deadline)
        else:
            lane.busy += 1
        while lane.idle:
            connection = lane.idle.pop()
            if not connection.is_over():
                return connection
            self.close(connection)
        return None

    def lend(self, lane: Lane) -> Connection | None:
        """Take a place and the idle connection that is next, if both are at hand and nothing speaks against it.

        Else None, and no place: where TLS is spoken, or the peer has hung up or said something, `take` will look.
        """
        if not lane.idle or lane.busy >= self._per_host:
            return None
        connection = lane.idle[-1]
        if type(connection) is not Connection:
            return None
        side = connection.side
        if side.waiter is not None or side.slot.hangup:
            return None
        lane.busy += 1
        return lane.idle.pop()

    def admit(self, lane: Lane) -> bool:
        """Take a place to open a connection in, if one is free and no connection waits idle, be it good or bad.

        Else, or where TLS is to be spoken, no place.
        """
        if lane.idle or lane.busy >= self._per_host or lane.origin.scheme != "http":
            return False
        lane.busy += 1
        return True

    def keep(self, lane: Lane, connection: Connection, now: float) -> None:
        """Leave the place, and the connection for the next who takes one."""
        if self._in_line:
            self.close(connection)
            self.leave(lane)
            return
        connection.idle_since = now
        connection.is_fresh = False
        lane.idle.append(connection)
        if self._trimmer is None:
            self._trimmer = self._hub.timers.add(now + TRIM_SECONDS, self._trim)
        if lane.waiting or self.when_free is not None:
            self.leave(lane)
        else:
            lane.busy -= 1

    def leave(self, lane: Lane) -> None:
        """Leave the place without a connection."""
        if not lane.waiting or not lane.waiting.wake_one():
            lane.busy -= 1
            if self.when_free is not None:
                self.when_free(lane)

    def drop(self, lane: Lane, connection: Connection) -> None:
        """Leave the place and close its connection."""
        self.close(connection)
        self.leave(lane)

    def is_full(self, key: str) -> bool:
        """Tell whether whoever takes a place in this lane has to wait."""
        lane = self.by_key.get(key)
        return lane is not None and lane.busy >= self._per_host

    def reserve(self, lane: Lane, deadline: float) -> None:
        """Before a connection is opened: make sure that there may be one more. Raises PoolTimeout at `deadline`.

        Afterwards call `opened` or `not_opened`.
        """
        if len(self._open) + self._opening >= self._max_open and not self.close_oldest_idle():
            self._wait_in_line(lane, deadline)
        else:
            self._opening += 1

    def opened(self, lane: Lane, connection: Connection) -> None:
        """Count a connection that was opened in a place of `lane`."""
        self._opening -= 1
        self._open[connection] = lane

    def not_opened(self) -> None:
        """Give back what was reserved."""
        self._opening -= 1
        self._call_line()

    def close_oldest_idle(self) -> bool:
        """Close the idle connection that was opened first; tell whether there was one."""
        for connection, lane in self._open.items():
            if connection in lane.idle:
                lane.idle.remove(connection)
                self.close(connection)
                return True
            resting = [each for each in lane.sessions if each.connection is connection and each.is_resting]
            if resting:
                resting[0].close()
                return True
        return False

    def rest(self, session: Shared) -> None:
        """After an exchange on a shared connection: close it if it was the last one, and somebody waits in line."""
        if self._in_line and session.is_resting:
            session.close()

    def close(self, connection: Connection) -> None:
        """Close a connection and count it no more."""
        was_open = self._open.pop(connection, None) is not None
        connection.close()
        if was_open and self._in_line:
            self._call_line()

    def _trim(self) -> None:
        """Close what has been idle for too long; again in a while, if there is anything left."""
        now = self._hub.clock()
        has_idle = False
        for lane in self.by_key.values():
            for connection in surplus(lane.idle, now - self._idle_timeout):
                lane.idle.remove(connection)
                self.close(connection)
            has_idle |= bool(lane.idle)
        self._trimmer = self._hub.timers.add(now + TRIM_SECONDS, self._trim) if has_idle else None

    def close_all(self) -> None:
        """Close every connection, also those in use."""
        if self._trimmer is not None:
            self._trimmer.cancel()
            self._trimmer = None
        for session in [session for lane in self.by_key.values() for session in lane.sessions]:
            session.close()
        for connection in list(self._open):
            self.close(connection)
        for lane in self.by_key.values():
            lane.idle.clear()

    def statistics(self) -> LanesStatistics:
        """Count lanes and connections."""
        lanes = self.by_key.values()
        return LanesStatistics(
            len(lanes),
            sum(lane.busy for lane in lanes),
            sum(len(lane.idle) for lane in lanes),
            sum(len(lane.waiting) for lane in lanes),
        )

    def _wait_for_place(self, lane: Lane, deadline: float | None) -> None:
        """Wait until whoever leaves hands over the place."""
        waiter = lane.waiting.enrol()
        try:
            if waiter.wait(None if deadline is None else deadline - self._hub.clock()):
                return
        except BaseException:
            if not lane.waiting.withdraw(waiter):
                self.leave(lane)
            raise
        if lane.waiting.withdraw(waiter):
            raise PoolTimeout(f"no connection to {lane.origin.key} became free in time")

    def _wait_in_line(self, lane: Lane, deadline: float) -> None:
        """Wait until whoever closes a connection hands over its count."""
        waiter = self._line.enrol()
        self._in_line += 1
        try:
            if waiter.wait(deadline - self._hub.clock()):
                return
        except BaseException:
            if not self._line.withdraw(waiter):
                self.not_opened()
            raise
        finally:
            self._in_line -= 1
        if self._line.withdraw(waiter):
            raise PoolTimeout(f"{self._max_open:,} connections are open, none to {lane.origin.key} could be in time")

    def _call_line(self) -> None:
        """Let the first in line open a connection, if there may be one more."""
        if len(self._open) + self._opening < self._max_open and self._line.wake_one():
            self._opening += 1


def surplus(idle: Iterable[Connection], limit: float) -> list[Connection]:
    """Return the connections to close: idle since before `limit`, or hung up by the peer."""
    return [connection for connection in idle if connection.idle_since < limit or connection.is_over()]
