"""A run whose machine loses power goes on with every entry once: whatever of the last writes is on the disk.

A `Disk` notes what a run writes and syncs. What a power loss may leave of each file is everything up to its last sync,
and any part of what was written since, or of its length without its content; files are independent of one another.
"""

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest

from greenprobe.commands.database import ResultsDatabase
from greenprobe.commands.output import Output
from greenprobe.commands.recording import Recording
from greenprobe.commands.warc import WarcFile
from greenprobe.engine.fetchplan import FetchRecord, Timings
from greenprobe.engine.journal import Done, Journal, identify
from greenprobe.hub import Hub

COUNT = 5
NAMES = ("out", "state")


class Contents(NamedTuple):
    """A file: how much of it is on the disk for certain, and all that was written."""

    synced: int
    data: bytes


class Disk:
    """Every state of the files of a folder, in order, after each write and each sync."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self.states: list[dict[str, Contents]] = [
            {name: Contents(len(data), data) for name in NAMES for data in [(folder / name).read_bytes()]}
        ]
        write, sync = os.write, os.fdatasync
        monkeypatch.setattr(os, "write", lambda fd, data: self._note(fd, write(fd, data), is_sync=False))
        monkeypatch.setattr(os, "fdatasync", lambda fd: self._note(fd, sync(fd), is_sync=True))

    def _note(self, fd: int, result: Any, *, is_sync: bool) -> Any:
        name = Path(os.readlink(f"/proc/self/fd/{fd}")).name
        if name in NAMES:
            data = (self._folder / name).read_bytes()
            before = self.states[-1][name]
            self.states.append(self.states[-1] | {name: Contents(len(data) if is_sync else before.synced, data)})
        return result

    def losses(self) -> Iterator[dict[str, bytes]]:
        """Yield what a power loss may leave, at any moment, of all files."""
        for state in self.states:
            for out in remains(state["out"]):
                for journal in remains(state["state"]):
                    yield {"out": out, "state": journal}


def remains(contents: Contents) -> list[bytes]:
    """Return what may be left of a file: all, what is certain, what is in between, zeros or rubbish in its stead."""
    synced, data = contents
    certain, rest = data[:synced], data[synced:]
    cuts = [certain + rest[:size] for size in range(len(rest) + 1)]
    if not rest:
        return cuts
    half, rubbish = len(rest) // 2, random.Random(synced).randbytes(len(rest))
    return [*cuts, *(certain + stead for stead in (bytes(len(rest)), rubbish, bytes(half) + rest[half:]))]


def record(number: int) -> FetchRecord:
    """Return the record of an entry."""
    return FetchRecord(number, "u", "u", 200, 0, {}, (), Timings(None, None, None, None, 0.0), None)


def opened(folder: Path, hub: Hub) -> tuple[Journal, Output, Recording]:
    """Begin a run in a folder, or go on with it."""
    urls = folder / "urls"
    journal = Journal(str(folder / "state"), identify(str(urls)), {}, list_path=str(urls))
    try:
        out = Output(str(folder / "out"), later=lambda seconds, call: None, goes_on_at=journal.lengths.get("output"))
    except click.ClickException:
        journal.close()
        raise
    encode = lambda row: b"%d\n" % row["line"]  # noqa: E731 - short lines, so that every byte of them can be lost
    return journal, out, Recording(out, encode, clock=hub.clock, journal=journal)


def go_on(folder: Path, hub: Hub) -> list[int]:
    """Do what is not done, and return what is recorded in the end."""
    journal, out, recording = opened(folder, hub)
    for number in range(1, COUNT + 1):
        if number not in journal.done:
            recording.write([record(number)])
    recording.commit()
    out.close()
    journal.close()
    return [int(line) for line in (folder / "out").read_bytes().split()]


def test_whatever_a_power_loss_leaves_every_entry_is_recorded_once(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "urls").write_text("u\n" * COUNT)
    with monkeypatch.context() as patch:
        journal, out, recording = opened(tmp_path, hub)
        disk = Disk(tmp_path, patch)
        for numbers in ((1, 3), (2,)):
            recording.write([record(number) for number in numbers])
            recording.commit()
        out.close()
        journal.close()
    monkeypatch.setattr(os, "fdatasync", lambda fd: None)  # these runs are not lost
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    losses = {tuple(left.items()) for left in disk.losses()}
    assert len(losses) > 100
    for left in losses:
        for name, data in left:
            (tmp_path / name).write_bytes(data)
        assert sorted(go_on(tmp_path, hub)) == list(range(1, COUNT + 1)), left


def test_the_names_of_files_are_synced_before_the_journal_names_them(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    (tmp_path / "urls").write_text("u\n")
    journal, out, recording = opened(tmp_path, hub)
    assert synced == [str(tmp_path / "state.new"), str(tmp_path)]
    recording.write([record(1)])
    recording.commit()
    recording.write([record(2)])
    recording.commit()
    assert synced[2:] == [str(tmp_path)]
    out.close()
    journal.close()


def test_a_run_that_nobody_can_go_on_with_does_not_wait_for_the_disk(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    with Output(str(tmp_path / "out")) as out:
        archive = WarcFile(str(tmp_path / "warc"))
        recording = Recording(out, lambda row: b"%d\n" % row["line"], clock=hub.clock, warc=archive)
        recording.write([record(1)])
        recording.commit()
        assert (tmp_path / "out").read_bytes() == b"1\n"
        assert (tmp_path / "warc").stat().st_size > 0
        archive.close()
    assert not synced


@pytest.mark.parametrize("left", (None, b"", b"1\n"))
def test_an_output_that_lost_results_is_not_gone_on_with(hub: Hub, tmp_path: Path, left: bytes | None) -> None:
    (tmp_path / "urls").write_text("u\n" * COUNT)
    assert go_on(tmp_path, hub) == list(range(1, COUNT + 1))
    if left is None:
        (tmp_path / "out").unlink()
    else:
        (tmp_path / "out").write_bytes(left)
    with pytest.raises(click.ClickException, match=r"to begin anew, remove (it and )?the state"):
        go_on(tmp_path, hub)
    assert not (tmp_path / "out").exists() if left is None else (tmp_path / "out").read_bytes() == left


def test_an_archive_and_a_database_that_lost_results_are_not_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"short")
    with pytest.raises(click.ClickException, match="had 1,000"):
        WarcFile(str(tmp_path / "w"), goes_on_at=1000)
    with pytest.raises(click.ClickException, match="has lost its results"):
        ResultsDatabase(str(tmp_path / "db"), done=Done([(1, 2)]))
