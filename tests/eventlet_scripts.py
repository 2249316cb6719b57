"""Programs in eventlet's words, run by eventlet and by us: where they are, and how to run them.

Each script prints what it sees. `recorded/` has what eventlet 0.41.3 made of it; what eventlet itself cannot do (a
fault of it that is not reproduced) has no place there, but in a test of its own.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent / "compat"
SCRIPTS = {path.stem: path for path in sorted((HERE / "scripts").glob("*.py")) if path.stem != "show"}
REAL_TIME = {"databases", "threads"}  # their work is in OS threads, for which no clock can jump
PATIENCE = 40.0  # seconds until scripts count as hung

ALL_AT_ONCE = """
import json, os, runpy, sys
from contextlib import nullcontext
from greenprobe.compat.eventlet import install
from greenprobe.testing import JumpClock

install()
folder, real_time, *scripts = sys.argv[1:]
sys.path[0] = os.path.dirname(scripts[0])
children = []
for script in scripts:
    pid = os.fork()
    if not pid:
        out = os.open(os.path.join(folder, os.path.basename(script)), os.O_WRONLY | os.O_CREAT)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.argv = [script]
        with nullcontext() if os.path.basename(script)[:-3] in real_time.split(",") else JumpClock():
            runpy.run_path(script, run_name="__main__")
        sys.stdout.flush()
        os._exit(0)
    children.append(pid)
print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]))
"""


def recorded(name: str) -> str:
    """Return what eventlet printed."""
    return (HERE / "recorded" / f"{name}.txt").read_text("utf-8")


def run_by_eventlet(name: str) -> str:
    """Return what eventlet prints now, and what it says on stderr if it fails."""
    done = run([str(SCRIPTS[name])])
    return done.stdout + (done.stderr if done.returncode else "")


def run_all_by_us(folder: Path) -> dict[str, tuple[int, str]]:
    """Return exit status and output of each script, run all at once in forks of one process.

    On a clock that jumps: two timers 10 ms apart keep their order then, however busy the machine is.
    """
    done = run(["-c", ALL_AT_ONCE, str(folder), ",".join(REAL_TIME), *map(str, SCRIPTS.values())])
    assert done.returncode == 0, done.stderr
    statuses = json.loads(done.stdout)
    outputs = [(folder / path.name).read_text("utf-8") for path in SCRIPTS.values()]
    return dict(zip(SCRIPTS, zip(statuses, outputs, strict=True), strict=True))


def run(words: list[str]) -> "subprocess.CompletedProcess[str]":
    """Run Python."""
    path = str(HERE.parent.parent)
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore", "EVENTLET_TESTS": "1"}
    command = [sys.executable, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment, check=False)
