"""Servers that behave badly, on real sockets: nothing forged is believed, nothing hangs, the next one is asked."""

import os
import struct
from collections.abc import Iterator
from contextlib import closing, suppress
from errno import ENOSPC
from socket import AF_INET, SOCK_DGRAM
from time import monotonic

import dns.flags
import dns.message
import dns.rcode
import pytest
from dns_servers import DnsServer, Trick, dns_server, rrsets

from greenprobe.dns.asker import Asker, AskOptions
from greenprobe.dns.deferred import make_question
from greenprobe.dns.resolution import Result
from greenprobe.dns.resolver import Resolver
from greenprobe.dns.servers import Server
from greenprobe.dns.stream import StreamPath
from greenprobe.green_socket import socket, socketpair
from greenprobe.greenthread import GreenThread, spawn, spawn_after
from greenprobe.hub import Hub
from greenprobe.poller import Poller
from greenprobe.testing import JumpClock, wait_all_blocked
from greenprobe.timeout import with_timeout

GOOD = "127.50.0.1"
FORGED = "127.66.6.6"
OPTIONS = AskOptions(timeout=2, attempts=2)


def good(response: dns.message.Message) -> bytes:
    return response.to_wire(max_size=65535)


def forged(response: dns.message.Message, name: str = "") -> dns.message.Message:
    """Return the answer with another address in it."""
    fake = dns.message.from_wire(good(response))
    owner = name or fake.question[0].name.to_text()
    fake.answer = rrsets([f"{owner} 60 IN A {FORGED}"])
    return fake


def wrong_id(server: DnsServer, query: bytes, response: dns.message.Message, way: str) -> list[bytes]:
    wire = good(forged(response))
    return [bytes([wire[0] ^ 1]) + wire[1:], wire[:1] + bytes([wire[1] ^ 1]) + wire[2:], good(response)]


def wrong_question(server: DnsServer, query: bytes, response: dns.message.Message, way: str) -> list[bytes]:
    fake = forged(response, "other.test.")
    fake.question[0].name = dns.name.from_text("other.test.")
    wrong_type = dns.message.from_wire(good(forged(response)))
    wrong_type.question[0].rdtype = dns.rdatatype.AAAA
    return [good(fake), good(wrong_type), good(response)]


def not_a_response(server: DnsServer, query: bytes, response: dns.message.Message, way: str) -> list[bytes]:
    wire = good(forged(response))
    return [wire[:2] + bytes([wire[2] & 0x7F]) + wire[3:], b"", query[:2], query[:12], good(response)]


def from_another_port(server: DnsServer, query: bytes, response: dns.message.Message, way: str) -> list[bytes]:
    with closing(socket(AF_INET, SOCK_DGRAM)) as other:
        other.bind((server.address[0], 0))
        other.sendto(good(forged(response)), server.peer)
    return [good(response)]


def no_question(server: DnsServer, query: bytes, response: dns.message.Message, way: str) -> list[bytes]:
    fake = forged(response)
    fake.question = []
    return [good(fake), good(response)]


HARMLESS: dict[str, Trick] = {
    each.__name__: each for each in (wrong_id, wrong_question, not_a_response, from_another_port, no_question)
}


def cut(server: DnsServer, query: bytes, response: dns.message.Message, way: str) -> list[bytes]:
    return [good(response)[:-2]]


def with_owner(response: dns.message.Message, owner: bytes, count: int = 1) -> bytes:
    response.answer = []
    response.use_edns(False)
    wire = bytearray(good(response)) + owner + struct.pack("!HHIH", 1, 1, 60, 4) + b"\x7f\x32\0\1"
    wire[6:8] = count.to_bytes(2, "big")
    return bytes(wire)


def pointer_to_itself(server: DnsServer, query: bytes, response: dns.message.Message, way: str) -> list[bytes]:
    response.answer = []
    response.use_edns(False)
    return [with_owner(response, struct.pack("!H", 0xC000 | len(good(response))))]


