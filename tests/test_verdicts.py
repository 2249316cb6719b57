"""Verdicts: each end of a connect, with and without an ICMP error, as one table."""

import errno
import struct
from socket import AF_INET, AF_INET6, inet_pton

import pytest
from hypothesis import given, strategies as st

from greenprobe.engine.verdicts import EXHAUSTED, Icmp, parse_extended_error, verdict


def icmp(version: int, kind: int, code: int) -> Icmp:
    return Icmp(version, kind, code, errno.EHOSTUNREACH, "192.0.2.1")


@pytest.mark.parametrize(
    ("code", "message", "state", "reason"),
    (
        (0, None, "open", "syn-ack"),
        (errno.EISCONN, None, "open", "syn-ack"),
        (errno.ECONNRESET, None, "open", "syn-ack"),
        (errno.EPIPE, None, "open", "syn-ack"),
        (errno.ECONNREFUSED, None, "closed", "reset"),
        (errno.ECONNREFUSED, icmp(4, 3, 3), "filtered", "port-unreach"),
        (errno.ECONNREFUSED, icmp(6, 1, 4), "filtered", "port-unreach"),
        (errno.EHOSTUNREACH, icmp(4, 3, 13), "filtered", "admin-prohibited"),
        (errno.EACCES, icmp(6, 1, 1), "filtered", "admin-prohibited"),
        (errno.EHOSTUNREACH, icmp(4, 3, 1), "filtered", "host-unreach"),
        (errno.EHOSTUNREACH, icmp(6, 1, 3), "filtered", "host-unreach"),
        (errno.ENETUNREACH, icmp(4, 3, 0), "filtered", "net-unreach"),
        (errno.ENETUNREACH, icmp(6, 1, 0), "filtered", "net-unreach"),
        (errno.EHOSTUNREACH, icmp(4, 11, 0), "filtered", "time-exceeded"),
        (errno.EPROTO, icmp(4, 12, 0), "filtered", "icmp4-12-0"),
        (errno.EHOSTUNREACH, None, "filtered", "host-unreach"),
        (errno.ENETUNREACH, None, "filtered", "net-unreach"),
        (errno.EACCES, None, "filtered", "admin-prohibited"),
        (errno.EPERM, None, "filtered", "admin-prohibited"),
        (errno.EINVAL, None, "unreported", "einval"),
        (9999, None, "unreported", "errno-9999"),
    ),
)
def test_an_end_says_state_and_reason(code: int, message: Icmp | None, state: str, reason: str) -> None:
    assert verdict(code, message) == (state, reason)


@pytest.mark.parametrize("code", sorted(EXHAUSTED))
def test_running_out_of_something_is_no_state(code: int) -> None:
    assert verdict(code, None).state == "unreported"


def test_an_icmp_error_of_ipv4_is_read_with_its_sender() -> None:
    error = struct.pack("=IBBBxII", errno.ECONNREFUSED, 2, 3, 3, 0, 0)
    sockaddr = struct.pack("=HH4s8x", AF_INET, 0, inet_pton(AF_INET, "192.0.2.7"))
    assert parse_extended_error(error + sockaddr) == Icmp(4, 3, 3, errno.ECONNREFUSED, "192.0.2.7")


def test_an_icmp_error_of_ipv6_is_read_with_its_sender() -> None:
    error = struct.pack("=IBBBxII", errno.EACCES, 3, 1, 1, 0, 0)
    sockaddr = struct.pack("=HHI16sI", AF_INET6, 0, 0, inet_pton(AF_INET6, "2001:db8::7"), 0)
    assert parse_extended_error(error + sockaddr) == Icmp(6, 1, 1, errno.EACCES, "2001:db8::7")


def test_an_error_of_our_own_machine_is_no_icmp_error() -> None:
    assert parse_extended_error(struct.pack("=IBBBxII", errno.EMSGSIZE, 1, 0, 0, 0, 0)) is None


@given(st.binary(max_size=64))
def test_any_bytes_are_an_icmp_error_or_none(data: bytes) -> None:
    found = parse_extended_error(data)
    assert found is None or found.version in (4, 6)
