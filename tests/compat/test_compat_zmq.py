"""eventlet.green.zmq: sockets and pollers of pyzmq that park."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from core_tools import turns

from greenprobe.compat.eventlet import sleep, spawn
from greenprobe.green_socket import socketpair

pytest.importorskip("zmq", reason="needs pyzmq: pip install '.[third-party-eventlet]'")
zmq: Any = pytest.importorskip("greenprobe.compat.eventlet.green.zmq")
numbers = count()


@pytest.fixture
def pair() -> Iterator[tuple[Any, Any]]:
    """Two connected PAIR sockets, whose queues hold two messages each."""
    context = zmq.Context()
    one, other = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    for sock in (one, other):
        sock.set_hwm(1)
    address = f"inproc://{next(numbers)}"
    one.bind(address)
    other.connect(address)
    yield one, other
    one.close(0)
    other.close(0)
    context.term()


def test_messages_go_to_and_fro_between_greenthreads(pair: tuple[Any, Any]) -> None:
    one, other = pair

    def echo() -> None:
        while message := other.recv():
            other.send(message.upper())

    server = spawn(echo)
    for number in range(20):
        one.send(b"x%d" % number)
        assert one.recv() == b"X%d" % number
    one.send(b"")
    server.wait()


def test_a_receiver_and_a_sender_park_only_their_own_greenthread(pair: tuple[Any, Any]) -> None:
    one, other = pair
    receiving = spawn(one.recv)
    turns()
    assert not receiving.dead
    other.send(b"at last")
    assert receiving.wait() == b"at last"
    sending = spawn(lambda: [one.send(b"%d" % number) for number in range(10)])
    turns()
    assert not sending.dead
    assert [other.recv() for _ in range(10)] == [b"%d" % number for number in range(10)]
    sending.wait()


def test_what_one_greenthread_does_uses_no_report_up_that_another_waits_for(pair: tuple[Any, Any]) -> None:
    one, other = pair
    receiving = spawn(one.recv)
    turns()
    other.send(b"for the receiver")
    one.send(b"sent meanwhile")  # the call takes the report in
    turns(5)
    assert receiving.dead
    assert receiving.wait() == b"for the receiver"
    receiving = spawn(one.recv)
    turns()
    other.send(b"again")
    assert one.getsockopt(zmq.EVENTS) & zmq.POLLIN
    turns(5)
    assert receiving.dead


def test_calls_that_must_not_wait_raise_again(pair: tuple[Any, Any]) -> None:
    one, _ = pair
    with pytest.raises(zmq.Again):
        one.recv(zmq.NOBLOCK)
    with pytest.raises(zmq.Again):
        for _ in range(100):
            one.send(b"x", zmq.NOBLOCK)


def test_a_wait_ends_after_the_time_that_the_socket_allows(pair: tuple[Any, Any]) -> None:
    one, _ = pair
    one.setsockopt(zmq.RCVTIMEO, 10)
    one.setsockopt(zmq.SNDTIMEO, 10)
    with pytest.raises(zmq.Again):
        one.recv()
    with pytest.raises(zmq.Again):
        for _ in range(100):
            one.send(b"x")


def test_messages_of_several_parts_and_of_objects_arrive_whole(pair: tuple[Any, Any]) -> None:
    one, other = pair
    senders = [spawn(one.send_multipart, [b"%d" % number] * 3) for number in range(5)]
    parts = sorted(other.recv_multipart() for _ in senders)
    assert parts == [[b"%d" % number] * 3 for number in range(5)]
    spawn(one.send_json, {"a": 1})
    assert other.recv_json() == {"a": 1}
    spawn(one.send_string, "text")
    assert other.recv_string() == "text"
    spawn(one.send_pyobj, (1, "two"))
    assert other.recv_pyobj() == (1, "two")


def test_a_message_is_received_into_a_buffer(pair: tuple[Any, Any]) -> None:
    one, other = pair
    if not hasattr(zmq.plain.Socket, "recv_into"):
        pytest.skip("this pyzmq has no recv_into")
    buffer = bytearray(8)
    receiving = spawn(one.recv_into, buffer)
    turns()
    other.send(b"into")
    assert receiving.wait() == 4
    assert buffer[:4] == b"into"


def test_a_poller_parks_until_one_of_its_sockets_is_ready(pair: tuple[Any, Any]) -> None:
    one, other = pair
    here, there = socketpair()
    with here, there:
        poller = zmq.Poller()
        poller.register(one, zmq.POLLIN)
        poller.register(here, zmq.POLLIN)
        assert poller.poll(0) == []
        polling = spawn(poller.poll)
        turns()
        assert not polling.dead
        other.send(b"x")
        assert polling.wait() == [(one, zmq.POLLIN)]
        one.recv()
        polling = spawn(poller.poll)
        turns()
        there.send(b"x")
        assert polling.wait() == [(here.fileno(), zmq.POLLIN)]


def test_a_poller_gives_up_after_its_milliseconds(pair: tuple[Any, Any]) -> None:
    one, _ = pair
    poller = zmq.Poller()
    poller.register(one, zmq.POLLIN)
    others = [spawn(sleep, 0) for _ in range(3)]
    assert poller.poll(5) == []
    assert all(green.dead for green in others)


def test_poll_of_a_socket_and_select_park(pair: tuple[Any, Any]) -> None:
    one, other = pair
    waits = [spawn(one.poll), spawn(zmq.select, [one], [], [])]
    turns()
    assert not any(green.dead for green in waits)
    other.send(b"x")
    assert [green.wait() for green in waits] == [zmq.POLLIN, ([one], [], [])]
    assert zmq.select([one], [other], [], 1) == ([one], [other], [])


def test_closing_wakes_who_waits() -> None:
    context = zmq.Context()
    sock = context.socket(zmq.PULL)
    waiting = spawn(sock.recv)
    turns()
    sock.close(0)
    with pytest.raises(zmq.ZMQError):
        waiting.wait()
    context.term()


def test_publishers_and_subscribers_talk_over_tcp() -> None:
    context = zmq.Context()
    publisher, subscriber = context.socket(zmq.PUB), context.socket(zmq.SUB)
    port = publisher.bind_to_random_port("tcp://127.0.0.1")
    subscriber.connect(f"tcp://127.0.0.1:{port}")
    subscriber.setsockopt(zmq.SUBSCRIBE, b"")
    receiving = spawn(subscriber.recv)
    while not receiving.dead:  # what is published before the subscription has arrived is lost
        publisher.send(b"news")
        sleep(0.001)
    assert receiving.wait() == b"news"
    publisher.close(0)
    subscriber.close(0)
    context.term()
