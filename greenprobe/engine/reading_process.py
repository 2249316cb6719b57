"""A process that reads big pages for a crawl: jobs come in on standard input, what they say goes out, one at a time.

Not for people: `readers.py` starts it. It ends when its standard input does. Memory is bounded: a page that takes more
ends it.
"""

import os
import resource
import sys
from contextlib import suppress
from typing import Final

from greenprobe.engine.frames import frame_of, read_frame
from greenprobe.engine.reading import understood

__all__ = ["main"]

MAX_MEMORY_BYTES: Final = 1 << 30


def main() -> None:
    """Read jobs to the end."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while True:
        sink.write(frame_of(understood(*read_frame(source))))
        sink.flush()


if __name__ == "__main__":
    with suppress(EOFError, BrokenPipeError, MemoryError):
        main()
    os._exit(0)  # whatever standard output still holds, nobody reads it
