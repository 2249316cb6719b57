"""What `install()` makes of the name eventlet, and the command that runs a program so."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from core_tools import run_python

OURS = "greenprobe.compat.eventlet"
PROGRAM = """
import json, sys
finders = len(sys.meta_path)
import greenprobe.compat.eventlet
facts = {"importing changes nothing": "eventlet" not in sys.modules and len(sys.meta_path) == finders}

from greenprobe.compat.eventlet import install
install()
install()
facts["twice is once"] = sum(type(finder).__name__ == "Finder" for finder in sys.meta_path)

import eventlet, eventlet.hubs.hub, eventlet.queue, importlib.metadata as metadata
import greenprobe.compat.eventlet.queue as ours
facts["one module"] = eventlet.queue is ours and sys.modules["eventlet.hubs.hub"] is eventlet.hubs.hub
facts["names"] = [eventlet.__name__, eventlet.__spec__.name]
modules = eventlet.green.socket, eventlet.support
facts["loaded with the package"] = [*(module.__name__ for module in modules), hasattr(eventlet.green, "x")]
facts["versions"] = [eventlet.__version__, metadata.version("eventlet")]
facts["other distributions"] = bool(metadata.version("greenlet"))
try:
    import eventlet.nosuch
except ModuleNotFoundError as error:
    facts["missing"] = error.name
print(json.dumps(facts))
"""


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    """What a program finds after `install()`."""
    done = run_python(PROGRAM)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def run(*words: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run the command."""
    command = [sys.executable, "-m", "greenprobe.compat.eventlet", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=10, check=False)


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("importing changes nothing", True),
        ("twice is once", 1),
        ("one module", True),
        ("names", ["greenprobe.compat.eventlet"] * 2),
        ("versions", ["0.41.3"] * 2),
        ("other distributions", True),
        ("loaded with the package", [f"{OURS}.green.socket", f"{OURS}.support", False]),
        ("missing", "eventlet.nosuch"),
    ],
)
def test_a_program_finds_us_under_the_name_of_eventlet(fact: str, value: object, facts: dict[str, Any]) -> None:
    assert facts[fact] == value


def test_neither_importing_nor_forking_says_a_word() -> None:
    program = """
import os, warnings
warnings.simplefilter("error")
from greenprobe.compat.eventlet import install
install()
import eventlet
eventlet.monkey_patch()
eventlet.spawn(eventlet.sleep, 10)
eventlet.sleep(0)
pid = os.fork()
if not pid:
    print(eventlet.spawn(int, "5").wait(), flush=True)
    os._exit(0)
print(os.waitpid(pid, 0)[1])
"""
    done = run_python(program)
    assert (done.stdout, done.stderr) == ("5\n0\n", "")


@pytest.mark.slow
def test_a_program_may_be_patched_before_its_first_line(tmp_path: Path) -> None:
    """Slow: starts two interpreters."""
    (tmp_path / "script.py").write_text("import socket, sys; print(socket.socket.__module__, sys.argv)")
    assert run("script.py", "--patch", folder=tmp_path).stdout == "socket ['script.py', '--patch']\n"
    done = run("--patch", "script.py", "word", folder=tmp_path)
    assert (done.stdout, done.stderr) == ("greenprobe.green_socket ['script.py', 'word']\n", "")


def test_the_environment_may_have_libc_asked_for_names(monkeypatch: pytest.MonkeyPatch) -> None:
    program = f"from {OURS} import install; install(); from greenprobe import green_dns; print(green_dns.installed())"
    monkeypatch.setenv("GREENPROBE_RESOLVER", "green")
    assert "GreenFamily" in run_python(program).stdout
    monkeypatch.setenv("EVENTLET_NO_GREENDNS", "yes")
    assert "ThreadFamily" in run_python(program).stdout


def test_install_refuses_when_eventlet_itself_is_there() -> None:
    program = """
import sys, types
sys.modules["eventlet"] = types.ModuleType("eventlet")
sys.modules["eventlet"].__file__ = "/elsewhere/eventlet/__init__.py"
from greenprobe.compat.eventlet import install
try:
    install()
except RuntimeError as error:
    print(error)
"""
    assert "from /elsewhere/eventlet/__init__.py" in run_python(program).stdout


def test_a_script_runs_as_the_main_module_with_its_own_arguments(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("VALUE = 7\n")
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, eventlet, beside\n"
        "if __name__ == '__main__':\n"
        "    print(sys.argv[1:], beside.VALUE, eventlet.spawn(int, '5').wait())\n"
        "    raise SystemExit(3)\n"
    )
    done = run("script.py", "-x", "y", folder=tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == ("['-x', 'y'] 7 5\n", "", 3)
    done = run("-m", "script", "z", folder=tmp_path)
    assert (done.stdout, done.returncode) == ("['z'] 7 5\n", 3)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ((), 2, "usage:"),
        (("nosuch.py",), 2, "nosuch.py"),
        (("-m", "nosuch"), 2, "'nosuch'"),
        (("--help",), 0, "usage:"),
        (("-x",), 2, "usage:"),
    ],
)
def test_wrong_words_get_one_clear_answer(words: tuple[str, ...], status: int, said: str, tmp_path: Path) -> None:
    done = run(*words, folder=tmp_path)
    assert done.returncode == status
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
