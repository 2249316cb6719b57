"""One conversation of the client: what it does when the peer takes nothing, says too much, or says it too late."""

import ssl
import struct
from collections.abc import Iterator
from socket import AF_INET, SO_LINGER, SO_RCVBUF, SO_SNDBUF, SOL_SOCKET, create_server, socket
from threading import Thread
from typing import Any, cast

import pytest
import trustme

from greenprobe.greenthread import spawn
from greenprobe.http.connections import RECEIVE_BYTES, Address, Connection, connect_tcp, start_tls
from greenprobe.hub import Hub
from greenprobe.testing import JumpClock

BUFFER_BYTES = 1 << 16
MORE_THAN_BUFFERS = 1 << 20
FOREVER = 60.0


class Ends:
    """A connection of ours, and the socket of its peer."""

    def __init__(self, hub: Hub, listener: socket) -> None:
        listener.setsockopt(SOL_SOCKET, SO_RCVBUF, BUFFER_BYTES)
        self.ours = connect_tcp(hub, Address(AF_INET, listener.getsockname()), hub.clock() + FOREVER)
        self.ours._sock.setsockopt(SOL_SOCKET, SO_SNDBUF, BUFFER_BYTES)
        self.peer, _ = listener.accept()

    def close(self) -> None:
        self.ours.close()
        self.peer.close()


@pytest.fixture
def ends(hub: Hub) -> Iterator[Ends]:
    with create_server(("127.0.0.1", 0)) as listener:
        ends = Ends(hub, listener)
        yield ends
        ends.close()


def read_all(peer: socket, count: int) -> bytes:
    """Read so many bytes, in a thread of the peer's."""
    data = b""
    while len(data) < count and (piece := peer.recv(1 << 20)):
        data += piece
    return data


def reading(peer: socket, count: int) -> tuple[Thread, list[bytes]]:
    found: list[bytes] = []
    thread = Thread(target=lambda: found.append(read_all(peer, count)))
    thread.start()
    return thread, found


# -- in the clear


def test_what_does_not_fit_is_sent_when_there_is_room(ends: Ends, hub: Hub) -> None:
    thread, found = reading(ends.peer, MORE_THAN_BUFFERS)
    ends.ours.send(bytes(MORE_THAN_BUFFERS), hub.clock() + FOREVER)
    thread.join()
    assert found == [bytes(MORE_THAN_BUFFERS)]


def test_a_peer_that_takes_nothing_is_a_timeout(ends: Ends, clock: JumpClock) -> None:
    with pytest.raises(TimeoutError):
        ends.ours.send(bytes(MORE_THAN_BUFFERS), clock.now() + 5)
    with pytest.raises(TimeoutError, match=r"^$"):  # also if the buffers are full from the start
        while True:  # the kernel may still move some of it on
            ends.ours.send(b"x", clock.now() + 5)
    assert clock.now() == 10


def test_a_peer_that_never_pauses_is_held_to_the_deadline(ends: Ends, hub: Hub) -> None:
    class Firehose:
        def recv(self, _: int) -> bytes:
            return bytes(RECEIVE_BYTES)

        def fileno(self) -> int:
            return -1

    slot = hub.poller.adopt(ends.peer.fileno())
    ends.ours.send(b"there is something", hub.clock() + FOREVER)
    flooded = Connection(hub, cast(Any, Firehose()), slot, ends.ours.address)
    ran: list[int] = []
    spawn(ran.append, 1)
    with pytest.raises(TimeoutError):
        for _ in range(100):
            flooded.receive(hub.clock() + (-1 if ran else FOREVER))
    assert ran
    hub.poller.recycle(slot)


def test_an_edge_of_what_was_read_already_is_no_word_out_of_turn(ends: Ends, hub: Hub) -> None:
    leave_an_edge(ends, hub)
    assert not ends.ours.is_over()
    assert not ends.ours.is_over()
    ends.peer.send(b"x")
    look_around(hub)
    assert ends.ours.is_over()


