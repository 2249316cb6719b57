"""DNS over green sockets, against a green DNS server on loopback: both families, failures, truncation, hosts file."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from socket import AF_INET, AF_INET6, AF_UNSPEC, EAI_AGAIN, EAI_NODATA, EAI_NONAME, SOCK_DGRAM, SOCK_STREAM, gaierror

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from greenprobe.dnspython_resolver import Config, DnspythonResolver, candidates, parse_hosts, read_config
from greenprobe.green_socket import socket
from greenprobe.greenthread import GreenThread, kill, spawn
from greenprobe.hub import Hub
from greenprobe.testing import JumpClock

Answers = dict[tuple[str, str], list[str]]


def bound_to_one_port() -> tuple[socket, socket]:
    """Return a TCP and a UDP socket on the same port, of a loopback address that no client picks by itself."""
    for _ in range(50):
        tcp, udp = socket(AF_INET, SOCK_STREAM), socket(AF_INET, SOCK_DGRAM)
        tcp.bind(("127.0.0.53", 0))
        try:
            udp.bind(tcp.getsockname())
        except OSError:
            tcp.close()
            udp.close()
        else:
            return tcp, udp
    raise AssertionError("no port is free for both TCP and UDP")


class DnsServer:
    """A DNS server on one loopback port, UDP and TCP. `records` maps (name, type) to zone file lines.

    A name that is nowhere in `records` does not exist. `spoil` may change a response, or return None to say nothing.
    """

    def __init__(self, records: Answers) -> None:
        self.records = records
        self.asked: list[tuple[str, str, str]] = []
        self.spoil: Callable[[dns.message.Message], dns.message.Message | None] = lambda response: response
        self.truncates = False
        self._tcp, self._udp = bound_to_one_port()
        self.address = self._tcp.getsockname()
        self._tcp.listen()
        self._greens: list[GreenThread] = [spawn(self._serve_udp), spawn(self._serve_tcp)]

    def close(self) -> None:
        for green in self._greens:
            kill(green)
            green.join()
        self._udp.close()
        self._tcp.close()

    def _serve_udp(self) -> None:
        while True:
            wire, peer = self._udp.recvfrom(4096)
            response = self._respond(wire, "udp")
            if response is not None:
                self._udp.sendto(response.to_wire(), peer)

    def _serve_tcp(self) -> None:
        while True:
            with closing(self._tcp.accept()[0]) as sock:
                response = self._respond(sock.recv(4096)[2:], "tcp")
                assert response is not None
                wire = response.to_wire()
                sock.sendall(len(wire).to_bytes(2, "big") + wire[:5])  # in two parts
                sock.sendall(wire[5:])

    def _respond(self, wire: bytes, way: str) -> dns.message.Message | None:
        query = dns.message.from_wire(wire)
        name, kind = query.question[0].name.to_text(), dns.rdatatype.to_text(query.question[0].rdtype)
        self.asked.append((name, kind, way))
        response = dns.message.make_response(query)
        if not any(known == name for known, _ in self.records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        for line in self.records.get((name, kind), []):
            owner, ttl, _, record, value = line.split()
            response.answer.append(dns.rrset.from_text(owner, int(ttl), "IN", record, value))
        if self.truncates and way == "udp":
            response.answer.clear()
            response.flags |= dns.flags.TC
        return self.spoil(response)


@pytest.fixture
def server(hub: Hub) -> Iterator[DnsServer]:
    server = DnsServer(
        {
            ("four.test.", "A"): ["four.test. 60 IN A 127.0.0.4"],
            ("both.test.", "A"): ["both.test. 60 IN A 127.0.0.4"],
            ("both.test.", "AAAA"): ["both.test. 30 IN AAAA ::1"],
            ("alias.test.", "A"): ["alias.test. 5 IN CNAME four.test.", "four.test. 60 IN A 127.0.0.4"],
            ("empty.test.", "TXT"): [],
        }
    )
    yield server
    server.close()


def make(*servers: DnsServer, path: Path | None = None, search: tuple[str, ...] = ()) -> DnspythonResolver:
    config = Config(tuple(server.address for server in servers), search=search)
    return DnspythonResolver(config, hosts_path=str(path) if path is not None else "/nonexistent")


def failure(resolver: DnspythonResolver, host: str, family: int = AF_UNSPEC) -> int | None:
    with pytest.raises(gaierror) as raised:
        resolver.resolve(host, family)
    return raised.value.errno


def test_a_name_with_one_address_of_one_family_has_it(server: DnsServer) -> None:
    assert make(server).resolve("four.test", AF_INET) == ["127.0.0.4"]
    assert server.asked == [("four.test.", "A", "udp")]


def test_both_families_are_asked_together(server: DnsServer) -> None:
    assert sorted(make(server).resolve("both.test")) == ["127.0.0.4", "::1"]
    assert sorted(kind for _, kind, _ in server.asked) == ["A", "AAAA"]


def test_one_family_without_addresses_is_forgiven(server: DnsServer) -> None:
    assert make(server).resolve("four.test") == ["127.0.0.4"]


def test_an_alias_is_followed_to_its_addresses(server: DnsServer) -> None:
    assert make(server).resolve("alias.test", AF_INET) == ["127.0.0.4"]


def test_the_shortest_time_to_live_of_the_chain_counts(server: DnsServer, clock: JumpClock) -> None:
    resolver = DnspythonResolver(Config((server.address,)), hosts_path="/nonexistent", clock=clock.now)
    resolver.resolve("alias.test", AF_INET)
    clock.advance(4.9)
    resolver.resolve("alias.test", AF_INET)
    assert len(server.asked) == 1
    clock.advance(0.1)
    resolver.resolve("alias.test", AF_INET)
    assert len(server.asked) == 2


@pytest.mark.parametrize(("host", "code"), [("nowhere.test", EAI_NONAME), ("empty.test", EAI_NODATA)])
def test_no_such_name_and_no_such_address_are_told_apart(server: DnsServer, host: str, code: int) -> None:
    assert failure(make(server), host) == code


@pytest.mark.parametrize("host", ["a..b", "x" * 64, "-" * 300])
def test_what_cannot_be_a_name_does_not_exist(server: DnsServer, host: str) -> None:
    assert failure(make(server), host) == EAI_NONAME
    assert server.asked == []


def test_a_truncated_answer_is_asked_for_again_over_tcp(server: DnsServer) -> None:
    server.truncates = True
    assert make(server).resolve("four.test", AF_INET) == ["127.0.0.4"]
    assert [way for _, _, way in server.asked] == ["udp", "tcp"]


@pytest.mark.parametrize("rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED])
def test_a_server_that_cannot_say_is_passed_over(server: DnsServer, rcode: dns.rcode.Rcode) -> None:
    def spoil(response: dns.message.Message) -> dns.message.Message:
        response.set_rcode(rcode)
        return response

    with closing(DnsServer({("four.test.", "A"): []})) as broken:
        broken.spoil = spoil
        assert make(broken, server).resolve("four.test", AF_INET) == ["127.0.0.4"]
        assert len(broken.asked) == 1


def test_a_silent_server_is_passed_over_after_its_time(server: DnsServer, clock: JumpClock) -> None:
    with closing(DnsServer({})) as silent:
        silent.spoil = lambda response: None
        assert make(silent, server).resolve("four.test", AF_INET) == ["127.0.0.4"]
        assert clock.now() == 2


def test_a_port_where_nobody_listens_is_passed_over_at_once(server: DnsServer, clock: JumpClock) -> None:
    gone = DnsServer({})
    gone.close()
    assert make(gone, server).resolve("four.test", AF_INET) == ["127.0.0.4"]
    assert clock.now() == 0


def test_when_no_server_can_say_it_may_be_tried_later(server: DnsServer, clock: JumpClock) -> None:
    server.spoil = lambda response: None
    assert failure(make(server), "four.test", AF_INET) == EAI_AGAIN
    assert len(server.asked) == 2
    assert clock.now() == 4


@pytest.mark.parametrize("fault", ["id", "question"])
def test_an_answer_to_something_else_is_ignored(server: DnsServer, clock: JumpClock, fault: str) -> None:
    def spoil(response: dns.message.Message) -> dns.message.Message:
        if fault == "id":
            response.id ^= 1
        else:
            response.question = dns.message.make_query("other.test", "A").question
        return response

    server.spoil = spoil
    assert failure(make(server), "four.test", AF_INET) == EAI_AGAIN


def test_the_search_list_completes_short_names(server: DnsServer) -> None:
    assert make(server, search=("nope.test", "test")).resolve("four", AF_INET) == ["127.0.0.4"]
    assert [name for name, _, _ in server.asked] == ["four.nope.test.", "four.test."]


def test_the_hosts_file_comes_first_and_is_read_again_when_it_changes(server: DnsServer, tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("127.0.0.7 Mine other # a comment\n::7 mine\n")
    resolver = make(server, path=path)
    assert sorted(resolver.resolve("mine.")) == ["127.0.0.7", "::7"]
    assert resolver.resolve("OTHER", AF_INET) == ["127.0.0.7"]
    path.write_text("127.0.0.77 mine\n")
    resolver.clear()
    assert resolver.resolve("mine.") == ["127.0.0.77"]
    assert server.asked == []


def test_localhost_is_known_without_asking(server: DnsServer) -> None:
    resolver = make(server)
    assert resolver.resolve("localhost", AF_INET) == ["127.0.0.1"]
    assert resolver.resolve("www.localhost", AF_INET6) == ["::1"]
    assert server.asked == []


def test_many_names_are_asked_for_at_once(server: DnsServer) -> None:
    names = [f"n{number}.test." for number in range(100)]
    server.records = {(name, "A"): [f"{name} 60 IN A 127.0.1.{number}"] for number, name in enumerate(names)}
    resolver = make(server)
    greens = [spawn(resolver.resolve, name, AF_INET) for name in names]
    assert [green.wait() for green in greens] == [[f"127.0.1.{number}"] for number in range(100)]


# -- decisions


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("a", ["a.x.", "a.y.z.", "a."]),
        ("a.b", ["a.b.", "a.b.x.", "a.b.y.z."]),
        ("a.", ["a."]),
    ],
)
def test_names_with_dots_are_tried_as_they_are_first(host: str, expected: list[str]) -> None:
    assert candidates(host, ("x", "y.z."), 1) == expected


def test_resolv_conf_is_read(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("# c\nnameserver 127.0.0.2\nnameserver ::1\nsearch a.test b.test\noptions ndots:3 timeout:5\n")
    config = read_config(str(path))
    assert config.servers == (("127.0.0.2", 53), ("::1", 53))
    assert (config.search, config.ndots, config.timeout) == (("a.test", "b.test"), 3, 5)


def test_without_resolv_conf_the_server_is_on_this_machine(tmp_path: Path) -> None:
    assert read_config(str(tmp_path / "none")).servers == (("127.0.0.1", 53),)


def test_a_hosts_file_keeps_the_order_of_its_lines() -> None:
    assert parse_hosts("1.1.1.1 a b\n\n# x\n2.2.2.2\ta#c\n") == {"a": ["1.1.1.1", "2.2.2.2"], "b": ["1.1.1.1"]}
