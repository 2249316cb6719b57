"""`python -m greenprobe.compat.eventlet script.py ...` or `-m module ...`: run a program written for eventlet."""

import sys

from greenprobe.compat.eventlet.running import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
