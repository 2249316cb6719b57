"""A crawl that is killed at random moments: is each page in each of its outputs exactly once?

    python benchmarks/crawl_killed.py [--kills 20] [--pages 10000]

The site of crawl_vs_scrapy.py. `greenprobe crawl` writes results, links, a graph, a WARC file and a database, with its
frontier in a file; it is killed (kill -9) up to 0.2 s after it wrote something new, again and again, and the last run
ends by itself.
"""

import argparse
import json
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from crawl_vs_scrapy import HOSTS, serving
from lxml import etree
from warcio.archiveiterator import ArchiveIterator

LONGEST_MOMENT = 0.2  # seconds
NODE = "{http://graphml.graphdrawing.org/xmlns}node"


def archived(path: Path) -> list[str]:
    """Return the URLs of the responses in a WARC file, robots.txt left out."""
    with path.open("rb") as file:
        urls = [
            record.rec_headers.get_header("WARC-Target-URI")
            for record in ArchiveIterator(file)
            if record.rec_type == "response"
        ]
    return [url for url in urls if not url.endswith("/robots.txt")]


def killed_at_work(command: list[str], output: Path) -> bool:
    """Start a crawl, and kill it a moment after its output has grown; tell whether it was still at work."""
    before = length_of(output)
    with subprocess.Popen(command) as running:
        while length_of(output) == before and running.poll() is None:
            time.sleep(0.005)
        time.sleep(random.uniform(0, LONGEST_MOMENT))
        running.kill()
    return running.returncode == -signal.SIGKILL


def length_of(path: Path) -> int:
    """Return how long a file is, 0 if there is none."""
    return path.stat().st_size if path.exists() else 0


def statuses_of(path: Path) -> Counter[int | None]:
    """Count the links by what they lead to."""
    with path.open() as lines:
        return Counter(json.loads(line)["status"] for line in lines)


def main() -> None:
    """Parse the command line, crawl and kill, and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--pages", type=int, default=10_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), args.pages) as port:
        files = {name: Path(folder) / f"out{name}" for name in (".jsonl", ".links", ".graphml", ".warc.gz", ".db")}
        words = [f"http://{HOSTS[0]}:{port}/0.html", "--within", "any", "--per-host", "16", "--progress", "off"]
        options = ("-o", "--links", "--graph", "--warc", "--sqlite")
        words += [word for pair in zip(options, map(str, files.values()), strict=True) for word in pair]
        command = [sys.executable, "-m", "greenprobe", "crawl", *words, "--state", str(Path(folder) / "frontier")]
        hits = sum(killed_at_work(command, files[".jsonl"]) for _ in range(args.kills))
        subprocess.run(command, check=True)
        database = sqlite3.connect(files[".db"])
        found = {
            "results": [json.loads(line)["url"] for line in files[".jsonl"].open()],
            "database": [url for (url,) in database.execute("SELECT url FROM page")],
            "archive": archived(files[".warc.gz"]),
            "graph": [node.get("id") for node in etree.parse(files[".graphml"]).iter(NODE)],
        }
        statuses = statuses_of(files[".links"])
        (in_database,) = database.execute("SELECT count(*) FROM link").fetchone()
    print("| output | pages | different ones | twice |\n| --- | --- | --- | --- |")
    for name, urls in found.items():
        counts = Counter(urls)
        print(f"| {name} | {len(urls):,} | {len(counts):,} | {sum(count > 1 for count in counts.values())} |")
    print(f"\n{hits} of {args.kills} kills hit a crawl at work")
    print(f"{statuses.total():,} links in the file, {in_database:,} in the database; they lead to {dict(statuses)}")


if __name__ == "__main__":
    main()
