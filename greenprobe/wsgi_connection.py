"""One connection of a WSGI server: requests in, the application called, answers out, until one side has had enough.

What a client sends is bounded in size and in time: the head as a whole (from its first byte on, so that bytes that
trickle in gain nothing), silence between requests, silence within a body, a body that trickles in, and a client that
does not read. What breaks a rule is answered with its status, and the connection ends: nobody knows where the next
request would begin.

A connection that is closed while bytes of the client are unread is reset, and the reset may overtake the answer. So an
answer that ends a connection early is followed by a farewell: no more is sent, and for a moment what comes is read.
"""

import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from email.utils import formatdate
from math import inf
from re import compile as pattern
from socket import MSG_MORE, SHUT_WR
from time import time
from typing import Any, Final, NamedTuple, TextIO

from greenlet import GreenletExit

from greenprobe.errors import BadRequest
from greenprobe.green_socket import socket
from greenprobe.green_ssl import SSLSocket
from greenprobe.http.forwarded import TrustedProxies
from greenprobe.http.request_head import HeadLimits, RequestHead, read_head, refuse_early
from greenprobe.http.response_head import encode_fields, simple_response
from greenprobe.hub import get_hub
from greenprobe.wsgi_input import BodyReader, Input
from greenprobe.wsgi_response import Response, close_result

__all__ = ["Access", "Application", "Connection", "Limits", "Site", "Timeouts"]

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

BLANK: Final = b"\r\n\r\n"
BLANK_LINES = pattern(rb"(?:\r\n)+").match
CR: Final = 13
RECEIVE_BYTES: Final = 1 << 14
SEND_BYTES: Final = 1 << 18  # a piece that must go out within the timeout
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a client may send, and how many connections there may be; None is no limit."""

    head: HeadLimits = field(default_factory=HeadLimits)
    body_bytes: int | None = 1 << 30
    min_body_bytes_per_s: float | None = 50.0  # of the time that we wait for it; see `Connection.receive`
    discard_bytes: int = 1 << 18  # of a body that the application left unread, to keep the connection
    connections: int | None = None
    connections_per_client: int | None = None


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a client may take, in seconds: for a head; between requests; silent within a body, or not reading.

    None is for ever.
    """

    head: float = 20.0
    idle: float | None = 75.0
    io: float | None = 60.0
    farewell: float = 2.0


class Access(NamedTuple):
    """One request that was answered, for the access log. `when` is Unix time, `seconds` how long it took."""

    client: str
    when: float
    method: str
    target: str
    version: str
    status: str
    body_bytes: int
    referer: str
    user_agent: str
    seconds: float


class Site:
    """What all connections of a server share: the application, its environment, the bounds, the counters."""

    def __init__(
        self,
        app: Application,
        environ: dict[str, Any],
        *,
        limits: Limits,
        timeouts: Timeouts,
        server_header: str | None,
        errors: TextIO | None,
        log: Callable[[Access], None] | None,
        proxies: TrustedProxies | None = None,
    ) -> None:
        self.app = app
        self.environ = environ
        self.limits = limits
        self.timeouts = timeouts
        self.grace = timeouts.head if timeouts.io is None else timeouts.io
        self.max_body_bytes = inf if limits.body_bytes is None else limits.body_bytes
        self.server_line = b"" if server_header is None else encode_fields([("Server", server_header)])
        self.log = log
        self.proxies = proxies
        self.closing = False
        self.requests = 0
        self.refused = 0
        self.failures = 0
        self._errors = errors
        self._date_second = 0
        self._date_line = b""

    def lines(self) -> tuple[bytes, bytes]:
        """Return the Date and the Server line of now."""
        second = int(time())
        if second != self._date_second:
            self._date_second = second
            self._date_line = b"Date: %b\r\n" % formatdate(second, usegmt=True).encode()
        return self._date_line, self.server_line

    def report(self, error: BaseException, request: RequestHead) -> None:
        """Tell whoever runs the server that the application failed."""
        self.failures += 1
        lines = traceback.format_exception(error)
        where = f"while it served {request.method} {request.target}\n"  # printable: the grammar has no other characters
        stream = self._errors
        if stream is None:
            get_hub().on_error(error)
            return
        stream.write("".join(lines) + where)
        stream.flush()


class NoBody(Input):
    """The input of every request without a body."""

    def __init__(self) -> None:
        super().__init__(BodyReader(Nothing(), 0, max_bytes=0, before=None))


class Nothing:
    """A source that is never asked."""

    def receive(self, max_bytes: int) -> bytes:
        return b""

    def unread(self, data: bytes) -> None:
        """Do nothing."""


NO_BODY: Final = NoBody()


