"""Run a program written for eventlet, as Python would, with greenprobe standing in for eventlet."""

import sys
from collections.abc import Callable
from pathlib import Path
from runpy import run_module, run_path
from typing import Final

from greenprobe.compat.eventlet.standin import install
from greenprobe.patcher import what_is_missing

__all__ = ["main"]

USAGE: Final = """usage: python -m greenprobe.compat.eventlet [--patch] SCRIPT [ARGUMENT ...]
       python -m greenprobe.compat.eventlet [--patch] -m MODULE [ARGUMENT ...]

Runs a program with greenprobe standing in for eventlet. Without --patch nothing is patched unless the program does so
itself.
"""


def main(words: list[str], before: Callable[[], object] | None = None) -> int:
    """Run what the words name, after `before()`; return an exit status if nothing could be run."""
    if words in (["-h"], ["--help"]):
        sys.stdout.write(USAGE)
        return 0
    is_module = words[:1] == ["-m"] and len(words) > 1
    if not words or (words[0].startswith("-") and not is_module):
        sys.stderr.write(USAGE)
        return 2
    install()
    if before is not None:
        before()
    sys.path[0] = "" if is_module else str(Path(words[0]).resolve().parent)
    if missing := what_is_missing(words):
        sys.stderr.write(f"{missing}; give a script, or -m and a module\n")
        return 2
    sys.argv = words[1:] if is_module else words
    if is_module:
        run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        run_path(words[0], run_name="__main__")
    return 0
