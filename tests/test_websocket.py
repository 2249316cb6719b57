"""WebSockets between our client, our server and bytes that break rules."""

import io
import os
import runpy
import ssl
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from socket import IPPROTO_TCP, TCP_NODELAY
from typing import Any

import pytest
import trustme
from tls_contexts import trusting_only
from wsproto.connection import Connection as Frames, ConnectionType

from greenprobe import convenience
from greenprobe.errors import BadRequest, BrokenResourceError, ClosedResourceError, RemoteProtocolError, TargetError
from greenprobe.green_socket import socket, socketpair
from greenprobe.green_ssl import SSLSocket
from greenprobe.greenthread import sleep, spawn
from greenprobe.http import websocket_frames
from greenprobe.http.websocket_handshake import answer_handshake
from greenprobe.hub import Hub
from greenprobe.sync import Event
from greenprobe.testing import JumpClock, wait_all_blocked
from greenprobe.timeout import Timeout
from greenprobe.websocket import WebSocket, WebSocketApp, connect
from greenprobe.wsgi import Server

LOOPBACK = ("127.0.0.1", 0)
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
REQUEST = (
    "GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
).encode()
CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def echo(websocket: WebSocket, environ: dict[str, Any]) -> None:
    for message in websocket:
        websocket.send(message)


@contextmanager
def serving(handler: Callable[..., object] = echo, **options: Any) -> Iterator[tuple[Server, str]]:
    with Server(LOOPBACK, WebSocketApp(handler, **options), errors=io.StringIO()) as server:
        yield server, f"ws://127.0.0.1:{server.address[1]}/chat"


# -- the two ends together


@pytest.mark.parametrize("compression", [True, False])
@pytest.mark.parametrize("message", ["", "hello", "ä€😀" * 1000, b"", b"\0\xff", os.urandom(500_000), "x" * 500_000])
def test_a_message_comes_back_as_it_was(message: str | bytes, compression: bool) -> None:
    with serving() as (_, url), connect(url, compression=compression) as websocket:
        for _ in range(3):
            websocket.send(message)
            assert websocket.receive() == message


def test_closing_is_agreed_on() -> None:
    seen: list[Any] = []
    over = Event()

    def handler(websocket: WebSocket, environ: dict[str, Any]) -> None:
        seen.extend([*websocket, websocket.close_code, websocket.close_reason])
        over.set()

    with serving(handler) as (_, url):
        with connect(url) as websocket:
            websocket.send("last")
            websocket.close(3001, "enough")
            assert websocket.close_code == 3001
            assert websocket.receive() is None
            with pytest.raises(ClosedResourceError):
                websocket.send("more")
        over.wait()
    assert seen == ["last", 3001, "enough"]


def test_one_greenthread_may_close_while_another_receives() -> None:
    got: list[str | bytes | None] = []
    with serving() as (_, url):
        websocket = connect(url)
        receiver = spawn(lambda: got.extend([websocket.receive(), websocket.receive()]))
        wait_all_blocked()
        websocket.send("first")
        websocket.close(3001, "enough")
        receiver.wait()
    assert got == ["first", None]
    assert (websocket.close_code, websocket.close_reason) == (3001, "enough")


def test_a_close_ends_who_receives_from_a_peer_that_says_nothing(clock: JumpClock) -> None:
    over = Event()

    def handler(websocket: WebSocket, environ: dict[str, Any]) -> None:
        over.wait()  # and never looks at the close

    with serving(handler) as (_, url):
        websocket = connect(url, ping_after=None)
        receiver = spawn(websocket.receive)
        wait_all_blocked()
        websocket.close(timeout=3)
        assert receiver.wait() is None
        assert websocket.close_code == 1006
        over.set()


def test_a_handler_that_returns_closes_and_one_that_raises_says_1011() -> None:
    def handler(websocket: WebSocket, environ: dict[str, Any]) -> None:
        if environ["QUERY_STRING"]:
            raise ZeroDivisionError

    with serving(handler) as (server, url):
        for query, code in [("", 1000), ("?fail", 1011)]:
            with connect(url + query) as websocket:
                assert (websocket.receive(), websocket.close_code) == (None, code)
        wait_all_blocked()
        assert server.statistics().failures == 1


