"""`greenprobe diff`: what changed between two scans."""

import click
import orjson

from greenprobe.commands.counted import counted
from greenprobe.commands.options import READABLE_OR_STDIN, format_option
from greenprobe.commands.output import terminal_safe
from greenprobe.reporting.scan_changes import Change, Ports, changes, read_ports

__all__ = ["diff"]

SIGNS = {"opened": "+", "closed": "-", "service": "~", "certificate": "~"}


@click.command(short_help="Say what opened, closed or changed between two scans.")
@click.argument("old", metavar="OLD", type=READABLE_OR_STDIN)
@click.argument("new", metavar="NEW", type=READABLE_OR_STDIN)
@format_option("text", "jsonl", default="text")
def diff(old: str, new: str, format_name: str) -> int:
    """Say what opened, closed, or changed its service or certificate from scan OLD to scan NEW.

    Both are files of JSON lines; - stands for standard input. A port that a file does not have counts as not open, so
    files of --open compare as well. Exit code 0: nothing changed, 1: something did, 2: wrong usage.

    \b
      greenprobe scan 192.0.2.0/24 --top-ports 100 --service --format jsonl -o today.jsonl
      greenprobe diff yesterday.jsonl today.jsonl
    """
    if old == new == "-":
        raise click.UsageError("OLD and NEW cannot both be standard input; name a file for one of them")
    count = 0
    for change in changes(_read(old), _read(new)):
        count += 1
        click.echo(orjson.dumps(change.row()).decode() if format_name == "jsonl" else _line(change))
    return 1 if count else 0


def _read(path: str) -> Ports:
    with click.open_file(path, "rb") as lines:
        ports, broken = read_ports(lines)
    if broken:
        click.echo(f"{path}: {counted(broken, 'line is no result', 'lines are no results')} of scan", err=True)
    if not (ports[0] or ports[1]):
        raise click.UsageError(f"{path} has no results of scan in it; it must be JSON lines")
    return ports


def _line(change: Change) -> str:
    where = change.ip if change.host in ("", change.ip) else f"{change.ip} ({change.host})"
    line = f"{SIGNS[change.kind]} {where} {change.port}/{change.proto} {change.kind}: {change.before} -> {change.after}"
    return terminal_safe(line)
