"""The command `greenprobe`, and `python -m greenprobe`: Ctrl-C ends it with a line, also while it is being loaded."""

import sys

from greenprobe.lazy import Lazy
from greenprobe.process import interrupts_held

cli = Lazy("greenprobe.cli")


def main() -> None:
    """Load the command line and run it; the process ends with its code."""
    try:
        with interrupts_held():
            start = cli.main
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    start()


if __name__ == "__main__":
    main()