def pointer_past_the_end(server: DnsServer, query: bytes, response: dns.message.Message, way: str) -> list[bytes]:
    return [with_owner(response, b"\xff\xff")]


def count_that_lies(server: DnsServer, query: bytes, response: dns.message.Message, way: str) -> list[bytes]:
    return [with_owner(response, b"\xc0\x0c", 65535)]


def rcode(code: int) -> Trick:
    def trick(server: DnsServer, query: bytes, response: dns.message.Message, way: str) -> list[bytes]:
        response.answer, response.authority = [], []
        response.set_rcode(code)  # type: ignore[arg-type]
        return [good(response)]

    return trick


def lame(server: DnsServer, query: bytes, response: dns.message.Message, way: str) -> list[bytes]:
    response.flags &= ~(dns.flags.RA | dns.flags.AA)
    response.answer, response.authority = [], rrsets(["test. 60 IN NS elsewhere.test."])
    return [good(response)]


def silence(server: DnsServer, query: bytes, response: dns.message.Message, way: str) -> list[bytes]:
    return []


USELESS: dict[str, tuple[Trick, str]] = {
    "cut": (cut, "MALFORMED"),
    "pointer-to-itself": (pointer_to_itself, "MALFORMED"),
    "pointer-past-the-end": (pointer_past_the_end, "MALFORMED"),
    "count-that-lies": (count_that_lies, "MALFORMED"),
    "servfail": (rcode(2), "SERVFAIL"),
    "refused": (rcode(5), "REFUSED"),
    "notauth": (rcode(9), "NOTAUTH"),
    "lame": (lame, "LAME"),
    "silence": (silence, "TIMEOUT"),
}
RECORDS = {(f"{label}.test.", "A"): [f"{label}.test. 60 IN A {GOOD}"] for label in [*HARMLESS, *USELESS, "good"]}


@pytest.fixture
def bad(hub: Hub) -> Iterator[DnsServer]:
    """A server that answers as the first label of the name says."""
    with dns_server(RECORDS, {**HARMLESS, **{name: trick for name, (trick, _) in USELESS.items()}}) as server:
        yield server


@pytest.fixture
def fine(hub: Hub) -> Iterator[DnsServer]:
    """A server with the same names, that answers well."""
    with dns_server(RECORDS) as server:
        yield server


def ask(hub: Hub, name: str, *servers: DnsServer, options: AskOptions = OPTIONS, kind: str = "A") -> Result:
    asker = Asker(hub)
    try:
        return asker.ask(make_question(name, kind), [each.server for each in servers], options)
    finally:
        asker.close()


def addresses(result: Result) -> list[str]:
    return [record.data for record in result.reply.answer] if result.reply is not None else []


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_no_answer_to_the_question_is_ignored(hub: Hub, bad: DnsServer, name: str) -> None:
    result = ask(hub, f"{name}.test", bad)
    assert addresses(result) == [GOOD]
    assert result.tries == 1


@pytest.mark.parametrize("name", USELESS)
def test_a_server_that_is_of_no_use_is_named_and_the_next_one_asked(
    hub: Hub, clock: JumpClock, bad: DnsServer, fine: DnsServer, name: str
) -> None:
    result = ask(hub, f"{name}.test", bad, fine)
    assert addresses(result) == [GOOD]
    assert [(each.server, each.status) for each in result.complaints] == [(bad.server, USELESS[name][1])]


@pytest.mark.parametrize("name", USELESS)
def test_without_a_better_server_the_result_says_what_was_wrong(
    hub: Hub, clock: JumpClock, bad: DnsServer, name: str
) -> None:
    result = ask(hub, f"{name}.test", bad)
    assert (result.status, result.reply, result.tries) == (USELESS[name][1], None, 2)


def test_silence_takes_as_long_as_the_rounds_say(hub: Hub, clock: JumpClock, bad: DnsServer) -> None:
    assert ask(hub, "silence.test", bad).status == "TIMEOUT"
    assert clock.now() == pytest.approx(2 + 4, abs=0.05)  # the second round waits twice as long


