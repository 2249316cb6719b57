"""A server of HTTP/2 over TLS, in threads, which misbehaves where a path says so."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from socket import IPPROTO_TCP, TCP_NODELAY, socket
from threading import Event
from typing import Any

from fakes import served_in_threads
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event as H2Event, RequestReceived, StreamEnded, WindowUpdated
from h2.exceptions import ProtocolError, StreamClosedError
from h2.settings import SettingCodes, Settings
from hpack import NeverIndexedHeaderTuple

__all__ = ["Http2Server", "http2_server"]


class Http2Server:
    """What the server has seen: connections, and requests with their bodies."""

    def __init__(self, *, max_streams: int = 100) -> None:
        self.max_streams = max_streams
        self.connections = 0
        self.requests: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.most_at_once = 0
        self.refused: set[str] = set()
        self.never_indexed: set[str] = set()
        self.reads_on = Event()  # whoever has promised to read


class Talk:
    """One connection."""

    def __init__(self, server: Http2Server, sock: ssl.SSLSocket) -> None:
        self.server = server
        self.sock = sock
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.paths: dict[int, str] = {}
        self.bodies: dict[int, bytes] = {}
        self.unsent: dict[int, bytes] = {}
        self.is_over = False
        self.is_going = False

    def run(self) -> None:
        limits = {SettingCodes.MAX_CONCURRENT_STREAMS: self.server.max_streams}
        self.h2.local_settings = Settings(client=False, initial_values=limits)
        self.h2.initiate_connection()
        self.flush()
        while not self.is_over and (data := self.sock.recv(65536)):
            if self.is_going:
                continue  # and read what comes: closing over it would reset what was sent
            for event in self.h2.receive_data(data):
                try:
                    self.take(event)
                except StreamClosedError:
                    pass  # the client has left that stream; the event which says so comes later in the same batch
            self.flush()

    def flush(self) -> None:
        self.sock.sendall(self.h2.data_to_send())

    def take(self, event: H2Event) -> None:
        if isinstance(event, RequestReceived):
            assert event.stream_id is not None
            headers: dict[str, str] = dict(event.headers or [])  # type: ignore[arg-type]
            self.server.requests.append(headers)
            for field in event.headers or []:
                if isinstance(field, NeverIndexedHeaderTuple):
                    self.server.never_indexed.add(str(field[0]))
            self.paths[event.stream_id] = headers[":path"]
            self.bodies[event.stream_id] = b""
            self.server.most_at_once = max(self.server.most_at_once, len(self.paths))
            if headers[":path"] in EARLY:
                EARLY[headers[":path"]](self, event.stream_id)
        elif isinstance(event, DataReceived):
            assert event.stream_id is not None
            assert event.flow_controlled_length is not None
            self.bodies[event.stream_id] += event.data or b""
            if self.paths.get(event.stream_id) not in {"/early-no", "/no-room"}:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            assert event.stream_id is not None
            self.server.bodies.append(self.bodies.get(event.stream_id, b""))
            ANSWERS.get(self.paths[event.stream_id], answer)(self, event.stream_id)
        elif isinstance(event, WindowUpdated):
            for number in list(self.unsent):
                with suppress(StreamClosedError):  # the client has left it
                    self.send(number)

    def head(self, number: int, *fields: tuple[str, str], status: str = "200", end: bool = False) -> None:
        self.h2.send_headers(number, [(":status", status), *fields], end_stream=end)

    def send(self, number: int) -> None:
        """Send as much of a body as the windows allow."""
        rest = self.unsent.pop(number)
        while rest:
            room = min(self.h2.local_flow_control_window(number), self.h2.max_outbound_frame_size)
            if room <= 0:
                self.unsent[number] = rest
                return
            self.h2.send_data(number, rest[:room])
            rest = rest[room:]
        self.h2.end_stream(number)
        self.paths.pop(number, None)


def answer(talk: Talk, number: int, body: bytes = b"ok") -> None:
    """Answer with a small body."""
    talk.head(number, ("content-type", "text/plain"), ("x-path", talk.paths[number]))
    talk.unsent[number] = body
    talk.send(number)


def refuse_once(talk: Talk, number: int) -> None:
    """Refuse the first request for a path."""
    path = talk.paths[number]
    if path in talk.server.refused:
        answer(talk, number)
    else:
        talk.server.refused.add(path)
        talk.h2.reset_stream(number, ErrorCodes.REFUSED_STREAM)


def go_away(talk: Talk, number: int) -> None:
    """Answer, and take no further request on this connection; those above the number were not begun."""
    answer(talk, number)
    talk.h2.close_connection(last_stream_id=number)
    talk.is_going = True


def go_away_unbegun(talk: Talk, number: int) -> None:
    """Say that this very request was not begun, the first time."""
    if talk.server.refused:
        answer(talk, number)
        return
    talk.server.refused.add("x")
    talk.h2.close_connection(last_stream_id=0)
    talk.is_going = True


def reset_in_the_middle(talk: Talk, number: int) -> None:
    """Begin an answer and reset it."""
    talk.head(number)
    talk.h2.send_data(number, b"half")
    talk.h2.reset_stream(number, ErrorCodes.INTERNAL_ERROR)


def hang_up(talk: Talk, number: int) -> None:
    """End the connection in the middle of an answer."""
    talk.head(number)
    talk.h2.send_data(number, b"half")
    talk.is_over = True


def garbage(talk: Talk, number: int) -> None:
    """Send what is no frame."""
    talk.sock.sendall(b"\xff" * 200)
    talk.is_over = True


def speak_elsewhere(talk: Talk, number: int) -> None:
    """Send data on a stream that nobody has opened."""
    talk.flush()
    talk.sock.sendall(b"\0\0\2\0\1" + (number + 10).to_bytes(4) + b"ok")


def promise_too_much(talk: Talk, number: int) -> None:
    """Announce another length than is sent."""
    talk.head(number, ("content-length", "100"))
    talk.h2.send_data(number, b"short", end_stream=True)


def flood(talk: Talk, number: int) -> None:
    """Send interim answers without end."""
    for _ in range(200):
        talk.h2.send_headers(number, [(":status", "103")])
    answer(talk, number)


ANSWERS: dict[str, Callable[[Talk, int], None]] = {
    "/big": lambda talk, number: answer(talk, number, b"x" * 3_000_000),
    "/large": lambda talk, number: answer(talk, number, b"x" * 300_000),
    "/moved": lambda talk, number: talk.head(number, ("location", "/"), status="302", end=True),
    "/refused": refuse_once,
    "/go-away": go_away,
    "/unbegun": go_away_unbegun,
    "/reset": reset_in_the_middle,
    "/hang-up": hang_up,
    "/garbage": garbage,
    "/short": promise_too_much,
    "/elsewhere": speak_elsewhere,
    "/flood": flood,
    "/huge-head": lambda talk, number: talk.head(number, *((f"x-{n}", "y" * 8000) for n in range(10)), end=True),
    "/silent": lambda talk, number: None,
    "/early": lambda talk, number: talk.h2.send_data(number, b"all of it", end_stream=True),
    "/early-no": lambda talk, number: None,
}


def stop_reading(talk: Talk, number: int) -> None:
    """Let the client send as much as it likes, and read nothing of it until told to."""
    for stream in (None, number):
        talk.h2.increment_flow_control_window(1 << 28, stream)
    talk.flush()
    talk.server.reads_on.wait(30)


EARLY: dict[str, Callable[[Talk, int], None]] = {  # before the body has come
    "/early": lambda talk, number: talk.head(number),
    "/early-no": lambda talk, number: talk.head(number, status="413", end=True),
    "/stall": stop_reading,
}


@contextmanager
def http2_server(context: ssl.SSLContext, server: Http2Server) -> Iterator[int]:
    """Serve on a port of 127.0.0.1."""
    context.set_alpn_protocols(["h2"])
    socks: list[socket] = []
    with served_in_threads(lambda sock: converse(sock, context, server, socks), socks) as port:
        yield port


def converse(sock: socket, context: ssl.SSLContext, server: Http2Server, socks: list[Any]) -> None:
    """Serve one connection to its end."""
    try:
        sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        with context.wrap_socket(sock, server_side=True) as secure:
            socks.append(secure)
            server.connections += 1
            Talk(server, secure).run()
    except (OSError, ProtocolError):
        pass  # the client went away, or was lied to and said so
    finally:
        sock.close()
