"""What a peer may ask of a TLS connection after its handshake: new keys, a new handshake, a certificate, an end.

All of it happens inside somebody's `recv` or `send`: a read that has to write its answer, a write that has to read one.
Python's `ssl` can begin little of it, so OpenSSL's `s_server` and `s_client` do: a line of one letter is a command to
them (K: new keys on both sides, k: on theirs, R: shake hands again, Q: end).
"""

import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme
from core_tools import PROCESS_PATIENCE
from real_servers import free_port
from tls_contexts import trusting_only

from greenprobe.convenience import listen
from greenprobe.green_socket import socket
from greenprobe.green_ssl import SSLSocket, wrap
from greenprobe.greenthread import sleep, spawn
from greenprobe.threadpool import run_in_thread

Pair = tuple[socket, socket]
AUTHORITY = trustme.CA()
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


def client_context() -> ssl.SSLContext:
    return trusting_only(AUTHORITY)


@pytest.fixture
def started() -> Iterator[Callable[..., Any]]:
    """Start `openssl` with these words; it is ended after the test."""
    running = []

    def start(*words: object) -> Any:
        command = ["openssl", *map(str, words)]
        pipe = subprocess.PIPE
        running.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, bufsize=0))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()


def connected(port: int) -> socket:
    """Connect to a server that is about to listen."""
    for _ in range(500):
        sock = socket()
        try:
            sock.connect(("127.0.0.1", port))
        except ConnectionRefusedError:
            sock.close()
            sleep(0.01)
        else:
            return sock
    raise AssertionError("nobody listens")


@needs_openssl
@pytest.mark.slow
@pytest.mark.parametrize(("version", "command"), [("-tls1_3", b"K"), ("-tls1_3", b"k"), ("-tls1_2", b"R")])
def test_a_read_answers_what_a_server_asks_for(
    started: Callable[..., Any], tmp_path: Path, version: str, command: bytes
) -> None:
    """Slow: it starts a process and waits until it listens."""
    certificate = AUTHORITY.issue_cert("127.0.0.1", "localhost")
    pem = tmp_path / "server.pem"
    pem.write_bytes(certificate.private_key_and_cert_chain_pem.bytes())
    port = free_port()
    server = started("s_server", "-accept", f"127.0.0.1:{port}", "-cert", pem, "-naccept", 1, version)
    with wrap(connected(port), client_context(), server_hostname="localhost") as client:
        client.settimeout(PROCESS_PATIENCE)
        reader = spawn(client.recv, 100)
        sleep(0)
        run_in_thread(server.stdin.write, b"first\n")
        assert reader.wait() == b"first\n"
        reader = spawn(client.recv, 100)
        sleep(0)
        run_in_thread(server.stdin.write, command + b"\n")
        client.sendall(b"meanwhile\n")
        assert run_in_thread(read_until, server.stdout, b"meanwhile")
        run_in_thread(server.stdin.write, b"second\n")
        assert reader.wait() == b"second\n"
    if command == b"R":
        assert b" 0 server renegotiates" not in run_in_thread(server.communicate)[0]


@needs_openssl
@pytest.mark.slow
@pytest.mark.parametrize("command", [b"K", b"k"])
def test_a_read_answers_what_a_client_asks_for(started: Callable[..., Any], tmp_path: Path, command: bytes) -> None:
    """Slow: it starts a process."""
    with listen(("127.0.0.1", 0)) as listener:
        client = started("s_client", "-connect", f"127.0.0.1:{listener.getsockname()[1]}", "-tls1_3")
        with wrap(listener.accept()[0], server_context(), server_side=True) as server:
            server.settimeout(PROCESS_PATIENCE)
            client.stdin.write(b"first\n")
            assert server.recv(100) == b"first\n"
            client.stdin.write(command + b"\n")
            assert run_in_thread(read_until, client.stdout, b"KEYUPDATE")  # two lines at once are no command
            client.stdin.write(b"second\n")
            assert server.recv(100) == b"second\n"
            server.sendall(b"answer\n")
            assert run_in_thread(read_until, client.stdout, b"answer")
            client.stdin.write(b"Q\n")
            assert server.recv(100) == b""


def read_until(stream: Any, text: bytes) -> bool:
    """Read lines until one holds `text`."""
    return any(text in line for line in stream)


def test_a_certificate_that_is_asked_for_later_is_given_by_the_next_read(pair: Pair) -> None:
    """Post-handshake authentication (RFC 8446, 4.6.2): the client's read answers, the server's read gets the answer."""
    asking, asked = server_context(), client_context()
    AUTHORITY.configure_trust(asking)
    AUTHORITY.issue_cert("client.example").configure_cert(asked)
    asking.verify_mode = ssl.CERT_REQUIRED
    asking.post_handshake_auth = asked.post_handshake_auth = True
    serving = spawn(partial(wrap, pair[1], asking, server_side=True))
    client = wrap(pair[0], asked, server_hostname="localhost")
    server: SSLSocket = serving.wait()
    with client, server:
        assert not server.getpeercert()
        server.verify_client_post_handshake()
        server.sendall(b"who are you?")
        reader = spawn(client.recv, 100)
        assert reader.wait(PROCESS_PATIENCE) == b"who are you?"
        client.sendall(b"look")
        assert server.recv(100) == b"look"
        assert server.getpeercert()


def test_the_end_of_one_direction_leaves_the_other_open(pair: Pair) -> None:
    """A close_notify ends what its sender sends (RFC 8446, 6.1), and its sender waits for the other's."""
    serving = spawn(partial(wrap, pair[1], server_context(), server_side=True))
    client = wrap(pair[0], client_context(), server_hostname="localhost")
    server: SSLSocket = serving.wait()
    with client, server:
        server.sendall(b"all there is")
        ending = spawn(server.unwrap)
        assert client.recv(100) == b"all there is"
        assert client.recv(100) == b""
        client.unwrap().close()
        with ending.wait(PROCESS_PATIENCE) as plain:
            assert plain.recv(10) == b""
