"""eventlet.wsgi: `server`, with eventlet's arguments, environ keys and log lines, over greenprobe's connections.

What differs: requests are read strictly, and their heads have to come within a minute. `body_length` in the log counts
the body alone. A `protocol` of one's own is not used, as nothing here is a BaseHTTPRequestHandler.
"""

import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from email.utils import formatdate
from errno import ECONNRESET, EPIPE, ESHUTDOWN
from http import server as BaseHTTPServer  # noqa: N812 - programs take it from here
from logging import Logger
from typing import Any, Final

from greenlet import GreenletExit, getcurrent

from greenprobe.acceptor import connections as accepted
from greenprobe.compat.eventlet.corolocal import local
from greenprobe.compat.eventlet.greenpool import GreenPool
from greenprobe.compat.eventlet.timeout import Timeout
from greenprobe.convenience import take_over
from greenprobe.errors import BadRequest
from greenprobe.green_ssl import SSLSocket
from greenprobe.greenthread import kill
from greenprobe.http.request_head import HeadLimits, RequestHead, header_pairs
from greenprobe.http.response_head import Pairs
from greenprobe.wsgi import base_environ, client_variables, server_variables
from greenprobe.wsgi_connection import Connection, Limits, Site, Timeouts
from greenprobe.wsgi_input import Input as Body
from greenprobe.wsgi_response import Response

__all__ = [
    "ALREADY_HANDLED",
    "BROKEN_SOCK",
    "DEFAULT_LOG_FORMAT",
    "BaseHTTPServer",
    "ChunkReadError",
    "HttpProtocol",
    "Input",
    "Server",
    "format_date_time",
    "server",
]

DEFAULT_MAX_SIMULTANEOUS_REQUESTS: Final = 1024
DEFAULT_MAX_HTTP_VERSION: Final = "HTTP/1.1"
MAX_REQUEST_LINE: Final = 8192
MAX_HEADER_LINE: Final = 8192
MAX_TOTAL_HEADER_SIZE: Final = 65536
MINIMUM_CHUNK_SIZE: Final = 4096
HEAD_TIMEOUT: Final = 60.0
DEFAULT_LOG_FORMAT: Final = (
    '%(client_ip)s - - [%(date_time)s] "%(request_line)s" %(status_code)s %(body_length)s %(wall_seconds).6f'
)
MONTHS: Final = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
FAILED: Final = (Exception, Timeout)
SERVER_ONLY: Final = frozenset({"sock", "site", "log", "max_size", "server_event", "custom_pool"})  # not of a Server
BROKEN_SOCK: Final = {EPIPE, ESHUTDOWN, ECONNRESET}
STATE_IDLE, STATE_REQUEST, STATE_CLOSE = "idle", "request", "close"

is_accepting = True  # set it to False, and every server ends after its next connection


class _WSGILocal(local):
    already_handled = False


WSGI_LOCAL = _WSGILocal()  # `.already_handled = True` says that the application has answered on the socket itself
ALREADY_HANDLED: list[bytes] = []
ChunkReadError = BadRequest  # raised by reads of a body that is not what its head said
App = Callable[..., Iterable[bytes]]


def format_date_time(timestamp: float) -> str:
    """Return a Unix time as an HTTP date."""
    return formatdate(timestamp, usegmt=True)


class HttpProtocol:
    """The default of `server(protocol=...)`. It does nothing; see the top."""


class LogLines:
    """Where lines go: a Logger, or anything with `write`; nowhere for None."""

    def __init__(self, log: Any, *, debug: bool) -> None:
        self._log = log
        self._debug = debug

    def info(self, message: str, *args: object) -> None:
        """Write a line."""
        if isinstance(self._log, Logger):
            self._log.info(message, *args)
        elif self._log is not None:
            self._log.write((message % args if args else message) + "\n")

    error = info

    def debug(self, message: str, *args: object) -> None:
        """Write a line if the server runs with `debug`, or as the Logger is set."""
        if isinstance(self._log, Logger):
            self._log.debug(message, *args)
        elif self._debug:
            self.info(message, *args)


