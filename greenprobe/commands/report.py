"""`greenprobe report`: a result of fetch, scan or crawl as a page to look at."""

import os
from collections.abc import Iterable
from contextlib import ExitStack
from itertools import chain
from typing import Any, Final

import click
import orjson

from greenprobe.commands.options import READABLE, READABLE_OR_STDIN
from greenprobe.commands.output import Output
from greenprobe.reporting.crawl_findings import gather_crawl, is_page_row
from greenprobe.reporting.findings import gather
from greenprobe.reporting.page import CRAWL_TEMPLATE, SCAN_TEMPLATE, page_of
from greenprobe.reporting.scan_changes import is_scan_row
from greenprobe.reporting.scan_findings import gather_scan

__all__ = ["report"]

MAX_RUBBISH: Final = 1000  # lines at the start that may be no JSON


@click.command(short_help="Make one HTML page of the results of fetch, scan or crawl.")
@click.argument("results", metavar="RESULTS", type=READABLE_OR_STDIN)
@click.option(
    "--links",
    metavar="FILE",
    type=READABLE,
    help="The links of a crawl: who holds the broken ones, and what no page links to.",
)
@click.option("-o", "--output", metavar="FILE", default="-", show_default=True, help="Write the page to FILE.")
def report(results: str, links: str | None, output: str) -> None:
    """Make one HTML page of a result of fetch, scan or crawl: statuses, times, hosts, services, broken links.

    RESULTS is a file of JSON lines, or - for standard input. The page needs no network and no other file.

    \b
      greenprobe fetch urls.txt --tls-facts -o results.jsonl
      greenprobe report results.jsonl -o report.html
      greenprobe scan 192.0.2.0/24 --top-ports 100 --service --format jsonl -o scan.jsonl
      greenprobe report scan.jsonl -o report.html
      greenprobe crawl https://example.org/ --links links.jsonl -o pages.jsonl
      greenprobe report pages.jsonl --links links.jsonl -o report.html
    """
    with click.open_file(results, "rb") as lines:
        page = _page(lines, results, links)
    with Output(output, inputs=filter(None, [results, links]), later=lambda seconds, call: None) as out:
        out.write(page)


def _page(lines: Iterable[bytes], source: str, links: str | None) -> bytes:
    """Return the page for results of any kind: the first line that is one says which."""
    head: list[bytes] = []
    kind: Any = None
    for line in lines:
        head.append(line)
        kind = _row(line)
        if kind is not None or len(head) > MAX_RUBBISH:
            break
    everything = chain(head, lines)
    if is_page_row(kind):
        return _crawl_page(everything, source, links)
    if links is not None:
        raise click.UsageError(f"--links goes with the pages of a crawl, and {source} has none")
    if is_scan_row(kind):
        return page_of(gather_scan(everything).row(), source=source, template=SCAN_TEMPLATE)
    findings = gather(everything)
    if not findings.records:
        raise click.ClickException(f"{source} has no results of fetch, scan or crawl in it; it must be JSON lines")
    return page_of(findings.row(), source=source)


def _crawl_page(pages: Iterable[bytes], source: str, links: str | None) -> bytes:
    with ExitStack() as stack:
        twice = None
        if links is not None:
            twice = stack.enter_context(open(links, "rb")), stack.enter_context(open(links, "rb"))
        found = gather_crawl(pages, twice)
        if links is not None and not found.links and os.path.getsize(links):
            raise click.UsageError(f"{links} has no links of a crawl in it; it must be what crawl --links wrote")
        return page_of(found.row(), source=source, template=CRAWL_TEMPLATE)


def _row(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