def test_a_reset_that_the_hub_has_not_seen_yet_is_the_end(ends: Ends, hub: Hub) -> None:
    leave_an_edge(ends, hub)
    ends.peer.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    ends.peer.close()
    assert ends.ours.is_over()


def leave_an_edge(ends: Ends, hub: Hub) -> None:
    """Have bytes come, and be read by somebody else, while nobody waits: the hub remembers that there was something."""
    ends.ours.send(b"ask", hub.clock() + FOREVER)
    ends.peer.send(b"answer")
    ends.ours.receive(hub.clock() + FOREVER)
    ends.peer.send(b"more")
    look_around(hub)
    ends.ours._sock.recv(100)


def look_around(hub: Hub) -> None:
    """Have the hub poll."""
    hub.sleep_until(hub.clock())  # a turn polls after the timers


# -- in TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def contexts_of(authority: trustme.CA) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(client)
    return server, client


class SecureEnds:
    """The same after a handshake; the peer's half is done by a thread."""

    def __init__(self, hub: Hub, ends: Ends, authority: trustme.CA, *, asks_later: bool) -> None:
        server, client = contexts_of(authority)
        server.verify_mode = ssl.CERT_OPTIONAL if asks_later else ssl.CERT_NONE
        server.post_handshake_auth = client.post_handshake_auth = asks_later
        secure: list[ssl.SSLSocket] = []

        def shake() -> None:
            secure.append(server.wrap_socket(ends.peer, server_side=True))
            secure[0].sendall(secure[0].recv(100))

        thread = Thread(target=shake)
        thread.start()
        self.ours = start_tls(ends.ours, client, "localhost", hub.clock() + FOREVER)
        self.ours.send(b"ask", hub.clock() + FOREVER)
        assert self.ours.receive(hub.clock() + FOREVER) == b"ask"
        thread.join()
        (self.peer,) = secure


def test_what_tls_has_to_say_is_no_word_out_of_turn(ends: Ends, hub: Hub, authority: trustme.CA) -> None:
    secure = SecureEnds(hub, ends, authority, asks_later=True)
    with secure.peer:
        secure.peer.verify_client_post_handshake()  # asks for a certificate
        secure.peer.do_handshake()
        look_around(hub)
        assert not secure.ours.is_over()
        secure.peer.send(b"x")
        look_around(hub)
        assert secure.ours.is_over()


def test_what_is_no_tls_is_the_end(ends: Ends, hub: Hub, authority: trustme.CA) -> None:
    secure = SecureEnds(hub, ends, authority, asks_later=False)
    with secure.peer:
        socket.send(secure.peer, b"HTTP/1.1 400 Bad Request\r\n\r\n")
        look_around(hub)
        assert secure.ours.is_over()


def test_a_good_bye_is_the_end(ends: Ends, hub: Hub, authority: trustme.CA) -> None:
    secure = SecureEnds(hub, ends, authority, asks_later=False)
    with secure.peer:
        secure.peer.settimeout(0)
        with pytest.raises(ssl.SSLWantReadError):
            secure.peer.unwrap()
        for _ in range(2):
            assert secure.ours.receive(hub.clock() + FOREVER) == b""


@pytest.mark.fifo
def test_what_two_greenthreads_send_at_once_goes_out_one_behind_the_other(
    ends: Ends, hub: Hub, authority: trustme.CA
) -> None:
    secure = SecureEnds(hub, ends, authority, asks_later=False)
    with secure.peer:
        first = spawn(secure.ours.send, b"1" * MORE_THAN_BUFFERS, hub.clock() + FOREVER)
        hub.sleep()
        assert not first.dead
        secure.ours.send(b"2" * 100_000, hub.clock() + FOREVER)
        thread, found = reading(secure.peer, MORE_THAN_BUFFERS + 100_000)
        first.wait()
        thread.join()
    assert found == [b"1" * MORE_THAN_BUFFERS + b"2" * 100_000]
