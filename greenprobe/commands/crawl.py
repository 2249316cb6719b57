"""`greenprobe crawl`: walks sites, obeys robots.txt, and says what it found."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import Any

import click

from greenprobe.commands.counted import counted
from greenprobe.commands.crawl_options import CRAWL_SECTIONS, crawl_options, plan_of
from greenprobe.commands.crawl_results import FILES, Results
from greenprobe.commands.distinct import check_distinct
from greenprobe.commands.garbage import rarely_collected
from greenprobe.commands.given import refuse_lists
from greenprobe.commands.keys import status_on_key
from greenprobe.commands.options import Progress, affordable
from greenprobe.commands.route_options import resolve_of
from greenprobe.commands.sections import SectionedCommand
from greenprobe.engine.crawler import Crawler
from greenprobe.engine.crawlplan import CrawlStatistics
from greenprobe.engine.sqlite_frontier import SqliteFrontier
from greenprobe.errors import TargetError
from greenprobe.http.client import Client
from greenprobe.http.trust import TlsOptions, Trust
from greenprobe.hub import get_hub

__all__ = ["crawl"]

COMPLETING_SECONDS = 1.0  # of the file of links, after Ctrl-C

KEYS = {"q": "ending when what is in flight has arrived", "p": "paused; g goes on", "g": "going on"}


@click.command(
    cls=SectionedCommand,
    sections=CRAWL_SECTIONS,
    short_help="Walk sites and write a result for each page, as it comes.",
)
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
    SIGTERM, or the key q, ends it when what is in flight has arrived; SIGUSR1 or p pauses it, SIGUSR2 or g lets it go
    on. Another key prints how far it is.
    """
    refuse_lists(starts)
    words["concurrency"] = affordable(words["concurrency"], "pages are fetched")
    check_distinct(words, FILES)
    try:
        plan, resolve = plan_of(starts, words), resolve_of(words)
    except TargetError as exc:
        raise click.UsageError(str(exc)) from exc
    with ExitStack() as stack:
        frontier = stack.enter_context(closing(SqliteFrontier(words["state"] or ":memory:", per_host=plan.per_host)))
        results = stack.enter_context(Results(starts, words, frontier.mark))
        trust = Trust(TlsOptions(ca_file=words["ca_file"], verify=not words["insecure"]))
        client = stack.enter_context(closing(Client(plan.client, trust=trust, resolve=resolve)))
        crawler = Crawler(get_hub(), plan, frontier, client, resolve=resolve)
        try:
            _run(progress, crawler, results, words)
        except KeyboardInterrupt:
            results.complete(frontier.status_of, COMPLETING_SECONDS)
            raise
        results.complete(frontier.status_of)
    return 0


def _run(progress: Progress, crawler: Crawler, results: Results, words: dict[str, Any]) -> None:
    try:
        shown = progress(lambda: _reading(crawler.statistics()), words["progress_mode"])
        with rarely_collected(), steered(crawler), shown, closing(crawler.run()) as batches:
            for batch in batches:
                results.write(batch)
                crawler.mark = results.mark()
    finally:
        end = crawler.statistics()
        click.echo(_summary(end), err=True)


@contextmanager
def steered(crawler: Crawler) -> Iterator[None]:
    """Let keys and signals end, pause and go on with a crawl."""
    call = get_hub().call_threadsafe
    acts: dict[str, Callable[[], object]] = {
        "q": crawler.finish,
        "p": partial(crawler.pause, True),
        "g": partial(crawler.pause, False),
    }
    signals = {signal.SIGTERM: acts["q"], signal.SIGUSR1: acts["p"], signal.SIGUSR2: acts["g"]}
    before = {number: signal.signal(number, lambda *_, act=act: call(act)) for number, act in signals.items()}
    try:
        with status_on_key(
            lambda: _reading(crawler.statistics()), keys={key: (acts[key], said) for key, said in KEYS.items()}
        ):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _reading(now: CrawlStatistics) -> tuple[None, str]:
    rate = now.pages / now.seconds if now.seconds else 0.0
    return None, ", ".join(
        [
            counted(now.pages, "page"),
            f"{rate:,.0f}/s",
            *(f"{count:,} {digit}xx" for digit, count in enumerate(now.by_class) if count),
            f"{now.failed:,} failed{by_class(now.errors)}",
            f"{now.skipped:,} skipped",
            f"{now.pending:,} to go on {counted(now.hosts, 'host')}",
            f"{now.in_flight:,} in flight",
        ]
    )


def _summary(end: CrawlStatistics) -> str:
    left = f"; {end.pending + end.in_flight:,} left" if end.pending or end.in_flight else ""
    failed = f"{end.failed:,} failed{by_class(end.errors)}"
    return f"{counted(end.pages, 'page')} in {end.seconds:.1f} s, {failed}, {end.skipped:,} skipped{left}"


def by_class(errors: dict[str, int]) -> str:
    """Return the errors with how often each came, the most frequent first; "" without any."""
    named = ", ".join(f"{count:,} {name}" for name, count in sorted(errors.items(), key=lambda pair: -pair[1]))
    return f" ({named})" if named else ""
