"""`--dns`: commands that meet hosts by name ask whom they are told to."""

import json
from collections.abc import Iterator
from pathlib import Path
from socket import create_server

import pytest
from dns_servers import DnsServer, dns_server
from fakes import ok, web_server

from greenprobe.cli import cli, run
from greenprobe.hub import Hub

RECORDS = {("only.here.", "A"): ["only.here. 60 IN A 127.0.0.1"]}


@pytest.fixture
def server(hub: Hub) -> Iterator[DnsServer]:
    with dns_server(RECORDS) as server:
        yield server


@pytest.fixture
def port(hub: Hub) -> Iterator[int]:
    with web_server(lambda path: ok(b"<p>page", "Content-Type: text/html")) as port:
        yield port


def test_fetch_asks_the_servers_it_is_told(server: DnsServer, port: int, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["fetch", f"http://only.here:{port}/", "--dns", str(server.server)]) == 0
    assert json.loads(capfd.readouterr().out)["status"] == 200
    assert {kind for _, kind, _ in server.asked} == {"A", "AAAA"}


@pytest.mark.slow
def test_the_processes_of_a_fetch_ask_them_too(server: DnsServer, port: int, capfd: pytest.CaptureFixture[str]) -> None:
    """Slow: starts two interpreters."""
    words = ["fetch", f"http://only.here:{port}/", "--dns", str(server.server), "--processes", "2"]
    assert run(cli, words) == 0
    assert json.loads(capfd.readouterr().out)["status"] == 200


def test_crawl_asks_the_servers_it_is_told(server: DnsServer, port: int, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["crawl", f"http://only.here:{port}/", "--dns", str(server.server)]) == 0
    assert json.loads(capfd.readouterr().out)["status"] == 200


def test_scan_asks_the_servers_it_is_told(server: DnsServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "servers").write_text(f"# ours\nnameserver {server.server}\n")
    with create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        assert run(cli, ["scan", "only.here", port, "--dns", str(tmp_path / "servers"), "--format", "jsonl"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert (found["host"], found["ip"], found["state"]) == ("only.here", "127.0.0.1", "open")


def test_a_name_that_they_do_not_know_is_an_error_that_names_them(
    server: DnsServer, capfd: pytest.CaptureFixture[str]
) -> None:
    run(cli, ["fetch", "http://elsewhere.test/", "--dns", str(server.server)])
    assert str(server.server) in json.loads(capfd.readouterr().out)["error"]["message"]
    assert run(cli, ["scan", "elsewhere.test", "80", "--dns", str(server.server)]) == 2
    assert "elsewhere.test" in capfd.readouterr().err


@pytest.mark.parametrize("command", [["fetch", "http://a.test/"], ["crawl", "a.test"], ["scan", "a.test", "80"]])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("nonsense", "name server 'nonsense' is no address"),
        ("quic://127.0.0.1", "the protocol is none of udp, tcp, tls, https"),
        (",", "',' names no server"),
    ],
)
def test_what_is_no_server_is_refused_at_once(
    command: list[str], words: str, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(cli, [*command, "--dns", words]) == 2
    assert message in capfd.readouterr().err
