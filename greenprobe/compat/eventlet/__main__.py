"""Run a program written for eventlet: `python -m greenprobe.compat.eventlet script.py ...` or `-m module ...`."""

import sys
from pathlib import Path
from runpy import run_module, run_path

from greenprobe.compat.eventlet.standin import install

USAGE = """usage: python -m greenprobe.compat.eventlet SCRIPT [ARGUMENT ...]
       python -m greenprobe.compat.eventlet -m MODULE [ARGUMENT ...]

Runs a program with greenprobe standing in for eventlet. Nothing is patched unless the program does so itself.
"""


def main(words: list[str]) -> int:
    """Run what the words name; return an exit status if nothing could be run."""
    if words[:1] == ["-m"] and len(words) > 1:
        install()
        sys.argv = words[1:]
        sys.path[0] = ""
        run_module(words[1], run_name="__main__", alter_sys=True)
        return 0
    if not words or words[0].startswith("-"):
        (sys.stdout if words in (["-h"], ["--help"]) else sys.stderr).write(USAGE)
        return 0 if words in (["-h"], ["--help"]) else 2
    script = Path(words[0])
    if not script.exists():
        sys.stderr.write(f"cannot run {words[0]!r}: there is no such file; give a script, or -m and a module\n")
        return 2
    install()
    sys.argv = words
    sys.path[0] = str(script.resolve().parent)
    run_path(words[0], run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