class Connection:
    """One client at work. `variables` are what the environ says of it; `idle` while it waits for a request to begin."""

    __slots__ = ("_data", "_is_new", "_patience", "_site", "_taken", "broken", "idle", "sock", "variables")

    def __init__(self, site: Site, sock: socket, variables: dict[str, Any], *, data: bytes = b"") -> None:
        self._site = site
        self._data = data  # received and not used yet
        self._is_new = True
        self._patience = inf  # seconds that we wait for the rest of a body, all in all, unless some of it comes
        self._taken = False
        self.sock = sock
        self.variables = variables
        self.idle = False
        self.broken = False

    # -- what an Input and a Response ask for

    def receive(self, max_bytes: int) -> bytes:
        """Return some bytes that the client sent; b"" at their end.

        Time to wait is an account: it begins with what a silence may last, each wait takes from it, each byte pays its
        share in, and it never holds more than at the beginning. A client that sends a byte now and then, to keep a
        connection for itself, has spent it soon; an application that reads slowly is not the client's fault.
        """
        data = self._data
        if data:
            self._data = data[max_bytes:]
            return data[:max_bytes]
        rate, grace = self._site.limits.min_body_bytes_per_s, self._site.grace
        if rate is None:
            return self.sock.recv(max_bytes)
        clock = get_hub().clock
        began = clock()
        self.sock.settimeout(self._patience)
        try:
            data = self.sock.recv(max_bytes)
        finally:
            self.sock.settimeout(self._site.timeouts.io)
        self._patience = max(0.001, min(grace, self._patience - (clock() - began) + len(data) / rate))
        return data

    def unread(self, data: bytes) -> None:
        """Take back bytes of the next request."""
        self._data = data + self._data

    def send(self, data: bytes) -> None:
        """Send all of `data`; the timeout is for each piece of it."""
        sock = self.sock
        try:
            sent = sock.send(data) if len(data) <= SEND_BYTES else 0
            while sent < len(data):
                with memoryview(data) as view, view[sent : sent + SEND_BYTES] as piece:
                    sent += sock.send(piece)
        except OSError:
            self.broken = True
            raise

    def send_file(self, head: bytes, file: Any, offset: int, count: int) -> int | None:
        """Send a head and part of a file; return how much that was, or None if it has to be read and sent."""
        if isinstance(self.sock, SSLSocket) or not count:
            return None
        try:
            self.sock.send(head, MSG_MORE)
            return self.sock.sendfile(file, offset, count)
        except OSError:
            self.broken = True
            raise

    def lines(self) -> tuple[bytes, bytes]:
        """Return the Date and the Server line of now."""
        return self._site.lines()

    def may_keep_alive(self) -> bool:
        """Tell whether another request may follow."""
        return not self._site.closing

    def set_idle(self) -> None:
        """Say that nothing is lost if a server that stops ends this connection, though a request runs."""
        self.idle = True

    def hijack(self) -> tuple[socket, bytes]:
        """Give the socket away, with the bytes that were received beyond the request: for protocols that take over.

        It is closed when the application returns. Nothing more is read from it or sent to it here.
        """
        self._taken = True
        data, self._data = self._data, b""
        return self.sock, data

    # -- requests

    def serve(self) -> None:
        """Serve requests until the connection ends."""
        try:
            while self._serve_one():
                pass
        except BadRequest as error:
            self._refuse(error)
            if self._site.log is not None:
                self._site.log(refused_access(self.variables, error.status))
        except OSError:
            pass  # the client has gone; what the application raises does not come here

    def _serve_one(self) -> bool:
        """Serve the next request; tell whether another one may follow."""
        head = self._next_head()
        if head is None:
            return False
        site = self._site
        request = read_head(head, site.limits.head)
        if request.length and request.length > site.max_body_bytes:
            raise BadRequest(413, f"the body has more than {site.limits.body_bytes} bytes")
        site.requests += 1
        self.sock.settimeout(site.timeouts.io)
        body = None if request.length == 0 else self._input(request)
        response = Response(self, request)
        environ = self._environ(request, response, body)
        if site.log is None:
            refusal = self._call(environ, request, response)
        else:
            began = time()
            client = environ["REMOTE_ADDR"]
            refusal = self._call(environ, request, response)
            site.log(access_of(client, request, response, began))
        if refusal is not None:
            self._refuse(refusal)
            return False
        if self._taken:
            return False
        return self._is_ready_for_more(response, body)

    def _environ(self, request: RequestHead, response: Response, body: Input | None) -> dict[str, Any]:
        site = self._site
        environ = {
            **site.environ,
            **self.variables,
            **request.variables,
            "wsgi.input": NO_BODY if body is None else body,
            "greenprobe.connection": self,
            "greenprobe.request": request,
            "greenprobe.response": response,
        }
        if site.proxies is not None:
            environ |= site.proxies.variables(environ["REMOTE_ADDR"], request.variables)
        return environ

    def _call(self, environ: dict[str, Any], request: RequestHead, response: Response) -> BadRequest | None:
        """Have the application answer; return what is to be answered in its place, if it fails before it has begun."""
        site = self._site
        try:
            result = site.app(environ, response.start)
            try:
                if not self._taken:
                    response.send_result(result)
            finally:
                if type(result) is not list:
                    close_result(result)
        except (GreenletExit, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            return self._failed(error, request, response)
        return None

    def _failed(self, error: BaseException, request: RequestHead, response: Response) -> BadRequest | None:
        response.keep_alive = False
        if self.broken:
            return None
        if isinstance(error, BadRequest):  # the body of the request broke a rule, and the application passed it on
            refusal = error
        else:
            self._site.report(error, request)
            refusal = BadRequest(500, "the application failed")
        if not response.head_sent and not self._taken:
            response.status = str(refusal.status)
            return refusal
        self.broken = True  # the end of the answer never comes, which the client has to notice
        return None

    def _is_ready_for_more(self, response: Response, body: Input | None) -> bool:
        """Put the rest of a request's body behind us; tell whether the next request can be read."""
        if self.broken:
            return False
        is_read = body is None or body.body.is_complete
        if not is_read and body is not None and not body.body.is_announced:
            try:
                is_read = body.body.discard(self._site.limits.discard_bytes)
            except BadRequest:
                self._site.refused += 1  # and no more is said: a second answer would be taken for the next request's
        if is_read and response.keep_alive:
            return True
        if self._data or not is_read:
            self._say_farewell()
        return False

    def _input(self, request: RequestHead) -> Input:
        before = self._send_continue if request.expects_continue else None
        self._patience = self._site.grace
        return Input(BodyReader(self, request.length, max_bytes=self._site.limits.body_bytes, before=before))

    def _send_continue(self) -> None:
        if not self._data:
            self.send(CONTINUE)

    # -- heads

    def _next_head(self) -> bytes | None:
        """Return the next head without its blank line; None if the client has gone, or was silent for too long."""
        data = self._data
        if not data:
            try:
                data = self._wait_for_request()
            except TimeoutError:
                return None
            if not data:
                return None
        end = data.find(BLANK)
        if end <= 0 or data[0] == CR:
            found = self._rest_of_head(data)
            if found is None:
                return None
            data, end = found
        self._data = data[end + 4 :]
        return data[:end]

    def _wait_for_request(self) -> bytes:
        timeouts = self._site.timeouts
        self.sock.settimeout(timeouts.head if self._is_new else timeouts.idle)
        self._is_new = False
        self.idle = True
        try:
            return self.sock.recv(RECEIVE_BYTES)
        finally:
            self.idle = False

    def _rest_of_head(self, data: bytes) -> tuple[bytes, int] | None:
        """Receive until a head is complete; return what came and where the head ends. Raises BadRequest."""
        limits = self._site.limits.head
        clock = get_hub().clock
        deadline = clock() + self._site.timeouts.head
        seen = skipped = 0
        while True:
            if (blank := BLANK_LINES(data)) is not None:  # tolerated before a request: RFC 9112, 2.2
                data = data[blank.end() :]
                skipped += blank.end()
                if skipped > limits.request_line_bytes:
                    raise BadRequest(400, f"more than {limits.request_line_bytes} bytes of blank lines")
            end = data.find(BLANK, max(0, seen - 3))
            if end > 0:
                return data, end
            if data not in (b"", b"\r"):
                refuse_early(data, limits, seen)
            seen = len(data)
            self.sock.settimeout(max(0.001, deadline - clock()))
            try:
                more = self.sock.recv(RECEIVE_BYTES) if clock() < deadline else None
            except TimeoutError:
                more = None
            if more is None:
                raise BadRequest(408, "the head did not come in time")
            if not more:
                return None
            data += more

    # -- endings

    def _refuse(self, error: BadRequest) -> None:
        """Answer a request that cannot be served, and end the connection."""
        if error.status < 500:
            self._site.refused += 1
        date, server = self._site.lines()
        try:
            self.sock.settimeout(self._site.timeouts.farewell)
            self.send(simple_response(error.status, date=date, server=server))
        except OSError:
            return
        self._say_farewell()

    def _say_farewell(self) -> None:
        """Send no more, and read for a moment what the client still sends."""
        clock = get_hub().clock
        deadline = clock() + self._site.timeouts.farewell
        try:
            self.sock.shutdown(SHUT_WR)
            while (left := deadline - clock()) > 0:
                self.sock.settimeout(left)
                if not self.sock.recv(RECEIVE_BYTES):
                    return
        except OSError:
            pass


def access_of(client: str, request: RequestHead, response: Response, began: float) -> Access:
    """Return what is logged of a request that was answered."""
    variables = request.variables
    return Access(
        client,
        began,
        request.method,
        request.target,
        request.version,
        response.status[:3],
        response.body_bytes,
        variables.get("HTTP_REFERER", ""),
        variables.get("HTTP_USER_AGENT", ""),
        time() - began,
    )


def refused_access(variables: dict[str, Any], status: int) -> Access:
    """Return what is logged of a request that could not be read."""
    return Access(variables.get("REMOTE_ADDR", ""), time(), "-", "-", "-", str(status), 0, "", "", 0.0)
