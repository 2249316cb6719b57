"""How far a run is: drawn where that can be, in lines where it cannot, and within the width there is."""

import sys
from collections.abc import Callable

import pytest

from greenprobe.cli import progress
from greenprobe.commands.options import Reading
from greenprobe.commands.plain_progress import INTERVAL_S, duration, plain_progress
from greenprobe.greenthread import sleep


def readings(*fractions: float | None) -> Callable[[], Reading]:
    """Return what reads one of these after the other."""
    rest = list(fractions)
    return lambda: (rest.pop(0), "so far")


@pytest.mark.usefixtures("clock")
def test_plain_lines_say_how_long_it_takes_at_their_pace(capsys: pytest.CaptureFixture[str]) -> None:
    with plain_progress(readings(0.5, 0.75, 0.75, None, 1.0)):
        sleep(5 * INTERVAL_S + 1)
    assert capsys.readouterr().err.splitlines() == [
        " 50%  so far, 10 s left",
        " 75%  so far, 10 s left",
        " 75%  so far",
        "so far",
        "100%  so far",
    ]


def test_durations_are_for_reading() -> None:
    assert [duration(seconds) for seconds in (5.4, 90, 7200)] == ["5 s", "2 min", "2.0 h"]


class Terminal:
    """Standard error as a terminal that only counts what is written to it."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.written = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.written += text
        return len(text)

    def flush(self) -> None: ...


def shown(monkeypatch: pytest.MonkeyPatch, text: str, *, seconds: float, **variables: str) -> str:
    """Return what is written to a terminal that these variables are about."""
    terminal = Terminal()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress(lambda: (0.5, text), "auto"):
        sleep(seconds)
    return terminal.written


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(("name", "drawn"), [("xterm", True), ("dumb", False)])
def test_a_terminal_that_cannot_draw_gets_lines(name: str, drawn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, "so far", seconds=INTERVAL_S + 1, TERM=name)
    assert ("\x1b[" in text) is drawn
    assert "so far" in text


@pytest.mark.usefixtures("clock")
def test_a_narrow_terminal_shows_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, "13,899 URLs, 7,400/s, 13,899 2xx", seconds=0.5, TERM="xterm", COLUMNS="20")
    assert "13,899 URLs, 7,400/…" in text


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(("mode", "told"), [("auto", True), ("plain", True), ("off", False)])
def test_lines_tell_of_it_where_no_terminal_is(mode: str, told: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with progress(lambda: (0.5, "so far"), mode):
        sleep(INTERVAL_S + 1)
    assert ("so far" in capsys.readouterr().err) is told
