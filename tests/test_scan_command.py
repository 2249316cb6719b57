"""`greenprobe scan` as somebody types it: words in, text and an exit code out."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from socket import create_server, socket
from typing import Any

import pytest
from fakes import silent_ports

from greenprobe.cli import cli, run


@pytest.fixture
def opened() -> Iterator[int]:
    """Give a port of 127.0.0.1 where somebody listens."""
    with create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed() -> Iterator[int]:
    """Give a port of 127.0.0.1 where nobody listens, and nobody else can."""
    with socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@pytest.fixture
def silent() -> Iterator[int]:
    """Give one silent port."""
    with silent_ports(1) as ports:
        yield ports[0]


def rows(text: str) -> dict[int, dict[str, Any]]:
    found = [json.loads(line) for line in text.splitlines()]
    return {row["port"]: row for row in found}


def test_the_table_shows_the_ports_and_the_summary_counts_them(
    opened: int, closed: int, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(cli, ["scan", "127.0.0.1", f"{opened},{closed}"]) == 0
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert lines[0] == "127.0.0.1"
    shown = {line.split()[0]: line.split()[1:3] for line in lines[2:]}
    assert shown == {f"{opened}/tcp": ["open", "syn-ack"], f"{closed}/tcp": ["closed", "reset"]}
    assert err.startswith("2 ports in ")
    assert err.endswith(": 1 open, 1 closed\n")


def test_json_lines_hold_every_port_with_its_reason(
    opened: int, closed: int, silent: int, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["scan", "127.0.0.1", f"{opened},{closed},{silent}", "--format", "jsonl", "--timeout", "0.02"]
    assert run(cli, words) == 0
    found = rows(capfd.readouterr().out)
    assert {port: (row["state"], row["reason"]) for port, row in found.items()} == {
        opened: ("open", "syn-ack"),
        closed: ("closed", "reset"),
        silent: ("filtered", "no-response"),
    }
    row = found[opened]
    assert list(row) == ["host", "ip", "port", "proto", "state", "reason", "rtt_ms", "tries", "icmp_from"]
    assert (row["host"], row["ip"], row["proto"], row["tries"]) == ("127.0.0.1", "127.0.0.1", "tcp", 1)
    assert 0 < row["rtt_ms"] < 5000
    assert found[silent]["rtt_ms"] is None
    assert found[silent]["tries"] > 1


def test_open_leaves_the_others_out(opened: int, closed: int, capfd: pytest.CaptureFixture[str]) -> None:
    for format_name in ("jsonl", "table"):
        run(cli, ["scan", "127.0.0.1", f"{opened},{closed}", "--open", "--format", format_name])
        out = capfd.readouterr().out
        assert str(opened) in out
        assert str(closed) not in out


def test_csv_has_a_heading_and_a_line_a_port(opened: int, closed: int, capfd: pytest.CaptureFixture[str]) -> None:
    run(cli, ["scan", "127.0.0.1", f"{opened},{closed}", "--format", "csv"])
    found = list(csv.DictReader(capfd.readouterr().out.splitlines()))
    assert {int(row["port"]): row["state"] for row in found} == {opened: "open", closed: "closed"}


def test_several_hosts_and_a_block_are_scanned_in_one_run(opened: int, capfd: pytest.CaptureFixture[str]) -> None:
    run(cli, ["scan", "127.0.0.0/30", "127.0.0.9", "::1", str(opened), "--exclude", "127.0.0.2", "--format", "jsonl"])
    found = {row["ip"]: row["state"] for row in map(json.loads, capfd.readouterr().out.splitlines())}
    assert sorted(found) == ["127.0.0.0", "127.0.0.1", "127.0.0.3", "127.0.0.9", "::1"]
    assert found["127.0.0.1"] == "open"


def test_a_name_is_looked_up_and_shown(opened: int, capfd: pytest.CaptureFixture[str]) -> None:
    run(cli, ["scan", "localhost", str(opened), "--all-addresses", "--format", "jsonl"])
    found = {row["ip"]: row for row in map(json.loads, capfd.readouterr().out.splitlines())}
    assert found["127.0.0.1"]["host"] == "localhost"


def test_a_name_can_be_asked_for_addresses_of_one_family(opened: int, capfd: pytest.CaptureFixture[str]) -> None:
    run(cli, ["scan", "localhost", str(opened), "-4", "--all-addresses", "--format", "jsonl"])
    assert [row["ip"] for row in map(json.loads, capfd.readouterr().out.splitlines())] == ["127.0.0.1"]
    run(cli, ["scan", "localhost", "127.0.0.1", str(opened), "-6", "--all-addresses", "--format", "jsonl"])
    assert {row["ip"] for row in map(json.loads, capfd.readouterr().out.splitlines())} <= {"::1", "127.0.0.1"}
    assert run(cli, ["scan", "localhost", "1", "-46"]) == 2
    assert "-4 and -6 leave no address" in capfd.readouterr().err


def test_results_go_to_a_file_in_whole_lines(
    opened: int, tmp_path: os.PathLike[str], capfd: pytest.CaptureFixture[str]
) -> None:
    path = os.path.join(tmp_path, "found.jsonl")
    run(cli, ["scan", "127.0.0.1", str(opened), "--format", "jsonl", "-o", path])
    assert capfd.readouterr().out == ""
    with open(path) as file:
        assert rows(file.read())[opened]["state"] == "open"


def test_the_seed_fixes_the_order(capfd: pytest.CaptureFixture[str]) -> None:
    outs = []
    for seed in ("1", "1", "2"):
        run(cli, ["scan", "127.0.0.0/30", "1-9", "--seed", seed, "-c", "1", "--format", "csv"])
        outs.append([line.split(",")[1:3] for line in capfd.readouterr().out.splitlines()])
    assert outs[0] == outs[1] != outs[2]


@pytest.mark.parametrize(
    ("words", "message"),
    (
        (["127.0.0.1", "90-80"], "Error: port range '90-80' runs backwards; write 80-90\n"),
        (["127.0.0.1", "nosuch"], "Error: no tcp service is called 'nosuch' on this machine; write its number\n"),
        (["127.0.0.300", "80"], "Error: '127.0.0.300' is no IPv4 address; write four numbers from 0 to 255\n"),
        (["http://127.0.0.1/", "80"], "Error: 'http://127.0.0.1/' is a URL; write its host only: 127.0.0.1\n"),
        (["a" * 70, "80"], f"Error: host '{'a' * 70}' has no address"),
        (["127.0.0.1", "80", "--exclude", "127.0.0.0/8"], "Error: no host is left to scan; name one, or exclude less"),
    ),
)
def test_wrong_words_end_with_one_line_and_exit_code_2(
    words: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(cli, ["scan", *words]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_ports_without_a_host_are_wrong_usage(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["scan", "80"]) == 2
    assert "HOST" in capfd.readouterr().err


@pytest.mark.slow
def test_an_interrupt_writes_what_is_finished_and_says_how_many_are_not(opened: int, silent: int) -> None:
    """Slow: starts an interpreter."""
    words = ["scan", "127.0.0.1", f"{opened},{silent}", "--timeout", "60", "--format", "jsonl"]
    process = subprocess.Popen(
        [sys.executable, "-m", "greenprobe", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert list(rows(first + rest)) == [opened]
    assert "1 of 2 ports are not finished" in err
    assert "Traceback" not in err


@pytest.mark.slow
def test_few_descriptors_make_no_port_wrong(opened: int, closed: int) -> None:
    """Slow: starts an interpreter that asks 40 silent ports with room for about ten sockets."""
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32)); import greenprobe.cli as c; c.main()"
    )
    with silent_ports(40) as silent:
        ports = ",".join(map(str, [*silent, opened, closed]))
        words = [
            "scan",
            "127.0.0.1",
            ports,
            *["--format", "jsonl", "--timeout", "0.02", "--retries", "1", "-c", "1000"],
        ]
        done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=True)
    states = {port: row["state"] for port, row in rows(done.stdout).items()}
    assert states == {opened: "open", closed: "closed"} | dict.fromkeys(silent, "filtered")
