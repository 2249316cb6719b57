"""TLS over green sockets, between two ends on loopback, with certificates that live as long as the tests do."""

import socket as stdlib
import ssl
from collections.abc import Iterator
from errno import EBADF
from functools import partial
from pathlib import Path

import pytest
import trustme
from tls_contexts import trusting_only

from greenprobe.errors import BusyError
from greenprobe.green_socket import socket
from greenprobe.green_ssl import HANDSHAKE_TIMEOUT, SSLSocket, wrap
from greenprobe.greenthread import sleep, spawn
from greenprobe.hub import get_hub
from greenprobe.testing import JumpClock, wait_all_blocked
from greenprobe.timeout import Timeout

Pair = tuple[socket, socket]
TlsPair = tuple[SSLSocket, SSLSocket]
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
AUTHORITY = trustme.CA()
MEGABYTE = 1 << 20


def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


def client_context(version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    context = trusting_only(AUTHORITY)
    context.maximum_version = version
    return context


def secure(
    pair: Pair, client: ssl.SSLContext, server: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> TlsPair:
    """Make both ends of a connection TLS, at the same time."""
    serving = spawn(partial(wrap, pair[1], server, server_side=True))
    calling = wrap(pair[0], client, server_hostname="localhost", session=session)
    return calling, serving.wait()


@pytest.fixture(params=VERSIONS, ids=lambda version: version.name)
def tls(request: pytest.FixtureRequest, pair: Pair) -> Iterator[TlsPair]:
    client, server = secure(pair, client_context(request.param), server_context())
    with client, server:
        yield client, server


@pytest.fixture
def tls13(pair: Pair) -> Iterator[TlsPair]:
    client, server = secure(pair, client_context(), server_context())
    with client, server:
        yield client, server


def read_exactly(sock: SSLSocket, size: int) -> bytes:
    parts = []
    while size:
        part = sock.recv(min(size, 1 << 16))
        if not part:
            break
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


# -- what it is


def test_it_is_a_tls_socket_of_the_standard_library_and_a_green_socket(tls13: TlsPair) -> None:
    assert isinstance(tls13[0], ssl.SSLSocket)
    assert isinstance(tls13[0], socket)


def test_wrapping_leaves_the_context_and_the_ssl_module_alone(pair: Pair) -> None:
    client, server = client_context(), server_context()
    before = {name: getattr(ssl, name) for name in ("SSLSocket", "SSLContext", "create_default_context")}
    for sock in secure(pair, client, server):
        sock.close()
    assert client.sslsocket_class is server.sslsocket_class is ssl.SSLContext.sslsocket_class is ssl.SSLSocket
    assert {name: getattr(ssl, name) for name in before} == before


def test_the_descriptor_moves_from_the_plain_socket(pair: Pair) -> None:
    fd = pair[0].fileno()
    client, server = secure(pair, client_context(), server_context())
    with client, server:
        assert (client.fileno(), pair[0].fileno()) == (fd, -1)
        assert get_hub().poller.slots[fd] is client._slot


def test_a_greenthread_that_reads_the_plain_socket_learns_that_it_is_gone(pair: Pair) -> None:
    reader = spawn(pair[0].recv, 1)
    wait_all_blocked()
    client, server = secure(pair, client_context(), server_context())
    with client, server, pytest.raises(OSError, match="closed") as caught:
        reader.wait()
    assert caught.value.errno == EBADF


def test_the_class_has_no_public_constructor() -> None:
    with pytest.raises(TypeError, match="public constructor"):
        SSLSocket()


def test_a_context_of_the_users_with_our_class_makes_green_sockets(pair: Pair) -> None:
    context = client_context()
    context.sslsocket_class = SSLSocket
    serving = spawn(partial(wrap, pair[1], server_context(), server_side=True))
    with context.wrap_socket(pair[0], server_hostname="localhost") as client, serving.wait() as server:
        client.sendall(b"hello")
        assert server.recv(10) == b"hello"


# -- the handshake


def test_the_agreed_version_and_the_peers_certificate_are_there(tls: TlsPair) -> None:
    client, server = tls
    assert client.version() == server.version() == client.context.maximum_version.name.replace("_", ".")
    assert ("DNS", "localhost") in (client.getpeercert() or {})["subjectAltName"]


def test_a_certificate_that_is_not_trusted_is_refused_on_both_sides(pair: Pair) -> None:
    serving = spawn(partial(wrap, pair[1], server_context(), server_side=True))
    with pytest.raises(ssl.SSLCertVerificationError):
        wrap(pair[0], ssl.create_default_context(), server_hostname="localhost")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        serving.wait().recv(1)  # in TLS 1.3 the server learns of it at its first read


def test_a_certificate_for_another_name_is_refused(pair: Pair) -> None:
    spawn(partial(wrap, pair[1], server_context(), server_side=True)).link(lambda done: done.exception)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        wrap(pair[0], client_context(), server_hostname="elsewhere.example")


@pytest.mark.parametrize("server_side", [False, True])
def test_a_silent_peer_cannot_hold_a_handshake_for_longer_than_its_deadline(
    pair: Pair, clock: JumpClock, server_side: bool
) -> None:
    context = server_context() if server_side else client_context()
    with pytest.raises(TimeoutError, match="The handshake operation timed out"):
        wrap(pair[0], context, server_side=server_side, server_hostname=None if server_side else "localhost")
    assert clock.now() == HANDSHAKE_TIMEOUT
    assert pair[0].fileno() == -1
    assert pair[1].recv(1 << 16) == b"" or not server_side


def test_the_sockets_own_timeout_bounds_the_handshake_if_it_is_shorter(pair: Pair, clock: JumpClock) -> None:
    pair[0].settimeout(3)
    with pytest.raises(TimeoutError):
        wrap(pair[0], client_context(), server_hostname="localhost", handshake_timeout=5)
    assert clock.now() == 3


def test_bytes_that_trickle_do_not_move_the_deadline(pair: Pair, clock: JumpClock) -> None:
    hello = b"\x16\x03\x01\x02\x00" + bytes(512)

    def trickle() -> None:
        for byte in hello[:20]:
            pair[1].send(bytes([byte]))
            sleep(1)

    trickler = spawn(trickle)
    with pytest.raises(TimeoutError):
        wrap(pair[0], server_context(), server_side=True, handshake_timeout=5)
    assert clock.now() == 5
    trickler.kill()


def test_the_timeout_after_the_handshake_is_the_sockets_own(pair: Pair) -> None:
    pair[0].settimeout(7)
    client, server = secure(pair, client_context(), server_context())
    with client, server:
        assert (client.gettimeout(), server.gettimeout()) == (7, None)


def test_a_peer_that_resets_in_the_handshake_is_an_oserror(pair: Pair) -> None:
    serving = spawn(partial(wrap, pair[1], server_context(), server_side=True))
    wait_all_blocked()
    pair[0].setsockopt(stdlib.SOL_SOCKET, stdlib.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    pair[0].close()
    with pytest.raises(ConnectionResetError):
        serving.wait()


def test_a_peer_that_hangs_up_in_the_handshake_is_an_eof_error(pair: Pair) -> None:
    serving = spawn(partial(wrap, pair[1], server_context(), server_side=True))
    wait_all_blocked()
    pair[0].close()
    with pytest.raises(ssl.SSLEOFError):
        serving.wait()


def test_a_peer_that_speaks_no_tls_is_an_ssl_error(pair: Pair) -> None:
    pair[0].sendall(b"GET / HTTP/1.0\r\n\r\n")
    with pytest.raises(ssl.SSLError, match="HTTP_REQUEST"):
        wrap(pair[1], server_context(), server_side=True)


def test_a_killed_handshake_closes_the_descriptor(pair: Pair) -> None:
    shaking = spawn(partial(wrap, pair[1], server_context(), server_side=True))
    wait_all_blocked()
    shaking.kill()
    assert pair[0].recv(1) == b""


def test_a_nonblocking_socket_is_wrapped_without_a_handshake(pair: Pair) -> None:
    pair[0].setblocking(False)
    with wrap(pair[0], client_context(), server_hostname="localhost") as client:
        with pytest.raises(ssl.SSLWantReadError):
            client.do_handshake()
        serving = spawn(partial(wrap, pair[1], server_context(), server_side=True))
        wait_all_blocked()
        client.do_handshake()
        with serving.wait(), pytest.raises(ssl.SSLWantReadError):
            client.recv(1)


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_a_session_is_resumed(version: ssl.TLSVersion) -> None:
    client, server = client_context(version), server_context()
    session = None
    for _ in range(2):
        ours, theirs = secure(tcp_pair(), client, server, session)
        with ours, theirs:
            theirs.sendall(b"x")
            ours.recv(1)  # TLS 1.3 sends its tickets with the first data
            session = ours.session
            reused = ours.session_reused
    assert reused


def tcp_pair() -> Pair:
    with stdlib.create_server(("127.0.0.1", 0)) as listener:
        one = stdlib.create_connection(listener.getsockname())
        other, _ = listener.accept()
    return socket(fileno=one.detach()), socket(fileno=other.detach())


# -- data


def test_data_goes_both_ways_in_order(tls: TlsPair) -> None:
    client, server = tls
    client.sendall(b"ping")
    assert server.recv(100) == b"ping"
    server.write(b"pong")
    assert client.read(100) == b"pong"


def test_recv_into_and_pending_leave_the_rest_for_the_next_read(tls: TlsPair) -> None:
    client, server = tls
    client.sendall(b"0123456789")
    buffer = bytearray(4)
    assert server.recv_into(buffer) == 4
    assert (bytes(buffer), server.pending()) == (b"0123", 6)
    assert server.recv(100) == b"456789"


def test_large_transfers_go_both_ways_at_once(tls: TlsPair) -> None:
    ours, theirs = bytes(range(256)) * 8192, bytes(range(255, -1, -1)) * 8192
    client, server = tls
    sending = [spawn(client.sendall, ours), spawn(server.sendall, theirs)]
    receiving = [spawn(read_exactly, server, len(ours)), spawn(read_exactly, client, len(theirs))]
    assert [each.wait() for each in receiving] == [ours, theirs]
    for each in sending:
        each.wait()


def test_a_send_of_more_than_the_kernel_takes_returns_all_of_it(tls13: TlsPair) -> None:
    client, server = tls13
    reading = spawn(read_exactly, server, 8 * MEGABYTE)
    assert client.send(bytes(8 * MEGABYTE)) == 8 * MEGABYTE
    assert len(reading.wait()) == 8 * MEGABYTE


def test_writers_take_turns_and_tear_nothing(tls13: TlsPair) -> None:
    client, server = tls13
    letters = [bytes([65 + i]) * (5 * MEGABYTE + i) for i in range(3)]
    writers = [spawn(client.sendall, letter) for letter in letters]
    wait_all_blocked()
    received = read_exactly(server, sum(map(len, letters)))
    letters.sort(key=lambda letter: received.index(letter[0]))
    assert received == b"".join(letters)
    for writer in writers:
        writer.wait()


def test_a_read_that_has_to_write_waits_behind_a_writer(tls13: TlsPair) -> None:
    client, server = tls13
    sslobj = client._sslobj
    refusals = [ssl.SSLWantWriteError(ssl.SSL_ERROR_WANT_WRITE, "a key update has to be answered")]

    class KeyUpdate:
        """The TLS of `client`, whose first read has to write."""

        write = sslobj.write

        def read(self, *args: int) -> bytes:
            if refusals:
                raise refusals.pop()
            data: bytes = sslobj.read(*args)
            return data

    client._sslobj = KeyUpdate()
    writer = spawn(client.sendall, bytes(8 * MEGABYTE))
    wait_all_blocked()
    reader = spawn(client.recv, 5)
    wait_all_blocked()
    assert not reader.ready()
    assert len(read_exactly(server, 8 * MEGABYTE)) == 8 * MEGABYTE
    server.sendall(b"hello")
    assert (reader.wait(), writer.wait()) == (b"hello", None)


@pytest.mark.parametrize("first", ["the reader", "the writer"])
def test_a_write_that_has_to_read_goes_on_when_a_read_has_done_it(tls13: TlsPair, first: str) -> None:
    """In a new handshake the reader may take in what the writer waits for: the descriptor then has nothing to tell."""
    client, server = tls13
    sslobj = client._sslobj

    class NewHandshake:
        """The TLS of `client`, which may write as soon as something was read."""

        done = False

        def write(self, data: memoryview) -> int:
            if not self.done:
                raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "the handshake is under way")
            size: int = sslobj.write(data)
            return size

        def read(self, *args: int) -> bytes:
            try:
                data: bytes = sslobj.read(*args)
            except ssl.SSLWantReadError:
                self.done = first == "the writer"  # what came was no data
                raise
            self.done = True
            return data

    client._sslobj = NewHandshake()
    greens = {}
    for name in sorted(["the reader", "the writer"], key=lambda name: name != first):
        greens[name] = spawn(client.recv, 5) if name == "the reader" else spawn(client.sendall, b"at last")
        wait_all_blocked()
    if first == "the reader":
        server.sendall(b"hello")
        assert greens["the reader"].wait() == b"hello"
    assert greens["the writer"].wait(5) is None
    assert server.recv(100) == b"at last"
    if first == "the writer":
        server.sendall(b"hello")
        assert greens["the reader"].wait() == b"hello"
    one_reader = spawn(client.recv, 1)
    wait_all_blocked()
    with pytest.raises(BusyError):  # a second one is still too many
        client.recv(1)
    server.sendall(b"x")
    assert one_reader.wait() == b"x"


def test_a_second_reader_meets_busy(tls13: TlsPair) -> None:
    first = spawn(tls13[0].recv, 1)
    wait_all_blocked()
    with pytest.raises(BusyError):
        tls13[0].recv(1)
    tls13[1].sendall(b"x")
    assert first.wait() == b"x"


def test_a_file_like_view_reads_lines_and_writes(tls: TlsPair) -> None:
    client, server = tls
    with client.makefile("wb") as out, server.makefile("r", encoding="ascii", newline="\n") as lines:
        out.write(b"one\ntwo\n")
        out.flush()
        assert [next(lines), next(lines)] == ["one\n", "two\n"]


def test_a_file_is_sent(tls13: TlsPair, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"z" * MEGABYTE)
    reading = spawn(read_exactly, tls13[1], MEGABYTE)
    with path.open("rb") as file:
        assert tls13[0].sendfile(file) == MEGABYTE
    assert reading.wait() == b"z" * MEGABYTE


@pytest.mark.parametrize(
    ("method", "args", "error"),
    [
        ("recvfrom", (1,), ValueError),
        ("recvfrom_into", (bytearray(1),), ValueError),
        ("sendto", (b"x", ("127.0.0.1", 0)), ValueError),
        ("recvmsg", (1,), NotImplementedError),
        ("sendmsg", ([b"x"],), NotImplementedError),
        ("dup", (), NotImplementedError),
        ("recv", (1, stdlib.MSG_PEEK), ValueError),
        ("send", (b"x", stdlib.MSG_OOB), ValueError),
        ("sendall", (b"x", stdlib.MSG_OOB), ValueError),
    ],
)
def test_what_the_standard_library_refuses_is_refused(
    tls13: TlsPair, method: str, args: tuple[object, ...], error: type[Exception]
) -> None:
    with pytest.raises(error):
        getattr(tls13[0], method)(*args)


def test_a_greedy_reader_lets_others_run(tls13: TlsPair, monkeypatch: pytest.MonkeyPatch) -> None:
    client, server = tls13
    client.sendall(b"x" * 1000)
    ran: list[int] = []
    spawn(ran.append, 1)
    for _ in range(500):
        server.recv(1)
    assert ran


# -- timeouts


def test_a_read_times_out_like_the_standard_librarys(tls13: TlsPair, clock: JumpClock) -> None:
    tls13[0].settimeout(5)
    with pytest.raises(TimeoutError, match="The read operation timed out"):
        tls13[0].recv(1)
    assert clock.now() == 5


def test_a_write_times_out_like_the_standard_librarys(tls13: TlsPair, clock: JumpClock) -> None:
    tls13[0].settimeout(5)
    with pytest.raises(TimeoutError, match="The write operation timed out"):
        tls13[0].sendall(bytes(16 * MEGABYTE))
    assert clock.now() == 5


def test_a_write_repeated_after_a_timeout_goes_on_where_it_stopped(tls13: TlsPair, clock: JumpClock) -> None:
    client, server = tls13
    data = bytes(range(256)) * 65536
    client.settimeout(5)
    with pytest.raises(TimeoutError):
        client.send(data)
    reading = spawn(read_exactly, server, len(data) + 1)
    client.sendall(data)
    client.sendall(b"!")
    assert reading.wait() == data + b"!"


def test_after_a_write_that_was_cut_off_the_stream_is_whole(tls13: TlsPair) -> None:
    client, server = tls13
    data = bytes(range(256)) * 65536
    writer = spawn(client.sendall, data)
    wait_all_blocked()
    writer.kill()
    reading = spawn(read_exactly, server, len(data))
    client.sendall(b"other")
    client.farewell()
    received: bytes = reading.wait()
    assert received.endswith(b"other")
    assert data.startswith(received[:-5])


def test_a_timeout_around_a_read_leaves_the_connection_usable(tls13: TlsPair, clock: JumpClock) -> None:
    with pytest.raises(Timeout), Timeout(5):
        tls13[0].recv(1)
    tls13[1].sendall(b"late")
    assert tls13[0].recv(4) == b"late"


# -- the end


def test_close_under_a_reader_wakes_it(tls13: TlsPair) -> None:
    reader = spawn(tls13[0].recv, 1)
    wait_all_blocked()
    tls13[0].close()
    with pytest.raises(OSError, match="closed") as caught:
        reader.wait()
    assert caught.value.errno == EBADF


def test_close_under_a_writer_wakes_it(tls13: TlsPair) -> None:
    writer = spawn(tls13[0].sendall, bytes(16 * MEGABYTE))
    wait_all_blocked()
    tls13[0].close()
    with pytest.raises(OSError, match="closed"):
        writer.wait()


def test_a_closed_one_refuses_reads_and_writes(tls13: TlsPair) -> None:
    tls13[0].close()
    with pytest.raises(ValueError, match="closed or unwrapped"):
        tls13[0].read()
    with pytest.raises(ValueError, match="closed or unwrapped"):
        tls13[0].write(b"x")


def test_a_peer_that_leaves_without_a_word_reads_as_the_end(tls13: TlsPair) -> None:
    tls13[1].close()
    assert tls13[0].recv(1) == b""


def test_a_peer_that_leaves_without_a_word_is_an_error_to_who_asks(pair: Pair) -> None:
    serving = spawn(partial(wrap, pair[1], server_context(), server_side=True))
    client = wrap(pair[0], client_context(), server_hostname="localhost", suppress_ragged_eofs=False)
    serving.wait().close()
    with client, pytest.raises(ssl.SSLEOFError):
        client.recv(1)


def test_data_sent_before_the_end_is_read_after_it(tls: TlsPair) -> None:
    tls[1].sendall(b"last words")
    tls[1].farewell()
    tls[1].close()
    assert [tls[0].recv(100), tls[0].recv(100)] == [b"last words", b""]


def test_unwrap_on_both_sides_gives_plain_sockets_back(tls: TlsPair) -> None:
    client, server = tls
    unwrapping = spawn(server.unwrap)
    plain = client.unwrap()
    assert unwrapping.wait() is server
    assert plain is client
    client.sendall(b"in the clear")
    assert server.recv(100) == b"in the clear"


def test_unwrap_of_what_is_not_wrapped_is_a_value_error(tls13: TlsPair) -> None:
    tls13[0].shutdown(stdlib.SHUT_WR)  # as in the standard library, this drops the TLS layer
    with pytest.raises(ValueError, match="No SSL wrapper"):
        tls13[0].unwrap()
    assert tls13[1].recv(1) == b""


# -- listening and connecting


def test_accept_does_not_wait_for_the_handshake() -> None:
    plain = socket()
    plain.bind(("127.0.0.1", 0))
    plain.listen()
    with wrap(plain, server_context(), server_side=True) as listener, socket() as silent, socket() as caller:
        silent.connect(listener.getsockname())
        listener.accept()[0].close()  # it has said nothing yet
        caller.connect(listener.getsockname())
        connection, address = listener.accept()
        reading = spawn(connection.recv, 5)
        with wrap(caller, client_context(), server_hostname="localhost") as client, connection:
            assert address == client.getsockname()
            client.sendall(b"hello")
            assert reading.wait() == b"hello"


def test_an_accepted_connection_reads_and_writes_at_once_while_it_shakes_hands() -> None:
    plain = socket()
    plain.bind(("127.0.0.1", 0))
    plain.listen()
    with wrap(plain, server_context(), server_side=True) as listener, socket() as caller:
        caller.connect(listener.getsockname())
        connection, _ = listener.accept()
        reading, writing = spawn(connection.recv, 5), spawn(connection.sendall, b"greetings")
        with wrap(caller, client_context(), server_hostname="localhost") as client, connection:
            client.sendall(b"hello")
            assert (reading.wait(), client.recv(9), writing.wait()) == (b"hello", b"greetings", None)


def test_an_accepted_connection_that_stays_silent_runs_into_the_deadline(clock: JumpClock) -> None:
    plain = socket()
    plain.bind(("127.0.0.1", 0))
    plain.listen()
    with wrap(plain, server_context(), server_side=True) as listener, socket() as silent:
        silent.connect(listener.getsockname())
        connection, _ = listener.accept()
        with connection, pytest.raises(TimeoutError, match="handshake"):
            connection.recv(1)
    assert clock.now() == HANDSHAKE_TIMEOUT


def test_an_unconnected_socket_shakes_hands_when_it_connects() -> None:
    plain = socket()
    plain.bind(("127.0.0.1", 0))
    plain.listen()
    listener = wrap(plain, server_context(), server_side=True)
    client = wrap(socket(), client_context(), server_hostname="localhost")

    def answer() -> bytes:
        with listener.accept()[0] as connection:
            return connection.recv(5)

    with listener, client:
        serving = spawn(answer)
        client.connect(listener.getsockname())
        client.sendall(b"hello")
        assert serving.wait() == b"hello"
