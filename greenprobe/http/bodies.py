"""Bodies of requests: bytes, files, streams and forms, as pieces to send.

A body says how long it is, if it knows, and whether its pieces can be had again: a redirect, a challenge or a retry
sends it once more. A file is read 64 KiB at a time, so a body of any length costs no memory.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from secrets import token_hex
from typing import IO, Final, NamedTuple, Protocol
from urllib.parse import urlencode

import orjson

from greenprobe.errors import LocalProtocolError
from greenprobe.lazy import Lazy

__all__ = ["BytesBody", "FileBody", "FilePart", "MultipartBody", "RequestBody", "StreamBody", "form_body", "json_body"]

mimetypes = Lazy("mimetypes")

PIECE_BYTES: Final = 1 << 16


class RequestBody(Protocol):
    """What can be sent as a body. `length` in bytes is None if it is not known: then it goes out in chunks."""

    @property
    def content_type(self) -> str | None:
        """The Content-Type that goes with it, unless the request names another."""

    @property
    def length(self) -> int | None:
        """Bytes, or None."""

    @property
    def can_repeat(self) -> bool:
        """Tell whether `pieces` may be called a second time."""

    def pieces(self) -> Iterator[bytes]:
        """Yield the body from its start, piece by piece; no piece is empty."""


class BytesBody(NamedTuple):
    """Bytes that are there."""

    data: bytes
    content_type: str | None = None

    @property
    def length(self) -> int:
        """Bytes."""
        return len(self.data)

    @property
    def can_repeat(self) -> bool:
        """Bytes stay."""
        return True

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes."""
        if self.data:
            yield self.data


class FileBody:
    """What is in a binary file from where it stands, to its end. It stays open and belongs to the caller."""

    __slots__ = ("_file", "_start", "can_repeat", "content_type", "length")

    def __init__(self, file: IO[bytes], content_type: str | None = None) -> None:
        self._file = file
        self.content_type = content_type
        self.can_repeat = file.seekable()
        self._start = file.tell() if self.can_repeat else 0
        self.length = _rest_of(file) if self.can_repeat else None

    def pieces(self) -> Iterator[bytes]:
        """Yield the file's bytes; raises LocalProtocolError if there are not as many as there were at first.

        Several may do so at once: each goes back to its own place before it reads.
        """
        at, left = self._start, self.length
        while left is None or left > 0:
            if self.can_repeat:
                self._file.seek(at)
            data = self._file.read(PIECE_BYTES if left is None else min(PIECE_BYTES, left))
            if not data:
                break
            at += len(data)
            if left is not None:
                left -= len(data)
            yield data
        if left:
            raise LocalProtocolError(f"the file has become {left:,} bytes shorter while it was sent")


def _rest_of(file: IO[bytes]) -> int:
    here = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(here)
    return max(0, end - here)


class StreamBody:
    """Pieces from an iterable, once. Give the `length` in bytes if it is known."""

    __slots__ = ("_pieces", "content_type", "length")

    can_repeat = False

    def __init__(self, pieces: Iterable[bytes], *, length: int | None = None, content_type: str | None = None) -> None:
        self._pieces = pieces
        self.length = length
        self.content_type = content_type

    def pieces(self) -> Iterator[bytes]:
        """Yield the pieces; raises LocalProtocolError if they are not as long as announced."""
        sent_bytes = 0
        for piece in self._pieces:
            if piece:
                sent_bytes += len(piece)
                if self.length is not None and sent_bytes > self.length:
                    break
                yield piece
        if self.length is not None and sent_bytes != self.length:
            raise LocalProtocolError(f"the body was announced to have {self.length:,} bytes and has others")


def form_body(fields: Mapping[str, str] | Iterable[tuple[str, str]]) -> BytesBody:
    """Return a form as application/x-www-form-urlencoded."""
    pairs = list(fields.items()) if isinstance(fields, Mapping) else list(fields)
    return BytesBody(urlencode(pairs).encode("ascii"), "application/x-www-form-urlencoded")


def json_body(value: object) -> BytesBody:
    """Return a value as JSON; raises TypeError for what JSON has no form for."""
    return BytesBody(orjson.dumps(value), "application/json")


class FilePart(NamedTuple):
    """A file of a multipart form. `content` stays the caller's."""

    name: str
    content: bytes | IO[bytes]
    content_type: str | None = None


class MultipartBody:
    """A form with files, as multipart/form-data. Source: RFC 7578; names as WHATWG escapes them."""

    __slots__ = ("_end", "_parts", "can_repeat", "content_type", "length")

    def __init__(
        self, fields: Iterable[tuple[str, str]], files: Iterable[tuple[str, FilePart]], *, boundary: str | None = None
    ) -> None:
        """`fields` and `files` are (name of the form's field, value)."""
        mark = boundary or token_hex(16)
        self.content_type = f"multipart/form-data; boundary={mark}"
        plain = [(_part_head(mark, name, None), BytesBody(value.encode())) for name, value in fields]
        self._parts: list[tuple[bytes, BytesBody | FileBody]] = [
            *plain,
            *((_part_head(mark, name, part), _content(part)) for name, part in files),
        ]
        self._end = f"--{mark}--\r\n".encode()
        self.can_repeat = all(body.can_repeat for _, body in self._parts)
        lengths = [body.length for _, body in self._parts]
        known = [length for length in lengths if length is not None]
        framing = sum(len(head) + 2 for head, _ in self._parts) + len(self._end)
        self.length = sum(known) + framing if len(known) == len(lengths) else None

    def pieces(self) -> Iterator[bytes]:
        """Yield the form, part by part."""
        for head, body in self._parts:
            yield head
            yield from body.pieces()
            yield b"\r\n"
        yield self._end


def _content(part: FilePart) -> BytesBody | FileBody:
    return BytesBody(part.content) if isinstance(part.content, bytes) else FileBody(part.content)


def _part_head(mark: str, name: str, part: FilePart | None) -> bytes:
    lines = [f"--{mark}", f'Content-Disposition: form-data; name="{_quoted(name)}"']
    if part is not None:
        kind = part.content_type or mimetypes.guess_type(part.name)[0] or "application/octet-stream"
        lines[1] += f'; filename="{_quoted(part.name)}"'
        lines.append(f"Content-Type: {_quoted(kind)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _quoted(text: str) -> str:
    return text.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")
