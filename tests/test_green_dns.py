"""Names to addresses: numbers at once, libc in a thread, caches, the shapes and errors of the standard library."""

import socket as stdlib
import subprocess
import sys
from collections.abc import Iterator
from socket import AF_INET, AF_INET6, AF_UNSPEC, EAI_AGAIN, EAI_NONAME, SOCK_STREAM, gaierror
from typing import Any

import pytest

from greenprobe import green_dns, names
from greenprobe.green_dns import Answer, CachedResolver, ThreadResolver, getaddrinfo
from greenprobe.greenthread import sleep, spawn
from greenprobe.outcome import AsyncResult, Outcome
from greenprobe.testing import JumpClock, wait_all_blocked


class FakeResolver(CachedResolver):
    """Answers when it is told to."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.asked: list[tuple[str, int]] = []
        self.open: list[AsyncResult[Answer]] = []

    def _ask(self, host: str, family: int) -> Outcome[Answer]:
        self.asked.append((host, family))
        self.open.append(AsyncResult())
        return self.open[-1]


class NoResolver:
    def resolve(self, host: str, family: int = AF_UNSPEC, timeout: float | None = None) -> list[str]:
        raise AssertionError(f"asked for {host}")


class TableResolver:
    """Knows its names by heart."""

    def __init__(self, **table: list[str]) -> None:
        self.table = table

    def resolve(self, host: str, family: int = AF_UNSPEC, timeout: float | None = None) -> list[str]:
        return self.table[host]


# -- numbers


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "fe80::1%lo", b"10.0.0.1", "127.1", None, "0x7f000001"])
@pytest.mark.parametrize("kind", [0, SOCK_STREAM])
def test_a_numeric_host_is_answered_as_by_libc_without_asking_anybody(host: Any, kind: int) -> None:
    expected = stdlib.getaddrinfo(host, 80, 0, kind)
    assert getaddrinfo(host, 80, 0, kind, resolver=NoResolver()) == expected


def test_service_names_and_flags_go_to_libc() -> None:
    assert getaddrinfo(None, "http", type=SOCK_STREAM, flags=stdlib.AI_PASSIVE) == stdlib.getaddrinfo(
        None, "http", type=SOCK_STREAM, flags=stdlib.AI_PASSIVE
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("127.0.0.1", 80, AF_INET6),
        ("name", 80, 0, 0, 0, stdlib.AI_NUMERICHOST),
        ("127.0.0.1", "no-such-service"),
        ("127.0.0.1", 80, 9999),
    ],
)
def test_what_cannot_be_parsed_raises_libcs_error(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(gaierror) as expected:
        stdlib.getaddrinfo(*arguments)
    with pytest.raises(gaierror) as raised:
        getaddrinfo(*arguments, resolver=NoResolver())
    assert raised.value.args == expected.value.args


# -- shapes


def test_a_name_is_answered_in_the_shape_of_libc() -> None:
    resolver = TableResolver(both=["::1", "127.0.0.1"])
    found = getaddrinfo("both", 80, type=SOCK_STREAM, resolver=resolver)
    assert found == [
        *stdlib.getaddrinfo("::1", 80, 0, SOCK_STREAM),
        *stdlib.getaddrinfo("127.0.0.1", 80, 0, SOCK_STREAM),
    ]
    assert {type(info[0]) for info in found} == {stdlib.AddressFamily}
    assert len(getaddrinfo("both", 80, resolver=resolver)) == 6  # stream, datagram and raw for each, as libc has it


def test_the_canonical_name_is_in_the_first_entry_only() -> None:
    found = getaddrinfo("a", 1, type=SOCK_STREAM, flags=stdlib.AI_CANONNAME, resolver=TableResolver(a=["::1", "::2"]))
    assert [info[3] for info in found] == ["a", ""]


def test_an_international_name_is_asked_for_in_ascii() -> None:
    resolver = TableResolver(**{"xn--bcher-kva.test": ["::1"]})
    assert getaddrinfo("b\u00fccher.test", 1, type=SOCK_STREAM, resolver=resolver)[0][4][0] == "::1"


# -- asking once


def test_many_who_ask_the_same_are_one_question() -> None:
    resolver = FakeResolver()
    greens = [spawn(resolver.resolve, name) for name in ("Host", "host", "HOST")]
    wait_all_blocked()
    assert resolver.asked == [("host", AF_UNSPEC)]
    resolver.open[0].set(Answer(("1.2.3.4",), 60))
    assert [green.wait() for green in greens] == [["1.2.3.4"]] * 3


def test_one_asker_that_is_killed_does_not_spoil_it_for_the_others() -> None:
    resolver = FakeResolver()
    first, second = (spawn(resolver.resolve, "host") for _ in range(2))
    wait_all_blocked()
    first.kill()
    sleep(0)
    resolver.open[0].set(Answer(("1.2.3.4",), 60))
    assert second.wait() == ["1.2.3.4"]


def test_a_timeout_is_the_askers_own(clock: JumpClock) -> None:
    resolver = FakeResolver()
    patient = spawn(resolver.resolve, "host", timeout=60)
    with pytest.raises(TimeoutError):
        resolver.resolve("host", timeout=5)
    assert clock.now() == 5
    resolver.open[0].set(Answer(("::1",), 60))
    assert patient.wait() == ["::1"]


def test_an_answer_holds_for_its_time_to_live(clock: JumpClock) -> None:
    resolver = FakeResolver(clock=clock.now)
    for number in range(2):
        green = spawn(resolver.resolve, "host")
        wait_all_blocked()
        resolver.open[number].set(Answer((f"1.2.3.{number}",), 60))
        assert green.wait() == [f"1.2.3.{number}"]
        clock.advance(59)
        assert resolver.resolve("host") == [f"1.2.3.{number}"]
        clock.advance(1)
    assert len(resolver.asked) == 2


@pytest.mark.parametrize(("code", "remembered"), [(EAI_NONAME, True), (EAI_AGAIN, False)])
def test_a_failure_is_remembered_only_if_it_is_about_the_name(clock: JumpClock, code: int, remembered: bool) -> None:
    resolver = FakeResolver(clock=clock.now)
    green = spawn(resolver.resolve, "host")
    wait_all_blocked()
    resolver.open[0].set_exception(gaierror(code, "why"))
    with pytest.raises(gaierror, match="why"):
        green.wait()
    again = spawn(resolver.resolve, "host")
    wait_all_blocked()
    assert len(resolver.asked) == (1 if remembered else 2)
    again.kill()
    again.join()


def test_the_cache_forgets_the_oldest() -> None:
    resolver = FakeResolver(size=2)
    for name in "abc":
        green = spawn(resolver.resolve, name)
        wait_all_blocked()
        resolver.open[-1].set(Answer(("::1",), 60))
        green.wait()
    resolver.resolve("c")
    resolver.resolve("b")
    spawn(resolver.resolve, "a", timeout=0).join()
    assert [name for name, _ in resolver.asked] == ["a", "b", "c", "a"]


# -- libc


@pytest.fixture
def libc(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Stand in for libc, so that no question leaves the machine; return the calls."""
    calls: list[tuple[Any, ...]] = []

    def fake(host: str, *rest: Any) -> list[Any]:
        calls.append((host, *rest))
        if host == "nowhere.test":
            raise gaierror(EAI_NONAME, "Name or service not known")
        six = (AF_INET6, SOCK_STREAM, 6, "", ("fe80::1", 0, 0, 1))
        four = (AF_INET, SOCK_STREAM, 6, "", ("127.0.0.1", 0))
        return [six, four, four]

    monkeypatch.setattr(green_dns, "libc_raw", fake)
    return calls


