"""robots.txt: what a host lets us fetch, how often, and where its sitemaps are. Decides; fetches nothing.

The rules are RFC 9309's, by protego: the longest match wins, groups of one agent are merged, `*` and `$` work. What an
answer other than 200 means is section 2.3.1's, a table here:

| answer to /robots.txt | means |
| --- | --- |
| 2xx | its rules, of the first MAX_BYTES |
| 3xx | followed, five at least; then as 404 |
| 4xx | everything is allowed |
| 429 | as 5xx: who is overloaded has not said yes |
| 5xx, no answer | nothing is allowed, in this run |

A document that is HTML is a soft 404: it has no rules in it.
"""

from typing import Final, NamedTuple

from protego import Protego

__all__ = ["MAX_BYTES", "Robots", "robots_of"]

MAX_BYTES: Final = 512 << 10  # RFC 9309, 2.5: at least 500 KiB
MAX_DELAY: Final = 300.0  # seconds; what asks for more means to be left alone
MAX_SITEMAPS: Final = 100


class Robots(NamedTuple):
    """What the robots.txt of a host says to one agent; `delay` is in seconds.

    `error`, a class and a message, tells why it could not be had, if that is so.
    """

    rules: Protego | None
    allows_rest: bool
    agent: str
    delay: float | None
    sitemaps: tuple[str, ...]
    error: tuple[str, str] | None = None

    def allows(self, url: str) -> bool:
        """Tell whether a URL may be fetched."""
        if self.rules is None:
            return self.allows_rest
        return bool(self.rules.can_fetch(url, self.agent))


def robots_of(status: int | None, body: bytes, agent: str, error: Exception | None = None) -> Robots:
    """Return what an answer to /robots.txt means; `status` None is no answer at all, because of `error`."""
    if status is None or status >= 500 or status == 429:
        said = "no answer" if status is None else f"status {status}"
        failure = ("RobotsUnavailable", f"robots.txt: {said}, so nothing is allowed")
        if error is not None:
            failure = (type(error).__name__, f"robots.txt: {error}")
        return Robots(None, False, agent, None, (), failure)
    if not 200 <= status < 300:
        return Robots(None, True, agent, None, ())
    text = body[:MAX_BYTES].decode("utf-8", "replace").lstrip("\ufeff \t\r\n").replace("\0", "")
    if text.startswith("<"):
        return Robots(None, True, agent, None, ())
    if len(body) > MAX_BYTES:
        text = text[: text.rfind("\n") + 1]  # a rule cut in half would forbid too much
    rules = Protego.parse(text)
    delay = rules.crawl_delay(agent)
    sitemaps = tuple(url for url, _ in zip(rules.sitemaps, range(MAX_SITEMAPS), strict=False))
    return Robots(rules, True, agent, None if delay is None else min(float(delay), MAX_DELAY), sitemaps)
