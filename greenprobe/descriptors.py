"""read, write and their kin for descriptors that are not sockets: pipes, terminals, devices.

Facts. O_NONBLOCK belongs to the open file description, which a child process, a pipeline's next program or the shell
on the same terminal shares. Failure: setting it makes `cat` in the next process fail with EAGAIN. Choice. It is never
set: a call asks whether its descriptor is ready and parks until it is, and only then reads or writes, so the kernel
does not block; a write goes in pieces of PIPE_BUF bytes, for which a pipe that is ready always has room. A descriptor
that is non-blocking has an owner who wants BlockingIOError, and gets it. Regular files are always ready: they are read
and written at once.
Price: a system call (poll) more a call. And who reads from a blocking pipe that other processes read from, too, can be
overtaken between the two calls, and then the thread waits for the next byte.
"""

import os
from collections.abc import Sequence
from fcntl import F_GETFL, fcntl
from select import PIPE_BUF, POLLIN, POLLOUT, poll
from stat import S_ISREG
from typing import TYPE_CHECKING, Any, Final

from greenprobe.level import Parking, watch_changes

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = ["is_ready", "read", "readv", "sendfile", "wait_readable", "wait_writable", "write", "writev"]

PIECE: Final = PIPE_BUF

kernel_read, kernel_write, kernel_readv, kernel_writev = os.read, os.write, os.readv, os.writev
kernel_sendfile, get_blocking, fstat = os.sendfile, os.get_blocking, os.fstat


def is_ready(fd: int, event: int) -> bool:
    """Ask the kernel whether POLLIN or POLLOUT holds now, or an error or a hang-up, which ends a wait for either."""
    now = poll()
    now.register(fd, event)
    return bool(now.poll(0))


def may_block(fd: int, refused: int) -> bool:
    """Tell whether a call on a descriptor that is not ready waits: not if non-blocking, or opened in mode `refused`."""
    flags = fcntl(fd, F_GETFL)
    return not flags & os.O_NONBLOCK and flags & os.O_ACCMODE != refused


def wait_readable(fd: int, parking: Parking | None = None) -> None:
    """Park until a read of a blocking descriptor will not block. Returns at once if the descriptor is non-blocking."""
    while not is_ready(fd, POLLIN) and may_block(fd, os.O_WRONLY):
        if parking is not None:
            parking.wait_read()
        else:
            with watch_changes([(fd, POLLIN)]) as changes:
                changes.poll_until(None)


def wait_writable(fd: int, parking: Parking | None = None) -> None:
    """Park until a write of PIECE bytes to a blocking descriptor will not block. Returns at once if non-blocking."""
    while not is_ready(fd, POLLOUT) and may_block(fd, os.O_RDONLY):
        if parking is not None:
            parking.wait_write()
        else:
            with watch_changes([(fd, POLLOUT)]) as changes:
                changes.poll_until(None)


def is_number(fd: object) -> bool:
    """Tell whether the kernel can be asked about it; if not, the call itself raises what there is to raise."""
    return type(fd) is int and fd >= 0


def read(fd: int, length: int, /) -> bytes:
    """`os.read`, green."""
    if is_number(fd) and type(length) is int and length > 0:
        wait_readable(fd)
    return kernel_read(fd, length)


def readv(fd: int, buffers: "Sequence[WriteableBuffer]", /) -> int:
    """`os.readv`, green."""
    if is_number(fd):
        wait_readable(fd)
    return kernel_readv(fd, buffers)


def write(fd: int, data: "ReadableBuffer", /) -> int:
    """`os.write`, green: like it, a write to a blocking descriptor returns when all is written."""
    if not is_number(fd):
        return kernel_write(fd, data)
    return write_all(fd, data)


def write_all(fd: int, data: "ReadableBuffer", parking: Parking | None = None) -> int:
    """Write `data` as `write` does, waiting at `parking`; return how much was written before an error, if anything."""
    with memoryview(data) as view:
        size = view.nbytes
        if size <= PIECE:
            wait_writable(fd, parking)
            return kernel_write(fd, view)
        if not get_blocking(fd) or S_ISREG(fstat(fd).st_mode):
            return kernel_write(fd, view)
        with view.cast("B") as rest:
            return write_pieces(fd, rest, parking)


def write_pieces(fd: int, rest: memoryview, parking: Parking | None) -> int:
    """Write all of `rest` to a blocking descriptor."""
    sent = 0
    while sent < len(rest):
        wait_writable(fd, parking)
        try:
            sent += kernel_write(fd, rest[sent : sent + PIECE])
        except OSError:
            if not sent:
                raise
            break  # as the kernel does it: what was written counts, the next write gets the error
    return sent


def writev(fd: int, buffers: "Sequence[ReadableBuffer]", /) -> int:
    """`os.writev`, green."""
    if not is_number(fd) or not get_blocking(fd):
        return kernel_writev(fd, buffers)
    if sum(memoryview(each).nbytes for each in buffers) > PIECE:
        return write_all(fd, b"".join(buffers))
    wait_writable(fd)
    return kernel_writev(fd, buffers)


def sendfile(out_fd: int, in_fd: int, offset: int | None, count: int, **options: Any) -> int:
    """`os.sendfile`, green. To a blocking pipe or socket it sends PIPE_BUF bytes at most: see what it returns."""
    if is_number(out_fd) and count > 0 and get_blocking(out_fd) and not S_ISREG(fstat(out_fd).st_mode):
        wait_writable(out_fd)
        count = min(count, PIECE)
    return kernel_sendfile(out_fd, in_fd, offset, count, **options)
