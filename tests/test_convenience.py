"""Connect, listen, wrap and serve, on real sockets."""

import socket as stdlib
import ssl
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest
import trustme
from core_tools import IPV6, needs_ipv6

from greenprobe.convenience import (
    StopServe,
    connect,
    create_connection,
    create_server,
    listen,
    serve,
    take_over,
    wrap_ssl,
)
from greenprobe.errors import GreenletExit
from greenprobe.green_socket import socket
from greenprobe.greenthread import GreenThread, spawn
from greenprobe.hub import Hub
from greenprobe.names import AddrInfo, install
from greenprobe.sync import Event
from greenprobe.testing import JumpClock, wait_all_blocked
from greenprobe.timeout import Timeout


@pytest.fixture
def listener() -> Iterator[socket]:
    with listen(("127.0.0.1", 0)) as listener:
        yield listener


def closed_port() -> int:
    """Return a port of 127.0.0.1 and ::1 at which nobody listens."""
    with listen(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    return port


class Names:
    """A resolver of one name."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.before = install(self)

    def __call__(self, host: Any, port: Any, family: int, kind: int, *rest: Any) -> list[AddrInfo]:
        return [
            (stdlib.AF_INET6 if ":" in each else stdlib.AF_INET, stdlib.SOCK_STREAM, 6, "", (each, port))
            for each in self.addresses
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        install(self.before)


# -- connecting


@pytest.mark.parametrize("host", ["127.0.0.1", IPV6])
def test_a_numeric_address_is_connected_to_without_asking_anybody(host: str) -> None:
    with Names(), listen((host, 0)) as listener, create_connection((host, listener.getsockname()[1])) as sock:
        assert isinstance(sock, socket)
        assert sock.getpeername() == listener.getsockname()


def test_a_name_is_tried_at_all_its_addresses(listener: socket) -> None:
    with Names("::1", "127.0.0.2", "127.0.0.1"), create_connection(("name", listener.getsockname()[1])) as sock:
        assert sock.getpeername() == listener.getsockname()


def test_a_refusal_everywhere_is_raised() -> None:
    with Names("::1", "127.0.0.1"), pytest.raises(ConnectionRefusedError):
        create_connection(("name", closed_port()))


def test_all_errors_are_raised_if_asked_for() -> None:
    with Names("::1", "127.0.0.1"), pytest.raises(ExceptionGroup) as caught:
        create_connection(("name", closed_port()), all_errors=True)
    assert len(caught.value.exceptions) == 2


def test_the_timeout_is_the_sockets_afterwards(listener: socket) -> None:
    with create_connection(listener.getsockname(), 7) as sock:
        assert sock.gettimeout() == 7
    with create_connection(listener.getsockname()) as sock:
        assert sock.gettimeout() is None


def test_a_peer_that_does_not_answer_times_out(listener: socket, clock: JumpClock) -> None:
    listener.listen(0)
    with stdlib.create_connection(listener.getsockname()), pytest.raises(TimeoutError):  # the backlog is full now
        create_connection(listener.getsockname(), 5)
    assert clock.now() == 5


def test_the_source_address_is_bound(listener: socket) -> None:
    with create_connection(listener.getsockname(), source_address=("127.0.0.9", 0)) as sock:
        assert sock.getsockname()[0] == "127.0.0.9"


def test_connect_takes_tcp_addresses_and_paths(listener: socket, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with listen(path) as local, connect(path) as one, connect(listener.getsockname()) as other:
        assert one.getpeername() == local.getsockname()
        assert other.getpeername() == listener.getsockname()


# -- listening


@needs_ipv6
def test_a_listener_takes_its_family_from_the_address() -> None:
    with listen(("::1", 0)) as six, listen(("127.0.0.1", 0)) as four:
        assert (six.family, four.family) == (stdlib.AF_INET6, stdlib.AF_INET)


def test_an_address_in_use_is_an_error_that_leaves_nothing_open(listener: socket) -> None:
    with pytest.raises(OSError, match="in use"):
        listen(listener.getsockname())


def test_reuse_port_shares_a_port() -> None:
    with listen(("127.0.0.1", 0), reuse_port=True) as one, listen(one.getsockname(), reuse_port=True) as other:
        assert one.getsockname() == other.getsockname()


def test_create_server_is_green(hub: Hub) -> None:
    with create_server(("127.0.0.1", 0)) as listener:
        waiting = spawn(listener.accept)
        wait_all_blocked()
        with stdlib.create_connection(listener.getsockname()):
            waiting.wait()[0].close()


def test_a_listener_taken_over_leaves_its_object_without_descriptor() -> None:
    plain = stdlib.create_server(("127.0.0.1", 0))
    with take_over(plain) as green:
        assert plain.fileno() == -1
        assert take_over(green) is green


# -- TLS


def test_wrap_ssl_serves_and_connects(tmp_path: Path, listener: socket) -> None:
    def answer(sock: socket, _: object) -> None:
        with suppress(ssl.SSLError):  # of the client that does not trust us; it would end the serving
            sock.sendall(sock.recv(100))

    authority, files = trustme.CA(), [str(tmp_path / name) for name in ("key", "cert", "ca")]
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(files[1])
    authority.cert_pem.write_to_path(files[2])
    with wrap_ssl(listener, server_side=True, certfile=files[1]) as secure:
        server = spawn(serve, secure, answer)
        plain = connect(secure.getsockname())
        with wrap_ssl(plain, ca_certs=files[2], server_hostname="127.0.0.1") as client:
            client.sendall(b"hello")
            assert client.recv(100) == b"hello"
        with pytest.raises(ssl.SSLCertVerificationError):
            wrap_ssl(connect(secure.getsockname()), server_hostname="127.0.0.1")
        with wrap_ssl(connect(secure.getsockname()), verify=False) as client:
            client.sendall(b"anybody")
            assert client.recv(100) == b"anybody"
        server.kill()
        wait_all_blocked()


def test_a_client_checks_who_it_talks_to_unless_it_says_otherwise(pair: tuple[socket, socket]) -> None:
    with pytest.raises(ValueError, match="server_hostname"):
        wrap_ssl(pair[0])


# -- serving


def echo(sock: socket, address: Any) -> None:
    sock.sendall(sock.recv(100))


@pytest.fixture
def serving(listener: socket) -> Iterator[GreenThread]:
    server = spawn(serve, listener, echo)
    yield server
    server.kill()
    wait_all_blocked()


def say(listener: socket, word: bytes) -> bytes:
    with connect(listener.getsockname()) as sock:
        sock.sendall(word)
        try:
            return sock.recv(100)
        except ConnectionResetError:  # closed without reading what we said
            return b""


def test_each_connection_is_handled_and_closed(listener: socket, serving: GreenThread) -> None:
    for _ in range(3):
        with connect(listener.getsockname()) as sock:
            sock.sendall(b"hello")
            assert (sock.recv(100), sock.recv(100)) == (b"hello", b"")


def test_a_silent_connection_holds_nobody_up(listener: socket, serving: GreenThread) -> None:
    with connect(listener.getsockname()):
        assert say(listener, b"hello") == b"hello"


def test_stop_serve_ends_the_serving_and_lets_others_finish(listener: socket) -> None:
    def handle(sock: socket, address: Any) -> None:
        word = sock.recv(100)
        if word == b"stop":
            raise StopServe
        sock.sendall(word)

    server = spawn(serve, listener, handle)
    with connect(listener.getsockname()) as early:
        wait_all_blocked()
        assert say(listener, b"stop") == b""
        assert server.wait() is None
        early.sendall(b"hello")
        assert early.recv(100) == b"hello"


def test_what_a_handler_raises_is_raised_by_serve(listener: socket) -> None:
    def handle(sock: socket, address: Any) -> None:
        raise ZeroDivisionError

    server = spawn(serve, listener, handle)
    assert say(listener, b"x") == b""
    with pytest.raises(ZeroDivisionError):
        server.wait()


def test_a_second_failure_in_one_turn_hits_nobody_else(listener: socket, hub: Hub) -> None:
    reported: list[BaseException] = []
    hub.on_error = reported.append
    gate = Event()

    def handle(sock: socket, address: Any) -> None:
        gate.wait()
        raise ZeroDivisionError

    server = spawn(serve, listener, handle)
    with connect(listener.getsockname()), connect(listener.getsockname()):
        wait_all_blocked()
        gate.set()
        with pytest.raises(ZeroDivisionError):
            server.wait()
        wait_all_blocked()
    assert [type(each) for each in reported] == [ZeroDivisionError]


def test_a_killed_handler_ends_only_its_connection(listener: socket) -> None:
    def handle(sock: socket, address: Any) -> None:
        if sock.recv(100) == b"kill":
            raise GreenletExit
        sock.sendall(b"alive")

    server = spawn(serve, listener, handle)
    assert say(listener, b"kill") == b""
    assert say(listener, b"x") == b"alive"
    server.kill()


def test_a_timeout_in_a_handler_ends_only_its_connection(listener: socket, hub: Hub, clock: JumpClock) -> None:
    reported: list[BaseException] = []
    hub.on_error = reported.append

    def handle(sock: socket, address: Any) -> None:
        with Timeout(5):
            sock.recv(100)
        sock.sendall(b"alive")

    server = spawn(serve, listener, handle)
    with connect(listener.getsockname()) as silent:
        assert silent.recv(100) == b""
    assert say(listener, b"x") == b"alive"
    assert [type(each) for each in reported] == [Timeout]
    server.kill()


def test_beyond_the_concurrency_connections_wait_in_the_kernel(listener: socket) -> None:
    gate = Event()
    handled: list[Any] = []

    def handle(sock: socket, address: Any) -> None:
        handled.append(address)
        gate.wait()

    server = spawn(partial(serve, listener, handle, concurrency=2))
    callers = [connect(listener.getsockname()) for _ in range(5)]
    wait_all_blocked()
    assert sorted(handled) == sorted(each.getsockname() for each in callers[:2])
    gate.set()
    wait_all_blocked()
    assert sorted(handled) == sorted(each.getsockname() for each in callers)
    for each in callers:
        each.close()
    server.kill()


def test_serve_returns_when_its_listener_is_closed(listener: socket, serving: GreenThread) -> None:
    wait_all_blocked()
    listener.close()
    assert serving.wait() is None
