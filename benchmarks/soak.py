"""Millions of echo round trips over connections that come and go; what is left afterwards.

usage: soak.py [CONTENDER] [--trips N] [--connections N]

A thousand clients talk to one echo server in the same process. A connection lives for 50 to 350 round trips and ends in
one of three ways: closed by the client, half-closed and drained, or reset; every second one has a timeout set. Memory,
descriptors and greenlets are written down at the start, twenty times on the way, and at the end. Exit status 1 if
memory grew after the first tenth, or if descriptors or greenlets are left that were not there at the start.
"""

import argparse
import gc
import importlib
import random
import resource
import socket
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from greenlet import greenlet
from meter import cpu, open_fds, rss_kib

RESET = struct.pack("ii", 1, 0)  # SO_LINGER with zero seconds: close() sends RST
MOST_GROWTH_KIB = 1024  # between the warm-up and the end; an allocator's noise is some hundred


@dataclass(frozen=True)
class Reading:
    """What the process holds at one moment."""

    trips: int
    rss_kib: float
    fds: int
    greenlets: int


class Soak:
    """The server, the clients, and the counts."""

    def __init__(self, lib: Any, trips: int, connections: int) -> None:
        self.lib = lib
        self.trips = trips
        self.connections = connections
        self.done = 0
        self.opened = 0
        self.random = random.Random(2)
        self.listener = lib.green(socket.create_server(("127.0.0.1", 0), backlog=4096))
        self.address = self.listener.getsockname()
        self.readings: list[Reading] = []
        self.next_reading = trips // 20

    def serve(self) -> None:
        """Accept for ever, one greenthread a connection."""
        while True:
            sock, _ = self.listener.accept()
            self.lib.spawn(echo, sock)

    def client(self) -> None:
        """Open connections one after the other until the trips are done."""
        while self.done < self.trips:
            sock = self.lib.socket(socket.AF_INET, socket.SOCK_STREAM)
            sock.connect(self.address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.opened += 1
            if self.opened % 2:
                sock.settimeout(60)
            self.talk(sock, self.random.randint(50, 350))
            ENDINGS[self.opened % 3](sock)

    def talk(self, sock: Any, trips: int) -> None:
        """Do so many round trips on one connection."""
        for number in range(trips):
            sent = b"%d" % number
            sock.send(sent)
            if sock.recv(64) != sent:
                raise AssertionError("the echo is not what was sent")
            self.done += 1
            if self.done >= self.trips:
                return
        if self.done >= self.next_reading:
            self.next_reading += self.trips // 20
            self.read()

    def read(self) -> None:
        """Write down what the process holds, and print it."""
        alive = sum(isinstance(thing, greenlet) and not thing.dead for thing in gc.get_objects())
        reading = Reading(self.done, rss_kib(), open_fds(), alive)
        self.readings.append(reading)
        print(f"{reading.trips:>12,} {reading.rss_kib:>12,.0f} {reading.fds:>6} {reading.greenlets:>9}", flush=True)

    def run(self) -> None:
        """Start everything, wait for the clients, and let the server see their ends."""
        self.lib.spawn(self.serve)
        self.lib.sleep(0.1)
        self.read()
        running = [self.lib.spawn(self.client) for _ in range(self.connections)]
        for one in running:
            self.lib.join(one)
        del running, one
        self.lib.sleep(0.5)
        self.read()


def echo(sock: Any) -> None:
    """Send back what comes until the client is gone."""
    try:
        while data := sock.recv(64):
            sock.send(data)
    except ConnectionError:
        pass
    finally:
        sock.close()


def close(sock: Any) -> None:
    """End a connection with FIN."""
    sock.close()


def drain(sock: Any) -> None:
    """Half-close, and read to the end."""
    sock.shutdown(socket.SHUT_WR)
    if sock.recv(64) != b"":
        raise AssertionError("data after the end")
    sock.close()


def reset(sock: Any) -> None:
    """End a connection with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()


ENDINGS: tuple[Callable[[Any], None], ...] = (close, drain, reset)


def grown(readings: list[Reading]) -> list[str]:
    """Return what grew, in words: memory from a tenth of the way on, the rest over the whole run."""
    first, last = readings[0], readings[-1]
    faults = []
    growth_kib = max(reading.rss_kib for reading in readings[-4:]) - readings[2].rss_kib
    if growth_kib > MOST_GROWTH_KIB:
        faults.append(f"resident memory grew by {growth_kib:,.0f} KiB")
    if last.fds > first.fds:
        faults.append(f"descriptors: {first.fds} before, {last.fds} after")
    if last.greenlets > first.greenlets:
        faults.append(f"greenlets: {first.greenlets} before, {last.greenlets} after")
    return faults


def main() -> int:
    """Parse the command line, run, and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("contender", nargs="?", default="greenprobe")
    parser.add_argument("--trips", type=int, default=10_000_000)
    parser.add_argument("--connections", type=int, default=1000)
    args = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soak = Soak(importlib.import_module(f"contender_{args.contender}"), args.trips, args.connections)
    print(f"{'round trips':>12} {'RSS KiB':>12} {'fds':>6} {'greenlets':>9}")
    start = cpu()
    soak.run()
    each = (cpu() - start) / soak.done * 1e6
    faults = grown(soak.readings)
    print(
        f"{soak.done:,} round trips, {soak.opened:,} connections, {each:.1f} µs of CPU each: "
        f"{'; '.join(faults) or 'nothing grew'}"
    )
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
