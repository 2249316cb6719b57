"""The WSGI server over real sockets: PEP 3333, HTTP/1.1, what clients do wrong, and how it stops."""

import io
import os
import socket as stdlib
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import pytest
import trustme
from tls_contexts import trusting_only

from greenprobe.acceptor import hold_off
from greenprobe.convenience import connect, listen
from greenprobe.green_socket import socket
from greenprobe.green_ssl import wrap
from greenprobe.greenthread import sleep, spawn
from greenprobe.http.forwarded import TrustedProxies, read_networks
from greenprobe.http.request_head import HeadLimits
from greenprobe.http.wire import Body, End, Head, Headers, ResponseReader
from greenprobe.hub import Hub
from greenprobe.sync import Event
from greenprobe.testing import JumpClock, wait_all_blocked
from greenprobe.timeout import Timeout
from greenprobe.wsgi import Server
from greenprobe.wsgi_connection import Access, Limits, Timeouts
from greenprobe.wsgi_response import FileWrapper

LOOPBACK = ("127.0.0.1", 0)
PLAIN = [("Content-Type", "text/plain")]
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
Environ = dict[str, Any]
Start = Callable[..., Any]


def hello(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", PLAIN)
    return [b"hello"]


def echo(environ: Environ, start: Start) -> Iterable[bytes]:
    body = environ["wsgi.input"].read(1 << 20)
    start("200 OK", PLAIN)
    return [environ["PATH_INFO"].encode("latin-1"), b" ", body]


def talk(server: Server, data: bytes, *, piece: int | None = None) -> bytes:
    """Send `data`, in pieces of so many bytes, and return all that comes until the end."""
    with connect(server.address) as sock:
        try:
            for at in range(0, len(data), piece or len(data)):
                sock.sendall(data[at : at + (piece or len(data))])
                if piece is not None:
                    sleep()
        except OSError:
            pass  # it was refused before it was complete
        return read_all(sock)


def read_all(sock: socket) -> bytes:
    pieces = []
    try:
        while data := sock.recv(65536):
            pieces.append(data)
    except ConnectionResetError:
        pass
    return b"".join(pieces)


class Answer:
    """One answer, as the client's own reader understands it."""

    def __init__(self, data: bytes, *, expects_body: bool = True) -> None:
        reader = ResponseReader(expects_body=expects_body)
        self.status, self.body, self.reusable = 0, b"", False
        self.headers: Headers = {}
        events = reader.feed(data)
        if not any(isinstance(event, End) for event in events):
            events += reader.feed(b"")
        for event in events:
            match event:
                case Head():
                    self.status, self.headers = event.status, event.headers
                case Body():
                    self.body += event.data
                case End():
                    self.reusable = event.reusable


def ask(app: Any, data: bytes = LAST, *, expects_body: bool = True, **options: Any) -> Answer:
    """Serve `app` for one connection, and return its answer to `data`."""
    with Server(LOOPBACK, app, errors=io.StringIO(), **options) as server:
        return Answer(talk(server, data), expects_body=expects_body)


def status_of(answer: bytes) -> int:
    return int(answer[9:12]) if answer else 0


# -- PEP 3333


def test_it_passes_the_validator_of_the_standard_library(hub: Hub) -> None:
    errors = io.StringIO()
    with Server(LOOPBACK, validator(echo), errors=errors) as server:
        post = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
        assert talk(server, GET + post + LAST).count(b"200 OK") == 3
    assert errors.getvalue() == ""


def test_the_environ_is_that_of_the_request() -> None:
    seen: Environ = {}

    def app(environ: Environ, start: Start) -> Iterable[bytes]:
        seen.update(environ)
        return hello(environ, start)

    with Server(LOOPBACK, app, environ={"extra": 1}) as server, connect(server.address) as sock:
        port = sock.getsockname()[1]
        sock.sendall(b"POST /a%20b?c=d HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nContent-Type: t\r\n\r\nxy")
        sock.recv(1000)
        expected = {
            "REQUEST_METHOD": "POST",
            "SCRIPT_NAME": "",
            "PATH_INFO": "/a b",
            "QUERY_STRING": "c=d",
            "CONTENT_TYPE": "t",
            "CONTENT_LENGTH": "2",
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": str(server.address[1]),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "REMOTE_PORT": str(port),
            "HTTP_HOST": "h",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "extra": 1,
        }
        assert {key: seen[key] for key in expected} == expected


def test_a_list_of_one_has_a_length_and_an_iterator_comes_in_chunks() -> None:
    answer = ask(hello)
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"hello", ("5",))

    def generator(environ: Environ, start: Start) -> Iterator[bytes]:
        start("200 OK", PLAIN)
        yield b"hel"
        yield b""
        yield b"lo"

    answer = ask(generator)
    assert (answer.body, answer.headers["transfer-encoding"]) == (b"hello", ("chunked",))
    answer = ask(generator, b"GET / HTTP/1.0\r\n\r\n")
    assert (answer.body, answer.reusable) == (b"hello", False)
    assert "transfer-encoding" not in answer.headers


