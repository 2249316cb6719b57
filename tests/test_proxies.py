"""Servers behind proxies: the PROXY protocol, and whom to believe about the client."""

import struct

import pytest

from greenprobe.errors import BadRequest, TargetError
from greenprobe.http.forwarded import TrustedProxies, read_networks
from greenprobe.http.proxy_protocol import SIGNATURE, read_proxy_header

# -- the PROXY protocol

V2_4 = SIGNATURE + b"\x21\x11\0\x0c" + bytes([192, 0, 2, 1, 10, 0, 0, 1]) + struct.pack("!HH", 5000, 80)
V2_6 = SIGNATURE + b"\x21\x21\0\x24" + bytes(15) + b"\1" + bytes(16) + struct.pack("!HH", 5000, 80)
HEADERS = {
    "v1 tcp4": (b"PROXY TCP4 192.0.2.1 10.0.0.1 5000 80\r\n", ("192.0.2.1", 5000)),
    "v1 tcp6": (b"PROXY TCP6 2001:DB8::1 ::1 5000 80\r\n", ("2001:db8::1", 5000)),
    "v1 unknown": (b"PROXY UNKNOWN\r\n", None),
    "v1 unknown with more": (b"PROXY UNKNOWN ff:: ff:: 1 2\r\n", None),
    "v2 tcp4": (V2_4, ("192.0.2.1", 5000)),
    "v2 tcp6": (V2_6, ("::1", 5000)),
    "v2 with more behind": (V2_4.replace(b"\0\x0c", b"\0\x0f", 1) + b"\4\0\0", ("192.0.2.1", 5000)),
    "v2 local": (SIGNATURE + b"\x20\0\0\0", None),
    "v2 unix": (SIGNATURE + b"\x21\x31\0\xd8" + bytes(216), None),
}


@pytest.mark.parametrize("case", HEADERS)
def test_a_proxy_header_says_who_the_client_is_and_where_it_ends(case: str) -> None:
    data, client = HEADERS[case]
    assert all(read_proxy_header(data[:size]) is None for size in range(len(data)))
    assert read_proxy_header(data + b"GET /") == (len(data), client)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"PROXY TCP4 192.0.2.1 10.0.0.1 5000\r\n",
        b"PROXY TCP4 ::1 ::1 5000 80\r\n",
        b"PROXY TCP4 192.0.2.256 10.0.0.1 5000 80\r\n",
        b"PROXY TCP4 192.0.2.1 10.0.0.1 70000 80\r\n",
        b"PROXY UDP4 192.0.2.1 10.0.0.1 5000 80\r\n",
        b"PROXY " + b"x" * 200,
        SIGNATURE + b"\x11\x11\0\x0c" + bytes(12),
        SIGNATURE + b"\x21\x11\0\x04" + bytes(4),
        SIGNATURE + b"\x21\x11\xff\xff",
    ],
)
def test_a_connection_that_begins_otherwise_is_refused(data: bytes) -> None:
    with pytest.raises(BadRequest):
        read_proxy_header(data)


# -- forwarded

PROXIES = TrustedProxies(read_networks(["10.0.0.0/8", "::1"]))


def test_nobody_is_believed_but_the_proxies() -> None:
    fields = {"HTTP_X_FORWARDED_FOR": "192.0.2.1", "HTTP_X_FORWARDED_PROTO": "https"}
    assert PROXIES.variables("192.0.2.9", fields) == {}
    assert PROXIES.variables("10.1.1.1", fields) == {"REMOTE_ADDR": "192.0.2.1", "wsgi.url_scheme": "https"}
    assert PROXIES.variables("::ffff:10.1.1.1", fields)["REMOTE_ADDR"] == "192.0.2.1"
    assert PROXIES.variables("", fields)["REMOTE_ADDR"] == "192.0.2.1"


@pytest.mark.parametrize(
    ("value", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("203.0.113.7, 192.0.2.1", "192.0.2.1"),  # what is left of it, the client wrote
        ("203.0.113.7, 192.0.2.1, 10.0.0.2, 10.0.0.3", "192.0.2.1"),
        ("10.0.0.2, 10.0.0.3", "10.0.0.2"),
        ("nonsense, 10.0.0.3", "10.0.0.3"),
        ("192.0.2.1:1234", "192.0.2.1"),
        ("[2001:db8::1]:80", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("nonsense", None),
        ("", None),
    ],
)
def test_the_client_is_the_first_from_the_right_that_is_no_proxy(value: str, client: str | None) -> None:
    assert PROXIES.variables("10.0.0.1", {"HTTP_X_FORWARDED_FOR": value}).get("REMOTE_ADDR") == client


def test_the_standard_header_is_read_when_asked_for_and_the_other_is_not() -> None:
    standard = TrustedProxies(read_networks(["10.0.0.0/8"]), standard=True, host=True)
    fields = {
        "HTTP_FORWARDED": 'for=203.0.113.7;proto=http, For="[2001:db8::1]:80"; proto=https;host="a.test:81"',
        "HTTP_X_FORWARDED_FOR": "192.0.2.66",
    }
    assert standard.variables("10.0.0.1", fields) == {
        "REMOTE_ADDR": "2001:db8::1",
        "wsgi.url_scheme": "https",
        "HTTP_HOST": "a.test:81",
    }


@pytest.mark.parametrize("filling", [" ", "a", ";", "a=", '="'])
def test_what_is_passed_through_by_proxies_costs_what_it_is(filling: str) -> None:
    """5 s for 32 KB, and the hub stood still, where a pair was looked for at each place."""
    standard = TrustedProxies(read_networks(["10.0.0.0/8"]), standard=True)
    fields = {"HTTP_FORWARDED": f"a{filling * (400_000 // len(filling))}a, for=192.0.2.1"}
    assert standard.variables("10.0.0.1", fields) in ({}, {"REMOTE_ADDR": "192.0.2.1"})


def test_schemes_and_hosts_that_are_none_are_passed_over() -> None:
    trusting = TrustedProxies(read_networks(["10.0.0.1"]), host=True)
    fields = {"HTTP_X_FORWARDED_PROTO": "javascript", "HTTP_X_FORWARDED_HOST": "a b"}
    assert trusting.variables("10.0.0.1", fields) == {}


def test_a_network_that_is_none_is_named() -> None:
    with pytest.raises(TargetError, match=r"'10\.0\.0\.x'"):
        read_networks(["10.0.0.x"])
