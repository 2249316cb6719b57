"""A crawl in SQLite: a table of pages and one of links, to be asked who holds the broken ones.

    SELECT status, source, target FROM link WHERE status >= 400

Rows are numbered as they are written, and a batch is one transaction; so the mark of a crawl is how many rows there
are, and who goes on deletes what is behind it. A link is written with its page, before its target is visited: what
that answered is filled in when the crawl ends, from the table of pages, which has an index for it from then on.
"""

from collections.abc import Iterable
from itertools import count
from time import monotonic
from typing import Any, Final

import click
import orjson

from greenprobe.commands.database import Database
from greenprobe.engine.crawlplan import LinkRecord
from greenprobe.engine.crawlvisits import Arrival

__all__ = ["CrawlDatabase"]

Row = dict[str, Any]

PAGE: Final = (
    "url status depth referrer bytes content_type title language location canonical duplicate_of near_duplicate_of"
    " seconds skipped"
).split()
SCHEMA: Final = f"""
CREATE TABLE page (id INTEGER PRIMARY KEY, {", ".join(PAGE)}, error, message, row TEXT NOT NULL);
CREATE TABLE link (
    id INTEGER PRIMARY KEY, source TEXT NOT NULL, target TEXT NOT NULL, kind, rel, text, verdict, status
);
"""
INSERT_PAGE: Final = f"INSERT INTO page VALUES ({', '.join('?' * (len(PAGE) + 4))})"
INSERT_LINK: Final = "INSERT INTO link VALUES (?, ?, ?, ?, ?, ?, ?, NULL)"
INDEX: Final = "CREATE INDEX IF NOT EXISTS page_by_url ON page (url)"
COMPLETE: Final = """
UPDATE link SET status = (SELECT page.status FROM page WHERE page.url = link.target)
WHERE status IS NULL AND id > ? AND id <= ?
"""
MANY_LINKS: Final = 10_000  # that are completed in one go; then the clock is asked


class CrawlDatabase(Database):
    """The database of a crawl."""

    def __init__(self, path: str, *, goes_on_at: tuple[int, int] | None = None) -> None:
        """Open `path`. Tables that are there are refused, or, with `goes_on_at`, cut to so many pages and links."""
        self._is_new = goes_on_at is None
        self._pages, self._links = goes_on_at or (0, 0)
        super().__init__(path)

    def _prepare(self) -> None:
        execute = self._connection.execute
        has_tables = self._has_table("page") or self._has_table("link")
        if self._is_new and has_tables:
            raise click.ClickException(f"{self._path} has a crawl in it already; name another file with --sqlite")
        if not self._is_new and not has_tables:
            raise click.ClickException(f"{self._path} is not the database that this state was begun with")
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = NORMAL")
        if self._is_new:
            self._connection.executescript(SCHEMA)
        execute("DELETE FROM page WHERE id > ?", (self._pages,))
        execute("DELETE FROM link WHERE id > ?", (self._links,))
        self._connection.commit()

    def write(self, batch: Iterable[Arrival], rows: Iterable[Row]) -> None:
        """Insert the pages of a batch, whose rows these are, and their links."""
        with self._naming_errors():
            for arrival, row in zip(batch, rows, strict=True):
                self._pages += 1
                self._connection.execute(INSERT_PAGE, page_values(self._pages, row))
                self._connection.executemany(INSERT_LINK, map(link_values, count(self._links + 1), arrival.links))
                self._links += len(arrival.links)

    def complete(self, seconds: float = float("inf")) -> None:
        """Fill in what each link's target answered; leave off after so many seconds."""
        until = monotonic() + seconds
        with self._naming_errors():
            self._connection.execute(INDEX)
            for done in range(0, self._links, MANY_LINKS):
                if monotonic() >= until:
                    break
                self._connection.execute(COMPLETE, (done, done + MANY_LINKS))
            self._connection.commit()

    def length(self) -> tuple[int, int]:
        """Commit, and return how many pages and links there are."""
        self.commit()
        return self._pages, self._links

    def sync(self) -> tuple[int, int]:
        """Commit, have it on the disk, and return the same."""
        counts = self.length()
        with self._naming_errors():
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        return counts


def link_values(number: int, record: LinkRecord) -> tuple[Any, ...]:
    """Return the columns of a link."""
    link = record.link
    return number, record.page, record.url, link.kind, link.rel, link.text, record.verdict or "followed"


def page_values(number: int, row: Row) -> tuple[Any, ...]:
    """Return the columns of a page."""
    error = row["error"] or {}
    return (
        number,
        *[row[name] for name in PAGE],
        error.get("class"),
        error.get("message"),
        orjson.dumps(row).decode(),
    )
