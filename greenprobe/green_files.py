"""File objects that park: pipes and terminals on the hub, regular files in the thread pool.

Facts. A regular file is always ready for epoll, and a read of it may still take seconds (a sleeping disk, NFS). A pipe
can be waited for. The standard library's buffers guard themselves with a lock of the OS thread. Failures: reading a
file stops all greenthreads; two greenthreads that use one pipe file get "reentrant call"; a thread that still fills a
buffer whose reader was killed writes into freed memory. Choice. Only the raw layer is ours: a `FileIO` whose calls
park, or are made in a thread on bytes of its own. Above it are the standard library's buffers and text layer, each
buffer under a green lock, so that everything but waiting is theirs. Price: 30 to 60 us for each call of the raw layer
of a regular file, so its buffer is 64 KiB unless another size is given; and who is killed in such a call waits for its
end, as nobody may close a descriptor, and have its number used again, under a thread that works on it.

`open` may be given a path, or a descriptor, of either kind. Closing a file whose reader waits ends that wait with
OSError (EBADF).
"""

import io
import os
import warnings
from collections.abc import Callable
from functools import wraps
from stat import S_ISBLK, S_ISREG
from typing import IO, TYPE_CHECKING, Any, Final, TypeVar

from greenprobe.descriptors import kernel_read, kernel_write, wait_readable, write_all
from greenprobe.level import Parking
from greenprobe.sync import RLock
from greenprobe.threadpool import default_pool
from greenprobe.timeout import CancelScope

if TYPE_CHECKING:
    from _typeshed import FileDescriptorOrPath, ReadableBuffer, WriteableBuffer

__all__ = ["GreenBufferedRandom", "GreenBufferedReader", "GreenBufferedWriter", "GreenFileIO", "fdopen", "open"]

T = TypeVar("T")

REGULAR_BUFFER_BYTES: Final = 1 << 16
READALL_BYTES: Final = 1 << 16
MODES: Final = frozenset("axrwb+t")


def __getattr__(name: str) -> Any:  # stands in for `io` where the standard library opens pipes
    return getattr(io, name)


# -- the raw layer


class GreenFileIO(io.FileIO):
    """`io.FileIO`, green."""

    def __init__(
        self,
        file: "FileDescriptorOrPath",
        mode: str = "r",
        closefd: bool = True,
        opener: Callable[[str, int], int] | None = None,
    ) -> None:
        super().__init__(file, mode, closefd, opener)
        self.threaded = is_file(os.fstat(self.fileno()).st_mode)
        self._parking = Parking(self.fileno())

    def readinto(self, buffer: "WriteableBuffer", /) -> int | None:
        with memoryview(buffer) as whole, whole.cast("B") as view:
            data = self.read(len(view))
            if data is None:
                return None
            view[: len(data)] = data
            return len(data)

    def read(self, size: int | None = -1, /) -> bytes | None:  # type: ignore[override]
        if size is None or size < 0:
            return self.readall()
        if not self.readable():
            raise io.UnsupportedOperation("read")
        if self.threaded:
            return in_thread(kernel_read, self.fileno(), size)
        try:
            if size:
                wait_readable(self.fileno(), self._parking)
            return kernel_read(self.fileno(), size)
        except BlockingIOError:
            return None

    def readall(self) -> bytes | None:  # type: ignore[override]
        if not self.readable():
            raise io.UnsupportedOperation("read")
        if self.threaded:
            return in_thread(super().readall)
        pieces: list[bytes] = []
        while piece := self.read(READALL_BYTES):
            pieces.append(piece)
        return b"".join(pieces) if pieces or piece is not None else None

    def write(self, data: "ReadableBuffer", /) -> int | None:  # type: ignore[override]
        if not self.writable():
            raise io.UnsupportedOperation("write")
        if self.threaded:
            return in_thread(kernel_write, self.fileno(), bytes(data))
        try:
            return write_all(self.fileno(), data, self._parking)
        except BlockingIOError:
            return None

    def truncate(self, size: int | None = None, /) -> int:
        return in_thread(super().truncate, size) if self.threaded else super().truncate(size)

    def close(self) -> None:
        if not self.closed and self.closefd:
            self._parking.close()
        super().close()


def in_thread(function: Callable[..., T], *args: Any) -> T:
    """Make a call on a descriptor in a thread, and do not leave before the thread has left the descriptor alone."""
    job = default_pool().submit(function, *args)
    try:
        return job.wait()
    except BaseException:
        if not (job.ready() or job.cancel()):
            with CancelScope(shield=True):
                job.join()
        raise


# -- buffers


def locked(method: Callable[..., T]) -> Callable[..., T]:
    """Return a method of a buffer that holds the buffer's green lock."""

    @wraps(method)
    def held(self: Any, *args: Any, **kwargs: Any) -> T:
        with self.green_lock:
            return method(self, *args, **kwargs)

    return held


class GreenBufferedReader(io.BufferedReader):
    """`io.BufferedReader` whose second user waits for the first, green."""

    def __init__(self, raw: io.RawIOBase, buffer_size: int = io.DEFAULT_BUFFER_SIZE) -> None:
        self.green_lock = RLock()
        super().__init__(raw, buffer_size)

    read = locked(io.BufferedReader.read)
    read1 = locked(io.BufferedReader.read1)
    readinto = locked(io.BufferedReader.readinto)
    readinto1 = locked(io.BufferedReader.readinto1)
    readline = locked(io.BufferedReader.readline)
    peek = locked(io.BufferedReader.peek)
    seek = locked(io.BufferedReader.seek)
    tell = locked(io.BufferedReader.tell)