def test_libc_is_asked_once_and_remembered(libc: list[tuple[Any, ...]]) -> None:
    resolver = ThreadResolver()
    assert resolver.resolve("host") == ["fe80::1%1", "127.0.0.1"]
    assert resolver.resolve("host") == ["fe80::1%1", "127.0.0.1"]
    assert libc == [("host", None, AF_UNSPEC, SOCK_STREAM)]


def test_an_ipv6_scope_survives_the_way_back_into_libcs_shape(libc: list[tuple[Any, ...]]) -> None:
    assert getaddrinfo("host", 80, type=SOCK_STREAM, resolver=ThreadResolver())[0][4] == ("fe80::1", 80, 0, 1)


def test_libcs_failure_comes_back_with_its_code(libc: list[tuple[Any, ...]]) -> None:
    with pytest.raises(gaierror) as raised:
        getaddrinfo("nowhere.test", 80, resolver=ThreadResolver())
    assert raised.value.errno == EAI_NONAME


@pytest.mark.usefixtures("libc")
def test_localhost_by_the_real_libc(monkeypatch: pytest.MonkeyPatch) -> None:
    """/etc/hosts knows localhost: no question leaves the machine."""
    monkeypatch.undo()
    mine = {info[4] for info in getaddrinfo("localhost", 80, AF_INET, SOCK_STREAM)}
    assert mine == {info[4] for info in stdlib.getaddrinfo("localhost", 80, AF_INET, SOCK_STREAM)}
    assert green_dns.gethostbyname("localhost") == "127.0.0.1"
    assert green_dns.gethostbyname_ex("localhost")[2] == ["127.0.0.1"]
    assert getaddrinfo("localhost", 80, AF_INET, flags=stdlib.AI_ADDRCONFIG | stdlib.AI_CANONNAME)[0][3] == "localhost"


def test_numeric_name_info_needs_no_thread() -> None:
    flags = stdlib.NI_NUMERICHOST | stdlib.NI_NUMERICSERV
    assert green_dns.getnameinfo(("127.0.0.1", 80), flags) == ("127.0.0.1", "80")


# -- installing


@pytest.fixture
def _restored() -> Iterator[None]:
    yield
    green_dns._resolver = ThreadResolver()
    names.install(None)


@pytest.mark.usefixtures("_restored")
def test_installing_a_resolver_serves_the_sockets_too() -> None:
    resolver = TableResolver(somewhere=["127.0.0.9"])
    before = green_dns.install(resolver)
    assert isinstance(before, ThreadResolver)
    assert names.resolve("somewhere", 80, AF_INET, SOCK_STREAM)[0][4] == ("127.0.0.9", 80)
    assert green_dns.gethostbyname("somewhere") == "127.0.0.9"
    assert green_dns.install(None) is resolver


def test_dnspython_is_not_loaded_unless_it_is_asked_for() -> None:
    program = "import greenprobe.green_dns, sys; sys.exit('dns' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
