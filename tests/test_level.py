"""Level-triggered polling beside green sockets: both see every event, what is ready stays ready."""

import os
from collections.abc import Iterator
from pathlib import Path
from select import EPOLLHUP, EPOLLIN, EPOLLOUT
from typing import Any

import pytest
from core_tools import turns

from greenprobe.green_socket import socket, socketpair
from greenprobe.greenthread import sleep, spawn
from greenprobe.level import LevelPoller


@pytest.fixture
def ends() -> Iterator[tuple[socket, socket]]:
    """Two connected green sockets."""
    one, other = socketpair()
    with one, other:
        yield one, other


@pytest.fixture
def poller() -> Iterator[LevelPoller]:
    """A poller, closed after the test."""
    poller = LevelPoller()
    yield poller
    poller.close()


def test_what_is_ready_is_reported_until_it_is_used_up(poller: LevelPoller, ends: tuple[socket, socket]) -> None:
    poller.register(ends[0].fileno(), EPOLLIN)
    ends[1].send(b"ab")
    for _ in range(3):
        assert poller.poll() == [(ends[0].fileno(), EPOLLIN)]
    assert ends[0].recv(1) == b"a"
    assert poller.poll() == [(ends[0].fileno(), EPOLLIN)]
    assert ends[0].recv(1) == b"b"
    assert poller.poll(0) == []


def test_a_poll_parks_only_its_own_greenthread(poller: LevelPoller, ends: tuple[socket, socket]) -> None:
    poller.register(ends[0].fileno(), EPOLLIN)
    for _ in range(3):
        waiter = spawn(poller.poll)
        sleep(0)
        assert not waiter.ready()
        ends[1].send(b"x")
        assert waiter.wait(30) == [(ends[0].fileno(), EPOLLIN)]
        assert ends[0].recv(5) == b"x"


def test_a_green_reader_of_the_same_descriptor_is_woken_too(poller: LevelPoller, ends: tuple[socket, socket]) -> None:
    poller.register(ends[0].fileno(), EPOLLIN)
    reader, waiter = spawn(ends[0].recv, 5), spawn(poller.poll)
    sleep(0)
    ends[1].send(b"x")
    assert reader.wait(30) == b"x"
    ends[1].send(b"y")
    assert waiter.wait(30) == [(ends[0].fileno(), EPOLLIN)]
    assert ends[0].recv(5) == b"y"


def test_a_poll_times_out(poller: LevelPoller, ends: tuple[socket, socket], clock: Any) -> None:
    poller.register(ends[0].fileno(), EPOLLIN)
    assert poller.poll(5) == []
    assert clock.now() == 5


def test_a_registration_made_during_a_poll_counts(poller: LevelPoller, ends: tuple[socket, socket]) -> None:
    waiter = spawn(poller.poll)
    sleep(0)
    poller.register(ends[0].fileno(), EPOLLOUT)
    assert waiter.wait(30) == [(ends[0].fileno(), EPOLLOUT)]


def test_modify_and_unregister_change_what_is_reported(poller: LevelPoller, ends: tuple[socket, socket]) -> None:
    fd = ends[0].fileno()
    poller.register(fd, EPOLLIN)
    assert poller.poll(0) == []
    poller.modify(fd, EPOLLOUT)
    assert poller.poll(0) == [(fd, EPOLLOUT)]
    with pytest.raises(FileExistsError):
        poller.register(fd)
    poller.unregister(fd)
    assert poller.poll(0) == []
    with pytest.raises(FileNotFoundError):
        poller.unregister(fd)
    with pytest.raises(FileNotFoundError):
        poller.modify(fd, EPOLLIN)


def test_a_regular_file_is_always_ready(poller: LevelPoller, ends: tuple[socket, socket], tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        poller.register(file.fileno(), EPOLLIN | EPOLLOUT)
        poller.register(ends[0].fileno(), EPOLLOUT)
        assert poller.poll() == [(file.fileno(), EPOLLIN | EPOLLOUT), (ends[0].fileno(), EPOLLOUT)]
        assert poller.poll(max_events=1) == [(file.fileno(), EPOLLIN | EPOLLOUT)]
        with pytest.raises(FileExistsError):
            poller.register(file.fileno())
        poller.modify(file.fileno(), EPOLLIN)
        assert (file.fileno(), EPOLLIN) in poller.poll()
        poller.unregister(file.fileno())
        assert poller.poll() == [(ends[0].fileno(), EPOLLOUT)]


def test_a_hang_up_is_reported(poller: LevelPoller) -> None:
    read, write = os.pipe()
    poller.register(read, EPOLLIN)
    waiter = spawn(poller.poll)
    sleep(0)
    os.close(write)
    assert waiter.wait(30) == [(read, EPOLLHUP)]
    os.close(read)


def test_a_closed_descriptor_leaves_and_its_number_can_come_back(
    poller: LevelPoller, ends: tuple[socket, socket], clock: Any
) -> None:
    read, write = os.pipe()
    poller.register(read, EPOLLIN)
    waiter = spawn(poller.poll, 5)
    sleep(0)
    os.close(read)
    assert waiter.wait() == []
    os.dup2(ends[0].fileno(), read)
    poller.register(read, EPOLLOUT)
    assert poller.poll() == [(read, EPOLLOUT)]
    os.close(read)
    os.close(write)


def test_closing_it_ends_a_poll_with_an_error(ends: tuple[socket, socket]) -> None:
    poller = LevelPoller()
    poller.register(ends[0].fileno(), EPOLLIN)
    waiters = [spawn(poller.poll), spawn(poller.poll)]
    turns()
    poller.close()
    for waiter in waiters:
        with pytest.raises(OSError, match="closed"):
            waiter.wait(30)
    assert poller.closed
    poller.close()
    with pytest.raises(ValueError):
        poller.poll(0)


def test_two_greenthreads_may_poll_one_poller(poller: LevelPoller, ends: tuple[socket, socket]) -> None:
    poller.register(ends[0].fileno(), EPOLLIN)
    waiters = [spawn(poller.poll), spawn(poller.poll)]
    sleep(0)
    ends[1].send(b"x")
    assert [waiter.wait(30) for waiter in waiters] == [[(ends[0].fileno(), EPOLLIN)]] * 2
