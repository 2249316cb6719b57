"""The resolver: asked once, remembered while it holds, hosts and search list, both families together, in bad times."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from socket import AF_INET, AF_INET6
from threading import Thread
from typing import Any

import dns.message
import pytest
from dns_servers import DnsServer, dns_server
from greenlet import GreenletExit

from greenprobe.dns.asker import Asker
from greenprobe.dns.cache import Cache
from greenprobe.dns.conf import ResolvConf
from greenprobe.dns.crew import Crew
from greenprobe.dns.resolver import Resolver
from greenprobe.errors import TargetError
from greenprobe.greenthread import spawn
from greenprobe.hub import Hub
from greenprobe.outcome import AsyncResult
from greenprobe.testing import JumpClock, wait_all_blocked

RECORDS = {
    ("four.test.", "A"): ["four.test. 60 IN A 127.0.0.4"],
    ("both.test.", "A"): ["both.test. 60 IN A 127.0.0.4"],
    ("both.test.", "AAAA"): ["both.test. 30 IN AAAA ::1"],
    ("alias.test.", "CNAME"): ["alias.test. 5 IN CNAME four.test.", "four.test. 60 IN A 127.0.0.4"],
    ("zero.test.", "A"): ["zero.test. 0 IN A 127.0.0.4"],
    ("long.test.", "A"): ["long.test. 2000000 IN A 127.0.0.4"],
    ("www.sub.test.", "A"): ["www.sub.test. 60 IN A 127.0.0.5"],
    ("text.test.", "TXT"): ["text.test. 60 IN TXT hello"],
    ("4.0.0.127.in-addr.arpa.", "PTR"): ["4.0.0.127.in-addr.arpa. 60 IN PTR four.test."],
}


@pytest.fixture
def server(hub: Hub) -> Iterator[DnsServer]:
    with dns_server(RECORDS) as server:
        yield server


def make(
    server: DnsServer, clock: JumpClock | None = None, conf: ResolvConf | None = None, hosts: str = os.devnull,
    **bounds: float,
) -> Resolver:  # fmt: skip
    return Resolver(
        [server.server],
        conf=conf or ResolvConf(),
        hosts_path=hosts,
        cache=Cache(**bounds),  # type: ignore[arg-type]
        **({"clock": clock.now} if clock is not None else {}),  # type: ignore[arg-type]
    )


# -- one name, one type


def test_a_thousand_who_ask_for_the_same_name_are_one_question_a_type(server: DnsServer) -> None:
    resolver = make(server)
    greens = [spawn(resolver.find, name) for name in ("both.test", "BOTH.test", "both.test.") for _ in range(333)]
    assert {green.wait().addresses for green in greens} == {("127.0.0.4", "::1")}
    assert sorted(server.kinds()) == ["A", "AAAA"]


def test_one_asker_that_is_killed_spoils_nothing_for_the_others(server: DnsServer) -> None:
    resolver = make(server)
    first, second = (spawn(resolver.look_up, "four.test", "A") for _ in range(2))
    wait_all_blocked()
    first.kill()
    assert second.wait().data == ("127.0.0.4",)
    assert server.kinds() == ["A"]


def test_who_waits_when_the_resolver_is_closed_is_not_left_waiting(server: DnsServer) -> None:
    server.tricks = {"four": lambda *_: []}
    resolver = make(server)
    green = spawn(resolver.look_up, "four.test", "A")
    wait_all_blocked()
    resolver.close()
    with pytest.raises(GreenletExit):
        green.wait(1)


@pytest.mark.parametrize("use_tcp", [False, True])
def test_a_resolver_that_was_closed_asks_anew(server: DnsServer, use_tcp: bool) -> None:
    resolver = make(server, conf=ResolvConf(use_tcp=use_tcp))
    outcome = resolver._flight("four.test", "A", resolver.servers)  # no greenthread of its has begun yet
    resolver.close()
    with pytest.raises(GreenletExit):
        outcome.wait(1)
    assert resolver.look_up("four.test", "A", 5).data == ("127.0.0.4",)


def test_what_a_thread_left_under_way_is_kept_no_longer_than_it(server: DnsServer) -> None:
    resolver = make(server, conf=ResolvConf(use_tcp=True))
    thread = Thread(target=lambda: resolver._flight("four.test", "A", resolver.servers))
    thread.start()
    thread.join(20)
    assert len(resolver._flights) == 1
    assert resolver.look_up("both.test", "A").data == ("127.0.0.4",)
    assert not resolver._flights


def test_a_question_that_cannot_even_begin_is_not_waited_for(
    server: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver = make(server)

    def fail(*_: object) -> bool:
        raise MemoryError

    with monkeypatch.context() as patched, pytest.raises(MemoryError):
        patched.setattr(Asker, "begin", fail)
        resolver.look_up("four.test", "A")
    assert resolver.look_up("four.test", "A", 5).data == ("127.0.0.4",)


def test_no_server_at_all_is_a_mistake() -> None:
    with pytest.raises(TargetError, match="no name server is given"):
        Resolver([])


def test_a_question_takes_a_greenthread_only_if_its_first_reply_is_not_enough(
    server: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[object] = []
    run_into = Crew.run_into

    def noting(self: Crew, outcome: AsyncResult[Any], function: Callable[..., Any], *args: Any) -> None:
        jobs.append(function)
        run_into(self, outcome, function, *args)

    def hands_of(name: str) -> int:
        jobs.clear()
        resolver.look_up(name, "A")
        return len(jobs)

    monkeypatch.setattr(Crew, "run_into", noting)

    server.tricks = {"text": lambda server, query, response, way: [b"\0" * 3, query[:2] + b"\x81\x82" + query[4:]]}
    resolver = make(server, conf=ResolvConf(attempts=1))
    assert [hands_of(name) for name in ("four.test", "alias.test", "nowhere.test", "text.test")] == [0, 0, 0, 1]


def test_a_timeout_is_the_askers_own(hub: Hub, clock: JumpClock) -> None:
    def slow(server: DnsServer, query: bytes, response: dns.message.Message, way: str) -> list[bytes]:
        hub.sleep(3)
        return [response.to_wire()]

    with dns_server(RECORDS, {"four": slow}) as server:
        resolver = make(server, clock)
        patient = spawn(resolver.look_up, "four.test", "A", 60)
        with pytest.raises(TimeoutError, match=r"no answer for four\.test A in 1 s"):
            resolver.look_up("four.test", "A", 1)
        assert clock.now() == pytest.approx(1, abs=0.01)
        assert patient.wait().data == ("127.0.0.4",)
        assert len(server.asked) == 1


@pytest.mark.parametrize("delay", [None, 0.1])
def test_who_gets_no_addresses_in_time_is_told_of_what(
    server: DnsServer, clock: JumpClock, delay: float | None
) -> None:
    server.tricks = {"both": lambda *_: []}
    resolver = make(server, clock)
    with pytest.raises(TimeoutError, match=r"no answer for both\.test in 1 s"):
        resolver.find("both.test", timeout=1, delay=delay)
    resolver.close()


@pytest.mark.parametrize(
    ("name", "kind", "seconds"),
    [("four.test", "A", 60), ("alias.test", "A", 5), ("nowhere.test", "A", 60), ("four.test", "MX", 60)],
)
def test_an_answer_holds_for_its_time_to_live(
    server: DnsServer, clock: JumpClock, name: str, kind: str, seconds: float
) -> None:
    resolver = make(server, clock)
    resolver.look_up(name, kind)
    clock.advance(seconds - 0.5)
    resolver.look_up(name, kind)
    assert len(server.asked) == 1
    clock.advance(1)
    resolver.look_up(name, kind)
    assert len(server.asked) == 2


def test_bounds_on_the_time_to_live(server: DnsServer, clock: JumpClock) -> None:
    resolver = make(server, clock, min_ttl=10, max_ttl=100)
    for name in ("zero.test", "long.test"):
        resolver.look_up(name, "A")
    clock.advance(9)
    resolver.look_up("zero.test", "A")
    clock.advance(90)
    resolver.look_up("long.test", "A")
    assert len(server.asked) == 2
    clock.advance(2)
    resolver.look_up("long.test", "A")
    assert len(server.asked) == 3


def test_a_negative_answer_holds_for_what_the_soa_says_and_no_longer_than_allowed(
    server: DnsServer, clock: JumpClock
) -> None:
    server.negative_ttl = 100_000
    resolver = make(server, clock, max_negative_ttl=300)
    resolver.look_up("nowhere.test", "A")
    clock.advance(301)
    resolver.look_up("nowhere.test", "A")
    assert len(server.asked) == 2


def test_failures_are_not_remembered(hub: Hub, clock: JumpClock) -> None:
    def failing(server: DnsServer, query: bytes, response: dns.message.Message, way: str) -> list[bytes]:
        response.set_rcode(2)  # type: ignore[arg-type]
        return [response.to_wire()]

    with dns_server(RECORDS, {"four": failing}) as server:
        resolver = make(server, clock)
        assert resolver.look_up("four.test", "A").status == "SERVFAIL"
        server.tricks.clear()
        assert resolver.look_up("four.test", "A").status == "NOERROR"


def test_an_answer_that_is_over_serves_when_nobody_answers_if_wanted(server: DnsServer, clock: JumpClock) -> None:
    resolver = make(server, clock, stale_for=3600)
    resolver.look_up("four.test", "A")
    clock.advance(61)
    server.tricks = {"four": lambda server, query, response, way: []}
    assert resolver.look_up("four.test", "A").data == ("127.0.0.4",)
    asked = len(server.asked)
    assert resolver.look_up("four.test", "A").data == ("127.0.0.4",)
    assert len(server.asked) == asked  # for half a minute nobody is asked again (RFC 8767)
    clock.advance(3700)
    assert resolver.look_up("four.test", "A").status == "TIMEOUT"


def test_the_cache_is_bounded_and_keeps_what_was_used_last(server: DnsServer, clock: JumpClock) -> None:
    resolver = make(server, clock, size=2)
    for name in ("four.test", "both.test", "four.test", "alias.test", "four.test"):
        resolver.look_up(name, "A")
    assert [name for name, _, _ in server.asked] == ["four.test.", "both.test.", "alias.test."]
    assert len(resolver.cache) == 2


# -- hosts and search list


class Key:
    """A key of a cache that another thread empties while it is looked up for the `when`-th time."""

    def __init__(self, cache: Cache[int], when: int) -> None:
        self.cache = cache
        self.left = when

    def __hash__(self) -> int:
        self.left -= 1
        if not self.left:
            self.cache.clear()
        return 1


@pytest.mark.parametrize("when", range(1, 8))
def test_the_cache_may_be_emptied_by_another_thread_at_any_step(when: int) -> None:
    cache: Cache[int] = Cache()
    key = Key(cache, when)
    for value in (1, 2):
        cache.put(key, value, 60, 0)
        cache.put("other", 0, 60, 0)
        assert cache.get(key, 1) in {None, (60, value)}


def test_both_families_are_asked_in_one_round_trip(server: DnsServer, hub: Hub) -> None:
    held = []

    def hold(server: DnsServer, query: bytes, response: dns.message.Message, way: str) -> list[bytes]:
        held.append(response.to_wire())
        return held if len(held) == 2 else []  # neither is answered before both are asked

    server.tricks = {"both": hold}
    assert make(server).find("both.test").addresses == ("127.0.0.4", "::1")


@pytest.mark.parametrize("bad", [2, 5])
def test_a_failure_of_one_family_is_forgiven_if_the_other_has_addresses(server: DnsServer, bad: int) -> None:
    def half(server: DnsServer, query: bytes, response: dns.message.Message, way: str) -> list[bytes]:
        if server.kinds()[-1] == "AAAA":
            response.set_rcode(bad)  # type: ignore[arg-type]
        return [response.to_wire()]

    server.tricks = {"four": half}
    assert make(server).find("four.test").addresses == ("127.0.0.4",)


def test_with_a_delay_the_slow_family_is_not_waited_for(hub: Hub, server: DnsServer, clock: JumpClock) -> None:
    def without_ipv6(server: DnsServer, query: bytes, response: dns.message.Message, way: str) -> list[bytes]:
        return [] if server.kinds()[-1] == "AAAA" else [response.to_wire()]

    server.tricks = {"both": without_ipv6}
    resolver = make(server, clock)
    assert resolver.find("both.test", delay=0.05).addresses == ("127.0.0.4",)
    assert clock.now() == pytest.approx(0.05, abs=0.01)
    assert resolver.find("both.test").addresses == ("127.0.0.4",)  # libc waits for both
    assert clock.now() >= 15


@pytest.mark.parametrize(
    ("host", "first", "asked", "addresses"),
    [
        ("both.test", AF_INET, ["A"], ("127.0.0.4",)),
        ("both.test", AF_INET6, ["AAAA"], ("::1",)),
        ("four.test", AF_INET6, ["AAAA", "A"], ("127.0.0.4",)),
        ("text.test", AF_INET, ["A", "AAAA"], ()),
        ("nowhere.test", AF_INET, ["A"], ()),
    ],
)
def test_what_is_not_to_be_asked_first_is_asked_only_where_there_is_nothing_else(
    server: DnsServer, host: str, first: int, asked: list[str], addresses: tuple[str, ...]
) -> None:
    assert make(server).find(host, first=first).addresses == addresses
    assert server.kinds() == asked


def test_of_one_family_nothing_is_asked_first(server: DnsServer) -> None:
    assert make(server).find("both.test", AF_INET6, first=AF_INET).addresses == ("::1",)
    assert server.kinds() == ["AAAA"]


def test_the_hosts_file_comes_first_and_is_read_again_when_it_changes(server: DnsServer, tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("127.0.0.7 four.test alias # and a comment\n::7 four.test\n")
    resolver = make(server, hosts=str(path))
    assert resolver.find("Four.test").addresses == ("127.0.0.7", "::7")
    assert resolver.find("four.test", AF_INET6).addresses == ("::7",)
    assert resolver.find("alias").canonical == "four.test"
    assert not server.asked
    path.write_text("127.0.0.70 four.test\n")
    assert resolver.find("four.test").addresses == ("127.0.0.70",)
    path.unlink()
    assert resolver.find("four.test").addresses == ("127.0.0.4",)


@pytest.mark.parametrize(
    ("host", "ndots", "asked"),
    [
        ("www", 1, ["www.sub.test."]),
        ("www.sub", 1, ["www.sub.", "www.sub.sub.test.", "www.sub.test."]),
        ("www.sub", 2, ["www.sub.sub.test.", "www.sub.test."]),
        ("www.", 1, ["www."]),
    ],
)
def test_short_names_are_completed_by_the_search_list(
    server: DnsServer, host: str, ndots: int, asked: list[str]
) -> None:
    make(server, conf=ResolvConf(search=("sub.test", "test"), ndots=ndots)).find(host, AF_INET)
    assert [name for name, _, _ in server.asked] == asked


def test_that_a_name_has_other_records_is_told_from_that_it_is_not_there(server: DnsServer) -> None:
    resolver = make(server, conf=ResolvConf(search=("test",)))
    assert resolver.find("text").status == "NODATA"
    assert resolver.find("nowhere").status == "NXDOMAIN"


def test_no_aaaa_leaves_ipv6_out_unless_it_is_asked_for(server: DnsServer) -> None:
    resolver = make(server, conf=ResolvConf(no_aaaa=True))
    assert resolver.find("both.test").addresses == ("127.0.0.4",)
    assert resolver.find("both.test", AF_INET6).addresses == ("::1",)


def test_a_changed_resolv_conf_is_obeyed_and_what_was_learned_before_forgotten(
    server: DnsServer, tmp_path: Path
) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("options ndots:1\n")
    resolver = Resolver([server.server], conf_path=str(path), hosts_path=os.devnull)
    resolver.find("four.test", AF_INET)
    path.write_text("search sub.test\noptions ndots:3 timeout:1\n")
    resolver.find("www", AF_INET)
    resolver.find("four.test.", AF_INET)
    assert [name for name, _, _ in server.asked] == ["four.test.", "www.sub.test.", "four.test."]


def test_rotate_begins_with_another_server_each_time(hub: Hub, server: DnsServer) -> None:
    with dns_server(RECORDS) as other:
        resolver = Resolver([server.server, other.server], conf=ResolvConf(rotate=True), hosts_path=os.devnull)
        for name in ("four.test", "both.test", "zero.test", "long.test"):
            resolver.look_up(name, "A")
        assert (len(server.asked), len(other.asked)) == (2, 2)


def test_use_vc_asks_over_tcp(server: DnsServer) -> None:
    assert make(server, conf=ResolvConf(use_tcp=True)).look_up("four.test", "A").data == ("127.0.0.4",)
    assert server.asked == [("four.test.", "A", "tcp")]


def test_an_address_has_the_name_of_its_ptr_record(server: DnsServer) -> None:
    resolver = make(server)
    assert resolver.name_of("127.0.0.4").canonical == "four.test"
    assert resolver.name_of("127.0.0.9").status == "NXDOMAIN"


# -- many


def test_a_burst_is_no_more_at_once_than_a_server_can_take_in(hub: Hub) -> None:
    def hold(server: DnsServer, query: bytes, response: dns.message.Message, way: str) -> list[bytes]:
        held.append((response.to_wire(), server.peer))
        return []

    held: list[tuple[bytes, tuple[str, int]]] = []
    names = [f"n{number}" for number in range(300)]
    records = {(f"{name}.test.", "A"): [f"{name}.test. 60 IN A 127.0.0.1"] for name in names}
    with dns_server(records, dict.fromkeys(names, hold)) as server:
        resolver = make(server)
        greens = [spawn(resolver.look_up, f"{name}.test", "A") for name in names]
        wait_all_blocked()
        while held:
            assert len(held) <= 277
            while held:
                server.udp.sendto(*held.pop())
            wait_all_blocked()
        assert all(green.ready() and green.wait().data for green in greens)
    assert len(server.asked) == 300


def test_a_family_can_be_asked_for_alone(server: DnsServer) -> None:
    make(server).find("both.test", AF_INET)
    assert server.kinds() == ["A"]
