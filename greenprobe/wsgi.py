"""`Server`: WSGI applications (PEP 3333) over HTTP/1, each connection in a greenthread of its own.

What one connection does is `wsgi_connection.py`'s; here is what they have in common: where they come from, how many
there may be, and how they end in order. `stop` first lets go of the listener, with what has been connected there
accepted; what runs is finished, with `Connection: close`; a connection that waits for its next request gets a moment
for it, as it may be on its way, and is closed then.
"""

import socket as stdlib
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from socket import MSG_PEEK
from ssl import SSLContext
from typing import Any, Final, TextIO

from greenlet import getcurrent

from greenprobe.green_socket import socket
from greenprobe.green_ssl import HANDSHAKE_TIMEOUT, wrap
from greenprobe.http.forwarded import TrustedProxies
from greenprobe.http.proxy_protocol import MAX_HEADER_BYTES, read_proxy_header
from greenprobe.hub import get_hub
from greenprobe.pool import GreenPool
from greenprobe.server import Serves, StreamServer
from greenprobe.wsgi_connection import Access, Application, Connection, Limits, Site, Timeouts
from greenprobe.wsgi_response import FileWrapper

__all__ = ["Server", "ServerStatistics"]

STOP_TIMEOUT: Final = 30.0
BACKLOG: Final = 2048  # the kernel may allow less
DEFAULT_LIMITS: Final = Limits()
DEFAULT_TIMEOUTS: Final = Timeouts()
IDLE_GRACE: Final = 0.5  # seconds that a connection without a request gets when the server stops

Address = Any


@dataclass(frozen=True, slots=True)
class ServerStatistics:
    """A server's counters: connections now and in all, requests, those refused for what they were, apps that failed."""

    connections: int
    accepted: int
    requests: int
    refused: int
    failures: int
    turned_away: int
    handshake_failures: int


class Server(Serves):
    """Serves `app` at `listener`: an address (host and port, or a path), or a listening socket, which it then owns.

    With `context` it speaks TLS. `log` is called with each request that was answered (see `access_log.py`), `errors` is
    the text stream for tracebacks of the application, `wsgi.errors`, too; standard error if None. `environ` is added to
    what every request gets. `server_header` None sends no Server field. `pool` bounds the connections together with
    other users of that pool.

    `proxies` are believed about the client. With `proxy_protocol` every connection begins with a PROXY header, before
    TLS, and comes from one of `proxies` if those are given. `shares_listener` says that other processes go on to accept
    from the listener when this one stops.

    As a context manager it is started on entry and stopped on exit.
    """

    def __init__(
        self,
        listener: Address | stdlib.socket,
        app: Application,
        *,
        context: SSLContext | None = None,
        limits: Limits = DEFAULT_LIMITS,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        log: Callable[[Access], None] | None = None,
        errors: TextIO | None = None,
        environ: dict[str, Any] | None = None,
        server_header: str | None = "greenprobe",
        proxies: TrustedProxies | None = None,
        proxy_protocol: bool = False,
        pool: GreenPool | None = None,
        shares_listener: bool = False,
        backlog: int = BACKLOG,
    ) -> None:
        self._shares_listener = shares_listener
        self._context = context
        self._limits = limits
        self._site = Site(
            app,
            base_environ(environ or {}, errors, is_secure=context is not None),
            limits=limits,
            timeouts=timeouts,
            server_header=server_header,
            errors=errors,
            log=log,
            proxies=proxies,
        )
        self._proxy_protocol = proxy_protocol
        self._stream = StreamServer(
            listener,
            self._handle,
            pool=limits.connections if pool is None else pool,
            context=None if proxy_protocol else context,  # its header comes before the handshake
            handshake_timeout=min(HANDSHAKE_TIMEOUT, timeouts.head),
            backlog=backlog,
        )
        self._connections: dict[Any, Connection] = {}
        self._clients: Counter[str] = Counter()
        self._accepted = 0
        self._turned_away = 0

    def __repr__(self) -> str:
        return f"<Server at {self._stream.address!r}, {len(self._connections)} connections>"

    @property
    def address(self) -> Address:
        """Where it listens, with the real port; None before `start`."""
        return self._stream.address

    def statistics(self) -> ServerStatistics:
        """Return the counters at this moment."""
        site = self._site
        return ServerStatistics(
            len(self._connections),
            self._accepted,
            site.requests,
            site.refused,
            site.failures,
            self._turned_away,
            self._stream.handshake_failures,
        )

    # -- start and stop

    def start(self) -> None:
        """Listen, and accept in a greenthread of its own. Raises RuntimeError if it runs, OSError if it cannot."""
        self._stream.start()
        self._site.closing = False
        self._site.environ.update(server_variables(self._stream.address, is_secure=self._context is not None))

    def stop(self, timeout: float | None = STOP_TIMEOUT) -> None:
        """Stop in order: accept no more, finish what runs for `timeout` seconds (None: for ever), then kill it."""
        clock = get_hub().clock
        began = clock()
        self._site.closing = True
        if self._shares_listener:
            self._stream.stop_accepting()  # who comes is another's to serve
        else:
            self._stream.hold_off()
        self._stream.join(IDLE_GRACE if timeout is None else min(IDLE_GRACE, timeout))
        self._stream.stop_accepting()
        for green, connection in list(self._connections.items()):
            if connection.idle and green is not getcurrent():
                green.kill()
        self._stream.stop(None if timeout is None else max(0.0, timeout - (clock() - began)))

    @property
    def is_accepting(self) -> bool:
        """Whether it was started and not stopped."""
        return self._stream.is_accepting

    def wait_closed(self) -> None:
        """Wait until somebody calls `stop` or closes the listener."""
        self._stream.wait_closed()

    # -- serving

    def _handle(self, sock: socket, address: Address) -> None:
        self._accepted += 1
        variables = client_variables(address)
        if self._proxy_protocol:
            self._handle_proxied(sock, variables)
        else:
            self._admit(sock, variables)

    def _handle_proxied(self, sock: socket, variables: dict[str, Any]) -> None:
        """Learn from the PROXY header who the client is; then the handshake is made, if there is to be one."""
        proxies = self._site.proxies
        if proxies is not None and not proxies.trusts(variables["REMOTE_ADDR"]):
            self._turned_away += 1
            return
        try:
            variables.update(receive_proxy_header(sock, self._site.timeouts.head))
            secure = None if self._context is None else wrap(sock, self._context, server_side=True)
        except OSError:
            self._turned_away += 1
            return
        if secure is None:
            self._admit(sock, variables)
            return
        with secure:
            self._admit(secure, variables)
            secure.farewell()

    def _admit(self, sock: socket, variables: dict[str, Any]) -> None:
        """Serve a connection unless its client has too many."""
        if self._limits.connections_per_client is None:
            self._serve(sock, variables)
            return
        client = variables["REMOTE_ADDR"]
        if self._clients[client] >= self._limits.connections_per_client:
            self._turned_away += 1
            return
        self._clients[client] += 1
        try:
            self._serve(sock, variables)
        finally:
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]

    def _serve(self, sock: socket, variables: dict[str, Any]) -> None:
        me = getcurrent()
        connection = self._connections[me] = Connection(self._site, sock, variables)
        try:
            connection.serve()
        finally:
            del self._connections[me]


