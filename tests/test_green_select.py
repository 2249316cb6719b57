"""select, poll and epoll that park: what the standard library's answer, theirs answer; nobody else stands still."""

import gc
import os
import select as stdlib
from collections.abc import Callable, Iterator
from errno import EBADF
from pathlib import Path
from select import (
    EPOLLET,
    EPOLLEXCLUSIVE,
    EPOLLIN,
    EPOLLONESHOT,
    EPOLLOUT,
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLNVAL,
    POLLOUT,
    POLLPRI,
)
from typing import Any

import pytest
from core_tools import in_child, turns
from patched import run

from greenprobe import green_select
from greenprobe.green_socket import socket, socketpair
from greenprobe.greenthread import sleep, spawn
from greenprobe.hub import Hub
from greenprobe.level import watch_changes
from greenprobe.pool import wait_any
from greenprobe.testing import wait_all_blocked
from greenprobe.timeout import CancelScope, Timeout

NUMBERS_TOO_BIG_FOR_SELECT = 1030


@pytest.fixture
def ends() -> Iterator[tuple[socket, socket]]:
    """Two connected green sockets."""
    one, other = socketpair()
    with one, other:
        yield one, other


@pytest.fixture
def set_of_pipe(pipe: tuple[int, int]) -> Iterator[green_select.epoll]:
    """An epoll object; its owner registers."""
    with green_select.epoll() as made:
        yield made


# -- the same answers as the standard library's


def outcome_of(function: Callable[..., Any], *args: Any, **kwargs: Any) -> object:
    """Return what a call returns, or the class and the text of what it raises."""
    try:
        return function(*args, **kwargs)
    except Exception as error:
        return type(error), str(error)


class Nope:
    """No descriptor."""


class Almost:
    """Its descriptor is no number."""

    def fileno(self) -> str:
        return "3"


class Odd:
    """Its descriptor is negative."""

    def fileno(self) -> int:
        return -7


ODD_TIMEOUTS = ["soon", -1, float("nan"), 1 << 64, 1e300, object(), b"1", [], True]


@pytest.mark.parametrize("timeout", ODD_TIMEOUTS, ids=repr)
def test_select_takes_and_refuses_the_timeouts_that_the_standard_library_does(
    timeout: Any, pipe: tuple[int, int]
) -> None:
    ours = outcome_of(green_select.select, [], [pipe[1]], [], timeout)
    assert ours == outcome_of(stdlib.select, [], [pipe[1]], [], timeout)


@pytest.mark.parametrize("timeout", [*ODD_TIMEOUTS, 1 << 31, (1 << 31) - 1, 1 << 32, -1.5], ids=repr)
def test_poll_takes_and_refuses_the_timeouts_that_the_standard_library_does(
    timeout: Any, pipe: tuple[int, int]
) -> None:
    ours, theirs = green_select.poll(), stdlib.poll()
    ours.register(pipe[1], POLLOUT)
    theirs.register(pipe[1], POLLOUT)
    assert outcome_of(ours.poll, timeout) == outcome_of(theirs.poll, timeout)


@pytest.mark.parametrize("timeout", [*ODD_TIMEOUTS, 1 << 31, -1.5], ids=repr)
@pytest.mark.parametrize("maxevents", [-1, 0, -2, 1, 5, "x"], ids=repr)
def test_epoll_takes_and_refuses_the_timeouts_and_limits_that_the_standard_library_does(
    timeout: Any, maxevents: Any, pipe: tuple[int, int]
) -> None:
    with green_select.epoll() as ours, stdlib.epoll() as theirs:
        ours.register(pipe[1], EPOLLOUT)
        theirs.register(pipe[1], EPOLLOUT)
        assert outcome_of(ours.poll, timeout, maxevents) == outcome_of(theirs.poll, timeout, maxevents)
        assert outcome_of(ours.poll, timeout=0) == outcome_of(theirs.poll, timeout=0)


NO_DESCRIPTORS = [Nope(), Almost(), Odd(), -1, None, "3", 1 << 40]


@pytest.mark.parametrize("file", NO_DESCRIPTORS, ids=lambda file: type(file).__name__)
def test_what_is_no_descriptor_is_refused_as_the_standard_library_does(file: Any) -> None:
    assert outcome_of(green_select.select, [file], [], [], 0) == outcome_of(stdlib.select, [file], [], [], 0)
    with green_select.epoll() as ours, stdlib.epoll() as theirs:
        pairs: list[tuple[Any, Any]] = [(ours, theirs), (green_select.poll(), stdlib.poll())]
        for ours_is, theirs_is in pairs:
            for name in ["register", "modify"]:
                expected = outcome_of(getattr(theirs_is, name), file, POLLIN)
                assert outcome_of(getattr(ours_is, name), file, POLLIN) == expected
            assert outcome_of(ours_is.unregister, file) == outcome_of(theirs_is.unregister, file)


