"""ASGI applications on the WSGI server."""

import asyncio
import gc
import io
from collections.abc import Iterator
from typing import Any

import pytest

from greenprobe import aio
from greenprobe.asgi import AsgiApp, Lifespan
from greenprobe.convenience import connect
from greenprobe.errors import RemoteProtocolError
from greenprobe.greenthread import spawn
from greenprobe.hub import Hub
from greenprobe.sync import Event
from greenprobe.testing import JumpClock, wait_all_blocked
from greenprobe.websocket import connect as open_websocket
from greenprobe.wsgi import Server

LOOPBACK = ("127.0.0.1", 0)


@pytest.fixture(autouse=True)
def loop_ends() -> Iterator[None]:
    yield
    aio.stop_background_loop()


def ask(app: Any, data: bytes, state: dict[str, Any] | None = None) -> bytes:
    with Server(LOOPBACK, AsgiApp(app, state), errors=io.StringIO()) as server, connect(server.address) as sock:
        sock.sendall(data)
        found = b""
        while more := sock.recv(65536):
            found += more
        return found


def get(target: str = "/", body: bytes = b"", fields: str = "") -> bytes:
    head = f"POST {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {len(body)}\r\n{fields}\r\n"
    return head.encode() + body


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    await asyncio.sleep(0)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-path", scope["path"].encode())]})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body", "body": b"!"})


def test_a_body_goes_in_and_comes_out() -> None:
    answer = ask(echo, get("/a", b"x" * 200_000))
    assert b"200 OK" in answer
    assert b"x-path: /a\r\n" in answer
    assert answer.count(b"x" * 1000) == 200


def test_the_scope_is_that_of_the_request() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)
        await echo(scope, receive, send)

    ask(app, get("/%C3%A4?b=c", fields="X-A: 1\r\nX-A: 2\r\n"), {"k": 1})
    scope = seen[0]
    expected = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/ä",
        "raw_path": b"/%C3%A4",
        "query_string": b"b=c",
        "root_path": "",
        "state": {"k": 1},
    }
    assert {name: scope[name] for name in expected} == expected
    assert [pair for pair in scope["headers"] if pair[0] == b"x-a"] == [(b"x-a", b"1"), (b"x-a", b"2")]


async def fails(scope: Any, receive: Any, send: Any) -> None:
    raise ZeroDivisionError


async def says_nothing(scope: Any, receive: Any, send: Any) -> None:
    pass


