"""The strict reader of request heads: what it takes, what it refuses and with which status, and that llhttp agrees."""

from typing import Any

import pytest
from httptools import HttpParserUpgrade, HttpRequestParser
from hypothesis import assume, example, given, strategies as st

from greenprobe.errors import BadRequest
from greenprobe.http.request_head import HeadLimits, RequestHead, header_pairs, read_head, refuse_early

LIMITS = HeadLimits()
HOST = b"Host: a"


def head(*lines: bytes, first: bytes = b"GET / HTTP/1.1") -> RequestHead:
    return read_head(b"\r\n".join([first, HOST, *lines]), LIMITS)


def refusal(data: bytes, limits: HeadLimits = LIMITS) -> int:
    with pytest.raises(BadRequest) as caught:
        read_head(data, limits)
    return caught.value.status


# -- what it takes


def test_a_plain_request_becomes_cgi_variables() -> None:
    found = head(b"X-Some-Thing: \t a b\t", b"Content-Type: text/x", first=b"GET /a%20b?c=%20 HTTP/1.1")
    assert found.variables == {
        "HTTP_HOST": "a",
        "HTTP_X_SOME_THING": "a b",
        "CONTENT_TYPE": "text/x",
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": "/a%20b?c=%20",
        "PATH_INFO": "/a b",
        "QUERY_STRING": "c=%20",
        "SERVER_PROTOCOL": "HTTP/1.1",
    }
    assert found[:3] == ("GET", "/a%20b?c=%20", "HTTP/1.1")
    assert (found.length, found.keep_alive, found.expects_continue) == (0, True, False)


def test_bytes_of_a_path_and_a_value_are_latin_1() -> None:
    found = head(b"X: \xe4", first=b"GET /%C3%A4 HTTP/1.1")
    assert found.variables["PATH_INFO"].encode("latin-1") == "/ä".encode()
    assert found.variables["HTTP_X"] == "\xe4"


@pytest.mark.parametrize(
    ("first", "path", "query", "host"),
    [
        (b"GET http://b:80/x?y=z HTTP/1.1", "/x", "y=z", "b:80"),
        (b"GET http://b HTTP/1.1", "/", "", "b"),
        (b"GET HTTPS://[::1]?q HTTP/1.1", "/", "q", "[::1]"),
        (b"OPTIONS * HTTP/1.1", "*", "", "a"),
        (b"CONNECT b:443 HTTP/1.1", "", "", "a"),
        (b"GET //x/../y HTTP/1.1", "//x/../y", "", "a"),
        (b"GET /?a=100% HTTP/1.1", "/", "a=100%", "a"),
    ],
)
def test_every_form_of_a_target(first: bytes, path: str, query: str, host: str) -> None:
    variables = head(first=first).variables
    assert [variables[name] for name in ("PATH_INFO", "QUERY_STRING", "HTTP_HOST")] == [path, query, host]


def test_fields_that_come_twice_are_joined() -> None:
    found = head(b"A: 1", b"Cookie: x", b"a: 2", b"Cookie: y")
    assert (found.variables["HTTP_A"], found.variables["HTTP_COOKIE"]) == ("1, 2", "x; y")
    assert header_pairs(found.lines) == [("Host", "a"), ("A", "1"), ("Cookie", "x"), ("a", "2"), ("Cookie", "y")]


def test_names_that_cgi_cannot_tell_apart_are_left_out() -> None:
    found = head(b"X_A: 1", b"Content_Length: 5", b"Transfer_Encoding: chunked", b"Proxy: evil", b"X-A: 2")
    assert found.variables["HTTP_X_A"] == "2"
    assert found.length == 0
    assert not {"", "HTTP_PROXY", "HTTP_TRANSFER_ENCODING"} & set(found.variables)


@pytest.mark.parametrize(
    ("lines", "length"), [([b"Content-Length: 12"], 12), ([b"Transfer-Encoding: Chunked"], None), ([], 0)]
)
def test_the_length_of_the_body(lines: list[bytes], length: int | None) -> None:
    assert head(*lines).length == length


