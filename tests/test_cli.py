"""The command line as a whole: help, version, exit codes, lazy loading."""

import json
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import click
import pytest
from core_tools import run_python

import greenprobe
from greenprobe.cli import COMMANDS, cli, load, run
from greenprobe.errors import GreenprobeError, TargetError


def command_that(raises: BaseException) -> click.Command:
    def callback() -> NoReturn:
        raise raises

    return click.Command("x", callback=callback)


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["--version"]) == 0
    assert capsys.readouterr().out == f"greenprobe {greenprobe.__version__}\n"


def test_help_lists_every_command_and_tells_of_completion(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in out for name in COMMANDS)
    assert "_GREENPROBE_COMPLETE=bash_source" in out


def test_ctrl_c_waits_until_a_module_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_to_load.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nwhole = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        load("slow_to_load")
    assert load("slow_to_load").whole


@pytest.mark.parametrize("module", ["click", "orjson"])
def test_ctrl_c_while_the_program_is_loaded_ends_it_with_a_line(module: str) -> None:
    ended = run_python(f"""
        import os, runpy, signal, sys

        class Interrupting:
            def find_spec(self, name, *_):
                if name == {module!r}:
                    os.kill(os.getpid(), signal.SIGINT)

        sys.meta_path.insert(0, Interrupting())
        sys.argv = ["greenprobe", "demo"]
        runpy.run_module("greenprobe", run_name="__main__")
    """)
    assert (ended.returncode, ended.stdout, ended.stderr.strip()) == (130, "", "interrupted")


def test_the_list_of_commands_cuts_no_line_short(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(cli, ["--help"]) == 0
    assert not [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ") and line.endswith("...")]


@pytest.mark.parametrize(
    "words",
    (
        ["fetch", "-"],
        ["fetch", "http://127.0.0.1:1/", "--data", "@-"],
        ["scan", "--hosts", "-", "--ports", "1"],
        ["resolve", "-"],
        ["report", "-"],
        ["diff", "-", "-"],
    ),
)
def test_standard_input_that_is_closed_is_one_line(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", None)  # as Python has it then
    assert run(cli, words) == 2
    assert "standard input, which is closed here" in capsys.readouterr().err


def test_no_words_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli, []) == 2
    assert "Usage: greenprobe" in capsys.readouterr().err


def test_an_unknown_command_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["fly"]) == 2
    assert "No such command 'fly'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    (
        (GreenprobeError("no good"), 1, "Error: no good"),
        (TargetError("no such port"), 2, "Error: no such port"),
        (FileNotFoundError(2, "No such file or directory", "x"), 1, "Error: x: No such file or directory"),
        (OSError(28, "No space left on device"), 1, "Error: No space left on device"),
        (click.ClickException("broken"), 1, "Error: broken"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ),
)
def test_errors_are_one_line_and_an_exit_code(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command_that(error), []) == code
    assert capsys.readouterr().err.lstrip("\n") == line + "\n"  # click ends the line that ^C stands on


def test_a_bug_of_ours_is_a_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run(command_that(ZeroDivisionError()), [])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "absent"),
    (
        (["--version"], {"greenprobe.hub", "greenprobe.engine.fetcher", "httptools", "rich", "orjson", "ssl"}),
        (["fetch", "--help"], {"rich", "greenprobe.engine.scanner", "certifi"}),
        (["scan", "--help"], {"rich", "greenprobe.engine.fetcher", "httptools"}),
    ),
)
def test_a_command_loads_only_what_it_needs(words: list[str], absent: set[str]) -> None:
    """Slow: starts an interpreter."""
    code = (
        f"import sys, json; sys.path[:0] = {sys.path!r}; from greenprobe.cli import cli, run\n"
        f"run(cli, {words!r}); print(json.dumps(list(sys.modules)), file=sys.stderr)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not absent & set(json.loads(shown.stderr))


# -- configuration


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "greenprobe").mkdir()
    (tmp_path / "urls").write_text("http://127.0.0.1:1/\n")
    return tmp_path / "greenprobe" / "config.toml"


def test_options_come_from_words_then_environment_then_file(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    urls = str(config.parent.parent / "urls")
    config.write_text('[fetch]\nformat = "nonsense"\nmatch = "status=200"\n')
    assert run(cli, ["fetch", urls]) == 2
    monkeypatch.setenv("GREENPROBE_FETCH_FORMAT", "other")
    assert run(cli, ["fetch", urls]) == 2
    assert "'other' is not one of" in capsys.readouterr().err
    assert run(cli, ["fetch", urls, "--format", "csv"]) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    (
        ("[fetch]\ncolour = 1", "'colour', which is no option of fetch"),
        ("[fetc]\nunique = true", "has a table [fetc]; there are demo, fetch, "),
        ("[fetch]\nunique = 1", "has [fetch] unique = 1; write true or false"),
        ("[fetch]\nconcurrency = true", "has [fetch] concurrency = true; write one value"),
        ("[fetch]\nconcurrency = [1]", "has [fetch] concurrency = [1]; write one value"),
        ("[fetch]\nconcurrency.most = 1", 'has [fetch] concurrency = {"most":1}; write one value'),
        ("fetch = 1", "outside of any table"),
        ("[fetch", "cannot be used as configuration"),
    ),
)
def test_a_broken_configuration_is_one_line(
    config: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = config.with_name("other.toml")
    path.write_text(text)
    assert run(cli, ["--config", str(path), "fetch", str(config.parent.parent / "urls")]) == 2
    assert message in capsys.readouterr().err
