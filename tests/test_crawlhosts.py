"""The clocks of hosts and of their IP addresses: who may begin, who comes again when, and what is forgotten."""

import pytest

from greenprobe.engine import crawlhosts
from greenprobe.engine.crawlhosts import Host, Hosts

A, B, C = "http://a.test", "http://b.test", "http://c.test"


def at_one_address(hosts: Hosts, *origins: str) -> list[Host]:
    """Return hosts that share an IP address."""
    found = [hosts.of(origin) for origin in origins]
    for host in found:
        hosts.share(host, ["192.0.2.1"])
    return found


def test_without_a_delay_nobody_waits() -> None:
    hosts = Hosts(0.0)
    host = hosts.of(A)
    hosts.begin(host)
    assert hosts.wait_time(host, 5.0) == 0
    assert hosts.end(host, 5.0) == 5.0
    assert host.in_flight == 0


def test_the_delay_runs_from_the_end_of_a_request() -> None:
    hosts = Hosts(2.0)
    host = hosts.of(A)
    assert hosts.wait_time(host, 10.0) == 0
    hosts.begin(host)
    assert hosts.end(host, 13.0) == 15.0
    assert hosts.wait_time(host, 13.5) == pytest.approx(1.5)
    assert hosts.wait_time(host, 20.0) == 0


def test_who_finds_a_host_busy_comes_again_one_after_the_other() -> None:
    hosts = Hosts(2.0)
    host = hosts.of(A)
    hosts.begin(host)
    assert [hosts.wait_time(host, 10.0) for _ in range(3)] == [2.0, 4.0, 6.0]


def test_who_comes_before_its_time_is_told_times_that_lie_apart() -> None:
    hosts = Hosts(2.0)
    host = hosts.of(A)
    hosts.begin(host)
    hosts.end(host, 10.0)
    assert [hosts.wait_time(host, 11.0) for _ in range(3)] == [1.0, 3.0, 5.0]


def test_hosts_of_one_address_share_its_clock_and_no_other_does() -> None:
    hosts = Hosts(1.0)
    first, second = at_one_address(hosts, A, B)
    other = hosts.of(C)
    hosts.share(other, ["192.0.2.2"])
    hosts.begin(first)
    assert hosts.wait_time(second, 0.0) == 1.0
    assert hosts.wait_time(other, 0.0) == 0
    hosts.end(first, 5.0)
    assert hosts.wait_time(second, 5.5) == pytest.approx(0.5)
    assert hosts.wait_time(second, 6.0) == 0


def test_a_host_without_a_delay_does_not_hold_up_its_neighbours_of_the_address() -> None:
    hosts = Hosts(0.0)
    slow, quick = at_one_address(hosts, A, B)
    slow.delay = 3.0  # its robots.txt asks for it
    hosts.begin(quick)
    assert hosts.wait_time(slow, 0.0) == 0
    hosts.end(quick, 0.0)
    hosts.begin(slow)
    hosts.end(slow, 10.0)
    assert hosts.wait_time(quick, 10.0) == 0
    assert hosts.wait_time(slow, 10.0) == 3.0


def test_the_longer_of_two_delays_counts_at_one_address() -> None:
    hosts = Hosts(1.0)
    long, short = at_one_address(hosts, A, B)
    long.delay = 5.0
    hosts.begin(short)
    hosts.end(short, 10.0)
    hosts.begin(long)
    assert hosts.end(long, 12.0) == 17.0
    hosts.begin(short)
    hosts.end(short, 13.0)  # an earlier time than it has already changes nothing
    assert hosts.wait_time(short, 14.0) == 3.0


def test_a_host_knows_all_its_addresses_and_keeps_the_clock_of_the_first() -> None:
    hosts = Hosts(1.0)
    host, neighbour = hosts.of(A), hosts.of(B)
    hosts.share(host, ["192.0.2.1", "192.0.2.2"])
    hosts.share(neighbour, ["192.0.2.2"])
    assert host.ips == {"192.0.2.1", "192.0.2.2"}
    assert host.ip is not neighbour.ip


def test_who_was_not_asked_for_the_longest_is_forgotten_unless_it_is_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crawlhosts, "MAX_HOSTS", 2)
    hosts = Hosts(0.0)
    first = hosts.of(A)
    second = hosts.of(B)
    assert hosts.of(A) is first  # asked again: B is the oldest now
    hosts.of(C)
    assert hosts.of(A) is first
    assert hosts.of(B) is not second
    busy = hosts.of(C)
    hosts.begin(busy)
    for number in range(5):
        hosts.of(f"http://{number}.test")
    assert hosts.of(C) is busy


def test_what_those_at_work_kept_in_memory_is_forgotten_when_they_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crawlhosts, "MAX_HOSTS", 2)
    hosts = Hosts(0.0)
    origins = [A, B, C, "http://d.test"]
    for origin in origins:
        hosts.begin(hosts.of(origin))
    for origin in origins:
        hosts.end(hosts.of(origin), 0.0)
    hosts.of("http://e.test")
    assert sum(hosts.known(origin) is not None for origin in [*origins, "http://e.test"]) == 2


def test_an_address_keeps_its_clock_as_long_as_hosts_are_found_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crawlhosts, "MAX_HOSTS", 2)
    hosts = Hosts(1.0)
    first, again, last = Host(1.0), Host(1.0), Host(1.0)
    hosts.share(first, ["192.0.2.1"])
    hosts.share(Host(1.0), ["192.0.2.2"])
    hosts.share(again, ["192.0.2.1"])
    hosts.share(Host(1.0), ["192.0.2.3"])
    hosts.share(last, ["192.0.2.1"])
    assert first.ip is again.ip is last.ip
