"""Targets: words become disjoint ranges, numbers become addresses, nothing is expanded."""

from collections.abc import Callable, Iterable
from ipaddress import ip_address, ip_network
from itertools import islice
from socket import AF_INET, AF_INET6

import pytest
from hypothesis import given, strategies as st

from greenprobe.engine.targets import BLOCK, Hosts, Span, Targets, parse_hosts
from greenprobe.errors import TargetError

NAMES = {"one.test": ["127.0.0.1"], "two.test": ["::1", "127.0.0.2"], "empty.test": []}


def resolve(name: str) -> list[str]:
    if name not in NAMES:
        raise OSError(-2, "Name or service not known")
    return NAMES[name]


def hosts_of(*words: str, all_addresses: bool = False) -> Hosts:
    return parse_hosts(words, resolve, all_addresses=all_addresses)


def texts(hosts: Hosts) -> list[str]:
    return [hosts.at(index).text for index in range(hosts.count)]


def test_addresses_of_both_families_go_in_one_set() -> None:
    hosts = hosts_of("::1", "127.0.0.1", "[::2]")
    assert texts(hosts) == ["127.0.0.1", "::1", "::2"]
    assert [hosts.at(index).family for index in range(3)] == [AF_INET, AF_INET6, AF_INET6]


def test_a_block_is_every_address_of_it_also_with_host_bits_set() -> None:
    assert texts(hosts_of("127.0.0.6/30")) == ["127.0.0.4", "127.0.0.5", "127.0.0.6", "127.0.0.7"]


def test_what_is_named_twice_is_probed_once() -> None:
    assert texts(hosts_of("127.0.0.1", "127.0.0.0/30", "127.0.0.4", "127.0.0.1")) == [
        "127.0.0.0",
        "127.0.0.1",
        "127.0.0.2",
        "127.0.0.3",
        "127.0.0.4",
    ]


def test_a_name_gives_its_first_address_and_keeps_its_name() -> None:
    hosts = hosts_of("two.test")
    assert texts(hosts) == ["::1"]
    assert hosts.name_of(hosts.at(0)) == "two.test"


def test_all_addresses_of_a_name_are_taken_when_asked_for() -> None:
    assert texts(hosts_of("two.test", all_addresses=True)) == ["127.0.0.2", "::1"]


def test_an_address_asked_for_by_number_is_its_own_name() -> None:
    hosts = hosts_of("127.0.0.9")
    assert hosts.name_of(hosts.at(0)) == "127.0.0.9"


def test_a_scope_names_its_interface_and_gives_its_number() -> None:
    address = hosts_of("fe80::1%lo").at(0)
    assert (address.ip, address.scope_id, address.text) == ("fe80::1", 1, "fe80::1%lo")


def test_a_block_may_have_a_scope() -> None:
    hosts = hosts_of("fe80::%lo/126")
    assert texts(hosts)[-1] == "fe80::3%lo"


def test_the_whole_internet_is_two_ranges() -> None:
    hosts = hosts_of("0.0.0.0/0", "::/0")
    assert len(hosts.spans) == 2
    assert hosts.count == 2**32 + 2**128
    assert hosts.at(2**32 - 1).text == "255.255.255.255"
    assert hosts.at(hosts.count - 1).text == "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"


@given(st.lists(st.tuples(st.integers(0, 1023), st.integers(26, 32)), min_size=1, max_size=6))
def test_the_set_holds_what_the_blocks_hold(blocks: list[tuple[int, int]]) -> None:
    words = [f"10.0.{number // 256}.{number % 256}/{bits}" for number, bits in blocks]
    expected = {address for word in words for address in ip_network(word, strict=False)}
    assert texts(hosts_of(*words)) == [str(address) for address in sorted(expected)]


@given(st.sets(st.integers(0, 63), min_size=1), st.sets(st.integers(0, 63)))
def test_exclusion_is_set_subtraction(wanted: set[int], excluded: set[int]) -> None:
    hosts = hosts_of(*(f"10.0.0.{n}" for n in wanted)).without(hosts_of(*(f"10.0.0.{n}" for n in excluded)))
    assert texts(hosts) == [f"10.0.0.{n}" for n in sorted(wanted - excluded)]


def test_many_exclusions_take_no_time_that_grows_with_their_square() -> None:
    """A square of 20,000 would take minutes."""
    alternate = Hosts(Span(AF_INET, "", number, number) for number in range(0, 40_000, 2))
    left = hosts_of("0.0.0.0/8").without(alternate)
    assert left.count == (1 << 24) - 20_000


def test_an_exclusion_without_scope_counts_for_every_scope() -> None:
    hosts = hosts_of("fe80::%lo/126").without(hosts_of("::/0"))
    assert hosts.count == 0


@pytest.mark.parametrize(
    ("word", "found"),
    (
        ("10.0.0-1.1-2", ["10.0.0.1", "10.0.0.2", "10.0.1.1", "10.0.1.2"]),
        ("10.0.0.1,3,250-251", ["10.0.0.1", "10.0.0.3", "10.0.0.250", "10.0.0.251"]),
        ("10.0.0.254-10.0.1.1", ["10.0.0.254", "10.0.0.255", "10.0.1.0", "10.0.1.1"]),
        ("10.0.0.254-", ["10.0.0.254", "10.0.0.255"]),
    ),
)
def test_ranges_of_octets_and_of_addresses_are_every_address_of_them(word: str, found: list[str]) -> None:
    assert texts(hosts_of(word)) == found


def test_whole_octets_come_to_few_spans() -> None:
    hosts = hosts_of("10.0-255.-.-")
    assert (hosts.count, len(hosts.spans)) == (1 << 24, 1)