def test_many_may_send_at_once() -> None:
    with serving() as (_, url), connect(url) as websocket:
        senders = [spawn(websocket.send, f"{number}:" + "x" * 50_000) for number in range(10)]
        numbers = {str(websocket.receive()).partition(":")[0] for _ in senders}
    assert numbers == {str(number) for number in range(10)}


def test_a_subprotocol_is_agreed_on() -> None:
    def handler(websocket: WebSocket, environ: dict[str, Any]) -> None:
        websocket.send(str(websocket.subprotocol))

    with serving(handler, subprotocols=["b", "a"]) as (_, url):
        for offered, chosen in [(["a", "b"], "b"), (["a"], "a"), ([], "None")]:
            with connect(url, subprotocols=offered) as websocket:
                assert websocket.receive() == chosen


def test_a_message_that_is_too_big_ends_it_also_compressed() -> None:
    for compression in (True, False):
        with serving(max_message_bytes=100_000) as (_, url), connect(url, compression=compression) as websocket:
            websocket.send("x" * 100_000)
            assert len(websocket.receive() or "") == 100_000
            websocket.send("x" * 100_001)
            assert (websocket.receive(), websocket.close_code) == (None, 1009)


def test_the_size_of_a_message_is_in_bytes() -> None:
    with serving(max_message_bytes=100) as (_, url), connect(url) as websocket:
        websocket.send("ä" * 50)
        assert websocket.receive() == "ä" * 50
        websocket.send("ä" * 51)
        assert (websocket.receive(), websocket.close_code) == (None, 1009)


@pytest.fixture
def deaf(hub: Hub, clock: JumpClock) -> Iterator[WebSocket]:
    """A WebSocket whose peer reads nothing more, and whose buffers are full."""
    ours, theirs = socketpair()
    ours.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            ours.send(bytes(1000))
    frames = Frames(ConnectionType.SERVER)
    yield WebSocket(ours, frames, subprotocol=None, max_message_bytes=100, ping_after=None)
    ours.close()
    theirs.close()


@pytest.mark.parametrize("others", [0, 1])
def test_closing_takes_no_longer_than_it_may_if_the_peer_reads_nothing(
    deaf: WebSocket, clock: JumpClock, others: int
) -> None:
    sending = [spawn(deaf.send, "x") for _ in range(others)]
    wait_all_blocked()
    deaf.close(timeout=3)
    assert (deaf.close_code, clock.now()) == (1006, 3)
    for green in sending:
        with pytest.raises(BrokenResourceError):
            green.wait()


def test_a_message_that_was_cut_short_is_the_last(deaf: WebSocket) -> None:
    with pytest.raises(Timeout), Timeout(1):
        deaf.send("x")
    assert deaf.close_code == 1006
    with pytest.raises(ClosedResourceError):
        deaf.send("y")


def test_any_number_of_empty_parts_takes_no_room(hub: Hub) -> None:
    ours, theirs = socketpair()
    with ours, theirs:
        frames = Frames(ConnectionType.SERVER)
        websocket = WebSocket(ours, frames, subprotocol=None, max_message_bytes=100, ping_after=None)
        receiver = spawn(websocket.receive)
        theirs.sendall(frame(TEXT, b"a", fin=False) + frame(CONT, b"", fin=False) * 1000)
        wait_all_blocked()
        assert websocket._parts == ["a"]
        theirs.sendall(frame(CONT, b"b"))
        assert receiver.wait() == "ab"


def test_a_silent_peer_is_pinged_and_given_up_if_it_stays_silent(clock: JumpClock) -> None:
    codes: list[Any] = []

    def handler(websocket: WebSocket, environ: dict[str, Any]) -> None:
        list(websocket)
        codes.append((websocket.close_code, clock.now()))

    with serving(handler, ping_after=20) as (_, url), connect(url, ping_after=None) as websocket:
        reader = spawn(websocket.receive)
        sleep(200)
        assert codes == []
        reader.kill()
        sleep(200)
    assert codes[0][0] == 1006
    assert codes[0][1] < 300


