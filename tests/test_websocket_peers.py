"""WebSockets with what others wrote at the other end: the library `websockets`, and Autobahn's test suite."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import CalledProcessError
from typing import Any

import pytest
from autobahn import QUICK, Suite, echo, judge_client, judge_server, python2

from greenprobe.threadpool import run_in_thread
from greenprobe.websocket import WebSocketApp, connect
from greenprobe.wsgi import Server

pytestmark = pytest.mark.slow  # real threads talk to greenthreads; the suite runs for a minute

MESSAGES: list[str | bytes] = ["", "hello", "ä€😀" * 1000, b"", bytes(range(256)) * 1000, "x" * 300_000]


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_the_client_of_websockets_is_served(compression: str | None) -> None:
    client = pytest.importorskip("websockets.sync.client")
    app = WebSocketApp(echo, subprotocols=["a"])

    def talk(url: str) -> None:
        with client.connect(url, compression=compression, subprotocols=["b", "a"], proxy=None) as websocket:
            assert websocket.subprotocol == "a"
            for message in MESSAGES:
                websocket.send(message)
                assert websocket.recv(20) == message
            websocket.send(["in ", "three ", "pieces"])
            assert websocket.recv(20) == "in three pieces"
            assert websocket.ping().wait(20)
            websocket.close(3001, "enough")
            assert websocket.close_code == 3001

    with Server(("127.0.0.1", 0), app) as server:
        run_in_thread(talk, f"ws://127.0.0.1:{server.address[1]}/")


@contextmanager
def server_of_websockets(**options: Any) -> Iterator[str]:
    server = pytest.importorskip("websockets.sync.server")

    def handle(websocket: Any) -> None:
        for message in websocket:
            assert websocket.ping().wait(20)
            websocket.send(message if len(message) < 100 else [message[:50], message[50:]])

    with server.serve(handle, "127.0.0.1", 0, **options) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{serving.socket.getsockname()[1]}/"
        finally:
            serving.shutdown()
            run_in_thread(thread.join)


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_our_client_talks_to_the_server_of_websockets(compression: str | None) -> None:
    with (
        server_of_websockets(compression=compression, subprotocols=["a"]) as url,
        connect(url, subprotocols=["b", "a"]) as websocket,
    ):
        assert websocket.subprotocol == "a"
        for message in MESSAGES:
            websocket.send(message)
            assert websocket.receive() == message
        websocket.close(3001, "enough")
        assert websocket.close_code == 3001


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    """Autobahn's suite."""
    python = python2()
    if python is None:
        pytest.skip("no Python 2.7 with pip, which Autobahn's suite needs")
    try:
        return Suite(python, tmp_path_factory.mktemp("autobahn"))
    except CalledProcessError as error:
        pytest.skip(f"Autobahn's suite cannot be installed: {error}")


@pytest.mark.parametrize("judge", [judge_server, judge_client])
def test_autobahn_finds_nothing_wrong(suite: Suite, judge: Any) -> None:
    verdicts = judge(suite, QUICK)
    assert len(verdicts) == 247
    assert [verdict for verdict in verdicts if not verdict.is_good] == []
