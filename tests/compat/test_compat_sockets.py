"""GreenSocket, pipes and bare descriptors where eventlet's differ, or lose people."""

import os
import socket as plain

import pytest
from core_tools import turns

from greenprobe import green_socket as core
from greenprobe.compat.eventlet import debug, spawn
from greenprobe.compat.eventlet.greenio.base import GreenSocket, set_nonblocking, shutdown_safe
from greenprobe.compat.eventlet.greenio.py3 import GreenFileIO, GreenPipe
from greenprobe.compat.eventlet.hubs.levels import IOClosed, notify_close, notify_opened, trampoline

Pipe = tuple[int, int]


# -- sockets


def test_a_green_socket_is_one_of_the_standard_library_with_all_its_methods() -> None:
    with GreenSocket() as sock:
        assert isinstance(sock, plain.socket)
        assert callable(sock.sendmsg)


def test_every_green_socket_counts_as_a_green_socket(pair: tuple[core.socket, core.socket]) -> None:
    assert isinstance(pair[0], GreenSocket)
    assert issubclass(core.socket, GreenSocket)
    with plain.socket() as blocking:
        assert not isinstance(blocking, GreenSocket)


def test_a_subclass_of_green_socket_has_only_its_own_instances(pair: tuple[core.socket, core.socket]) -> None:
    class Mine(GreenSocket):
        pass

    assert not isinstance(pair[0], Mine)


def test_dropping_a_green_socket_of_another_socket_leaves_that_open() -> None:
    with plain.socket() as raw:
        shared = GreenSocket(raw)
        del shared
        assert raw.fileno() >= 0
        assert raw.getsockopt(plain.SOL_SOCKET, plain.SO_TYPE) == plain.SOCK_STREAM


def test_a_listener_made_of_a_plain_one_accepts() -> None:
    with plain.create_server(("127.0.0.1", 0)) as raw, GreenSocket(raw) as listener:
        accepting = spawn(listener.accept)
        with GreenSocket() as client:
            client.connect(raw.getsockname())
            connection, _ = accepting.wait()
            connection.close()
            assert client.recv(1) == b""


def test_a_reset_is_the_end_of_a_green_socket(pair: tuple[core.socket, core.socket]) -> None:
    with GreenSocket(fileno=pair[0].detach()) as sock:
        sock.sendall(b"unread")
        pair[1].close()  # with data it has not read: a reset
        assert sock.recv(10) == b""


def test_two_readers_are_allowed_when_debug_says_so(pair: tuple[core.socket, core.socket]) -> None:
    with GreenSocket(fileno=pair[0].detach()) as sock:
        readers = [spawn(sock.recv, 1)]
        turns()
        with pytest.raises(RuntimeError, match="waits already"):
            sock.recv(1)
        debug.hub_prevent_multiple_readers(False)
        try:
            readers.append(spawn(sock.recv, 1))
            turns()
            pair[1].sendall(b"ab")
            assert sorted(reader.wait() for reader in readers) == [b"a", b"b"]
        finally:
            debug.hub_prevent_multiple_readers(True)


def test_closing_wakes_who_reads(pair: tuple[core.socket, core.socket]) -> None:
    sock = GreenSocket(fileno=pair[0].detach())
    reader = spawn(sock.recv, 1)
    turns()
    sock.close()
    with pytest.raises(OSError, match="closed"):
        reader.wait()


def test_shutdown_safe_lets_real_errors_through(pair: tuple[core.socket, core.socket]) -> None:
    class Broken:
        def shutdown(self, how: int) -> None:
            raise PermissionError(13, "no")

    with pytest.raises(PermissionError):
        shutdown_safe(Broken())
    shutdown_safe(pair[0])
    assert pair[1].recv(1) == b""


def test_set_nonblocking_takes_descriptors_and_objects(pipe: Pipe) -> None:
    set_nonblocking(pipe[0])
    assert not os.get_blocking(pipe[0])
    with plain.socket() as sock:
        set_nonblocking(sock)
        assert sock.gettimeout() == 0


# -- bare descriptors


