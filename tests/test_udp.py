"""UDP ports: who answers, who is not there, who is silent. Real sockets on loopback."""

from collections.abc import Iterator
from contextlib import contextmanager
from errno import EACCES, EALREADY
from itertools import chain
from socket import AF_INET, AF_INET6, SOCK_DGRAM, socket
from typing import Any

import pytest
from core_tools import IPV6

from greenprobe.convenience import listen
from greenprobe.engine.examined import door_of, examined
from greenprobe.engine.link import Door
from greenprobe.engine.ports import UDP
from greenprobe.engine.probes.datagrams import BY_PORT, hello_of
from greenprobe.engine.scanner import Scanner
from greenprobe.engine.scanplan import ScanPlan, ScanRecord, Service
from greenprobe.engine.targets import Targets, parse_hosts
from greenprobe.engine.udp import UdpAsker
from greenprobe.green_socket import socket as GreenSocket  # noqa: N812 - a class
from greenprobe.greenthread import spawn
from greenprobe.hub import Hub

pytestmark = pytest.mark.usefixtures("clock")  # both ends are on this hub: what has not come at once never will


@contextmanager
def server(host: str, *, answers: bool) -> Iterator[int]:
    """Serve datagrams on a port of `host`."""
    sock = GreenSocket(AF_INET6 if ":" in host else AF_INET, SOCK_DGRAM)
    sock.bind((host, 0))

    def serve() -> None:
        while True:
            data, peer = sock.recvfrom(2000)
            if answers:
                sock.sendto(b"answer to " + data, peer)

    child = spawn(serve)
    try:
        yield sock.getsockname()[1]
    finally:
        child.kill()
        sock.close()


@contextmanager
def unused(host: str) -> Iterator[int]:
    """Give a UDP port of `host` where nobody is."""
    with socket(AF_INET6 if ":" in host else AF_INET, SOCK_DGRAM) as sock:
        sock.bind((host, 0))
        port = sock.getsockname()[1]
    yield port


def scan(host: str, *ports: int, **options: Any) -> dict[tuple[str, int], ScanRecord]:
    targets = Targets(parse_hosts([host], lambda name: [name]), tuple(sorted(ports)), seed=1)
    plan = ScanPlan(targets=targets, timeout=5.0, **options)
    return {(record.proto, record.port): record for record in Scanner(plan).run()}


@pytest.mark.parametrize("host", ("127.0.0.1", IPV6))
def test_answers_errors_and_silence_are_told_apart(host: str) -> None:
    with server(host, answers=True) as talker, server(host, answers=False) as mute, unused(host) as nobody:
        found = scan(host, UDP + talker, UDP + mute, UDP + nobody, retries=1)
    assert {port: (record.state, record.reason) for (_, port), record in found.items()} == {
        talker: ("open", "udp-response"),
        mute: ("open|filtered", "no-response"),
        nobody: ("closed", "port-unreach"),
    }
    assert found["udp", mute].tries == 2
    assert found["udp", talker].row()["proto"] == "udp"


def test_an_answer_from_an_ipv4_address_in_ipv6_form_is_heard() -> None:
    try:
        with server("127.0.0.1", answers=True) as talker:
            found = scan("::ffff:127.0.0.1", UDP + talker)
    except OSError:
        pytest.skip("no IPv6 here")
    assert [(record.ip, record.state) for record in found.values()] == [("::ffff:127.0.0.1", "open")]


def test_both_kinds_of_ports_go_in_one_scan() -> None:
    listener = listen(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    with server("127.0.0.1", answers=True) as talker:
        found = scan("127.0.0.1", port, UDP + talker)
    listener.close()
    assert {key: record.state for key, record in found.items()} == {("tcp", port): "open", ("udp", talker): "open"}


def test_payloads_are_datagrams_of_their_protocols() -> None:
    assert hello_of(9) == b""
    assert hello_of(53)[2:4] == b"\x01\x00"  # a query, recursion wanted
    assert hello_of(123)[0] & 7 == 3  # a client
    assert len(hello_of(443)) == 1200  # RFC 9000, section 14.1
    assert hello_of(161)[1] == len(hello_of(161)) - 2
    assert int.from_bytes(hello_of(500)[24:28]) == len(hello_of(500))
    assert int.from_bytes(hello_of(1812)[2:4]) == len(hello_of(1812))
    assert all(len(one.hello) <= 1200 for one in BY_PORT.values())


def test_an_open_udp_port_is_not_examined_over_tcp() -> None:
    record = ScanRecord("h", "127.0.0.1", 53, "open", "udp-response", 0.1, 1, None, Service("dns"), "udp")

    def examine(door: Door) -> Service:
        raise AssertionError(door)

    found = examined((batch for batch in [[record]]), examine, door_of, concurrency=1)
    assert list(chain.from_iterable(found)) == [record]


def test_who_answers_a_datagram_is_named() -> None:
    with server("127.0.0.1", answers=True) as talker:
        found = scan("127.0.0.1", UDP + talker)
    assert found["udp", talker].service == Service("", banner="answer to ")


def test_an_answer_from_another_port_counts_where_the_protocol_wants_that(monkeypatch: pytest.MonkeyPatch) -> None:
    sock, other = (GreenSocket(AF_INET, SOCK_DGRAM) for _ in range(2))
    sock.bind(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            _, peer = sock.recvfrom(2000)
            other.sendto(b"\0\x05\0\x01File not found\0", peer)

    child = spawn(serve)
    port = sock.getsockname()[1]
    assert scan("127.0.0.1", UDP + port)["udp", port].state == "open|filtered"
    monkeypatch.setitem(BY_PORT, port, BY_PORT[69])
    record = scan("127.0.0.1", UDP + port)["udp", port]
    child.kill()
    sock.close()
    other.close()
    assert record.service is not None
    assert (record.state, record.service.name) == ("open", "tftp")


def test_a_closed_port_is_known_without_a_connected_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    with unused("127.0.0.1") as nobody:
        monkeypatch.setitem(BY_PORT, nobody, BY_PORT[69])
        assert scan("127.0.0.1", UDP + nobody)["udp", nobody].state == "closed"


def test_an_address_that_nothing_can_be_sent_to_ends_at_once(hub: Hub) -> None:
    asker = UdpAsker(hub)
    broadcast = ("127.255.255.255", UDP + 9)
    assert asker.start(AF_INET, broadcast, is_near=False) == EACCES  # the socket may not broadcast
    assert asker.icmp is None
    assert asker.wait(hub.clock()) == EALREADY
