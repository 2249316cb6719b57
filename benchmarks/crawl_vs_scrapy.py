"""Pages a second of a crawl: `greenprobe crawl` beside Scrapy, in turn, on a site of its own.

    pip install scrapy
    python benchmarks/crawl_vs_scrapy.py [--runs 3] [--pages 10000]

The site: that many pages of about 4 kB on 20 addresses of loopback, a tree that reaches all of them and random links
beside it; robots.txt on half of the hosts. nginx serves it on core 1 and logs, the crawlers run on core 0. Both obey
robots.txt, with 100 requests at once and 16 a host. greenprobe keeps its frontier in a file (SQLite) and writes JSON
lines; Scrapy keeps its queue in memory and writes nothing. Pages are counted in nginx's log, and all must be there.
"""

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import nginx

HOSTS = [f"127.0.0.{number}" for number in range(1, 21)]
BRANCHES = 8
CONFIG = """
daemon off; worker_processes 1; {affinity} pid {state}/nginx.pid; error_log {state}/error.log warn;
events {{ worker_connections 4096; }}
http {{
    log_format page '$host $uri $status $http_user_agent'; access_log {state}/access.log page buffer=64k flush=1s;
    types {{ text/html html; text/plain txt; }} keepalive_requests 100000000; tcp_nodelay on;
    open_file_cache max=20000 inactive=600s; open_file_cache_valid 600s;
    client_body_temp_path {state}/t1; proxy_temp_path {state}/t2; fastcgi_temp_path {state}/t3;
    uwsgi_temp_path {state}/t4; scgi_temp_path {state}/t5;
    server {{ {listens} root {state}/site/$host; }}
}}
"""
SPIDER = """
import sys
import scrapy
from scrapy.crawler import CrawlerProcess
from scrapy.linkextractors import LinkExtractor

class Spider(scrapy.Spider):
    name = "bench"
    start_urls = [sys.argv[1]]
    links = LinkExtractor()

    def parse(self, response):
        for link in self.links.extract_links(response):
            yield scrapy.Request(link.url)

settings = dict(
    LOG_LEVEL="CRITICAL", ROBOTSTXT_OBEY=True, CONCURRENT_REQUESTS=100, CONCURRENT_REQUESTS_PER_DOMAIN=16,
    DOWNLOAD_DELAY=0, TELNETCONSOLE_ENABLED=False, USER_AGENT="scrapy",
    SCHEDULER_PRIORITY_QUEUE="scrapy.pqueues.DownloaderAwarePriorityQueue",
)
process = CrawlerProcess(settings)
process.crawl(Spider)
process.start()
"""


class Used(NamedTuple):
    """What a crawl took, and how many pages the server saw, all and different ones."""

    seconds: float
    cpu: float
    peak_mb: float
    requests: int
    pages: int


def build_site(folder: Path, pages: int, port: int) -> None:
    """Write the site: page `n` of a host links to its children in a tree, and to pages at random."""
    chance = random.Random(1)
    words = ["".join(chance.choices("abcdefghijklmnoprstuvw", k=chance.randint(3, 9))) for _ in range(3000)]
    each = pages // len(HOSTS)
    for number, host in enumerate(HOSTS):
        (folder / host).mkdir(parents=True)
        for page in range(each):
            children = range(page * BRANCHES + 1, min(each, page * BRANCHES + 1 + BRANCHES))
            links = [f"/{child}.html" for child in children] + [f"/{chance.randrange(each)}.html" for _ in range(6)]
            links += [f"http://{chance.choice(HOSTS)}:{port}/{chance.randrange(each)}.html" for _ in range(2)]
            if page == 0:
                links += [f"http://{other}:{port}/0.html" for other in HOSTS[2 * number + 1 : 2 * number + 3]]
            text = "".join(f"<p>{' '.join(chance.choices(words, k=30))} <a href='{link}'>x</a></p>\n" for link in links)
            (folder / host / f"{page}.html").write_text(f"<html><title>{host} {page}</title><body>{text}</body></html>")
        if number % 2:
            (folder / host / "robots.txt").write_text("User-agent: *\nDisallow: /private/\n")


@contextmanager
def serving(state: Path, pages: int) -> Iterator[int]:
    """Serve the site with nginx on core 1; give the port."""
    port = nginx.free_port()
    build_site(state / "site", pages, port)
    state.chmod(0o755)
    listens = " ".join(f"listen {host}:{port} backlog=4096;" for host in HOSTS)
    affinity = "worker_cpu_affinity 10;" if 1 in os.sched_getaffinity(0) else ""
    (state / "nginx.conf").write_text(CONFIG.format(state=state, listens=listens, affinity=affinity))
    server = subprocess.Popen(["nginx", "-p", str(state), "-c", str(state / "nginx.conf"), "-e", f"{state}/error.log"])
    try:
        nginx.wait_until_open(server, port)
        yield port
    finally:
        server.terminate()
        server.wait(10)


def crawl(state: Path, name: str, command: list[str]) -> Used:
    """Run a crawler on core 0 and count what nginx saw of it."""
    log = state / "access.log"
    before = log.stat().st_size
    began = time.monotonic()
    running = subprocess.Popen(["taskset", "-c", "0", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(running.pid, 0)
    seconds = time.monotonic() - began
    running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        raise RuntimeError(f"{name} ended with {running.returncode}")
    time.sleep(1.5)  # nginx flushes its log
    with log.open() as lines:
        lines.seek(before)
        asked = Counter(tuple(line.split()[:2]) for line in lines if ".html" in line)
    return Used(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, asked.total(), len(asked))


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--pages", type=int, default=10_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        (state / "spider.py").write_text(SPIDER)
        with serving(state, args.pages) as port:
            start = f"http://{HOSTS[0]}:{port}/0.html"
            found: dict[str, list[Used]] = {"greenprobe": [], "scrapy": []}
            for number in range(args.runs):
                files = ["--state", f"{state}/state{number}", "-o", f"{state}/out"]
                words = [start, "--within", "any", "--per-host", "16", *files]
                ours = [sys.executable, "-m", "greenprobe", "crawl", *words]
                found["greenprobe"].append(crawl(state, "greenprobe", ours))
                if shutil.which("scrapy", path=os.path.dirname(sys.executable)):
                    spider = [sys.executable, str(state / "spider.py"), start]
                    found["scrapy"].append(crawl(state, "scrapy", spider))
    print("| crawler | pages/s | CPU µs a page | peak MB | requests | different pages |")
    print("| --- | --- | --- | --- | --- | --- |")
    rates = {}
    for name, runs in found.items():
        if runs:
            rates[name] = statistics.median(run.pages / run.seconds for run in runs)
            cpu = statistics.median(run.cpu / run.pages * 1e6 for run in runs)
            last = runs[-1]
            print(f"| {name} | {rates[name]:,.0f} | {cpu:,.0f} | {last.peak_mb:.0f} | {last.requests} | {last.pages} |")
    if len(rates) == 2:
        print(f"\n{rates['greenprobe'] / rates['scrapy']:.1f} times Scrapy (target 8)")


if __name__ == "__main__":
    main()