def test_a_server_that_stops_tells_its_clients(clock: JumpClock) -> None:
    with serving() as (server, url), connect(url) as websocket:
        websocket.send("x")
        websocket.receive()
        stopping = spawn(server.stop)
        assert (websocket.receive(), websocket.close_code) == (None, 1001)
        stopping.wait()


def test_a_peer_that_vanishes_is_noticed(hub: Hub) -> None:
    with serving() as (_, url):
        websocket = connect(url)
        websocket.sock.close()
        with pytest.raises((BrokenResourceError, ClosedResourceError)):
            websocket.send("x")
        assert websocket.receive() is None
        assert websocket.close_code == 1006


@pytest.fixture
def authority() -> trustme.CA:
    """Who signs the server's certificate."""
    return trustme.CA()


@pytest.fixture
def secure_url(authority: trustme.CA) -> Iterator[str]:
    """Where a server speaks TLS, with a certificate for 127.0.0.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Server(LOOPBACK, WebSocketApp(echo), context=context) as server:
        yield f"wss://127.0.0.1:{server.address[1]}/chat"


def test_messages_go_over_tls_to_a_server_that_is_verified(authority: trustme.CA, secure_url: str) -> None:
    context = trusting_only(authority)
    with connect(secure_url, context=context) as websocket:
        assert isinstance(websocket.sock, SSLSocket)
        for message in ("hello", os.urandom(500_000)):
            websocket.send(message)
            assert websocket.receive() == message
        websocket.close(3001)
        assert websocket.close_code == 3001


def test_a_certificate_that_is_not_trusted_or_another_hosts_is_refused(authority: trustme.CA, secure_url: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match=r"self-signed|local issuer"):
        connect(secure_url)
    context = trusting_only(authority)
    with pytest.raises(ssl.SSLCertVerificationError, match="localhost"):
        connect(secure_url.replace("127.0.0.1", "localhost"), context=context)


@pytest.mark.parametrize(
    "url", ["http://a/", "ws:", "a", "ws:///x", "ws://a:99999/", "ws://a:b/", "ws://[::1/", "ws://\u2066.example/"]
)
def test_what_is_no_websocket_url_is_refused(url: str) -> None:
    with pytest.raises(TargetError, match="is no WebSocket URL"):
        connect(url)


def test_a_path_is_escaped_where_it_has_to_be() -> None:
    def handler(websocket: WebSocket, environ: dict[str, Any]) -> None:
        websocket.send(environ["PATH_INFO"].encode("latin-1") + b"?" + environ["QUERY_STRING"].encode())

    with serving(handler) as (_, url), connect(url + " ä%20b?x=ö&y=%2F#z") as websocket:
        assert websocket.receive() == "/chat ä b?x=%C3%B6&y=%2F".encode()


def test_a_server_that_speaks_only_http_is_an_error() -> None:
    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        start("404 Not Found", [])
        return [b"no"]

    with (
        Server(LOOPBACK, app) as server,
        pytest.raises(RemoteProtocolError, match="404"),
    ):
        connect(f"ws://127.0.0.1:{server.address[1]}/")


# -- the handshake


def environ(**changes: str | None) -> dict[str, Any]:
    found: dict[str, str | None] = {
        "REQUEST_METHOD": "GET",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "a.test",
        "HTTP_UPGRADE": "WebSocket",
        "HTTP_CONNECTION": "keep-alive, Upgrade",
        "HTTP_SEC_WEBSOCKET_KEY": KEY,
        "HTTP_SEC_WEBSOCKET_VERSION": "13",
        **changes,
    }
    return {name: value for name, value in found.items() if value is not None}


def test_the_answer_is_that_of_the_rfc() -> None:
    answer = answer_handshake(environ()).answer
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"REQUEST_METHOD": "POST"}, 400),
        ({"SERVER_PROTOCOL": "HTTP/1.0"}, 400),
        ({"HTTP_UPGRADE": None}, 400),
        ({"HTTP_CONNECTION": "close"}, 400),
        ({"HTTP_SEC_WEBSOCKET_KEY": None}, 400),
        ({"HTTP_SEC_WEBSOCKET_KEY": "short"}, 400),
        ({"HTTP_SEC_WEBSOCKET_KEY": "x" * 24}, 400),
        ({"HTTP_SEC_WEBSOCKET_VERSION": "8"}, 426),
        ({"HTTP_ORIGIN": "https://evil.test"}, 403),
        ({"HTTP_ORIGIN": "null"}, 403),
        ({"HTTP_ORIGIN": "null", "HTTP_HOST": ""}, 403),
        ({"HTTP_ORIGIN": "https://["}, 403),
    ],
)
def test_a_handshake_that_is_none_is_refused(changes: dict[str, str | None], status: int) -> None:
    with pytest.raises(BadRequest) as caught:
        answer_handshake(environ(**changes))
    assert caught.value.status == status


def test_origins_are_those_that_were_named() -> None:
    assert answer_handshake(environ(HTTP_ORIGIN="https://A.test"))
    assert answer_handshake(environ(HTTP_ORIGIN="https://b.test"), origins=["https://b.test"])
    assert answer_handshake(environ(HTTP_ORIGIN="null"), origins=["*"])
    with pytest.raises(BadRequest):
        answer_handshake(environ(HTTP_ORIGIN="https://a.test"), origins=["https://b.test"])


@pytest.mark.parametrize(
    ("offer", "is_met"),
    [
        ("permessage-deflate", True),
        ("permessage-deflate; client_max_window_bits", True),
        ("x-other, permessage-deflate; server_max_window_bits=10", True),
        ("permessage-deflate; server_max_window_bits=8, permessage-deflate", True),
        ("permessage-deflate; server_max_window_bits=99", False),
        ("permessage-deflate; server_max_window_bits=x", False),
        ("x-webkit-deflate-frame", False),
        ("", False),
    ],
)
def test_compression_is_agreed_on_if_it_can_be(offer: str, is_met: bool) -> None:
    found = answer_handshake(environ(HTTP_SEC_WEBSOCKET_EXTENSIONS=offer))
    assert (b"permessage-deflate" in found.answer, len(found.extensions)) == (is_met, int(is_met))
    assert not answer_handshake(environ(HTTP_SEC_WEBSOCKET_EXTENSIONS=offer), compression=False).extensions


# -- frames by hand


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True) -> bytes:
    first = (0x80 if fin else 0) | (rsv << 4) | opcode
    size = len(payload)
    mask_bit = 0x80 if masked else 0
    if size < 126:
        head = bytes([first, mask_bit | size])
    elif size < 1 << 16:
        head = bytes([first, mask_bit | 126]) + struct.pack("!H", size)
    else:
        head = bytes([first, mask_bit | 127]) + struct.pack("!Q", size)
    if not masked:
        return head + payload
    mask = b"\x01\x02\x03\x04"
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def frames_of(data: bytes) -> list[tuple[int, bytes]]:
    """Return (opcode, payload) of the frames that a server sent."""
    found = []
    while data:
        size = data[1]
        at = 2
        if size == 126:
            size, at = struct.unpack_from("!H", data, 2)[0], 4
        elif size == 127:
            size, at = struct.unpack_from("!Q", data, 2)[0], 10
        found.append((data[0] & 15, data[at : at + size]))
        data = data[at + size :]
    return found


def open_by_hand(server: Server, extra: bytes = b"") -> socket:
    sock = convenience.connect(server.address)
    sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)  # frames in pieces: each would wait for the ACK of the one before
    sock.sendall(REQUEST + extra)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += sock.recv(1)
    return sock


def read_all(sock: socket) -> bytes:
    found = b""
    try:
        while more := sock.recv(65536):
            found += more
    except ConnectionResetError:
        pass
    return found


def closing(code: int) -> bytes:
    return frame(CLOSE, struct.pack("!H", code))


END = closing(1000)
GOOD = {  # frames, and what comes back before the close
    "text": (frame(TEXT, b"hi"), [(TEXT, b"hi")]),
    "empty": (frame(TEXT), [(TEXT, b"")]),
    "125": (frame(BINARY, b"x" * 125), [(BINARY, b"x" * 125)]),
    "126": (frame(BINARY, b"x" * 126), [(BINARY, b"x" * 126)]),
    "65536": (frame(BINARY, b"x" * 65536), [(BINARY, b"x" * 65536)]),
    "ping": (frame(PING, b"p"), [(PONG, b"p")]),
    "empty ping": (frame(PING), [(PONG, b"")]),
    "long ping": (frame(PING, b"p" * 125), [(PONG, b"p" * 125)]),
    "ten pings": (b"".join(frame(PING, b"%d" % n) for n in range(10)), [(PONG, b"%d" % n) for n in range(10)]),
    "pong that nobody asked for": (frame(PONG, b"p") + frame(TEXT, b"x"), [(TEXT, b"x")]),
    "fragments": (frame(TEXT, b"a", fin=False) + frame(CONT, b"b"), [(TEXT, b"ab")]),
    "ping between fragments": (
        frame(TEXT, b"a", fin=False) + frame(PING, b"p") + frame(CONT, b"b"),
        [(PONG, b"p"), (TEXT, b"ab")],
    ),
    "character cut by fragments": (frame(TEXT, b"\xce", fin=False) + frame(CONT, b"\xba"), [(TEXT, b"\xce\xba")]),
}


@pytest.mark.parametrize("piece", [None, 1])
@pytest.mark.parametrize("case", GOOD)
def test_good_frames_are_understood_in_any_pieces(case: str, piece: int | None) -> None:
    data, expected = GOOD[case]
    with serving(compression=False) as (server, _), open_by_hand(server) as sock:
        data += END
        size = piece if piece is not None and len(data) < 500 else len(data)
        for at in range(0, len(data), size):
            sock.sendall(data[at : at + size])
        assert frames_of(read_all(sock)) == [*expected, (CLOSE, struct.pack("!H", 1000))]


BAD = {  # frames, and the code of the close
    "reserved bit": (frame(TEXT, b"x", rsv=4), 1002),
    "reserved opcode": (frame(3, b"x"), 1002),
    "reserved control opcode": (frame(11), 1002),
    "long ping": (frame(PING, b"x" * 126), 1002),
    "ping in fragments": (frame(PING, b"x", fin=False), 1002),
    "close in fragments": (frame(CLOSE, b"", fin=False), 1002),
    "continuation of nothing": (frame(CONT, b"x"), 1002),
    "new message within one": (frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), 1002),
    "not masked": (frame(TEXT, b"x", masked=False), 1002),
    "close with one byte": (frame(CLOSE, b"x"), 1002),
    "close with a bad code": (closing(999), 1002),
    "close with a code that is not sent": (closing(1005), 1002),
    "close with a bad reason": (frame(CLOSE, struct.pack("!H", 1000) + b"\xff"), 1007),
    "bad utf-8": (frame(TEXT, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xed\xa0\x80"), 1007),
    "cut utf-8": (frame(TEXT, b"\xce"), 1007),
    "bad utf-8 in a fragment": (frame(TEXT, b"x\xff", fin=False), 1007),
    "huge": (bytes([0x82, 0xFF]) + struct.pack("!Q", 1 << 63), 1002),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_frames_end_it_with_their_code(case: str) -> None:
    data, code = BAD[case]
    with serving(compression=False) as (server, _), open_by_hand(server) as sock:
        sock.sendall(data)
        opcode, payload = frames_of(read_all(sock))[-1]
    assert (opcode, struct.unpack("!H", payload[:2])[0]) == (CLOSE, code)


@pytest.mark.parametrize(("sent", "answered"), [(1000, 1000), (1001, 1001), (3000, 3000), (4999, 4999), (None, 1000)])
def test_a_close_is_answered(sent: int | None, answered: int) -> None:
    with serving() as (server, _), open_by_hand(server) as sock:
        sock.sendall(frame(CLOSE) if sent is None else closing(sent))
        (opcode, payload), *more = frames_of(read_all(sock))
    assert (opcode, payload[:2], more) == (CLOSE, struct.pack("!H", answered), [])


def test_frames_that_came_with_the_handshake_are_not_lost() -> None:
    with serving() as (server, _), open_by_hand(server, frame(TEXT, b"early") + END) as sock:
        assert frames_of(read_all(sock))[0] == (TEXT, b"early")


def test_without_wsproto_one_hears_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wsproto", None)
    with pytest.raises(ImportError, match=r"pip install 'greenprobe\[websocket\]'"):
        runpy.run_path(websocket_frames.__file__)
