"""Where a crawl writes: results, links, graph, archive, database; and the mark that binds all of them to the frontier.

The mark says what of each file belongs to the frontier's last commit: how long it was. Who goes on cuts each file to
that; a file that is shorter has lost something (a power cut, a foreign hand), and is not gone on with.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, Final, Protocol, Self

import click
import orjson

from greenprobe.commands.crawl_database import CrawlDatabase
from greenprobe.commands.crawl_graph import LinkGraph
from greenprobe.commands.crawl_links import LinkFile
from greenprobe.commands.output import Column, Output, encoder
from greenprobe.commands.warc import WarcFile
from greenprobe.engine.crawlvisits import Arrival
from greenprobe.hub import get_hub

__all__ = ["FILES", "Results"]

SYNC_SECONDS: Final = 2.0  # what a power cut may cost is fetched again

COLUMNS: Final = [
    Column("status", "status", -6),
    Column("bytes", "bytes", -11),
    Column("seconds", "seconds", -9),
    Column("depth", "depth", -5),
    Column("url", "url", 50),
    Column("title", "title", 30),
    Column("skipped", "skipped"),
    Column("error", "error.message"),
]
CSV_COLUMNS: Final = [
    Column(name, name)
    for name in "url status bytes content_type depth referrer location title language canonical links digest simhash"
    " duplicate_of near_duplicate_of seconds attempts skipped".split()
] + [Column("error", "error.class"), Column("message", "error.message")]

FILES: Final = ("output", "links", "graph", "warc", "sqlite", "state")
Words = Mapping[str, Any]


class Written(Protocol):
    """A file that is being written; its length is what the mark holds."""

    def length(self) -> Any:
        """Have everything in the file, and return how long it is."""

    def sync(self) -> Any:
        """Have everything on the disk, and return the same."""

    def close(self) -> None:
        """Close it."""


class Results:
    """The files of one crawl. A context manager: they are closed on exit."""

    def __init__(self, starts: tuple[str, ...], words: Words, mark: str) -> None:
        """Open them, cut to where the frontier's last commit saw them. Raises click errors."""
        said: dict[str, Any] = orjson.loads(mark) if mark else {}
        self._bound = {"starts": starts, "format": words["format_name"]}
        self._bound |= {name: words[name] or "" for name in FILES if name != "state"}
        check_bound(said.get("of"), orjson.loads(orjson.dumps(self._bound)), words["state"])
        lengths = said.get("lengths", {})
        columns = CSV_COLUMNS if words["format_name"] == "csv" else COLUMNS
        heading, self._encode = encoder(words["format_name"], columns)
        self._links: LinkFile | None = None
        self._graph: LinkGraph | None = None
        self._warc: WarcFile | None = None
        self._database: CrawlDatabase | None = None
        self._files: dict[str, Written] = {}
        with ExitStack() as stack:
            stack.callback(self.close)
            self._open(words, lengths)
            stack.pop_all()
        self._is_marked = bool(words["state"])
        self._clock = get_hub().clock
        self._synced = self._clock()
        if heading and not lengths:
            self._out.write(heading)

    def _open(self, words: Words, lengths: dict[str, Any]) -> None:
        for name in FILES[:-2]:
            check_length(words[name], lengths.get(name))
        self._out = Output(words["output"], goes_on_at=lengths.get("output"))
        self._files["output"] = self._out
        if words["state"] and not self._out.is_file:
            raise click.UsageError("--state needs the results in a file, which can be gone on with: add -o FILE")
        if words["links"]:
            self._files["links"] = self._links = LinkFile(words["links"], goes_on_at=lengths.get("links"))
        if words["graph"]:
            self._files["graph"] = self._graph = LinkGraph(words["graph"], goes_on_at=lengths.get("graph"))
        if words["warc"]:
            self._files["warc"] = self._warc = WarcFile(words["warc"], goes_on_at=lengths.get("warc"))
        if words["sqlite"]:
            self._database = CrawlDatabase(words["sqlite"], goes_on_at=lengths.get("sqlite"))
            self._files["sqlite"] = self._database

    def write(self, batch: list[Arrival]) -> None:
        """Write the records of a batch."""
        rows = [arrival.record.row() for arrival in batch]
        if self._warc is not None:
            for arrival, row in zip(batch, rows, strict=True):
                row["warc"] = arrival.exchanges
            self._warc.write(rows)
            for row in rows:
                row.pop("warc_body", None)
                if row["status"] is None:
                    row.pop("warc_offset", None)  # that of a robots.txt
        self._out.write(b"".join([self._encode(row) for row in rows]))
        if self._links is not None:
            self._links.write(link for arrival in batch for link in arrival.links)
        if self._graph is not None:
            self._graph.write(batch)
        if self._database is not None:
            self._database.write(batch, rows)

    def complete(self, status_of: Callable[[str], int | None], seconds: float = float("inf")) -> None:
        """Fill in, when the crawl ends, what was not known as it was written: what links lead to."""
        if self._links is not None:
            self._links.complete(status_of, seconds)
        if self._database is not None:
            self._database.complete(seconds)

    def mark(self) -> str:
        """Return the mark for what is written by now; "" where nobody needs one."""
        if not self._is_marked:
            return ""
        now = self._clock()
        is_due = now - self._synced >= SYNC_SECONDS
        lengths = {name: file.sync() if is_due else file.length() for name, file in self._files.items()}
        if is_due:
            self._synced = now
        return orjson.dumps({"of": self._bound, "lengths": lengths}).decode()

    def close(self) -> None:
        """Close all of them, whatever one says."""
        with ExitStack() as stack:
            for file in self._files.values():
                stack.callback(file.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def check_length(path: str | None, length_bytes: int | None) -> None:
    """Raise click.ClickException for a file that is shorter than its mark says."""
    if path is None or not length_bytes:
        return
    try:
        found = os.stat(path).st_size
    except OSError as exc:
        raise click.ClickException(f"the state goes on with {path}, which cannot be read: {exc.strerror}") from exc
    if found < length_bytes:
        raise click.ClickException(
            f"{path} is {length_bytes - found:,} bytes shorter than the state says; begin anew with other files"
        )


def check_bound(before: dict[str, Any] | None, now: dict[str, Any], state: str | None) -> None:
    """Raise click.ClickException if a state was begun with other words; what it did not know of was not asked for."""
    for name, value in now.items():
        if before is not None and before.get(name, "") != value:
            raise click.ClickException(
                f"{state} was begun with {name} {before.get(name, '')!r}, not {value!r}; use the same, or another state"
            )
