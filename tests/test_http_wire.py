"""HTTP/1 answers: what is read how, what is refused, and that both readers agree."""

from typing import cast

import httptools
import pytest
from hypothesis import assume, example, given, settings, strategies as st

from greenprobe.errors import HeaderTooLarge, IncompleteBody, ProtocolError
from greenprobe.http import wire
from greenprobe.http.wire import Body, End, Event, Head, PlainReader, ResponseReader, read_plain

OK = b"HTTP/1.1 200 OK\r\n"
NGINX = (
    OK + b"Server: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 10:00:00 GMT\r\nContent-Type: text/html\r\n"
    b'Content-Length: 5\r\nConnection: keep-alive\r\nETag: "65a-3e8"\r\n\r\nhello'
)
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def read(data: bytes, *, step: int = 0, eof: bool = False, expects_body: bool = True) -> tuple[Head, bytes, End | None]:
    """Feed `data` in steps (0: at once), then the end of the connection if `eof`; sum the events up."""
    reader = ResponseReader(expects_body=expects_body)
    events: list[Event] = []
    pieces = [data[i : i + step] for i in range(0, len(data), step)] if step else [data]
    for piece in pieces + [b""] * eof:
        events += reader.feed(piece)
        if events and isinstance(events[-1], End):
            break
    head = events[0]
    assert isinstance(head, Head)
    body = b"".join(event.data for event in events if isinstance(event, Body))
    return head, body, events[-1] if isinstance(events[-1], End) else None