def test_poll_objects_refuse_what_the_standard_library_s_refuse(pipe: tuple[int, int]) -> None:
    ours, theirs = green_select.poll(), stdlib.poll()
    for poller in (ours, theirs):
        poller.register(pipe[0])
    for name, args in [
        ("register", (0, -1)),
        ("register", (0, 1 << 64)),
        ("register", (0, 1 << 16)),
        ("modify", (pipe[0], -1)),
        ("modify", (pipe[1], POLLIN)),
        ("unregister", (pipe[1],)),
        ("register", ()),
        ("poll", (1, 2)),
    ]:
        mine, expected = outcome_of(getattr(ours, name), *args), outcome_of(getattr(theirs, name), *args)
        assert type(mine) is type(expected)
        if isinstance(mine, tuple) and isinstance(expected, tuple) and expected[0] is not TypeError:
            assert mine == expected


def test_nobody_makes_a_poll_object_by_its_class() -> None:
    with pytest.raises(TypeError, match=r"cannot create '.*Poll' instances"):
        type(green_select.poll())()


@pytest.mark.parametrize("args", [(-2,), (0,), ("x",), (None,), (1, 2, 3), (1, 1 << 40), (-1, stdlib.EPOLL_CLOEXEC)])
def test_an_epoll_object_takes_what_the_standard_library_s_takes(args: tuple[Any, ...]) -> None:
    found: list[type[Exception] | None] = []
    for make in (green_select.epoll, stdlib.epoll):
        try:
            make(*args).close()
            found.append(None)
        except Exception as error:
            found.append(type(error))
    assert found[0] == found[1]


def test_a_closed_epoll_object_refuses_everything(pipe: tuple[int, int]) -> None:
    ours, theirs = green_select.epoll(), stdlib.epoll()
    for made in (ours, theirs):
        made.close()
        made.close()
        assert made.closed
    for name, args in [("fileno", ()), ("poll", (1,)), ("register", (pipe[0],)), ("modify", (pipe[0], 1))]:
        assert outcome_of(getattr(ours, name), *args) == outcome_of(getattr(theirs, name), *args)
    assert outcome_of(ours.__enter__) == outcome_of(theirs.__enter__)
    assert outcome_of(ours.unregister, pipe[0]) == outcome_of(theirs.unregister, pipe[0])
    assert repr(ours) == "<greenprobe epoll closed>"


def test_constants_are_the_standard_library_s() -> None:
    assert green_select.EPOLLRDNORM == stdlib.EPOLLRDNORM
    assert green_select.error is stdlib.error
    with pytest.raises(AttributeError):
        green_select.no_such_name  # noqa: B018 - the look-up is the test


# -- select


def test_select_parks_only_its_own_greenthread(pipe: tuple[int, int]) -> None:
    waiter = spawn(green_select.select, [pipe[0]], [], [])
    turns()
    assert not waiter.ready()
    os.write(pipe[1], b"x")
    assert waiter.wait(30) == ([pipe[0]], [], [])


def test_select_reports_reading_and_writing_at_once(ends: tuple[socket, socket]) -> None:
    ends[1].send(b"x")
    one = ends[0]
    assert green_select.select([one], [one], [one], 5) == ([one], [one], [])


def test_select_waits_for_the_kind_of_readiness_that_was_asked_for(ends: tuple[socket, socket], clock: Any) -> None:
    assert green_select.select([ends[0]], [], [], 5) == ([], [], [])
    assert clock.now() == 5


def test_select_without_descriptors_sleeps(clock: Any) -> None:
    assert green_select.select([], [], [], 1.5) == ([], [], [])
    assert clock.now() == 1.5


def test_select_returns_three_lists_of_their_own() -> None:
    read, write, exceptional = green_select.select([], [], [], 0)
    assert read is not write
    assert write is not exceptional


def test_a_regular_file_is_ready_in_select(tmp_path: Path, pipe: tuple[int, int]) -> None:
    with (tmp_path / "file").open("wb") as file:
        assert green_select.select([file, pipe[0]], [file], [file]) == ([file], [file], [])
        assert green_select.select([], [], [file], 0) == ([], [], [])


