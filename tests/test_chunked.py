"""Chunked bodies, read strictly: whole, byte by byte, and with the next request behind them."""

import pytest
from hypothesis import given, strategies as st

from greenprobe.errors import BadRequest
from greenprobe.http.chunked import ChunkedReader, chunk, last_chunk

REST = b"GET /next"

GOOD = {
    "empty": (b"0\r\n\r\n", b""),
    "one": (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
    "two": (b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde"),
    "hex": (b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", b"0123456789" * 2),
    "zeros": (b"0003\r\nabc\r\n000\r\n\r\n", b"abc"),
    "extension": (b'3;a=b;c="d e"\r\nabc\r\n0;x\r\n\r\n', b"abc"),
    "line ends inside": (b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n"),
    "trailers": (b"1\r\nx\r\n0\r\nA: b\r\nC-D: e\r\n\r\n", b"x"),
}


def pieces_of(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def read(data: bytes, size: int, max_bytes: int | None = None) -> tuple[bytes, ChunkedReader]:
    reader = ChunkedReader(max_bytes)
    body = b""
    rest = b""
    for piece in pieces_of(data, size):
        if reader.done:
            rest += piece
        else:
            body += reader.feed(piece)
    reader.rest += rest
    return body, reader


@pytest.mark.parametrize("size", [1, 2, 1000])
@pytest.mark.parametrize("case", GOOD)
def test_a_body_and_what_follows_it_are_told_apart(case: str, size: int) -> None:
    data, expected = GOOD[case]
    body, reader = read(data + REST, size)
    assert (body, reader.done, reader.rest) == (expected, True, REST)


def test_trailers_are_read_as_fields() -> None:
    _, reader = read(GOOD["trailers"][0], 1000)
    assert reader.trailers == {"HTTP_A": "b", "HTTP_C_D": "e"}


BAD = {
    "no size": b"\r\nabc",
    "no hex": b"x\r\nabc",
    "a sign": b"+3\r\nabc",
    "a prefix": b"0x3\r\nabc",
    "an underscore": b"1_0\r\nabc",
    "a space before": b" 3\r\nabc",
    "a space behind": b"3 \r\nabc",
    "bare LF": b"3\nabc\n0\n\n",
    "huge": b"F" * 17 + b"\r\nabc",
    "too long for its size": b"3\r\nabcd\r\n",
    "bare LF after the data": b"3\r\nabc\n0\r\n\r\n",
    "control character in an extension": b"3;\x00\r\nabc\r\n0\r\n\r\n",
    "bare CR in an extension": b"3;a\rb\r\nabc\r\n0\r\n\r\n",
    "endless extension": b"3;" + b"a" * 5000,
    "folded trailer": b"0\r\nA: b\r\n c\r\n\r\n",
    "trailer that is none": b"0\r\nnonsense\r\n\r\n",
}


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize("case", BAD)
def test_what_is_not_chunked_to_the_byte_is_refused(case: str, size: int) -> None:
    with pytest.raises(BadRequest) as caught:
        read(BAD[case], size)
    assert caught.value.status == 400


@pytest.mark.parametrize("data", [b"6\r\n", b"3\r\nabc\r\n3\r\n", b"FFFFFFFFFFFFFFFF\r\n"])
def test_a_body_that_would_be_too_long_is_refused_at_its_size(data: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        read(data, 1000, max_bytes=5)
    assert caught.value.status == 413


def test_chunks_of_one_byte_with_long_extensions_are_refused() -> None:
    with pytest.raises(BadRequest):
        read((b"1;" + b"a" * 1000 + b"\r\nx\r\n") * 100, 1 << 20)


def test_an_honest_body_of_single_bytes_is_read() -> None:
    body, reader = read(b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n", 1 << 20)
    assert (len(body), reader.done) == (50_000, True)


def test_trailers_without_end_are_refused() -> None:
    with pytest.raises(BadRequest):
        read(b"0\r\n" + b"A: b\r\n" * 200, 1000)


@given(st.lists(st.binary(min_size=1)), st.integers(1, 20), st.binary())
def test_what_was_encoded_comes_out(parts: list[bytes], size: int, rest: bytes) -> None:
    data = b"".join(map(chunk, parts)) + last_chunk(b"T: x\r\n") + rest
    body, reader = read(data, size)
    assert (body, reader.rest, reader.trailers) == (b"".join(parts), rest, {"HTTP_T": "x"})
