"""Servers that misbehave on a connection, whatever they answer: out of turn, cut off in TLS, floods of frames."""

import ssl
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from itertools import repeat
from pathlib import Path
from socket import socket

import pytest
import trustme
from fakes import ok, served_in_threads, web_server
from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    ExtensionFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from greenprobe.errors import (
    ConnectionLost,
    FetchError,
    HeaderTooLarge,
    IncompleteBody,
    ProtocolError,
    TotalTimeout,
    WriteTimeout,
)
from greenprobe.http.client import Client
from greenprobe.http.options import ClientOptions
from greenprobe.http.trust import trusting
from greenprobe.hub import Hub

Play = Callable[[socket], object]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return str(tmp_path / "ca.pem")


def context_of(authority: trustme.CA, *protocols: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def served(play: Play, context: ssl.SSLContext | None = None) -> AbstractContextManager[int]:
    """Serve connections with a function that reads and writes as it likes."""
    socks: list[socket] = []

    def converse(sock: socket) -> None:
        try:
            if context is not None:
                sock = context.wrap_socket(sock, server_side=True)
            socks.append(sock)
            play(sock)
        except OSError:
            pass  # the client has had enough
        finally:
            sock.close()

    return served_in_threads(converse, socks)


# -- out of turn


class OutOfTurn:
    """Answers the first request of a connection, and once more when nobody has asked."""

    def __init__(self) -> None:
        self.connections = 0
        self.may_speak, self.has_spoken = threading.Event(), threading.Event()

    def __call__(self, sock: socket) -> None:
        self.connections += 1
        sock.recv(65536)
        sock.sendall(ok(b"%d" % self.connections))
        if self.connections == 1:
            self.may_speak.wait(5)
            sock.sendall(ok(b"evil"))
            self.has_spoken.set()
        while sock.recv(65536):
            sock.sendall(ok(b"wrong connection"))


@pytest.mark.parametrize("scheme", ("http", "https"))
def test_what_a_server_says_out_of_turn_is_nobodys_answer(
    hub: Hub, authority: trustme.CA, ca_file: str, scheme: str
) -> None:
    server = OutOfTurn()
    context = context_of(authority) if scheme == "https" else None
    with (
        served(server, context) as port,
        web_server(lambda path: ok()) as other,
        Client(trust=lambda: trusting(ca_file)) as client,
    ):
        assert client.get(f"{scheme}://localhost:{port}/").content == b"1"
        server.may_speak.set()
        assert server.has_spoken.wait(5)
        client.get(f"http://127.0.0.1:{other}/")  # the hub looks around meanwhile
        assert client.get(f"{scheme}://localhost:{port}/").content == b"2"


@pytest.mark.parametrize(
    ("answer", "good"),
    (
        (ok(b"whole"), b"whole"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", b"hi"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", IncompleteBody),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", IncompleteBody),
        (b"HTTP/1.1 200 OK\r\n\r\nwho knows whether this is all", IncompleteBody),
        (b"HTTP/1.1 200 OK\r\nConte", IncompleteBody),
        (b"", ConnectionLost),
    ),
)
def test_an_end_without_good_bye_in_tls_is_an_end_only_where_the_length_says_so(
    hub: Hub, authority: trustme.CA, ca_file: str, answer: bytes, good: object
) -> None:
    def play(sock: socket) -> None:
        sock.recv(65536)
        sock.sendall(answer)  # and close without a close_notify

    with served(play, context_of(authority)) as port, Client(trust=lambda: trusting(ca_file)) as client:
        assert outcome(client, f"https://localhost:{port}/") == good


def outcome(client: Client, url: str, body: bytes | None = None) -> object:
    """Return the body of an answer, or the class of the error."""
    try:
        return client.request("GET" if body is None else "POST", url, body).content
    except FetchError as exc:
        return type(exc)


# -- HTTP/2


def flooding(first: bytes, *frames: Frame) -> Play:
    """Say something, and then these frames without end."""
    block = b"".join([frame.serialize() for frame in frames]) * 100

    def play(sock: socket) -> None:
        begin(sock)
        sock.sendall(first)
        for piece in repeat(block):
            sock.sendall(piece)

    return play


def saying(*frames: Frame) -> Play:
    """Say these frames, and then nothing."""

    def play(sock: socket) -> None:
        begin(sock)
        sock.sendall(b"".join([frame.serialize() for frame in frames]))
        while sock.recv(65536):
            pass

    return play


def begin(sock: socket) -> None:
    """Wait for the first request, and say hello."""
    while len(sock.recv(65536)) < 40:  # the client's hello and its first request may come in one piece or in two
        pass
    sock.sendall(SettingsFrame(0).serialize())


def headers(block: bytes = b"\x88", *flags: str, stream: int = 1) -> Frame:
    """Return HEADERS, of a 200 if nothing else is said."""
    return HeadersFrame(stream, block, flags=list(flags))


HEAD = headers(b"\x88", "END_HEADERS").serialize()
# A header of 4,000 bytes that is put into the table and then named again and again.
BOMB = b"\x88\x40\x01a\x7f\xa1\x1e" + b"b" * 4000 + b"\xbe" * 12_000

FLOODS: dict[str, tuple[Play, object]] = {
    "settings": (flooding(b"", SettingsFrame(0, {4: 1000})), ProtocolError),
    "pings": (flooding(b"", PingFrame(0, b"12345678")), ProtocolError),
    "pings-behind-a-head": (flooding(HEAD, PingFrame(0, b"12345678")), ProtocolError),
    "priorities": (flooding(b"", PriorityFrame(1, depends_on=3, stream_weight=1)), ProtocolError),
    "empty-data": (flooding(HEAD, DataFrame(1)), ProtocolError),
    "padding": (flooding(HEAD, DataFrame(1, b"", pad_length=100, flags=["PADDED"])), ProtocolError),
    "unknown-frames": (flooding(b"", ExtensionFrame(0xBA, 0, flag_byte=0, body=b"x")), ProtocolError),
    "resets": (flooding(b"", RstStreamFrame(1, 8)), ConnectionLost),
    "goaways": (flooding(b"", GoAwayFrame(0, 1, 0)), ProtocolError),
    "windows": (flooding(b"", WindowUpdateFrame(0, 1)), ProtocolError),
    "windows-that-overflow": (saying(*[WindowUpdateFrame(0, (1 << 31) - 1)] * 2), ProtocolError),
    "continuations": (flooding(headers().serialize(), ContinuationFrame(1, b"")), ProtocolError),
    "header-bomb": (saying(headers(BOMB, "END_HEADERS")), HeaderTooLarge),
    "a-push": (saying(PushPromiseFrame(1, 2, b"\x82", flags=["END_HEADERS"])), ProtocolError),
    "data-of-no-stream": (saying(DataFrame(5, b"x")), ProtocolError),
    "data-before-a-head": (saying(DataFrame(1, b"x")), ProtocolError),
    "a-frame-too-long": (saying(headers(b"\x88", "END_HEADERS"), DataFrame(1, bytes(1 << 15))), ProtocolError),
    "a-head-without-a-status": (saying(headers(b"\x40\x01a\x01b", "END_HEADERS")), ProtocolError),
    "nothing": (saying(), TotalTimeout),
}


def then_ends(*frames: Frame) -> Play:
    """Say these frames, and good-bye; and read what comes meanwhile, or closing would reset what was said."""

    def play(sock: socket) -> None:
        begin(sock)
        sock.sendall(b"".join([frame.serialize() for frame in frames]))
        assert isinstance(sock, ssl.SSLSocket)
        with suppress(OSError):
            sock.unwrap()
        while socket.recv(sock, 65536):  # as it is on the wire
            pass

    return play


def text(data: bytes) -> Play:
    """Say this, whatever it is, before any frame."""

    def play(sock: socket) -> None:
        sock.recv(65536)
        sock.sendall(data)
        sock.recv(65536)

    return play


def fields(*pairs: tuple[str, str], end: bool = False) -> Frame:
    """Return HEADERS with these, behind the status 200 if they have none."""
    given = [(":status", "200"), *pairs] if not any(name == ":status" for name, _ in pairs) else list(pairs)
    return headers(Encoder().encode(given), "END_HEADERS", *["END_STREAM"] * end)


def raw(kind: int, flags: int, stream: int, body: bytes, length: int | None = None) -> Frame:
    """Return a frame that says of itself what it likes."""
    size = len(body) if length is None else length
    return RawFrame(size.to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + body)


class RawFrame(Frame):
    """Bytes in the place of a frame."""

    def __init__(self, data: bytes) -> None:
        self._raw = data

    def serialize(self) -> bytes:
        return self._raw


WHOLE = headers(b"\x88", "END_HEADERS")
REST = DataFrame(1, b"ok", flags=["END_STREAM"])
HALF = DataFrame(1, b"half")

ANSWERS: dict[str, tuple[Play, object]] = {
    "good": (saying(WHOLE, REST), b"ok"),
    "goaway-before-the-answer": (saying(GoAwayFrame(0, 1, 0), WHOLE, REST), b"ok"),
    "two-goaways": (saying(GoAwayFrame(0, (1 << 31) - 1, 0), WHOLE, GoAwayFrame(0, 1, 0), REST), b"ok"),
    "goaway-that-has-begun-nothing": (saying(GoAwayFrame(0, 0, 0)), ConnectionLost),
    "goaway-with-an-error": (saying(WHOLE, GoAwayFrame(0, 1, 2, additional_data=b"\x1b[2J")), IncompleteBody),
    "half-and-a-reset-without-an-error": (saying(WHOLE, HALF, RstStreamFrame(1, 0)), IncompleteBody),
    "half-and-a-reset": (saying(WHOLE, HALF, RstStreamFrame(1, 8)), IncompleteBody),
    "reset-behind-the-end": (saying(WHOLE, REST, RstStreamFrame(1, 0)), b"ok"),
    "reset-of-an-unknown-kind": (saying(RstStreamFrame(1, 0xDEADBEEF)), ConnectionLost),
    "head-and-the-end": (then_ends(WHOLE), IncompleteBody),
    "half-a-frame-and-the-end": (then_ends(WHOLE, raw(0, 0, 1, b"half", length=100)), IncompleteBody),
    "only-the-end": (then_ends(), ConnectionLost),
    "http-1": (text(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), ProtocolError),
    "a-frame-of-16-MB": (saying(WHOLE, raw(0, 0, 1, b"", length=0xFFFFFF)), ProtocolError),
    "data-behind-the-end": (saying(WHOLE, REST, DataFrame(1, b"evil")), b"ok"),
    "trailers": (saying(WHOLE, DataFrame(1, b"ok"), headers(b"\x40\x01a\x01b", "END_HEADERS", "END_STREAM")), b"ok"),
    "trailers-without-end": (saying(WHOLE, HALF, headers(b"\x40\x01a\x01b", "END_HEADERS")), ProtocolError),
    "a-status-in-trailers": (saying(WHOLE, HALF, headers(b"\x88", "END_HEADERS", "END_STREAM")), ProtocolError),
    "two-statuses": (saying(fields((":status", "200"), (":status", "404")), REST), ProtocolError),
    "a-status-behind-a-field": (saying(fields(("a", "b"), (":status", "200")), REST), ProtocolError),
    "a-status-of-text": (saying(fields((":status", "abc")), REST), ProtocolError),
    "a-status-of-two-digits": (saying(fields((":status", "99")), REST), ProtocolError),
    "a-status-in-arabic": (saying(fields((":status", "\u0662\u0660\u0660")), REST), ProtocolError),
    "101": (saying(fields((":status", "101")), REST), ProtocolError),
    "a-path": (saying(fields((":path", "/")), REST), ProtocolError),
    "a-name-in-capitals": (saying(fields(("X-Up", "1")), REST), ProtocolError),
    "a-name-with-a-line-break": (saying(fields(("a\r\nb", "c")), REST), ProtocolError),
    "no-name": (saying(fields(("", "c")), REST), ProtocolError),
    "a-line-break": (saying(fields(("a", "b\r\nc: d")), REST), ProtocolError),
    "a-nul": (saying(fields(("a", "b\0c")), REST), ProtocolError),
    "a-connection-header": (saying(fields(("connection", "close")), REST), ProtocolError),
    "chunked": (saying(fields(("transfer-encoding", "chunked")), REST), ProtocolError),
    "too-long-a-length": (saying(fields(("content-length", "5")), REST), ProtocolError),
    "too-short-a-length": (saying(fields(("content-length", "1")), REST), ProtocolError),
    "a-length-of-text": (saying(fields(("content-length", "two")), REST), ProtocolError),
    "a-length-with-a-sign": (saying(fields(("content-length", "+2")), REST), ProtocolError),
    "two-lengths": (saying(fields(("content-length", "2"), ("content-length", "3")), REST), ProtocolError),
    "a-body-of-204": (saying(fields((":status", "204")), REST), ProtocolError),
    "a-body-of-304": (saying(fields((":status", "304")), REST), ProtocolError),
    "data-before-the-final-head": (saying(fields((":status", "103")), REST), ProtocolError),
    "an-interim-answer-that-ends": (saying(fields((":status", "103"), end=True)), ProtocolError),
    "a-stream-of-the-servers": (saying(headers(b"\x88", "END_HEADERS", stream=2)), ProtocolError),
    "a-stream-nobody-opened": (saying(headers(b"\x88", "END_HEADERS", stream=7)), ProtocolError),
    "headers-of-no-stream": (saying(raw(1, 4, 0, b"\x88")), ProtocolError),
    "data-of-stream-0": (saying(raw(0, 0, 0, b"x")), ProtocolError),
    "settings-of-a-stream": (saying(raw(4, 0, 1, b"")), ProtocolError),
    "settings-of-five-bytes": (saying(raw(4, 0, 0, b"12345")), ProtocolError),
    "a-window-of-4-GB": (saying(SettingsFrame(0, {4: 0xFFFFFFFF})), ProtocolError),
    "frames-of-one-byte": (saying(SettingsFrame(0, {5: 1})), ProtocolError),
    "a-table-of-4-GB": (saying(SettingsFrame(0, {1: 0xFFFFFFFF}), WHOLE, REST), b"ok"),
    "no-streams-any-more": (saying(SettingsFrame(0, {3: 0}), WHOLE, REST), b"ok"),
    "an-unknown-setting": (saying(SettingsFrame(0, {0x99: 5}), WHOLE, REST), b"ok"),
    "a-ping-of-seven-bytes": (saying(raw(6, 0, 0, b"1234567")), ProtocolError),
    "a-window-that-grows-by-nothing": (saying(raw(8, 0, 0, bytes(4))), ProtocolError),
    "index-0": (saying(raw(1, 4, 1, b"\x80")), ProtocolError),
    "an-index-beyond-the-table": (saying(raw(1, 4, 1, b"\xff\x7f")), ProtocolError),
    "an-integer-without-end": (saying(raw(1, 4, 1, b"\xff" * 11 + b"\1")), ProtocolError),
    "half-a-field": (saying(raw(1, 4, 1, b"\x88\0\x7f")), ProtocolError),
    "a-table-that-outgrows-ours": (saying(raw(1, 4, 1, b"\x3f\xff\xff\xff\x7f")), ProtocolError),
    "more-padding-than-frame": (saying(WHOLE, raw(0, 8, 1, b"\x09ab")), ProtocolError),
    "a-continuation-of-nothing": (saying(raw(9, 4, 1, b"\x88")), ProtocolError),
    "a-continuation-of-another": (saying(raw(1, 0, 1, b"\x88"), raw(9, 4, 3, b"\x88")), ProtocolError),
    "a-ping-within-a-head": (saying(raw(1, 0, 1, b"\x88"), PingFrame(0, b"12345678")), ProtocolError),
    "the-reserved-bit": (saying(raw(1, 4, 1 << 31 | 1, b"\x88"), REST), b"ok"),
    "frames-of-a-byte-each": (saying(WHOLE, *[DataFrame(1, b"x")] * 3000, REST), b"x" * 3000 + b"ok"),
}


@pytest.mark.slow
def test_every_misbehaviour_in_frames_gets_its_verdict_and_the_pool_is_sound_afterwards(
    hub: Hub, authority: trustme.CA, ca_file: str
) -> None:
    """Slow: sixty TLS handshakes, and some pauses."""
    context, found = context_of(authority, "h2"), {}
    for name, (play, _) in ANSWERS.items():
        with (
            served(play, context) as port,
            Client(ClientOptions(http2=True), trust=lambda: trusting(ca_file)) as client,
        ):
            found[name] = outcome(client, f"https://localhost:{port}/")
            statistics = client.lanes.statistics()
            assert (statistics.busy, statistics.waiting) == (0, 0), name
    assert found == {name: good for name, (_, good) in ANSWERS.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_of_frames_ends_with_its_verdict_and_the_client_goes_on(
    hub: Hub, authority: trustme.CA, ca_file: str, name: str
) -> None:
    """Slow: tens of thousands of frames."""
    play, good = FLOODS[name]
    options = ClientOptions(http2=True, total_timeout=2.0 if good is TotalTimeout else 60.0)
    with (
        served(play, context_of(authority, "h2")) as port,
        web_server(lambda path: ok()) as other,
        Client(options, trust=lambda: trusting(ca_file)) as client,
    ):
        assert outcome(client, f"https://localhost:{port}/") == good
        assert outcome(client, f"http://127.0.0.1:{other}/") == b"ok"
        statistics = client.lanes.statistics()
        assert (statistics.busy, statistics.waiting) == (0, 0)


def test_a_window_that_never_opens_is_a_write_timeout(hub: Hub, authority: trustme.CA, ca_file: str) -> None:
    options = ClientOptions(http2=True, read_timeout=0.2)
    play = saying(SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: 0}))
    with (
        served(play, context_of(authority, "h2")) as port,
        Client(options, trust=lambda: trusting(ca_file)) as client,
    ):
        assert outcome(client, f"https://localhost:{port}/", b"x" * 100_000) is WriteTimeout
