"""File objects that park: the standard library's in all but waiting."""

import io
import os
import pty
from _thread import allocate_lock
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from core_tools import turns
from greenlet import GreenletExit

from greenprobe import green_files, green_os, threadpool
from greenprobe.green_files import GreenFileIO, in_thread
from greenprobe.greenthread import spawn

MORE_THAN_A_PIPE_HOLDS = 1 << 20


@pytest.fixture
def pipe() -> Iterator[tuple[Any, Any]]:
    """A pipe as two binary file objects."""
    read, write = os.pipe()
    with green_os.fdopen(read, "rb") as reader, green_os.fdopen(write, "wb") as writer:
        yield reader, writer


# -- pipes


def test_reading_a_line_parks_only_its_own_greenthread(pipe: tuple[Any, Any]) -> None:
    reading = spawn(pipe[0].readline)
    turns()
    assert not reading.ready()
    pipe[1].write(b"one\ntwo\n")
    pipe[1].flush()
    assert reading.wait(30) == b"one\n"
    assert pipe[0].readline() == b"two\n"


def test_the_second_reader_of_a_pipe_waits_for_the_first(pipe: tuple[Any, Any]) -> None:
    readers = [spawn(pipe[0].readline), spawn(pipe[0].readline)]
    turns()
    pipe[1].write(b"one\ntwo\n")
    pipe[1].flush()
    assert sorted(reader.wait(30) for reader in readers) == [b"one\n", b"two\n"]


def test_a_large_write_is_read_whole(pipe: tuple[Any, Any]) -> None:
    data = os.urandom(MORE_THAN_A_PIPE_HOLDS)

    def write() -> None:
        pipe[1].write(data)
        pipe[1].close()

    writing = spawn(write)
    assert pipe[0].read() == data
    writing.wait(30)


def test_closing_a_raw_pipe_ends_the_wait_of_its_reader() -> None:
    read, write = os.pipe()
    raw = green_os.fdopen(read, "rb", 0)
    reading = spawn(raw.read, 1)
    turns()
    raw.close()
    with pytest.raises(OSError, match="closed"):
        reading.wait(30)
    os.close(write)


def test_a_text_pipe_has_lines_of_text() -> None:
    read, write = os.pipe()
    with green_os.fdopen(read, encoding="utf-8") as reader, green_os.fdopen(write, "w", 1, "utf-8") as writer:
        reading = spawn(list, reader)
        turns()
        writer.write("grün\n")
        writer.write("ß")
        writer.close()
        assert reading.wait(30) == ["grün\n", "ß"]


def test_a_non_blocking_pipe_returns_none_where_it_would_block() -> None:
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    reader: Any
    with green_os.fdopen(read, "rb", 0) as reader, green_os.fdopen(write, "wb", 0) as writer:
        assert reader.read(1) is None
        assert reader.readinto(bytearray(1)) is None
        assert reader.read() is None
        while writer.write(bytes(4096)) is not None:
            pass


def test_a_terminal_is_written_line_by_line() -> None:
    master, slave = pty.openpty()
    terminal: Any
    with green_os.fdopen(slave, "w") as terminal, green_os.fdopen(master, "rb", 0) as other_side:
        assert terminal.line_buffering
        assert terminal.isatty()
        terminal.write("line\n")
        assert other_side.read(100) == b"line\r\n"


# -- regular files


def test_a_regular_file_is_opened_read_and_written_in_the_thread_pool(tmp_path: Path) -> None:
    before = threadpool.default_pool()
    file: Any
    with green_os.open(tmp_path / "file", "w", encoding="utf-8") as file:
        file.write("grün\n" * 3)
        assert before.threads >= 1
        assert file.buffer.raw.threaded
    with green_os.open(tmp_path / "file", encoding="utf-8") as file:
        assert file.readlines() == ["grün\n"] * 3
        file.seek(0)
        assert file.readline() == "grün\n"
    with green_os.open(tmp_path / "file", "r+b") as file:
        file.seek(0, os.SEEK_END)
        file.write(b"end")
        file.seek(0)
        assert file.read().endswith(b"\nend")
        assert file.truncate(4) == 4
    assert (tmp_path / "file").stat().st_size == 4


