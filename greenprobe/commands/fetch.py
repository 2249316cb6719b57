"""`greenprobe fetch`: what a list of URLs answers."""

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from ssl import SSLContext

import click

from greenprobe.commands.options import Progress, concurrency_option, format_option, output_option, timeout_option
from greenprobe.commands.output import Column, Output, encoder
from greenprobe.engine.fdlimit import free_descriptors, raise_limit
from greenprobe.engine.fetcher import Fetcher
from greenprobe.engine.fetchplan import FetchPlan, FetchStatistics
from greenprobe.engine.urllist import UrlList
from greenprobe.http.client import Client, ClientOptions
from greenprobe.http.trust import trusting
from greenprobe.hub import get_hub

__all__ = ["fetch"]

CSV_COLUMNS = [
    Column("line", "line"),
    Column("url", "url"),
    Column("final_url", "final_url"),
    Column("status", "status"),
    Column("bytes", "bytes"),
    Column("content_type", "content_type"),
    Column("dns", "elapsed.dns"),
    Column("connect", "elapsed.connect"),
    Column("tls", "elapsed.tls"),
    Column("first_byte", "elapsed.first_byte"),
    Column("total", "elapsed.total"),
    Column("error", "error.class"),
    Column("message", "error.message"),
]
TEXT_COLUMNS = [
    Column("status", "status", -6),
    Column("bytes", "bytes", -11),
    Column("seconds", "elapsed.total", -8),
    Column("url", "url", 40),
    Column("error", "error.message"),
]

SECONDS = click.FloatRange(0, min_open=True)


@click.command()
@click.argument("urls", metavar="URLS", type=click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True))
@concurrency_option(default=100)
@click.option(
    "--per-host",
    metavar="N",
    type=click.IntRange(1),
    help="How many run at once against one scheme, host and port, at most.  [default: as --concurrency]",
)
@timeout_option(default=60.0, what="a URL must be done, redirects and all, or it fails")
@click.option(
    "--connect-timeout",
    metavar="SECONDS",
    type=SECONDS,
    default=10.0,
    show_default=True,
    help="Seconds in which a connection must stand: name, TCP and TLS together.",
)
@click.option(
    "--read-timeout",
    metavar="SECONDS",
    type=SECONDS,
    default=30.0,
    show_default=True,
    help="Seconds that a server may be silent.",
)
@click.option(
    "--max-redirects", metavar="N", type=click.IntRange(0), default=10, show_default=True, help="Follow at most N."
)
@click.option(
    "--max-body",
    metavar="BYTES",
    type=click.IntRange(0),
    default=1 << 26,
    show_default=True,
    help="A body that is longer than this when decoded is an error.",
)
@click.option(
    "--ca-file", metavar="FILE", type=click.Path(exists=True, dir_okay=False), help="Trust these authorities."
)
@click.option("-k", "--insecure", is_flag=True, help="Accept any certificate.")
@click.option("--allow-downgrade", is_flag=True, help="Follow redirects from https to http.")
@format_option("jsonl", "csv", "text", default="jsonl")
@output_option()
@click.pass_obj
def fetch(
    progress: Progress,
    urls: str,
    concurrency: int,
    per_host: int | None,
    timeout: float,
    connect_timeout: float,
    read_timeout: float,
    max_redirects: int,
    max_body: int,
    ca_file: str | None,
    insecure: bool,
    allow_downgrade: bool,
    format_name: str,
    output: str,
) -> int:
    """GET every URL of a list and write one result each, as it comes.

    URLS is a file with a URL a line, or - for standard input. It is read as it is needed, so it may be of any length,
    or a pipe that never ends.

    \b
      greenprobe fetch urls.txt
      greenprobe fetch urls.txt --format csv -o results.csv
      echo http://127.0.0.1/ | greenprobe fetch - --timeout 5

    A line that is no URL, and a URL that cannot be fetched, become results with an error; the run goes on. Exit code:
    0 if every URL was answered, with whatever status, 1 if not.
    """
    plan = FetchPlan(
        concurrency=_affordable(concurrency),
        client=ClientOptions(
            per_host=per_host or concurrency,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            total_timeout=timeout,
            max_redirects=max_redirects,
            max_body_bytes=max_body,
            allows_downgrade=allow_downgrade,
        ),
    )
    client = Client(get_hub(), plan.client, trust=_trust(ca_file, verify=not insecure))
    with _opened(urls) as source, Output(output, inputs=[urls]) as out, closing(client):
        fetcher = Fetcher(get_hub(), plan, source, client)
        try:
            with progress(lambda: _reading(fetcher.statistics())):
                _write_records(fetcher, out, format_name)
        finally:
            out.flush()
            _summarize(fetcher.statistics(), source)
    return 1 if fetcher.statistics().failed else 0


def _write_records(fetcher: Fetcher, out: Output, format_name: str) -> None:
    heading, encode = encoder(format_name, CSV_COLUMNS if format_name == "csv" else TEXT_COLUMNS)
    if heading:
        out.write(heading)
    with closing(fetcher.run()) as batches:
        for batch in batches:
            out.write(b"".join([encode(record.row()) for record in batch]))


def _trust(ca_file: str | None, *, verify: bool) -> Callable[[], SSLContext]:
    """Return what makes the TLS context: when the first https URL needs it, but a file that was named at once."""
    if ca_file is None or not verify:
        return partial(trusting, verify=verify)
    try:
        context = trusting(ca_file)
    except OSError as exc:
        raise click.ClickException(f"{ca_file} holds no certificate that can be read: {exc.strerror}") from exc
    return lambda: context


@contextmanager
def _opened(path: str) -> Iterator[UrlList]:
    """Open a list for reading; standard input is not ours to close."""
    fd = 0 if path == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    urls = UrlList(get_hub(), fd)
    try:
        yield urls
    finally:
        urls.close()
        if path != "-":
            os.close(fd)


def _affordable(concurrency: int) -> int:
    """Return how many connections this process may have, up to `concurrency`; say so if that is less."""
    free = free_descriptors(raise_limit())
    if concurrency > free:
        click.echo(f"only {free:,} descriptors may be open here, so {free:,} fetches run at once", err=True)
    return min(concurrency, free)


def _reading(now: FetchStatistics) -> tuple[float | None, str]:
    under_way = now.taken - now.done
    text = f"{now.done:,} URLs, {now.failed:,} failed, {under_way:,} under way, {now.body_bytes:,} bytes"
    return (now.read_bytes / now.size_bytes if now.size_bytes else None), text


def _summarize(end: FetchStatistics, source: UrlList) -> None:
    """Say on standard error what came of the list, and what is missing."""
    answers = ", ".join(f"{count:,} {number}xx" for number, count in enumerate(end.by_class) if count)
    rate = end.done / end.seconds if end.seconds else 0.0
    found = f"{answers or 'no answers'}, {end.failed:,} failed, {end.body_bytes:,} bytes"
    click.echo(f"{end.done:,} URLs in {end.seconds:.2f} s ({rate:,.0f} a second): {found}", err=True)
    rest = source.count_rest()
    missing = end.taken - end.done + (rest or 0)
    if rest is None:
        click.echo(f"{missing:,} URLs are not finished, and the list was not read to its end", err=True)
    elif missing:
        click.echo(f"{missing:,} URLs are not finished", err=True)
