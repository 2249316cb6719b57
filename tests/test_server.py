"""StreamServer: accepting, limits, stopping in order, TLS, and that no connection can end the serving."""

import os
import resource
import socket as stdlib
import ssl
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme
from core_tools import IPV6
from greenlet import GreenletExit
from tls_contexts import trusting_only

from greenprobe.convenience import connect, listen
from greenprobe.green_socket import socket
from greenprobe.green_ssl import SSLSocket, wrap
from greenprobe.greenthread import sleep, spawn
from greenprobe.hub import Hub
from greenprobe.pool import GreenPool
from greenprobe.server import STOP_TIMEOUT, StreamServer
from greenprobe.sync import Event
from greenprobe.testing import JumpClock, wait_all_blocked
from greenprobe.timeout import Timeout

LOOPBACK = ("127.0.0.1", 0)
NODELAY = (stdlib.IPPROTO_TCP, stdlib.TCP_NODELAY)
AUTHORITY = trustme.CA()
RESET = b"\x01\0\0\0\0\0\0\0"  # struct linger: on, 0 seconds


def echo(sock: socket, address: Any) -> None:
    while data := sock.recv(1000):
        sock.sendall(data)


def talk(server: StreamServer, word: bytes = b"hello") -> bytes:
    with connect(server.address) as sock:
        sock.sendall(word)
        try:
            return sock.recv(100)
        except ConnectionResetError:  # closed without reading what we said
            return b""


@pytest.fixture
def reported(hub: Hub) -> list[BaseException]:
    """What the hub was told of, in place of standard error."""
    errors: list[BaseException] = []
    hub.on_error = errors.append
    return errors


@pytest.fixture
def context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("127.0.0.1").configure_cert(context)
    return context


def client_of(server: StreamServer) -> SSLSocket:
    return wrap(connect(server.address), trusting_only(AUTHORITY), server_hostname="127.0.0.1")


# -- serving


@pytest.mark.parametrize("host", ["127.0.0.1", IPV6])
def test_each_connection_is_handled_at_the_real_address(host: str) -> None:
    with StreamServer((host, 0), echo) as server:
        assert server.address[0] == host
        assert server.address[1] > 0
        assert [talk(server), talk(server)] == [b"hello", b"hello"]


def test_it_serves_at_a_path(tmp_path: Path) -> None:
    with StreamServer(str(tmp_path / "socket"), echo) as server:
        assert talk(server) == b"hello"


@pytest.mark.parametrize("make", [listen, stdlib.create_server])
def test_it_serves_on_a_listener_that_exists(make: Any) -> None:
    with StreamServer(make(LOOPBACK), echo) as server:
        assert talk(server) == b"hello"


def test_the_socket_is_closed_when_the_handler_returns() -> None:
    with StreamServer(LOOPBACK, lambda sock, address: None) as server, connect(server.address) as sock:
        assert sock.recv(1) == b""


def test_many_connections_are_served_at_once() -> None:
    with StreamServer(LOOPBACK, echo) as server, ExitStack() as stack:
        callers = [stack.enter_context(connect(server.address)) for _ in range(200)]
        for number, sock in enumerate(callers):
            sock.sendall(b"%d" % number)
        assert [sock.recv(10) for sock in callers] == [b"%d" % number for number in range(200)]
        assert server.running == 200


def test_a_peer_that_resets_at_once_harms_nobody(reported: list[BaseException]) -> None:
    with StreamServer(LOOPBACK, echo) as server:
        for _ in range(20):
            with stdlib.create_connection(server.address) as sock:
                sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_LINGER, RESET)
        assert talk(server) == b"hello"
    assert all(isinstance(error, ConnectionError) for error in reported)


def test_half_closing_peers_get_their_answer() -> None:
    with StreamServer(LOOPBACK, echo) as server, connect(server.address) as sock:
        sock.sendall(b"last words")
        sock.shutdown(stdlib.SHUT_WR)
        assert (sock.recv(100), sock.recv(100)) == (b"last words", b"")


