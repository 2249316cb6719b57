"""Reading pages here or in other processes: what it costs the crawl's own thread, by the size of a page.

    python benchmarks/crawl_reading.py

Pages of paragraphs with a link each are read and their links joined, here and by one process (`engine/readers.py`);
CPU time of this thread, the least of three rounds.
"""

import random
import time

from greenprobe.engine import readers
from greenprobe.engine.canonical import Address, QueryRule
from greenprobe.engine.readers import Readers
from greenprobe.greenthread import spawn
from greenprobe.hub import get_hub

SIZES_KB = (4, 16, 48, 128, 512)
AT_ONCE = 20
HTML = {"content-type": ("text/html",)}
chance = random.Random(1)
WORDS = ["".join(chance.choices("abcdefghijklm", k=chance.randint(3, 9))) for _ in range(3000)]


def page(size_bytes: int) -> bytes:
    """Return a page of about this size."""
    parts = ["<html><title>t</title><body>"]
    while sum(map(len, parts)) < size_bytes:
        parts += [
            f"<p>{' '.join(chance.choices(WORDS, k=30))} <a href='/{chance.randrange(10**6)}.html'>x</a></p>\n"
            for _ in range(10)
        ]
    return "".join(parts).encode()


def cpu_of(reading: Readers, pages: list[bytes]) -> float:
    """Return the microseconds of CPU that a page takes this thread."""
    began = time.thread_time()
    greens = [
        spawn(reading.read, Address("http://a.test", f"/{number}"), HTML, body, QueryRule.CLEAN)
        for number, body in enumerate(pages)
    ]
    for green in greens:
        green.wait()
    return (time.thread_time() - began) / len(pages) * 1e6


def main() -> None:
    """Measure."""
    readers.HERE_BYTES = 0
    print("| page | read here, µs | handed over, µs |\n| --- | --- | --- |")
    here, elsewhere = Readers(get_hub(), 0), Readers(get_hub(), 1)
    for size_kb in SIZES_KB:
        pages = [page(size_kb << 10) for _ in range(AT_ONCE)] * max(1, 64 // size_kb)
        figures = [min(cpu_of(reading, pages) for _ in range(3)) for reading in (here, elsewhere)]
        print(f"| {size_kb} kB | {figures[0]:,.0f} | {figures[1]:,.0f} |", flush=True)
    elsewhere.close()


if __name__ == "__main__":
    main()