def test_an_index_outside_is_an_index_error() -> None:
    hosts = hosts_of("127.0.0.1")
    for index in (-1, 1):
        with pytest.raises(IndexError):
            hosts.at(index)


def test_each_host_and_port_comes_exactly_once() -> None:
    targets = Targets(hosts_of("10.0.0.0/28"), (22, 80, 443), seed=4)
    met = list(targets.walk())
    assert targets.count == 48
    assert sorted(target[1:] for target in met) == [(host, port) for host in range(16) for port in (22, 80, 443)]
    assert [place for place, _, _ in met] == list(range(48))


def test_a_walk_from_a_place_goes_on_where_the_whole_walk_was() -> None:
    targets = Targets(hosts_of("10.0.0.0/28"), range(1, 101), seed=4)
    assert list(targets.walk(1000)) == list(targets.walk())[1000:]


def test_a_huge_set_starts_at_once() -> None:
    targets = Targets(hosts_of("::/0"), range(1, 65536), seed=1)
    first = list(islice(targets.walk(), 100))
    assert len(set(first)) == 100
    assert all(ip_address(targets.hosts.at(host).ip) for _, host, _ in first)


def test_hosts_come_in_blocks_each_finished_before_the_next() -> None:
    targets = Targets(hosts_of("10.0.0.0/19"), (22, 80), seed=4)
    met = [host for _, host, _ in targets.walk()]
    assert set(met[: 2 * BLOCK]) == set(range(BLOCK))
    assert met[: 2 * BLOCK] != sorted(met[: 2 * BLOCK])
    assert len(met) == 2 * 8192


@pytest.mark.parametrize("stride", (1, 2, 3, 7))
def test_strides_from_all_starts_meet_everything_once(stride: int) -> None:
    targets = Targets(hosts_of("10.0.0.0/19", "10.1.0.0/24"), (22, 80), seed=4)
    met = [target for start in range(stride) for target in targets.walk(start, stride)]
    assert sorted(met) == list(targets.walk())


def test_a_place_can_be_asked_for_alone() -> None:
    targets = Targets(hosts_of("10.0.0.0/19"), (22, 80), seed=4)
    walk = list(targets.walk())
    assert [targets.at(place) for place in (0, 5, 9000, 16383)] == [walk[0], walk[5], walk[9000], walk[16383]]
    with pytest.raises(IndexError):
        targets.at(16384)


@pytest.mark.parametrize(
    ("word", "message"),
    (
        ("nosuch.test", "host 'nosuch.test' has no address (Name or service not known)"),
        ("empty.test", "host 'empty.test' has no address"),
        ("1.2.3", "'1.2.3' is no IPv4 address; write four numbers"),
        ("1.2.3.256", "'1.2.3.256' is no IPv4 address"),
        ("010.0.0.1", "'010.0.0.1' is no IPv4 address"),
        ("1.2.3.4/33", "write 1.2.3.4/N with N from 0 to 32"),
        ("::1/129", "write ::1/N with N from 0 to 128"),
        ("::1::", "'::1::' is no IPv6 address"),
        ("http://x.test/a", "is a URL; write its host only: x.test"),
        ("http://me@x.test:80/a", "is a URL; write its host only: x.test"),
        ("x.test:80", "ports are the last word: greenprobe scan x.test 80"),
        ("fe80::1", "is link-local: say on which interface"),
        ("fe80::1%none0", "there is no interface 'none0' here"),
        ("fe80::1%", "ends where an interface should be named"),
        ("a b", "'a b' is no host"),
        ("", "'' is no host"),
        ("x.test/24", "'x.test/24' is no host"),
        ("10.0.0.5-10.0.0.1", "runs backwards; write 10.0.0.1-10.0.0.5"),
        ("10.0.0.5-1", "has '5-1' for an octet"),
        ("10.0.0.1-256", "has '1-256' for an octet"),
        ("1-255.-.-.1-254", "is too many pieces"),
    ),
)
def test_a_mistake_is_named_with_what_to_do(word: str, message: str) -> None:
    with pytest.raises(TargetError) as caught:
        hosts_of(word)
    assert message in str(caught.value)


@given(st.text("0123456789abx.:/%[]- ٣", max_size=30))
def test_any_word_gives_hosts_or_a_target_error(word: str) -> None:
    try:
        hosts = hosts_of(word)
    except TargetError:
        return
    assert hosts.count >= 1


def test_names_without_an_address_may_be_left_out_but_not_what_is_no_name() -> None:
    left_out: list[TargetError] = []
    hosts = parse_hosts(["nosuch.test", "127.0.0.9", "empty.test"], resolve, leave_out=left_out.append)
    assert texts(hosts) == ["127.0.0.9"]
    assert ["nosuch.test" in str(one) or "empty.test" in str(one) for one in left_out] == [True, True]
    with pytest.raises(TargetError, match="is no host"):
        parse_hosts(["nosuch.test", "a b"], resolve, leave_out=left_out.append)


def test_names_are_looked_up_side_by_side_each_once() -> None:
    asked: list[list[str]] = []

    def spread(function: Callable[[str], list[str]], names: Iterable[str]) -> Iterable[list[str]]:
        asked.append(list(names))
        return map(function, names)

    words = ["one.test", "10.0.0.1", "two.test", "one.test"]
    hosts = parse_hosts(words, resolve, spread=spread)
    assert asked == [["one.test", "two.test"]]
    assert texts(hosts) == ["10.0.0.1", "127.0.0.1", "::1"]
