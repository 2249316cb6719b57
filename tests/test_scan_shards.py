"""Scanning on several processes: each port once, the same results, and the same behaviour when something goes wrong."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from random import Random
from socket import create_server
from typing import Any

import pytest
from fakes import silent_ports
from killing import killed

from greenprobe.cli import cli, run
from greenprobe.engine.frames import frame_of
from greenprobe.engine.ports import parse_ports
from greenprobe.engine.scan_shards import ScanBatch, ScanReport, ScanShards, parts_of, together
from greenprobe.engine.scanplan import ScanPlan
from greenprobe.engine.targets import Targets, parse_hosts
from greenprobe.errors import GreenprobeError
from greenprobe.hub import Hub

PLAN = ScanPlan(
    targets=Targets(parse_hosts(["10.0.0.0/28"], lambda name: []), parse_ports("1-50"), seed=3),
    concurrency=100,
    rate=90.0,
    min_rate=30.0,
)
NOTHING = together([])


@pytest.fixture
def listeners() -> Iterator[list[int]]:
    with ExitStack() as stack:
        yield [stack.enter_context(create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(5)]


def said_by(folder: Path, *values: object) -> list[str]:
    """Return a command that says these things and ends."""
    (folder / "said").write_bytes(b"".join(map(frame_of, values)))
    return ["cat", str(folder / "said")]


@pytest.mark.parametrize("shard", ((0, 1), (1, 2)))
def test_parts_ask_each_target_of_the_plan_once(shard: tuple[int, int]) -> None:
    plan = replace(PLAN, shard=shard[0], shards=shard[1])
    parts = parts_of(plan, 3)
    asked = [target for part in parts for target in part.walk()]
    assert sorted(asked) == sorted(plan.walk())
    assert sum(part.total for part in parts) == plan.total


def test_parts_are_bounded_together_as_the_whole_is() -> None:
    parts = parts_of(PLAN, 3)
    assert sum(part.rate for part in parts) == pytest.approx(90)
    assert sum(part.min_rate for part in parts) == pytest.approx(30)
    assert 100 <= sum(part.concurrency for part in parts) <= 102
    assert all(part.concurrency == 1 for part in parts_of(PLAN, 1000))


def test_statistics_add_up() -> None:
    first = replace(NOTHING, done=3, open=1, elapsed=2.0, shortages={"EMFILE": 2})
    second = replace(NOTHING, done=4, elapsed=3.0, shortages={"EMFILE": 1, "conntrack": 5})
    whole = together([first, second])
    assert (whole.done, whole.open, whole.elapsed) == (7, 1, 3.0)
    assert whole.shortages == {"EMFILE": 3, "conntrack": 5}


def test_what_a_process_said_before_its_last_word_is_handed_over(hub: Hub, tmp_path: Path) -> None:
    now = replace(NOTHING, done=2)
    batches = [ScanBatch([n], b"%d\n" % n, [], now) for n in range(2)]
    command = said_by(tmp_path, *batches, ScanReport(replace(now, done=3)))
    shards = ScanShards(hub, ["a task"], total=9, command=command)
    assert list(shards.run()) == batches
    assert (shards.statistics().done, shards.statistics().total) == (3, 9)


@pytest.mark.parametrize(
    ("said", "why"),
    (
        ([ScanReport(NOTHING, "nothing was answered")], "nothing was answered"),
        ([ScanBatch([], b"", [], NOTHING)], "a process of the scan ended early, with 0"),
    ),
)
def test_a_process_that_cannot_go_on_ends_the_scan(hub: Hub, tmp_path: Path, said: list[Any], why: str) -> None:
    shards = ScanShards(hub, ["a task"], total=9, command=said_by(tmp_path, *said))
    with pytest.raises(GreenprobeError, match=why):
        list(shards.run())


@pytest.mark.slow
@pytest.mark.parametrize("form", ("jsonl", "grepable"))
def test_two_processes_find_what_one_finds(
    listeners: list[int], tmp_path: Path, capfd: pytest.CaptureFixture[str], form: str
) -> None:
    """Slow: starts processes."""
    ports = ",".join(str(port) for near in listeners for port in range(near - 3, near + 1))
    found = []
    for count in (1, 2):
        out = tmp_path / f"out{count}"
        words = ["scan", "127.0.0.1", ports, "--processes", str(count), "--format", form, "-o", str(out)]
        assert run(cli, words) == 0
        text = out.read_text()
        found.append(states_of(text) if form == "jsonl" else text.splitlines()[1:-1])
        assert "5 open" in capfd.readouterr().err
    assert found[0] == found[1]


def states_of(text: str) -> dict[int, str]:
    rows = [json.loads(line) for line in text.splitlines()]
    assert len({row["port"] for row in rows}) == len(rows)
    return {row["port"]: row["state"] for row in rows}


def start(*words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "greenprobe", "scan", *words]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_with_every_port_exactly_once(tmp_path: Path) -> None:
    """Slow: scans on two processes that are killed, and a last one that ends."""
    state, out, chance = str(tmp_path / "state"), tmp_path / "out", Random(1)
    with silent_ports(1, "127.3.0.1") as silent:  # no scan ends before it is killed
        ports = f"1-1000,{silent[0]}"
        new = ["127.3.0.0/29", ports, "-o", str(out), "--format", "csv", "--rate", "4000", "--timeout", "60"]
        for turn in range(2):
            words = [*new, "--processes", "2"] if turn == 0 else []
            killed(lambda words=words: start(*words, "--resume", state), out, 100_000, chance)  # type: ignore[misc]
    process = start("--resume", state)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert not os.path.exists(state)
    rows = [tuple(line.split(",")[1:3]) for line in out.read_text().splitlines()[1:]]
    wanted = [(f"127.3.0.{host}", str(port)) for host in range(8) for port in (*range(1, 1001), *silent)]
    assert Counter(rows) == Counter(wanted)


@pytest.mark.slow
def test_ctrl_c_writes_what_is_finished(tmp_path: Path) -> None:
    """Slow: starts processes."""
    out = tmp_path / "out"
    process = start("127.0.0.1", "1-9000", "-o", str(out), "--format", "jsonl", "--rate", "500", "--processes", "2")
    while not (out.exists() and out.stat().st_size):
        assert process.poll() is None
        os.sched_yield()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err
    count = len(out.read_text().splitlines())
    assert f"{count:,} ports in" in err
    assert f"{9000 - count:,} of 9,000 ports are not finished" in err


@pytest.mark.slow
def test_a_process_that_dies_is_told_in_one_line(tmp_path: Path) -> None:
    """Slow: starts processes."""
    process = start("127.0.0.1", "1-9000", "-o", str(tmp_path / "out"), "--rate", "500", "--processes", "2")
    children: list[str] = []
    while len(children) < 2:
        assert process.poll() is None
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "a process of the scan ended early, with -9" in err
    assert "Traceback" not in err


@pytest.mark.slow
def test_processes_end_with_the_one_who_started_them(tmp_path: Path) -> None:
    """Slow: starts processes. Nothing is found by them, so that only their input tells."""
    with silent_ports(2) as ports:
        words = [",".join(map(str, ports)), "--timeout", "60", "-o", str(tmp_path / "out"), "--processes", "2"]
        process = start("127.0.0.1", *words)
        children: list[str] = []
        while len(children) < 2:
            assert process.poll() is None
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
        process.communicate(timeout=20)  # the error output ends with the last of them
