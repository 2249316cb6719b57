"""Heads of answers: framing, what an application may say of it, and that nothing can be slipped into them."""

from typing import Any

import pytest

from greenprobe.errors import LocalProtocolError
from greenprobe.http.response_head import Framing, ResponseHead, encode_fields, response_head, simple_response


def encode(status: str = "200 OK", *pairs: Any, **options: Any) -> ResponseHead:
    settings: dict[str, Any] = {"length": None, "is_1_1": True, "keep_alive": True}
    settings |= {"date": b"D\r\n", "server": b"S\r\n"}
    return response_head(status, list(pairs), **{**settings, **options})


def lines(head: ResponseHead) -> list[str]:
    assert head.data.endswith(b"\r\n\r\n")
    return head.data[:-4].decode("latin-1").split("\r\n")


def test_a_body_of_known_length_gets_its_length() -> None:
    head = encode("200 OK", ("A", "b"), length=3)
    assert lines(head) == ["HTTP/1.1 200 OK", "A: b", "D", "S", "Content-Length: 3"]
    assert head[1:] == (Framing.LENGTH, 3, True)


def test_no_length_is_said_of_what_has_no_content() -> None:
    """RFC 9110, section 8.6: a client that believed it would wait for bytes, or take the next answer for them."""
    assert lines(encode("204 No Content", ("Content-Length", "5"))) == ["HTTP/1.1 204 No Content", "D", "S"]
    assert "Content-Length: 5" in lines(encode("304 Not Modified", ("Content-Length", "5")))


def test_what_the_application_says_wins() -> None:
    head = encode("200 OK", ("Date", "x"), ("Server", "y"), ("content-length", "5"), length=3)
    assert lines(head) == ["HTTP/1.1 200 OK", "Date: x", "Server: y", "content-length: 5"]
    assert head[1:] == (Framing.LENGTH, 5, True)


@pytest.mark.parametrize(
    ("is_1_1", "keep_alive", "framing", "last", "lives"),
    [
        (True, True, Framing.CHUNKED, "Transfer-Encoding: chunked", True),
        (True, False, Framing.CHUNKED, "Connection: close", False),
        (False, True, Framing.CLOSE, "Connection: close", False),
    ],
)
def test_a_body_of_unknown_length(is_1_1: bool, keep_alive: bool, framing: Framing, last: str, lives: bool) -> None:
    head = encode(is_1_1=is_1_1, keep_alive=keep_alive)
    assert (head.framing, lines(head)[-1], head.keep_alive) == (framing, last, lives)


def test_an_old_client_is_told_that_the_connection_lives() -> None:
    assert lines(encode(length=0, is_1_1=False))[-1] == "Connection: keep-alive"


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_an_answer_without_body_says_nothing_of_one(status: str) -> None:
    head = encode(status, length=0)
    assert (head.framing, lines(head)[1:]) == (Framing.NONE, ["D", "S"])


def test_the_answer_to_a_head_has_the_fields_and_no_body() -> None:
    head = encode(length=7, without_body=True)
    assert (head.framing, lines(head)[-1]) == (Framing.NONE, "Content-Length: 7")


def test_fields_of_the_connection_are_ours() -> None:
    head = encode("200 OK", ("Connection", "keep-alive"), ("Keep-Alive", "timeout=5"), length=0)
    assert lines(head) == ["HTTP/1.1 200 OK", "D", "S", "Content-Length: 0"]
    assert not encode("200 OK", ("Connection", "Close"), length=0).keep_alive


@pytest.mark.parametrize("status", ["200", "OK", "99 x", "200 O\r\nK", "101 Switching Protocols", "", 200, b"200 OK"])
def test_a_status_that_is_none_is_refused(status: Any) -> None:
    with pytest.raises(LocalProtocolError):
        encode(status)


@pytest.mark.parametrize(
    "pair",
    [
        ("A", "b\r\nSet-Cookie: c"),
        ("A", "b\nc"),
        ("A", "\0"),
        ("A", "€"),
        ("A b", "c"),
        ("A:", "b"),
        ("", "b"),
        ("A", 5),
        (b"A", "b"),
        ("Content-Length", "-1"),
        ("Content-Length", "x"),
        ("Transfer-Encoding", "chunked"),
    ],
)
def test_a_field_that_would_break_the_head_is_refused(pair: Any) -> None:
    for _ in "twice":
        with pytest.raises(LocalProtocolError):
            encode("200 OK", pair)


def test_two_lengths_are_refused() -> None:
    with pytest.raises(LocalProtocolError):
        encode("200 OK", ("Content-Length", "1"), ("Content-Length", "1"))


def test_trailers_are_lines() -> None:
    assert encode_fields([("A", "b"), ("C", "d")]) == b"A: b\r\nC: d\r\n"


def test_a_simple_answer_is_whole() -> None:
    data = simple_response(431, date=b"", server=b"")
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert b"Connection: close" in head
    assert body == b"431 Request Header Fields Too Large\n"
