"""Every method of a green socket against a real peer; close, dup, fork, threads, fairness, the short-read hint."""

import array
import errno
import gc
import io
import os
import random
import shutil
import socket as stdlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from core_tools import PATIENCE, forked, status_of

from greenprobe import names
from greenprobe.errors import BusyError
from greenprobe.green_socket import STREAK, fromfd, socket, socketpair
from greenprobe.greenthread import sleep, spawn
from greenprobe.hub import Hub
from greenprobe.sync import Event
from greenprobe.testing import wait_all_blocked

Pair = tuple[socket, socket]
LOOPBACK = ("127.0.0.1", 0)


@pytest.fixture
def tcp() -> Iterator[Pair]:
    """Two connected green TCP sockets."""
    with stdlib.create_server(LOOPBACK) as listener:
        client = socket()
        client.connect(listener.getsockname())
        server = socket(fileno=listener.accept()[0].detach())
    with client, server:
        server.setsockopt(stdlib.IPPROTO_TCP, stdlib.TCP_NODELAY, 1)
        yield client, server


@pytest.fixture
def unix() -> Iterator[Pair]:
    """Two connected green Unix sockets."""
    one, other = socketpair()
    with one, other:
        yield one, other


@pytest.fixture
def udp() -> Iterator[Pair]:
    """Two green UDP sockets, bound."""
    with socket(type=stdlib.SOCK_DGRAM) as one, socket(type=stdlib.SOCK_DGRAM) as other:
        one.bind(LOOPBACK)
        other.bind(LOOPBACK)
        yield one, other


@pytest.fixture
def listener() -> Iterator[socket]:
    """A green listener."""
    with socket() as sock:
        sock.bind(LOOPBACK)
        sock.listen()
        yield sock


def parked(function: Any, *args: Any) -> Any:
    """Spawn a call and let it come to its wait."""
    green = spawn(function, *args)
    while not green.started:
        sleep(0)
    sleep(0)
    assert not green.ready()
    return green


# -- reading


def test_recv_parks_until_data_comes(tcp: Pair) -> None:
    reader = parked(tcp[0].recv, 10)
    tcp[1].send(b"hello")
    assert reader.wait(PATIENCE) == b"hello"


def test_recv_into_honours_nbytes(tcp: Pair) -> None:
    buffer = bytearray(8)
    tcp[1].send(b"abcdef")
    assert tcp[0].recv_into(buffer, 2) == 2
    assert tcp[0].recv_into(memoryview(buffer)[2:]) == 4
    assert bytes(buffer) == b"abcdef\0\0"
    assert tcp[0].recv_into(bytearray()) == 0


@pytest.mark.parametrize("call", [lambda s: s.recv(0), lambda s: s.recv_into(bytearray())])
def test_a_read_of_nothing_does_not_wait_after_a_short_read(tcp: Pair, call: Any) -> None:
    tcp[1].send(b"x")
    assert tcp[0].recv(10) == b"x"
    assert len(call(tcp[0]) or b"") == 0


def test_a_peek_takes_nothing(tcp: Pair) -> None:
    tcp[1].send(b"ab")
    assert tcp[0].recv(10, stdlib.MSG_PEEK) == b"ab"
    assert tcp[0].recv(1) == b"a"
    peeker = spawn(tcp[0].recv, 10, stdlib.MSG_PEEK)
    assert peeker.wait(PATIENCE) == b"b"
    assert tcp[0].recv_into(bytearray(5), 0, stdlib.MSG_PEEK) == 1
    assert tcp[0].recv(10) == b"b"


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_read_that_waits_for_all_does(kind: str, request: pytest.FixtureRequest) -> None:
    one, other = request.getfixturevalue(kind)
    buffer = bytearray(6)
    for read, got in [
        (lambda: one.recv(5, stdlib.MSG_WAITALL), b"ab-cd"),
        (lambda: bytes(buffer[: one.recv_into(buffer, 0, stdlib.MSG_WAITALL)]), b"ab-cde"),
        (lambda: bytes(buffer[: one.recv_into(buffer, 4, stdlib.MSG_WAITALL)]), b"ab-c"),
    ]:
        reader = parked(read)
        other.send(b"ab-")
        wait_all_blocked()
        other.send(b"cdef")
        assert reader.wait(PATIENCE) == got
        while one.recv(10)[-1:] != b"f":
            pass
    assert one.recv(0, stdlib.MSG_WAITALL) == b""
    other.send(b"ab")
    assert one.recv(10, stdlib.MSG_WAITALL | stdlib.MSG_PEEK) == b"ab"
    assert one.recv(2, stdlib.MSG_WAITALL) == b"ab"
    other.send(b"the end")
    other.close()
    assert one.recv(100, stdlib.MSG_WAITALL) == b"the end"
    assert one.recv(100, stdlib.MSG_WAITALL) == b""