class GreenBufferedWriter(io.BufferedWriter):
    """`io.BufferedWriter` whose second user waits for the first, green."""

    def __init__(self, raw: io.RawIOBase, buffer_size: int = io.DEFAULT_BUFFER_SIZE) -> None:
        self.green_lock = RLock()
        super().__init__(raw, buffer_size)

    write = locked(io.BufferedWriter.write)
    flush = locked(io.BufferedWriter.flush)
    seek = locked(io.BufferedWriter.seek)
    tell = locked(io.BufferedWriter.tell)
    truncate = locked(io.BufferedWriter.truncate)
    close = locked(io.BufferedWriter.close)


class GreenBufferedRandom(io.BufferedRandom):
    """`io.BufferedRandom` whose second user waits for the first, green."""

    def __init__(self, raw: io.RawIOBase, buffer_size: int = io.DEFAULT_BUFFER_SIZE) -> None:
        self.green_lock = RLock()
        super().__init__(raw, buffer_size)

    read = locked(io.BufferedRandom.read)
    read1 = locked(io.BufferedRandom.read1)
    readinto = locked(io.BufferedRandom.readinto)
    readinto1 = locked(io.BufferedRandom.readinto1)
    readline = locked(io.BufferedRandom.readline)
    peek = locked(io.BufferedRandom.peek)
    write = locked(io.BufferedRandom.write)
    flush = locked(io.BufferedRandom.flush)
    seek = locked(io.BufferedRandom.seek)
    tell = locked(io.BufferedRandom.tell)
    truncate = locked(io.BufferedRandom.truncate)
    close = locked(io.BufferedRandom.close)


BUFFERS: Final[dict[str, Callable[[io.RawIOBase, int], Any]]] = {
    "+": GreenBufferedRandom,
    "r": GreenBufferedReader,
    "w": GreenBufferedWriter,
}


# -- opening


def open(
    file: "FileDescriptorOrPath",
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Callable[[str, int], int] | None = None,
) -> IO[Any]:
    """`open`, green: the file object's calls park. Arguments and errors are those of the built-in."""
    text = "b" not in mode
    refuse_contradictions(mode, buffering, text or (encoding is errors is newline is None))
    raw_mode = mode.replace("t", "").replace("b", "")
    if isinstance(file, int):
        raw = GreenFileIO(file, raw_mode, closefd, opener)
    else:
        raw = in_thread(GreenFileIO, file, raw_mode, closefd, opener)
    try:
        return dress(raw, mode, buffering, text, (encoding, errors, newline))
    except BaseException:
        raw.close()
        raise


def dress(raw: GreenFileIO, mode: str, buffering: int, text: bool, codec: tuple[str | None, ...]) -> IO[Any]:
    """Put the buffer and the text layer on a raw file."""
    by_line = buffering == 1 or (buffering < 0 and raw.isatty())
    if buffering == 0:
        if text:
            raise ValueError("can't have unbuffered text I/O")
        return raw
    size = buffering if buffering > 1 else REGULAR_BUFFER_BYTES if raw.threaded else io.DEFAULT_BUFFER_SIZE
    kind = "+" if "+" in mode else "r" if "r" in mode else "w"
    buffer: Any = BUFFERS[kind](raw, size)
    if not text:
        return buffer  # type: ignore[no-any-return]
    encoding, errors, newline = codec
    layer = io.TextIOWrapper(buffer, io.text_encoding(encoding, 3), errors, newline, by_line)
    layer.mode = mode  # type: ignore[misc]  # as the built-in does
    return layer


def refuse_contradictions(mode: str, buffering: int, fits: bool) -> None:
    """Raise what the built-in `open` raises for a mode, or for text arguments (`fits` is false) in a binary one."""
    if set(mode) - MODES or len(mode) > len(set(mode)):
        raise ValueError(f"invalid mode: {mode!r}")
    if "t" in mode and "b" in mode:
        raise ValueError("can't have text and binary mode at once")
    if len(set(mode) & set("axrw")) != 1:
        raise ValueError("must have exactly one of create/read/write/append mode")
    if not fits:
        raise ValueError("binary mode doesn't take an encoding, errors or newline argument")
    if buffering == 1 and "b" in mode:
        text = "line buffering (buffering=1) isn't supported in binary mode, the default buffer size will be used"
        warnings.warn(text, RuntimeWarning, stacklevel=3)


def fdopen(fd: int, mode: str = "r", buffering: int = -1, *args: Any, **kwargs: Any) -> IO[Any]:
    """`os.fdopen`, green for pipes, terminals and sockets; a regular file's calls are made at once, as always."""
    if not isinstance(fd, int):
        raise TypeError(f"invalid fd type ({type(fd)}, expected integer)")
    make = io.open if is_file(os.fstat(fd).st_mode) else open
    return make(fd, mode, buffering, *args, **kwargs)


def is_file(kind: int) -> bool:
    """Tell whether this is the mode of what is always ready, and may block: a regular file, a disk."""
    return S_ISREG(kind) or S_ISBLK(kind)
