"""`wsgi.input`: the body of a request as a file, read from the connection as the application asks for it.

A `BodyReader` ends where the body ends: what follows on the connection is the next request's. Around it stands an
`io.BufferedReader`, which brings `read`, `readline`, `readlines` and iteration, in C. A client that waits to be told
"100 Continue" is told so at the first read, and not at all if the application never reads.
"""

from collections.abc import Callable
from io import BufferedReader, RawIOBase
from typing import TYPE_CHECKING, Final, Protocol

from greenprobe.errors import BadRequest
from greenprobe.http.chunked import ChunkedReader

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["BodyReader", "Input", "Source"]

BUFFER_BYTES: Final = 1 << 14


class Source(Protocol):
    """Where the bytes of a body come from: what was read beyond the head, then the connection."""

    def receive(self, max_bytes: int) -> bytes:
        """Return some bytes; b"" at the end of the connection. Raises TimeoutError, OSError."""

    def unread(self, data: bytes) -> None:
        """Take back bytes that came after the body."""


class BodyReader(RawIOBase):
    """The body alone, unbuffered. `length` is None for one in chunks; `max_bytes` bounds that one."""

    def __init__(
        self, source: Source, length: int | None, *, max_bytes: int | None, before: Callable[[], object] | None
    ) -> None:
        self._source = source
        self._left = 0 if length is None else length
        self._chunks = ChunkedReader(max_bytes) if length is None else None
        self._decoded = memoryview(b"")
        self._before = before  # called once, before anything is received
        self.received = 0

    @property
    def is_complete(self) -> bool:
        """Whether all of it has been received."""
        return not self._left if self._chunks is None else self._chunks.done

    @property
    def is_announced(self) -> bool:
        """Whether the client still waits for a 100 Continue before it sends any of it."""
        return self._before is not None

    def announce(self, before: Callable[[], object] | None) -> None:
        """Have `before` called in place of what tells the client to send the body; None if it has been told."""
        self._before = before

    @property
    def trailers(self) -> dict[str, str]:
        """The trailer fields, by their CGI names, once the body has been read."""
        return {} if self._chunks is None else self._chunks.trailers

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        with memoryview(buffer).cast("B") as room:
            data: bytes | memoryview
            if self._chunks is None:
                data = self._receive(min(len(room), self._left)) if self._left else b""
                self._left -= len(data)
            else:
                data = self._take_decoded(len(room), self._chunks)
            room[: len(data)] = data
            self.received += len(data)
            return len(data)

    def _take_decoded(self, max_bytes: int, chunks: ChunkedReader) -> memoryview:
        while not self._decoded and not chunks.done:
            self._decode_more(chunks)
        taken, self._decoded = self._decoded[:max_bytes], self._decoded[max_bytes:]
        return taken

    def _decode_more(self, chunks: ChunkedReader) -> None:
        self._decoded = memoryview(chunks.feed(self._receive(BUFFER_BYTES)))
        if chunks.done:
            self._source.unread(chunks.rest)

    def _receive(self, max_bytes: int) -> bytes:
        if self._before is not None:
            before, self._before = self._before, None
            before()
        try:
            data = self._source.receive(max_bytes)
        except TimeoutError as error:
            raise BadRequest(408, "the body did not come in time") from error
        if not data:
            raise BadRequest(400, f"the connection ended {self.received} bytes into the body")
        return data

    def discard(self, max_bytes: int) -> bool:
        """Read what the application left, up to `max_bytes`; tell whether that was all. Raises as reading does."""
        scratch = bytearray(BUFFER_BYTES)
        end = self.received + max_bytes
        while not self.is_complete:
            if self.received > end:
                return False
            self.readinto(scratch)
        return True


class Input(BufferedReader):
    """What applications see. `trailers` holds the trailer fields of a chunked body, by their CGI names."""

    raw: BodyReader

    def close(self) -> None:
        """Do nothing: it ends with its request, and one that has no body is shared."""

    @property
    def trailers(self) -> dict[str, str]:
        """The trailer fields; empty until the body has been read."""
        return self.raw.trailers

    @property
    def body(self) -> BodyReader:
        """The reader below."""
        return self.raw
