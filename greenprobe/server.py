"""A server of stream connections: `StreamServer` accepts, hands each connection to a greenthread, and stops in order.

What a connection does, says or breaks ends that connection only: a handshake that fails is counted, what a handler
raises is reported, and the server serves on. It stops by `stop()`, or when its listener is closed.
"""

import socket as stdlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from ssl import SSLContext
from typing import Any, Final, Self

from greenlet import GreenletExit, getcurrent

from greenprobe.acceptor import connections, hold_off
from greenprobe.arguments import not_callable, whole
from greenprobe.convenience import BACKLOG, listen, take_over
from greenprobe.green_socket import INTERNET, socket
from greenprobe.green_ssl import HANDSHAKE_TIMEOUT, wrap
from greenprobe.greenthread import GreenThread, spawn
from greenprobe.hub import get_hub
from greenprobe.pool import GreenPool
from greenprobe.sync import Event, Semaphore

__all__ = ["Serves", "StreamServer"]

STOP_TIMEOUT: Final = 1.0
KILL_TIMEOUT: Final = 1.0  # for what killed handlers do in their `finally`
Address = Any
Handler = Callable[[socket, Address], object]


class Serves(ABC):
    """What is started and stopped in order: by its methods, as a context manager, or for as long as it serves."""

    @property
    @abstractmethod
    def is_accepting(self) -> bool:
        """Whether it was started and not stopped."""

    @abstractmethod
    def start(self) -> object:
        """Listen, and accept in a greenthread of its own."""

    @abstractmethod
    def stop(self) -> None:
        """Stop accepting, and what runs. Does nothing if it was stopped."""

    @abstractmethod
    def wait_closed(self) -> None:
        """Wait until somebody calls `stop` or closes the listener."""

    def serve_forever(self) -> None:
        """Serve until somebody calls `stop` or closes the listener; then what runs is stopped in order, too."""
        if not self.is_accepting:
            self.start()
        try:
            self.wait_closed()
        finally:
            self.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()