# -- handlers that fail


@pytest.mark.parametrize("error", [ZeroDivisionError, Timeout])
def test_what_a_handler_raises_is_reported_and_the_server_serves_on(
    reported: list[BaseException], error: type[BaseException]
) -> None:
    def handle(sock: socket, address: Any) -> None:
        if sock.recv(100) == b"fail":
            raise error
        sock.sendall(b"alive")

    with StreamServer(LOOPBACK, handle) as server:
        assert talk(server, b"fail") == b""
        assert talk(server) == b"alive"
    assert [type(each) for each in reported] == [error]


def test_a_killed_handler_is_no_news(reported: list[BaseException]) -> None:
    def handle(sock: socket, address: Any) -> None:
        raise GreenletExit

    with StreamServer(LOOPBACK, handle) as server:
        assert talk(server) == b""
    assert reported == []


def test_an_answer_in_two_parts_does_not_wait_for_a_delayed_acknowledgement() -> None:
    with StreamServer(LOOPBACK, lambda sock, _: nodelay.append(sock.getsockopt(*NODELAY))) as server:
        nodelay: list[int] = []
        talk(server)
    assert nodelay == [1]


# -- limits


def test_beyond_its_limit_connections_wait_in_the_kernel() -> None:
    gate = Event()
    handled: list[Any] = []

    def handle(sock: socket, address: Any) -> None:
        handled.append(address)
        gate.wait()

    with StreamServer(LOOPBACK, handle, pool=2) as server, ExitStack() as stack:
        callers = [stack.enter_context(connect(server.address)).getsockname() for _ in range(5)]
        wait_all_blocked()
        assert sorted(handled) == sorted(callers[:2])
        assert server.running == 2
        gate.set()
        wait_all_blocked()
        assert sorted(handled) == sorted(callers)


def test_a_shared_pool_bounds_and_is_not_killed_by_stopping() -> None:
    pool = GreenPool(2)
    gate = Event()
    other = pool.spawn(gate.wait)
    handled: list[Any] = []

    def handle(sock: socket, address: Any) -> None:
        handled.append(address)
        sock.recv(1)

    with StreamServer(LOOPBACK, handle, pool=pool) as server, ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(connect(server.address))
        wait_all_blocked()
        assert len(handled) == 1
        server.stop(0)
    assert not other.ready()
    gate.set()
    other.wait()


def test_a_limit_holds_after_a_restart() -> None:
    server = StreamServer(LOOPBACK, echo, pool=1)
    for _ in range(3):
        with server, connect(server.address) as first, connect(server.address):
            first.sendall(b"x")
            assert first.recv(1) == b"x"
            wait_all_blocked()
            assert server.running == 1


def test_it_serves_on_after_the_process_ran_out_of_descriptors(clock: JumpClock) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with StreamServer(LOOPBACK, echo) as server, ExitStack() as stack:
        callers = [stack.enter_context(stdlib.socket()) for _ in range(5)]
        spare = os.dup(0)
        os.close(spare)
        resource.setrlimit(resource.RLIMIT_NOFILE, (spare, limits[1]))
        try:
            for caller in callers:
                caller.connect(server.address)
                caller.sendall(b"hello")
            sleep(10)
            assert server.running == 0
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        sleep(2)
        assert [caller.recv(100) for caller in callers] == [b"hello"] * 5


# -- stopping


def test_stop_lets_what_runs_finish() -> None:
    with StreamServer(LOOPBACK, echo) as server, connect(server.address) as sock:
        sock.sendall(b"x")
        sock.recv(1)
        stopping = spawn(server.stop, None)
        wait_all_blocked()
        with pytest.raises(ConnectionRefusedError):
            connect(server.address)
        sock.sendall(b"still here")
        assert sock.recv(100) == b"still here"
        assert not stopping.ready()
        sock.shutdown(stdlib.SHUT_WR)
        stopping.wait()
        assert server.running == 0


