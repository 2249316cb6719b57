"""Fetching on several processes: the same results, and the same behaviour when something dies."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from fakes import ok, web_server

from greenprobe.cli import cli, run
from greenprobe.engine.fetchplan import Failure, FetchRecord, FetchStatistics, Timings
from greenprobe.engine.frames import FrameReader, FrameSource, frame_of
from greenprobe.engine.shards import ArchivePiece, Homes, ShardBatch, ShardReport, Shards, host_of
from greenprobe.engine.tally import Tally
from greenprobe.hub import Hub

PYTHONPATH = os.pathsep.join(path for path in sys.path if path)


@pytest.fixture
def port() -> Iterator[int]:
    with web_server(lambda path: b"" if path == "/empty" else ok(path.encode())) as port:
        yield port


@pytest.fixture
def urls(tmp_path: Path, port: int) -> Path:
    path = tmp_path / "urls"
    path.write_text("".join(f"http://127.0.0.{n % 7 + 1}:{port}/{n}\n" for n in range(50)) + "no url\n")
    return path


@pytest.mark.parametrize(
    ("one", "other"),
    (
        (b"http://h/a", b"HTTP://u:p@H:80?x"),
        (b"https://h/", b"https://h:443\\x"),
        (b"h:8080/x", b"http://h:8080"),
    ),
)
def test_one_host_in_other_words_is_one_host(one: bytes, other: bytes) -> None:
    assert host_of(b"http", one) == host_of(b"http", other)


def test_a_host_without_a_scheme_has_the_port_of_the_one_it_is_given() -> None:
    assert host_of(b"https", b"h/x") == host_of(b"https", b"h:443") != host_of(b"https", b"h:80")


def test_a_new_host_belongs_to_whom_has_the_least_to_do_and_stays_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("greenprobe.engine.shards.MAX_HOMES", 4)
    loads = [0, 0]
    homes = Homes(2, lambda: loads)
    for host, home, more in ((b"a", 0, 9), (b"b", 1, 3), (b"b", 1, 3), (b"c", 1, 5), (b"d", 0, 1), (b"a", 0, 9)):
        assert homes[host] == home
        loads[home] += more
    assert homes[b"e"] == homes[b"e"]  # and is remembered no more
    loads.reverse()
    assert [homes[host] for host in (b"a", b"b", b"c", b"d")] == [0, 1, 1, 0]


def test_frames_arrive_whole_however_they_are_cut(hub: Hub) -> None:
    source, sink = os.pipe()
    values: list[Any] = [1, {"a": [b"x" * 1000]}, None, ""]
    for byte in b"".join(map(frame_of, values)) + b"\x00\x00\x01":
        os.write(sink, bytes([byte]))
    os.close(sink)
    reader = FrameReader(hub, source)
    assert list(reader.read()) == values
    reader.close()
    os.close(source)


def test_entries_come_in_frames(hub: Hub) -> None:
    source, sink = os.pipe()
    frames = ["words", ([(1, b"a"), (2, b"b")], {2: {"x": 1}}), ([], {}), ([(3, b"c")], {})]
    os.write(sink, b"".join(map(frame_of, frames)))
    os.close(sink)
    entries = FrameSource(hub, source)
    assert entries.first() == "words"
    found = []
    while entries.refill():
        found.append(entries.lines.popleft())
    assert found == [(1, b"a"), (2, b"b"), (3, b"c")]
    assert entries.carried == {2: {"x": 1}}
    entries.close()
    os.close(source)


def test_tallies_add_up() -> None:
    good = FetchRecord(1, "u", "http://h/", 200, 1, {}, (), Timings(None, None, None, 0.1, 1.0), None)
    bad = good._replace(status=None, error=Failure("TlsError", "x"))
    whole, first, second = Tally(), Tally(), Tally()
    whole.add([good, bad, good])
    first.add([good])
    second.add([bad, good])
    second.settle()
    first.merge(second)
    assert first.row() == whole.row()


@pytest.mark.slow
def test_a_process_whose_starter_is_gone_says_nothing() -> None:
    """Slow: starts an interpreter."""
    words = [sys.executable, "-m", "greenprobe.commands.fetch_shard"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


@pytest.mark.slow
def test_two_processes_find_what_one_finds(urls: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Slow: starts processes."""
    found = []
    for count in (1, 2):
        words = ["fetch", str(urls), "--processes", str(count), "-o", str(tmp_path / "out"), "--facts", "title"]
        assert run(cli, [*words, "--summary", str(tmp_path / "summary")]) == 0
        rows = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
        found.append(sorted((row["line"], row["url"], row["status"], row["bytes"]) for row in rows))
        assert json.loads((tmp_path / "summary").read_text())["statuses"] == {"200": 8}
    assert found[0] == found[1]
    assert len(found[0]) == 51


