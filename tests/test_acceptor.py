"""Accepting: what each error of accept means, and that a listener survives all but its own end."""

import socket as stdlib
from collections.abc import Iterator
from contextlib import closing
from errno import EBADF, ECONNABORTED, EINVAL, EIO, EMFILE, ENFILE, ENOBUFS, EPROTO
from os import strerror
from typing import Any

import pytest

from greenprobe.acceptor import LONGEST_PAUSE, Reaction, connections, hold_off, pause_after, reaction_to
from greenprobe.green_socket import socket
from greenprobe.greenthread import spawn
from greenprobe.testing import JumpClock, wait_all_blocked


class Listener(socket):
    """A listener that fails as told before it accepts."""

    faults: list[int]

    def accept(self) -> tuple[socket, Any]:
        if self.faults:
            code = self.faults.pop(0)
            raise OSError(code, strerror(code))
        return super().accept()


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as listener:
        listener.faults = []
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener


def caller(listener: socket) -> stdlib.socket:
    return stdlib.create_connection(listener.getsockname())


@pytest.mark.parametrize(
    ("code", "reaction"),
    [
        (ECONNABORTED, Reaction.PASS_OVER),
        (EPROTO, Reaction.PASS_OVER),
        (EMFILE, Reaction.BACK_OFF),
        (ENFILE, Reaction.BACK_OFF),
        (ENOBUFS, Reaction.BACK_OFF),
        (EBADF, Reaction.END),
        (EINVAL, Reaction.END),
        (EIO, Reaction.RAISE),
    ],
)
def test_the_reaction_to_an_error(code: int, reaction: Reaction) -> None:
    assert reaction_to(OSError(code, "")) is reaction


def test_pauses_grow_to_a_limit() -> None:
    pauses = [pause_after(failures) for failures in range(1, 100)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE


def test_connections_come_in_the_order_of_their_arrival(listener: Listener) -> None:
    with caller(listener) as first, caller(listener) as second, closing(connections(listener)) as incoming:
        for each in first, second:
            sock, address = next(incoming)
            assert address == each.getsockname()
            sock.close()


def test_a_connection_that_broke_before_is_passed_over_without_a_pause(listener: Listener, clock: JumpClock) -> None:
    listener.faults = [ECONNABORTED, ECONNABORTED]
    with caller(listener), closing(connections(listener)) as incoming:
        next(incoming)[0].close()
    assert clock.now() == 0


def test_without_descriptors_it_waits_and_serves_on(listener: Listener, clock: JumpClock) -> None:
    listener.faults = [EMFILE, EMFILE, EMFILE]
    with caller(listener), closing(connections(listener)) as incoming:
        next(incoming)[0].close()
    assert clock.now() == pytest.approx(pause_after(1) + pause_after(2) + pause_after(3))


def test_an_unknown_error_is_raised(listener: Listener) -> None:
    listener.faults = [EIO]
    with pytest.raises(OSError, match="Input/output"):
        next(connections(listener))


def test_closing_the_listener_ends_it(listener: Listener) -> None:
    loop = spawn(lambda: list(connections(listener)))
    wait_all_blocked()
    listener.close()
    assert loop.wait() == []


def test_shutting_the_listener_down_ends_it(listener: Listener) -> None:
    loop = spawn(lambda: list(connections(listener)))
    wait_all_blocked()
    listener.shutdown(stdlib.SHUT_RDWR)
    assert loop.wait() == []


def test_a_listener_with_a_timeout_says_that_nobody_came(listener: Listener, clock: JumpClock) -> None:
    listener.settimeout(5)
    with pytest.raises(TimeoutError):
        next(connections(listener))
    assert clock.now() == 5


def test_a_listener_that_is_held_off_gives_those_in_its_queue_and_takes_no_others(listener: Listener) -> None:
    with caller(listener) as early:
        if not hold_off(listener):
            pytest.skip("no socket filter may be set here")
        with stdlib.socket() as late, pytest.raises(TimeoutError):
            late.settimeout(0.02)
            late.connect(listener.getsockname())
        accepted, address = listener.accept()
        accepted.close()
        assert address == early.getsockname()