def test_a_timeout_ends_a_read_that_waits_for_all_with_what_is_there(tcp: Pair) -> None:
    tcp[1].send(b"ab")
    tcp[0].settimeout(PATIENCE)  # as a standard socket with a timeout: its kernel socket does not block either
    assert tcp[0].recv(5, stdlib.MSG_WAITALL) == b"ab"


def test_datagrams_come_one_by_one_with_their_sender(udp: Pair) -> None:
    one, other = udp
    reader = parked(one.recvfrom, 10)
    assert other.sendto(b"first", one.getsockname()) == 5
    assert reader.wait(PATIENCE) == (b"first", other.getsockname())
    for each in (b"second", b"third"):
        other.sendto(each, 0, one.getsockname())
    buffer = bytearray(10)
    assert one.recvfrom_into(buffer) == (6, other.getsockname())
    assert one.recv(10) == b"third"
    with pytest.raises(TypeError):
        other.sendto(b"x")


def test_a_datagram_to_a_name_parks_only_its_own_greenthread(hub: Hub) -> None:
    asked, answer = Event(), Event()

    def resolver(host: Any, port: Any, family: int, kind: int) -> list[Any]:
        asked.set()
        answer.wait()
        return [(stdlib.AF_INET, stdlib.SOCK_DGRAM, 17, "", ("127.0.0.1", port))]

    before = names.install(resolver)
    try:
        with socket(type=stdlib.SOCK_DGRAM) as one, socket(type=stdlib.SOCK_DGRAM) as other:
            one.bind(("127.0.0.1", 0))
            sending = spawn(other.sendto, b"hello", ("a.name.test", one.getsockname()[1]))
            asked.wait()  # it is parked, and we run
            answer.set()
            assert sending.wait() == 5
            assert one.recv(10) == b"hello"
    finally:
        names.install(before)


def test_messages_are_gathered_and_scattered(udp: Pair) -> None:
    one, other = udp
    reader = parked(one.recvmsg, 10)
    assert other.sendmsg([b"ab", b"cd"], [], 0, one.getsockname()) == 4
    assert reader.wait(PATIENCE)[0] == b"abcd"
    other.sendto(b"efgh", one.getsockname())
    parts = bytearray(3), bytearray(3)
    assert one.recvmsg_into(parts)[0] == 4
    assert bytes(parts[0] + parts[1]) == b"efgh\0\0"


def test_descriptors_pass_over_a_unix_socket(unix: Pair) -> None:
    read, write = os.pipe()
    reader = parked(unix[1].recvmsg, 10, stdlib.CMSG_LEN(4))
    unix[0].sendmsg([b"x"], [(stdlib.SOL_SOCKET, stdlib.SCM_RIGHTS, array.array("i", [write]))])
    data, [(level, kind, fds)], *_ = reader.wait(PATIENCE)
    assert (data, level, kind) == (b"x", stdlib.SOL_SOCKET, stdlib.SCM_RIGHTS)
    (twin,) = array.array("i", fds)
    os.write(twin, b"through")
    assert os.read(read, 10) == b"through"
    for fd in (read, write, twin):
        os.close(fd)


def test_a_unix_read_that_stops_at_a_descriptor_does_not_hide_what_follows(unix: Pair, hub: Hub) -> None:
    first = parked(unix[1].recv, 1)  # from here on an edge tells of data, once
    unix[0].send(b"0")
    assert first.wait(PATIENCE) == b"0"
    unix[0].send(b"a")
    unix[0].sendmsg([b"b"], [(stdlib.SOL_SOCKET, stdlib.SCM_RIGHTS, array.array("i", [0]))])
    unix[0].send(b"c")
    hub.poller.mark(hub.poller.poll(0, 10))  # all edges have come
    got = b""
    while len(got) < 3:
        got += spawn(unix[1].recv, 10).wait(PATIENCE)
    assert got == b"abc"


# -- writing