def test_a_shorter_timeout_is_kept_beside_a_longer_one(hub: Hub, clock: JumpClock, bad: DnsServer) -> None:
    asker = Asker(hub)
    question = make_question("silence.test", "A")
    patient = spawn(asker.ask, question, [bad.server], AskOptions(timeout=10, attempts=1))
    wait_all_blocked()
    assert asker.ask(question, [bad.server], AskOptions(timeout=1, attempts=1)).status == "TIMEOUT"
    assert clock.now() == pytest.approx(1, abs=0.05)
    assert patient.wait().status == "TIMEOUT"
    assert clock.now() == pytest.approx(10, abs=0.05)


def test_the_last_round_after_silence_goes_without_edns(hub: Hub, clock: JumpClock, bad: DnsServer) -> None:
    ask(hub, "silence.test", bad)
    assert [query.edns for query in bad.queries] == [0, -1]


def test_a_late_answer_is_ignored_and_does_no_harm(hub: Hub, clock: JumpClock) -> None:
    def late(server: DnsServer, query: bytes, response: dns.message.Message, way: str) -> list[bytes]:
        if len(server.asked) > 1:
            return [good(response)]
        greens.append(spawn_after(2.5, server.send_udp, good(forged(response))))
        return []

    greens: list[object] = []
    with dns_server({("late.test.", "A"): [f"late.test. 60 IN A {GOOD}"]}, {"late": late}) as server:
        assert addresses(ask(hub, "late.test", server)) == [GOOD]
        clock.advance(3)


def test_a_server_that_nobody_runs_is_passed_at_once(hub: Hub, clock: JumpClock, fine: DnsServer) -> None:
    with closing(socket(AF_INET, SOCK_DGRAM)) as sock:
        sock.bind(("127.0.0.53", 0))
        nobody = Server(*sock.getsockname())
    result = Asker(hub).ask(make_question("good.test", "A"), [nobody, fine.server], OPTIONS)
    assert addresses(result) == [GOOD]
    assert str(result.complaints[0]) == f"{nobody}: Connection refused"
    assert clock.now() == 0


def test_edns_that_is_not_understood_is_left_out_and_not_tried_again(hub: Hub) -> None:
    def old(server: DnsServer, query: bytes, response: dns.message.Message, way: str) -> list[bytes]:
        return rcode(1)(server, query, response, way) if server.queries[-1].edns >= 0 else [good(response)]

    with dns_server({("old.test.", "A"): [f"old.test. 60 IN A {GOOD}"]}, {"old": old}) as server:
        asker = Asker(hub)
        for _ in range(2):
            result = asker.ask(make_question("old.test", "A"), [server.server], OPTIONS)
            assert addresses(result) == [GOOD]
        assert [query.edns for query in server.queries] == [0, -1, -1]


def test_formerr_without_a_question_is_understood(hub: Hub) -> None:
    def ancient(server: DnsServer, query: bytes, response: dns.message.Message, way: str) -> list[bytes]:
        return [query[:2] + b"\x81\x81" + bytes(8)] if server.queries[-1].edns >= 0 else [good(response)]

    with dns_server({("old.test.", "A"): [f"old.test. 60 IN A {GOOD}"]}, {"old": ancient}) as server:
        assert addresses(ask(hub, "old.test", server)) == [GOOD]


def test_ids_and_ports_are_others_each_time(hub: Hub, fine: DnsServer) -> None:
    asker = Asker(hub)
    peers, ids = set(), set()
    for _ in range(10):
        asker.ask(make_question("good.test", "A"), [fine.server], OPTIONS)
        peers.add(fine.peer)
        ids.add(fine.queries[-1].id)
        wait_all_blocked()  # nothing is under way any more: the socket goes
    assert len(ids) > 5
    assert len(peers) > 5


# -- truncation


def truncated(server: DnsServer, query: bytes, response: dns.message.Message, way: str) -> list[bytes]:
    if way == "tcp":
        return [good(response)]
    response.flags |= dns.flags.TC
    return [good(response)[:-7]]  # in the middle of a record, as some do


