"""The documentation tells the truth: every command and option is in it, and every example runs."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from documents import Example, commands, examples, expected_output, matches

from greenprobe.cli import cli

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS_PAGE = ROOT / "docs" / "commands.md"

PYTHON = [example for page in PAGES for example in examples(page, "python")]
CONSOLE = [example for page in PAGES for example in examples(page, "console")]
HARMLESS = {"greenprobe", "printf", "cat", "head", "wc", "ls", "echo"}
ELSEWHERE = re.compile(r"\b[\w-]+\.(?:com|org|net|example|test)\b|\b(?:10|172|192|203)\.\d+\.\d+\.\d+")


def run(command: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run one example, as an installed greenprobe would be run, in a folder of its own."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
    env = dict(os.environ, PYTHONPATH=str(ROOT), PATH=path, COLUMNS="100")
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)


# -- examples


@pytest.mark.parametrize("example", PYTHON, ids=str)
def test_a_python_example_prints_what_it_says(example: Example, tmp_path: Path) -> None:
    done = run([sys.executable, "-W", "error", "-c", example.text], tmp_path)
    assert done.returncode == 0, done.stderr
    expected = expected_output(example)
    if expected is not None:
        assert [line.rstrip() for line in done.stdout.splitlines()] == expected


def runs_here(example: Example) -> bool:
    """Tell whether a shell session needs nothing but greenprobe and this machine."""
    lines = [command.words for command in commands(example)]
    return bool(lines) and all(line.split()[0] in HARMLESS and not ELSEWHERE.search(line) for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("example", [example for example in CONSOLE if runs_here(example)], ids=str)
def test_a_shell_example_runs_and_prints_what_it_shows(example: Example, tmp_path: Path) -> None:
    """Slow: each command is a process, and some of them work for a second or two."""
    for command in commands(example):
        words = command.words.replace("greenprobe ", f"{sys.executable} -m greenprobe ", 1)
        done = run(["bash", "-euo", "pipefail", "-c", words], tmp_path)
        assert done.returncode == 0, f"$ {command.words}\n{done.stdout}{done.stderr}"
        if command.output:
            assert matches(command.output, done.stdout), f"$ {command.words}\n{done.stdout}{done.stderr}"


def test_shell_output_is_compared_but_for_the_dots() -> None:
    assert matches("alive ... of 3", "alive 2 of 3\n")
    assert not matches("alive ... of 3", "alive 2 of 4\n")


# -- commands and options


def tree(command: click.Command, name: str = "greenprobe") -> Iterator[tuple[str, click.Command]]:
    """Yield (full name, command) of a command and all below it."""
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found is not None
            yield from tree(found, f"{name} {child}")


def options(command: click.Command) -> set[str]:
    """Return the option names of a command, its long ones, with those that click adds."""
    context = click.Context(command, help_option_names=["-h", "--help"])
    return {
        name
        for parameter in command.get_params(context)
        if isinstance(parameter, click.Option) and not parameter.hidden
        for name in [*parameter.opts, *parameter.secondary_opts]
        if name.startswith("--")
    }


def sections() -> dict[str, str]:
    """Return the text of each section of docs/commands.md by its heading, such as "greenprobe fetch"."""
    text = COMMANDS_PAGE.read_text("utf-8")
    parts = re.split(r"^#{1,3} +`?(greenprobe[\w -]*?)`?\s*$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


TREE = dict(tree(cli))
OPTION = r"`(?:-\w, )?(--[a-z0-9-]+)"


def test_the_page_has_a_section_for_each_command_and_no_other() -> None:
    assert sections().keys() == TREE.keys()


@pytest.mark.parametrize("name", TREE)
def test_every_option_is_documented_and_nothing_else_is(name: str) -> None:
    documented = set(re.findall(OPTION, sections().get(name, "")))
    assert documented == options(TREE[name])


@pytest.mark.parametrize("name", TREE)
def test_every_command_and_option_has_help(name: str) -> None:
    command = TREE[name]
    assert command.help
    shown = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
    assert not [each.name for each in shown if not each.help]


@pytest.mark.parametrize("name", [name for name, command in TREE.items() if getattr(command, "sections", {})])
def test_help_and_page_have_the_same_options_under_the_same_headings(name: str) -> None:
    with click.Context(TREE[name]) as context:
        parts = re.split(r"^([A-Z][^:\n]+):$", TREE[name].get_help(context), flags=re.MULTILINE)[1:]
    shown = {heading: set(re.findall(r"^  (?:-\w, )?(--[a-z0-9-]+)", text, re.MULTILINE))
             for heading, text in zip(parts[::2], parts[1::2], strict=True)}  # fmt: skip
    tables = re.findall(r"^([A-Z][^.:\n]+)[^\n]*:\n\n(\| option.*?)\n\n", sections()[name], re.MULTILINE | re.DOTALL)
    cells = {heading: re.findall(r"^\| (`-.*?) \|", table, re.MULTILINE) for heading, table in tables}
    assert shown == {heading: set(re.findall(OPTION, " ".join(each))) for heading, each in cells.items()}


# -- README


def readme_commands() -> list[str]:
    """Return every command that README's shell sessions show."""
    return [command.words for example in examples(ROOT / "README.md", "console") for command in commands(example)]


def test_readme_has_the_two_commands() -> None:
    """One installs and runs the main job, one installs and passes the tests; .ci/run runs the latter."""
    assert any(line.startswith("pip install") and "greenprobe demo" in line for line in readme_commands())
    assert any(line.startswith("pip install") and line.endswith("pytest") for line in readme_commands())


def test_ci_takes_the_test_command_from_readme(tmp_path: Path) -> None:
    shown = [line for line in readme_commands() if line.endswith("pytest")]
    done = run(["bash", str(ROOT / ".ci" / "run"), "--print-test-command"], tmp_path)
    assert [done.stdout.strip()] == shown


# -- the faults of other libraries


def test_every_fault_has_a_test_that_is_there() -> None:
    text = (ROOT / "docs" / "eventlet.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d+)\. .* \| (.*) \|$", text, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 25))
    files = {path.stem.removeprefix("test_"): path for path in (ROOT / "tests").rglob("test_*.py")}
    for _, cell in rows:
        for file, tests in re.findall(r"`(\w+)`: ([^;]+)", cell):
            source = files[file].read_text("utf-8")
            for name in re.findall(r"`(\w+)`", tests):
                assert f"def test_{name}(" in source, f"{file}: {name}"
