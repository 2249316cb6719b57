"""A crawler that finds its own work: every page is fetched in the pool, and its links go to the same pool.

    python examples/recursive_crawler.py http://127.0.0.1:8000/

It stays on the host it began with. `greenprobe crawl` is the grown-up version.
"""

import sys
from html.parser import HTMLParser
from urllib.parse import urldefrag, urljoin, urlsplit

from greenprobe import GreenPool
from greenprobe.http import Client

MAX_PAGES = 1000


class Links(HTMLParser):
    """Collects the links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if tag == "a" and name == "href" and value]


class Crawler:
    """One crawl."""

    def __init__(self, start: str) -> None:
        self.host = urlsplit(start).netloc
        self.seen: set[str] = set()
        self.pool = GreenPool(50)
        self.client = Client()
        self.add(start)

    def add(self, url: str) -> None:
        """Have a page fetched, unless it was."""
        url = urldefrag(url).url
        if url not in self.seen and urlsplit(url).netloc == self.host and len(self.seen) < MAX_PAGES:
            self.seen.add(url)
            self.pool.spawn_n(self.visit, url)  # in a full pool it runs here and now: no deadlock

    def visit(self, url: str) -> None:
        """Fetch a page and add what it links."""
        try:
            answer = self.client.get(url)
        except Exception as error:
            print(type(error).__name__, url)
            return
        print(answer.status, url)
        links = Links()
        links.feed(answer.text)
        for link in links.found:
            self.add(urljoin(url, link))

    def run(self) -> None:
        """Wait until nothing is left to do."""
        self.pool.waitall()
        self.client.close()
        print(f"{len(self.seen)} pages")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: recursive_crawler.py URL")
    Crawler(sys.argv[1]).run()
