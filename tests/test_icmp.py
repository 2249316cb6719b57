"""Echo requests: their bytes, and on loopback, where everybody answers."""

from errno import EPERM
from socket import AF_INET, AF_INET6

import pytest
from core_tools import needs_ipv6
from hypothesis import given, strategies as st

from greenprobe.engine.icmp import BODY, HEAD, checksum, echo_hosts, parse_reply
from greenprobe.engine.targets import parse_hosts
from greenprobe.hub import Hub
from greenprobe.testing import JumpClock

TOKEN = b"12345678"


def reply(kind: int, number: int = 7, token: bytes = TOKEN) -> bytes:
    return HEAD.pack(kind, 0, 0, 1, 2) + BODY.pack(token, number, 1.5)


@given(st.binary(max_size=100))
def test_a_message_with_its_checksum_sums_up_to_zero(data: bytes) -> None:
    whole = data + b"\0" * (len(data) % 2)
    assert checksum(whole + checksum(whole).to_bytes(2)) == 0


def test_a_reply_tells_the_host_and_the_time() -> None:
    assert parse_reply(reply(0), AF_INET, TOKEN, has_ip=False) == (7, 1.5)
    assert parse_reply(reply(129), AF_INET6, TOKEN, has_ip=False) == (7, 1.5)
    header = b"\x46" + bytes(23)  # with an option
    assert parse_reply(header + reply(0), AF_INET, TOKEN, has_ip=True) == (7, 1.5)


def test_what_is_no_reply_of_ours_is_nothing() -> None:
    assert parse_reply(reply(8), AF_INET, TOKEN, has_ip=False) is None  # our own request, on loopback
    assert parse_reply(reply(0, token=b"another!"), AF_INET, TOKEN, has_ip=False) is None
    assert parse_reply(reply(0)[:-1], AF_INET, TOKEN, has_ip=False) is None


@given(st.binary(max_size=80), st.booleans())
def test_noise_raises_nothing(data: bytes, has_ip: bool) -> None:
    parse_reply(data, AF_INET, TOKEN, has_ip=has_ip)


@pytest.mark.parametrize("words", (["127.0.0.0/28"], pytest.param(["127.0.0.1", "::1"], marks=needs_ipv6)))
def test_everybody_on_loopback_answers(hub: Hub, clock: JumpClock, words: list[str]) -> None:
    hosts = parse_hosts(words, lambda name: [])
    found, refusals = echo_hosts(hub, hosts, seed=1, timeout=5.0)
    if refusals:
        pytest.skip("no echo request may be sent here")
    wanted = {number for number in range(hosts.count) if hosts.at(number).text != "127.0.0.0"}  # a network's own
    assert found >= wanted


def test_who_may_send_none_finds_nobody(hub: Hub) -> None:
    def refuse(sock: object) -> None:
        raise PermissionError(EPERM, "Operation not permitted")

    hosts = parse_hosts(["127.0.0.1"], lambda name: [])
    found, refusals = echo_hosts(hub, hosts, seed=1, timeout=9.0, prepare=refuse)
    assert found == set()
    assert {family: error.errno for family, error in refusals.items()} == {AF_INET: EPERM}


def test_a_host_that_cannot_be_asked_is_silent(hub: Hub, clock: JumpClock) -> None:
    broadcast = parse_hosts(["127.255.255.255"], lambda name: [])
    assert echo_hosts(hub, broadcast, seed=1, timeout=5.0).alive == set()