def test_pieces_are_sent_as_they_come() -> None:
    go_on = Event()

    def app(environ: Environ, start: Start) -> Iterator[bytes]:
        start("200 OK", PLAIN)
        yield b"first"
        go_on.wait()
        yield b"second"

    with Server(LOOPBACK, app) as server, connect(server.address) as sock:
        sock.sendall(LAST)
        assert b"first" in sock.recv(1000)
        go_on.set()
        assert b"second" in read_all(sock)


def test_write_comes_before_what_is_returned() -> None:
    def app(environ: Environ, start: Start) -> Iterable[bytes]:
        write = start("200 OK", PLAIN)
        write(b"a")
        write(b"b")
        return [b"c"]

    assert ask(app).body == b"abc"


def test_fields_may_come_several_times() -> None:
    def app(environ: Environ, start: Start) -> Iterable[bytes]:
        start("200 OK", [("Set-Cookie", "a=b"), ("Set-Cookie", "c=d")])
        return []

    assert ask(app).headers["set-cookie"] == ("a=b", "c=d")


def test_an_answer_may_be_changed_until_it_is_sent() -> None:
    def app(environ: Environ, start: Start) -> Iterable[bytes]:
        start("200 OK", PLAIN)
        try:
            raise ValueError
        except ValueError as error:
            start("503 Busy", PLAIN, (type(error), error, error.__traceback__))
        return [b"sorry"]

    answer = ask(app)
    assert (answer.status, answer.body) == (503, b"sorry")


def test_close_is_called_whatever_happens() -> None:
    closed = []

    class Result:
        def __init__(self, fail: bool) -> None:
            self.fail = fail

        def __iter__(self) -> Iterator[bytes]:
            yield b"x"
            if self.fail:
                raise ValueError

        def close(self) -> None:
            closed.append(self.fail)

    def app(environ: Environ, start: Start) -> Any:
        start("200 OK", PLAIN)
        return Result(environ["PATH_INFO"] == "/fail")

    assert ask(app).body == b"x"
    with Server(LOOPBACK, app, errors=io.StringIO()) as server:
        assert not talk(server, LAST.replace(b"/ ", b"/fail ")).endswith(b"0\r\n\r\n")
    assert closed == [False, True]


