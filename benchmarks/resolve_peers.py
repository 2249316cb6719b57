"""One contender of resolve_vs_peers.py: look every name of a list up, print how many were answered.

    python benchmarks/resolve_peers.py KIND LIST HOST:PORT CONCURRENCY

KIND: aiodns, dnspython (threads), greendns (eventlet) ask for A; greendns-pair and greenprobe-pair call getaddrinfo
for both families; greenprobe-cached calls it 10,000 times for one name; greenprobe-burst asks from 1,000 greenthreads
at once. The last two print what they measure themselves.
"""

import collections
import contextlib
import socket
import sys
import threading
import time
from typing import Any

kind, path, server, concurrency = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
host, port = server.split(":")[0], int(server.split(":")[1])
with open(path) as lines:
    todo = collections.deque(line.strip() for line in lines)
done = collections.Counter[str]()


def aiodns_a() -> None:
    import asyncio

    import aiodns

    async def main() -> None:
        resolver = aiodns.DNSResolver(nameservers=[host], udp_port=int(port), tcp_port=int(port), timeout=10, tries=3)
        ask = getattr(resolver, "query_dns", resolver.query)

        async def work() -> None:
            while todo:
                await ask(todo.popleft() + ".", "A")
                done["ok"] += 1

        await asyncio.gather(*(work() for _ in range(concurrency)))

    try:
        import uvloop
    except ImportError:
        asyncio.run(main())
    else:
        uvloop.run(main())


def dnspython_a() -> None:
    import dns.resolver

    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port, resolver.lifetime = [host], int(port), 30

    def work() -> None:
        with contextlib.suppress(IndexError):
            while True:
                resolver.resolve(todo.popleft() + ".", "A")
                done["ok"] += 1

    threads = [threading.Thread(target=work) for _ in range(concurrency)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def greendns(family: int) -> None:
    import eventlet
    from eventlet.green import socket as green
    from eventlet.support import greendns as module

    inner = module.resolver._resolver
    inner.nameservers, inner.port, inner.lifetime = [host], int(port), 30

    def work() -> None:
        while todo:
            green.getaddrinfo(todo.popleft() + ".", 80, family, socket.SOCK_STREAM)
            done["ok"] += 1

    pool = eventlet.GreenPool(concurrency)
    for _ in range(concurrency):
        pool.spawn(work)
    pool.waitall()


def greenprobe_resolver() -> Any:
    from greenprobe import green_dns
    from greenprobe.dns.resolver import Resolver

    resolver = Resolver([server])
    green_dns.install(resolver)
    return green_dns


def greenprobe_pair() -> None:
    from greenprobe import spawn

    getaddrinfo = greenprobe_resolver().getaddrinfo

    def work() -> None:
        while todo:
            getaddrinfo(todo.popleft() + ".", 80, 0, socket.SOCK_STREAM)
            done["ok"] += 1

    for green in [spawn(work) for _ in range(concurrency)]:
        green.wait()


def greenprobe_cached() -> None:
    getaddrinfo = greenprobe_resolver().getaddrinfo
    getaddrinfo(todo[0], 80, 0, socket.SOCK_STREAM)
    began = time.process_time()
    for _ in range(10_000):
        getaddrinfo(todo[0], 80, 0, socket.SOCK_STREAM)
    done["us"] = round((time.process_time() - began) * 100 * 100)  # hundredths of a microsecond each


def greenprobe_burst() -> None:
    from greenprobe import spawn

    module = greenprobe_resolver()
    greens = [spawn(module.getaddrinfo, todo[0], 80, 0, socket.SOCK_STREAM) for _ in range(1000)]
    done["ok"] = sum(len(green.wait()) == 2 for green in greens)
    done["queries"] = next(iter(module.installed().resolver._tools.values()))[0].counts.queries


KINDS = {
    "aiodns": aiodns_a,
    "dnspython": dnspython_a,
    "greendns": lambda: greendns(socket.AF_INET),
    "greendns-pair": lambda: greendns(0),
    "greenprobe-pair": greenprobe_pair,
    "greenprobe-cached": greenprobe_cached,
    "greenprobe-burst": greenprobe_burst,
}
KINDS[kind]()
print(" ".join(f"{name}={count}" for name, count in done.items()))
