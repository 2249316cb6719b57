"""Reading a host's robots.txt: one visitor fetches it, the others wait for what it says.

Redirects are followed, also to other hosts, for HOPS steps (RFC 9309, 2.3.1.2); a loop of them is no robots.txt. Of a
long answer only the start is kept, and what comes behind the bound of bodies is not waited for.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from greenprobe.engine.canonical import Address, Refused, canonical
from greenprobe.engine.crawlhosts import Host
from greenprobe.engine.crawlplan import CrawlPlan
from greenprobe.engine.frontier import Found, rank_of
from greenprobe.engine.robots import MAX_BYTES, Robots, robots_of
from greenprobe.engine.scope import Scope
from greenprobe.errors import FetchError, PoolTimeout, RedirectError
from greenprobe.http.client import Client
from greenprobe.http.trace import Trace
from greenprobe.http.urls import Url, read_url
from greenprobe.outcome import AsyncResult

__all__ = ["RobotsReader"]

HOPS: Final = 5


class RobotsReader:
    """Reads the robots.txt of a crawl's hosts."""

    def __init__(
        self,
        plan: CrawlPlan,
        client: Client,
        scope: Scope,
        trace: Callable[[Url], Trace],
        keep: Callable[[Trace], None],
    ) -> None:
        """`trace` makes the trace of each request, and `keep` gets it when it is over."""
        self._trace = trace
        self._keep = keep
        self._plan = plan
        self._client = client
        self._scope = scope

    def read(self, host: Host, origin: str) -> float | None:
        """Read a host's, and return the delay that it asks for, in seconds; who comes meanwhile waits for it."""
        outcome: AsyncResult[Robots] = AsyncResult()
        host.robots = outcome
        robots = robots_of(None, b"", self._plan.agent)
        try:
            robots = robots_of(*self._fetch(origin), self._plan.agent)
        finally:
            outcome.set(robots)
        return robots.delay

    def sitemaps(self, host: Host, origin: str) -> Iterator[Found]:
        """Yield the sitemaps that it names and that are in scope."""
        assert host.robots is not None
        for href in host.robots.wait().sitemaps:
            found = canonical(origin + "/", href, self._plan.query)
            if isinstance(found, Address) and not self._scope.verdict(found, 0):
                yield Found(found, 0, 0, rank_of(0))

    def _fetch(self, origin: str) -> tuple[int | None, bytes]:
        """Return the status and the start of a host's robots.txt; status None if there is no answer."""
        url = read_url(origin + "/robots.txt")
        for _ in range(HOPS + 1):
            trace = self._trace(url)
            body = bytearray()
            try:
                self._client.fetch(trace, partial(take_start, body))
            except RedirectError:
                found = canonical(url.text, (trace.headers.get("location") or ("",))[0])
                if isinstance(found, Refused):
                    return 404, b""
                url = read_url(found.url)
                continue
            except (FetchError, PoolTimeout):
                return (trace.status, bytes(body)) if body else (None, b"")
            finally:
                self._keep(trace)
            return trace.status, bytes(body)
        return 404, b""


def take_start(body: bytearray, piece: bytes) -> None:
    """Keep a piece of a robots.txt, if it is near enough to the start."""
    body.extend(piece[: max(0, MAX_BYTES + 1 - len(body))])
