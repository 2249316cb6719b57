"""Content codings: encoded bytes in, decoded pieces out, bounded in size and in what may come out of few bytes.

A coding is one row of DECODERS. A decoder gives its output in pieces of about PIECE_BYTES, so that a bomb is noticed
after one piece and never held in memory. Codings that we did not ask for and do not know are passed through, as
browsers do. Sources: RFC 9110, section 8.4; RFC 7932 (br); RFC 8878 and 9659 (zstd, and its window of 8 MB at most).
"""

import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

from greenprobe.errors import BodyTooLarge, DecodeError
from greenprobe.lazy import Lazy

__all__ = ["ACCEPT_ENCODING", "BodyDecoder", "Decoder", "Sink"]

brotli = Lazy("brotli")
zstd = Lazy("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")

PIECE_BYTES: Final = 1 << 16
MAX_CODINGS: Final = 3  # on top of each other; honest servers use one
MAX_RATIO: Final = 200  # gzip reaches 1,032 on zeros; pages reach 20, a log file perhaps 100
FREE_BYTES: Final = 1 << 20  # below this much output nobody asks for the ratio


# Takes the pieces of a decoded body.
Sink = Callable[[bytes], object]


class Decoder(Protocol):
    """Undoes one coding, piece by piece."""

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Decode the next bytes; raises DecodeError."""

    def finish(self) -> None:
        """Raise DecodeError if the coded stream has not come to its end."""


class BodyDecoder:
    """Undoes all codings of a body, in turn, enforces the limits, and hands the pieces to `sink`.

    `max_bytes` bounds the decoded body. With no coding it just counts.
    """

    __slots__ = ("_decoders", "_encoded_bytes", "_made_bytes", "_max_bytes", "_sink", "decoded_bytes")

    def __init__(self, codings: tuple[str, ...], *, max_bytes: int, sink: Sink | None = None) -> None:
        """`codings` are the values of the Content-Encoding headers; raises DecodeError if they name too many."""
        names = [name.strip().lower() for value in codings for name in value.split(",")]
        known = [name for name in names if name in DECODERS]
        if len(known) > MAX_CODINGS:
            raise DecodeError(f"the body has {len(known)} codings in turn; at most {MAX_CODINGS} are undone")
        self._decoders = [DECODERS[name]() for name in reversed(known)]
        self._max_bytes = max_bytes
        self._sink = sink
        self._encoded_bytes = 0
        self._made_bytes = 0  # by all decoders
        self.decoded_bytes = 0

    def take(self, data: bytes) -> None:
        """Decode the next bytes; raises DecodeError or BodyTooLarge."""
        self._encoded_bytes += len(data)
        if self._encoded_bytes > self._max_bytes:  # of which nothing may come out: headers and empty parts without end
            raise BodyTooLarge(f"the body is longer than {self._max_bytes:,} bytes")
        for piece in self._undo(data, 0):
            self.decoded_bytes += len(piece)
            if self.decoded_bytes > self._max_bytes:
                raise BodyTooLarge(f"the body is longer than {self._max_bytes:,} bytes")
            if self._sink is not None:
                self._sink(piece)

    def finish(self) -> None:
        """Say that the body is complete; raises DecodeError if a coded stream is not."""
        for decoder in self._decoders:
            decoder.finish()

    def _undo(self, data: bytes, layer: int) -> Iterator[bytes]:
        """Yield what comes of `data` from this layer's decoder on; the bombs are noticed where they go off."""
        if layer == len(self._decoders):
            yield data
            return
        for piece in self._decoders[layer].pieces(data):
            self._made_bytes += len(piece)
            if self._made_bytes > max(FREE_BYTES, MAX_RATIO * self._encoded_bytes):
                raise BodyTooLarge(
                    f"{self._encoded_bytes:,} bytes decode to more than {MAX_RATIO} times as much; that is a bomb"
                )
            yield from self._undo(piece, layer + 1)


