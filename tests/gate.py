"""A slow server, made of any other: a proxy that holds what its first N clients ask until all N have asked.

usage: gate.py CLIENTS HOST PORT

Prints the port that it serves on. A client that blocks its OS thread never lets the others ask, so nobody gets an
answer: "N operations take the time of one" becomes a question without a clock.
"""

import socket
import sys
import threading

HELD_BYTES = 65536


def pump(source: socket.socket, drain: socket.socket) -> None:
    """Copy one direction until its end."""
    try:
        while data := source.recv(HELD_BYTES):
            drain.sendall(data)
        drain.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def serve(client: socket.socket, upstream: tuple[str, int], gate: threading.Barrier) -> None:
    """Hold a client's first request at the gate, then be a plain proxy."""
    first = client.recv(HELD_BYTES)
    gate.wait()
    with client, socket.create_connection(upstream) as server:
        server.sendall(first)
        back = threading.Thread(target=pump, args=(server, client), daemon=True)
        back.start()
        pump(client, server)
        back.join()


def main(clients: int, host: str, port: int) -> None:
    """Serve for ever."""
    gate = threading.Barrier(clients)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        while True:
            client, _ = listener.accept()
            threading.Thread(target=serve, args=(client, (host, port), gate), daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