@pytest.mark.slow
def test_sendall_of_50_mb_through_a_slow_reader(tcp: Pair) -> None:
    """50 MB cross loopback while the reader lets others run between its reads."""
    size = 50_000_000
    writer = spawn(tcp[0].sendall, memoryview(bytes(size)))
    received = 0
    while received < size:
        received += len(tcp[1].recv(262_144))
        sleep(0)
    assert writer.wait(PATIENCE) is None


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_sendall_goes_on_where_the_buffer_was_full(tcp: Pair, kind: type) -> None:
    sender, reader = tcp
    data = b"".join(number.to_bytes(4, "big") for number in range(1_000_000))
    sender.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_SNDBUF, 65_536)
    writer = spawn(sender.sendall, kind(data))
    got = bytearray()
    while len(got) < len(data):
        got += reader.recv(262_144)
    assert got == data
    assert writer.wait(PATIENCE) is None


def test_the_timeout_of_sendall_is_for_the_whole(tcp: Pair, clock: Any) -> None:
    sender, reader = tcp
    sender.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_SNDBUF, 8192)
    reader.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_RCVBUF, 8192)
    sender.settimeout(10)

    def read_slowly() -> None:
        while True:
            sleep(3)
            reader.recv(65_536)

    slow = spawn(read_slowly)
    with pytest.raises(TimeoutError):
        sender.sendall(bytes(20_000_000))
    assert 10 <= clock.now() < 11
    slow.kill()
    sleep(0)


def test_sendall_of_words_and_of_nothing(tcp: Pair) -> None:
    tcp[0].sendall(array.array("i", [1, 2, 3]))
    tcp[0].sendall(b"")
    assert tcp[1].recv(100) == array.array("i", [1, 2, 3]).tobytes()


def test_send_parks_when_the_buffer_is_full(tcp: Pair) -> None:
    tcp[0].setblocking(False)
    with pytest.raises(BlockingIOError):
        while True:
            tcp[0].send(bytes(65_536))
    tcp[0].setblocking(True)
    writer = parked(tcp[0].send, b"last")
    while not writer.ready():
        tcp[1].recv(1_000_000)
        sleep(0)
    assert writer.wait() == 4


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_sendfile_sends_files_and_what_only_looks_like_one(tcp: Pair, kind: str, tmp_path: Path) -> None:
    data = random.Random(1).randbytes(300_000)
    path = tmp_path / "data"
    path.write_bytes(data)
    received = bytearray()

    def read() -> None:
        while part := tcp[1].recv(65_536):
            received.extend(part)

    reader = spawn(read)
    with path.open("rb") if kind == "file" else io.BytesIO(data) as file:
        assert tcp[0].sendfile(file, 1000, 200_000) == 200_000
        assert file.tell() == 201_000
        assert tcp[0].sendfile(file, 299_000) == 1_000
        tcp[0].setblocking(False)
        with pytest.raises(ValueError, match="non-blocking"):
            tcp[0].sendfile(file)
    tcp[0].shutdown(stdlib.SHUT_WR)
    reader.wait(PATIENCE)
    assert received == data[1000:201_000] + data[299_000:]


# -- connecting


def closed_port() -> tuple[str, int]:
    """Return an address where nobody listens."""
    with stdlib.socket() as sock:
        sock.bind(LOOPBACK)
        return sock.getsockname()  # type: ignore[no-any-return]


def test_a_refused_connect_says_so_and_the_socket_may_try_again(listener: socket) -> None:
    with socket() as sock:
        with pytest.raises(ConnectionRefusedError):
            sock.connect(closed_port())
        assert sock.connect_ex(closed_port()) == errno.ECONNREFUSED
        assert sock.connect_ex(listener.getsockname()) == 0
        assert sock.connect_ex(listener.getsockname()) == errno.EISCONN


@pytest.fixture
def silent() -> Iterator[tuple[str, int]]:
    """An address that never answers: a listener whose backlog is full."""
    with stdlib.socket() as full, stdlib.socket() as one, stdlib.socket() as two:
        full.bind(LOOPBACK)
        full.listen(0)
        for sock in (one, two):
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
        yield full.getsockname()


def test_a_connect_that_nobody_answers_times_out(silent: tuple[str, int], clock: Any) -> None:
    with socket() as sock:
        sock.settimeout(7)
        with pytest.raises(TimeoutError):
            sock.connect(silent)
        assert clock.now() == 7
        assert sock.connect_ex(silent) == errno.EAGAIN