def test_select_of_a_closed_descriptor_is_ebadf(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    with pytest.raises(OSError) as caught:
        green_select.select([pipe[0]], [], [])
    assert caught.value.errno == EBADF


def test_select_takes_descriptors_above_1023(pipe: tuple[int, int]) -> None:
    number = os.dup2(pipe[0], NUMBERS_TOO_BIG_FOR_SELECT)
    try:
        os.write(pipe[1], b"x")
        assert green_select.select([number], [], []) == ([number], [], [])
    finally:
        os.close(number)


def test_a_list_that_shrinks_while_it_is_read_is_read_as_far_as_it_goes(pipe: tuple[int, int]) -> None:
    class Shrinks:
        def fileno(self) -> int:
            del files[-1]
            return pipe[1]

    files: list[Any] = []
    files[:] = [Shrinks()] * 10
    assert green_select.select([], files, []) == ([], files[:5], [])


def test_a_hang_up_is_no_exceptional_condition_and_costs_no_turns(
    ends: tuple[socket, socket], clock: Any, hub: Hub
) -> None:
    ends[1].close()
    looked = []
    real = hub.poller.poll

    def counted(patience: float, most: int) -> list[tuple[int, int]]:
        looked.append(patience)
        return real(patience, most)

    hub.poller.poll = counted
    assert green_select.select([], [], [ends[0]], 5) == ([], [], [])
    assert clock.now() == 5
    assert len(looked) < 10


def test_a_timeout_around_a_select_leaves_no_descriptor_behind(pipe: tuple[int, int], clock: Any) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(Timeout), Timeout(3):
        green_select.select([pipe[0]], [], [])
    assert os.listdir("/proc/self/fd") == before
    assert clock.now() == 3


# -- poll


def test_poll_parks_only_its_own_greenthread(pipe: tuple[int, int]) -> None:
    poller = green_select.poll()
    poller.register(pipe[0], POLLIN)
    waiter = spawn(poller.poll)
    turns()
    assert not waiter.ready()
    os.write(pipe[1], b"x")
    assert waiter.wait(30) == [(pipe[0], POLLIN)]
    assert poller.poll() == [(pipe[0], POLLIN)], "what is ready stays ready"


def test_poll_counts_milliseconds(pipe: tuple[int, int], clock: Any) -> None:
    poller = green_select.poll()
    poller.register(pipe[0], POLLIN)
    assert poller.poll(1500) == []
    assert clock.now() == 1.5
    assert poller.poll(0.5) == []
    assert clock.now() == pytest.approx(1.5005)


@pytest.mark.parametrize("timeout", [None, -1, -1000, -0.1, -1e-100])
def test_a_negative_timeout_of_poll_waits_for_ever(timeout: float | None, pipe: tuple[int, int]) -> None:
    poller = green_select.poll()
    poller.register(pipe[0], POLLIN)
    waiter = spawn(poller.poll, timeout)
    turns()
    assert not waiter.ready()
    os.write(pipe[1], b"x")
    assert waiter.wait(30) == [(pipe[0], POLLIN)]


def test_two_greenthreads_cannot_poll_one_object_at_once(pipe: tuple[int, int]) -> None:
    poller = green_select.poll()
    poller.register(pipe[0], POLLIN)
    waiter = spawn(poller.poll)
    turns()
    poller.register(pipe[1], POLLOUT)
    with pytest.raises(RuntimeError, match=r"concurrent poll\(\) invocation"):
        poller.poll()
    os.write(pipe[1], b"x")
    assert (pipe[0], POLLIN) in waiter.wait(30)
    assert len(poller.poll()) == 2


def test_poll_says_that_a_descriptor_is_closed(pipe: tuple[int, int]) -> None:
    poller = green_select.poll()
    poller.register(pipe[0])
    os.close(pipe[0])
    assert poller.poll() == [(pipe[0], POLLNVAL)]
    poller.unregister(pipe[0])
    with pytest.raises(KeyError):
        poller.unregister(pipe[0])


def test_poll_says_that_a_descriptor_was_closed_as_it_began_to_wait(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    poller = green_select.poll()
    poller.register(pipe[0], POLLIN)

    def close_first(masks: Any) -> Any:
        os.close(pipe[0])
        return watch_changes(masks)

    monkeypatch.setattr(green_select, "watch_changes", close_first)
    assert poller.poll() == [(pipe[0], POLLNVAL)]


def test_poll_sees_who_has_the_number_now(pipe: tuple[int, int]) -> None:
    poller = green_select.poll()
    poller.register(pipe[0], POLLIN | POLLOUT)
    os.dup2(pipe[1], pipe[0])
    assert poller.poll() == [(pipe[0], POLLOUT | POLLERR)], "it is the end to write to, and nobody reads"


def test_poll_reports_a_hang_up_that_nobody_asked_for(pipe: tuple[int, int]) -> None:
    poller = green_select.poll()
    poller.register(pipe[0], POLLPRI)
    waiter = spawn(poller.poll)
    turns()
    os.close(pipe[1])
    assert waiter.wait(30) == [(pipe[0], POLLHUP)]


# -- epoll


def test_epoll_parks_only_its_own_greenthread(set_of_pipe: green_select.epoll, pipe: tuple[int, int]) -> None:
    set_of_pipe.register(pipe[0], EPOLLIN)
    for _ in range(3):
        waiter = spawn(set_of_pipe.poll)
        turns()
        assert not waiter.ready()
        os.write(pipe[1], b"x")
        assert waiter.wait(30) == [(pipe[0], EPOLLIN)]
        assert set_of_pipe.poll(0) == [(pipe[0], EPOLLIN)], "what is ready stays ready"
        os.read(pipe[0], 5)


def test_an_edge_is_reported_once(set_of_pipe: green_select.epoll, pipe: tuple[int, int], clock: Any) -> None:
    set_of_pipe.register(pipe[0], EPOLLIN | EPOLLET)
    os.write(pipe[1], b"x")
    assert set_of_pipe.poll() == [(pipe[0], EPOLLIN)]
    assert set_of_pipe.poll(2) == []
    assert clock.now() == 2
    os.write(pipe[1], b"y")
    assert set_of_pipe.poll() == [(pipe[0], EPOLLIN)]


def test_a_one_shot_registration_reports_once_until_it_is_armed_again(
    set_of_pipe: green_select.epoll, pipe: tuple[int, int], clock: Any
) -> None:
    set_of_pipe.register(pipe[0], EPOLLIN | EPOLLONESHOT)
    os.write(pipe[1], b"x")
    assert set_of_pipe.poll() == [(pipe[0], EPOLLIN)]
    assert set_of_pipe.poll(2) == []
    waiter = spawn(set_of_pipe.poll)
    turns()
    set_of_pipe.modify(pipe[0], EPOLLIN | EPOLLONESHOT)
    assert waiter.wait() == [(pipe[0], EPOLLIN)]


def test_an_exclusive_registration_wakes_one_of_two_sets(pipe: tuple[int, int]) -> None:
    with green_select.epoll() as one, green_select.epoll() as other:
        one.register(pipe[0], EPOLLIN | EPOLLEXCLUSIVE)
        other.register(pipe[0], EPOLLIN | EPOLLEXCLUSIVE)
        waiters = [spawn(one.poll), spawn(other.poll)]
        turns()
        os.write(pipe[1], b"x")
        assert wait_any(waiters, timeout=30)
        one.register(pipe[1], EPOLLOUT)
        other.register(pipe[1], EPOLLOUT)
        assert all(waiter.wait(30) for waiter in waiters)


def test_no_more_events_come_than_are_asked_for_and_all_come_in_the_end(
    set_of_pipe: green_select.epoll, ends: tuple[socket, socket], pipe: tuple[int, int]
) -> None:
    for fd in (ends[0].fileno(), ends[1].fileno(), pipe[1]):
        set_of_pipe.register(fd, EPOLLOUT | EPOLLONESHOT)
    found = [set_of_pipe.poll(maxevents=1) for _ in range(3)]
    assert sorted(fd for ((fd, _),) in found) == sorted([ends[0].fileno(), ends[1].fileno(), pipe[1]])
    assert set_of_pipe.poll(0) == []


def test_epoll_refuses_a_regular_file(set_of_pipe: green_select.epoll, tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file, pytest.raises(PermissionError):
        set_of_pipe.register(file)


def test_epoll_refuses_a_second_registration_and_forgets_on_unregister(
    set_of_pipe: green_select.epoll, pipe: tuple[int, int]
) -> None:
    set_of_pipe.register(pipe[1])
    with pytest.raises(FileExistsError):
        set_of_pipe.register(pipe[1])
    set_of_pipe.unregister(pipe[1])
    assert set_of_pipe.poll(0) == []
    with pytest.raises(FileNotFoundError):
        set_of_pipe.unregister(pipe[1])


def test_an_epoll_object_of_a_descriptor_shares_the_set(set_of_pipe: green_select.epoll, pipe: tuple[int, int]) -> None:
    other = green_select.epoll.fromfd(set_of_pipe.fileno())
    waiter = spawn(set_of_pipe.poll)
    turns()
    other.register(pipe[1], EPOLLOUT)
    assert waiter.wait(30) == [(pipe[1], EPOLLOUT)]
    assert other.poll(1, 4) == [(pipe[1], EPOLLOUT)]
    set_of_pipe.close()
    with pytest.raises(OSError) as caught:
        other.poll(1, 4)
    assert caught.value.errno == EBADF


def test_closing_an_epoll_object_ends_the_polls_of_it(set_of_pipe: green_select.epoll, pipe: tuple[int, int]) -> None:
    set_of_pipe.register(pipe[0], EPOLLIN)
    waiters = [spawn(set_of_pipe.poll), spawn(set_of_pipe.poll)]
    turns()
    set_of_pipe.close()
    for waiter in waiters:
        with pytest.raises((OSError, ValueError)):
            waiter.wait(30)


def test_a_poll_that_is_called_off_leaves_the_set_as_it_was(
    set_of_pipe: green_select.epoll, pipe: tuple[int, int]
) -> None:
    set_of_pipe.register(pipe[0], EPOLLIN)
    scope = CancelScope()

    def poll() -> None:
        with scope:
            set_of_pipe.poll()

    waiter = spawn(poll)
    turns()
    scope.cancel()
    waiter.wait(30)
    assert scope.cancelled_caught
    os.write(pipe[1], b"x")
    assert set_of_pipe.poll(5) == [(pipe[0], EPOLLIN)]


def test_a_set_that_nobody_closed_gives_its_descriptor_back(pipe: tuple[int, int]) -> None:
    made = green_select.epoll()
    fd = made.fileno()
    made.register(pipe[1], EPOLLOUT)
    assert made.poll(1)
    waiter = spawn(made.poll, 0.001)
    made.unregister(pipe[1])
    waiter.wait()
    del made, waiter
    gc.collect()
    with pytest.raises(OSError):
        os.fstat(fd)


def test_a_green_reader_and_a_poll_of_one_socket_both_see_what_comes(ends: tuple[socket, socket]) -> None:
    poller = green_select.poll()
    poller.register(ends[0], POLLIN)
    reader, waiter = spawn(ends[0].recv, 1), spawn(poller.poll)
    turns()
    ends[1].send(b"xy")
    assert reader.wait(30) == b"x"
    assert waiter.wait(30) == [(ends[0].fileno(), POLLIN)]


# -- fork


def test_a_forked_child_has_no_set_of_a_wait_of_its_parent(pipe: tuple[int, int]) -> None:
    waiters = [spawn(green_select.select, [pipe[0]], [], []) for _ in range(3)]
    wait_all_blocked()  # one of them may have given way before its poll

    def sets() -> int:
        links = []
        for name in os.listdir("/proc/self/fd"):
            try:
                links.append(os.readlink(f"/proc/self/fd/{name}"))
            except OSError:
                pass
        return sum("[eventpoll]" in link for link in links)

    assert sets() == 4
    status, said = in_child(sets)
    assert (status, said) == (0, "1")
    os.write(pipe[1], b"x")
    for waiter in waiters:
        assert waiter.wait(30) == ([pipe[0]], [], [])


def test_a_child_can_poll_with_a_set_of_its_parent(set_of_pipe: green_select.epoll, pipe: tuple[int, int]) -> None:
    set_of_pipe.register(pipe[0], EPOLLIN)
    waiter = spawn(set_of_pipe.poll)
    turns()

    def poll_in_child() -> object:
        poller = spawn(set_of_pipe.poll, 5)
        sleep(0)
        os.write(pipe[1], b"x")
        return poller.wait()

    assert in_child(poll_in_child) == (0, str([(pipe[0], EPOLLIN)]))
    assert waiter.wait(30) == [(pipe[0], EPOLLIN)]


def test_a_patched_process_keeps_select_poll_and_epoll_and_they_are_green() -> None:
    lines = run("""
        import os, select, selectors
        read, write = os.pipe()
        def ready(make):
            polled = make()
            polled.register(read, select.POLLIN)
            return polled.poll()
        def selected():
            with selectors.DefaultSelector() as selector:
                selector.register(read, selectors.EVENT_READ)
                return selector.select()
        waiting = [greenprobe.spawn(select.select, [read], [], []), greenprobe.spawn(selected)]
        waiting += [greenprobe.spawn(ready, make) for make in (select.poll, select.epoll)]
        greenprobe.sleep(0)
        print([green.ready() for green in waiting])
        os.write(write, b"x")
        print(all(green.wait(5) for green in waiting), selectors.DefaultSelector.__name__)
    """)
    assert lines == ["[False, False, False, False]", "True EpollSelector"]
