"""A chat over plain TCP: what one writes, all others read. Names come first.

    python examples/chat_server.py 127.0.0.1:7001
    nc 127.0.0.1 7001

Each member has a queue and a greenthread that empties it, so one who reads slowly holds up nobody; who falls too far
behind is dropped.
"""

import sys
from contextlib import suppress
from typing import Any

from greenprobe import Full, GreenThread, Queue, StreamServer, spawn

MAX_LINE_BYTES = 1000
MAX_BEHIND = 100  # lines

Lines = Queue[bytes]
members: dict[Lines, GreenThread] = {}


def say(line: bytes, but_not_to: Lines | None = None) -> None:
    """Put a line into every queue, and drop whose queue is full."""
    for lines, writer in list(members.items()):
        if lines is but_not_to:
            continue
        try:
            lines.put_nowait(line)
        except Full:
            writer.kill()


def write_all(sock: Any, lines: Lines) -> None:
    """Send what comes into a queue."""
    try:
        while True:
            sock.sendall(lines.get())
    except OSError:
        pass
    finally:
        sock.close()  # wakes the reader, too


def serve(sock: Any, address: Any) -> None:
    """Serve one member."""
    reader = sock.makefile("rb")
    sock.sendall(b"your name: ")
    name = reader.readline(MAX_LINE_BYTES).strip()
    lines: Lines = Queue(MAX_BEHIND)
    members[lines] = spawn(write_all, sock, lines)
    say(b"* " + name + b" is here\n")
    try:
        while line := reader.readline(MAX_LINE_BYTES):
            say(name + b": " + line.strip() + b"\n", but_not_to=lines)
    except OSError:
        pass
    finally:
        members.pop(lines).kill()
        with suppress(OSError):
            reader.close()
        say(b"* " + name + b" has left\n")


def main(place: str) -> None:
    host, _, port = place.rpartition(":")
    server = StreamServer((host, int(port)), serve)
    server.start()
    print(f"chatting at {host}:{server.address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:7001")
