"""A small web site and a few open ports on loopback, for `greenprobe demo`: real sockets, no network.

It answers GET with keep-alive, and does what sites do: pages that link to each other, a redirect, a compressed page, a
slow one, a link to a page that is missing, and a folder that robots.txt keeps for itself.
"""

import gzip
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, Final, Self

from greenprobe.acceptor import connections
from greenprobe.convenience import listen
from greenprobe.green_socket import socket
from greenprobe.greenthread import GreenThread, sleep, spawn

__all__ = ["DemoSite"]

LOOPBACK: Final = "127.0.0.1"
MAX_LINE_BYTES: Final = 1 << 12
MAX_LINES: Final = 100
IDLE_TIMEOUT: Final = 10.0
SLOW: Final = 0.3  # seconds
PAGES: Final = 40
SPECIAL: Final = ("moved", "packed", "slow", "missing")
GREETINGS: Final = (b"SSH-2.0-OpenDemo_1.0\r\n", b"220 demo.example ESMTP\r\n")

ROBOTS: Final = b"User-agent: *\nDisallow: /private/\n"
NOT_FOUND: Final = b"no such page\n"

Handler = Callable[[socket], None]


class DemoSite:
    """The site and two ports that greet. Use it as a context manager; `urls()` and `ports` say what is there."""

    def __init__(self) -> None:
        self._site = listen((LOOPBACK, 0))
        self._greeters = [listen((LOOPBACK, 0)) for _ in GREETINGS]
        self._acceptors: list[GreenThread] = []
        self.ports = sorted(sock.getsockname()[1] for sock in (self._site, *self._greeters))
        self.base = f"http://{LOOPBACK}:{self._site.getsockname()[1]}"

    def urls(self) -> Iterator[str]:
        """Yield what to fetch: good URLs, and three kinds of trouble."""
        for number in range(PAGES):
            yield f"{self.base}/page/{number}"
        yield from (f"{self.base}/{name}" for name in SPECIAL)
        yield "this line is no URL"

    def __enter__(self) -> Self:
        self._acceptors = [spawn(_accept, self._site, _serve)]
        for listener, greeting in zip(self._greeters, GREETINGS, strict=True):
            self._acceptors.append(spawn(_accept, listener, partial(_greet, greeting)))
        return self

    def __exit__(self, *exc_info: object) -> None:
        for acceptor in self._acceptors:
            acceptor.kill()
        for acceptor in self._acceptors:
            acceptor.join()
        for listener in (self._site, *self._greeters):
            listener.close()


def respond(path: str) -> bytes:
    """Return the answer to a GET of `path`."""
    if path == "/" or path == "/slow":
        return _answer("200 OK", page(path))
    if path.startswith("/page/") and path[6:].isdecimal() and int(path[6:]) < PAGES:
        return _answer("200 OK", page(path))
    if path == "/packed":
        return _answer("200 OK", gzip.compress(page(path)), "Content-Encoding: gzip\r\n")
    if path == "/moved":
        return _answer("301 Moved Permanently", b"", "Location: /page/0\r\n")
    if path == "/robots.txt":
        return _answer("200 OK", ROBOTS, kind="text/plain")
    return _answer("404 Not Found", NOT_FOUND, kind="text/plain")


def page(path: str) -> bytes:
    """Return a page: the front page links to the special ones, every page to two others, as the nodes of a tree."""
    number = int(path[6:]) if path.startswith("/page/") else 0
    links = [f"/page/{child}" for child in (2 * number + 1, 2 * number + 2) if child < PAGES]
    if path == "/":
        links += ["/page/0", *(f"/{name}" for name in SPECIAL), "/private/diary"]
    listed = "".join(f'<li><a href="{link}">{link}</a>' for link in links)
    text = f"This is {path} of the embedded site. " * 20
    return f"<!doctype html><html lang=en><title>Demo {path}</title><p>{text}<ul>{listed}</ul>".encode()


def _answer(status: str, body: bytes, more: str = "", *, kind: str = "text/html") -> bytes:
    head = f"HTTP/1.1 {status}\r\nServer: demo\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


def _accept(listener: socket, handle: Handler) -> None:
    conversations: list[GreenThread] = []
    try:
        for connection, _ in connections(listener):
            connection.settimeout(IDLE_TIMEOUT)
            conversations = [one for one in conversations if not one.ready()]
            conversations.append(spawn(_converse, connection, handle))
    finally:
        for one in conversations:
            one.kill()
        for one in conversations:
            one.join()


def _converse(connection: socket, handle: Handler) -> None:
    with connection:
        try:
            handle(connection)
        except OSError:
            pass  # the visitor went away


def _greet(greeting: bytes, connection: socket) -> None:
    connection.sendall(greeting)


def _serve(connection: socket) -> None:
    with connection.makefile("rb") as requests:
        while path := _read_path(requests):
            if path == "/slow":
                sleep(SLOW)
            connection.sendall(respond(path))


def _read_path(requests: IO[bytes]) -> str | None:
    """Read the head of a request and return its path; None when there is no further request."""
    words = requests.readline(MAX_LINE_BYTES).split()
    for _ in range(MAX_LINES):
        if requests.readline(MAX_LINE_BYTES) in (b"\r\n", b"\n", b""):
            break
    return words[1].decode("latin-1") if len(words) == 3 else None
