"""`python -m greenprobe`: the same as the command `greenprobe`."""

from greenprobe.cli import main

if __name__ == "__main__":
    main()
