"""What is written of a page: its record, with the page it was found on and the pages it is like.

For that, some of what was met lately is remembered: URLs by number, digests, simhashes; a bounded number of each.
"""

from collections import OrderedDict
from typing import Final

from greenprobe.engine.crawlplan import PageRecord
from greenprobe.engine.frontier import Claim, Frontier
from greenprobe.engine.links import NO_FACTS
from greenprobe.engine.reading import Reading
from greenprobe.engine.similarity import Alike
from greenprobe.http.exchange import REDIRECTS
from greenprobe.http.trace import Trace

__all__ = ["PageRecords"]

REMEMBERED: Final = 100_000  # URLs and digests
MIN_ALIKE_CHARS: Final = 200  # of a page's text; below, pages are alike by chance


class PageRecords:
    """Makes the records of one crawl."""

    def __init__(self, frontier: Frontier) -> None:
        self._frontier = frontier
        self._alike = Alike()
        self._same: OrderedDict[str, str] = OrderedDict()
        self._referrers: OrderedDict[int, str] = OrderedDict()

    def skipped(self, claim: Claim, reason: str) -> PageRecord:
        """Return the record of an address that was not asked for."""
        url = claim.address.url
        return BLANK._replace(url=url, depth=claim.depth, referrer=self._referrer(claim.via), skipped=reason)

    def failed(self, claim: Claim, trace: Trace, attempts: int, error: Exception | None) -> PageRecord:
        """Return the record of what brought no page: an error, a redirect, a status that says so."""
        return self._record(claim, trace, attempts, error, NO_READING, 0, (None, None))

    def page(self, claim: Claim, trace: Trace, attempts: int, reading: Reading, links: int) -> PageRecord:
        """Return the record of a page."""
        url = claim.address.url
        return self._record(
            claim, trace, attempts, None, reading, links, (self._same_as(reading.digest, url), self._like(reading, url))
        )

    def _record(
        self,
        claim: Claim,
        trace: Trace,
        attempts: int,
        error: Exception | None,
        reading: Reading,
        links: int,
        twins: tuple[str | None, str | None],
    ) -> PageRecord:
        url, facts = claim.address.url, reading.facts
        self._referrers[claim.number] = url
        if len(self._referrers) > REMEMBERED:
            self._referrers.popitem(last=False)
        return PageRecord(  # by place: with names it takes twice as long
            url,
            claim.depth,
            self._referrer(claim.via),
            trace.status,
            trace.size_bytes,
            (trace.headers.get("content-type") or (None,))[0],
            location_of(trace) if trace.status in REDIRECTS else None,
            facts.title or None,
            facts.language or None,
            facts.canonical or None,
            tuple(sorted(reading.robots)),
            links,
            facts.left_out,
            reading.unread_bytes,
            reading.digest or None,
            f"{reading.simhash:016x}" if facts.text else None,
            *twins,
            trace.ended - trace.started,
            attempts,
            "",
            None,
            None if error is None else (type(error).__name__, str(error)),
            None,
        )

    def _referrer(self, number: int) -> str | None:
        if not number:
            return None
        return self._referrers.get(number) or self._frontier.url_of(number)

    def _same_as(self, digest: str, url: str) -> str | None:
        """Return an address that had the same bytes."""
        first = self._same.setdefault(digest, url)
        if len(self._same) > REMEMBERED:
            self._same.popitem(last=False)
        return None if first == url else first

    def _like(self, reading: Reading, url: str) -> str | None:
        """Return an address whose text was nearly the same."""
        if len(reading.facts.text) < MIN_ALIKE_CHARS:
            return None
        found = self._alike.find(reading.simhash)
        if found is None:
            self._alike.add(reading.simhash, url)
        return None if found == url else found


def location_of(trace: Trace) -> str | None:
    """Return where a redirect leads; bytes beyond ASCII are UTF-8 if they can be."""
    value = (trace.headers.get("location") or ("",))[0]
    try:
        return value.encode("latin-1").decode() or None
    except UnicodeError:
        return value


NO_READING: Final = Reading(NO_FACTS, frozenset(), "", 0, 0)
BLANK: Final = PageRecord(
    url="", depth=0, referrer=None, status=None, size_bytes=0, content_type=None, location=None, title=None,
    language=None, canonical=None, robots=(), links=0, left_out=0, unread_bytes=0, digest=None, simhash=None,
    duplicate_of=None, near_duplicate_of=None, seconds=0.0, attempts=0, skipped="", rendered=None, error=None,
    fields=None,
)  # fmt: skip