# Name, bytes, whether the connection ends then, expected status, body, reusable.
ANSWERS = [
    ("plain", NGINX, False, 200, b"hello", True),
    ("no reason", b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", False, 200, b"ok", True),
    ("empty", OK + b"Content-Length: 0\r\n\r\n", False, 200, b"", True),
    ("close", OK + b"Connection: Close\r\nContent-Length: 2\r\n\r\nok", False, 200, b"ok", False),
    ("close among others", OK + b"Connection: x, close\r\nContent-Length: 2\r\n\r\nok", False, 200, b"ok", False),
    ("1.0", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", False, 200, b"ok", False),
    ("1.0 kept", b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nok", False, 200, b"ok", True),
    ("1.0 to the end", b"HTTP/1.0 200 OK\r\n\r\nok", True, 200, b"ok", False),
    ("to the end", OK + b"\r\nok", True, 200, b"ok", False),
    ("nothing to the end", OK + b"\r\n", True, 200, b"", False),
    ("chunked", CHUNKED + b"5\r\nhello\r\n0\r\n\r\n", False, 200, b"hello", True),
    ("chunk extension, trailer", CHUNKED + b'5;a=b;c="d"\r\nhello\r\n0\r\nX: 1\r\n\r\n', False, 200, b"hello", True),
    ("204 with a body", b"HTTP/1.1 204 No\r\nContent-Length: 6\r\n\r\npoison", False, 204, b"", False),
    ("204", b"HTTP/1.1 204 No\r\n\r\n", False, 204, b"", True),
    ("304", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\n", False, 304, b"", True),
    ("103 first", b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + NGINX, False, 200, b"hello", True),
    ("100 twice", b"HTTP/1.1 100 Continue\r\n\r\n" * 2 + NGINX, False, 200, b"hello", True),
    ("upgrade offered", OK + b"Upgrade: h2c\r\nContent-Length: 2\r\n\r\nok", False, 200, b"ok", True),
]


@pytest.mark.parametrize("step", [0, 1, 3])
@pytest.mark.parametrize(("name", "data", "eof", "status", "body", "reusable"), ANSWERS)
def test_answers_are_read(
    name: str, data: bytes, eof: bool, status: int, body: bytes, reusable: bool, step: int
) -> None:
    head, received, end = read(data, step=step, eof=eof)
    assert (head.status, received) == (status, body)
    assert end is not None
    if step == 0 or name != "204 with a body":
        assert end.reusable is reusable


@pytest.mark.parametrize(
    "extra", [b"rubbish", b"\r\n\r\nx", NGINX, NGINX[:30], b"HTTP/1.1 100 Continue\r\n\r\n"], ids=repr
)
def test_a_connection_with_bytes_behind_the_answer_is_not_reused(extra: bytes) -> None:
    head, body, end = read(NGINX + extra)
    assert (head.status, body, end) == (200, b"hello", End(reusable=False))


def test_the_answer_to_head_has_no_body() -> None:
    head, body, end = read(OK + b"Content-Length: 5\r\n\r\n", expects_body=False)
    assert (head.length, body, end) == (5, b"", End(reusable=True))


def test_headers_keep_order_values_and_every_byte() -> None:
    head, _, _ = read(
        OK + b"B:  1 \r\nset-cookie: a\r\nA: \xe9\xff\r\nSet-Cookie: b\r\nE:\r\nContent-Length: 0\r\n\r\n"
    )
    assert list(head.headers.items()) == [
        ("b", ("1",)),
        ("set-cookie", ("a", "b")),
        ("a", ("\xe9\xff",)),
        ("e", ("",)),
        ("content-length", ("0",)),
    ]


def test_a_length_may_have_noughts_in_front() -> None:
    """More of them than int() takes digits."""
    head, body, end = ResponseReader().feed(OK + b"Content-Length: " + b"0" * 5000 + b"2\r\n\r\nok")
    assert (cast(Head, head).length, body, end) == (2, Body(b"ok"), End(reusable=True))


def headers(*lines: bytes) -> bytes:
    return OK + b"\r\n".join(lines) + b"\r\n\r\nok"


BROKEN = [
    ("no status line", b"HELLO THERE\r\n\r\nbody"),
    ("HTTP/0.9", b"<html>raw</html>"),
    ("ssh", b"SSH-2.0-OpenSSH_9.2\r\n"),
    ("icy", b"ICY 200 OK\r\n\r\n"),
    ("text for a status", b"HTTP/1.1 abc OK\r\n\r\n"),
    ("status 99", b"HTTP/1.1 99 Low\r\n\r\n"),
    ("status 099", b"HTTP/1.1 099 Low\r\nContent-Length: 2\r\n\r\nok"),
    ("status 1000", b"HTTP/1.1 1000 High\r\n\r\n"),
    ("HTTP/9.9", b"HTTP/9.9 200 OK\r\n\r\n"),
    ("HTTP/2.0", b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("101", b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"),
    ("bare LF", b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
    ("no colon", headers(b"JustAName", b"Content-Length: 2")),
    ("space before the colon", headers(b"A : b", b"Content-Length: 2")),
    ("folded", headers(b"A: b", b" c", b"Content-Length: 2")),
    ("NUL", headers(b"A: \x00", b"Content-Length: 2")),
    ("length +2", headers(b"Content-Length: +2")),
    ("length -2", headers(b"Content-Length: -2")),
    ("length 0x2", headers(b"Content-Length: 0x2")),
    ("length 1_0", headers(b"Content-Length: 1_0")),
    ("length superscript", headers(b"Content-Length: \xc2\xb2")),
    ("length text", headers(b"Content-Length: many")),
    ("length empty", headers(b"Content-Length:")),
    ("length 2, 2", headers(b"Content-Length: 2, 2")),
    ("length twice", headers(b"Content-Length: 2", b"Content-Length: 2")),
    ("length huge", headers(b"Content-Length: 99999999999999999999")),
    ("both framings", headers(b"Content-Length: 2", b"Transfer-Encoding: chunked")),
    ("both framings, other order", headers(b"Transfer-Encoding: chunked", b"Content-Length: 2")),
    ("unknown transfer coding", headers(b"Transfer-Encoding: foo")),
    ("gzip, chunked", OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ("chunked twice", OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ("chunk size zz", CHUNKED + b"zz\r\nhello\r\n0\r\n\r\n"),
    ("chunk size -5", CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n"),
    ("chunk size 0x5", CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n"),
    ("chunk size 1_0", CHUNKED + b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n"),
    ("chunk without CRLF", CHUNKED + b"5\r\nhelloXX0\r\n\r\n"),
    ("chunk with LF", CHUNKED + b"5\nhello\n0\n\n"),
]


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize(("name", "data"), BROKEN)
def test_what_is_not_http_is_refused(name: str, data: bytes, step: int) -> None:
    assert read_plain(data) is None
    with pytest.raises(ProtocolError):
        read(data, step=step)


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        OK,
        OK + b"Content-Length: 10\r\n\r\nhello",
        CHUNKED + b"A\r\nhello",
        CHUNKED + b"5\r\nhello\r\n",
        CHUNKED + b"FFFFFFFFFFFFFFFF\r\nhello",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
    ids=repr,
)
def test_an_answer_that_ends_early_is_incomplete(data: bytes, step: int) -> None:
    with pytest.raises(IncompleteBody):
        read(data, step=step, eof=True)


@pytest.mark.parametrize(
    ("front", "endless"),
    [
        (OK, b"X-Filler: " + b"a" * 1000 + b"\r\n"),
        (OK + b"X: ", b"a" * 1000),
        (OK, b"A: b\r\n" * 100),
        (CHUNKED + b"5;", b"a" * 1000),
        (CHUNKED + b"5\r\nhello\r\n0\r\n", b"X-T: " + b"a" * 1000 + b"\r\n"),
        (b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 20),
        (b"HTTP/1.1 200 ", b"a" * 1000),
    ],
    ids=["headers", "one header", "short headers", "chunk extension", "trailers", "interim", "reason"],
)
def test_what_has_no_end_is_cut_off(front: bytes, endless: bytes) -> None:
    reader = ResponseReader()
    reader.feed(front) if front else None
    with pytest.raises(ProtocolError):
        for _ in range(2000):
            reader.feed(endless)


def test_too_many_headers_are_told_from_rubbish() -> None:
    with pytest.raises(HeaderTooLarge, match="4,096 headers"):
        read(OK + b"A: b\r\n" * 5000)


def test_chunks_of_one_byte_are_no_flood() -> None:
    _, body, end = read(CHUNKED + b"1\r\na\r\n" * 50_000 + b"0\r\n\r\n", step=65536)
    assert (len(body), end) == (50_000, End(reusable=True))


def test_a_plain_answer_needs_no_parser() -> None:
    reply = read_plain(NGINX)
    assert reply is not None
    status, headers, start, missing, is_reusable = reply
    assert (status, NGINX[start:], missing, is_reusable) == (200, b"hello", 0, True)
    assert headers["server"] == ("nginx/1.22.1",)


def test_a_plain_answer_may_lack_the_rest_of_its_body() -> None:
    reply = read_plain(NGINX[:-2])
    assert reply is not None
    assert reply[2:4] == (len(NGINX) - 5, 2)


@pytest.mark.parametrize(
    "data",
    [
        NGINX + b"x",
        NGINX[:40],
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 204 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n",
        OK + b"Upgrade: x\r\nContent-Length: 0\r\n\r\n",
        OK + b"Proxy-Connection: close\r\nContent-Length: 0\r\n\r\n",
        OK + b"Connection: close, x\r\nContent-Length: 0\r\n\r\n",
        OK + b"Connection: close\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=repr,
)
def test_what_is_not_plain_is_left_to_the_parser(data: bytes) -> None:
    assert read_plain(data) is None


def test_the_tables_of_known_lines_stay_small() -> None:
    for number in range(3 * wire.MAX_KNOWN_LINES):
        assert read_plain(b"HTTP/1.1 200 %d\r\nA: %d\r\nContent-Length: 0\r\n\r\n" % (number, number)) is not None
    assert len(wire._header_lines) <= wire.MAX_KNOWN_LINES
    assert len(wire._status_lines) <= wire.MAX_KNOWN_LINES


@pytest.mark.parametrize(
    "data",
    [NGINX, NGINX[:-5] + b"world", NGINX[:-1], NGINX + b"x", NGINX.replace(b"nginx", b"xnign"), NGINX[:40]],
    ids=["same", "other body", "less", "more", "other head", "cut"],
)
def test_what_was_read_last_changes_nothing(data: bytes) -> None:
    reader = PlainReader()
    assert reader.read(NGINX) == read_plain(NGINX)
    assert [reader.read(data), reader.read(data), reader.read(NGINX)] == [*[read_plain(data)] * 2, read_plain(NGINX)]


class Reference:
    """llhttp without any rule of ours: what `read_plain` is held to."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.messages = 0
        self.reusable: list[bool] = []
        self.parser = httptools.HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.reusable.append(self.parser.should_keep_alive())

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.messages += 1


PIECES = st.sampled_from(
    [
        OK,
        NGINX,
        b"HTTP/1.1 404 Not Found\r\n",
        b"HTTP/1.1 200\r\n",
        b"HTTP/1.1 304 x\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 0\r\n",
        b"content-length:\t7 \r\n",
        b"Connection: close\r\n",
        b"connection: KEEP-alive\r\n",
        b"Set-Cookie: a\r\n",
        b"Set-Cookie: b\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"X: \xff\r\n",
        b"A: b \t\r\n",
        b"\r\n",
        b"\r",
        b"\n",
        b"hello",
        b" ",
        b"\t",
        b":",
        b"\x00",
        b"\x7f",
        b"\r\n\r\n",
        b"Upgrade: h2c\r\n",
        b"Proxy-Connection: close\r\n",
        b"Content-Length: 5 5\r\n",
        b"Content-Length: 0x1\r\n",
        b"Trailer: a\r\n",
    ]
)
MUTATED = st.builds(
    lambda data, at, cut, new: data[: at % (len(data) + 1)] + new + data[at % (len(data) + 1) + cut :],
    st.sampled_from([data for _, data, *_ in ANSWERS] + [data for _, data in BROKEN]),
    st.integers(0, 400),
    st.integers(0, 3),
    st.one_of(PIECES, st.binary(max_size=3)),
)


@settings(max_examples=400)
@given(st.one_of(MUTATED, st.builds(b"".join, st.lists(PIECES, max_size=8))))
@example(OK + b"Content-Length: 5\r\nX: \x80 \t \r\n\r\nhello")
def test_what_the_plain_reader_accepts_llhttp_reads_the_same_way(data: bytes) -> None:
    reply = read_plain(data)
    if reply is None:
        return
    status, headers, start, missing, is_reusable = reply
    assume(missing < 1_000_000)  # twelve digits fit between these pieces, and no terabyte into a test
    whole = data + b"." * missing
    reference = Reference()
    reference.parser.feed_data(whole)
    assert reference.messages == 1
    assert status == reference.parser.get_status_code()
    assert whole.endswith(reference.body)
    assert reference.body == whole[start:]
    assert reference.reusable == [is_reusable]
    pairs = [(name.lower().decode(), value.strip(b" \t").decode("latin-1")) for name, value in reference.headers]
    assert sorted(pairs) == sorted((name, value) for name, values in headers.items() for value in values)


@settings(max_examples=300)
@given(MUTATED, st.integers(1, 40))
def test_the_reader_agrees_with_itself_however_the_bytes_are_cut(data: bytes, step: int) -> None:
    def outcome(step: int) -> object:
        try:
            head, body, end = read(data, step=step, eof=True)
        except (ProtocolError, IncompleteBody):
            return "refused"
        return head, body, end is not None

    assert outcome(step) == outcome(0)