@pytest.mark.parametrize(
    ("first", "field", "keeps"),
    [
        (b"GET / HTTP/1.1", b"X: y", True),
        (b"GET / HTTP/1.1", b"Connection: close", False),
        (b"GET / HTTP/1.1", b"Connection: x , Close", False),
        (b"GET / HTTP/1.0", b"X: y", False),
        (b"GET / HTTP/1.0", b"Connection: Keep-Alive", True),
        (b"GET / HTTP/1.0", b"Connection: close, keep-alive", False),
    ],
)
def test_whether_the_connection_lives_on(first: bytes, field: bytes, keeps: bool) -> None:
    assert head(field, first=first).keep_alive is keeps


def test_only_http_1_1_clients_wait_for_a_100() -> None:
    assert head(b"Expect: 100-Continue").expects_continue
    assert not head(b"Expect: 100-continue", first=b"GET / HTTP/1.0").expects_continue


# -- what it refuses

BAD = {
    "nothing": (b"", 400),
    "http 0.9": (b"GET /", 400),
    "two spaces": (b"GET  / HTTP/1.1\r\nHost: a", 400),
    "a tab": (b"GET\t/ HTTP/1.1\r\nHost: a", 400),
    "space at the end": (b"GET / HTTP/1.1 \r\nHost: a", 400),
    "no method": (b" / HTTP/1.1\r\nHost: a", 400),
    "bad method": (b"G@T / HTTP/1.1\r\nHost: a", 400),
    "method with NUL": (b"GE\0T / HTTP/1.1\r\nHost: a", 400),
    "http 2": (b"GET / HTTP/2.0\r\nHost: a", 505),
    "http 2 preface": (b"PRI * HTTP/2.0", 505),
    "http 1.2": (b"GET / HTTP/1.2\r\nHost: a", 505),
    "lower-case http": (b"GET / http/1.1\r\nHost: a", 400),
    "no slash": (b"GET x HTTP/1.1\r\nHost: a", 400),
    "star": (b"GET * HTTP/1.1\r\nHost: a", 400),
    "fragment": (b"GET /#x HTTP/1.1\r\nHost: a", 400),
    "raw utf-8 target": ("GET /ä HTTP/1.1\r\nHost: a".encode(), 400),
    "NUL in the target": (b"GET /\0 HTTP/1.1\r\nHost: a", 400),
    "bad escape": (b"GET /%zz HTTP/1.1\r\nHost: a", 400),
    "cut escape": (b"GET /%2 HTTP/1.1\r\nHost: a", 400),
    "escaped NUL": (b"GET /a%00b HTTP/1.1\r\nHost: a", 400),
    "user in the target": (b"GET http://u@b/ HTTP/1.1\r\nHost: a", 400),
    "another scheme": (b"GET ftp://b/ HTTP/1.1\r\nHost: a", 400),
    "connect a path": (b"CONNECT / HTTP/1.1\r\nHost: a", 400),
    "no host": (b"GET / HTTP/1.1", 400),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a", 400),
    "bad host": (b"GET / HTTP/1.1\r\nHost: a/b", 400),
    "host with a space": (b"GET / HTTP/1.1\r\nHost: a b", 400),
    "space before colon": (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length : 5", 400),
    "no colon": (b"GET / HTTP/1.1\r\nHost: a\r\nnonsense", 400),
    "empty name": (b"GET / HTTP/1.1\r\nHost: a\r\n: x", 400),
    "space before the first field": (b"GET / HTTP/1.1\r\n Host: a", 400),
    "obs-fold": (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b", 400),
    "bare LF": (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\nY: b", 400),
    "bare CR": (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rY: b", 400),
    "NUL in a value": (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b", 400),
    "CL not a number": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: five", 400),
    "CL negative": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5", 400),
    "CL with a sign": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5", 400),
    "CL in hex": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5", 400),
    "CL with underscore": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1_0", 400),
    "CL empty": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:", 400),
    "CL twice in one": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5", 400),
    "CL twice": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5", 400),
    "CL huge": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + b"9" * 40, 400),
    "CL.TE": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked", 400),
    "TE.CL": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5", 400),
    "TE.TE": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x", 400),
    "TE twice chunked": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked", 400),
    "TE nearly chunked": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked", 400),
    "TE quoted": (b'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "chunked"', 400),
    "TE with vertical tab": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked", 400),
    "TE chunked not last": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip", 400),
    "TE identity": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity", 400),
    "TE empty": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:", 400),
    "TE gzip": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked", 501),
    "TE in 1.0": (b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked", 400),
    "expectation": (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: a miracle", 417),
    "many fields": (b"GET / HTTP/1.1\r\nHost: a" + b"\r\nA: b" * 200, 431),
    "long line": (b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\nHost: a", 414),
    "large head": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 65536, 431),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_not_http_to_the_byte_is_refused(case: str) -> None:
    data, status = BAD[case]
    assert refusal(data) == status
    assert refusal(data) == status, "also when its other lines are known"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01", 400),  # TLS
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"GET /" + b"a" * 8200, 414),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 65536, 431),
    ],
)
def test_what_can_become_nothing_is_refused_before_its_end(data: bytes, status: int) -> None:
    with pytest.raises(BadRequest) as caught:
        refuse_early(data, LIMITS)
    assert caught.value.status == status


@pytest.mark.parametrize("size", [1, 10, 30])
def test_a_beginning_that_may_become_something_is_not_refused(size: int) -> None:
    refuse_early(b"GET / HTTP/1.1\r\nHost: a\r\nX: y"[:size], LIMITS)


def test_a_line_feed_is_found_where_the_pieces_meet() -> None:
    with pytest.raises(BadRequest):
        refuse_early(b"GET / HTTP/1.1\n", LIMITS, seen=14)
    refuse_early(b"GET / HTTP/1.1\r\n", LIMITS, seen=15)


# -- llhttp agrees


class Gathered:
    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.is_complete = False
        self.keep_alive = False
        self.parser: Any = None

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self.is_complete = True
        self.keep_alive = self.parser.should_keep_alive()  # once the message is over, it speaks of the next


def llhttp(data: bytes) -> tuple[Any, Gathered]:
    gathered = Gathered()
    parser = gathered.parser = HttpRequestParser(gathered)
    try:
        parser.feed_data(data + b"\r\n\r\n")
    except HttpParserUpgrade:
        pass
    return parser, gathered


METHODS = {"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "CONNECT"}
PIECES = st.sampled_from(
    [
        *(line for data, _ in BAD.values() if len(data) < 200 for line in data.split(b"\r\n")),
        b"GET / HTTP/1.1",
        b"POST /a?b HTTP/1.0",
        HOST,
        b"Content-Length: 3",
        b"Transfer-Encoding: chunked",
        b"Connection: close",
        b"Connection: keep-alive",
    ]
)


@given(st.lists(PIECES, min_size=1, max_size=6), st.binary(max_size=2), st.integers(0, 200))
@example([b"POST / HTTP/1.1", b"Connection: close", b"Host: a"], b"", 0)
def test_what_it_takes_llhttp_reads_the_same_way(lines: list[bytes], noise: bytes, place: int) -> None:
    data = b"\r\n".join(lines)
    data = data[:place] + noise + data[place:] if place <= len(data) else data
    assume(b"\r\n\r\n" not in data)
    try:
        found = read_head(data, LIMITS)
    except BadRequest:
        return
    if found.method not in METHODS:  # llhttp knows some methods only; we leave that to the application
        return
    parser, gathered = llhttp(data)
    assert gathered.is_complete
    assert parser.get_method().decode() == found.method
    assert gathered.url.decode() == found.target
    assert [(name.decode(), value.decode("latin-1")) for name, value in gathered.headers] == header_pairs(found.lines)
    if "HTTP_UPGRADE" not in found.variables and found.method != "CONNECT":
        assert gathered.keep_alive == found.keep_alive
