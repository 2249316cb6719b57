"""Names to addresses: which resolver is chosen, numbers at once, shapes and errors of the standard library."""

import os
import socket as stdlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from socket import AF_INET, AF_INET6, EAI_AGAIN, EAI_NODATA, EAI_NONAME, SOCK_STREAM, gaierror, herror
from traceback import extract_tb
from typing import Any

import pytest
from dns_servers import DnsServer, dns_server

from greenprobe import green_dns, names
from greenprobe.dns.conf import ResolvConf
from greenprobe.dns.family import GreenFamily, ThreadFamily
from greenprobe.dns.interfaces import Interface
from greenprobe.dns.resolver import Resolver
from greenprobe.errors import TargetError
from greenprobe.green_dns import choose, getaddrinfo, is_known
from greenprobe.hub import Hub
from greenprobe.testing import JumpClock

RECORDS = {
    ("four.test.", "A"): ["four.test. 60 IN A 127.0.0.4"],
    ("both.test.", "A"): ["both.test. 60 IN A 127.0.0.4"],
    ("both.test.", "AAAA"): ["both.test. 30 IN AAAA ::1"],
    ("text.test.", "TXT"): ["text.test. 60 IN TXT hello"],
    ("xn--bcher-kva.test.", "A"): ["xn--bcher-kva.test. 60 IN A 127.0.0.8"],
    ("4.0.0.127.in-addr.arpa.", "PTR"): ["4.0.0.127.in-addr.arpa. 60 IN PTR four.test."],
}


@pytest.fixture
def server(hub: Hub) -> Iterator[DnsServer]:
    with dns_server(RECORDS) as server:
        yield server


@pytest.fixture
def resolver(server: DnsServer) -> Iterator[Resolver]:
    resolver = Resolver([server.server], conf=ResolvConf(), hosts_path=os.devnull)
    yield resolver
    resolver.close()


@pytest.fixture
def installed(resolver: Resolver) -> Iterator[Resolver]:
    """A resolver that the module's functions, and sockets, ask."""
    before = green_dns._installed
    green_dns.install(resolver)
    yield resolver
    green_dns._installed = before
    names.install(None)


LOOPBACK = [Interface(AF_INET, "127.0.0.1", 8, 0), Interface(AF_INET6, "::1", 128, 0)]
WIDE = [Interface(AF_INET, "192.0.2.2", 24, 0), Interface(AF_INET6, "2001:db8::2", 64, 0)]


@pytest.mark.parametrize(("here", "kinds"), [(LOOPBACK, ["A"]), (LOOPBACK + WIDE, ["A", "AAAA"])])
def test_who_connects_from_a_machine_without_ipv6_asks_for_ipv4_only(
    server: DnsServer, resolver: Resolver, here: list[Interface], kinds: list[str]
) -> None:
    family = GreenFamily(resolver, look_around=lambda: here)
    assert green_dns.find_to_connect("four.test", 80, resolver=family)[0][4] == ("127.0.0.4", 80)
    assert server.kinds() == kinds


def test_getaddrinfo_tells_all_addresses_also_on_a_machine_without_ipv6(server: DnsServer, resolver: Resolver) -> None:
    family = GreenFamily(resolver, look_around=lambda: LOOPBACK)
    assert [found[4][0] for found in green_dns.find_to_connect("both.test", 80, resolver=family)] == ["127.0.0.4"]
    assert {found[4][0] for found in getaddrinfo("both.test", 80, type=SOCK_STREAM, resolver=family)} == {
        "127.0.0.4",
        "::1",
    }


def test_that_ipv6_came_to_a_machine_is_seen_a_second_later(server: DnsServer, clock: JumpClock) -> None:
    here = list(LOOPBACK)
    resolver = Resolver([server.server], conf=ResolvConf(), hosts_path=os.devnull, clock=clock.now)
    family = GreenFamily(resolver, look_around=lambda: here)
    assert len(green_dns.find_to_connect("both.test", 80, resolver=family)) == 1
    here += WIDE
    clock.advance(1.1)
    assert len(green_dns.find_to_connect("both.test", 80, resolver=family)) == 2