def test_stop_kills_what_does_not_finish_in_time(clock: JumpClock, reported: list[BaseException]) -> None:
    with StreamServer(LOOPBACK, echo) as server, connect(server.address) as sock:
        sock.sendall(b"x")
        sock.recv(1)
        began = clock.now()
        server.stop()
        assert clock.now() - began == pytest.approx(STOP_TIMEOUT)
        assert (server.running, sock.recv(1), reported) == (0, b"", [])


def test_stop_waits_for_the_clean_up_of_those_it_kills(clock: JumpClock) -> None:
    done: list[str] = []

    def handle(sock: socket, address: Any) -> None:
        try:
            sock.recv(1)
        finally:
            sleep(0.1)
            done.append("cleaned up")

    with StreamServer(LOOPBACK, handle) as server, connect(server.address):
        wait_all_blocked()
        server.stop(0)
        assert done == ["cleaned up"]


def test_a_handler_may_stop_the_server() -> None:
    def handle(sock: socket, address: Any) -> None:
        server.stop()
        sock.sendall(b"stopped")

    server = StreamServer(LOOPBACK, handle)
    serving = spawn(server.serve_forever)
    wait_all_blocked()
    assert talk(server) == b"stopped"
    serving.wait()


def test_connections_that_were_never_handled_are_closed_by_stop() -> None:
    with StreamServer(LOOPBACK, echo, pool=1) as server, connect(server.address), connect(server.address) as waiting:
        wait_all_blocked()
        server.stop(0)
        with pytest.raises(ConnectionResetError):
            waiting.recv(1)


def test_it_can_be_started_again_and_not_twice() -> None:
    server = StreamServer(LOOPBACK, echo)
    for _ in range(2):
        with server:
            assert talk(server) == b"hello"
            with pytest.raises(RuntimeError, match="is running"):
                server.start()
    server.stop()


def test_serve_forever_ends_when_the_listener_is_closed() -> None:
    listener = listen(LOOPBACK)
    serving = spawn(StreamServer(listener, echo).serve_forever)
    wait_all_blocked()
    listener.close()
    serving.wait()


def test_a_killed_serve_forever_stops_the_server() -> None:
    server = StreamServer(LOOPBACK, echo)
    serving = spawn(server.serve_forever)
    wait_all_blocked()
    serving.kill()
    wait_all_blocked()
    with pytest.raises(ConnectionRefusedError):
        connect(server.address)


# -- TLS


def test_with_a_context_it_speaks_tls_and_says_good_bye(context: ssl.SSLContext) -> None:
    def greet(sock: socket, address: Any) -> None:
        sock.sendall(b"hello")

    with StreamServer(LOOPBACK, greet, context=context) as server, client_of(server) as client:
        client.suppress_ragged_eofs = False
        assert (client.recv(100), client.recv(100)) == (b"hello", b"")


def test_a_handshake_that_says_nothing_is_cut_off_and_holds_nobody_up(
    context: ssl.SSLContext, clock: JumpClock, reported: list[BaseException]
) -> None:
    with StreamServer(LOOPBACK, echo, context=context, handshake_timeout=5) as server:
        with connect(server.address) as silent:
            wait_all_blocked()
            with client_of(server) as client:
                client.sendall(b"hello")
                assert client.recv(100) == b"hello"
            assert silent.recv(1) == b""
            assert clock.now() == 5
        assert server.handshake_failures == 1
    assert reported == []


@pytest.mark.parametrize("first", [b"GET / HTTP/1.0\r\n\r\n", b"", b"\x16\x03\x01"])
def test_a_handshake_that_is_none_is_counted_and_not_reported(
    context: ssl.SSLContext, reported: list[BaseException], first: bytes
) -> None:
    with StreamServer(LOOPBACK, echo, context=context) as server:
        with connect(server.address) as sock:
            sock.sendall(first)
            sock.shutdown(stdlib.SHUT_WR)
            wait_all_blocked()
        assert server.handshake_failures == 1
    assert reported == []
