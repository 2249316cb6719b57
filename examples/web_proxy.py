"""A forward proxy: http URLs are fetched for the client, CONNECT opens a tunnel. For a browser on this machine.

    python examples/web_proxy.py 127.0.0.1:7003
    curl -x http://127.0.0.1:7003 http://example.com/

A WSGI application: CONNECT takes the connection over.
"""

import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

from port_forwarder import place, pump

import greenprobe
from greenprobe import connect, spawn
from greenprobe.http.request_head import header_pairs
from greenprobe.wsgi import Server

HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}


def tunnel(environ: dict[str, Any]) -> None:
    """Connect the client to where it wants to go, and carry bytes both ways."""
    with connect(place(environ["REQUEST_URI"])) as there:
        here, early = environ["greenprobe.connection"].hijack()
        here.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        there.sendall(early)
        back = spawn(pump, there, here)
        pump(here, there)
        back.join()


def fetch(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Make the request, and pass the answer on as it comes."""
    url = urlsplit(environ["REQUEST_URI"])
    connection = HTTPConnection(url.hostname or "", url.port or 80, timeout=30)
    pairs = header_pairs(environ["greenprobe.request"].lines)
    fields = {name: value for name, value in pairs if name.lower() not in HOP_BY_HOP}
    body = environ["wsgi.input"].read() or None
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    try:
        connection.request(environ["REQUEST_METHOD"], target, body, fields)
        answer = connection.getresponse()
        kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in HOP_BY_HOP]
        start_response(f"{answer.status} {answer.reason}", kept)
        while data := answer.read1(65536):
            yield data
    finally:
        connection.close()


def proxy(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Be the application."""
    try:
        if environ["REQUEST_METHOD"] == "CONNECT":
            tunnel(environ)
            return []
        if not environ["REQUEST_URI"].startswith("http://"):
            start_response("400 Bad Request", [("Content-Type", "text/plain")])
            return [b"this is a proxy: ask for http:// URLs\n"]
        return fetch(environ, start_response)
    except OSError as error:
        start_response("502 Bad Gateway", [("Content-Type", "text/plain")])
        return [f"{error}\n".encode()]


def main(here: str) -> None:
    greenprobe.monkey_patch()  # http.client waits green
    server = Server(place(here), proxy)
    server.start()
    print(f"proxying at {server.address[0]}:{server.address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:7003")
