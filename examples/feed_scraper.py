"""Dispatch: a server that, asked once, asks many others at once. POST it URLs of feeds, a line each; it gives titles.

    python examples/feed_scraper.py 127.0.0.1:7004
    printf 'http://127.0.0.1:8000/feed.xml\n' | curl --data-binary @- http://127.0.0.1:7004/

All requests share one pool and one client: the pool bounds what all of them ask for together.
"""

import re
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from html import unescape
from typing import Any

from greenprobe import GreenPool
from greenprobe.http import Client
from greenprobe.wsgi import Server

MAX_BODY_BYTES = 1 << 16
TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.DOTALL | re.IGNORECASE)

pool = GreenPool(200)
client = Client()


def title_of(url: str) -> str:
    """Return a line about one feed."""
    try:
        found = TITLE.search(client.get(url).text)
        return f"{url}: {unescape(found[1]).strip() if found else 'no title'}\n"
    except Exception as error:
        return f"{url}: {type(error).__name__}: {error}\n"


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Be the application."""
    if environ["REQUEST_METHOD"] != "POST":
        start_response("405 Method Not Allowed", [("Content-Type", "text/plain"), ("Allow", "POST")])
        return [b"POST the URLs of feeds, a line each\n"]
    urls = environ["wsgi.input"].read(MAX_BODY_BYTES).decode("utf-8", "replace").split()
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return (line.encode() for line in pool.imap(title_of, urls))


def main(place: str) -> None:
    host, _, port = place.rpartition(":")
    server = Server((host, int(port)), app)
    server.start()
    print(f"scraping at {host}:{server.address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:7004")
