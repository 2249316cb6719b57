"""Readiness, edge by edge: what nobody waited for is remembered, the closed wakes, the reused is not mixed up."""

import errno
import os
import socket as stdlib
import threading
from collections.abc import Iterator
from pathlib import Path
from select import EPOLLET, EPOLLIN, EPOLLRDHUP

import pytest
from core_tools import turns

from greenprobe.errors import BusyError, HubError
from greenprobe.green_socket import socket, socketpair
from greenprobe.greenthread import GreenThread, kill, sleep, spawn
from greenprobe.hub import Hub, get_hub
from greenprobe.poller import CLOSED, EXPIRED, READY, Mark, Poller, Slot
from greenprobe.testing import JumpClock

Ends = tuple[stdlib.socket, stdlib.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Two connected plain sockets that do not block: what is tested is the hub, not the green socket."""
    left, right = stdlib.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    yield left, right
    for sock in (left, right):
        if sock.fileno() >= 0:
            slot = get_hub().poller.slots.get(sock.fileno())
            if slot is not None:
                get_hub().poller.close(slot)
            sock.close()


def read_side(hub: Hub, sock: stdlib.socket, deadline: float | None = None) -> bool:
    return hub.wait(hub.poller.slot(sock.fileno()).read, deadline)


def reader(hub: Hub, sock: stdlib.socket) -> GreenThread:
    """Spawn a greenthread that waits for the read side, and let it get there."""
    green = spawn(read_side, hub, sock)
    turns(2)
    return green


# -- edges


def test_an_edge_that_finds_no_waiter_is_remembered(hub: Hub, ends: Ends) -> None:
    left, right = ends
    assert hub.wait(hub.poller.slot(left.fileno()).write)  # registers
    right.send(b"x")
    turns(200)
    assert hub.poller.slot(left.fileno()).read.waiter is READY
    assert read_side(hub, left, hub.clock() + 5)
    assert left.recv(1) == b"x"


def test_readiness_is_used_up_by_one_wait(hub: Hub, ends: Ends, clock: JumpClock) -> None:
    left, right = ends
    right.send(b"x")
    assert read_side(hub, left)
    left.recv(1)
    assert not read_side(hub, left, clock.now() + 1)


def test_data_that_came_before_the_first_wait_ends_it(hub: Hub, ends: Ends) -> None:
    left, right = ends
    right.send(b"x")
    assert read_side(hub, left, hub.clock() + 5)


@pytest.mark.parametrize("chunk", [1, 5, 6, 100])
def test_a_fin_that_comes_with_the_last_data_is_not_lost(pair: tuple[socket, socket], chunk: int) -> None:
    left, right = pair
    left.settimeout(5)
    first = spawn(left.recv, 1)  # parks, so that the edge below carries data and FIN at once
    turns(2)
    right.sendall(b"hello!")
    right.shutdown(stdlib.SHUT_WR)
    data = first.wait(5)
    while more := left.recv(chunk):
        data += more
    assert data == b"hello!"


def test_a_fin_after_a_short_read_is_not_lost(pair: tuple[socket, socket]) -> None:
    left, right = pair
    left.settimeout(5)
    right.send(b"abc")
    assert left.recv(10) == b"abc"
    right.shutdown(stdlib.SHUT_WR)
    assert left.recv(10) == b""
    assert left.recv(10) == b""


def test_a_hangup_sticks_to_the_slot(hub: Hub, ends: Ends) -> None:
    left, right = ends
    green = reader(hub, left)
    right.close()
    assert green.wait(5)
    assert hub.poller.slot(left.fileno()).hangup & EPOLLRDHUP


def test_a_woken_waiter_that_is_killed_gives_its_edge_back(hub: Hub, ends: Ends) -> None:
    left, right = ends
    green = reader(hub, left)
    slot = hub.poller.slot(left.fileno())
    right.send(b"x")
    hub.poller.mark(hub.poller.poll(1, 10))  # the edge is spent on `green`, which is queued
    assert slot.read.waiter is None
    hub.ready.popleft()  # and dies before its turn
    green.kill()
    turns(2)
    assert green.ready()
    assert read_side(hub, left, hub.clock() + 5)
    assert left.recv(1) == b"x"


def test_a_waiter_that_is_killed_leaves_the_side_free(hub: Hub, ends: Ends) -> None:
    left, right = ends
    green = reader(hub, left)
    green.kill()
    turns(2)
    other = reader(hub, left)  # wakes at once, as the side is called ready in doubt
    assert other.wait(5)
    again = reader(hub, left)
    assert not again.ready()
    right.send(b"x")
    assert again.wait(5)


def test_a_spurious_wake_up_does_not_end_a_wait(hub: Hub, ends: Ends) -> None:
    left, right = ends
    green = reader(hub, left)
    for _ in range(10):
        hub.schedule(green)
        turns(1)
    assert not green.ready()
    right.send(b"x")
    assert green.wait(5)


def test_write_and_read_sides_are_apart(hub: Hub, ends: Ends) -> None:
    left, right = ends
    while True:
        try:
            left.send(bytes(65536))
        except BlockingIOError:
            break
    slot = hub.poller.slot(left.fileno())
    writer = spawn(hub.wait, slot.write)
    read = reader(hub, left)
    assert not writer.ready()
    right.send(b"x")
    assert read.wait(5)
    assert not writer.ready()
    for _ in range(100):
        if writer.ready():
            break
        right.recv(1 << 20)
        turns(150)
    assert writer.wait(5)


def test_an_edge_that_comes_before_the_turn_of_who_was_woken_is_not_remembered(hub: Hub, ends: Ends) -> None:
    left, right = ends
    read = reader(hub, left)
    side = hub.poller.slot(left.fileno()).read
    for _ in range(2):
        right.send(b"x")
        hub.poller.mark(hub.poller.poll(1, 10))
    assert side.waiter is READY
    assert read.wait() is True
    assert side.waiter is None  # whoever was woken reads both


@pytest.mark.fifo
@pytest.mark.parametrize("who_polls", ["the loop", "who parks"])
def test_who_is_woken_by_one_batch_runs_in_the_order_of_its_events(hub: Hub, who_polls: str) -> None:
    pairs = [socketpair() for _ in range(4)]
    slots = [hub.poller.slot(mine.fileno()) for mine, _ in pairs]
    for slot in slots:
        hub.poller.register(slot)
    hub.poller.mark(hub.poller.poll(0, 10))  # there is room to write
    slots[2].write.waiter = None  # so the way of its event is not the short one
    order: list[int] = []
    readers = [spawn(hub.wait, slot.read) for slot in slots]
    for number, green in enumerate(readers):
        green.link(lambda _, number=number: order.append(number))
    turns(1)
    for _, peer in pairs:
        peer.send(b"x")
    if who_polls == "the loop":
        hub.poller.mark(hub.poller.poll(1, 10))
    for green in readers:
        green.wait()
    assert order == [0, 1, 2, 3]
    for slot, ends in zip(slots, pairs, strict=True):
        hub.poller.close(slot)
        for end in ends:
            end.close()


def test_a_hub_does_not_let_another_thread_wait_on_it(hub: Hub, ends: Ends) -> None:
    left, _ = ends
    slot = hub.poller.slot(left.fileno())
    waiting = spawn(hub.wait, slot.read)
    turns(1)
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(hub.wait(slot.read)))
    thread.start()
    thread.join()
    assert answers == [True]  # a hint: who tries finds out
    assert not waiting.ready()
    waiting.kill()
    turns(2)


# -- deadlines


def test_a_wait_expires_at_its_deadline_not_before(hub: Hub, ends: Ends, clock: JumpClock) -> None:
    left, _ = ends
    assert not read_side(hub, left, 30.0)
    assert clock.now() == 30
    assert not read_side(hub, left, 31.0)
    assert clock.now() == 31


def test_a_deadline_that_has_passed_expires_without_time_passing(hub: Hub, ends: Ends, clock: JumpClock) -> None:
    left, _ = ends
    clock.advance(10)
    assert not read_side(hub, left, 5.0)
    assert clock.now() == 10


def test_a_thousand_waits_with_a_timeout_start_one_timer(pair: tuple[socket, socket], hub: Hub) -> None:
    left, right = pair
    left.settimeout(5)
    right.settimeout(5)

    def echo() -> None:
        for _ in range(1000):
            right.send(right.recv(1))

    before = hub.timers._started
    echoer = spawn(echo)
    for _ in range(1000):
        left.send(b"x")
        assert left.recv(1) == b"x"
    echoer.wait()
    assert hub.timers._started - before <= 2
    assert len(hub.timers) <= 2


def test_a_later_deadline_moves_the_armed_timer_when_it_fires(hub: Hub, ends: Ends, clock: JumpClock) -> None:
    left, right = ends
    right.send(b"x")
    read_side(hub, left, 10.0)
    left.recv(1)
    right.send(b"y")
    assert read_side(hub, left, 10.0)
    left.recv(1)
    clock.advance(3)
    assert not read_side(hub, left, 13.0)
    assert clock.now() == 13


def test_an_earlier_deadline_than_the_armed_one_is_kept(hub: Hub, ends: Ends, clock: JumpClock) -> None:
    left, right = ends
    waiter = spawn(read_side, hub, left, 100.0)
    turns(1)
    right.send(b"x")
    assert waiter.wait()
    left.recv(1)
    assert not read_side(hub, left, 2.0)
    assert clock.now() == 2


def test_the_deadline_of_an_earlier_wait_does_not_end_a_wait_without_one(
    hub: Hub, ends: Ends, clock: JumpClock
) -> None:
    left, right = ends
    first = spawn(read_side, hub, left, 5.0)
    turns(1)
    right.send(b"x")
    assert first.wait()
    left.recv(1)
    second = spawn(read_side, hub, left)
    sleep(20)
    assert not second.ready()
    right.send(b"y")
    assert second.wait()


def test_an_edge_between_the_deadline_and_the_turn_counts(hub: Hub, ends: Ends, clock: JumpClock) -> None:
    left, right = ends
    green = spawn(read_side, hub, left, 1.0)
    turns(1)
    side = hub.poller.slot(left.fileno()).read
    hub._expire(side)
    assert side.waiter not in {None, EXPIRED}  # too early
    clock.advance(1)
    hub._expire(side)
    assert side.waiter is EXPIRED
    right.send(b"x")
    hub.poller.mark(hub.poller.poll(1, 10))
    assert green.wait() is True


@pytest.mark.fifo
def test_a_line_does_not_take_the_deadline_of_who_waits_ahead_for_its_own(hub: Hub, ends: Ends) -> None:
    left, right = ends
    slot = hub.poller.slot(left.fileno())
    slot.shared = True
    ahead = spawn(hub.wait, slot.read, hub.clock() + 3600)
    turns(1)
    in_line = spawn(hub.wait, slot.read)
    turns(1)
    right.send(b"x")
    in_line_first = slot.read.line[0]
    slot.read.deadline = 0.0
    hub.schedule(in_line_first)
    hub._expire(slot.read)  # and `ahead` is queued behind it, its time over, the edge not yet marked
    assert in_line.wait() is True
    ahead.wait()


# -- closing, reuse


def test_closing_under_a_waiter_wakes_it_with_ebadf(pair: tuple[socket, socket]) -> None:
    left, _ = pair
    green = spawn(left.recv, 1)
    turns(2)
    left.close()
    with pytest.raises(OSError) as caught:
        green.wait(5)
    assert caught.value.errno == errno.EBADF


def test_closing_in_another_thread_wakes_a_waiter_with_ebadf(pair: tuple[socket, socket]) -> None:
    left, _ = pair
    green = spawn(left.recv, 1)
    turns(2)
    thread = threading.Thread(target=left.close)
    thread.start()
    with pytest.raises(OSError) as caught:
        green.wait(5)
    assert caught.value.errno == errno.EBADF
    thread.join()


def test_a_number_reused_before_a_foreign_close_arrives_is_not_closed_again(hub: Hub) -> None:
    left, right = socketpair()
    stale = spawn(left.recv, 1)
    turns(2)
    fd = left.fileno()
    thread = threading.Thread(target=left.close)  # leaves the set at once, wakes through the hub's loop
    thread.start()
    thread.join()
    fresh, peer = socketpair()
    assert fd in {fresh.fileno(), peer.fileno()}
    readers = [spawn(fresh.recv, 1), spawn(peer.recv, 1)]
    with pytest.raises(OSError):
        stale.wait(5)
    turns(5)
    fresh.send(b"x")
    peer.send(b"y")
    assert [green.wait(5) for green in readers] == [b"y", b"x"]
    for sock in (right, fresh, peer):
        sock.close()


@pytest.mark.fifo
def test_a_close_within_a_batch_does_not_touch_the_next_owner_of_the_number(hub: Hub) -> None:
    """Both are in one batch; the first greenthread to run closes the second's socket and takes its number."""
    one, one_peer = socketpair()
    two, two_peer = socketpair()
    kept: list[socket] = []

    def first() -> None:
        one.recv(1)
        two.close()
        kept.extend(socketpair())
        kept[0].settimeout(0.001)
        with pytest.raises(TimeoutError):
            kept[0].recv(1)

    greens = [spawn(first), spawn(two.recv, 1)]
    turns(2)
    one_peer.send(b"1")
    two_peer.send(b"2")
    greens[0].wait(5)
    with pytest.raises(OSError):
        greens[1].wait(5)
    for sock in (one, one_peer, two_peer, *kept):
        sock.close()


def test_a_recycled_slot_serves_the_next_of_its_number(hub: Hub, clock: JumpClock) -> None:
    """With its timer, which must not end the wait of the next one early."""
    poller = hub.poller
    left, right = stdlib.socketpair()
    slot = poller.adopt(left.fileno())
    right.send(b"x")
    assert hub.wait(slot.read, 10.0)
    fd = left.fileno()
    poller.recycle(slot)
    left.close()
    fresh, peer = stdlib.socketpair()
    assert fresh.fileno() == fd  # the lowest that is free
    assert poller.adopt(fd) is slot
    assert not hub.wait(slot.read, 30.0)
    assert clock.now() == pytest.approx(30.0)
    peer.send(b"y")
    assert hub.wait(slot.read, 40.0)
    poller.close(slot)
    for sock in (right, fresh, peer):
        sock.close()


def test_recycling_under_a_waiter_wakes_it_as_closing_does(hub: Hub, ends: Ends) -> None:
    left, _ = ends
    green = reader(hub, left)
    slot = hub.poller.slot(left.fileno())
    hub.poller.recycle(slot)
    with pytest.raises(OSError):
        green.wait(5)
    assert left.fileno() not in hub.poller.slots


def test_a_descriptor_closed_silently_and_reused_is_adopted(hub: Hub) -> None:
    left, right = socketpair()
    green = spawn(left.recv, 1)
    turns(2)
    right.send(b"x")
    assert green.wait(5) == b"x"
    fd = left.fileno()
    fresh, peer = stdlib.socketpair()
    os.close(fd)  # foreign code, without a word: the registration is gone, the slot is not
    moved = socket(fileno=os.dup2(fresh.fileno(), fd))
    again = spawn(moved.recv, 1)
    turns(2)
    peer.send(b"y")
    assert again.wait(5) == b"y"
    stdlib.socket.detach(left)
    for sock in (moved, right, fresh, peer):
        sock.close()


def test_events_of_a_description_that_lives_on_elsewhere_are_ignored(hub: Hub, ends: Ends) -> None:
    left, right = ends
    reader(hub, left).kill()
    turns(2)
    slot = hub.poller.slot(left.fileno())
    twin = os.dup(left.fileno())
    hub.poller.close(slot)  # without `shared`: the registration lives on with `twin`
    left.close()
    right.send(b"x")
    events = hub.poller.poll(1, 10)
    assert events
    hub.poller.mark(events)
    turns(5)
    os.close(twin)


def test_a_duplicated_socket_leaves_the_set_when_it_closes(hub: Hub) -> None:
    left, right = socketpair()
    green = spawn(left.recv, 1)
    turns(2)
    right.send(b"x")
    green.wait(5)
    twin = left.dup()
    left.close()
    right.send(b"y")
    assert hub.poller.poll(0, 10) == []
    assert twin.recv(1) == b"y"
    twin.close()
    right.close()


def test_a_regular_file_is_always_ready(hub: Hub, tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        slot = hub.poller.slot(file.fileno())
        for _ in range(3):
            assert hub.wait(slot.read)
            assert hub.wait(slot.write)
        hub.poller.close(slot)


def test_waiting_for_a_number_that_is_not_open_is_ebadf(hub: Hub) -> None:
    read, write = os.pipe()
    os.close(read)
    os.close(write)
    slot = hub.poller.slot(read)
    with pytest.raises(OSError) as caught:
        hub.wait(slot.read)
    assert caught.value.errno == errno.EBADF
    hub.poller.close(slot)


def test_a_socket_that_another_thread_closes_just_before_the_wait_is_ebadf(pair: tuple[socket, socket]) -> None:
    class ClosedMeanwhile(socket):
        def _wait_read(self, deadline: float | None, error: BlockingIOError | None = None) -> float | None:
            closer = threading.Thread(target=self.close)
            closer.start()
            closer.join()
            return super()._wait_read(deadline, error)

    with ClosedMeanwhile(fileno=os.dup(pair[0].fileno())) as sock, pytest.raises(OSError) as caught:
        sock.recv(1)
    assert caught.value.errno == errno.EBADF


def test_a_closed_side_refuses_every_later_wait(hub: Hub, ends: Ends) -> None:
    left, _ = ends
    slot = hub.poller.slot(left.fileno())
    hub.poller.close(slot)
    for side in (slot.read, slot.write, slot.read):
        with pytest.raises(OSError):
            hub.wait(side)
    assert slot.read.waiter is CLOSED


def test_one_descriptor_is_waited_for_by_two_hubs(pair: tuple[socket, socket], hub: Hub) -> None:
    left, right = pair
    right.settimeout(5)
    sent = spawn(right.recv, 2)
    turns(2)
    got: list[bytes] = []

    def elsewhere() -> None:
        right.sendall(b"from the other thread")
        got.append(right.recv(5))

    left.send(b"hi")
    assert sent.wait(5) == b"hi"
    thread = threading.Thread(target=elsewhere)
    thread.start()
    assert left.recv(100) == b"from the other thread"
    left.send(b"reply")
    thread.join()
    assert got == [b"reply"]


# -- several waiters


def test_second_reader_of_one_fd_raises_busy_naming_both(hub: Hub, ends: Ends) -> None:
    left, _ = ends
    first = reader(hub, left)
    first.name = "the-first"
    second = spawn(read_side, hub, left)
    second.name = "the-second"
    with pytest.raises(BusyError, match=r"the-second would wait .* the-first waits"):
        second.wait(5)
    first.kill()
    turns(2)


def serving(listener: socket, order: list[str], name: str, rounds: int) -> None:
    for _ in range(rounds):
        connection, _ = listener.accept()
        connection.close()
        order.append(name)


def connect(listener: socket) -> None:
    stdlib.create_connection(listener.getsockname()).close()


@pytest.fixture
def listener() -> Iterator[socket]:
    listener = socket(stdlib.AF_INET, stdlib.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    yield listener
    listener.close()


@pytest.mark.fifo
def test_those_who_share_a_descriptor_take_turns_in_order(listener: socket) -> None:
    order: list[str] = []
    greens = [spawn(serving, listener, order, name, 3) for name in "abc"]
    turns(2)
    for _ in range(9):
        connect(listener)
        had = len(order)
        while len(order) == had:
            sleep(0.0005)
    assert "".join(order) == "abcabcabc"
    for green in greens:
        green.wait(5)


def test_a_burst_is_taken_by_all_who_share_a_descriptor(listener: socket) -> None:
    order: list[str] = []
    greens = [spawn(serving, listener, order, name, 1) for name in "abcdef"]
    turns(2)
    for _ in range(6):
        connect(listener)
    for green in greens:
        green.wait(5)
    assert sorted(order) == list("abcdef")


def test_the_head_of_a_line_that_is_killed_passes_its_turn_on(listener: socket) -> None:
    order: list[str] = []
    greens = [spawn(serving, listener, order, name, 1) for name in "abc"]
    turns(2)
    connect(listener)
    connect(listener)
    greens[0].kill()
    greens[1].kill()
    connect(listener)
    greens[2].wait(5)
    assert order[-1] == "c"


def test_closing_wakes_the_whole_line(listener: socket) -> None:
    greens = [spawn(listener.accept) for _ in range(4)]
    turns(2)
    listener.close()
    for green in greens:
        with pytest.raises(OSError):
            green.wait(5)


def test_who_waits_in_line_expires_at_its_deadline(listener: socket, clock: JumpClock) -> None:
    first = spawn(listener.accept)
    turns(2)
    hub = get_hub()
    side = hub.poller.slot(listener.fileno()).read
    assert not hub.wait(side, 7.0)
    assert clock.now() == 7
    assert not side.line
    first.kill()
    turns(2)


def test_spurious_wake_ups_keep_the_line_in_order(listener: socket) -> None:
    order: list[str] = []
    greens = [spawn(serving, listener, order, name, 1) for name in "abcd"]
    turns(2)
    for green in reversed(greens):
        get_hub().schedule(green)
    turns(3)
    assert [green.ready() for green in greens] == [False] * 4
    for _ in range(4):
        connect(listener)
    for green in greens:
        green.wait(5)
    assert sorted(order) == list("abcd")


# -- the rest


def test_a_callback_of_the_loop_cannot_wait(hub: Hub, ends: Ends) -> None:
    left, _ = ends
    errors: list[BaseException] = []
    hub.on_error = errors.append
    hub.call_threadsafe(read_side, hub, left)
    turns(2)
    assert [type(error) for error in errors] == [HubError]


def test_has_waiters_tells_who_is_there(hub: Hub, ends: Ends) -> None:
    left, right = ends
    assert not hub.poller.has_waiters()
    green = reader(hub, left)
    assert hub.poller.has_waiters()
    right.send(b"x")
    green.wait(5)
    assert not hub.poller.has_waiters()


def test_a_poller_alone_registers_once_and_again_after_adopt(ends: Ends) -> None:
    left, right = ends
    woken: list[object] = []
    poller = Poller(woken.append)
    slot = poller.slot(left.fileno())
    assert poller.slot(left.fileno()) is slot
    assert poller.register(slot)
    poller.mark(poller.poll(0, 10))
    assert (slot.read.waiter, slot.write.waiter) == (None, READY)
    right.send(b"x")
    assert poller.poll(0, 10)  # the edge is spent
    assert poller.adopt(left.fileno()) is slot
    assert not slot.registered
    assert poller.register(slot)  # EEXIST inside: says again what is ready
    poller.mark(poller.poll(0, 10))
    assert slot.read.waiter is READY
    poller.shut()


def test_a_closed_slot_is_free_of_cycles(ends: Ends) -> None:
    left, _ = ends
    poller = Poller(print)
    slot = poller.slot(left.fileno())
    sides = [slot.read, slot.write]
    poller.close(slot)
    assert all(side.slot is not slot for side in sides)
    poller.shut()


def test_leaving_takes_the_number_out_before_the_close(ends: Ends) -> None:
    left, right = ends
    poller = Poller(print)
    slot = poller.slot(left.fileno())
    poller.register(slot)
    poller.leave(slot)
    right.send(b"x")
    assert poller.poll(0, 10) == []
    assert poller.slot(left.fileno()) is not slot
    poller.close(slot)
    poller.shut()


def test_what_is_only_watched_wakes_nobody() -> None:
    read, write = os.pipe()
    poller = Poller(pytest.fail)
    poller.watch(read)
    os.write(write, b"x")
    events = poller.poll(1, 10)
    assert events == [(read, EPOLLIN)]
    poller.mark(events)
    poller.shut()
    os.close(read)
    os.close(write)
    assert EPOLLET & EPOLLIN == 0


@pytest.mark.parametrize("mark", [READY, EXPIRED, CLOSED])
def test_marks_say_their_names(mark: Mark) -> None:
    assert repr(mark) == mark.name == mark.__reduce__()
    slot = Slot(5)
    slot.write.waiter = mark
    assert mark.name in repr(slot)
    assert repr(slot.write) == f"<write side of fd 5: {mark.name}>"
    assert repr(slot.read) == "<read side of fd 5: None>"


def test_killing_a_bare_waiter_frees_the_side(hub: Hub, ends: Ends) -> None:
    left, _ = ends
    green = reader(hub, left)
    kill(green)
    turns(2)
    assert hub.poller.slot(left.fileno()).read.waiter is READY
