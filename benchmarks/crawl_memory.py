"""What bodies cost in memory when many big ones come at once: a crawl with several bounds on all of them together.

    python benchmarks/crawl_memory.py [--pages 100] [--megabytes 9] [--body-memory 64 256 2048]

One host, on loopback, in a process of its own; its front page links to the big ones, which are words, so that each is
read as a page. All are asked for at once, and none ends before the others have come as far as they may: the last piece
of each is sent when nothing has moved for 0.2 s. The peak is that of the crawl's process, without the one that reads.
"""

import argparse
import asyncio
import multiprocessing
import os
import subprocess
import sys
import time
from itertools import islice, product
from multiprocessing.connection import Connection

MEGABYTE = 1 << 20
PIECE = 1 << 16
QUIET_SECONDS = 0.2


def serve(pages: int, size_bytes: int, pipe: Connection) -> None:
    """Serve for ever; send the port that was found."""
    names = map("".join, islice(product("abcdefghij", repeat=4), pages))  # numbers would share one budget
    front = "".join(f"<a href='/{name}'>x</a>" for name in names).encode()
    moved = [time.monotonic()]
    words = b"<p>" + b"one more word " * (size_bytes // 14)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ", 2)[1]
                body = front if path == b"/" else path + words
                status = b"404 Not Found" if path == b"/robots.txt" else b"200 OK"
                kind = b"Content-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(body)
                writer.write(b"HTTP/1.1 " + status + b"\r\n" + kind)
                for start in range(0, len(body), PIECE):
                    while start + PIECE >= len(body) > PIECE and time.monotonic() - moved[0] < QUIET_SECONDS:
                        await asyncio.sleep(0.02)
                    writer.write(body[start : start + PIECE])
                    await writer.drain()
                    moved[0] = time.monotonic()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(talk, "127.0.0.1", 0, backlog=512)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def crawled(url: str, pages: int, bound_bytes: int) -> tuple[float, float]:
    """Crawl once; return the peak of memory in MB, and the seconds it took."""
    words = ["--per-host", str(pages), "--concurrency", str(pages), "--body-memory", str(bound_bytes)]
    began = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, "-m", "greenprobe", "crawl", url, *words, "--progress", "off"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert child.stdout is not None
    read = sum(b'"status":200' in line for line in child.stdout)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode or read != pages + 1:
        raise SystemExit(f"the crawl ended with {child.returncode} and read {read} pages of {pages + 1}")
    return usage.ru_maxrss * 1024 / 1e6, time.monotonic() - began


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=100, help="at most 10,000")
    parser.add_argument("--megabytes", type=int, default=9, help="of each page")
    parser.add_argument("--body-memory", type=int, nargs="+", default=[64, 256, 2048], metavar="MiB")
    args = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("fork").Process(
        target=serve, args=(args.pages, args.megabytes * MEGABYTE, theirs), daemon=True
    )
    server.start()
    url = f"http://127.0.0.1:{ours.recv()}/"
    print(f"{args.pages} pages of {args.megabytes} MiB, all at once")
    for bound in args.body_memory:
        peak, seconds = crawled(url, args.pages, bound * MEGABYTE)
        print(f"--body-memory {bound:,} MiB: peak {peak:,.0f} MB, {seconds:.1f} s", flush=True)
    server.terminate()
    server.join()


if __name__ == "__main__":
    main()
