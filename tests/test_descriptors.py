"""Reading and writing pipes, terminals and files: the caller parks, the descriptor stays blocking."""

import os
import pty
import socket as stdlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from core_tools import turns

from greenprobe import green_os
from greenprobe.greenthread import spawn
from greenprobe.timeout import Timeout

MORE_THAN_A_PIPE_HOLDS = 1 << 20


def read_all(fd: int, size: int) -> bytes:
    """Read `size` bytes."""
    pieces = []
    while size:
        piece = green_os.read(fd, size)
        size -= len(piece)
        pieces.append(piece)
    return b"".join(pieces)


def test_a_read_of_an_empty_pipe_parks_only_its_own_greenthread(pipe: tuple[int, int]) -> None:
    reader = spawn(green_os.read, pipe[0], 10)
    turns()
    assert not reader.ready()
    assert os.get_blocking(pipe[0]), "who shares the description must not be made non-blocking"
    os.write(pipe[1], b"abc")
    assert reader.wait(30) == b"abc"


def test_a_read_ends_at_the_end(pipe: tuple[int, int]) -> None:
    reader = spawn(green_os.read, pipe[0], 10)
    turns()
    os.close(pipe[1])
    assert reader.wait(30) == b""


def test_a_large_write_returns_when_all_is_written(pipe: tuple[int, int]) -> None:
    data = os.urandom(MORE_THAN_A_PIPE_HOLDS)
    writer = spawn(green_os.write, pipe[1], data)
    turns()
    assert not writer.ready()
    assert read_all(pipe[0], len(data)) == data
    assert writer.wait(30) == len(data)


def test_a_write_of_other_than_bytes_counts_bytes(pipe: tuple[int, int]) -> None:
    view = memoryview(bytearray(1 << 14)).cast("I")
    writer = spawn(green_os.write, pipe[1], view)
    assert len(read_all(pipe[0], 1 << 14)) == writer.wait(30) == 1 << 14


def test_a_write_nobody_can_read_any_more_raises_or_says_how_far_it_came(pipe: tuple[int, int]) -> None:
    writer = spawn(green_os.write, pipe[1], bytes(MORE_THAN_A_PIPE_HOLDS))
    turns()
    os.close(pipe[0])
    assert 0 < writer.wait(30) < MORE_THAN_A_PIPE_HOLDS
    with pytest.raises(BrokenPipeError):
        green_os.write(pipe[1], b"x")


def test_vectors_are_read_and_written(pipe: tuple[int, int]) -> None:
    one, other = bytearray(2), bytearray(2)
    reader = spawn(green_os.readv, pipe[0], [one, other])
    turns()
    assert green_os.writev(pipe[1], [b"ab", b"c"]) == 3
    assert reader.wait(30) == 3
    assert one + other == b"abc\0"
    pieces = [bytes(1 << 16)] * 4
    writer = spawn(green_os.writev, pipe[1], pieces)
    assert len(read_all(pipe[0], 1 << 18)) == writer.wait(30)


def test_a_non_blocking_descriptor_says_that_it_would_block(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[0], False)
    os.set_blocking(pipe[1], False)
    with pytest.raises(BlockingIOError):
        green_os.read(pipe[0], 1)
    written = green_os.write(pipe[1], bytes(MORE_THAN_A_PIPE_HOLDS))
    assert 0 < written < MORE_THAN_A_PIPE_HOLDS
    with pytest.raises(BlockingIOError):
        green_os.write(pipe[1], b"x")
    with pytest.raises(BlockingIOError):
        green_os.writev(pipe[1], [b"x"])


def test_a_timeout_ends_a_read_and_a_write(pipe: tuple[int, int], clock: Any) -> None:
    with pytest.raises(Timeout), Timeout(5):
        green_os.read(pipe[0], 1)
    with pytest.raises(Timeout), Timeout(5):
        green_os.write(pipe[1], bytes(MORE_THAN_A_PIPE_HOLDS))
    assert clock.now() == 10


@pytest.mark.parametrize(
    ("call", "args"),
    [
        ("read", (-1, 1)),
        ("read", ("x", 1)),
        ("read", (0, -1)),
        ("read", (0, "x")),
        ("write", (-1, b"x")),
        ("write", (None, b"x")),
        ("readv", (-1, [bytearray(1)])),
        ("writev", (-1, [b"x"])),
    ],
)
def test_wrong_arguments_raise_what_the_standard_library_raises(call: str, args: tuple[Any, ...]) -> None:
    def caught(function: Callable[..., Any]) -> tuple[type, str]:
        with pytest.raises(Exception) as info:
            function(*args)
        return info.type, str(info.value)

    assert caught(getattr(green_os, call)) == caught(getattr(os, call))


def test_a_closed_descriptor_is_ebadf(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    with pytest.raises(OSError, match="Bad file descriptor"):
        green_os.read(pipe[0], 1)


def test_a_regular_file_is_read_and_written_at_once(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    try:
        assert green_os.write(fd, bytes(100_000)) == 100_000
        assert green_os.writev(fd, [bytes(50_000)] * 2) == 100_000
        os.lseek(fd, 0, os.SEEK_SET)
        assert len(green_os.read(fd, 300_000)) == 200_000
        assert green_os.read(fd, 1) == b""
    finally:
        os.close(fd)


def test_a_terminal_is_waited_for() -> None:
    master, slave = pty.openpty()
    reader = spawn(green_os.read, slave, 100)
    turns()
    assert not reader.ready()
    green_os.write(master, b"line\n")
    assert reader.wait(30) == b"line\n"
    os.close(master)
    os.close(slave)


def test_sendfile_waits_for_room_and_says_how_much_it_sent(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(MORE_THAN_A_PIPE_HOLDS))
    data = (tmp_path / "file").read_bytes()
    ours, theirs = stdlib.socketpair()  # the standard library's, blocking
    source = os.open(tmp_path / "file", os.O_RDONLY)
    with ours, theirs:

        def send() -> None:
            offset = 0
            while sent := green_os.sendfile(ours.fileno(), source, offset, len(data) - offset):
                offset += sent

        sender = spawn(send)
        assert read_all(theirs.fileno(), len(data)) == data
        sender.wait(30)
    os.close(source)


def test_what_is_not_green_is_os_s_own() -> None:
    assert green_os.getpid is os.getpid
    assert green_os.fork is os.fork
    with pytest.raises(AttributeError):
        green_os.no_such_name  # noqa: B018 - the look-up is the test


def test_a_call_on_the_wrong_end_of_a_pipe_fails_at_once(pipe: tuple[int, int]) -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        green_os.write(pipe[0], b"x")
    with pytest.raises(OSError, match="Bad file descriptor"):
        green_os.read(pipe[1], 1)
