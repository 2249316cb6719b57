"""ASGI applications on the WSGI server (ASGI 3.0), each request a task of one asyncio loop.

The loop is a greenthread among others (`aio`). A request has a greenthread, as always: it takes what the application
sends out of a short queue, and writes it. So an application that sends faster than its client reads is made to wait,
and a client that is slow holds up its own request alone. An application that asks what comes after the request is told
when the client hangs up; what it dies of then is no failure.

WebSockets are `asgi_websocket.py`'s, and need wsproto; without it they are answered with 501.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from contextlib import suppress
from http import HTTPStatus
from select import EPOLLERR, EPOLLHUP, EPOLLRDHUP
from typing import Any, Final

from greenprobe import aio
from greenprobe.errors import LocalProtocolError
from greenprobe.greenthread import GreenThread, spawn
from greenprobe.http.request_head import RequestHead, header_pairs
from greenprobe.hub import get_hub
from greenprobe.lazy import Lazy
from greenprobe.queue import Full, Queue, ShutDown
from greenprobe.wsgi_connection import Connection
from greenprobe.wsgi_input import Input

__all__ = ["AsgiApp", "Lifespan"]

HANGUP: Final = EPOLLRDHUP | EPOLLHUP | EPOLLERR
PIECE_BYTES: Final = 1 << 16
AHEAD: Final = 8  # messages that an application may be ahead of its client
VERSIONS: Final = {"version": "3.0", "spec_version": "2.4"}

websockets = Lazy("greenprobe.asgi_websocket")
Message = MutableMapping[str, Any]
Application = Callable[[dict[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Any]


class AsgiApp:
    """A WSGI application that hands each request to the ASGI application `app`. `state` is copied into each scope."""

    def __init__(self, app: Application, state: dict[str, Any] | None = None) -> None:
        self._app = app
        self._state = state

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        if environ.get("HTTP_UPGRADE", "").lower() == "websocket":
            return self._serve_websocket(environ, start_response)
        exchange = Exchange(environ["greenprobe.connection"], environ["wsgi.input"], start_response)
        scope = self._scope(environ)
        exchange.begin(self._app, scope)
        return exchange

    def _scope(self, environ: dict[str, Any]) -> dict[str, Any]:
        scope = scope_of(environ)
        if self._state is not None:
            scope["state"] = dict(self._state)
        return scope

    def _serve_websocket(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            serve = websockets.serve_websocket
        except ImportError:
            start_response("501 Not Implemented", [("Content-Type", "text/plain"), ("Connection", "close")])
            return [b"WebSockets need wsproto: pip install 'greenprobe[websocket]'\n"]
        answer: Iterable[bytes] = serve(self._app, self._scope(environ), environ, start_response)
        return answer


def scope_of(environ: dict[str, Any]) -> dict[str, Any]:
    """Return the scope of an HTTP request."""
    request: RequestHead = environ["greenprobe.request"]
    raw_path = request.target.partition("?")[0]
    return {
        "type": "http",
        "asgi": VERSIONS,
        "http_version": request.version.removeprefix("HTTP/"),
        "method": request.method,
        "scheme": environ["wsgi.url_scheme"],
        "path": environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace"),
        "raw_path": raw_path.encode("latin-1"),
        "query_string": environ["QUERY_STRING"].encode("latin-1"),
        "root_path": environ["SCRIPT_NAME"],
        "headers": [
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in header_pairs(request.lines)
        ],
        "client": (environ["REMOTE_ADDR"], int(environ["REMOTE_PORT"] or 0)) if environ["REMOTE_ADDR"] else None,
        "server": (environ["SERVER_NAME"], int(environ["SERVER_PORT"])),
    }


class ClientGoneError(BrokenPipeError):
    """The application sends to a client that has gone."""

    def __init__(self) -> None:
        super().__init__("the client has gone")


class Exchange:
    """One request and its answer: an iterable of the body, which the server sends."""

    def __init__(self, connection: Connection, body: Input, start_response: Callable[..., Any]) -> None:
        self._connection = connection
        self._body = body
        self._start_response = start_response
        self._messages: Queue[Message | None] = Queue(AHEAD)  # None: the application has returned
        self._task: GreenThread | None = None
        self._body_is_read = False
        self._is_answered = False
        self._is_closed = False
        self._watcher: GreenThread | None = None
        self._over = asyncio.Event()  # nobody listens to the application any more
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self, app: Application, scope: dict[str, Any]) -> None:
        """Start the application, in a task of the loop."""
        self._task = spawn(self._run, app, scope)

    def _run(self, app: Application, scope: dict[str, Any]) -> None:
        try:
            aio.wait(app(scope, self._receive, self._send))
        except (Exception, asyncio.CancelledError) as error:
            if not (self._is_answered or self._is_closed):
                raise
            if not is_of_leaving(error):
                get_hub().on_error(error)  # nobody waits for it any more
        finally:
            with suppress(ShutDown):
                self._messages.put(None)

    def _watch(self) -> None:
        """Wait until the client hangs up, which ends all; a half-closed connection counts, as with other servers."""
        wait_for_hangup(self._connection.sock.fileno())
        self._connection.broken = True  # an answer that ends early is nobody's fault now
        self._tell_over()

    def _tell_over(self) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._over.set)

    # -- what the application calls, in the loop

    async def _receive(self) -> Message:
        self._loop = asyncio.get_running_loop()
        if self._body_is_read:
            if self._watcher is None and not self._is_closed:
                self._watcher = spawn(self._watch)
            await self._over.wait()
            return {"type": "http.disconnect"}
        body = self._body.body
        data = b"" if body.is_complete else await aio.to_greenthread(self._body.read1, PIECE_BYTES)
        more = bool(data)
        self._body_is_read = not more
        return {"type": "http.request", "body": data, "more_body": more}

    async def _send(self, message: Message) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            self._messages.put_nowait(message)
        except Full:
            await aio.to_greenthread(self._put, message)
        except ShutDown:
            raise ClientGoneError from None

    def _put(self, message: Message) -> None:
        try:
            self._messages.put(message)
        except ShutDown:
            raise ClientGoneError from None

    # -- what the server does with it

    def __iter__(self) -> Iterator[bytes]:
        started = False
        more = True
        while more:
            message = self._messages.get()
            if message is None:
                break
            kind = message["type"]
            if kind == "http.response.start" and not started:
                started = True
                self._start(message)
            elif kind == "http.response.body" and started:
                more = message.get("more_body", False)
                self._is_answered = not more
                yield bytes(message.get("body", b""))
            else:
                raise LocalProtocolError(f"the application sends {kind!r} where it has no place")
        self._check_end(started, more)

    def _start(self, message: Message) -> None:
        status = int(message["status"])
        phrase = HTTPStatus(status).phrase if status in STATUSES else ""
        pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message.get("headers", ())]
        self._start_response(f"{status} {phrase}", pairs)

    def _check_end(self, started: bool, more: bool) -> None:
        """Raise what the application raised, or an error if it has left the answer unfinished."""
        if not more:
            return
        if self._task is not None:
            self._task.wait()
        where = "within its answer" if started else "without an answer"
        raise LocalProtocolError(f"the application returned {where}")

    def close(self) -> None:
        """Tell the application that nobody listens any more."""
        self._is_closed = True
        self._tell_over()
        self._messages.shutdown(immediate=True)  # who waits to send can go on
        if self._watcher is not None:
            self._watcher.kill()
            self._watcher.join()  # the next request is to be waited for there


def is_of_leaving(error: BaseException | None) -> bool:
    """Tell whether an application died of its client's leaving, or of the loop's end, by however many steps."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_of_leaving, error.exceptions))
    if error is None or isinstance(error, (ClientGoneError, asyncio.CancelledError)):
        return error is not None
    return is_of_leaving(error.__cause__ or error.__context__)


