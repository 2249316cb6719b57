"""An echo server: what a client sends comes back, for as many clients as there are.

python examples/echo_server.py 127.0.0.1:7000
nc 127.0.0.1 7000
"""

import sys
from contextlib import suppress
from typing import Any

from greenprobe import StreamServer


def echo(sock: Any, address: Any) -> None:
    """Serve one client; the socket is closed when this returns."""
    while data := sock.recv(65536):
        sock.sendall(data)


def main(place: str) -> None:
    host, _, port = place.rpartition(":")
    server = StreamServer((host, int(port)), echo, pool=10_000)
    server.start()
    print(f"echoing at {host}:{server.address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:7000")
