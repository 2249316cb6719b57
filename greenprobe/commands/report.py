"""`greenprobe report`: a result of fetch or scan as a page to look at."""

from collections.abc import Iterable
from itertools import chain
from typing import Any, Final

import click
import orjson

from greenprobe.commands.output import Output
from greenprobe.reporting.findings import gather
from greenprobe.reporting.page import SCAN_TEMPLATE, page_of
from greenprobe.reporting.scan_changes import is_scan_row
from greenprobe.reporting.scan_findings import gather_scan

__all__ = ["report"]

MAX_RUBBISH: Final = 1000  # lines at the start that may be no JSON


@click.command()
@click.argument("results", metavar="RESULTS", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("-o", "--output", metavar="FILE", default="-", show_default=True, help="Write the page to FILE.")
def report(results: str, output: str) -> None:
    """Make one HTML page of a result of fetch or scan: statuses, times, hosts, open ports, services, certificates.

    RESULTS is a file of JSON lines, or - for standard input. The page needs no network and no other file.

    \b
      greenprobe fetch urls.txt --tls-facts -o results.jsonl
      greenprobe report results.jsonl -o report.html
      greenprobe scan 192.0.2.0/24 --top-ports 100 --service --format jsonl -o scan.jsonl
      greenprobe report scan.jsonl -o report.html
    """
    with click.open_file(results, "rb") as lines:
        page = _page(lines, results)
    with Output(output, inputs=[results], later=lambda seconds, call: None) as out:
        out.write(page)


def _page(lines: Iterable[bytes], source: str) -> bytes:
    """Return the page for results of either kind: the first line that is one says which."""
    head: list[bytes] = []
    kind: Any = None
    for line in lines:
        head.append(line)
        kind = _row(line)
        if kind is not None or len(head) > MAX_RUBBISH:
            break
    everything = chain(head, lines)
    if is_scan_row(kind):
        return page_of(gather_scan(everything).row(), source=source, template=SCAN_TEMPLATE)
    findings = gather(everything)
    if not findings.records:
        raise click.ClickException(f"{source} has no results of fetch or scan in it; it must be JSON lines")
    return page_of(findings.row(), source=source)


def _row(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
