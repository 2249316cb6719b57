"""The work that is measured, written once and run by each contender in a process of its own.

usage: workloads.py CONTENDER CASE COUNT [HOST:PORT]     (core.py calls it; prints one JSON object)

A case does COUNT operations between two readings of the CPU clock, after a short run to warm up, and returns what one
operation took, in microseconds of CPU; the memory cases return KiB. No case knows which contender it runs on.
"""

import importlib
import json
import os
import resource
import socket
import sys
from collections.abc import Callable
from typing import Any

from meter import cpu, peak_kib, rss_kib

Case = Callable[[Any, int, str], float]


def per_op(work: Callable[[int], None], count: int) -> float:
    """Return the CPU microseconds of one operation of `work`, warmed up by a twentieth of `count`."""
    work(max(1, count // 20))
    start = cpu()
    work(count)
    return (cpu() - start) / count * 1e6


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected TCP sockets on loopback, still blocking."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        left = socket.create_connection(listener.getsockname())
        right, _ = listener.accept()
    for end in (left, right):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return left, right


def echo(lib: Any, count: int, _where: str, timeout: float | None = None) -> float:
    """One byte there and back over TCP between two greenthreads: two waits a round trip."""
    left, right = map(lib.green, tcp_pair())
    left.settimeout(timeout)
    right.settimeout(timeout)

    def serve() -> None:
        while data := right.recv(64):
            right.send(data)

    def ask(times: int) -> None:
        for _ in range(times):
            left.send(b"x")
            left.recv(64)

    server = lib.spawn(serve)
    result = per_op(lambda times: lib.join(lib.spawn(ask, times)), count)
    left.close()
    lib.join(server)
    return result


def echo_timeout(lib: Any, count: int, where: str) -> float:
    """The same with a socket timeout of five seconds."""
    return echo(lib, count, where, 5.0)


REQUEST = b"GET /1k HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n"


def read_response(sock: Any) -> None:
    """Read one response with a Content-Length of 1024."""
    data = sock.recv(65536)
    while (end := data.find(b"\r\n\r\n")) < 0 or len(data) < end + 4 + 1024:
        more = sock.recv(65536)
        if not more:
            raise EOFError(f"closed after {len(data)} bytes")
        data += more
    if not data.startswith(b"HTTP/1.1 200"):
        raise ValueError(data[:80])


def http(lib: Any, count: int, where: str, timeout: float | None = None) -> float:
    """1 kB keep-alive GETs on 100 connections, one greenthread each."""
    host, _, port = where.partition(":")
    clients = []
    for _ in range(100):
        sock = lib.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.connect((host, int(port)))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(timeout)
        clients.append(sock)

    def client(sock: Any, times: int) -> None:
        for _ in range(times):
            sock.sendall(REQUEST)
            read_response(sock)

    def all_clients(times: int) -> None:
        running = [lib.spawn(client, sock, max(1, times // 100)) for sock in clients]
        for one in running:
            lib.join(one)

    result = per_op(all_clients, count)
    for sock in clients:
        sock.close()
    return result


def http_timeout(lib: Any, count: int, where: str) -> float:
    """The same with a socket timeout of five seconds."""
    return http(lib, count, where, 5.0)


def connect(lib: Any, count: int, _where: str) -> float:
    """Connects that are refused, a greenthread and a socket each, through a pool of 100."""
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))  # bound, not listening: the kernel refuses, and nobody else gets the port
        address = unheard.getsockname()
        refused = 0

        def attempt() -> None:
            nonlocal refused
            sock = lib.socket(socket.AF_INET, socket.SOCK_STREAM)
            try:
                sock.connect(address)
            except ConnectionRefusedError:
                refused += 1
            finally:
                sock.close()

        def all_attempts(times: int) -> None:
            pool = lib.Pool(100)
            for _ in range(times):
                lib.pool_spawn(pool, attempt)
            lib.pool_join(pool)

        result = per_op(all_attempts, count)
    if refused != count + max(1, count // 20):
        raise AssertionError(f"{refused} of {count} refused")
    return result


def nothing() -> None:
    """Do nothing."""


def spawn(lib: Any, count: int, _where: str) -> float:
    """Spawn and wait of a no-op, all alive at once."""

    def all_alive(times: int) -> None:
        running = [lib.spawn(nothing) for _ in range(times)]
        for one in running:
            lib.join(one)

    return per_op(all_alive, count)


def sleep0(lib: Any, count: int, _where: str) -> float:
    """sleep(0) with nobody else to run."""
    sleep = lib.sleep

    def naps(times: int) -> None:
        for _ in range(times):
            sleep(0)

    return per_op(naps, count)


def queue(lib: Any, count: int, _where: str) -> float:
    """A value put into a queue of 10 by one greenthread and taken out by another."""

    def both(times: int) -> None:
        values = lib.Queue(10)

        def produce() -> None:
            for number in range(times):
                values.put(number)

        def consume() -> None:
            for _ in range(times):
                values.get()

        running = [lib.spawn(produce), lib.spawn(consume)]
        for one in running:
            lib.join(one)

    return per_op(both, count)


def timeout(lib: Any, count: int, _where: str) -> float:
    """Start and cancel of a timeout."""
    start, cancel = lib.start_timeout, lib.cancel_timeout

    def cycles(times: int) -> None:
        for _ in range(times):
            cancel(start(60))

    return per_op(cycles, count)


def timeouts_memory(lib: Any, count: int, _where: str) -> float:
    """KiB of resident memory that timeouts leave behind or needed at their peak, a thousand alive at a time."""

    def batch() -> None:
        alive = [lib.start_timeout(60) for _ in range(1000)]
        for one in alive:
            lib.cancel_timeout(one)
        lib.sleep(0)

    batch()
    before = rss_kib()
    for _ in range(count // 1000):
        batch()
    return max(rss_kib(), peak_kib()) - before


def parked(lib: Any, count: int, _where: str) -> float:
    """KiB of resident memory of a greenthread that waits for an event."""
    event = lib.Event()
    waiting = 0

    def park() -> None:
        nonlocal waiting
        waiting += 1
        event.wait()

    before = rss_kib()
    running = [lib.spawn(park) for _ in range(count)]
    while waiting < count:  # gevent starts them over several turns of its loop
        lib.sleep(0.01)
    result = (rss_kib() - before) / count
    lib.event_set(event)
    for one in running:
        lib.join(one)
    return result


CASES: dict[str, Case] = {
    case.__name__: case
    for case in (
        echo,
        echo_timeout,
        http,
        http_timeout,
        connect,
        spawn,
        sleep0,
        queue,
        timeout,
        timeouts_memory,
        parked,
    )
}


def main(contender: str, name: str, count: str, where: str = "") -> None:
    """Run one case and print its figure."""
    os.sched_setaffinity(0, {0})
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    lib = importlib.import_module(f"contender_{contender}")
    print(json.dumps(CASES[name](lib, int(count), where)))


if __name__ == "__main__":
    main(*sys.argv[1:])
