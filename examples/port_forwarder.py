"""A port forwarder: every connection goes on to another place, each direction closed when its end comes.

python examples/port_forwarder.py 127.0.0.1:7002 127.0.0.1:80
"""

import socket
import sys
from contextlib import suppress
from functools import partial
from typing import Any

from greenprobe import StreamServer, connect, spawn


def pump(source: Any, target: Any) -> None:
    """Send on what comes, then the end of it."""
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass  # one side has gone: so the other is told
    finally:
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


def forward(there: tuple[str, int], client: Any, address: Any) -> None:
    """Serve one connection."""
    with connect(there) as server:
        back = spawn(pump, server, client)
        pump(client, server)
        back.join()


def place(text: str) -> tuple[str, int]:
    """Read HOST:PORT."""
    host, _, port = text.rpartition(":")
    return host, int(port)


def main(here: str, there: str) -> None:
    server = StreamServer(place(here), partial(forward, place(there)))
    server.start()
    print(f"forwarding {server.address[0]}:{server.address[1]} to {there}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: port_forwarder.py HERE THERE, each as HOST:PORT")
    with suppress(KeyboardInterrupt):
        main(*sys.argv[1:])
