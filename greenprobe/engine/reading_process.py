"""A process that reads big pages for a crawl: jobs come in on standard input, what they say goes out, one at a time.

Not for people: `readers.py` starts it. It ends when its standard input does. A page that takes more than so much memory
or time ends it, also if whoever started it is gone by then: an alarm that nobody handles kills, whatever is running.
"""

import os
import resource
import signal
import sys
from contextlib import suppress
from typing import Final

from greenprobe.engine.frames import frame_of, read_frame
from greenprobe.engine.reading import understood

__all__ = ["main"]

MAX_MEMORY_BYTES: Final = 1 << 30
MAX_SECONDS: Final = 30  # readers.py loses patience before


def main() -> None:
    """Read jobs to the end."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while True:
        job = read_frame(source)
        signal.alarm(MAX_SECONDS)
        sink.write(frame_of(understood(*job)))
        signal.alarm(0)
        sink.flush()


if __name__ == "__main__":
    with suppress(EOFError, BrokenPipeError, MemoryError):
        main()
    os._exit(0)  # whatever standard output still holds, nobody reads it