async def disorder(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.body", "body": b"x"})


@pytest.mark.parametrize("app", [fails, says_nothing, disorder])
def test_an_application_that_fails_is_a_500(app: Any) -> None:
    assert ask(app, get()).startswith(b"HTTP/1.1 500")


def test_a_fast_application_waits_for_its_client() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(100):
            await send({"type": "http.response.body", "body": b"x" * 50_000, "more_body": True})
        await send({"type": "http.response.body"})

    assert ask(app, get()).count(b"x" * 1000) == 5000


def test_an_application_that_sends_to_a_client_that_has_gone_is_told() -> None:
    told: list[BaseException] = []
    over = Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x" * 50_000, "more_body": True})
        except OSError as error:
            told.append(error)
        assert (await receive())["type"] == "http.request"
        assert (await receive())["type"] == "http.disconnect"
        over.set()

    with Server(LOOPBACK, AsgiApp(app)) as server:
        with connect(server.address) as sock:
            sock.sendall(get())
            sock.recv(10)
        assert over.wait(5)
    assert len(told) == 1


async def until_the_end(scope: Any, receive: Any, send: Any) -> None:
    """Answer with one piece, and then with nothing until the client has gone."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"begun", "more_body": True})
    while (await receive())["type"] != "http.disconnect":
        pass


def test_an_application_that_waits_is_told_that_its_client_has_gone() -> None:
    over = Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await until_the_end(scope, receive, send)
        over.set()

    errors = io.StringIO()
    with Server(LOOPBACK, AsgiApp(app), errors=errors) as server:
        with connect(server.address) as sock:
            sock.sendall(get())
            while b"begun" not in sock.recv(1000):
                pass
        assert over.wait(5)
        server.stop()
        assert (server.statistics().failures, errors.getvalue()) == (0, "")


@pytest.mark.parametrize("early", [True, False])
def test_a_request_that_follows_is_no_leaving_and_is_served(early: bool) -> None:
    """`early` is while the first one is under way: who looks for the end takes its edge then."""
    go = Event()
    left: list[bool] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "http.request"
        leaving = asyncio.ensure_future(receive())
        await aio.to_greenthread(go.wait)
        left.append(leaving.done())
        leaving.cancel()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    request = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
    with Server(LOOPBACK, AsgiApp(app)) as server, connect(server.address) as sock:
        sock.settimeout(5)
        sock.sendall(request)
        wait_all_blocked()
        if early:
            sock.sendall(request)
            wait_all_blocked()
        go.set()
        answers = sock.recv(1000)
        if not early:
            sock.sendall(request)
        while answers.count(b"HTTP/1.1 200") < 2:
            answers += sock.recv(1000)
    assert left == [False, False]


def test_an_application_that_dies_of_a_client_that_has_gone_is_not_reported(hub: Hub) -> None:
    reported: list[BaseException] = []
    hub.on_error = reported.append
    over = Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send({"type": "http.response.body", "body": b"x" * 50_000, "more_body": True})
        except OSError:
            raise RuntimeError("as Starlette does")  # noqa: B904 - so do frameworks
        finally:
            over.set()

    with Server(LOOPBACK, AsgiApp(app)) as server:
        with connect(server.address) as sock:
            sock.sendall(get())
            sock.recv(10)
        assert over.wait(5)
    wait_all_blocked()
    aio.stop_background_loop()
    gc.collect()
    assert reported == []


def test_requests_run_side_by_side() -> None:
    together = 0
    most = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal together, most
        together += 1
        most = max(most, together)
        await asyncio.sleep(0.01)
        together -= 1
        await echo(scope, receive, send)

    with Server(LOOPBACK, AsgiApp(app)) as server:
        socks = [connect(server.address) for _ in range(5)]
        for sock in socks:
            sock.sendall(get())
        for sock in socks:
            assert sock.recv(100).startswith(b"HTTP/1.1 200")
            sock.close()
    assert most == 5


# -- websockets


async def chat(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "websocket"
    assert (await receive())["type"] == "websocket.connect"
    if scope["path"] == "/no":
        await send({"type": "websocket.close"})
        return
    chosen = scope["subprotocols"][0] if scope["subprotocols"] else None
    await send({"type": "websocket.accept", "subprotocol": chosen, "headers": [(b"x-a", b"b")]})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        if message.get("text") == "quit":
            await send({"type": "websocket.close", "code": 3000, "reason": "enough"})
            return
        if message.get("text") == "fail":
            raise ZeroDivisionError
        await send({**message, "type": "websocket.send"})


def test_a_websocket_carries_text_and_bytes_until_it_is_closed() -> None:
    with Server(LOOPBACK, AsgiApp(chat), errors=io.StringIO()) as server:
        url = f"ws://127.0.0.1:{server.address[1]}"
        with open_websocket(url, subprotocols=["p", "q"]) as websocket:
            assert websocket.subprotocol == "p"
            for word in ("hello", b"\0\xff"):
                websocket.send(word)
                assert websocket.receive() == word
        for word, code in (("quit", 3000), ("fail", 1011)):
            with open_websocket(url) as websocket:
                websocket.send(word)
                assert (websocket.receive(), websocket.close_code) == (None, code)
        with pytest.raises(RemoteProtocolError, match="403"):
            open_websocket(f"{url}/no")


def test_a_server_that_stops_tells_the_clients_of_websockets(clock: JumpClock) -> None:
    with (
        Server(LOOPBACK, AsgiApp(chat), errors=io.StringIO()) as server,
        open_websocket(f"ws://127.0.0.1:{server.address[1]}") as websocket,
    ):
        websocket.send("x")
        websocket.receive()
        stopping = spawn(server.stop)
        assert (websocket.receive(), websocket.close_code) == (None, 1001)
        stopping.wait()


def test_a_handshake_that_is_none_never_reaches_the_application() -> None:
    assert ask(chat, get(fields="Upgrade: websocket\r\n")).startswith(b"HTTP/1.1 400")


def test_a_lifespan_starts_and_ends() -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["state"]["db"] = 1
        while True:
            message = await receive()
            seen.append(message["type"])
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return

    lifespan = Lifespan(app)
    lifespan.startup()
    assert (seen, lifespan.state) == (["lifespan.startup"], {"db": 1})
    lifespan.shutdown()
    assert seen[-1] == "lifespan.shutdown"


def test_an_application_without_a_lifespan_is_served_and_one_that_cannot_start_is_not() -> None:
    Lifespan(fails).startup()

    async def cannot(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(RuntimeError, match="no database"):
        Lifespan(cannot).startup()
