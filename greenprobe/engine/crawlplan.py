"""What `crawl` is to do, and what it found: frozen, plain data."""

from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from greenprobe.engine.canonical import Address, QueryRule, Refused, canonical
from greenprobe.engine.links import Link
from greenprobe.engine.scope import ScopeRules
from greenprobe.errors import TargetError, UnwantedType
from greenprobe.http.client import ClientOptions
from greenprobe.http.wire import Headers

__all__ = [
    "CrawlPlan",
    "CrawlStatistics",
    "Examine",
    "Examined",
    "LinkRecord",
    "PageRecord",
    "TypeRule",
    "start_of",
]


class TypeRule(NamedTuple):
    """How many bytes of a media type are taken at most: "text/html", "image/*"; None for the bound of all bodies."""

    pattern: str
    limit_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class CrawlPlan:
    """How to crawl: from where, how far, how fast, and how each page is asked for.

    `delay` is seconds between the end of one request to a host (and to an IP address) and the start of the next;
    robots.txt may ask for more. `max_pages` and `max_host_pages` count addresses that are asked for, however often, and
    `max_seconds` is how long new ones are. `retries` is how often what failed for the moment is asked again. Big pages
    are read by up to `processes` others (see readers.py). `same_ip` keeps to hosts that have an address of a start.
    `types` bounds bodies by their media type, the first that fits; what fits none is taken as it is, or left after its
    head; `body_memory_bytes` bounds all bodies together (see bodyroom.py). With a `browser` (its path), up to `renders`
    HTML pages at once are rendered before they are read, each in so many seconds.
    """

    starts: tuple[Address, ...]
    scope: ScopeRules = field(default_factory=ScopeRules)
    query: QueryRule = QueryRule.CLEAN
    concurrency: int = 100
    per_host: int = 4
    delay: float = 0.0
    max_pages: int | None = None
    max_host_pages: int | None = None
    max_seconds: float | None = None
    obeys_robots: bool = True
    follows_nofollow: bool = False
    reads_sitemaps: bool = True
    fetches_assets: bool = False
    retries: int = 2
    processes: int = 1
    same_ip: bool = False
    body_memory_bytes: int = 256 << 20
    types: tuple[TypeRule, ...] = ()
    takes_other_types: bool = True
    agent: str = "greenprobe"
    browser: str = ""
    renders: int = 2
    render_seconds: float = 10.0
    client: ClientOptions = field(default_factory=lambda: ClientOptions(max_redirects=0))

    def limit_of(self, headers: Headers) -> int | None:
        """Return how many bytes of an answer are taken, None for no bound of its own. Raises UnwantedType."""
        if not self.types:
            return None
        media_type = (headers.get("content-type") or ("",))[0].partition(";")[0].strip().lower()
        for pattern, limit_bytes in self.types:
            if fnmatchcase(media_type, pattern):
                return limit_bytes
        if self.takes_other_types:
            return None
        raise UnwantedType(f"{media_type or 'no type'} is not wanted")


def start_of(text: str) -> Address:
    """Return the address of a start; "http://" is added where there is no scheme. Raises TargetError."""
    written = text if "://" in text else f"http://{text}"
    found = canonical(written, written, QueryRule.KEEP)
    if isinstance(found, Refused):
        raise TargetError(
            f"{text!r} cannot be a start of a crawl ({found.reason}); write http://HOST/ or https://HOST/"
        )
    return found


class Examined(NamedTuple):
    """What a script made of a page: fields for its record, and links that it adds."""

    fields: dict[str, Any]
    hrefs: tuple[str, ...]


# Called with the address, headers and body of each HTML page.
Examine = Callable[[Address, Headers, bytes], Examined]


class LinkRecord(NamedTuple):
    """A link that was found: the page it is on, where it leads, and what a crawler does about it.

    `verdict` is "" if it is walked, else why not. What is answered there is not known yet: the status of its row.
    """

    page: str
    url: str
    link: Link
    verdict: str

    def row(self) -> dict[str, Any]:
        """Return the record as JSON has it."""
        link = self.link
        return {
            "type": "link",
            "from": self.page,
            "to": self.url,
            "kind": link.kind,
            "rel": link.rel,
            "text": link.text,
            "verdict": self.verdict or "followed",
            "status": None,
        }


class PageRecord(NamedTuple):
    """What came of one address. With an error, the rest is what was learned before it.

    `skipped` tells why there is no page: not asked for ("robots", "budget", "host limit", "other address"), or not
    wanted ("content type"); "" if there is one, or was to be. `location` is where a redirect leads; `left_out` counts
    links over the bound, `unread_bytes` what is beyond the part of a page that is read; `duplicate_of` is an address
    that had the same bytes. `rendered` is "ok", or why what a browser made of the page is not whole. `fields` are what
    a script extracted.
    """

    url: str
    depth: int
    referrer: str | None
    status: int | None
    size_bytes: int
    content_type: str | None
    location: str | None
    title: str | None
    language: str | None
    canonical: str | None
    robots: tuple[str, ...]
    links: int
    left_out: int
    unread_bytes: int
    digest: str | None
    simhash: str | None
    duplicate_of: str | None
    near_duplicate_of: str | None
    seconds: float
    attempts: int
    skipped: str
    rendered: str | None
    error: tuple[str, str] | None
    fields: dict[str, Any] | None

    def row(self) -> dict[str, Any]:
        """Return the record as JSON has it."""
        row = {"type": "page", **self._asdict(), "error": None}
        row["bytes"] = row.pop("size_bytes")
        row["links_left_out"] = row.pop("left_out")
        row["seconds"] = round(self.seconds, 6)
        row["skipped"] = self.skipped or None
        if self.fields is None:
            del row["fields"]
        if self.error is not None:
            row["error"] = {"class": self.error[0], "message": self.error[1]}
        return row


class CrawlStatistics(NamedTuple):
    """How far a crawl is. `pages` were asked for and answered, `failed` not; `skipped` were not to be had."""

    pages: int
    failed: int
    skipped: int
    pending: int
    in_flight: int
    hosts: int
    by_class: tuple[int, ...]
    body_bytes: int
    seconds: float
    errors: dict[str, int]
