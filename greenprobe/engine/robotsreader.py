"""Reading a host's robots.txt: one visitor fetches it, the others wait for what it says.

Redirects are followed, also to other hosts, for HOPS steps (RFC 9309, 2.3.1.2); a loop of them is no robots.txt. Of a
long answer only the start is kept, and what comes behind the bound of bodies is not waited for. What fails for the
moment is asked for again: a host is not given up for one lost connection.
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
from greenprobe.hub import Hub
from greenprobe.outcome import AsyncResult

__all__ = ["RobotsReader"]

HOPS: Final = 5
FIRST_PAUSE: Final = 1.0  # seconds before it is asked for again; doubled each time
PASSING: Final = frozenset({"ConnectionLost", "EmptyReply", "ConnectTimeout", "ReadTimeout", "RobotsUnavailable"})


class RobotsReader:
    """Reads the robots.txt of a crawl's hosts."""

    def __init__(
        self,
        hub: Hub,
        plan: CrawlPlan,
        client: Client,
        scope: Scope,
        trace: Callable[[Url], Trace],
        keep: Callable[[Trace], None],
    ) -> None:
        """`trace` makes the trace of each request, and `keep` gets it when it is over."""
        self._hub = hub
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
            for attempt in range(self._plan.retries + 1):
                robots = self._fetch(origin)
                if robots.error is None or robots.error[0] not in PASSING:
                    break
                if attempt < self._plan.retries:
                    self._hub.sleep(FIRST_PAUSE * 2.0**attempt)
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

    def _fetch(self, origin: str) -> Robots:
        """Return what a host's robots.txt says."""
        agent = self._plan.agent
        url = read_url(origin + "/robots.txt")
        for _ in range(HOPS + 1):
            trace = self._trace(url)
            body = bytearray()
            try:
                self._client.fetch(trace, partial(take_start, body))
            except RedirectError:
                found = canonical(url.text, (trace.headers.get("location") or ("",))[0])
                if isinstance(found, Refused):
                    break
                url = read_url(found.url)
                continue
            except (FetchError, PoolTimeout) as exc:
                return robots_of(trace.status if body else None, bytes(body), agent, exc)
            finally:
                self._keep(trace)
            return robots_of(trace.status, bytes(body), agent)
        return robots_of(404, b"", agent)


def take_start(body: bytearray, piece: bytes) -> None:
    """Keep a piece of a robots.txt, if it is near enough to the start."""
    body.extend(piece[: max(0, MAX_BYTES + 1 - len(body))])