class Input:
    """`wsgi.input` with what eventlet adds to it."""

    def __init__(self, connection: Connection, response: Response, body: Body, *, expects_continue: bool) -> None:
        self._connection = connection
        self._response = response
        self._body = body
        self._owes_continue = expects_continue
        self._continue_headers: Pairs = []
        self.chunked_input = False
        self.content_length: int | None = None
        self.readline = body.readline
        self.readlines = body.readlines
        if body.body.is_announced:
            body.body.announce(self._say_continue)

    def _say_continue(self) -> None:
        self._owes_continue = False
        self.send_hundred_continue_response()

    def read(self, length: int | None = None) -> bytes:
        """Read up to `length` bytes; all of the body if that is None or negative."""
        return self._body.read(-1 if length is None else length)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.read, b"")

    def get_socket(self) -> Any:
        """Return the connection's socket."""
        return self._connection.sock

    def set_hundred_continue_response_headers(self, headers: Pairs, capitalize_response_headers: bool = True) -> None:
        """Say what fields the 100 Continue has that the first read sends."""
        self._continue_headers = [(capitalized(name), value) for name, value in headers]
        if not capitalize_response_headers:
            self._continue_headers = list(headers)

    def send_hundred_continue_response(self) -> None:
        """Send a 100 Continue now; more than one may be sent before the answer, and the first read sends one, too."""
        if self._response.head_sent:
            return
        lines = "".join(f"{name}: {value}\r\n" for name, value in self._continue_headers)
        self._connection.send(b"HTTP/1.1 100 Continue\r\n" + lines.encode("latin-1") + b"\r\n")

    @property
    def should_send_hundred_continue(self) -> bool:
        """Whether the client still waits for a 100 Continue."""
        return self._owes_continue and self._body.body.is_announced

    def discard(self, buffer_size: int = 16 << 10) -> None:
        """Read what is left of the body, to nowhere."""
        while self.read(buffer_size):
            pass


def capitalized(name: str) -> str:
    """Return Foo-Bar for fOO-bAR."""
    return "-".join(part.capitalize() for part in name.split("-"))


class Server:
    """What `server` was asked for. Programs get it by the `server_event` argument, or make one of their own.

    Such a program accepts connections itself, and calls `process_request` for each, in a greenthread.
    """

    def __init__(
        self,
        socket: Any,
        address: Any,
        app: App,
        log: Any = None,
        environ: dict[str, Any] | None = None,
        max_http_version: str | None = None,
        protocol: Any = HttpProtocol,
        minimum_chunk_size: int | None = None,
        log_x_forwarded_for: bool = True,
        keepalive: bool | float = True,
        log_output: bool = True,
        log_format: str = DEFAULT_LOG_FORMAT,
        url_length_limit: int = MAX_REQUEST_LINE,
        debug: bool = True,
        socket_timeout: float | None = None,
        capitalize_response_headers: bool = True,
    ) -> None:
        self.socket = socket
        self.address = address
        self.app = app
        self.pid = os.getpid()
        where_to = None if not log_output else sys.stderr if log is None else log
        self.log = LogLines(where_to, debug=debug and log_output)
        self.environ: dict[str, Any] = environ or {}
        self.keepalive = keepalive
        self.log_output = log_output
        self.log_format = log_format
        self.log_x_forwarded_for = log_x_forwarded_for
        self.minimum_chunk_size = MINIMUM_CHUNK_SIZE if minimum_chunk_size is None else int(minimum_chunk_size)
        self.debug = debug
        self.socket_timeout = socket_timeout
        self.capitalize_response_headers = capitalize_response_headers
        self.max_http_version = max_http_version or DEFAULT_MAX_HTTP_VERSION
        self.url_length_limit = url_length_limit
        self.protocol = protocol
        self._shared: Site | None = None

    def process_request(self, conn_state: Any) -> None:
        """Serve a connection to its end, and close it. `conn_state` is [address, socket, state]."""
        address, sock = conn_state[:2]
        if self._shared is None:
            self._shared = self.site()
        try:
            Connection(self._shared, sock, client_of(address)).serve()
        finally:
            sock.close()

    def get_environ(self) -> dict[str, Any]:
        """Return what the environ of every request begins with."""
        is_secure = isinstance(self.socket, SSLSocket)
        found = base_environ({"GATEWAY_INTERFACE": "CGI/1.1"}, None, is_secure=is_secure)
        if is_secure:
            found["HTTPS"] = "on"
        return found | server_variables(self.socket.getsockname(), is_secure=is_secure) | self.environ

    def site(self) -> Site:
        """Return what all connections share."""
        keepalive = self.keepalive
        idle = self.socket_timeout if keepalive is True or not keepalive else float(keepalive)
        site = Site(
            self.answer,
            self.get_environ(),
            limits=Limits(
                HeadLimits(self.url_length_limit, MAX_TOTAL_HEADER_SIZE), body_bytes=None, min_body_bytes_per_s=None
            ),
            timeouts=Timeouts(min(HEAD_TIMEOUT, self.socket_timeout or HEAD_TIMEOUT), idle, self.socket_timeout),
            server_header=None,
            errors=None,
            log=None,
        )
        site.closing = not keepalive or self.max_http_version == "HTTP/1.0"
        return site

    def answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> "Exchange":
        """Be the WSGI application of the connections: the one that was given, with eventlet's ways around it."""
        exchange = Exchange(self, environ, start_response)
        exchange.begin()
        return exchange


