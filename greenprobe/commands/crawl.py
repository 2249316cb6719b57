"""`greenprobe crawl`: walks sites, obeys robots.txt, and says what it found."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import Any, Final, Self

import click
import orjson

from greenprobe.commands.crawl_graph import LinkGraph
from greenprobe.commands.crawl_options import crawl_options, plan_of
from greenprobe.commands.options import Progress, affordable
from greenprobe.commands.output import Column, Encoder, Output, encoder
from greenprobe.engine.crawler import Crawler
from greenprobe.engine.crawlplan import CrawlStatistics
from greenprobe.engine.crawlvisits import Arrival
from greenprobe.engine.sqlite_frontier import SqliteFrontier
from greenprobe.errors import TargetError
from greenprobe.http.client import Client
from greenprobe.http.trust import TlsOptions, tls_context
from greenprobe.hub import get_hub

__all__ = ["crawl"]

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


@click.command()
@click.argument("starts", metavar="URL...", nargs=-1, required=True)
@crawl_options()
@click.pass_obj
def crawl(progress: Progress, /, starts: tuple[str, ...], **words: Any) -> int:
    """Walk the sites that begin at URL, and write a result for each page, as it comes.

    robots.txt is obeyed, Crawl-delay too; sitemaps and feeds are read; every page is fetched once. What goes on for
    ever without saying anything new (calendars, session ids) is left after some pages, and the results say so.

    \b
      greenprobe crawl http://127.0.0.1:8000/ -o pages.jsonl
      greenprobe crawl https://example.org/docs/ --below --depth 3
      greenprobe crawl example.org --within domain --delay 1 --state crawl.state -o pages.jsonl

    Ctrl-C writes what was found. With --state, the same command goes on from there, also after kill -9 or a power cut.
    SIGTERM ends it when what is in flight has arrived; SIGUSR1 pauses it, SIGUSR2 lets it go on.
    """
    words["concurrency"] = affordable(words["concurrency"], "pages are fetched")
    try:
        plan = plan_of(starts, words)
    except TargetError as exc:
        raise click.UsageError(str(exc)) from exc
    with ExitStack() as stack:
        frontier = stack.enter_context(closing(SqliteFrontier(words["state"] or ":memory:", per_host=plan.per_host)))
        results = stack.enter_context(Results(starts, words, frontier.mark))
        trust = partial(tls_context, TlsOptions(ca_file=words["ca_file"], verify=not words["insecure"]))
        client = stack.enter_context(closing(Client(get_hub(), plan.client, trust=trust)))
        return _run(progress, Crawler(get_hub(), plan, frontier, client), results, words)


def _run(progress: Progress, crawler: Crawler, results: "Results", words: dict[str, Any]) -> int:
    try:
        shown = progress(lambda: (None, _reading(crawler.statistics())), words["progress_mode"])
        with steered(crawler), shown, closing(crawler.run()) as batches:
            for batch in batches:
                results.write(batch)
                crawler.mark = results.mark()
    finally:
        end = crawler.statistics()
        click.echo(_summary(end), err=True)
    return 0


class Results:
    """The files that a crawl writes, and the mark that binds them to the frontier: how long each of them is."""

    def __init__(self, starts: tuple[str, ...], words: dict[str, Any], mark: str) -> None:
        """Open them, cut to where the frontier's last commit saw them. Raises click errors."""
        said: dict[str, Any] = orjson.loads(mark) if mark else {}
        self._bound = {"starts": starts, "output": words["output"], "links": words["links"] or ""}
        self._bound |= {"format": words["format_name"], "graph": words["graph"] or ""}
        check_bound(said.get("of"), orjson.loads(orjson.dumps(self._bound)), words["state"])
        lengths = said.get("lengths", {})
        columns = CSV_COLUMNS if words["format_name"] == "csv" else COLUMNS
        heading, self._encode = encoder(words["format_name"], columns)
        self._out = Output(words["output"], goes_on_at=lengths.get("output"))
        if words["state"] and not self._out.is_file:
            raise click.UsageError("--state needs the results in a file, which can be gone on with: add -o FILE")
        self._links = Output(words["links"], goes_on_at=lengths.get("links")) if words["links"] else None
        self._graph = LinkGraph(words["graph"], goes_on_at=lengths.get("graph")) if words["graph"] else None
        self._files: dict[str, Output | LinkGraph] = {"output": self._out}
        self._files |= {"links": self._links} if self._links is not None else {}
        self._files |= {"graph": self._graph} if self._graph is not None else {}
        self._encode_link: Encoder = encoder("jsonl", [])[1]
        self._is_marked = bool(words["state"])
        self._clock = get_hub().clock
        self._synced = self._clock()
        if heading and not lengths:
            self._out.write(heading)

    def write(self, batch: list[Arrival]) -> None:
        """Write the records of a batch."""
        self._out.write(b"".join([self._encode(arrival.record.row()) for arrival in batch]))
        if self._links is not None:
            rows = [self._encode_link(link.row()) for arrival in batch for link in arrival.links]
            if rows:
                self._links.write(b"".join(rows))
        if self._graph is not None:
            self._graph.write(batch)

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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        with ExitStack() as stack:  # all of them, whatever one says
            for file in self._files.values():
                stack.callback(file.close)


def check_bound(before: dict[str, Any] | None, now: dict[str, Any], state: str | None) -> None:
    """Raise click.ClickException if a state was begun with other words."""
    for name, value in now.items():
        if before is not None and before.get(name) != value:
            raise click.ClickException(
                f"{state} was begun with {name} {before.get(name)!r}, not {value!r}; use the same, or another state"
            )


@contextmanager
def steered(crawler: Crawler) -> Iterator[None]:
    """Let signals end, pause and go on with a crawl."""
    call = get_hub().call_threadsafe
    actions = {
        signal.SIGTERM: lambda *_: call(crawler.finish),
        signal.SIGUSR1: lambda *_: call(crawler.pause, True),
        signal.SIGUSR2: lambda *_: call(crawler.pause, False),
    }
    before = {number: signal.signal(number, action) for number, action in actions.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _reading(now: CrawlStatistics) -> str:
    rate = now.pages / now.seconds if now.seconds else 0.0
    statuses = " ".join(f"{digit}xx {count:,}" for digit, count in enumerate(now.by_class) if count)
    return (
        f"{now.pages:,} pages, {rate:,.0f}/s, {statuses}, {now.failed:,} failed, {now.skipped:,} skipped, "
        f"{now.pending:,} to go on {now.hosts:,} hosts, {now.in_flight:,} in flight"
    )


def _summary(end: CrawlStatistics) -> str:
    errors = ", ".join(f"{count:,} {name}" for name, count in sorted(end.errors.items(), key=lambda pair: -pair[1]))
    left = f"; {end.pending + end.in_flight:,} left" if end.pending or end.in_flight else ""
    failed = f"{end.failed:,} failed" + (f" ({errors})" if errors else "")
    return f"{end.pages:,} pages in {end.seconds:.1f} s, {failed}, {end.skipped:,} skipped{left}"