def test_a_truncated_answer_is_asked_for_over_tcp(hub: Hub) -> None:
    texts = [f'big.test. 60 IN TXT "{number:04} {"x" * 240}"' for number in range(240)]
    with dns_server({("big.test.", "TXT"): texts}, {"big": truncated}) as server:
        result = ask(hub, "big.test", server, kind="TXT")
    assert len(addresses(result)) == 240
    assert (result.protocol, [way for _, _, way in server.asked]) == ("tcp", ["udp", "tcp"])


def test_a_server_whose_tcp_hangs_up_is_of_no_use(hub: Hub) -> None:
    def without_tcp(server: DnsServer, query: bytes, response: dns.message.Message, way: str) -> list[bytes]:
        return [] if way == "tcp" else truncated(server, query, response, way)

    with dns_server({("big.test.", "A"): [f"big.test. 60 IN A {GOOD}"]}, {"big": without_tcp}) as server:
        result = ask(hub, "big.test", server)
    assert (result.status, result.complaints[0].detail) == ("UNREACHABLE", "the server closed the connection")


def test_a_silent_tcp_server_is_given_up_in_time(hub: Hub, clock: JumpClock) -> None:
    def slow(server: DnsServer, query: bytes, response: dns.message.Message, way: str) -> list[bytes]:
        if way == "tcp":
            hub.sleep(3600)
        return truncated(server, query, response, way)

    with dns_server({("big.test.", "A"): [f"big.test. 60 IN A {GOOD}"]}, {"big": slow}) as server:
        result = ask(hub, "big.test", server, options=AskOptions(timeout=2, attempts=1))
    assert result.status == "TIMEOUT"
    assert clock.now() == pytest.approx(2, abs=0.05)


def test_questions_over_tcp_share_a_connection(hub: Hub, fine: DnsServer) -> None:
    options = AskOptions(use_tcp=True)
    asker = Asker(hub)
    greens = [spawn(asker.ask, make_question(name, "A"), [fine.server], options) for name in ("good.test", "cut.test")]
    assert [addresses(green.wait()) for green in greens] == [[GOOD], [GOOD]]
    assert len(fine._greens) == 3  # the two that listen, and one connection


def test_a_query_that_a_server_hangs_up_on_does_no_harm_to_others(hub: Hub) -> None:
    def hang_up(server: DnsServer, query: bytes, response: dns.message.Message, way: str) -> list[bytes]:
        return []

    with dns_server(RECORDS, {"cut": hang_up}) as server:
        asker = Asker(hub)
        options = AskOptions(use_tcp=True, attempts=1)
        names = ("good.test", "cut.test", "lame.test")
        greens = [spawn(asker.ask, make_question(name, "A"), [server.server], options) for name in names]
        results = [green.wait() for green in greens]
    assert [each.status for each in results] == ["NOERROR", "UNREACHABLE", "NOERROR"]


class Deaf:
    """Servers that take the first query of a connection and read nothing more; `path` is the way to them."""

    def __init__(self, hub: Hub) -> None:
        self.path = StreamPath(hub, self._connect)
        self.pairs: list[tuple[socket, socket]] = []
        self.first = self._ask(60)
        wait_all_blocked()
        ours, _ = self.pairs[0]
        ours.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                ours.send(bytes(1000))
        ours.setblocking(True)
        self.second = self._ask(2)
        wait_all_blocked()

    def _connect(self, timeout: float) -> socket:
        self.pairs.append(socketpair())
        return self.pairs[-1][0]

    def _ask(self, timeout: float) -> GreenThread:
        return spawn(self.path.exchange, b"query", b"question", timeout)

    def close(self) -> None:
        for green in (self.first, self.second):
            green.kill()
            green.join()
        for _, theirs in self.pairs:
            theirs.close()


@pytest.fixture
def deaf(hub: Hub, clock: JumpClock) -> Iterator[Deaf]:
    with closing(Deaf(hub)) as deaf:
        yield deaf


