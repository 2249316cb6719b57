"""Port lists: what they read as, and which mistakes they name."""

import pytest
from hypothesis import given, strategies as st

from greenprobe.engine.ports import UDP, format_ports, number_of, parse_ports, top_ports, without_ports
from greenprobe.errors import TargetError

PORTS = st.sets(st.integers(1, 65535), min_size=1, max_size=200)


@pytest.mark.parametrize(
    ("text", "ports"),
    (
        ("22", [22]),
        ("22,80,443", [22, 80, 443]),
        ("443,22,22", [22, 443]),
        ("1-3,2-5", [1, 2, 3, 4, 5]),
        ("1-3,4", [1, 2, 3, 4]),
        (" 80 , 81 ", [80, 81]),
        ("-3", [1, 2, 3]),
        ("65534-", [65534, 65535]),
        ("7-7", [7]),
        ("http,https", [80, 443]),
        ("U:53,T:53", [53, UDP + 53]),
        ("u:161,53,t:22", [22, UDP + 53, UDP + 161]),
    ),
)
def test_a_list_reads_as_sorted_ports_without_repeats(text: str, ports: list[int]) -> None:
    assert list(parse_ports(text)) == ports


def test_a_dash_is_every_port_and_takes_no_room() -> None:
    assert parse_ports("-") == range(1, 65536)


def test_the_top_ports_are_as_many_as_asked_for_and_each_once() -> None:
    assert list(top_ports(3)) == [22, 80, 443]
    for count in (1, 100, 200, 1000, 5000, 65535):
        found = list(top_ports(count))
        assert found == sorted(set(found))
        assert len(found) == count
    assert set(top_ports(100)) < set(top_ports(1000))


def test_excluded_ports_are_left_out_of_both_protocols() -> None:
    ports = parse_ports("1-10,U:1-10")
    assert list(without_ports(ports, parse_ports("2-9,U:1,10"))) == [1, 10, *range(UDP + 2, UDP + 10)]
    assert without_ports(parse_ports("-"), (UDP + 1,)) == range(1, 65536)


def test_a_port_has_a_number_and_a_protocol() -> None:
    assert (number_of(53), number_of(UDP + 53)) == ((53, "tcp"), (53, "udp"))


@given(PORTS, PORTS)
def test_ports_of_both_protocols_read_back(tcp: set[int], udp: set[int]) -> None:
    ports = sorted(tcp) + sorted(port + UDP for port in udp)
    assert list(parse_ports(format_ports(ports))) == ports


@given(PORTS)
def test_what_is_written_reads_back(ports: set[int]) -> None:
    assert list(parse_ports(format_ports(ports))) == sorted(ports)


@pytest.mark.parametrize(
    ("text", "message"),
    (
        ("2000-1000", "port range '2000-1000' runs backwards; write 1000-2000"),
        ("80,nosuch", "no tcp service is called 'nosuch'"),
        ("", "'' is no port"),
        ("80,", "'' is no port"),
        ("0", "port 0 does not exist"),
        ("70000", "port 70000 does not exist"),
        ("1-70000", "port 70000 does not exist"),
        ("-0", "port 0 does not exist"),
        ("70000-", "port 70000 does not exist"),
        ("1-2-3", "'1-2-3' is no port"),
        ("٣", "is no port"),
        ("U:nosuch", "no udp service is called 'nosuch'"),
        ("U:", "'' is no port"),
    ),
)
def test_a_mistake_is_named_with_what_to_do(text: str, message: str) -> None:
    with pytest.raises(TargetError) as caught:
        parse_ports(text)
    assert message in str(caught.value)


@given(st.text("0123456789-, x٣", max_size=20))
def test_any_text_gives_ports_or_a_target_error(text: str) -> None:
    try:
        ports = parse_ports(text)
    except TargetError:
        return
    assert ports
    assert 1 <= ports[0] <= ports[-1] <= 65535
