"""The floor under a fetch: what CPython and the kernel take for it with no library and no green thread at all.

    python benchmarks/fetch_floor.py FILE CONCURRENCY OUTPUT

One epoll loop over raw sockets sends a GET for every line of FILE to the host of the first, and writes for each answer
the row that `greenprobe fetch` writes, but nothing else is done: no URL is read beyond a cut, no answer checked, no
timeout kept, no error handled, nothing counted, and an answer is taken to be whole with its first piece. So it is no
client; it is what a client in Python cannot be cheaper than.
"""

import os
import select
import sys
from _socket import AF_INET, SOCK_STREAM, socket
from collections.abc import Iterator
from time import monotonic, time

import orjson

FLUSH_BYTES = 1 << 17
RECEIVE_BYTES = 1 << 16
REQUEST = b"GET %b HTTP/1.1\r\nHost: %b\r\nUser-Agent: floor\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\n\r\n"


class Known(dict[bytes, tuple[str, tuple[str]]]):
    """Lines of headers, read once."""

    def __missing__(self, line: bytes) -> tuple[str, tuple[str]]:
        name, _, value = line.decode("latin-1").partition(": ")
        pair = self[line] = name.lower(), (value,)
        return pair


known = Known()


def row_of(number: int, url: bytes, data: bytes, began: float, address: str) -> bytes:
    """Read an answer and return its line."""
    end = data.index(b"\r\n\r\n")
    first, *lines = data[:end].split(b"\r\n")
    headers = dict(map(known.__getitem__, lines))
    text = url.decode()
    took = int((monotonic() - began) * 1e6) / 1e6
    row = {
        "v": 1,
        "line": number,
        "url": text,
        "final_url": text,
        "status": int(first[9:12]),
        "bytes": len(data) - end - 4,
        "content_type": headers["content-type"][0],
        "redirects": (),
        "elapsed": {"dns": None, "connect": None, "tls": None, "first_byte": took, "total": took},
        "address": address,
        "sent_bytes": 100,
        "received_bytes": len(data),
        "attempts": 1,
        "ended": int(time() * 1e3) / 1e3,
        "headers": headers,
        "error": None,
    }
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


class Loop:
    """The sockets, and what each of them is asked."""

    def __init__(self, urls: Iterator[tuple[int, bytes]], host: bytes) -> None:
        self.urls = urls
        self.host = host
        name, _, port = host.decode().partition(":")
        self.address = name, int(port or 80)
        self.poll = select.epoll()
        self.asked: dict[int, tuple[socket, int, bytes, float]] = {}

    def connect(self) -> None:
        """Open a connection and ask for the next URL."""
        sock = socket(AF_INET, SOCK_STREAM)
        sock.connect(self.address)
        sock.setblocking(False)
        self.poll.register(sock.fileno(), select.EPOLLIN | select.EPOLLET)
        self.ask(sock)

    def ask(self, sock: socket) -> None:
        """Ask for the next URL, if there is one."""
        entry = next(self.urls, None)
        if entry is not None:
            number, url = entry
            sock.send(REQUEST % (url[7 + len(self.host) :], self.host))
            self.asked[sock.fileno()] = sock, number, url, monotonic()

    def rows(self) -> Iterator[bytes]:
        """Yield the line of every answer, and ask on."""
        asked, name = self.asked, self.address[0]
        while asked:
            for fd, _ in self.poll.poll():
                sock, number, url, began = asked.pop(fd)
                yield row_of(number, url, sock.recv(RECEIVE_BYTES), began, name)
                self.ask(sock)


def main(path: str, concurrency: int, out: int) -> None:
    """Fetch them all."""
    with open(path, "rb") as file:
        urls = list(enumerate(map(bytes.strip, file), 1))
    loop = Loop(iter(urls), urls[0][1].split(b"/")[2])
    for _ in range(min(concurrency, len(urls))):
        loop.connect()
    waiting = []
    size_bytes = 0
    for row in loop.rows():
        waiting.append(row)
        size_bytes += len(row)
        if size_bytes >= FLUSH_BYTES:
            os.write(out, b"".join(waiting))
            waiting.clear()
            size_bytes = 0
    os.write(out, b"".join(waiting))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), os.open(sys.argv[3], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666))
