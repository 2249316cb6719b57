"""`greenprobe report`: a result of fetch as a page to look at."""

import click

from greenprobe.commands.output import Output
from greenprobe.reporting.findings import gather
from greenprobe.reporting.page import page_of

__all__ = ["report"]


@click.command()
@click.argument("results", metavar="RESULTS", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("-o", "--output", metavar="FILE", default="-", show_default=True, help="Write the page to FILE.")
def report(results: str, output: str) -> None:
    """Make one HTML page of a result of fetch: statuses, errors, times, hosts, certificates.

    RESULTS is a file of JSON lines, or - for standard input. The page needs no network and no other file.

    \b
      greenprobe fetch urls.txt --tls-facts -o results.jsonl
      greenprobe report results.jsonl -o report.html
    """
    with click.open_file(results, "rb") as lines:
        findings = gather(lines)
    if not findings.records:
        raise click.ClickException(f"{results} has no results of fetch in it; it must be JSON lines")
    with Output(output, inputs=[results], later=lambda seconds, call: None) as out:
        out.write(page_of(findings.row(), source=results))
