"""Asking over UDP: sockets that are connected to the server, so that the kernel drops what others send.

Facts. A forger has to guess the source port and the id. A socket for each query makes the port random each time, and
costs as much as all the rest of a query. Choice: queries that are under way at the same time share a socket, up to
QUERIES of them in its life; the next one gets a new socket, with another random port. So a forger still needs both
numbers, which hold for milliseconds, and a lone query has a port of its own. With that many replies on their way our
receive buffer cannot overflow, either.

Price: RFC 5452, section 9.2, wants queries at the same time on several ports. What that is against is many queries with
one question to aim at, and a `Resolver` never asks what is under way; and as a socket is connected to one server, no
other server that we ask learns its port.

How many queries may be under way to one server is `flow.py`'s. Who finds the window full waits in line, first come,
first served; that wait counts for the query's timeout only if the server is silent.
"""

from _socket import socket as KernelSocket  # noqa: N812 - a class
from functools import partial
from select import EPOLLIN
from socket import AF_INET, AF_INET6, AI_NUMERICHOST, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, getaddrinfo
from typing import Final

from greenlet import GreenletExit

from greenprobe.dns.flow import Window
from greenprobe.dns.inflight import NEVER, Call, Came, InFlight, Waiting
from greenprobe.greenthread import spawn_n
from greenprobe.hub import Hub
from greenprobe.waitqueue import WaitQueue

__all__ = ["Crowd", "UdpPath"]

QUERIES: Final = 128
MAX_DATAGRAM_BYTES: Final = 4096  # more than EDNS asks for; what is longer is cut, and malformed
KIND: Final = SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC
FAIR: Final = 256  # messages that may be read in a row

libc_getaddrinfo = getaddrinfo


class UdpChannel(InFlight):
    """One socket. It is closed when nobody waits for a reply any more."""

    def __init__(self, hub: Hub, host: str, port: int) -> None:
        super().__init__(hub)
        self.left = QUERIES
        self.is_open = True
        self._sock = KernelSocket(AF_INET6 if ":" in host else AF_INET, KIND)
        try:
            self._sock.connect(socket_address(host, port))
        except BaseException:
            self._sock.close()
            raise
        self._slot = hub.poller.adopt(self._sock.fileno())
        spawn_n(self._read)

    def ask(self, query: bytes, asked: bytes, deadline: float, *, keeps_case: bool) -> bytes:
        """Send a query (without its id) and return the reply. Raises OSError, TimeoutError."""
        return self.await_reply(*self.send(query, asked, deadline, keeps_case=keeps_case))

    def send(
        self, query: bytes, asked: bytes, deadline: float, *, keeps_case: bool, call: Call | None = None
    ) -> tuple[bytes, Waiting]:
        """Send a query (without its id); return what to wait for, if it is not `call` that gets it. Raises OSError."""
        self.left -= 1
        if deadline < self.next_deadline < NEVER:
            self.wake_reader()  # it would wait for too long now
        number, waiting = self.enrol(asked, deadline, keeps_case=keeps_case, call=call)
        try:
            self._sock.send(number + query)
        except OSError:
            self.waiting.pop(number, None)
            raise
        return number, waiting

    def wake_reader(self) -> None:
        """Have the reader look at who waits, and for how long."""
        self.hub.poller.mark([(self._slot.fd, EPOLLIN)])

    def abandon(self) -> None:
        """End the queries whose replies a function waits for. Greenthreads are killed by who knows them."""
        self.fail(lambda waiting: None if waiting.call is None else GreenletExit())
        if self.is_open and not self.waiting:
            self.wake_reader()

    def _read(self) -> None:
        hub = self.hub
        try:
            while self.waiting or self._linger():
                if hub.wait(self._slot.read, self.next_deadline):
                    while not self._has_taken_all():
                        hub.sleep(0)
                if hub.clock() >= self.next_deadline:
                    self.expire(hub.clock())
        except OSError as error:  # the kernel refuses to watch one more descriptor
            self.fail_all(error)
        finally:
            self.is_open = False
            hub.poller.recycle(self._slot)
            self._sock.close()

    def _linger(self) -> bool:
        """Let those run who got a reply; tell whether they have another query."""
        self.next_deadline = NEVER
        if self.left > 0:
            self.hub.sleep(0)
        return bool(self.waiting)

    def _has_taken_all(self) -> bool:
        """Read what is there; False if that is too much for one turn."""
        receive = self._sock.recv
        deliver = self.deliver
        for _ in range(FAIR):
            try:
                deliver(receive(MAX_DATAGRAM_BYTES))
            except BlockingIOError:
                return True
            except OSError as error:  # an ICMP message: nobody listens there, or no way leads there
                self.fail_all(error)
        return False


