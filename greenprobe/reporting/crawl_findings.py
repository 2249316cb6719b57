"""What a report of a crawl shows, gathered from its pages and, where they were written, its links, in bounded memory.

The pages come first: they say which addresses are broken or lead elsewhere. The links then say who points at those, and
are read twice: an address that a sitemap lists is an orphan only if no link of a page leads to it. Without links, the
page that a broken one was first found on is all that is known of who holds it.

Lines are outside data, however they came about: what is not as it should be is counted and left out.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from heapq import heappush, heappushpop
from typing import Any, Final

from greenprobe.reporting.findings import host_of, nested, number, rows_of, text

__all__ = ["CrawlFindings", "gather_crawl", "is_page_row"]

MAX_BROKEN: Final = 5000
MAX_REDIRECTS: Final = 20_000
MAX_SHOWN: Final = 2000  # redirects and orphans in the tables
MAX_LISTED: Final = 200_000  # addresses of sitemaps
MAX_GROUPS: Final = 500  # of duplicates
MAX_HOLDERS: Final = 10  # pages that hold a broken link, and members of a group, by name
MAX_DEPTH: Final = 40
SLOWEST: Final = 50
MAX_SECTIONS: Final = 1000  # that are counted
DRAWN: Final = 24  # sections in the picture
MAX_HOPS: Final = 20

Row = dict[str, Any]
CLASSES: Final = ("1xx", "2xx", "3xx", "4xx", "5xx", "failed", "skipped")


class Broken:
    """A broken address, and who points at it."""

    __slots__ = ("holders", "links", "referrer", "why")

    def __init__(self, why: str, referrer: str) -> None:
        self.why = why
        self.referrer = referrer
        self.links = 0
        self.holders: list[list[str]] = []  # page, kind, what the link says

    def row(self, url: str) -> list[Any]:
        """Return the cells of the table."""
        holders = self.holders or ([[self.referrer, "", ""]] if self.referrer else [])
        return [url, self.why, self.links, holders]


class Group:
    """Addresses that are like one another: how many, the first one too, and some of the others."""

    __slots__ = ("others", "size")

    def __init__(self) -> None:
        self.size = 1
        self.others: list[str] = []


class CrawlFindings:
    """The counts behind a report of a crawl."""

    def __init__(self) -> None:
        self.records = self.broken_lines = self.bytes = self.links = 0
        self._hosts: Counter[str] = Counter()
        self._depths: dict[int, Counter[str]] = {}
        self._statuses: Counter[str] = Counter()
        self._skipped: Counter[str] = Counter()
        self._examples: dict[str, list[list[str]]] = {}
        self._broken: dict[str, Broken] = {}
        self._redirects: dict[str, list[Any]] = {}
        self._slowest: list[tuple[float, str, int]] = []
        self._same: dict[str, Group] = {}
        self._alike: dict[str, Group] = {}
        self._verdicts: Counter[str] = Counter()
        self._listed: dict[str, str] = {}
        self._sections: Counter[tuple[str, str]] = Counter()

    # -- pages

    def add_page(self, row: Row) -> None:
        """Take one page."""
        url, outcome = text(row.get("url")), outcome_of(row)
        self.records += 1
        self.bytes += int(number(row.get("bytes")))
        depth = min(MAX_DEPTH, max(0, int(number(row.get("depth")))))
        self._depths.setdefault(depth, Counter())[outcome] += 1
        host = host_of(row)
        if host in self._hosts or len(self._hosts) < MAX_SECTIONS:
            self._hosts[host] += 1
        if outcome == "skipped":
            self._add_skipped(text(row["skipped"]), url, text(row.get("referrer") or ""))
            return
        self._add_slow(number(row.get("seconds")), url, int(number(row.get("bytes"))))
        why = text(nested(row, "error", "class") or row.get("status"))
        self._statuses[why] += 1
        if outcome in {"4xx", "5xx", "failed"} and len(self._broken) < MAX_BROKEN:
            self._broken[url] = Broken(why, text(row.get("referrer") or ""))
        elif row.get("location") and len(self._redirects) < MAX_REDIRECTS:
            self._redirects[url] = [row.get("status"), text(row["location"]), "", 0]
        for name, groups in (("duplicate_of", self._same), ("near_duplicate_of", self._alike)):
            if row.get(name):
                self._add_alike(groups, text(row[name]), url)

    def _add_skipped(self, reason: str, url: str, referrer: str) -> None:
        self._skipped[reason] += 1
        examples = self._examples.setdefault(reason, []) if len(self._examples) < MAX_GROUPS else []
        if len(examples) < MAX_HOLDERS:
            examples.append([url, f"found on {referrer}" if referrer else "listed or a start"])

    def _add_slow(self, seconds: float, url: str, size: int) -> None:
        if len(self._slowest) < SLOWEST:
            heappush(self._slowest, (seconds, url, size))
        else:
            heappushpop(self._slowest, (seconds, url, size))

    def _add_alike(self, groups: dict[str, Group], first: str, url: str) -> None:
        if first not in groups and len(groups) >= MAX_GROUPS:
            return
        group = groups.setdefault(first, Group())
        group.size += 1
        if len(group.others) < MAX_HOLDERS:
            group.others.append(url)

    # -- links

    def add_link(self, row: Row) -> None:
        """Take one link; all pages have been taken before."""
        page, target, kind = text(row.get("from")), text(row.get("to")), text(row.get("kind"))
        verdict = text(row.get("verdict"))
        self.links += 1
        if verdict in self._verdicts or len(self._verdicts) < MAX_GROUPS:
            self._verdicts[verdict] += 1
        broken = self._broken.get(target)
        if broken is not None:
            broken.links += 1
            if len(broken.holders) < MAX_HOLDERS:
                broken.holders.append([page, kind, text(row.get("text") or "")])
        redirect = self._redirects.get(target)
        if redirect is not None:
            redirect[3] += 1
        if kind == "redirect" and page in self._redirects:
            self._redirects[page][2] = target
        if kind == "listed":
            if len(self._listed) < MAX_LISTED:
                self._listed.setdefault(target, page)
        elif verdict == "followed":
            self._add_edge(page, target)

    def _add_edge(self, page: str, target: str) -> None:
        edge = self._section(page), self._section(target)
        if edge in self._sections or len(self._sections) < MAX_SECTIONS * 10:
            self._sections[edge] += 1

    def _section(self, url: str) -> str:
        """Return the part that an address is in: its host or, where there is but one, its first folder."""
        host, _, path = url.partition("://")[2].partition("/")
        if len(self._hosts) > 1:
            return host
        folder, slash, _ = path.partition("?")[0].partition("/")
        return f"/{folder}/" if slash else "/"

    def drop_linked(self, rows: Iterable[Row]) -> None:
        """Take out of what is listed that to which another page links; the second look at the links."""
        for row in rows:
            if row.get("kind") != "listed" and row.get("from") != row.get("to"):
                self._listed.pop(text(row.get("to")), None)

    # -- the page

    def row(self) -> dict[str, Any]:
        """Return everything that the page draws."""
        broken = [one.row(url) for url, one in self._broken.items()]
        depths = sorted(self._depths)
        return {
            "records": self.records,
            "broken_lines": self.broken_lines,
            "bytes": self.bytes,
            "links": self.links,
            "hosts": self._hosts.most_common(30),
            "statuses": self._statuses.most_common(30),
            "classes": CLASSES,
            "depths": [[depth, *[self._depths[depth][name] for name in CLASSES]] for depth in depths],
            "skipped": [[why, count, self._examples.get(why, [])] for why, count in self._skipped.most_common(30)],
            "verdicts": self._verdicts.most_common(30),
            "broken": sorted(broken, key=lambda cells: -cells[2]),
            "redirects": list(self._chains()),
            "slowest": [[url, seconds, size] for seconds, url, size in sorted(self._slowest, reverse=True)],
            "same": self._groups(self._same),
            "alike": self._groups(self._alike),
            "orphans": sorted(self._listed.items())[:MAX_SHOWN],
            "orphan_count": len(self._listed),
            **self._picture(),
        }

    def _groups(self, groups: dict[str, Group]) -> list[list[Any]]:
        return sorted(([first, group.size, group.others] for first, group in groups.items()), key=lambda g: -g[1])

    def _chains(self) -> Iterator[list[Any]]:
        """Yield [from, status, to, hops, end, links to it], the longest chains first."""
        ends = {url: self._end(url) for url in self._redirects}
        for url in sorted(ends, key=lambda url: (-ends[url][0], -self._redirects[url][3]))[:MAX_SHOWN]:
            status, location, target, links = self._redirects[url]
            hops, end = ends[url]
            yield [url, status, target or location, hops, end, links]

    def _end(self, url: str) -> tuple[int, str]:
        """Return how many redirects it takes from here, and what is at the end."""
        met = {url}
        for hops in range(1, MAX_HOPS + 1):
            said = self._redirects[url]
            url = said[2] or said[1]
            if url in met:
                return hops, "a loop"
            if url not in self._redirects:
                return hops, self._broken[url].why if url in self._broken else ""
            met.add(url)
        return MAX_HOPS, "no end"

    def _picture(self) -> dict[str, Any]:
        """Return the sections with most links, and how many lead from one to another."""
        weight: Counter[str] = Counter()
        for (source, target), count in self._sections.items():
            weight[source] += count
            weight[target] += count
        sections = sorted(name for name, _ in weight.most_common(DRAWN))
        place = {name: n for n, name in enumerate(sections)}
        edges = [[place[a], place[b], n] for (a, b), n in self._sections.items() if a in place and b in place]
        return {"sections": sections, "edges": edges, "section_count": len(weight)}


def gather_crawl(pages: Iterable[bytes], links: tuple[Iterable[bytes], Iterable[bytes]] | None) -> CrawlFindings:
    """Return the findings of the lines of a crawl; `links` are those of its links, to be read twice."""
    found = CrawlFindings()
    for row in rows_of(pages):
        if is_page_row(row):
            found.add_page(row)
        else:
            found.broken_lines += 1
    if links is not None:
        for row in rows_of(links[0]):
            if is_link_row(row):
                found.add_link(row)
            else:
                found.broken_lines += 1
        found.drop_linked(filter(is_link_row, rows_of(links[1])))
    return found


def is_page_row(row: Any) -> bool:
    """Tell whether a line of a file is a page of a crawl."""
    return isinstance(row, dict) and row.get("type") == "page" and isinstance(row.get("url"), str)


def is_link_row(row: Any) -> bool:
    """Tell whether a line of a file is a link of a crawl."""
    return isinstance(row, dict) and row.get("type") == "link" and isinstance(row.get("to"), str)


def outcome_of(row: Row) -> str:
    """Return which of CLASSES a page is in."""
    if row.get("skipped"):
        return "skipped"
    status = row.get("status")
    if row.get("error") or not isinstance(status, int) or not 100 <= status < 600:
        return "failed"
    return f"{status // 100}xx"
