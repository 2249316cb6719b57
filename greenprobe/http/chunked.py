"""Bodies in chunks (RFC 9112, 7.1): bytes in, body out, and where it ends. No sockets.

Strict, as `request_head.py` is and for its reasons: a size of hexadecimal digits and nothing else, CRLF and nothing
else. Extensions are allowed and dropped. What frames the body is bounded in proportion to it, so that chunks of one
byte with long extensions cannot keep a server busy for nothing.
"""

import re
from enum import Enum, auto
from typing import Final

from greenprobe.errors import BadRequest
from greenprobe.http.request_head import read_fields

__all__ = ["LAST_CHUNK", "ChunkedReader", "chunk", "last_chunk"]

LAST_CHUNK: Final = b"0\r\n\r\n"
MAX_LINE_BYTES: Final = 4096  # a chunk's size and its extensions; a trailer line
MAX_FRAMING_BYTES: Final = 1 << 16
MAX_FRAMING_RATIO: Final = 16
MAX_TRAILERS: Final = 100

SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;[\t -~\x80-\xff]*)?").fullmatch


class State(Enum):
    """What comes next."""

    SIZE = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILERS = auto()
    DONE = auto()


class ChunkedReader:
    """Takes a chunked body apart. `rest` holds what came after its end, `trailers` the trailer fields, once `done`."""

    __slots__ = ("_framing_bytes", "_left", "_lines", "_max_bytes", "_received", "_state", "rest", "trailers")

    def __init__(self, max_bytes: int | None = None) -> None:
        self.rest = b""
        self.trailers: dict[str, str] = {}
        self._state = State.SIZE
        self._left = 0  # bytes of the current chunk that have not come
        self._received = 0
        self._framing_bytes = 0
        self._max_bytes = max_bytes
        self._lines: list[bytes] = []

    @property
    def done(self) -> bool:
        """Whether the body and its trailers are complete."""
        return self._state is State.DONE

    def feed(self, data: bytes) -> bytes:
        """Take bytes as they come; return what of the body was in them. Raises BadRequest."""
        data = self.rest + data
        self.rest = b""
        pieces: list[bytes] = []
        at = 0
        while self._state is not State.DONE:
            if self._state is State.DATA:
                piece = data[at : at + self._left]
                if not piece:
                    break
                pieces.append(piece)
                at += len(piece)
                self._received += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._state = State.DATA_END
            else:
                end = data.find(b"\r\n", at)
                if end < 0:
                    self._refuse_line(data[at:])
                    break
                self._line(data[at:end])
                at = end + 2
        self.rest = data[at:]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _line(self, line: bytes) -> None:
        self._refuse_line(line)
        self._framing_bytes += len(line) + 2
        if self._framing_bytes > MAX_FRAMING_BYTES + MAX_FRAMING_RATIO * self._received:
            raise BadRequest(400, "more bytes around the chunks than in them")
        LINES[self._state](self, line)

    def _refuse_line(self, line: bytes) -> None:
        """Raise BadRequest for a line, or the start of one, that nothing would make right."""
        if len(line) > MAX_LINE_BYTES:
            raise BadRequest(400, f"a line of more than {MAX_LINE_BYTES} bytes around the chunks")
        if b"\n" in line or (self._state is State.DATA_END and line not in (b"", b"\r")):
            raise BadRequest(400, "a chunk that does not end where it said")

    def _size_line(self, line: bytes) -> None:
        found = SIZE_LINE(line)
        if found is None:
            raise BadRequest(400, "a chunk without a valid size")
        self._left = int(found[1], 16)
        if self._max_bytes is not None and self._received + self._left > self._max_bytes:
            raise BadRequest(413, f"the body has more than {self._max_bytes} bytes")
        self._state = State.DATA if self._left else State.TRAILERS

    def _data_end(self, line: bytes) -> None:
        self._state = State.SIZE

    def _trailer_line(self, line: bytes) -> None:
        if line:
            self._lines.append(line)
            if len(self._lines) > MAX_TRAILERS:
                raise BadRequest(431, f"more than {MAX_TRAILERS} trailer fields")
        else:
            self.trailers = read_fields(self._lines)
            self._state = State.DONE


LINES: Final = {
    State.SIZE: ChunkedReader._size_line,
    State.DATA_END: ChunkedReader._data_end,
    State.TRAILERS: ChunkedReader._trailer_line,
}


def chunk(data: bytes) -> bytes:
    """Return `data`, which must not be empty, as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def last_chunk(trailers: bytes) -> bytes:
    """Return the end of a chunked body; `trailers` are field lines, each with its CRLF."""
    return b"0\r\n%b\r\n" % trailers