class StreamServer(Serves):
    """Calls `handle(sock, address)` in a greenthread for each connection, and closes the socket afterwards.

    `listener` is an address (host and port, or a path) to listen at from `start` on, or a listening socket, which the
    server then owns. `pool` bounds the handlers: a number, beyond which connections wait in the kernel, or a GreenPool
    that may be shared with others; one connection may wait for a place in that. With `context` it speaks TLS: the
    handshake is made in the connection's greenthread, and may take `handshake_timeout` seconds.

    As a context manager it is started on entry and stopped on exit.
    """

    def __init__(
        self,
        listener: Address | stdlib.socket,
        handle: Handler,
        *,
        pool: int | GreenPool | None = None,
        context: SSLContext | None = None,
        handshake_timeout: float | None = HANDSHAKE_TIMEOUT,
        backlog: int = BACKLOG,
    ) -> None:
        if not callable(handle):
            raise not_callable(handle)
        self.handshake_failures = 0
        self._where = listener
        self._handle = handle
        self._spawn: Callable[..., GreenThread] = spawn
        self._limit: int | None = None
        if isinstance(pool, GreenPool):
            self._spawn = pool.spawn
        elif pool is not None:
            self._limit = whole(pool, 0, "a server of {} handlers at once")
        self._context = context
        self._handshake_timeout = handshake_timeout
        self._backlog = backlog
        self._listener: socket | None = None
        self._address: Address = None
        self._acceptor: GreenThread | None = None
        self._places: Semaphore | None = None
        self._handlers: set[GreenThread] = set()
        self._over = Event()

    def __repr__(self) -> str:
        state = "stopped" if self._acceptor is None else "serving"
        return f"<StreamServer {state} at {self._address!r}, {len(self._handlers)} connections>"

    @property
    def address(self) -> Address:
        """Where it listens, with the real port; None before `start`."""
        return self._address

    @property
    def is_accepting(self) -> bool:
        """Whether it was started and not stopped."""
        return self._acceptor is not None

    @property
    def running(self) -> int:
        """How many connections are being handled."""
        return len(self._handlers)

    # -- start and stop

    def start(self) -> None:
        """Listen, and accept in a greenthread of its own. Raises RuntimeError if it runs, OSError if it cannot."""
        if self._acceptor is not None:
            raise RuntimeError(f"{self!r} is running; stop it before you start it again")
        if isinstance(self._where, stdlib.socket):
            listener = take_over(self._where, backlog=self._backlog)
        else:
            listener = listen(self._where, backlog=self._backlog)
        if listener.family in INTERNET:
            # Connections inherit it. The second part of an answer (TLS 1.3: tickets, then data) would else wait until
            # the peer acknowledges the first, which it may delay (RFC 896; RFC 1122, 4.2.3.2).
            listener.setsockopt(stdlib.IPPROTO_TCP, stdlib.TCP_NODELAY, 1)
        self._listener = listener
        self._address = listener.getsockname()
        self._over.clear()
        places = self._places = None if self._limit is None else Semaphore(self._limit)
        self._acceptor = spawn(self._accept_all, listener, places)
        self._acceptor.link(self._accepted_all)

    def hold_off(self) -> None:
        """Let nobody else connect, for a server that is about to stop; not for listeners that others go on to use."""
        if self._listener is not None:
            hold_off(self._listener)

    def stop_accepting(self) -> None:
        """Close the listener, after what is connected there by now was accepted. The handlers run on."""
        acceptor, self._acceptor = self._acceptor, None
        if acceptor is not None:
            acceptor.kill()
        if self._listener is not None:
            if self._spawn is spawn:  # to wait for a place in a shared pool could take for ever
                self._accept_the_last(self._listener)
            self._listener.close()
            self._listener = None

    def join(self, timeout: float | None = None) -> bool:
        """Wait until no handler runs, but for the caller: True, or False after `timeout` seconds."""
        return join_all(self._handlers - {getcurrent()}, timeout)

    def stop(self, timeout: float | None = STOP_TIMEOUT) -> None:
        """Stop accepting, let the handlers finish for `timeout` seconds (None: for ever), then kill them.

        Called by a handler, it waits for all others. Does nothing if it was stopped.
        """
        self.stop_accepting()
        self._over.set()
        if not self.join(timeout):
            for handler in self._handlers - {getcurrent()}:
                handler.kill()
            self.join(KILL_TIMEOUT)

    def wait_closed(self) -> None:
        """Wait until somebody calls `stop` or closes the listener."""
        self._over.wait()

    # -- accepting

    def _accept_all(self, listener: socket, places: Semaphore | None) -> None:
        if places is not None:
            places.acquire()
        for connection, address in connections(listener):
            self._begin(connection, address, places)
            del connection  # the handler's, while we wait for a place
            if places is not None:
                places.acquire()

    def _accept_the_last(self, listener: socket) -> None:
        """Accept who is connected before the listener closes, if there are places: the kernel would reset them."""
        listener.settimeout(0)
        places = self._places
        try:
            for _ in range(self._backlog):
                if places is not None and not places.acquire(blocking=False):
                    return
                self._begin(*listener.accept(), places)
        except OSError:
            pass  # nobody is left; or the listener was closed

    def _begin(self, connection: socket, address: Address, places: Semaphore | None) -> None:
        try:
            handler = self._spawn(self._serve_one, connection, address)
        except BaseException:
            connection.close()
            raise
        self._handlers.add(handler)
        handler.link(self._end, connection, places)

    def _end(self, handler: GreenThread, connection: socket, places: Semaphore | None) -> None:
        """Clean up after a handler, also after one that was killed before it ran."""
        self._handlers.discard(handler)
        connection.close()
        if places is not None:
            places.release()

    def _accepted_all(self, acceptor: GreenThread) -> None:
        """Note that nobody accepts any more."""
        if acceptor is self._acceptor:
            self._over.set()
        error = acceptor.exception
        if error is not None and not isinstance(error, GreenletExit):
            get_hub().on_error(error)

    # -- serving

    def _serve_one(self, connection: socket, address: Address) -> None:
        try:
            if self._context is None:
                self._handle(connection, address)
            else:
                self._serve_secure(connection, address, self._context)
        except (GreenletExit, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a Timeout that nobody caught, for one
            get_hub().on_error(error)

    def _serve_secure(self, connection: socket, address: Address, context: SSLContext) -> None:
        try:
            secure = wrap(connection, context, server_side=True, handshake_timeout=self._handshake_timeout)
        except OSError:  # silence, a reset, or no TLS at all: the peer's doing, and no news to whoever runs the server
            self.handshake_failures += 1
            return
        with secure:
            self._handle(secure, address)
            secure.farewell()


def join_all(greens: set[GreenThread], timeout: float | None) -> bool:
    """Wait until all have ended: True, or False after `timeout` seconds."""
    clock = get_hub().clock
    deadline = None if timeout is None else clock() + timeout
    return all(green.join(None if deadline is None else max(0.0, deadline - clock())) for green in list(greens))
