"""A polite crawl of many hosts at once: how near it comes to the ideal time, and whether any host was asked too soon.

    python benchmarks/crawl_politely.py [--hosts 200] [--pages 50] [--delay 0.2]

The hosts are addresses of loopback (127.0.1.1 and so on), served by a process of its own, which notes when each request
came and when its answer went out. A host's first page links to all the others. Between an answer and the host's next
request the delay must lie; the ideal time is that of the delays alone, `delay * (requests of a host - 1)`, from the
first request to the last.
"""

import argparse
import asyncio
import multiprocessing
import random
import subprocess
import sys
import time
from collections import defaultdict
from itertools import pairwise
from multiprocessing.connection import Connection

Span = tuple[float, float]  # request read, answer ready


def body_of(host: str, path: str, pages: int) -> str:
    """Return a page with words of its own; the first links to the others."""
    chance = random.Random(host + path)
    words = " ".join("".join(chance.choices("abcdefghijklmnop", k=7)) for _ in range(60))
    links = "".join(f"<a href='/{number}.html'>x</a>" for number in range(1, pages)) if path == "/" else ""
    return f"<html><title>{host} {path}</title><p>{words}</p>{links}"


def serve(hosts: int, pages: int, pipe: Connection) -> None:
    """Serve until something is sent, then send back the spans by host."""
    spans: dict[str, list[Span]] = defaultdict(list)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host = writer.get_extra_info("sockname")[0]
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                came = time.monotonic()
                path = head.split(b" ", 2)[1].decode()
                known = path != "/robots.txt"
                body = body_of(host, path, pages).encode() if known else b""
                status = b"200 OK" if known else b"404 Not Found"
                kind = b"Content-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(body)
                answered = time.monotonic()  # before the write: a stamp behind it could be late by a time slice
                writer.write(b"HTTP/1.1 " + status + b"\r\n" + kind + body)
                spans[host].append((came, answered))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def run() -> None:
        first = await asyncio.start_server(talk, "127.0.1.1", 0, backlog=512)
        port = first.sockets[0].getsockname()[1]
        for number in range(2, hosts + 1):
            await asyncio.start_server(talk, f"127.0.1.{number}", port, backlog=512)
        pipe.send(port)
        await asyncio.to_thread(pipe.recv)
        pipe.send(dict(spans))

    asyncio.run(run())


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=200)
    parser.add_argument("--pages", type=int, default=50)
    parser.add_argument("--delay", type=float, default=0.2)
    args = parser.parse_args()
    if not 1 <= args.hosts <= 254:
        parser.error(f"--hosts {args.hosts} must be from 1 to 254")
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("fork").Process(
        target=serve, args=(args.hosts, args.pages, theirs), daemon=True
    )
    server.start()
    port = ours.recv()
    starts = [f"http://127.0.1.{number}:{port}/" for number in range(1, args.hosts + 1)]
    words = ["--delay", str(args.delay), "--concurrency", str(args.hosts), "--progress", "off", "-o", "/dev/null"]
    subprocess.run([sys.executable, "-m", "greenprobe", "crawl", *starts, *words], check=True)
    ours.send("stop")
    spans: dict[str, list[Span]] = ours.recv()
    server.join(10)
    gaps = [after[0] - before[1] for host in spans.values() for before, after in pairwise(sorted(host))]
    requests = sum(map(len, spans.values()))
    everything = [span for host in spans.values() for span in host]
    took = max(everything)[0] - min(everything)[0]
    ideal = args.delay * (max(map(len, spans.values())) - 1)
    print(f"{len(spans)} hosts, {requests:,} requests (expected {args.hosts * (args.pages + 1):,})")
    print(f"took {took:.2f} s, ideal {ideal:.2f} s: {took / ideal:.3f} (target 1.10)")
    print(f"shortest gap of a host {min(gaps):.4f} s; {sum(gap < args.delay for gap in gaps)} under {args.delay} s")


if __name__ == "__main__":
    main()
