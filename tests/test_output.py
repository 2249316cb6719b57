"""Output: whole lines, in batches, and one line for whatever goes wrong."""

import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from greenprobe.commands.output import MAX_BUFFER_BYTES, Column, Output, encoder, terminal_safe

COLUMNS = [Column("n", "n", -4), Column("deep", "a.b", 8), Column("text", "text")]


class Timers:
    """Late calls that run when the test says so."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, Callable[[], None]]] = []

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        self.calls.append((seconds, call))

    def fire(self) -> None:
        for _, call in self.calls:
            call()
        self.calls.clear()


def encoded(format_name: str, *rows: dict[str, Any]) -> str:
    heading, encode = encoder(format_name, COLUMNS)
    return (heading + b"".join(encode(row) for row in rows)).decode()


# -- formats


def test_json_lines_hold_the_whole_row() -> None:
    row = {"n": 1, "a": {"b": None}, "text": 'é"\n', "more": [1]}
    assert encoded("jsonl", row).count("\n") == 1
    assert json.loads(encoded("jsonl", row)) == row


def test_csv_picks_columns_out_of_nested_rows() -> None:
    assert encoded("csv", {"n": 1, "a": {"b": 2.5}, "text": "x,y"}, {"n": 2, "a": None}) == (
        'n,deep,text\n1,2.5,"x,y"\n2,,\n'
    )


def test_what_is_nested_is_json_in_a_cell() -> None:
    line = encoded("csv", {"n": {"a": "é"}, "text": [1, None]}).splitlines()[1]
    assert next(csv.reader([line]))[::2] == ['{"a":"é"}', "[1,null]"]
    assert '{"a":1}' in encoded("text", {"n": {"a": 1}})


@pytest.mark.parametrize("text", ("=cmd|calc!A1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1"))
def test_no_cell_is_a_formula(text: str) -> None:
    cell = list(csv.reader(io.StringIO(encoded("csv", {"n": 1, "text": text}), newline="")))[1][2]
    assert cell == "'" + text


def test_negative_numbers_are_numbers_in_csv() -> None:
    assert encoded("csv", {"n": -1}).splitlines()[1].startswith("-1,")


def test_text_has_columns() -> None:
    assert encoded("text", {"n": 1, "a": {"b": 0.1234}, "text": "x"}, {"n": 10}) == (
        "   n  deep      text\n   1  0.123     x\n  10  -         -\n"
    )


@pytest.mark.parametrize(
    ("text", "safe"),
    (
        ("plain é 漢", "plain é 漢"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb", "a\\nb"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\x9b1m", "\\x9b1m"),
        ("\u2066x", "\\u2066x"),
    ),
)
def test_text_cannot_steer_a_terminal(text: str, safe: str) -> None:
    assert terminal_safe(text) == safe
    assert encoded("text", {"text": text}).splitlines()[1].endswith(safe)


# -- files


def test_lines_wait_for_company_and_then_leave_together(tmp_path: Path) -> None:
    timers, path = Timers(), tmp_path / "out"
    with Output(str(path), later=timers.later) as out:
        out.write(b"a\n")
        out.write(b"b\n")
        assert path.read_bytes() == b""
        assert [seconds for seconds, _ in timers.calls] == [0.1]
        timers.fire()
        assert path.read_bytes() == b"a\nb\n"
        out.write(b"c\n")
        assert len(timers.calls) == 1
    assert path.read_bytes() == b"a\nb\nc\n"


def test_a_full_buffer_is_written_at_once(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with Output(str(path), later=Timers().later) as out:
        out.write(b"x" * MAX_BUFFER_BYTES + b"\n")
        assert path.stat().st_size == MAX_BUFFER_BYTES + 1


def test_results_never_overwrite_their_input(tmp_path: Path) -> None:
    path = tmp_path / "urls"
    path.write_text("http://h/\n")
    with pytest.raises(click.ClickException, match="is the input too"):
        Output(str(tmp_path / "." / "urls"), later=Timers().later, inputs=[str(path)])
    assert path.read_text() == "http://h/\n"


def test_a_file_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(click.ClickException, match=r"cannot write to .*: No such file or directory"):
        Output(str(tmp_path / "none" / "out"), later=Timers().later)


def test_a_full_disk_is_one_line_said_once() -> None:
    out = Output("/dev/full", later=Timers().later)
    out.write(b"a\n")
    with pytest.raises(click.ClickException, match="cannot write to /dev/full: No space left on device"):
        out.flush()
    with pytest.raises(click.ClickException, match="No space"):
        out.write(b"b\n")
    out.close()


def test_an_error_of_a_late_flush_reaches_the_writer() -> None:
    timers = Timers()
    out = Output("/dev/full", later=timers.later)
    out.write(b"a\n")
    timers.fire()
    with pytest.raises(click.ClickException, match="No space"):
        out.write(b"b\n")
    out.close()


def test_a_file_that_may_not_grow_ends_with_a_whole_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_write, room = os.write, [10]

    def write(fd: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(28, "No space left on device")
        written = real_write(fd, data[: room[0]])
        room[0] -= written
        return written

    monkeypatch.setattr("greenprobe.commands.output.os.write", write)
    path = tmp_path / "out"
    out = Output(str(path), later=Timers().later)
    out.write(b"12\n45\n78\nabc\n")
    with pytest.raises(click.ClickException):
        out.flush()
    out.close()
    assert path.read_bytes() == b"12\n45\n78\n"


def test_a_reader_that_left_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    source, sink = os.pipe()
    os.close(source)
    out = Output("-", later=Timers().later)
    monkeypatch.setattr(out, "_fd", sink)
    out.write(b"a\n")
    with pytest.raises(click.ClickException, match="cannot write to standard output: Broken pipe"):
        out.flush()
    out.close()
    os.close(sink)


def test_a_terminal_gets_json_that_cannot_steer_it() -> None:
    ours, theirs = os.openpty()
    try:
        row = {"title": "\x9b31m \u202e \x1b[2J \U000e0001", "n": 1}
        with Output(os.ttyname(theirs), later=Timers().later) as out:
            out.write(encoder("jsonl", COLUMNS)[1](row))
        seen = os.read(ours, 1000).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert seen.strip().isprintable()
    assert json.loads(seen) == row