def test_a_non_blocking_connect_does_not_wait(listener: socket, silent: tuple[str, int]) -> None:
    with socket() as sock:
        sock.setblocking(False)
        assert sock.connect_ex(silent) == errno.EINPROGRESS
        with pytest.raises(BlockingIOError):
            sock.connect(silent)


def test_a_full_unix_backlog_is_waited_for(tmp_path: Path, clock: Any) -> None:
    address = str(tmp_path / "sock")
    with socket(stdlib.AF_UNIX) as server, socket(stdlib.AF_UNIX) as first, socket(stdlib.AF_UNIX) as second:
        server.bind(address)
        server.listen(0)
        first.connect(address)
        second.settimeout(1)
        with pytest.raises(TimeoutError):
            second.connect(address)
        waiter = parked(second.connect, address)
        server.accept()[0].close()
        waiter.wait(PATIENCE)


# -- listening


@pytest.mark.fifo
def test_several_greenthreads_accept_in_their_order(listener: socket) -> None:
    order: list[int] = []

    def accept(number: int) -> None:
        sock, _ = listener.accept()
        order.append(number)
        sock.close()

    greens = [spawn(accept, number) for number in range(3)]
    sleep(0)
    for green in greens:
        with stdlib.create_connection(listener.getsockname()):
            green.wait(PATIENCE)
    assert order == [0, 1, 2]


def test_an_accepted_socket_is_green_and_has_the_default_timeout(listener: socket) -> None:
    stdlib.setdefaulttimeout(12)
    try:
        with stdlib.create_connection(listener.getsockname()), listener.accept()[0] as sock:
            assert type(sock) is socket
            assert isinstance(sock, stdlib.socket)
            assert sock.gettimeout() == 12
            assert not os.get_blocking(sock.fileno())
            assert not sock.get_inheritable()
    finally:
        stdlib.setdefaulttimeout(None)


# -- timeouts


def test_timeouts_are_set_and_read_as_in_the_standard_library() -> None:
    with socket() as green, stdlib.socket() as real:
        for sock in (green, real):
            assert (sock.gettimeout(), sock.timeout, sock.getblocking()) == (None, None, True)
            sock.settimeout(5)
            assert (sock.gettimeout(), sock.timeout, sock.getblocking()) == (5.0, 5.0, True)
            sock.setblocking(False)
            assert (sock.gettimeout(), sock.getblocking()) == (0.0, False)
            for odd in (-1, float("nan")):
                with pytest.raises(ValueError):
                    sock.settimeout(odd)
            with pytest.raises(TypeError):
                sock.settimeout("5")  # type: ignore[arg-type]


def test_a_read_times_out_at_its_deadline_and_the_next_one_works(tcp: Pair, clock: Any) -> None:
    tcp[0].settimeout(5)
    with pytest.raises(TimeoutError, match="timed out"):
        tcp[0].recv(10)
    assert clock.now() == 5
    tcp[1].send(b"x")
    assert tcp[0].recv(10) == b"x"
    with pytest.raises(TimeoutError):
        tcp[0].recv(10)
    tcp[1].send(b"y")
    assert tcp[0].recv(10) == b"y"


def test_the_deadline_of_an_earlier_read_does_not_end_a_later_one(tcp: Pair, clock: Any) -> None:
    tcp[0].settimeout(5)
    spawn(lambda: (sleep(1), tcp[1].send(b"a"), sleep(60), tcp[1].send(b"b")))  # type: ignore[func-returns-value]
    assert tcp[0].recv(10) == b"a"
    tcp[0].settimeout(None)
    assert tcp[0].recv(10) == b"b"
    assert clock.now() == 61


def test_non_blocking_mode_never_waits_and_never_lies(tcp: Pair) -> None:
    tcp[1].send(b"abc")
    assert tcp[0].recv(10) == b"abc"
    tcp[0].setblocking(False)
    for call in (tcp[0].recv, tcp[0].recvfrom, tcp[0].recvmsg):
        with pytest.raises(BlockingIOError):
            call(10)
    reader = spawn(tcp[0].recv, 2)
    tcp[1].send(b"defg")
    assert reader.wait(PATIENCE) == b"de"
    tcp[0].setblocking(True)
    assert tcp[0].recv(2) == b"fg"


# -- the short-read hint