def test_head_has_the_fields_and_no_body() -> None:
    answer = ask(hello, b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", expects_body=False)
    assert (answer.status, answer.headers["content-length"]) == (200, ("5",))
    with Server(LOOPBACK, hello) as server:
        assert talk(server, b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").endswith(b"\r\n\r\n")


@pytest.mark.parametrize("read", ["read()", "readline() + f.readline()", "read(2) + f.read(100)", "readlines()", "x"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_the_body_of_a_request_is_a_file(read: str, framing: str) -> None:
    def app(environ: Environ, start: Start) -> Iterable[bytes]:
        f = environ["wsgi.input"]
        found = list(f) if read == "x" else eval(f"f.{read}", {"f": f})
        start("200 OK", PLAIN)
        return [found if isinstance(found, bytes) else b"".join(found)]

    head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    length = head + b"Content-Length: 7\r\n\r\nab\ncd\ne"
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n3\r\nab\n\r\n4\r\ncd\ne\r\n0\r\nT: u\r\n\r\n"
    expected = b"ab\ncd\n" if "readline()" in read else b"ab\ncd\ne"
    assert ask(app, length if framing == "length" else chunked).body == expected


def test_trailers_go_both_ways() -> None:
    def app(environ: Environ, start: Start) -> Iterable[bytes]:
        body = environ["wsgi.input"].read()
        start("200 OK", [("Trailer", "X-Sum")])
        environ["greenprobe.response"].set_trailers([("X-Sum", environ["wsgi.input"].trailers["HTTP_X_SUM"])])
        yield body

    with Server(LOOPBACK, app) as server:
        data = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert talk(server, data + b"1\r\nx\r\n0\r\nX-Sum: 42\r\n\r\n").endswith(b"1\r\nx\r\n0\r\nX-Sum: 42\r\n\r\n")


# -- HTTP/1.1


def test_pipelined_requests_are_answered_in_order() -> None:
    requests = [b"POST /p%d HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n%d" % (n, n) for n in range(5)]
    with Server(LOOPBACK, echo) as server:
        answers = talk(server, b"".join(requests) + LAST)
    places = [answers.find(b"/p%d" % n) for n in range(5)]
    assert places == sorted(places)
    assert -1 not in places


@pytest.mark.parametrize("piece", [None, 1, 7])
def test_requests_may_come_in_pieces(piece: int | None) -> None:
    with Server(LOOPBACK, echo) as server:
        post = b"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        answers = talk(server, post + b"\r\n" + LAST, piece=piece)
    assert answers.count(b"200 OK") == 2
    assert b"abc" in answers


def test_an_old_client_may_keep_the_connection() -> None:
    old = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    with Server(LOOPBACK, hello) as server:
        answers = talk(server, old + b"GET / HTTP/1.0\r\n\r\n")
    assert answers.count(b"hello") == 2
    assert answers.count(b"Connection: keep-alive") == 1


def test_a_client_that_waits_for_100_is_told_at_the_first_read() -> None:
    with Server(LOOPBACK, echo) as server, connect(server.address) as sock:
        sock.sendall(LAST[:-2] + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"ok")
        assert read_all(sock).endswith(b"ok\r\n0\r\n\r\n")


def test_a_client_that_waits_for_100_in_vain_gets_its_answer() -> None:
    with Server(LOOPBACK, hello) as server:
        answer = talk(server, b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"100 Continue" not in answer


def test_a_body_that_the_application_left_is_read_past() -> None:
    with Server(LOOPBACK, hello) as server:
        post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000
        assert talk(server, post + LAST).count(b"200 OK") == 2


def test_an_early_answer_reaches_a_client_that_sends_on(clock: JumpClock) -> None:
    post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 3_000_000
    with Server(LOOPBACK, hello) as server:
        assert talk(server, post).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "data", [GET[:-2] + b"Content-Length: 900000\r\n\r\n", b"BAD\r\n\r\n", GET[:-2] + b"Expect: x\r\n\r\n"]
)
def test_a_connection_that_ends_early_is_not_reset_under_the_answer(data: bytes, clock: JumpClock) -> None:
    with Server(LOOPBACK, hello) as server, connect(server.address) as sock:
        sock.sendall(data + b"x" * 400_000)
        found = b""
        while more := sock.recv(65536):  # a reset would raise here
            found += more
        assert found.startswith(b"HTTP/1.1 ")


def test_a_connection_can_be_taken_over() -> None:
    def app(environ: Environ, start: Start) -> Iterable[bytes]:
        sock, data = environ["greenprobe.connection"].hijack()
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + data.upper())
        sock.sendall(sock.recv(100).upper())
        return []

    with Server(LOOPBACK, app) as server, connect(server.address) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nmore")
        assert sock.recv(1000) == b"HTTP/1.1 101 Switching Protocols\r\n\r\nMORE"
        sock.sendall(b"words")
        assert read_all(sock) == b"WORDS"


# -- files


def file_app(path: Path, *headers: tuple[str, str], offset: int = 0) -> Any:
    def app(environ: Environ, start: Start) -> Any:
        file = path.open("rb")
        file.seek(offset)
        start("200 OK", list(headers))
        return environ["wsgi.file_wrapper"](file, 1000)

    return app


def test_a_file_is_sent_whole_from_where_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "file"
    content = os.urandom(3_000_000)
    path.write_bytes(content)
    answer = ask(file_app(path))
    assert (answer.body == content, answer.headers["content-length"]) == (True, ("3000000",))
    assert ask(file_app(path, offset=2_999_990)).body == content[-10:]
    assert ask(file_app(path, ("Content-Length", "5"))).body == content[:5]
    assert ask(file_app(path), b"GET / HTTP/1.0\r\n\r\n").body == content


def test_what_only_looks_like_a_file_is_read(tmp_path: Path) -> None:
    def app(environ: Environ, start: Start) -> Any:
        start("200 OK", [])
        return environ["wsgi.file_wrapper"](io.BytesIO(b"x" * 5000), 1000)

    assert ask(app).body == b"x" * 5000


def test_a_framework_that_takes_parts_of_a_file_can_move_and_close_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    wrapper = FileWrapper(path.open("rb"), 4)
    iterator: Any = iter(wrapper)
    iterator.seek(5)
    assert list(iterator) == [b"5678", b"9"]
    iterator.close()
    assert wrapper.file.closed


def test_an_empty_file_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    assert ask(file_app(path)).body == b""


# -- applications that fail


@pytest.mark.parametrize("error", [ZeroDivisionError("secret"), Timeout(), ConnectionResetError("secret")])
def test_an_application_that_raises_is_a_500_without_details(error: BaseException) -> None:
    def app(environ: Environ, start: Start) -> Iterable[bytes]:
        start("200 OK", PLAIN)
        raise error

    errors = io.StringIO()
    with Server(LOOPBACK, app, errors=errors) as server:
        answer = Answer(talk(server, GET))
        assert server.statistics().failures == 1
    assert (answer.status, answer.body, answer.reusable) == (500, b"500 Internal Server Error\n", False)
    assert type(error).__name__ in errors.getvalue()
    assert "GET /" in errors.getvalue()


def broken_after(environ: Environ, start: Start) -> Iterator[bytes]:
    start("200 OK", PLAIN)
    yield b"begun"
    raise ZeroDivisionError


def too_short(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", [("Content-Length", "10")])
    return [b"short"]


def too_long(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", [("Content-Length", "2")])
    return [b"too long"]


@pytest.mark.parametrize(("app", "end"), [(broken_after, b"begun\r\n"), (too_short, b"short"), (too_long, b"to")])
def test_an_answer_that_goes_wrong_ends_the_connection_where_the_client_notices(app: Any, end: bytes) -> None:
    errors = io.StringIO()
    with Server(LOOPBACK, app, errors=errors) as server:
        assert talk(server, GET + GET).endswith(b"\r\n\r\n" + (b"5\r\n" if app is broken_after else b"") + end)
    assert "Error" in errors.getvalue()


def no_start(environ: Environ, start: Start) -> Iterable[bytes]:
    return [b"x"]


def twice(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", [])
    start("200 OK", [])
    return []


def text(environ: Environ, start: Start) -> Any:
    start("200 OK", [])
    return ["text"]


def split(environ: Environ, start: Start) -> Any:
    start("200 OK", [("Location", "/\r\nSet-Cookie: a=b")])
    return []


@pytest.mark.parametrize("app", [no_start, twice, text, split])
def test_an_application_that_breaks_the_rules_is_a_500(app: Any) -> None:
    assert ask(app).status == 500


def test_a_client_that_leaves_is_no_failure_of_the_application(hub: Hub) -> None:
    errors = io.StringIO()
    closed = Event()

    def app(environ: Environ, start: Start) -> Iterator[bytes]:
        start("200 OK", PLAIN)
        try:
            while True:
                yield b"x" * 100_000
        finally:
            closed.set()

    with Server(LOOPBACK, app, errors=errors) as server:
        with connect(server.address) as sock:
            sock.sendall(GET)
            sock.recv(10)
        assert closed.wait(5)
        assert server.statistics().failures == 0
    assert errors.getvalue() == ""


# -- clients that break rules: everything is answered with its status, and the connection ends

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"
RULES = {
    "CL.TE": (HEAD + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG", 400),
    "TE.CL": (HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\nGPOST\r\n0\r\n\r\n", 400),
    "TE.TE": (HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n\r\n5\r\nGPOST\r\n0\r\n\r\n", 400),
    "TE with a tab before it": (HEAD + b"X: y\r\n\tTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "bare LF everywhere": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "bare LF once": (b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400),
    "bare CR": (b"GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n", 400),
    "space before colon": (HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
    "obs-fold": (HEAD + b"X: a\r\n b\r\n\r\n", 400),
    "two lengths": (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxy", 400),
    "huge length": (HEAD + b"Content-Length: 99999999999999999999\r\n\r\n", 400),
    "length over the limit": (HEAD + b"Content-Length: 2000\r\n\r\n", 413),
    "chunks over the limit": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n7d1\r\n", 413),
    "huge chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n", 400),
    "chunk without size": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
    "chunk with bare LF": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", 400),
    "header bomb": (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 300 + b"\r\n", 431),
    "long line": (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "long line without end": (b"GET /" + b"x" * 9000, 414),
    "large head without end": (b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000, 431),
    "bad method": (b"G{}T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "NUL": (b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "percent": (b"GET /%g0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "gzip": (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
    "expectation": (HEAD + b"Expect: 200-ok\r\n\r\n", 417),
}


@pytest.fixture
def strict() -> Iterator[Server]:
    """A server that reads every body, with small limits, which has no patience after an error."""
    limits = Limits(HeadLimits(), body_bytes=1000)
    with Server(LOOPBACK, echo, limits=limits, timeouts=Timeouts(farewell=0.01)) as server:
        yield server


@pytest.mark.parametrize("way", ["whole", "byte by byte", "with a request behind it"])
@pytest.mark.parametrize("case", RULES)
def test_what_breaks_a_rule_gets_its_status_and_the_connection_ends(case: str, way: str, strict: Server) -> None:
    data, status = RULES[case]
    piece = None if way != "byte by byte" else 1 if len(data) < 500 else 997
    if way == "with a request behind it":
        data += GET
    answer = talk(strict, data, piece=piece)
    assert status_of(answer) == status
    assert answer.count(b"HTTP/1.1 ") == 1, "what came behind it must not be taken for a request"
    assert b"Connection: close" in answer


def test_a_client_that_ends_in_its_body_is_given_up() -> None:
    errors = io.StringIO()
    with Server(LOOPBACK, echo, errors=errors) as server, connect(server.address) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabc")
        sock.shutdown(stdlib.SHUT_WR)
        assert status_of(read_all(sock)) == 400
    assert errors.getvalue() == ""


# -- time


def test_a_head_that_trickles_in_is_cut_off_in_time(clock: JumpClock, hub: Hub) -> None:
    with Server(LOOPBACK, hello, timeouts=Timeouts(head=20)) as server, connect(server.address) as sock:
        began = clock.now()

        def trickle() -> None:
            for _ in range(100):
                sleep(3)
                sock.sendall(b"x")

        sock.sendall(b"GET / HTTP/1.1\r\nX: ")
        slow = spawn(trickle)
        assert status_of(sock.recv(1000)) == 408
        assert clock.now() - began == pytest.approx(20, abs=0.1)
        slow.kill()


@pytest.mark.parametrize(("data", "seconds"), [(b"", 20), (GET, 75)])
def test_silence_between_requests_ends_the_connection(clock: JumpClock, data: bytes, seconds: float) -> None:
    with Server(LOOPBACK, hello) as server, connect(server.address) as sock:
        sock.sendall(data)
        read_all(sock)
        assert clock.now() == pytest.approx(seconds)


def send_slowly(server: Server, clock: JumpClock, *, size: int, every: float, count: int) -> tuple[bytes, float]:
    """POST `count` pieces of `size` bytes, one in `every` seconds; return the answer and when it came."""
    with connect(server.address) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (size * count))

        def trickle() -> None:
            for _ in range(count):
                sleep(every)
                sock.sendall(b"x" * size)

        slow = spawn(trickle)
        answer = read_all(sock)
        slow.kill()
        wait_all_blocked()
        return answer, clock.now()


def test_a_body_that_trickles_in_is_a_408_when_its_time_is_spent(clock: JumpClock) -> None:
    with Server(LOOPBACK, echo, timeouts=Timeouts(io=60), limits=Limits(min_body_bytes_per_s=50)) as server:
        answer, when = send_slowly(server, clock, size=1, every=10, count=100)
        assert status_of(answer) == 408
        assert 60 <= when < 65  # the bytes that came have paid for a little more


def test_a_body_that_is_slow_and_keeps_to_the_rate_is_read(clock: JumpClock) -> None:
    with Server(LOOPBACK, echo, timeouts=Timeouts(io=60), limits=Limits(min_body_bytes_per_s=50)) as server:
        answer, when = send_slowly(server, clock, size=600, every=10, count=100)
        assert status_of(answer) == 200
        assert when >= 1000
    with Server(LOOPBACK, echo, timeouts=Timeouts(io=60), limits=Limits(min_body_bytes_per_s=None)) as server:
        answer, _ = send_slowly(server, clock, size=1, every=50, count=20)
        assert status_of(answer) == 200


def test_a_proxy_header_that_trickles_in_has_the_time_of_a_head(clock: JumpClock) -> None:
    with (
        Server(LOOPBACK, hello, proxy_protocol=True, timeouts=Timeouts(head=20)) as server,
        connect(server.address) as sock,
    ):

        def trickle() -> None:
            with suppress(OSError):
                for byte in b"PROXY TCP4 192.0.2.1 10.0.0.1 5000 80\r\n":
                    sock.sendall(bytes([byte]))
                    sleep(9)

        slow = spawn(trickle)
        assert read_all(sock) == b""
        assert clock.now() == 20
        slow.kill()
        assert server.statistics().turned_away == 1


def test_a_flood_of_blank_lines_is_no_request() -> None:
    with Server(LOOPBACK, hello) as server:
        assert status_of(talk(server, b"\r\n" * 10 + LAST)) == 200
        assert status_of(talk(server, b"\r\n" * 10_000)) == 400


def test_an_application_that_reads_slowly_takes_nothing_from_its_client(clock: JumpClock) -> None:
    def app(environ: Environ, start: Start) -> Iterable[bytes]:
        body = b""
        while piece := environ["wsgi.input"].read1(10_000):
            body += piece
            sleep(100)
        start("200 OK", PLAIN)
        return [b"%d" % len(body)]

    with Server(LOOPBACK, app) as server:
        answer, _ = send_slowly(server, clock, size=50_000, every=1, count=2)
    assert answer.endswith(b"\r\n\r\n100000")


@pytest.mark.parametrize("rest", [b"-1\r\n\r\n", b"F" * 17 + b"\r\n", b"1;a\nb\r\nx\r\n0\r\n\r\n"])
def test_a_broken_body_that_nobody_read_gets_no_second_answer(rest: bytes) -> None:
    with Server(LOOPBACK, hello) as server:
        answer = talk(server, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + rest + GET)
        assert answer.count(b"HTTP/1.1 ") == 1
        assert status_of(answer) == 200
        assert server.statistics().refused == 1


def test_a_body_that_stops_coming_is_a_408(clock: JumpClock) -> None:
    with Server(LOOPBACK, echo) as server:
        answer = talk(server, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabc")
    assert status_of(answer) == 408


def test_a_client_that_does_not_read_is_given_up(clock: JumpClock) -> None:
    def app(environ: Environ, start: Start) -> Iterable[bytes]:
        start("200 OK", PLAIN)
        return [b"x" * 50_000_000]

    with Server(LOOPBACK, app, errors=io.StringIO()) as server, connect(server.address) as sock:
        sock.sendall(GET)
        while not server.statistics().accepted:
            sleep()
        while server.statistics().connections:
            sleep(10)
        assert 55 < clock.now() < 75


# -- how many


def test_connections_beyond_the_limit_wait() -> None:
    with Server(LOOPBACK, hello, limits=Limits(connections=2)) as server, ExitStack() as stack:
        first, second, third = (stack.enter_context(connect(server.address)) for _ in range(3))
        for sock in (first, second):
            sock.sendall(GET)
            assert b"hello" in sock.recv(1000)
        third.sendall(GET)
        wait_all_blocked()
        assert server.statistics().connections == 2
        first.close()
        assert b"hello" in third.recv(1000)


def test_one_client_cannot_take_all_places() -> None:
    with Server(LOOPBACK, hello, limits=Limits(connections_per_client=2)) as server, ExitStack() as stack:
        socks = [stack.enter_context(connect(server.address)) for _ in range(2)]
        for sock in socks:
            sock.sendall(GET)
            assert b"hello" in sock.recv(1000)
        assert talk(server, GET) == b""
        assert server.statistics().turned_away == 1
        socks[0].close()
        wait_all_blocked()
        assert b"hello" in talk(server, LAST)


# -- stopping


def test_what_runs_is_finished_and_nothing_else_begins() -> None:
    go_on = Event()

    def app(environ: Environ, start: Start) -> Iterable[bytes]:
        go_on.wait()
        return hello(environ, start)

    server = Server(LOOPBACK, app)
    server.start()
    with connect(server.address) as sock:
        sock.sendall(GET)
        wait_all_blocked()
        stopping = spawn(server.stop)
        wait_all_blocked()
        with listen(LOOPBACK) as other, socket() as late:
            if hold_off(other):  # where a socket filter may be set
                late.settimeout(0.02)
                with pytest.raises((TimeoutError, ConnectionRefusedError)):
                    late.connect(server.address)
        go_on.set()
        answer = read_all(sock)
        assert answer.endswith(b"hello")
        assert b"Connection: close" in answer
        stopping.wait()


def test_a_request_on_its_way_to_an_idle_connection_is_answered(clock: JumpClock) -> None:
    server = Server(LOOPBACK, hello)
    server.start()
    with connect(server.address) as idle, connect(server.address) as busy:
        for sock in (idle, busy):
            sock.sendall(GET)
            sock.recv(1000)
        stopping = spawn(server.stop)
        wait_all_blocked()
        busy.sendall(GET)
        assert b"Connection: close" in read_all(busy)
        assert read_all(idle) == b""
        stopping.wait()
        assert clock.now() < 1


def test_a_connection_in_the_queue_is_served_before_the_end() -> None:
    server = Server(LOOPBACK, hello)
    server.start()
    wait_all_blocked()
    with stdlib.create_connection(server.address) as sock:  # blocks: the hub cannot accept it yet
        sock.sendall(GET)
        server.stop()
        assert sock.recv(1000).endswith(b"hello")


def test_what_does_not_end_is_killed_at_the_deadline(clock: JumpClock) -> None:
    killed = []

    def app(environ: Environ, start: Start) -> Iterable[bytes]:
        try:
            sleep(1000)
        finally:
            killed.append(True)
        return hello(environ, start)

    server = Server(LOOPBACK, app)
    server.start()
    with connect(server.address) as sock:
        sock.sendall(GET)
        wait_all_blocked()
        server.stop(5)
        assert (killed, read_all(sock)) == ([True], b"")
        assert 5 <= clock.now() < 7


def test_it_can_be_started_again() -> None:
    server = Server(LOOPBACK, hello)
    for _ in range(2):
        with server:
            assert b"hello" in talk(server, LAST)


def test_serving_for_ever_ends_with_a_stop_by_a_request(clock: JumpClock) -> None:
    def app(environ: Environ, start: Start) -> Iterable[bytes]:
        spawn(server.stop)
        return hello(environ, start)

    server = Server(LOOPBACK, app)
    serving = spawn(server.serve_forever)
    wait_all_blocked()
    assert b"hello" in talk(server, GET)
    serving.wait()


# -- where


def test_it_serves_at_a_path(tmp_path: Path) -> None:
    with Server(str(tmp_path / "socket"), validator(echo)) as server:
        assert status_of(talk(server, LAST)) == 200


@pytest.mark.parametrize("proxied", [False, True])
def test_it_speaks_tls(proxied: bool) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    client = trusting_only(authority)

    def app(environ: Environ, start: Start) -> Iterable[bytes]:
        start("200 OK", PLAIN)
        return [environ["wsgi.url_scheme"].encode(), environ["wsgi.input"].read(), b"x" * 1_000_000]

    with (
        Server(LOOPBACK, app, context=context, proxy_protocol=proxied) as server,
        connect(server.address) as plain,
    ):
        if proxied:
            plain.sendall(b"PROXY UNKNOWN\r\n")
        sock = wrap(plain, client, server_hostname="127.0.0.1")
        sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc")
        assert Answer(read_all(sock)).body == b"httpsabc" + b"x" * 1_000_000
        sock.close()


# -- behind proxies


def who(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", PLAIN)
    return [f"{environ['REMOTE_ADDR']} {environ['wsgi.url_scheme']}".encode()]


def test_a_trusted_proxy_is_believed_about_the_client() -> None:
    log: list[Access] = []
    data = LAST[:-2] + b"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n\r\n"
    assert ask(who, data).body == b"127.0.0.1 http"
    proxies = TrustedProxies(read_networks(["127.0.0.1"]))
    assert ask(who, data, proxies=proxies, log=log.append).body == b"192.0.2.1 https"
    assert log[0].client == "192.0.2.1"


@pytest.mark.parametrize("piece", [None, 1])
def test_a_proxy_header_says_who_the_client_is(piece: int | None) -> None:
    with Server(LOOPBACK, who, proxy_protocol=True) as server:
        answer = talk(server, b"PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\n" + LAST, piece=piece)
        assert b"192.0.2.1 http" in answer
        assert talk(server, LAST) == b""
        assert server.statistics().turned_away == 1
    strict = TrustedProxies(read_networks(["10.0.0.1"]))
    with Server(LOOPBACK, who, proxy_protocol=True, proxies=strict) as server:
        assert talk(server, b"PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\n" + LAST) == b""


# -- counting and logging


def test_every_request_is_logged_and_counted() -> None:
    log: list[Access] = []
    with Server(LOOPBACK, hello, log=log.append) as server:
        talk(server, b"GET /x?y HTTP/1.1\r\nHost: a\r\nUser-Agent: me\r\nReferer: r\r\n\r\n" + LAST)
        talk(server, b"nonsense\r\n\r\n")
        assert (server.statistics().requests, server.statistics().refused, server.statistics().accepted) == (2, 1, 2)
    first, _, refused = log
    assert first[2:9] == ("GET", "/x?y", "HTTP/1.1", "200", 5, "r", "me")
    assert first.client == "127.0.0.1"
    assert 0 <= first.seconds < 5
    assert refused.status == "400"


def test_the_server_field_can_be_left_out() -> None:
    assert ask(hello).headers["server"] == ("greenprobe",)
    assert "server" not in ask(hello, server_header=None).headers
    assert "date" in ask(hello).headers
