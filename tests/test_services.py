"""Examining open ports: who greets, who waits, who hides in TLS, who is nasty. Real sockets, scripted servers."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socket import AF_INET, IPPROTO_TCP, MSG_PEEK, SO_LINGER, SOL_SOCKET, TCP_NODELAY
from typing import Any

import pytest
import trustme

from greenprobe.convenience import listen
from greenprobe.engine.connector import RESET_ON_CLOSE
from greenprobe.engine.examined import door_of, examined
from greenprobe.engine.link import Door
from greenprobe.engine.probes.caches import REDIS
from greenprobe.engine.probes.probe import MORE, OTHER, Fields, Heard, Probe
from greenprobe.engine.probes.registry import Registry
from greenprobe.engine.scanplan import ScanRecord, Service
from greenprobe.engine.services import Examiner
from greenprobe.green_ssl import wrap
from greenprobe.greenthread import spawn
from greenprobe.hub import get_hub

Serve = Callable[[Any], None]


@contextmanager
def server(serve: Serve) -> Iterator[int]:
    """Run `serve(sock)` for each connection, in a greenthread of its own; give the port."""
    listener = listen(("127.0.0.1", 0))
    children = []

    def one(sock: Any) -> None:
        with sock:
            try:
                serve(sock)
            except OSError:
                pass

    def accept() -> None:
        while True:
            sock, _ = listener.accept()
            sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)  # for a clock that jumps, Nagle's wait for an ACK is silence
            children.append(spawn(one, sock))

    acceptor = spawn(accept)
    try:
        yield listener.getsockname()[1]
    finally:
        acceptor.kill()
        for child in children:
            child.kill()
        listener.close()


pytestmark = pytest.mark.usefixtures("clock")  # both ends are on this hub: what has not come at once never will


def door_to(port: int) -> Door:
    return Door("localhost", AF_INET, ("127.0.0.1", port), 0.0)


def examine(serve: Serve, *, registry: Registry | None = None, only_banner: bool = False) -> Service:
    with server(serve) as port:
        return Examiner(registry or Registry(), only_banner=only_banner).examine(door_to(port))


def says(greeting: bytes, answers: dict[bytes, bytes]) -> Serve:
    """Serve a greeting, and to what begins with a key its value."""

    def serve(sock: Any) -> None:
        sock.sendall(greeting)
        while data := sock.recv(4096):
            for start, answer in answers.items():
                if data.startswith(start):
                    sock.sendall(answer)

    return serve


def test_who_greets_is_asked_for_more() -> None:
    found = examine(says(b"220 mx.test ESMTP\r\n", {b"EHLO": b"250-mx.test\r\n250 SIZE\r\n"}))
    assert (found.name, found.banner) == ("smtp", "220 mx.test ESMTP\\r\\n")
    assert (found.info or {})["extensions"] == ["SIZE"]


def test_a_greeting_in_pieces_is_one_greeting() -> None:
    def serve(sock: Any) -> None:
        for piece in (b"SSH-2", b".0-Piece", b"meal\r\n"):
            sock.sendall(piece)
            get_hub().sleep(0.005)
        sock.recv(100)

    assert examine(serve).name == "ssh"


def test_who_waits_is_asked_with_http() -> None:
    found = examine(says(b"", {b"GET / HTTP/1.1\r\nHost: localhost\r\n": b"HTTP/1.1 404 No\r\nServer: x\r\n\r\n"}))
    assert (found.name, found.product, (found.info or {})["status"]) == ("http", "x", 404)


def test_an_answer_to_http_may_be_of_another_protocol() -> None:
    assert examine(says(b"", {b"GET": b"-ERR unknown command 'GET'\r\n"})).name == "redis"


def test_who_is_known_by_an_answer_to_http_is_asked_with_its_own_probe() -> None:
    answers = {b"GET": b"-ERR unknown command 'GET'\r\n", REDIS.hello: b"$21\r\nredis_version:7.2.4\r\n\r\n"}
    assert examine(says(b"", answers)).product == "Redis 7.2.4"
    answers[b"version"] = answers.pop(b"GET")  # as memcached is asked
    assert examine(says(b"", answers)).product == "Redis 7.2.4"


def test_who_is_silent_to_http_is_asked_with_the_others() -> None:
    assert examine(says(b"", {b"version": b"VERSION 1.6\r\n"})).name == "memcached"


def parse_pong(data: bytes, is_over: bool) -> Fields | Heard:
    if data == b"pong":
        return {"a": 1}
    return OTHER if is_over or data else MORE


def test_the_probe_that_fits_the_port_comes_first() -> None:
    heard = []

    def serve(sock: Any) -> None:
        heard.append(sock.recv(100))
        sock.sendall(b"pong")

    with server(serve) as port:
        own = Probe(name="own", about="x", parse=parse_pong, hello=b"ping", ports=(port,))
        found = Examiner(Registry([own])).examine(door_to(port))
    assert (found.name, found.info, heard) == ("own", {"a": 1}, [b"ping"])


def test_only_a_banner_is_one_question() -> None:
    heard = []

    def serve(sock: Any) -> None:
        heard.append(sock.recv(100))
        sock.recv(100)

    found = examine(serve, only_banner=True)
    assert found.name == ""
    assert len([each for each in heard if each]) <= 2  # HTTP, and a handshake where that was no use


def test_an_echo_is_no_protocol_of_ours() -> None:
    def serve(sock: Any) -> None:
        while data := sock.recv(4096):
            sock.sendall(data)

    assert examine(serve).name == "echo"


@pytest.mark.parametrize("ending", ("closed", "reset"))
def test_who_hangs_up_at_once_is_told_so(ending: str) -> None:
    def serve(sock: Any) -> None:
        if ending == "reset":
            sock.setsockopt(SOL_SOCKET, SO_LINGER, RESET_ON_CLOSE)

    assert examine(serve) == Service("", note=f"{ending} at once")


def test_who_drips_for_ever_is_left() -> None:
    def serve(sock: Any) -> None:
        while True:
            sock.sendall(b".")
            get_hub().sleep(0.02)

    found = examine(serve)
    assert found.name == ""
    assert set(found.banner) == {"."}


def test_who_never_stops_is_read_so_far_and_no_further() -> None:
    def serve(sock: Any) -> None:
        while True:
            sock.sendall(b"A" * 8192)

    found = examine(serve)
    assert len(found.banner) <= 256


def test_a_silent_port_ends_in_no_service() -> None:
    found = examine(lambda sock: sock.recv(1) and None)
    assert found.name == ""


def test_a_port_that_is_gone_is_told_so() -> None:
    listener = listen(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    listener.close()
    assert Examiner(Registry()).examine(door_to(port)).note == "gone: Connection refused"


# -- TLS


@pytest.fixture(scope="module")
def context() -> ssl.SSLContext:
    authority = trustme.CA()
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("service.test", "127.0.0.1").configure_cert(made)
    return made


def over_tls(context: ssl.SSLContext, serve: Serve) -> Serve:
    def wrapped(sock: Any) -> None:
        with wrap(sock, context, server_side=True, handshake_timeout=1) as secure:
            serve(secure)

    return wrapped


def test_a_service_in_tls_is_named_and_its_certificate_shown(context: ssl.SSLContext) -> None:
    found = examine(over_tls(context, says(b"", {b"GET": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"})))
    assert found.name == "https"
    assert found.tls is not None
    assert found.tls["version"] == "TLSv1.3"
    certificate = found.tls["certificate"]
    assert certificate["names"] == ["service.test", "127.0.0.1"]
    assert certificate["self_signed"] is False
    assert certificate["not_after"] > certificate["not_before"]


def test_who_greets_in_tls_is_heard(context: ssl.SSLContext) -> None:
    assert examine(over_tls(context, says(b"* OK ready\r\n", {}))).name == "imaps"


def test_tls_with_nothing_we_know_inside_is_tls(context: ssl.SSLContext) -> None:
    assert examine(over_tls(context, says(b"", {}))).name == "tls"


def test_a_plain_answer_that_asks_for_https_gets_it(context: ssl.SSLContext) -> None:
    def serve(sock: Any) -> None:
        if sock.recv(1, MSG_PEEK) == b"G":
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\nThe plain HTTP request was sent to HTTPS port")
        else:
            over_tls(context, says(b"", {b"GET": b"HTTP/1.1 200 OK\r\n\r\n"}))(sock)

    found = examine(serve)
    assert (found.name, (found.info or {})["status"]) == ("https", 200)


NO_APPLICATION_PROTOCOL = b"\x15\x03\x03\x00\x02\x02\x78"  # a fatal alert: RFC 7301, 3.2


def refusing_alpn(context: ssl.SSLContext, serve: Serve) -> Serve:
    def wrapped(sock: Any) -> None:
        if b"http/1.1" in sock.recv(4096, MSG_PEEK):
            sock.sendall(NO_APPLICATION_PROTOCOL)
        else:
            over_tls(context, serve)(sock)

    return wrapped


def test_who_refuses_our_alpn_is_asked_without(context: ssl.SSLContext) -> None:
    found = examine(refusing_alpn(context, says(b"* OK ready\r\n", {})))
    assert found.name == "imaps"
    assert found.tls is not None
    assert found.tls["alpn"] is None


def test_after_starttls_nobody_is_offered_http(context: ssl.SSLContext) -> None:
    def serve(sock: Any) -> None:
        sock.sendall(b"220 mx.test ESMTP\r\n")
        sock.recv(100)
        sock.sendall(b"250-mx.test\r\n250 STARTTLS\r\n")
        sock.recv(100)
        sock.sendall(b"220 go on\r\n")
        refusing_alpn(context, lambda secure: secure.recv(1) and None)(sock)

    assert "certificate" in (examine(serve).tls or {})


def test_starttls_shows_the_certificate_of_a_mail_server(context: ssl.SSLContext) -> None:
    def serve(sock: Any) -> None:
        sock.sendall(b"220 mx.test ESMTP\r\n")
        sock.recv(100)
        sock.sendall(b"250-mx.test\r\n250 STARTTLS\r\n")
        assert sock.recv(100) == b"STARTTLS\r\n"
        sock.sendall(b"220 go on\r\n")
        over_tls(context, lambda secure: secure.recv(1) and None)(sock)

    found = examine(serve)
    assert found.name == "smtp"
    assert found.tls is not None
    assert found.tls["certificate"]["names"] == ["service.test", "127.0.0.1"]


# -- together with a scan


def record(port: int, state: Any = "open") -> ScanRecord:
    return ScanRecord("localhost", "127.0.0.1", port, state, "syn-ack", 0.001, 1)


def test_open_ports_come_with_a_service_and_the_others_as_they_are() -> None:
    batches = ([each] for each in (record(1), record(2, "closed"), record(3)))
    found = examined(batches, lambda door: Service(f"s{door.port}"), door_of, concurrency=2)
    seen = {one.port: one.service for batch in found for one in batch}
    assert seen == {1: Service("s1"), 2: None, 3: Service("s3")}


def test_what_ends_the_scan_ends_the_examination() -> None:
    def batches() -> Iterator[list[ScanRecord]]:
        yield [record(1)]
        raise ZeroDivisionError

    flow = examined(batches(), lambda door: Service(""), door_of, concurrency=2)  # type: ignore[arg-type]
    with pytest.raises(ZeroDivisionError):
        list(flow)


def test_an_interrupt_gives_open_ports_that_were_not_examined_yet() -> None:
    batches = ([each] for each in (record(1), record(2)))

    def examine(door: Door) -> Service:
        get_hub().sleep(3600)
        return Service("never")

    flow = examined(batches, examine, door_of, concurrency=5)
    get_hub().timers.add(get_hub().clock() + 0.02, interrupt)
    found = []
    with pytest.raises(KeyboardInterrupt):
        for batch in flow:
            found.extend(batch)
    assert sorted(one.port for one in found) == [1, 2]


def interrupt() -> None:
    """As Ctrl-C does."""
    get_hub()._interrupt()


def test_scoped_addresses_lead_to_their_interface() -> None:
    door = door_of(ScanRecord("fe80::1%lo", "fe80::1%lo", 80, "open", "syn-ack", None, 1))
    assert door.sockaddr == ("fe80::1", 80, 0, 1)