class Exchange:
    """One request and its answer."""

    def __init__(self, server: Server, environ: dict[str, Any], start_response: Callable[..., Any]) -> None:
        self._server = server
        self._environ = environ
        self._start_response = start_response
        self._began = time.time()
        self._connection: Connection = environ["greenprobe.connection"]
        self._request: RequestHead = environ["greenprobe.request"]
        self._response: Response = environ["greenprobe.response"]
        self._result: Any = ()
        self._status = 200
        self._has_length = False
        self._headers: Pairs = []
        self._hooks: list[tuple[Callable[..., Any], Any, Any]] = []
        self._add_keys()

    def _add_keys(self) -> None:
        environ, request = self._environ, self._request
        body = Input(self._connection, self._response, environ["wsgi.input"], expects_continue=request.expects_continue)
        body.chunked_input = request.length is None
        body.content_length = request.length
        environ["wsgi.input"] = environ["eventlet.input"] = self._input = body
        environ["eventlet.posthooks"] = self._hooks
        environ["eventlet.set_idle"] = self._connection.set_idle
        environ["headers_raw"] = tuple(header_pairs(request.lines))
        environ["RAW_PATH_INFO"] = request.target.partition("?")[0]
        environ.setdefault("CONTENT_TYPE", "text/plain")
        if "?" not in request.target:
            del environ["QUERY_STRING"]

    def begin(self) -> None:
        """Call the application."""
        WSGI_LOCAL.already_handled = False
        try:
            self._result = self._server.app(self._environ, self.start)
            if WSGI_LOCAL.already_handled or self._result is ALREADY_HANDLED:
                self._connection.hijack()
                return
            if hasattr(self._result, "__len__") and self._status and not self._response.head_sent:
                self._result = [b"".join(encoded(data) for data in self._result)] if self._result else []
                self._add_length(sum(map(len, self._result)))
        except FAILED as error:
            self._fail(error)

    def _add_length(self, size: int) -> None:
        if not self._has_length and self._status not in (204, 304):
            self._headers.append(("Content-Length", str(size)))

    def start(self, status: str, headers: Pairs, exc_info: Any = None) -> Callable[[bytes], None]:
        """Be `start_response`; it may be called again until something is sent."""
        if exc_info is not None and self._response.head_sent:
            raise exc_info[1].with_traceback(exc_info[2])
        self._status = int(status.split(" ", 1)[0])
        if self._server.capitalize_response_headers:
            headers = [(capitalized(name), value) for name, value in headers]
        self._headers = [(name, str(value)) for name, value in headers]
        self._has_length = any(name.lower() == "content-length" for name, _ in headers)
        self._response.status = ""
        write: Callable[[bytes], None] = self._start_response(status, self._headers)
        return write

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._pieces()
        except FAILED as error:
            self._fail(error)
            if self._connection.broken:
                raise
            yield from self._result

    def _pieces(self) -> Iterator[bytes]:
        """Yield what the application yields, in pieces that are not too small."""
        least = int(self._environ.get("eventlet.minimum_write_chunk_size", self._server.minimum_chunk_size))
        if self._server.max_http_version == "HTTP/1.0":
            least = sys.maxsize
        gathered: list[bytes] = []
        size = 0
        for data in self._result:
            if data:
                gathered.append(encoded(data))
                size += len(data)
                if size >= least:
                    yield b"".join(gathered)
                    gathered, size = [], 0
        if gathered:
            if self._server.max_http_version == "HTTP/1.0" and not self._response.head_sent:
                self._add_length(size)
            yield b"".join(gathered)

    def _fail(self, error: BaseException) -> None:
        """Log what the application raised, and answer with a 500 if that is still possible."""
        lines = "".join(traceback.format_exception(error))
        self._server.log.info(lines)
        if self._response.head_sent or self._connection.broken:
            self._connection.broken = True
            self._result = ()
            return
        body = lines.encode() if self._server.debug else b""
        self.start("500 Internal Server Error", [("Content-type", "text/plain"), ("Connection", "close")])
        self._headers.append(("Content-Length", str(len(body))))
        self._result = [body] if body else []

    def close(self) -> None:
        """End it: close the result, run the hooks, write the log line."""
        close = getattr(self._result, "close", None)
        if close is not None:
            close()
        seconds = time.time() - self._began
        for hook, args, kwargs in self._hooks:
            hook(self._environ, *args, **kwargs)
        if self._server.log_output:
            self._server.log.info(self._log_line(seconds))

    def _log_line(self, seconds: float) -> str:
        request = self._request
        host, port = self._environ["REMOTE_ADDR"], self._environ["REMOTE_PORT"]
        if self._server.log_x_forwarded_for:
            forwarded = self._environ.get("HTTP_X_FORWARDED_FOR", "").replace(" ", "")
            host = f"{forwarded},{host}" if forwarded else host
        now = time.localtime()
        stamp = (
            f"{now.tm_mday:02}/{MONTHS[now.tm_mon - 1]}/{now.tm_year} {now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02}"
        )
        return str(
            self._server.log_format
            % {
                "client_ip": host,
                "client_port": port,
                "date_time": stamp,
                "request_line": f"{request.method} {request.target} {request.version}",
                "status_code": self._status,
                "body_length": self._response.body_bytes,
                "wall_seconds": seconds,
            }
        )


