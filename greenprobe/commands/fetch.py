"""`greenprobe fetch`: what a list of URLs answers."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import click

from greenprobe.commands.companions import check_companions
from greenprobe.commands.counted import counted
from greenprobe.commands.database import ResultsDatabase
from greenprobe.commands.distinct import check_distinct, check_kept
from greenprobe.commands.fetch_options import FETCH_SECTIONS, fetch_options
from greenprobe.commands.fetch_plan import (
    Choice,
    check_writable,
    choice_of,
    client_options,
    encoding_of,
    first_scheme,
    line_form,
    plan_of,
    trust_of,
)
from greenprobe.commands.fetch_summary import reading, summarize, summary_row, write_summary
from greenprobe.commands.garbage import rarely_collected
from greenprobe.commands.given import WordsCommand, list_path, opened
from greenprobe.commands.options import Progress, affordable
from greenprobe.commands.output import Output
from greenprobe.commands.recording import Recording
from greenprobe.commands.request_body import check_stdin
from greenprobe.commands.route_options import resolve_of
from greenprobe.commands.warc import WarcFile
from greenprobe.engine.fetcher import Fetcher
from greenprobe.engine.journal import Journal, identify
from greenprobe.engine.processes import process_command
from greenprobe.engine.repeats import Repeats
from greenprobe.engine.shards import ShardBatch, Shards
from greenprobe.engine.urllist import UrlList
from greenprobe.errors import LocalProtocolError, TargetError
from greenprobe.http.client import Client
from greenprobe.http.cookies import CookieJar, cookies_txt
from greenprobe.hub import get_hub

__all__ = ["fetch"]


@click.command(cls=WordsCommand, sections=FETCH_SECTIONS)
@click.argument("urls", metavar="URLS", nargs=-1, required=True)
@fetch_options()
@click.pass_obj
def fetch(progress: Progress, /, urls: tuple[str, ...], **words: Any) -> int:
    """Fetch every URL of a list and write one result each, as it comes.

    URLS is a file with a URL a line, or - for standard input, or URLs themselves. A list is read as it is needed, so
    it may be of any length, or a pipe that never ends. {1..100} in a URL stands for each of these numbers. A word
    that looks like a file's name must be one; behind --, every word is a URL or a host.

    \b
      greenprobe fetch urls.txt
      greenprobe fetch urls.txt --format csv -o results.csv
      greenprobe fetch urls.txt -o results.jsonl --state run.state
      echo http://127.0.0.1/ | greenprobe fetch - --timeout 5

    A line that is no URL, and a URL that cannot be fetched, become results with an error; the run goes on. Exit code:
    0, or 1 with --fail if some URL was not answered.
    """
    check_companions()
    words["concurrency"] = affordable(words["concurrency"], "fetches run")
    try:
        check_writable(words)
        options, chosen = client_options(words), choice_of(words)
        plan, trust, resolve = plan_of(words, options, chosen), trust_of(words), resolve_of(words)
    except (TargetError, LocalProtocolError) as exc:
        raise click.UsageError(str(exc)) from exc
    with ExitStack() as stack:
        path = list_path(urls, are_urls=True)
        check_stdin(urls)
        check_distinct(words, ("output", *FILES))
        check_kept(words, FILES, [path, words["since"]])
        journal = stack.enter_context(closing(_journal(path, words))) if words["state"] else None
        source = stack.enter_context(_opened(urls, path, words, journal))
        recording = _recording(stack, path, words, chosen, journal)
        if words["cookie_jar"] and options.cookies is not None:
            stack.callback(_write_cookies, words["cookie_jar"], options.cookies)
        if words["processes"] > 1:
            return _run(progress, _shards(words, source, recording, options.cookies), source, recording, words)
        client = stack.enter_context(closing(Client(options, trust=trust, resolve=resolve)))
        return _run(progress, Fetcher(get_hub(), plan, source, client), source, recording, words)


def _write_cookies(path: str, jar: CookieJar) -> None:
    """Write a cookie file, whole or not at all, for nobody else to read."""
    temporary = f"{path}.new"
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="latin-1") as file:
            file.writelines(cookies_txt(jar))
        os.replace(temporary, path)
    except OSError as exc:
        raise click.ClickException(f"cannot write to {path}: {exc.strerror}") from exc


def _shards(words: dict[str, Any], source: UrlList, recording: Recording, jar: CookieJar | None) -> Shards:
    """Start the processes, each with its part of what is bounded in all."""
    count = words["processes"]
    part = {"concurrency": max(1, -(-words["concurrency"] // count)), "rate": words["rate"] and words["rate"] / count}
    part["per_host"] = words["per_host"] or words["concurrency"]
    command = process_command("greenprobe.commands.fetch_shard")
    return Shards(get_hub(), words | part, source, count=count, command=command, tally=recording.tally, jar=jar)


def _run(
    progress: Progress, fetcher: Fetcher | Shards, source: UrlList, recording: Recording, words: dict[str, Any]
) -> int:
    tally = recording.tally
    try:
        shown = progress(lambda: reading(fetcher.statistics(), tally), words["progress_mode"])
        with rarely_collected(), shown, closing(fetcher.run()) as batches:
            for batch in batches:
                if isinstance(batch, ShardBatch):
                    recording.write_shard(batch)
                else:
                    recording.write(batch)
    finally:
        recording.commit()
        end = fetcher.statistics()
        summarize(end, tally, source.count_rest())
        if words["summary"]:
            write_summary(words["summary"], summary_row(end, tally))
    return 1 if words["fail"] and end.failed else 0


def _recording(
    stack: ExitStack, path: str, words: dict[str, Any], chosen: Choice, journal: Journal | None
) -> Recording:
    """Open everything that records are written to."""
    lengths = journal.lengths if journal is not None else {}
    heading, encode = encoding_of(words)
    inputs = [path, *filter(None, [words["since"]])]
    out = stack.enter_context(Output(words["output"], inputs=inputs, goes_on_at=lengths.get("output")))
    if journal is not None and not out.is_file:
        raise click.UsageError("--state needs the results in a file, which can be gone on with: add -o FILE")
    warc = None
    if words["warc"]:
        warc = WarcFile(words["warc"], goes_on_at=lengths.get("warc"), dedups=words["warc_dedup"])
        stack.enter_context(closing(warc))
    database = None
    if words["sqlite"]:
        database = ResultsDatabase(words["sqlite"], done=journal.done if journal is not None else None)
        stack.enter_context(closing(database))
    if heading and not lengths.get("output"):
        out.write(heading)
    return Recording(
        out,
        encode,
        clock=get_hub().clock,
        match=chosen.match,
        drop=chosen.drop,
        warc=warc,
        database=database,
        journal=journal,
        has_bodies=bool(words["save"]),
    )


# What is written beside the results.
FILES = ("warc", "sqlite", "state", "summary", "cookie_jar")

# What must be the same when a run goes on.
BINDING = ("format_name", "fields", "output", "warc", "sqlite", "input_format", "url_column", "scheme", "unique")


def _journal(path: str, words: dict[str, Any]) -> Journal:
    if path == "-":
        raise click.UsageError("--state needs a list in a file, which can be read again")
    options = {name.removesuffix("_name"): words[name] for name in BINDING}
    try:
        journal = Journal(words["state"], identify(path), options, list_path=path)
    except OSError as exc:
        raise click.ClickException(f"cannot use {words['state']}: {exc.strerror}") from exc
    if len(journal.done):
        grown = "; the list has grown" if journal.has_grown else ""
        click.echo(f"{counted(len(journal.done), 'URL is', 'URLs are')} done already{grown}", err=True)
    return journal


@contextmanager
def _opened(urls: tuple[str, ...], path: str, words: dict[str, Any], journal: Journal | None) -> Iterator[UrlList]:
    """Give the list, without what is done or, with --unique, was in it before."""
    is_done = journal.done.__contains__ if journal is not None else None
    repeats = Repeats(first_scheme(words))
    is_repeat = repeats.is_repeat if words["unique"] else None
    with opened(urls, path) as fd:
        source = UrlList(get_hub(), fd, line_form(words), is_done=is_done, is_repeat=is_repeat)
        try:
            yield source
        finally:
            if repeats.count:
                told = counted(repeats.count, "URL was", "URLs were")
                click.echo(f"{told} in the list before and left out", err=True)
            source.close()