class NobodyAsked(GreenFamily):
    """Fails the test that asks for a name."""

    def __init__(self) -> None:
        super().__init__(Resolver(["127.0.0.1:1"], hosts_path=os.devnull, conf_path=os.devnull))

    def _addresses(self, name: str, *_: Any) -> Any:
        raise AssertionError(f"asked for {name}")


# -- numbers, and what libc knows by itself


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "fe80::1%lo", b"10.0.0.1", "127.1", None, "0x7f000001"])
@pytest.mark.parametrize("kind", [0, SOCK_STREAM])
def test_a_numeric_host_is_answered_as_by_libc_without_asking_anybody(host: Any, kind: int) -> None:
    expected = stdlib.getaddrinfo(host, 80, 0, kind)
    assert getaddrinfo(host, 80, 0, kind, resolver=NobodyAsked()) == expected


@pytest.mark.parametrize(
    "arguments",
    [
        ("127.0.0.1", 80, AF_INET6),
        ("name", 80, 0, 0, 0, stdlib.AI_NUMERICHOST),
        ("127.0.0.1", "no-such-service"),
        ("name", "no-such-service"),
        ("127.0.0.1", 80, 9999),
    ],
)
def test_what_cannot_be_parsed_raises_libcs_error(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(gaierror) as expected:
        stdlib.getaddrinfo(*arguments)
    with pytest.raises(gaierror) as raised:
        getaddrinfo(*arguments, resolver=NobodyAsked())
    assert raised.value.args == expected.value.args


# -- shapes and errors


def test_a_name_is_answered_in_the_shape_of_libc(resolver: Resolver) -> None:
    found = getaddrinfo("both.test", 80, type=SOCK_STREAM, resolver=resolver)
    assert sorted(found) == sorted(
        [*stdlib.getaddrinfo("::1", 80, 0, SOCK_STREAM), *stdlib.getaddrinfo("127.0.0.4", 80, 0, SOCK_STREAM)]
    )
    assert {type(info[0]) for info in found} == {stdlib.AddressFamily}
    assert {type(info[1]) for info in found} == {stdlib.SocketKind}
    assert len(getaddrinfo("both.test", 80, resolver=resolver)) == 6  # stream, datagram and raw for each


def test_ten_thousand_cached_lookups_ask_once_and_each_has_a_list_of_its_own(
    resolver: Resolver, server: DnsServer
) -> None:
    family = GreenFamily(resolver)
    first = getaddrinfo("four.test", 80, AF_INET, resolver=family)
    for _ in range(10_000):
        found = getaddrinfo("four.test", 80, AF_INET, resolver=family)
    assert found == first
    found.clear()
    assert getaddrinfo("four.test", 80, AF_INET, resolver=family) == first
    assert len(server.asked) == 1


def test_what_is_kept_ready_ends_with_its_time_to_live(server: DnsServer, clock: JumpClock) -> None:
    server.records = {("four.test.", "A"): ["four.test. 0 IN A 127.0.0.4"]}
    family = GreenFamily(Resolver([server.server], conf=ResolvConf(), hosts_path=os.devnull, clock=clock.now))
    for _ in range(2):
        getaddrinfo("four.test", 80, AF_INET, resolver=family)
    assert len(server.asked) == 2


def test_a_changed_hosts_file_is_seen_within_a_second(server: DnsServer, clock: JumpClock, tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("127.0.0.7 here.test\n")
    resolver = Resolver([server.server], conf=ResolvConf(), hosts_path=str(path), clock=clock.now)
    family = GreenFamily(resolver)
    assert getaddrinfo("here.test", 80, resolver=family)[0][4] == ("127.0.0.7", 80)
    path.write_text("127.0.0.77 here.test\n")
    clock.advance(1)
    assert getaddrinfo("here.test", 80, resolver=family)[0][4] == ("127.0.0.77", 80)


def test_an_international_name_is_asked_for_in_ascii(resolver: Resolver) -> None:
    assert getaddrinfo("b\u00fccher.test", 1, type=SOCK_STREAM, resolver=resolver)[0][4][0] == "127.0.0.8"


@pytest.mark.parametrize(
    ("name", "code", "detail"),
    [
        ("nowhere.test", EAI_NONAME, "nowhere.test (127.0.0.53:PORT: NXDOMAIN)"),
        ("text.test", EAI_NODATA, "text.test (127.0.0.53:PORT: NOERROR)"),
        ("servfail.test", EAI_AGAIN, "servfail.test (127.0.0.53:PORT: SERVFAIL)"),
    ],
)
def test_a_failure_has_libcs_code_and_says_who_said_what(
    resolver: Resolver, server: DnsServer, name: str, code: int, detail: str
) -> None:
    def servfail(server: DnsServer, query: bytes, response: Any, way: str) -> list[bytes]:
        response.set_rcode(2)
        return [response.to_wire()]

    server.tricks = {"servfail": servfail}
    with pytest.raises(gaierror) as raised:
        getaddrinfo(name, 80, resolver=resolver)
    assert raised.value.errno == code
    assert detail.replace("PORT", str(server.address[1])) in str(raised.value)


def test_each_failure_is_an_exception_of_its_own_though_it_is_remembered(resolver: Resolver, server: DnsServer) -> None:
    raised = []
    for _ in range(3):
        with pytest.raises(gaierror) as caught:
            getaddrinfo("nowhere.test", 80, resolver=resolver)
        raised.append(caught.value)
    assert len({id(error) for error in raised}) == 3
    assert len({len(extract_tb(error.__traceback__)) for error in raised[1:]}) == 1  # one that is kept grows longer
    assert len(server.asked) == len(set(server.asked))  # it was remembered


def test_a_timeout_is_the_callers(resolver: Resolver, server: DnsServer, clock: JumpClock) -> None:
    server.tricks = {"four": lambda *_: []}
    with pytest.raises(TimeoutError):
        getaddrinfo("four.test", 80, resolver=resolver, timeout=1)
    assert clock.now() == pytest.approx(1, abs=0.01)


@pytest.mark.usefixtures("installed")
def test_the_other_functions_ask_the_installed_resolver() -> None:
    assert green_dns.gethostbyname("four.test") == "127.0.0.4"
    assert green_dns.gethostbyname("") == "0.0.0.0"
    assert green_dns.gethostbyname_ex("four.test") == ("four.test", [], ["127.0.0.4"])
    assert green_dns.gethostbyaddr("127.0.0.4") == ("four.test", [], ["127.0.0.4"])
    assert green_dns.getnameinfo(("127.0.0.4", 80), 0) == ("four.test", "http")
    assert green_dns.getnameinfo(("127.0.0.9", 80), 0) == ("127.0.0.9", "http")
    assert green_dns.getfqdn("127.0.0.4") == "four.test"
    with pytest.raises(herror, match="Unknown host"):
        green_dns.gethostbyaddr("127.0.0.9")
    with pytest.raises(gaierror):
        green_dns.getnameinfo(("127.0.0.9", 80), stdlib.NI_NAMEREQD)


def test_multicast_names_are_left_to_libc(
    resolver: Resolver, server: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = GreenFamily(resolver)
    monkeypatch.setattr(family._libc, "look_up", lambda wanted, *_: [wanted])
    assert getaddrinfo("printer.local", 80, resolver=family)[0][0] == "printer.local"  # type: ignore[comparison-overlap]
    assert not server.asked


# -- choosing


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("", True),
        ("hosts: files dns\n", True),
        ("passwd: ldap\nhosts:\tfiles mdns4_minimal [NOTFOUND=return] dns myhostname # as Debian\n", True),
        ("hosts: mymachines resolve [!UNAVAIL=return] files myhostname dns\n", True),
        ("hosts: files ldap dns\n", False),
        ("hosts: dns files\n", False),
        ("hosts: db\n", False),
    ],
)
def test_green_is_the_default_where_libc_would_ask_nobody_else(text: str, known: bool, tmp_path: Path) -> None:
    path = tmp_path / "nsswitch.conf"
    path.write_text(text)
    assert is_known(text) is known
    assert isinstance(choose(nsswitch_path=str(path)), GreenFamily if known else ThreadFamily)


@pytest.mark.parametrize(("word", "expected"), [("green", GreenFamily), ("thread", ThreadFamily)])
def test_the_environment_chooses(monkeypatch: pytest.MonkeyPatch, word: str, expected: type) -> None:
    monkeypatch.setenv("GREENPROBE_RESOLVER", word)
    assert isinstance(choose(), expected)


def test_the_environment_names_servers(monkeypatch: pytest.MonkeyPatch, server: DnsServer) -> None:
    monkeypatch.setenv("GREENPROBE_DNS", str(server.server))
    family = choose(nsswitch_path="/nonexistent")
    assert family.getaddrinfo("four.test.", 80, AF_INET, SOCK_STREAM, 0, 0, None, None)[0][4] == ("127.0.0.4", 80)
    monkeypatch.setenv("GREENPROBE_DNS", "no server")
    with pytest.raises(TargetError, match="name server 'no'"):
        choose()


def test_a_choice_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENPROBE_RESOLVER", "purple")
    with pytest.raises(TargetError, match="'purple' is none of green, thread"):
        choose()


def test_an_installed_resolver_serves_sockets_too(installed: Resolver) -> None:
    assert names.resolve("four.test", 80, AF_INET, SOCK_STREAM)[0][4] == ("127.0.0.4", 80)
    assert isinstance(green_dns.install("thread"), GreenFamily)
    assert isinstance(green_dns._installed, ThreadFamily)


@pytest.mark.parametrize("choice", ["green", "thread"])
def test_localhost_is_as_libc_has_it(choice: Any) -> None:
    """/etc/hosts knows localhost: no question leaves the machine."""
    mine = getaddrinfo("localhost", 80, AF_INET, SOCK_STREAM, resolver=choice)
    assert mine == stdlib.getaddrinfo("localhost", 80, AF_INET, SOCK_STREAM)


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.slow
def test_plain_names_load_no_dnspython_and_numbers_not_even_this_module() -> None:
    """Slow: two interpreters start."""
    look = "print(sorted({'dns', 'idna', 'greenprobe.green_dns'} & set(sys.modules)))"
    connecting = "try: socket().connect(({!r}, 1))\nexcept OSError: pass"
    socks = f"import sys; from greenprobe.green_socket import socket\n{connecting}"
    assert run(f"{socks.format('127.0.0.1')}\n{look}") == "[]"
    assert run(f"{socks.format('localhost')}\n{look}") == "['greenprobe.green_dns']"


@pytest.mark.slow
def test_a_number_is_read_without_the_codec_of_international_names() -> None:
    """Slow: an interpreter starts."""
    program = "import sys; from greenprobe.green_dns import getaddrinfo; getaddrinfo('127.0.0.1', 80)"
    assert run(f"{program}\nprint('encodings.idna' in sys.modules)") == "False"


def test_names_that_sockets_look_up_start_no_thread(installed: Resolver, server: DnsServer) -> None:
    server.records = {(f"n{number}.test.", "A"): [f"n{number}.test. 60 IN A 127.0.0.1"] for number in range(50)}
    before = set(os.listdir("/proc/self/task"))
    for number in range(50):
        names.resolve(f"n{number}.test", 80, 0, SOCK_STREAM)
    assert not set(os.listdir("/proc/self/task")) - before