def receive_proxy_header(sock: socket, timeout: float) -> dict[str, Any]:
    """Take the PROXY header off a connection, and not a byte more; return what the environ says of the client.

    All of it has `timeout` seconds to come. Raises BadRequest, OSError, TimeoutError.
    """
    clock = get_hub().clock
    deadline = clock() + timeout
    received = b""
    while True:
        sock.settimeout(max(0.001, deadline - clock()))
        seen = sock.recv(MAX_HEADER_BYTES, MSG_PEEK)
        if not seen:
            raise ConnectionResetError("the connection ended before its PROXY header")
        header = read_proxy_header(received + seen)
        if header is not None:
            break
        received += sock.recv(len(seen))  # all of it belongs to the header
    sock.recv(header.size - len(received))
    return {} if header.client is None else client_variables(header.client)


def base_environ(extra: dict[str, Any], errors: TextIO | None, *, is_secure: bool) -> dict[str, Any]:
    """Return what the environ of every request begins with."""
    return {
        "SCRIPT_NAME": "",
        "SERVER_SOFTWARE": "greenprobe",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https" if is_secure else "http",
        "wsgi.errors": sys.stderr if errors is None else errors,
        "wsgi.multithread": True,  # another request may run whenever this one waits
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "wsgi.file_wrapper": FileWrapper,
        **extra,
    }


def server_variables(address: Address, *, is_secure: bool) -> dict[str, str]:
    """Return what the environ says of the listener; a Unix socket has no port, so it gets the scheme's own."""
    if isinstance(address, tuple):
        return {"SERVER_NAME": address[0], "SERVER_PORT": str(address[1])}
    return {"SERVER_NAME": "localhost", "SERVER_PORT": "443" if is_secure else "80"}


def client_variables(address: Address) -> dict[str, Any]:
    """Return what the environ says of the client; nobody knows the one at the other end of a Unix socket."""
    if isinstance(address, tuple):
        return {"REMOTE_ADDR": address[0], "REMOTE_PORT": str(address[1])}
    return {"REMOTE_ADDR": "", "REMOTE_PORT": ""}
