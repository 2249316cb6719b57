"""A pool of connections: a few connections for many greenthreads, each used by one at a time.

    python examples/echo_server.py 127.0.0.1:7000 &
    python examples/connection_pool.py 127.0.0.1:7000

Connections are made when they are needed, at most so many; who finds none free waits for its turn.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from greenprobe import GreenPool, LifoQueue, Semaphore, connect


class ConnectionPool:
    """At most `size` connections to one place; broken ones are thrown away."""

    def __init__(self, place: tuple[str, int], size: int) -> None:
        self.made = 0
        self._place = place
        self._places = Semaphore(size)
        self._idle: LifoQueue[Any] = LifoQueue()  # the one used last is the one least likely to have timed out

    @contextmanager
    def connection(self) -> Iterator[Any]:
        """Give a connection for the length of a block."""
        with self._places:
            sock = self._idle.get_nowait() if self._idle.qsize() else self._connect()
            try:
                yield sock
            except BaseException:
                sock.close()
                raise
            self._idle.put(sock)

    def _connect(self) -> Any:
        self.made += 1
        return connect(self._place)

    def close(self) -> None:
        """Close those that are idle."""
        while self._idle.qsize():
            self._idle.get_nowait().close()


def ask(pool: ConnectionPool, number: int) -> bytes:
    """Make one round trip."""
    with pool.connection() as sock:
        sock.sendall(b"%d\n" % number)
        return bytes(sock.recv(100))


def main(place: str) -> None:
    host, _, port = place.rpartition(":")
    pool = ConnectionPool((host, int(port)), 10)
    answers = list(GreenPool(100).imap(lambda number: ask(pool, number), range(1000)))
    print(f"{len(answers)} answers over {pool.made} connections")
    pool.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:7000")