def encoded(data: Any) -> bytes:
    """Return a piece of a body as bytes; text has to be ASCII."""
    return data.encode("ascii") if isinstance(data, str) else data


def server(
    sock: Any,
    site: App,
    log: Any = None,
    environ: dict[str, Any] | None = None,
    max_size: int | None = None,
    max_http_version: str = DEFAULT_MAX_HTTP_VERSION,
    protocol: Any = HttpProtocol,
    server_event: Any = None,
    minimum_chunk_size: int | None = None,
    log_x_forwarded_for: bool = True,
    custom_pool: Any = None,
    keepalive: bool | float = True,
    log_output: bool = True,
    log_format: str = DEFAULT_LOG_FORMAT,
    url_length_limit: int = MAX_REQUEST_LINE,
    debug: bool = True,
    socket_timeout: float | None = None,
    capitalize_response_headers: bool = True,
) -> None:
    """Serve `site` on a listening socket until that is closed or this is killed; then wait for what runs.

    The arguments are eventlet's.
    """
    options = {name: value for name, value in locals().items() if name not in SERVER_ONLY}
    if protocol is not HttpProtocol:
        warnings.warn(
            f"{protocol!r} is not used: nothing here is a BaseHTTPRequestHandler", RuntimeWarning, stacklevel=2
        )
    pool = custom_pool if custom_pool is not None else GreenPool(max_size or DEFAULT_MAX_SIMULTANEOUS_REQUESTS)
    if not (hasattr(pool, "spawn") and hasattr(pool, "waitall")):
        raise AttributeError("the pool of a server must have `spawn` and `waitall`; if unsure, use eventlet.GreenPool")
    listener = take_over(sock)
    found = Server(listener, listener.getsockname(), site, log, **options)
    if server_event is not None:
        server_event.send(found)
    Serving(found, listener, pool).run()


class Serving:
    """A server at work."""

    def __init__(self, server: Server, listener: Any, pool: Any) -> None:
        self._server = server
        self._site = server.site()
        self._listener = listener
        self._pool = pool
        self._connections: dict[Any, Connection] = {}

    def run(self) -> None:
        """Accept until the listener is closed; then let what runs come to its end."""
        log, pid = self._server.log, self._server.pid
        log.info("(%s) wsgi starting up on %s", pid, where(self._listener))
        try:
            for sock, address in accepted(self._listener):
                log.debug("(%s) accepted %r", pid, address)
                self._pool.spawn(self._handle, sock, address)
                if not is_accepting:
                    break
        except (KeyboardInterrupt, SystemExit):
            log.info("wsgi exiting")
        finally:
            self._site.closing = True
            for green, connection in list(self._connections.items()):
                if connection.idle:
                    kill(green)
            self._pool.waitall()
            log.info("(%s) wsgi exited, is_accepting=%s", pid, is_accepting)
            with suppress(OSError):
                self._listener.close()

    def _handle(self, sock: Any, address: Any) -> None:
        connection = Connection(self._site, sock, client_of(address))
        me = getcurrent()
        self._connections[me] = connection
        try:
            connection.serve()
        except GreenletExit:
            pass  # it was idle while the server ended
        finally:
            del self._connections[me]
            sock.close()


def client_of(address: Any) -> dict[str, Any]:
    """Return what the environ says of a client."""
    return client_variables(address) if isinstance(address, tuple) else {"REMOTE_ADDR": "unix", "REMOTE_PORT": ""}


def where(sock: Any) -> str:
    """Return the URL of a listener."""
    scheme = "https" if isinstance(sock, SSLSocket) else "http"
    name = sock.getsockname()
    if not isinstance(name, tuple):
        return f"{scheme}:{name}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"{scheme}://{host}:{name[1]}"