@pytest.mark.parametrize("notify", [notify_close, notify_opened])
def test_who_waits_for_a_descriptor_that_is_closed_is_told(notify: object, pipe: Pipe) -> None:
    marks: list[str] = []
    waiter = spawn(trampoline, pipe[0], read=True, mark_as_closed=lambda: marks.append("closed"))
    turns()
    assert callable(notify)
    notify(pipe[0])
    with pytest.raises(IOClosed):
        waiter.wait()
    assert marks == ["closed"]


def test_a_descriptor_closed_without_a_word_and_reused_is_waited_for_anew(pipe: Pipe) -> None:
    read, write = pipe
    os.write(write, b"x")
    trampoline(read, read=True)
    os.read(read, 1)
    os.close(read)
    os.close(write)
    again, end = os.pipe()  # the same numbers
    try:
        waiter = spawn(trampoline, again, read=True)
        turns()
        os.write(end, b"y")
        assert waiter.wait() == again
    finally:
        os.close(again)
        os.close(end)


def test_a_trampoline_takes_no_edge_from_a_green_socket(pair: tuple[core.socket, core.socket]) -> None:
    one, other = pair
    other.sendall(b"abc")
    assert one.recv(10) == b"abc"  # a short read: the next one waits before it tries
    waiter = spawn(trampoline, one.fileno(), read=True)
    turns()
    other.sendall(b"d")
    waiter.wait()
    one.settimeout(5)
    assert one.recv(10) == b"d"


def test_waiting_for_a_descriptor_that_is_not_open_fails_at_once() -> None:
    with pytest.raises(IOClosed):
        trampoline(-1, read=True)


# -- pipes


def test_a_pipe_parks_only_its_reader(pipe: Pipe) -> None:
    with GreenPipe(pipe[0], "rb", 0, closefd=False) as source, GreenPipe(pipe[1], "wb", 0, closefd=False) as sink:
        reader = spawn(source.read, 10)
        turns()
        assert not reader.dead
        sink.write(b"hello")
        assert reader.wait() == b"hello"


def test_a_file_of_a_file_takes_its_descriptor_over(pipe: Pipe) -> None:
    file = os.fdopen(os.dup(pipe[1]), "wb", 0)
    with GreenPipe(file, "wb", 0) as green:
        assert file.closed
        green.write(b"x")
    assert os.read(pipe[0], 1) == b"x"


@pytest.mark.parametrize(
    ("mode", "buffering", "options", "complaint"),
    [("q", -1, {}, "mode"), ("r", 0, {}, "unbuffered text"), ("rb", -1, {"encoding": "utf-8"}, "binary")],
)
def test_odd_arguments_are_refused(
    mode: str, buffering: int, options: dict[str, str], complaint: str, pipe: Pipe
) -> None:
    with pytest.raises(ValueError, match=complaint):
        GreenPipe(pipe[0], mode, buffering, encoding=options.get("encoding"), closefd=False)


def test_the_wrong_direction_and_a_closed_file_are_errors(pipe: Pipe) -> None:
    file = GreenFileIO(pipe[0], "r", closefd=False)
    with pytest.raises(OSError, match="not writable"):
        file.write(b"x")
    with pytest.raises(OSError, match="not seekable"):
        file.seek(0)
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.read(1)


def test_closing_a_pipe_wakes_who_reads_it(pipe: Pipe) -> None:
    file = GreenFileIO(os.dup(pipe[0]), "r")
    reader = spawn(file.read, 1)
    turns()
    file.close()
    with pytest.raises(ValueError, match="closed"):
        reader.wait()


def test_regular_files_work_like_files(tmp_path: object) -> None:
    path = f"{tmp_path}/file"
    with GreenPipe(path, "w") as out:
        out.write("one\ntwo\n")
    with GreenPipe(path, "r+") as both:
        assert both.readline() == "one\n"
        both.seek(0, 2)
        both.write("three\n")
    with GreenPipe(path, "ab") as out:
        out.write(b"four\n")
        out.flush()
        assert out.truncate(14) == 14
    with GreenPipe(path) as text:
        assert text.read() == "one\ntwo\nthree\n"