def test_the_end_that_comes_with_the_last_data_is_seen(tcp: Pair) -> None:
    for _ in range(2):
        reader = parked(tcp[0].recv, 10)
        tcp[1].send(b"x")
        assert reader.wait(PATIENCE) == b"x"
    tcp[1].setsockopt(stdlib.IPPROTO_TCP, stdlib.TCP_CORK, 1)
    reader = parked(tcp[0].recv, 10)
    tcp[1].send(b"last")
    tcp[1].close()
    assert reader.wait(PATIENCE) == b"last"
    assert spawn(tcp[0].recv, 10).wait(PATIENCE) == b""


def test_a_reset_after_data_is_seen(tcp: Pair) -> None:
    reader = parked(tcp[0].recv, 10)
    tcp[1].setsockopt(stdlib.SOL_SOCKET, stdlib.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    tcp[1].send(b"x")
    assert reader.wait(PATIENCE) == b"x"
    reader = parked(tcp[0].recv, 10)
    tcp[1].close()
    with pytest.raises(ConnectionResetError):
        reader.wait(PATIENCE)


@pytest.mark.parametrize("inline", [False, True])
def test_a_read_that_stops_at_urgent_data_does_not_hide_what_follows(tcp: Pair, inline: bool) -> None:
    tcp[0].setsockopt(stdlib.SOL_SOCKET, stdlib.SO_OOBINLINE, inline)
    reader = parked(tcp[0].recv, 10)
    tcp[1].send(b"a")
    assert reader.wait(PATIENCE) == b"a"
    tcp[1].send(b"b")
    tcp[1].send(b"!", stdlib.MSG_OOB)
    tcp[1].send(b"c")
    wanted = b"b!c" if inline else b"bc"
    got = b""
    while len(got) < len(wanted):
        got += spawn(tcp[0].recv, 10).wait(PATIENCE)
    assert got == wanted


def test_exact_multiples_of_the_buffer_size_arrive_complete(tcp: Pair) -> None:
    for size in (4, 8, 12):
        tcp[1].send(bytes(size))
        got = 0
        while got < size:
            got += len(spawn(tcp[0].recv, 4).wait(PATIENCE))
        reader = parked(tcp[0].recv, 4)
        tcp[1].send(b"more")
        assert reader.wait(PATIENCE) == b"more"


@pytest.mark.parametrize("seed", range(10))
def test_a_stream_arrives_whole_however_it_is_cut(tcp: Pair, seed: int) -> None:
    rng = random.Random(seed)
    data = rng.randbytes(50_000)

    def write() -> None:
        rest = memoryview(data)
        while rest:
            part = rng.randrange(1, 2_000)
            tcp[1].sendall(rest[:part])
            rest = rest[part:]
            if rng.random() < 0.3:
                sleep(0)
        tcp[1].shutdown(stdlib.SHUT_WR)

    writer = spawn(write)
    got = bytearray()
    while part := tcp[0].recv(rng.choice([1, 7, 64, 1000, 4096])):
        got += part
        if rng.random() < 0.2:
            sleep(0)
    writer.wait(PATIENCE)
    assert got == data


# -- files on sockets


def test_makefile_reads_lines_and_keeps_the_socket_open(tcp: Pair) -> None:
    with tcp[0].makefile("rb") as file:
        tcp[0].close()
        tcp[1].sendall(b"one\ntw")
        assert file.readline() == b"one\n"
        reader = parked(file.readline)
        tcp[1].sendall(b"o\n")
        assert reader.wait(PATIENCE) == b"two\n"
        assert tcp[0].fileno() >= 0
    assert tcp[0].fileno() == -1


def test_makefile_writes_text(tcp: Pair) -> None:
    with tcp[0].makefile("w", encoding="ascii", newline="\n") as text:
        text.write("line\n")
    assert tcp[1].recv(10) == b"line\n"
    assert tcp[0].fileno() >= 0


# -- descriptors


def test_detach_gives_the_descriptor_away_and_ends_waits(tcp: Pair) -> None:
    reader = parked(tcp[0].recv, 10)
    fd = tcp[0].detach()
    with pytest.raises(OSError, match="closed") as caught:
        reader.wait(PATIENCE)
    assert caught.value.errno == errno.EBADF
    with socket(fileno=fd) as again:
        tcp[1].send(b"x")
        assert again.recv(10) == b"x"


@pytest.mark.parametrize("make", [lambda sock: sock.dup(), lambda sock: fromfd(sock.fileno(), sock.family, sock.type)])
def test_a_twin_works_after_the_other_was_closed(tcp: Pair, make: Any) -> None:
    tcp[0].settimeout(60)
    reader = parked(tcp[0].recv, 10)
    twin = make(tcp[0])
    tcp[1].send(b"a")
    assert reader.wait(PATIENCE) == b"a"
    reader = parked(twin.recv, 10)
    tcp[0].close()
    tcp[1].send(b"b")
    assert reader.wait(PATIENCE) == b"b"
    twin.close()
    assert tcp[1].recv(10) == b""


@pytest.mark.parametrize("closed", ["the original", "the twin"])
def test_a_closed_descriptor_leaves_the_epoll_set_though_its_twin_lives(tcp: Pair, hub: Hub, closed: str) -> None:
    """The kernel keeps a registration for as long as any descriptor stands for the same thing."""
    twin = tcp[0].dup()
    ends = [tcp[0], twin] if closed == "the original" else [twin, tcp[0]]
    reader = parked(ends[0].recv, 1)
    tcp[1].send(b"1")
    assert reader.wait(PATIENCE) == b"1"
    number = ends[0].fileno()
    ends[0].close()
    tcp[1].send(b"2")
    assert number not in {fd for fd, _ in hub.poller.poll(0.1, 10)}
    assert ends[1].recv(1) == b"2"
    ends[1].close()


def test_a_dup_keeps_timeout_and_class(tcp: Pair) -> None:
    tcp[0].settimeout(9)
    with tcp[0].dup() as twin:
        assert (type(twin), twin.gettimeout()) == (socket, 9)


def test_inheritable_is_set_and_read(tcp: Pair) -> None:
    tcp[0].set_inheritable(True)
    assert tcp[0].get_inheritable()


def test_a_half_closed_connection_still_answers(tcp: Pair) -> None:
    tcp[0].sendall(b"question")
    tcp[0].shutdown(stdlib.SHUT_WR)
    assert tcp[1].recv(100) == b"question"
    assert tcp[1].recv(100) == b""
    answer = parked(tcp[0].recv, 100)
    tcp[1].sendall(b"answer")
    assert answer.wait(PATIENCE) == b"answer"


@pytest.mark.parametrize("in_thread", [False, True])
def test_closing_under_a_reader_gives_it_ebadf(tcp: Pair, in_thread: bool) -> None:
    reader = parked(tcp[0].recv, 10)
    if in_thread:
        thread = threading.Thread(target=tcp[0].close)
        thread.start()
    else:
        tcp[0].close()
    with pytest.raises(OSError) as caught:
        reader.wait(PATIENCE)
    assert caught.value.errno == errno.EBADF
    if in_thread:
        thread.join()


def test_a_closed_socket_says_ebadf_even_after_a_short_read(tcp: Pair, hub: Hub) -> None:
    tcp[1].send(b"x")
    assert tcp[0].recv(10) == b"x"
    tcp[0].close()
    with pytest.raises(OSError) as caught:
        tcp[0].recv(10)
    assert caught.value.errno == errno.EBADF
    assert -1 not in hub.poller.slots


def test_a_socket_closed_elsewhere_does_not_take_its_successors_slot_with_it(tcp: Pair) -> None:
    parked_reader = parked(tcp[0].recv, 10)
    fd = tcp[0].fileno()
    thread = threading.Thread(target=tcp[0].close)
    thread.start()
    thread.join()  # this hub has not run since
    one, other = socketpair()
    assert fd in (one.fileno(), other.fileno())
    if fd == other.fileno():
        one, other = other, one
    with one, other:
        spawn(other.send, b"mine")
        assert one.recv(10) == b"mine"  # waits before the hub has heard of the close
    with pytest.raises(OSError):
        parked_reader.wait(PATIENCE)


def test_two_readers_of_one_stream_are_told(tcp: Pair) -> None:
    reader = parked(tcp[0].recv, 10)
    with pytest.raises(BusyError, match="waits already"):
        tcp[0].recv(10)
    tcp[1].send(b"x")
    assert reader.wait(PATIENCE) == b"x"


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_socket_closed_by_the_collector_leaves_its_number_usable(tcp: Pair) -> None:
    twin = socket(fileno=os.dup(tcp[0].fileno()))
    reader = parked(twin.recv, 10)
    tcp[1].send(b"x")
    reader.wait(PATIENCE)
    number = twin.fileno()
    del twin, reader
    gc.collect()
    read, write = socketpair()
    assert number in (read.fileno(), write.fileno())
    with read, write:
        for one, other in ((read, write), (write, read)):
            reader = parked(one.recv, 10)
            other.send(b"y")
            assert reader.wait(PATIENCE) == b"y"


def test_numbers_that_come_and_go_never_mix_up_conversations(listener: socket) -> None:
    rng = random.Random(7)

    def serve() -> None:
        while True:
            sock, _ = listener.accept()
            spawn(echo, sock)

    def echo(sock: socket) -> None:
        with sock:
            while data := sock.recv(100):
                sock.sendall(data)

    def talk(number: int) -> None:
        with socket() as sock:
            sock.connect(listener.getsockname())
            for turn in range(rng.randrange(1, 4)):
                message = b"%d %d" % (number, turn)
                sock.sendall(message)
                if rng.random() < 0.1:
                    return
                assert sock.recv(100) == message

    server = spawn(serve)
    for _ in range(10):
        for green in [spawn(talk, number) for number in range(25)]:
            green.wait(PATIENCE)
    server.kill()
    for _ in range(5):
        sleep(0.001)


# -- other threads and processes


def test_a_socket_serves_greenthreads_of_two_threads(tcp: Pair) -> None:
    reader = parked(tcp[0].recv, 10)
    tcp[1].send(b"here")
    assert reader.wait(PATIENCE) == b"here"
    there: list[bytes] = []
    thread = threading.Thread(target=lambda: there.append(tcp[0].recv(10)))
    thread.start()
    tcp[1].send(b"there")
    thread.join(PATIENCE)
    assert there == [b"there"]
    reader = parked(tcp[0].recv, 10)
    tcp[1].send(b"again")
    assert reader.wait(PATIENCE) == b"again"


def test_the_end_that_came_with_the_last_bytes_is_seen_in_a_second_thread_as_well(tcp: Pair) -> None:
    reader = parked(tcp[0].recv, 10)
    tcp[1].send(b"here")
    assert reader.wait(PATIENCE) == b"here"
    there: list[bytes] = []
    thread = threading.Thread(target=lambda: there.extend(tcp[0].recv(10) for _ in range(2)))
    tcp[0].settimeout(PATIENCE)
    thread.start()
    tcp[1].send(b"last", stdlib.MSG_MORE)  # held back, and so sent with the end, which makes one edge of both
    tcp[1].shutdown(stdlib.SHUT_WR)
    thread.join()  # this hub has not run since
    assert there == [b"last", b""]


def test_a_socket_that_shall_not_wait_does_not_after_a_short_read_either(tcp: Pair) -> None:
    for set_before in (True, False):
        reader = parked(tcp[0].recv, 10)
        tcp[1].send(b"x")
        assert reader.wait(PATIENCE) == b"x"
        tcp[0].setblocking(False)
        if set_before:
            tcp[1].send(b"y")
            assert tcp[0].recv(10) == b"y"
        with pytest.raises(BlockingIOError):
            tcp[0].recv(10)
        tcp[0].setblocking(True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_and_its_parent_both_use_a_socket(tcp: Pair) -> None:
    reader = parked(tcp[0].recv, 10)
    tcp[1].send(b"parent")
    assert reader.wait(PATIENCE) == b"parent"

    def child() -> bytes:
        tcp[1].settimeout(PATIENCE)
        tcp[1].sendall(b"child")
        return tcp[1].recv(10)

    running = forked(child)
    assert tcp[0].recv(10) == b"child"
    tcp[0].sendall(b"answer")
    assert status_of(*running) == (0, "b'answer'")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_reads_on_where_its_parent_had_read_all_there_was(tcp: Pair) -> None:
    reader = parked(tcp[1].recv, 10)
    tcp[0].send(b"parent")
    assert reader.wait(PATIENCE) == b"parent"
    running = forked(lambda: tcp[1].recv(10))
    tcp[0].send(b"child")
    assert status_of(*running) == (0, "b'child'")


# -- fairness


def count_turns_of_another(work: Any) -> int:
    """Return how often another greenthread ran while `work()` did."""
    turns = 0
    over = False

    def other() -> None:
        nonlocal turns
        while not over:
            turns += 1
            sleep(0)

    green = spawn(other)
    sleep(0)
    before = turns
    work()
    counted = turns - before
    over = True
    green.wait()
    return counted


@pytest.mark.fifo
def test_a_reader_that_never_has_to_wait_lets_others_run(tcp: Pair) -> None:
    tcp[1].send(bytes(STREAK * 10))
    assert count_turns_of_another(lambda: [tcp[0].recv(1) for _ in range(STREAK * 10)]) >= 9


@pytest.mark.fifo
def test_a_writer_that_never_has_to_wait_lets_others_run(tcp: Pair) -> None:
    assert count_turns_of_another(lambda: [tcp[0].send(b"x") for _ in range(STREAK * 10)]) >= 9


@pytest.mark.fifo
def test_datagrams_that_never_have_to_be_waited_for_let_others_run(udp: Pair) -> None:
    one, other = udp

    def both() -> None:
        for _ in range(STREAK * 5):
            other.sendto(b"x", one.getsockname())
            one.recvfrom(10)

    assert count_turns_of_another(both) >= 8


@pytest.mark.fifo
def test_an_acceptor_that_never_has_to_wait_lets_others_run(listener: socket) -> None:
    def both() -> None:
        for _ in range(STREAK * 3):
            with stdlib.create_connection(listener.getsockname()):
                listener.accept()[0].close()

    assert count_turns_of_another(both) >= 2


# -- system calls

PING_PONG = """
from greenprobe.green_socket import socketpair, socket
from greenprobe.greenthread import spawn
import socket as stdlib, os
listener = stdlib.create_server(("127.0.0.1", 0))
client = socket(); client.connect(listener.getsockname())
server = socket(fileno=listener.accept()[0].detach())
def echo():
    while data := server.recv(100):
        server.send(data)
spawn(echo)
def turns(n):
    for _ in range(n):
        client.send(b"x")
        assert client.recv(100) == b"x"
turns(10)
os.path.exists("/begin")
turns(1000)
os.path.exists("/end")
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_a_round_trip_takes_six_system_calls(tmp_path: Path) -> None:
    """strace slows the 1,000 round trips down."""
    log = tmp_path / "log"
    package = Path(__file__).resolve().parent.parent
    run = ["strace", "-f", "-o", str(log), sys.executable, "-c", PING_PONG]
    done = subprocess.run(run, check=False, env={**os.environ, "PYTHONPATH": str(package)}, capture_output=True)
    lines = log.read_text().splitlines() if log.exists() else []
    begin = [number for number, line in enumerate(lines) if '"/begin"' in line]
    end = [number for number, line in enumerate(lines) if '"/end"' in line]
    if not begin or not end:
        pytest.skip(f"strace does not work here: {done.stderr[-200:]!r}")
    assert (end[0] - begin[-1]) / 1000 <= 6.2


# -- descriptors given away


@pytest.mark.parametrize(("timeout", "blocks"), [(None, True), (0.0, False), (5.0, False)])
def test_a_detached_descriptor_blocks_if_its_socket_did(
    timeout: float | None, blocks: bool, pair: tuple[socket, socket]
) -> None:
    pair[0].settimeout(timeout)
    fd = pair[0].detach()
    assert os.get_blocking(fd) is blocks
    os.close(fd)


def test_a_descriptor_whose_duplicate_is_in_use_stays_as_it_is(pair: tuple[socket, socket]) -> None:
    with pair[0].dup() as twin:
        os.close(pair[0].detach())
        assert not os.get_blocking(twin.fileno())


def test_a_call_that_asks_not_to_wait_raises_instead(pair: tuple[socket, socket]) -> None:
    one, other = pair
    for arguments in ("recv", 100), ("recvfrom", 100), ("recvmsg", 100, 0), ("recv_into", bytearray(10), 0):
        name, *rest = arguments
        with pytest.raises(BlockingIOError):
            getattr(one, str(name))(*rest, stdlib.MSG_DONTWAIT)
    other.sendall(b"there")
    assert one.recv(100, stdlib.MSG_DONTWAIT) == b"there"
    with pytest.raises(BlockingIOError):
        while True:
            one.send(bytes(1 << 16), stdlib.MSG_DONTWAIT)
    with pytest.raises(BlockingIOError):
        one.sendall(b"more", stdlib.MSG_DONTWAIT)
    with pytest.raises(BlockingIOError):
        one.sendmsg([b"more"], [], stdlib.MSG_DONTWAIT)
