"""Port lists: what they read as, and which mistakes they name."""

import pytest
from hypothesis import given, strategies as st

from greenprobe.engine.ports import format_ports, parse_ports
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
    ),
)
def test_a_list_reads_as_sorted_ports_without_repeats(text: str, ports: list[int]) -> None:
    assert list(parse_ports(text)) == ports


def test_a_dash_is_every_port_and_takes_no_room() -> None:
    assert parse_ports("-") == range(1, 65536)


@given(PORTS)
def test_what_is_written_reads_back(ports: set[int]) -> None:
    assert list(parse_ports(format_ports(ports))) == sorted(ports)


@pytest.mark.parametrize(
    ("text", "message"),
    (
        ("2000-1000", "port range '2000-1000' runs backwards; write 1000-2000"),
        ("80,http", "'http' is no port"),
        ("", "'' is no port"),
        ("80,", "'' is no port"),
        ("0", "port 0 does not exist"),
        ("70000", "port 70000 does not exist"),
        ("1-70000", "port 70000 does not exist"),
        ("-0", "port 0 does not exist"),
        ("70000-", "port 70000 does not exist"),
        ("1-2-3", "'1-2-3' is no port"),
        ("٣", "is no port"),
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