def test_what_a_process_said_before_its_last_word_is_handed_over(hub: Hub, tmp_path: Path) -> None:
    now = FetchStatistics(1, 1, 0, (0,) * 10, 0, 0.0, 0, None)
    batches = [ShardBatch([n], b"%d\n" % n, now) for n in range(2)]
    said = [batches[0], ArchivePiece(b"ab"), ArchivePiece(b"c"), batches[1], ShardReport(now, Tally())]
    (tmp_path / "said").write_bytes(b"".join(map(frame_of, said)))
    nothing: Any = SimpleNamespace(lines=deque(), carried={}, refill=lambda: False, read_bytes=0, size_bytes=None)
    shards = Shards(hub, {"scheme": "http"}, nothing, count=1, command=["cat", str(tmp_path / "said")], tally=Tally())
    found = list(shards.run())
    assert [(batch.numbers, batch.lines) for batch in found] == [([0], b"0\n"), ([1], b"1\n")]
    (archive,) = [batch.archive for batch in found if batch.archive is not None]
    archive.seek(0)
    assert archive.read() == b"abc"
    archive.close()


def wait_for_growth(path: Path, grown: int, child: "subprocess.Popen[str]") -> None:
    """Wait until a file has grown by so many bytes since now, or the process that writes it has ended."""
    before = path.stat().st_size if path.exists() else 0
    while child.poll() is None and not (path.exists() and path.stat().st_size >= before + grown):
        time.sleep(0.005)


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_with_every_url_exactly_once(tmp_path: Path, port: int) -> None:
    """Slow: processes that are killed and started again until the list is done."""
    count = 12_000
    chance = Random(1)
    lines = [f"http://127.0.0.{n % 9 + 1}:{port}/{n}\n" for n in range(count)]
    (tmp_path / "urls").write_text("".join(lines))
    for _ in range(4):
        child = process("urls", "-o", "out", "--state", "state", "--processes", "2", "-c", "2", cwd=tmp_path)
        wait_for_growth(tmp_path / "state", 1, child)
        wait_for_growth(tmp_path / "out", chance.randrange(1, 100_000), child)
        child.kill()
        child.communicate()
    child = process("urls", "-o", "out", "--state", "state", "--processes", "2", "-c", "8", cwd=tmp_path)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    assert "URLs are done already" in err
    found = sorted(json.loads(line)["line"] for line in (tmp_path / "out").read_text().splitlines())
    assert found == list(range(1, count + 1))


@pytest.mark.slow
def test_ctrl_c_writes_what_is_finished(tmp_path: Path, port: int) -> None:
    """Slow: starts processes."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    child = process(str(fifo), "--processes", "2", cwd=tmp_path)
    with fifo.open("w") as list_end:
        list_end.write(f"http://127.0.0.1:{port}/1\nhttp://127.0.0.2:{port}/2\n")
        list_end.flush()
        assert child.stdout is not None
        first = [child.stdout.readline() for _ in range(2)]
        child.send_signal(signal.SIGINT)
        rest, err = child.communicate(timeout=20)
    assert child.returncode == 130, err
    assert sorted(json.loads(line)["line"] for line in [*first, *rest.splitlines()]) == [1, 2]
    assert err.endswith("interrupted\n")


@pytest.mark.slow
def test_a_process_that_dies_is_one_line_and_exit_code_1(tmp_path: Path, port: int) -> None:
    """Slow: starts processes."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    child = process(str(fifo), "--processes", "2", cwd=tmp_path)
    with fifo.open("w") as list_end:
        list_end.write(f"http://127.0.0.1:{port}/1\n")
        list_end.flush()
        assert child.stdout is not None
        child.stdout.readline()
        children = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        _, err = child.communicate(timeout=20)
    assert child.returncode == 1
    assert "Error: a process of the fetch ended early, with -9\n" in err


def process(*words: str, cwd: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "greenprobe", "fetch", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": PYTHONPATH},
    )