class _Inflate:
    """gzip (any number of members, then perhaps rubbish, as all browsers accept) and deflate."""

    __slots__ = ("_inflate", "_is_over", "_name", "_wbits")

    def __init__(self, name: str, wbits: int) -> None:
        self._name = name
        self._wbits = wbits
        self._inflate = zlib.decompressobj(wbits)
        self._is_over = True  # until the first byte: an empty body has no stream in it

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while data and self._starts(data):
            piece = b""
            while data or len(piece) == PIECE_BYTES:  # a full piece may have more behind it
                piece = self._decompress(data)
                data = self._inflate.unconsumed_tail
                if piece:
                    yield piece
            self._is_over = self._inflate.eof
            data = self._inflate.unused_data

    def _starts(self, data: bytes) -> bool:
        """Tell whether `data` goes on with the stream, or with another one after it; make ready for it."""
        if self._inflate.eof:
            if self._wbits != GZIP or not data.startswith(b"\x1f"):
                return False
            self._inflate = zlib.decompressobj(GZIP)
        elif self._is_over and self._wbits == zlib.MAX_WBITS and not _is_zlib(data):
            # "deflate" is zlib by RFC 9110, and raw deflate from servers that took the name at its word
            self._wbits = -zlib.MAX_WBITS
            self._inflate = zlib.decompressobj(self._wbits)
        self._is_over = False
        return True

    def _decompress(self, data: bytes) -> bytes:
        try:
            return self._inflate.decompress(data, PIECE_BYTES)
        except zlib.error as exc:
            raise DecodeError(f"the body is not {self._name}: {exc}") from exc

    def finish(self) -> None:
        if not self._is_over:
            raise DecodeError(f"the {self._name} stream is cut short")


GZIP: Final = 16 + zlib.MAX_WBITS


def _is_zlib(data: bytes) -> bool:
    """Tell whether this is the start of a zlib stream. Source: RFC 1950, section 2.2."""
    return data[0] & 0x0F == 8 and (len(data) < 2 or (data[0] << 8 | data[1]) % 31 == 0)


class _Brotli:
    """br."""

    __slots__ = ("_brotli", "_has_begun")

    def __init__(self) -> None:
        self._brotli = brotli.Decompressor()
        self._has_begun = False

    def pieces(self, data: bytes) -> Iterator[bytes]:
        self._has_begun = self._has_begun or bool(data)
        while not self._brotli.is_finished():
            try:
                piece = self._brotli.process(data, output_buffer_limit=PIECE_BYTES)
            except brotli.error as exc:
                raise DecodeError("the body is not brotli, or is damaged") from exc
            data = b""
            if not piece:
                return
            yield piece

    def finish(self) -> None:
        if self._has_begun and not self._brotli.is_finished():
            raise DecodeError("the brotli stream is cut short")


class _Zstd:
    """zstd, any number of frames."""

    __slots__ = ("_has_begun", "_zstd")

    def __init__(self) -> None:
        self._zstd = _new_zstd()
        self._has_begun = False

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while data or not (self._zstd.eof or self._zstd.needs_input):
            if self._zstd.eof:
                self._zstd = _new_zstd()
            self._has_begun = True
            try:
                piece = self._zstd.decompress(data, PIECE_BYTES)
            except zstd.ZstdError as exc:
                raise DecodeError(f"the body is not zstd: {exc}") from exc
            data = self._zstd.unused_data if self._zstd.eof else b""
            if piece:
                yield piece

    def finish(self) -> None:
        if self._has_begun and not self._zstd.eof:
            raise DecodeError("the zstd stream is cut short")


MAX_ZSTD_WINDOW_LOG: Final = 23


def _new_zstd() -> Any:
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: MAX_ZSTD_WINDOW_LOG})


DECODERS: Final[dict[str, Callable[[], Decoder]]] = {
    "gzip": lambda: _Inflate("gzip", GZIP),
    "x-gzip": lambda: _Inflate("gzip", GZIP),
    "deflate": lambda: _Inflate("deflate", zlib.MAX_WBITS),
    "br": _Brotli,
    "zstd": _Zstd,
}

ACCEPT_ENCODING: Final = "gzip, deflate, br, zstd"