def test_others_run_while_a_regular_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"data")
    slow = allocate_lock()
    slow.acquire()

    def read_slowly(fd: int, size: int) -> bytes:
        slow.acquire()
        return os.read(fd, size)

    monkeypatch.setattr(green_files, "kernel_read", read_slowly)
    with green_os.open(tmp_path / "file", "rb") as file:
        reading = spawn(file.read, 4)
        spawn(slow.release)  # which could never run if the read held the thread
        assert reading.wait(30) == b"data"


@pytest.mark.parametrize("mode", ["r", "rb", "r+", "w", "wb", "a", "ab+", "x", "w+b"])
@pytest.mark.parametrize("buffering", [-1, 1, 4096])
def test_the_objects_have_the_types_and_modes_of_the_built_in(mode: str, buffering: int, tmp_path: Path) -> None:
    if buffering == 1 and "b" in mode:
        pytest.skip("a warning; see below")
    paths = tmp_path / "ours", tmp_path / "theirs"
    if "r" in mode:
        for path in paths:
            path.touch()
    encoding = None if "b" in mode else "utf-8"
    with (
        green_os.open(paths[0], mode, buffering, encoding) as ours,
        open(paths[1], mode, buffering, encoding) as theirs,
    ):
        assert isinstance(ours, type(theirs))
        assert ours.mode == theirs.mode
        assert [getattr(ours, name)() for name in ("readable", "writable", "seekable", "isatty")] == [
            getattr(theirs, name)() for name in ("readable", "writable", "seekable", "isatty")
        ]


@pytest.mark.parametrize(
    "arguments",
    [
        ("U",),
        ("rw",),
        ("",),
        ("rr",),
        ("rtb",),
        ("rb", -1, "utf-8"),
        ("rb", -1, None, "strict"),
        ("rb", -1, None, None, "\n"),
        ("r", 0),
        ("r", -1, "no-such-codec"),
        ("r", -1, None, None, "x"),
    ],
)
def test_contradictions_are_refused_as_the_built_in_does(arguments: tuple[Any, ...], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Exception) as theirs:
        open(tmp_path / "file", *arguments)  # noqa: SIM115 - it raises
    with pytest.raises(theirs.type):
        green_os.open(tmp_path / "file", *arguments)


def test_line_buffering_of_a_binary_file_is_warned_of(tmp_path: Path) -> None:
    with pytest.warns(RuntimeWarning, match="line buffering"):
        green_os.open(tmp_path / "file", "wb", 1).close()


def test_a_missing_file_and_a_full_disk_are_errors_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        green_os.open(tmp_path / "missing")
    full = green_os.open("/dev/full", "wb", 0)
    with full, pytest.raises(OSError, match="No space left"):
        full.write(b"x")


def test_wrong_use_of_a_raw_file_is_refused(tmp_path: Path) -> None:
    with GreenFileIO(str(tmp_path / "file"), "w") as raw:
        for call in (raw.read, raw.readall):
            with pytest.raises(io.UnsupportedOperation):
                call()
    with pytest.raises(ValueError, match="closed"):
        raw.write(b"x")
    with GreenFileIO(str(tmp_path / "file"), "r") as raw, pytest.raises(io.UnsupportedOperation):
        raw.write(b"x")
    with pytest.raises(TypeError):
        green_os.fdopen("name")  # type: ignore[arg-type]


def test_a_regular_file_given_as_a_descriptor_is_an_ordinary_file(tmp_path: Path) -> None:
    with green_os.fdopen(os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT), "w+b", 0) as file:
        assert type(file) is io.FileIO


def test_who_is_killed_in_a_call_leaves_when_the_thread_has_left_the_file() -> None:
    began, go_on = allocate_lock(), allocate_lock()
    began.acquire()
    go_on.acquire()
    order = []

    def slow_call() -> None:
        began.release()
        go_on.acquire()
        order.append("thread left")

    def use() -> None:
        try:
            in_thread(slow_call)
        finally:
            order.append("killed")

    user = spawn(use)
    turns()
    began.acquire()
    user.kill()
    turns()
    go_on.release()
    user.join(30)
    assert isinstance(user.exception, GreenletExit)
    assert order == ["thread left", "killed"]
