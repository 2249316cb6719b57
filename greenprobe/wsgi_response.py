"""One answer of a WSGI application: `start_response`, `write`, and what it returns, onto a connection (PEP 3333).

The head is sent with the first bytes of the body, so a whole answer is one system call, and an application may still
change its mind (`exc_info`) until then. A list of one piece has a length, so it needs no chunks; a file goes out by
sendfile. Pieces are sent as they come: who iterates slowly is read slowly.
"""

from collections.abc import Callable, Iterable, Iterator
from os import fstat
from stat import S_ISREG
from types import TracebackType
from typing import Any, Final, Protocol, cast

from greenprobe.errors import LocalProtocolError
from greenprobe.http.chunked import chunk, last_chunk
from greenprobe.http.request_head import RequestHead
from greenprobe.http.response_head import Framing, Pairs, ResponseHead, encode_fields, response_head

__all__ = ["FileWrapper", "Response", "Wire"]

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]
JOIN_BYTES: Final = 1 << 16  # a longer body is not copied behind its head


class Wire(Protocol):
    """What an answer is sent on."""

    def send(self, data: bytes) -> None:
        """Send all of `data`."""

    def send_file(self, head: bytes, file: Any, offset: int, count: int) -> int | None:
        """Send a head and `count` bytes of a regular file; return how many it had. None: cannot, nothing was sent."""

    def lines(self) -> tuple[bytes, bytes]:
        """Return the Date and the Server line of now."""

    def may_keep_alive(self) -> bool:
        """Tell whether the connection can serve another request after this answer, as far as we know."""


class FileWrapper:
    """`wsgi.file_wrapper`: an iterator over a file, which is sent by sendfile if it is a file of the system's.

    It is its own iterator and can be moved, since frameworks take parts of it: whoever has its iterator can close it.
    """

    def __init__(self, file: Any, block_bytes: int = 1 << 16) -> None:
        self.file = file
        self.block_bytes = block_bytes
        for name in ("close", "seekable", "seek", "tell"):
            if hasattr(file, name):
                setattr(self, name, getattr(file, name))

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        data: bytes = self.file.read(self.block_bytes)
        if not data:
            raise StopIteration
        return data

    def extent(self) -> tuple[int, int] | None:
        """Return where in the file we stand and how many bytes follow; None if it is no regular file."""
        try:
            status = fstat(self.file.fileno())
            offset = self.file.tell()
        except (AttributeError, OSError, ValueError):  # io.UnsupportedOperation is an OSError
            return None
        return (offset, max(0, status.st_size - offset)) if S_ISREG(status.st_mode) else None


class Response:
    """An answer under way. `status` is what the application said, `body_bytes` what was sent of the body."""

    __slots__ = ("_framing", "_left", "_pairs", "_request", "_trailers", "_wire", "body_bytes", "keep_alive", "status")

    def __init__(self, wire: Wire, request: RequestHead) -> None:
        self._wire = wire
        self._request = request
        self._pairs: Pairs = []
        self._framing: Framing | None = None  # None: no head was sent
        self._left = 0  # bytes of the body that are announced and not sent, if it has a length
        self._trailers: Pairs = []
        self.status = ""
        self.body_bytes = 0
        self.keep_alive = False

    @property
    def head_sent(self) -> bool:
        """Whether it is too late to answer something else."""
        return self._framing is not None

    def start(self, status: str, headers: Pairs, exc_info: ExcInfo | None = None) -> Callable[[bytes], None]:
        """Be `start_response`."""
        if exc_info is not None:
            try:
                if self._framing is not None:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # it holds this frame
        elif self.status:
            raise LocalProtocolError("start_response was called twice, the second time without exc_info")
        self.status = status
        self._pairs = headers
        return self.write

    def set_trailers(self, pairs: Pairs) -> None:
        """Send these fields after the body, if it goes out in chunks; later calls replace what earlier ones said."""
        self._trailers = pairs

    def _head(self, length: int | None) -> ResponseHead:
        if not self.status:
            raise LocalProtocolError("the application sends a body before it called start_response")
        request = self._request
        date, server = self._wire.lines()
        head = response_head(
            self.status,
            self._pairs,
            date=date,
            server=server,
            length=length,
            is_1_1=request.version == "HTTP/1.1",
            keep_alive=request.keep_alive and self._wire.may_keep_alive(),
            without_body=request.method == "HEAD",
        )
        self.keep_alive = head.keep_alive
        self._left = head.length or 0
        self._framing = head.framing
        return head

    # -- the body

    def send_result(self, result: Iterable[bytes]) -> None:
        """Send what the application returned, to the end."""
        if type(result) is list and len(result) == 1 and self._framing is None:
            self._send_whole(result[0])
            return
        if not isinstance(result, FileWrapper) or self._framing is not None or not self._send_file(result):
            for data in result:
                self.write(data)
        self._finish()

    def _send_whole(self, data: bytes) -> None:
        if not isinstance(data, bytes):
            raise not_bytes(data)
        head = self._head(len(data))
        if head.framing is Framing.LENGTH and self._left == len(data) <= JOIN_BYTES:
            self._wire.send(head.data + data)
            self.body_bytes = len(data)
            return
        self._wire.send(head.data)
        self._send_body(data)
        self._finish()

    def write(self, data: bytes) -> None:
        """Send a piece of the body, the head before it. Returns when the kernel has all of it."""
        if not isinstance(data, bytes):
            raise not_bytes(data)
        if not data:
            return
        if self._framing is None:
            head = self._head(None)
            if len(data) > JOIN_BYTES:
                self._wire.send(head.data)
                self._send_body(data)
            else:
                self._send_body(data, head.data)
        else:
            self._send_body(data)

    def _send_body(self, data: bytes, before: bytes = b"") -> None:
        framing = self._framing
        excess = False
        if framing is Framing.LENGTH:
            excess = len(data) > self._left
            data = data[: self._left] if excess else data
            self._left -= len(data)
        elif framing is Framing.NONE:
            data = b""
        self.body_bytes += len(data)
        if data and framing is Framing.CHUNKED:
            data = chunk(data)
        if before or data:
            self._wire.send(before + data if before else data)
        if excess:
            raise LocalProtocolError("the application sent a body longer than its Content-Length")

    def _finish(self) -> None:
        if self._framing is None:
            self._wire.send(self._head(0).data)
        if self._framing is Framing.CHUNKED:
            self._wire.send(last_chunk(encode_fields(self._trailers)))
        elif self._framing is Framing.LENGTH and self._left:
            raise LocalProtocolError(f"the application sent {self._left} bytes less than its Content-Length")

    def _send_file(self, wrapper: FileWrapper) -> bool:
        """Send a regular file by sendfile; False if it has to be read after all."""
        extent = wrapper.extent()
        if extent is None:
            return False
        offset, size = extent
        head = self._head(size)
        if head.framing is not Framing.LENGTH:
            self._wire.send(head.data)
            return True
        count = min(size, self._left)
        sent = self._wire.send_file(head.data, wrapper.file, offset, count)
        if sent is None:
            self._wire.send(head.data)
            for data in wrapper:
                self._send_body(data[: self._left])
                if not self._left:
                    break
            return True
        self.body_bytes += sent
        self._left -= sent
        return True


def not_bytes(data: object) -> LocalProtocolError:
    """Return the error for a piece of a body that is something else."""
    return LocalProtocolError(f"the application gave a piece of {type(data).__name__} for its body; give bytes")


def close_result(result: Any) -> None:
    """Call `close` of what an application returned, if it has one."""
    close = getattr(result, "close", None)
    if close is not None:
        cast(Callable[[], object], close)()