class Crowd:
    """How many greenthreads stand in line for a place, at all servers of an asker."""

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        self.waiting = 0


class UdpPath:
    """The way to one server, for the greenthreads of one hub."""

    def __init__(self, hub: Hub, host: str, port: int, crowd: Crowd | None = None) -> None:
        self._hub = hub
        self._crowd = crowd if crowd is not None else Crowd()
        self._host = host
        self._port = port
        self._channels: list[UdpChannel] = []  # that are open; the last one gets the next query
        self._under_way = 0
        self._line = WaitQueue()
        self._heard = float("-inf")  # when the server last answered
        self.window = Window()

    def exchange(self, query: bytes, asked: bytes, timeout: float, *, keeps_case: bool = False) -> bytes:
        """Send a query (without its id); return the reply. Raises OSError, TimeoutError after `timeout` seconds."""
        hub = self._hub
        began = came = hub.clock()
        if self._under_way >= self.window.size or self._line:
            self._wait_for_place(timeout)
            began = hub.clock()
        else:
            self._under_way += 1
        deadline = (began if self._heard >= came else came) + timeout
        try:
            if deadline <= began:
                raise TimeoutError("timed out")
            reply = self._open().ask(query, asked, deadline, keeps_case=keeps_case)
        except TimeoutError:
            self.window.lost()
            raise
        finally:
            self._leave()
        self._heard = now = hub.clock()
        self.window.answered(now - began)
        return reply

    def begin(self, query: bytes, asked: bytes, timeout: float, call: Call, *, keeps_case: bool = False) -> bool:
        """Send a query as `exchange` does, and have `call` get what comes; False if there is no place for it.

        `call` must not wait. Raises OSError.
        """
        if self._under_way >= self.window.size or self._line:
            return False
        began = self._hub.clock()
        self._under_way += 1
        try:
            landed = partial(self._landed, began, call)
            self._open().send(query, asked, began + timeout, keeps_case=keeps_case, call=landed)
        except BaseException:
            self._leave()
            raise
        return True

    def close(self) -> None:
        """End what was begun. The socket is closed when nobody waits for it any more."""
        for channel in self._channels:
            channel.abandon()

    def _open(self) -> UdpChannel:
        """Return a socket that has not had all its queries."""
        channels = self._channels
        if not channels or not channels[-1].is_open or channels[-1].left <= 0:
            channels[:] = [channel for channel in channels if channel.is_open]
            channels.append(UdpChannel(self._hub, self._host, self._port))
        return channels[-1]

    def _landed(self, began: float, call: Call, came: Came) -> None:
        """Note how a query that was begun ended, and hand it on."""
        if isinstance(came, bytes):
            self._heard = now = self._hub.clock()
            self.window.answered(now - began)
        elif isinstance(came, TimeoutError):
            self.window.lost()
        self._leave()
        call(came)

    def _wait_for_place(self, timeout: float) -> None:
        """Wait in line for a place, which is counted then. As long as the server answers, the time does not count."""
        waiter = self._line.enrol()
        self._crowd.waiting += 1
        try:
            while not waiter.wait(timeout):
                if self._hub.clock() - self._heard > timeout:
                    raise TimeoutError("timed out")
        except BaseException:
            if not self._line.withdraw(waiter):
                self._leave()  # it was given to us already
            raise
        finally:
            self._crowd.waiting -= 1

    def _leave(self) -> None:
        """Give a place back, to who waits longest."""
        self._under_way -= 1
        while self._line and self._under_way < self.window.size and self._line.wake_one():
            self._under_way += 1


def socket_address(host: str, port: int) -> tuple[object, ...]:
    """Return the socket address of a numeric host; the scope of an IPv6 one becomes a number."""
    if "%" not in host:
        return host, port
    return libc_getaddrinfo(host, port, type=SOCK_DGRAM, flags=AI_NUMERICHOST)[0][4]