def wait_for_hangup(fd: int) -> None:
    """Wait until the peer of a socket sends no more. What it sends before that is left for whoever reads."""
    hub = get_hub()
    slot = hub.poller.slot(fd)
    while not slot.hangup & HANGUP:
        hub.wait(slot.read)  # killed here, it leaves READY behind


STATUSES: Final = frozenset(map(int, HTTPStatus))


class Lifespan:
    """The lifespan of an ASGI application: `startup` before the first request, `shutdown` after the last.

    Applications that know no lifespan raise at it, and are served without one. `state` is what it leaves for requests.
    """

    def __init__(self, app: Application) -> None:
        self.state: dict[str, Any] = {}
        self._app = app
        self._to_app: Queue[Message] = Queue()
        self._from_app: Queue[Message | None] = Queue()
        self._task: GreenThread | None = None
        self._is_up = False

    def startup(self) -> None:
        """Let the application start. Raises RuntimeError if it says that it cannot."""
        self._task = spawn(self._run)
        self._is_up = self._ask("startup")

    def shutdown(self) -> None:
        """Let the application clean up."""
        if self._task is not None and not self._task.dead:
            self._ask("shutdown")
            self._task.join()

    def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": VERSIONS, "state": self.state}
        try:
            aio.wait(self._app(scope, self._receive, self._send))
        except Exception as error:
            if self._is_up:  # else it knows no lifespan, or has said that it cannot start
                get_hub().on_error(error)
        finally:
            self._from_app.put(None)

    async def _receive(self) -> Message:
        return await aio.to_greenthread(self._to_app.get)

    async def _send(self, message: Message) -> None:
        self._from_app.put(message)

    def _ask(self, what: str) -> bool:
        """Tell the application; return whether it has answered. Raises RuntimeError if it says that it has failed."""
        self._to_app.put({"type": f"lifespan.{what}"})
        answer = self._from_app.get()
        if answer is not None and answer["type"] == f"lifespan.{what}.failed":
            raise RuntimeError(f"the application's {what} failed: {answer.get('message', '')}")
        return answer is not None
