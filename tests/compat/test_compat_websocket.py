"""A WebSocket whose handler fails: the client is told by a close, the server's log by a traceback."""

import io
from typing import Any

from greenprobe.compat.eventlet import connect, kill, listen, spawn
from greenprobe.compat.eventlet.websocket import WebSocketWSGI
from greenprobe.compat.eventlet.wsgi import server

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
CLOSED_1011 = b"\x88\x02\x03\xf3"


def test_a_handler_that_fails_sends_no_answer_of_http_into_the_frames() -> None:
    @WebSocketWSGI
    def failing(websocket: Any) -> None:
        raise ValueError("a bug")

    log = io.StringIO()
    with listen(("127.0.0.1", 0)) as listener:
        serving = spawn(server, listener, failing, log=log)
        with connect(listener.getsockname()) as sock:
            sock.sendall(HANDSHAKE)
            received = b""
            while more := sock.recv(4096):
                received += more
        kill(serving)
        serving.join()
    head, _, frames = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert frames == CLOSED_1011
    assert "ValueError: a bug" in log.getvalue()
