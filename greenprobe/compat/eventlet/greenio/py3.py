"""eventlet.greenio.py3: files over pipes, ttys and whatever else can be waited for: GreenFileIO and GreenPipe.

A read or write that would block parks its greenthread. Regular files never say that they would block, so they do.
Above the raw file stand the standard library's own buffers. These belong to one greenthread at a time: a second one
that comes while the first waits inside gets RuntimeError.
"""

import io
import os
from errno import EBADF
from stat import S_ISREG
from typing import TYPE_CHECKING, Any, Final

from greenprobe.compat.eventlet.hubs.levels import notify_close, wait_for_level
from greenprobe.errors import BusyError
from greenprobe.hub import get_hub

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = ["GreenFileIO", "GreenPipe"]

FLAGS: Final = {
    "r": os.O_RDONLY,
    "w": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
    "a": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
    "x": os.O_WRONLY | os.O_CREAT | os.O_EXCL,
}
CHUNK_BYTES: Final = 1 << 16


class GreenFileIO(io.RawIOBase):
    """A raw file whose reads and writes park. `name` is a descriptor, a path, or a file, which is closed then."""

    def __init__(self, name: Any, mode: str = "r", closefd: bool = True, opener: Any = None) -> None:
        self._fd = -1
        kind = mode.replace("b", "").replace("t", "").replace("U", "").replace("+", "")
        self._reads, self._writes = kind in ("", "r") or "+" in mode, kind in ("w", "a", "x") or "+" in mode
        self.mode = mode
        self.name, self._fd, self._closefd = take(name, flags_of(kind or "r", update="+" in mode), closefd, opener)
        self._seekable = S_ISREG(os.fstat(self._fd).st_mode)
        if not self._seekable:
            os.set_blocking(self._fd, False)

    def __repr__(self) -> str:
        return f"<GreenFileIO {self.name!r} {self.mode!r}{' closed' if self.closed else ''}>"

    def _wait(self, *, writing: bool) -> None:
        try:
            wait_for_level(get_hub(), self._fd, writing=writing)
        except BusyError as busy:
            raise RuntimeError(str(busy)) from busy
        except OSError as error:
            if error.errno == EBADF and self.closed:
                raise ValueError("I/O operation on closed file") from error
            raise

    def readinto(self, b: "WriteableBuffer") -> int:
        """Read what is there, once anything is, into a buffer; return how many bytes. 0 is the end."""
        with memoryview(b) as view, view.cast("B") as target:
            data = self.read(len(target))
            target[: len(data)] = data
        return len(data)

    def read(self, size: int | None = -1) -> bytes:
        """Read what is there, once anything is, at most `size` bytes; all that comes if `size` is negative."""
        if size is None or size < 0:
            return self.readall()
        self._check(self._reads, "not readable")
        while True:
            try:
                return os.read(self._fd, size)
            except BlockingIOError:
                self._wait(writing=False)

    def readall(self) -> bytes:
        """Read until the end."""
        return b"".join(iter(lambda: self.read(CHUNK_BYTES), b""))

    def write(self, data: "ReadableBuffer") -> int:
        """Write as much as fits, once anything does; return how many bytes."""
        self._check(self._writes, "not writable")
        while True:
            try:
                return os.write(self._fd, data)
            except BlockingIOError:
                self._wait(writing=True)

    def _check(self, allowed: bool, complaint: str) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        if not allowed:
            raise io.UnsupportedOperation(complaint)

    def readable(self) -> bool:
        """Tell whether it was opened for reading."""
        return self._reads

    def writable(self) -> bool:
        """Tell whether it was opened for writing."""
        return self._writes

    def seekable(self) -> bool:
        """Tell whether it is a regular file."""
        return self._seekable

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move in a regular file. Raises UnsupportedOperation for others."""
        self._check(self._seekable, "not seekable")
        return os.lseek(self._fd, offset, whence)

    def tell(self) -> int:
        """Return where in a regular file this is."""
        return self.seek(0, os.SEEK_CUR)

    def truncate(self, size: int | None = None) -> int:
        """Cut a regular file off, here or at `size`."""
        self._check(self._seekable, "not seekable")
        size = self.tell() if size is None else size
        os.ftruncate(self._fd, size)
        return size

    def fileno(self) -> int:
        """Return the descriptor."""
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        return self._fd

    def isatty(self) -> bool:
        """Tell whether it is a terminal."""
        return os.isatty(self.fileno())

    def close(self) -> None:
        """Close it; who waits for it gets an error."""
        fd, self._fd = self._fd, -1
        super().close()
        if fd >= 0:
            notify_close(fd)
            if self._closefd:
                os.close(fd)


def flags_of(kind: str, *, update: bool) -> int:
    """Return the flags of open(2) for a mode. Raises ValueError if it is none."""
    if kind not in FLAGS:
        raise ValueError(f"a file mode of {kind!r}; give one of {', '.join(FLAGS)}, with b, t or +")
    flags = FLAGS[kind]
    return (flags & ~(os.O_RDONLY | os.O_WRONLY)) | os.O_RDWR if update else flags


def take(name: Any, flags: int, closefd: bool, opener: Any) -> tuple[Any, int, bool]:
    """Return a name, a descriptor, and whether it is ours to close, for what a file is to be made of."""
    if isinstance(name, int):
        return name, name, closefd
    if isinstance(name, (str, bytes, os.PathLike)):
        flags |= os.O_CLOEXEC
        return name, (opener(name, flags) if opener is not None else os.open(name, flags, 0o666)), True
    fd = os.dup(name.fileno())
    name.close()
    return getattr(name, "name", fd), fd, True


def GreenPipe(  # noqa: N802 - eventlet's name
    name: Any,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Any = None,
) -> Any:
    """Return a file over a descriptor, a path or another file, as `open` does, whose reads and writes park."""
    binary = "b" in mode
    if binary and (encoding, errors, newline) != (None, None, None):
        raise ValueError("binary mode takes no encoding, errors or newline")
    if not binary and buffering == 0:
        raise ValueError("can't have unbuffered text I/O")
    raw = GreenFileIO(name, mode, closefd, opener)
    if buffering == 0:
        return raw
    size = buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE
    buffer = buffered(raw, size)
    if binary:
        return buffer
    text = io.TextIOWrapper(buffer, encoding, errors, newline, line_buffering=buffering == 1 or raw.isatty())
    text.mode = mode  # type: ignore[misc]
    return text


def buffered(raw: GreenFileIO, size: int) -> Any:
    """Return the buffer that suits a raw file."""
    if raw.readable() and raw.writable():
        return io.BufferedRandom(raw, size) if raw.seekable() else io.BufferedRWPair(raw, raw, size)
    return io.BufferedWriter(raw, size) if raw.writable() else io.BufferedReader(raw, size)
