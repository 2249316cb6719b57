"""Running Python code in a process of its own, patched before its first line or when it says so."""

import os
import subprocess
import sys
from textwrap import dedent

__all__ = ["python", "run"]

PATCH = "import greenprobe; greenprobe.monkey_patch()\n"


def python(*words: str, timeout: float = 30, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run this Python with warnings as errors; what it printed, and its exit status."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    words = (sys.executable, "-W", "error", *words)
    return subprocess.run(words, check=False, input=stdin, capture_output=True, text=True, timeout=timeout, env=env)


def run(code: str, *, patch: str = PATCH, timeout: float = 30) -> list[str]:
    """Run `code` patched, and return the lines that it printed; it must succeed and print no traceback."""
    done = python("-c", patch + dedent(code), timeout=timeout)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return done.stdout.splitlines()
