"""Content codings: undone piece by piece, bounded, and honest about what is cut or broken."""

import gzip
import zlib

import pytest

from greenprobe.errors import BodyTooLarge, DecodeError
from greenprobe.http.decoding import PIECE_BYTES, BodyDecoder

TEXT = b"<p>green</p>" * 400
GZIPPED = gzip.compress(TEXT, mtime=0)


def raw_deflate(data: bytes) -> bytes:
    return zlib.compress(data)[2:-4]


def decode(data: bytes, *codings: str, step: int = 1 << 20, max_bytes: int = 1 << 30) -> bytes:
    pieces: list[bytes] = []
    decoder = BodyDecoder(codings, max_bytes=max_bytes, sink=pieces.append)
    for i in range(0, len(data), step):
        decoder.take(data[i : i + step])
    decoder.finish()
    assert all(len(piece) <= PIECE_BYTES for piece in pieces) or not decoder._decoders
    assert sum(map(len, pieces)) == decoder.decoded_bytes
    return b"".join(pieces)


@pytest.mark.parametrize("step", [1 << 20, 7, 1])
@pytest.mark.parametrize(
    ("data", "coding"),
    [
        (TEXT, "identity"),
        (GZIPPED, "gzip"),
        (GZIPPED, "GZIP"),
        (GZIPPED, "x-gzip"),
        (GZIPPED + b"rubbish", "gzip"),
        (zlib.compress(TEXT), "deflate"),
        (raw_deflate(TEXT), "deflate"),
        (gzip.compress(GZIPPED), "gzip, gzip"),
        (gzip.compress(zlib.compress(TEXT)), "deflate, gzip"),
        (TEXT, "utf-8"),
    ],
)
def test_codings_are_undone(data: bytes, coding: str, step: int) -> None:
    assert decode(data, coding, step=step) == TEXT


@pytest.mark.parametrize("step", [1 << 20, 1])
def test_all_members_of_a_gzip_stream_are_decoded(step: int) -> None:
    assert decode(GZIPPED + GZIPPED, "gzip", step=step) == TEXT + TEXT


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_an_empty_body_has_no_stream_to_end(coding: str) -> None:
    assert decode(b"", coding) == b""


@pytest.mark.parametrize("cut", [1, 8, 20, len(GZIPPED) - 3])
def test_a_stream_that_is_cut_is_an_error(cut: int) -> None:
    with pytest.raises(DecodeError):
        decode(GZIPPED[:-cut], "gzip")


@pytest.mark.parametrize(
    "data",
    [TEXT, GZIPPED[:30] + b"\xff" * 10 + GZIPPED[40:], GZIPPED[:-8] + b"\0" * 8],
    ids=["plain text", "corrupt", "wrong crc"],
)
def test_what_is_not_gzip_is_an_error(data: bytes) -> None:
    with pytest.raises(DecodeError, match="not gzip"):
        decode(data, "gzip")


def test_output_that_exceeds_the_limit_is_an_error() -> None:
    assert decode(GZIPPED, "gzip", max_bytes=len(TEXT)) == TEXT
    with pytest.raises(BodyTooLarge, match="longer than"):
        decode(GZIPPED, "gzip", max_bytes=len(TEXT) - 1)


@pytest.mark.parametrize("depth", [1, 2])
def test_a_bomb_is_noticed_by_its_ratio(depth: int) -> None:
    bomb = bytes(20_000_000)
    for _ in range(depth):
        bomb = gzip.compress(bomb, compresslevel=6 if depth == 1 else 9)
    decoder = BodyDecoder(("gzip",) * depth, max_bytes=1 << 40)
    with pytest.raises(BodyTooLarge, match="bomb"):
        decoder.take(bomb)
    assert decoder.decoded_bytes < 5_000_000


def test_a_bomb_is_noticed_in_the_middle_of_its_layers() -> None:
    """Of empty members nothing comes out, however many a layer makes of a few bytes."""
    bomb = gzip.compress(gzip.compress(b"") * 200_000)
    decoder = BodyDecoder(("gzip",) * 2, max_bytes=1 << 40)
    with pytest.raises(BodyTooLarge, match="bomb"):
        decoder.take(bomb)


def test_a_full_last_piece_does_not_hide_what_follows_it() -> None:
    for extra_bytes in range(0, 600, 5):
        data = bytes(PIECE_BYTES + extra_bytes)
        assert decode(raw_deflate(data), "deflate") == data


def test_too_many_codings_are_refused() -> None:
    with pytest.raises(DecodeError, match="4 codings"):
        BodyDecoder(("gzip, gzip", "gzip", "deflate"), max_bytes=1)
