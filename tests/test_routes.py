"""Where a client connects when its user says so: `-4`, `-6`, `--resolve`, `--connect-to`."""

import json
from socket import AF_INET, AF_INET6
from typing import Any

import pytest
from fakes import ok, recording_server, web_server

from greenprobe.cli import cli, run
from greenprobe.errors import TargetError
from greenprobe.http.connections import Address
from greenprobe.http.connector import resolve_name
from greenprobe.http.routes import Detour, Known, Routes, read_detour, read_known


def asked(host: str, port: int, timeout: float) -> list[Address]:
    """Answer with what was asked for."""
    return [Address(AF_INET6 if ":" in host else AF_INET, (host, port))]


def found(routes: Routes, host: str, port: int) -> list[Any]:
    return [address.sockaddr for address in routes(host, port, 1.0)]


@pytest.mark.parametrize(
    ("text", "known"),
    (
        ("h.test:80:192.0.2.1", Known("h.test", 80, ("192.0.2.1",))),
        ("H.test:443:192.0.2.1,[::1], ::2", Known("h.test", 443, ("192.0.2.1", "::1", "::2"))),
        ("*:80:2001:db8::1", Known(None, 80, ("2001:db8::1",))),
        ("[2001:db8::9]:80:192.0.2.1", Known("2001:db8::9", 80, ("192.0.2.1",))),
        ("bücher.test:80:192.0.2.1", Known("xn--bcher-kva.test", 80, ("192.0.2.1",))),
    ),
)
def test_addresses_are_read_as_curl_reads_them(text: str, known: Known) -> None:
    assert read_known(text) == known


@pytest.mark.parametrize(
    ("text", "detour"),
    (
        ("a:1:b:2", Detour("a", 1, "b", 2)),
        ("::b:2", Detour(None, None, "b", 2)),
        ("a:1::2", Detour("a", 1, None, 2)),
        ("a::[::1]:", Detour("a", None, "::1", None)),
    ),
)
def test_detours_are_read_as_curl_reads_them(text: str, detour: Detour) -> None:
    assert read_detour(text) == detour


@pytest.mark.parametrize(
    ("text", "said"),
    (
        ("h", "is not HOST:PORT:ADDRESS"),
        ("h:80", "is not HOST:PORT:ADDRESS"),
        ("-h:80", "is not HOST:PORT:ADDRESS"),
        ("h:80:", "is not HOST:PORT:ADDRESS"),
        ("h:80:other", "has 'other' where an address belongs"),
        ("h:80:192.0.2.1,", "has '' where an address belongs"),
        (":80:192.0.2.1", "has '' for a host"),
        ("h h:80:192.0.2.1", "has 'h h' for a host"),
        ("h:0:192.0.2.1", "has the port 0"),
        ("h:99999:192.0.2.1", "has the port 99999"),
    ),
)
def test_what_says_no_address_is_refused(text: str, said: str) -> None:
    with pytest.raises(TargetError, match=said):
        read_known(text)


@pytest.mark.parametrize("text", ("h", "a:1:b", "a:b:c:d", "a:1:b:2:c", "a:1:::1:2", "a:0:b:1", "a b:1:c:2"))
def test_what_is_no_detour_is_refused(text: str) -> None:
    with pytest.raises(TargetError, match=r"is not HOST:PORT:HOST:PORT|has the port 0|has 'a b' for a host"):
        read_detour(text)


def test_the_first_rule_that_fits_holds_and_all_else_is_looked_up() -> None:
    known = [read_known("h:80:192.0.2.1,::1"), read_known("*:80:192.0.2.2")]
    routes = Routes(asked, known=known, detours=[read_detour("a:81:h:80"), read_detour("a:::82")])
    assert found(routes, "h", 80) == [("192.0.2.1", 80), ("::1", 80)]
    assert found(routes, "other", 80) == [("192.0.2.2", 80)]
    assert found(routes, "h", 443) == [("h", 443)]
    assert found(routes, "a", 81) == [("192.0.2.1", 80), ("::1", 80)]
    assert found(routes, "a", 80) == [("a", 82)]


@pytest.mark.parametrize(("family", "host"), ((AF_INET, "::1"), (AF_INET6, "127.0.0.1")))
def test_an_address_of_the_other_family_is_not_connected_to(family: int, host: str) -> None:
    with pytest.raises(OSError, match="Address family"):
        resolve_name(host, 80, 1.0, family=family)


def statuses(text: str) -> list[int | None]:
    return [json.loads(line)["status"] for line in text.splitlines()]


@pytest.mark.parametrize("command", ("fetch", "crawl"))
def test_a_command_connects_where_it_is_told_to(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    with web_server(lambda _: ok()) as port:
        for words in (
            ["-4", f"http://localhost:{port}/"],
            ["--resolve", f"h.test:{port}:127.0.0.1", f"http://h.test:{port}/"],
            ["--connect-to", f"h.test:80:127.0.0.1:{port}", "http://h.test/"],
        ):
            assert run(cli, [command, *words]) == 0
            assert statuses(capfd.readouterr().out) == [200], words


def test_a_detour_asks_for_the_host_of_the_url() -> None:
    seen: list[bytes] = []
    with recording_server(seen) as port:
        run(cli, ["fetch", "--connect-to", f"h.test:80:127.0.0.1:{port}", "http://h.test/"])
    assert seen[0].splitlines()[1] == b"Host: h.test"


def test_no_private_looks_at_the_address_that_is_given(capfd: pytest.CaptureFixture[str]) -> None:
    with web_server(lambda _: ok()) as port:
        words = ["--no-private", "--resolve", f"h.test:{port}:127.0.0.1", f"http://h.test:{port}/"]
        run(cli, ["fetch", *words, "--fields", "error"])
    assert json.loads(capfd.readouterr().out) == {"error": "ForbiddenAddress"}


@pytest.mark.parametrize(
    ("words", "said"),
    (
        (["-4", "-6"], "-4 and -6 leave no address"),
        (["-6", "--resolve", "h:80:192.0.2.1"], "has no IPv6 address, and -6 takes no other"),
        (["--resolve", "h:80"], "'--resolve': 'h:80' is not HOST:PORT:ADDRESS"),
        (["--connect-to", "h:80"], "'--connect-to': 'h:80' is not HOST:PORT:HOST:PORT"),
    ),
)
def test_rules_that_leave_nothing_are_a_usage_error(
    words: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(cli, ["fetch", *words, "http://h/"]) == 2
    assert said in capfd.readouterr().err
