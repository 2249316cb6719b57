"""`python -m greenprobe.compat.eventlet script.py ...` or `-m module ...`: run a program written for eventlet.

With `--patch` in front, the standard library is patched before the program's first line.
"""

import sys

from greenprobe.compat.eventlet.patcher import monkey_patch
from greenprobe.compat.eventlet.running import main

if __name__ == "__main__":
    patches = sys.argv[1:2] == ["--patch"]
    sys.exit(main(sys.argv[1 + patches :], before=monkey_patch if patches else None))