def test_a_server_that_reads_no_more_is_given_up_in_time(deaf: Deaf, clock: JumpClock) -> None:
    with pytest.raises(TimeoutError):
        deaf.second.wait()
    assert clock.now() == 2
    wait_all_blocked()
    assert len(deaf.pairs) == 2  # for the first, whose connection that was


@pytest.mark.fifo
def test_behind_half_a_query_nothing_is_sent(deaf: Deaf) -> None:
    deaf.second.kill()
    wait_all_blocked()
    third = deaf._ask(60)
    wait_all_blocked()
    third.kill()
    third.join()
    assert [ours.fileno() < 0 for ours, _ in deaf.pairs] == [True, False, True]


def test_a_socket_that_cannot_be_waited_for_is_of_no_use(
    hub: Hub, fine: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> bool:
        raise OSError(ENOSPC, os.strerror(ENOSPC))  # fs.epoll.max_user_watches

    wait_all_blocked()
    monkeypatch.setattr(Poller, "register", refuse)
    result = with_timeout(5, ask, hub, "good.test", fine, options=AskOptions(attempts=1))
    assert (result.status, result.complaints[0].detail) == ("UNREACHABLE", "No space left on device")


def test_no_question_of_many_waits_longer_for_a_dead_server_than_its_timeout(hub: Hub, clock: JumpClock) -> None:
    """More than may be under way to one server: some stand in line, and get a place too late."""
    names = [f"n{number}.test." for number in range(250)]
    records = {(name, "A"): [f"{name} 60 IN A {GOOD}"] for name in names}
    tricks: dict[str, Trick] = dict.fromkeys((name.partition(".")[0] for name in names), silence)
    with dns_server(records, tricks) as dead, dns_server(records) as good:
        asker = Asker(hub)
        servers, options = [dead.server, good.server], AskOptions(timeout=1, attempts=2)
        greens = []
        for name in names:
            greens.append(spawn(asker.ask, make_question(name, "A"), servers, options))
            if len(greens) == 100:
                wait_all_blocked()
                clock.advance(0.1)
        assert {green.wait().status for green in greens} == {"NOERROR"}
        assert clock.now() == pytest.approx(1.1, abs=0.05)


# -- mixed case


def test_letters_are_sent_in_mixed_case_and_come_back_as_they_were_asked(hub: Hub, fine: DnsServer) -> None:
    options = AskOptions(mixes_case=True)
    name = "pointer-past-the-end.test"
    assert ask(hub, name, fine, options=options).reply.answer[0].name == f"{name}."  # type: ignore[union-attr]
    (asked, _, _), *_ = fine.asked
    assert asked != asked.lower()
    assert asked.lower() == f"{name}."


def test_an_answer_in_another_case_is_asked_for_over_tcp(hub: Hub) -> None:
    def lower(server: DnsServer, query: bytes, response: dns.message.Message, way: str) -> list[bytes]:
        wire = good(response if way == "tcp" else forged(response))
        return [wire[:12] + wire[12:36].lower() + wire[36:]]

    with dns_server({("lower-case-letters.test.", "A"): [f"lower-case-letters.test. 60 IN A {GOOD}"]},
                    {"lower-case-letters": lower}) as server:  # fmt: skip
        result = ask(hub, "lower-case-letters.test", server, options=AskOptions(mixes_case=True))
    assert (addresses(result), result.protocol) == ([GOOD], "tcp")


# -- what a resolver makes of it


def chain_of(length: int) -> list[str]:
    return [f"c{number}.test. 60 IN CNAME c{number + 1}.test." for number in range(length)]


def resolver_of(*servers: DnsServer, clock: JumpClock | None = None) -> Resolver:
    return Resolver(
        [server.server for server in servers],
        hosts_path=os.devnull,
        conf_path=os.devnull,
        clock=clock.now if clock is not None else monotonic,
    )


def test_aliases_in_a_circle_end_in_an_error(hub: Hub) -> None:
    circle = ["c0.test. 60 IN CNAME c1.test.", "c1.test. 60 IN CNAME c0.test."]
    with dns_server({("c0.test.", "CNAME"): circle}) as server:
        fact = resolver_of(server).look_up("c0.test", "A")
    assert (fact.status, fact.data) == ("MALFORMED", ())
    assert "circle" in fact.reason


def test_aliases_in_a_circle_over_several_answers_end_too(hub: Hub) -> None:
    with dns_server({("a.test.", "CNAME"): ["a.test. 60 IN CNAME b.test."],
                     ("b.test.", "CNAME"): ["b.test. 60 IN CNAME a.test."]}) as server:  # fmt: skip
        assert resolver_of(server).look_up("a.test", "A").status == "MALFORMED"
    assert len(server.asked) <= 20


def test_too_many_aliases_end_in_an_error(hub: Hub) -> None:
    with dns_server({("c0.test.", "CNAME"): chain_of(30)}) as server:
        assert resolver_of(server).look_up("c0.test", "A").status == "MALFORMED"


def test_an_alias_that_the_server_did_not_follow_is_followed(hub: Hub) -> None:
    with dns_server({("a.test.", "CNAME"): ["a.test. 30 IN CNAME good.test."], **RECORDS}) as server:
        fact = resolver_of(server).look_up("a.test", "A")
    assert (fact.data, fact.canonical, fact.aliases, fact.ttl) == ((GOOD,), "good.test.", ("a.test.",), 30)


def test_a_name_that_does_not_exist_has_no_addresses_whatever_comes_with_it(hub: Hub) -> None:
    def generous(server: DnsServer, query: bytes, response: dns.message.Message, way: str) -> list[bytes]:
        response.set_rcode(dns.rcode.NXDOMAIN)
        return [good(response)]

    with dns_server({("no.test.", "A"): [f"no.test. 60 IN A {FORGED}"]}, {"no": generous}) as server:
        found = resolver_of(server).find("no.test")
    assert (found.status, found.addresses) == ("NXDOMAIN", ())


def test_records_of_other_names_are_never_believed(hub: Hub) -> None:
    def poisoning(server: DnsServer, query: bytes, response: dns.message.Message, way: str) -> list[bytes]:
        response.answer += rrsets([f"good.test. 600 IN A {FORGED}"])
        response.additional += rrsets([f"good.test. 600 IN A {FORGED}"])
        return [good(response)]

    with dns_server(RECORDS | {("bad.test.", "A"): [f"bad.test. 60 IN A {GOOD}"]}, {"bad": poisoning}) as server:
        resolver = resolver_of(server)
        assert resolver.look_up("bad.test", "A").data == (GOOD,)
        assert resolver.look_up("good.test", "A").data == (GOOD,)


def test_a_dead_first_server_costs_one_lookup_its_timeout_and_later_ones_nothing(
    hub: Hub, clock: JumpClock, bad: DnsServer, fine: DnsServer
) -> None:
    bad.tricks = {name.removesuffix(".test."): silence for name, _ in RECORDS}
    resolver = resolver_of(bad, fine, clock=clock)
    greens = [spawn(resolver.look_up, f"{name}.test", "A") for name in HARMLESS]
    assert all(green.wait().data == (GOOD,) for green in greens)
    assert clock.now() == pytest.approx(5, abs=0.05)
    for name in USELESS:
        assert resolver.look_up(f"{name}.test", "A").data == (GOOD,)
    assert clock.now() == pytest.approx(5, abs=0.05)


def test_an_asker_that_is_killed_leaves_nothing_behind(hub: Hub, clock: JumpClock, bad: DnsServer) -> None:
    asker = Asker(hub)
    green = spawn(asker.ask, make_question("silence.test", "A"), [bad.server], OPTIONS)
    wait_all_blocked()
    green.kill()
    green.join()
    assert addresses(asker.ask(make_question("good.test", "A"), [bad.server], OPTIONS)) == [GOOD]
