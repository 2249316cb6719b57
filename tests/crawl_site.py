"""A site for the crawler's tests, in memory: pages by URL, each with its time; it notes what is asked, and when."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from greenprobe.errors import FetchError, RedirectError
from greenprobe.http.connections import Address as NetworkAddress
from greenprobe.http.exchange import REDIRECTS
from greenprobe.http.trace import Trace
from greenprobe.http.wire import Headers
from greenprobe.hub import Hub

__all__ = ["Answer", "FakeSite", "page"]

HTML = "text/html; charset=utf-8"


class Answer:
    """One answer: what a server says, and after how many seconds."""

    def __init__(
        self,
        body: str | bytes = "",
        *,
        status: int = 200,
        seconds: float = 0.001,
        error: FetchError | None = None,
        **headers: str,
    ) -> None:
        self.body = body.encode() if isinstance(body, str) else body
        self.status = status
        self.seconds = seconds
        self.error = error
        named = {"content_type": HTML, **headers}
        self.headers: Headers = {name.replace("_", "-"): (value,) for name, value in named.items()}


def page(title: str, *hrefs: str, extra: str = "") -> Answer:
    """Return a page with links, and words of its own."""
    words = " ".join(f"{title}{letter}" for letter in "abcdefghijklmnopqrstuvwxyz" * 2)
    links = " ".join(f'<a href="{href}">{href}</a>' for href in hrefs)
    return Answer(f"<html><head><title>{title}</title>{extra}</head><body><p>{words}</p>{links}")


class FakeSite:
    """Stands in for a client: `fetch` plays what is registered. An unknown path is a 404, an unknown host an error.

    A list of answers is played one after the other; the last stays.
    """

    def __init__(self, hub: Hub, pages: dict[str, Answer | list[Answer] | Callable[[str], Answer]]) -> None:
        self.hub = hub
        self.pages = pages
        self.asked: list[tuple[float, str]] = []
        self.spans: list[tuple[float, float, str]] = []
        self.addresses: dict[str, str] = {}

    def fetch(self, trace: Trace, sink: Any = None, request: Any = None, *, open_sink: Any = None) -> None:
        """Play the answer to the URL of a trace, as `Client.fetch` would."""
        url = trace.url.text
        trace.started = self.hub.clock()
        self.asked.append((trace.started, url))
        answer = self.answer_to(url)
        self.hub.sleep(answer.seconds)
        trace.ended = self.hub.clock()
        trace.first_byte = answer.seconds
        self.spans.append((trace.started, trace.ended, url))
        if answer.error is not None:
            raise answer.error
        trace.status, trace.headers, trace.size_bytes = answer.status, answer.headers, len(answer.body)
        if answer.status in REDIRECTS:
            raise RedirectError("more than 0 redirects")
        take = sink if sink is not None else open_sink(trace)
        if take is not None:
            take(answer.body)

    def answer_to(self, url: str) -> Answer:
        """Return the next answer for a URL."""
        found = self.pages.get(url)
        if found is None:
            pattern = next((key for key in self.pages if key.endswith("*") and url.startswith(key[:-1])), "")
            found = self.pages.get(pattern, Answer("no", status=404))
        if isinstance(found, list):
            return found.pop(0) if len(found) > 1 else found[0]
        return found if isinstance(found, Answer) else found(url)

    def resolve(self, host: str, port: int, timeout: float) -> list[NetworkAddress]:
        """Give every host an address: one of its own unless `addresses` says else."""
        return [NetworkAddress(2, (self.addresses.get(host, f"of {host}"), port))]

    def requests(self) -> list[str]:
        """Return the URLs that were asked for, in order, without robots.txt."""
        return [url for _, url in self.asked if not url.endswith("/robots.txt")]

    def counts(self) -> Counter[str]:
        """Return how often each URL was asked for."""
        return Counter(url for _, url in self.asked)
