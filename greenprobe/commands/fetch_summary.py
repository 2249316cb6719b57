"""What `greenprobe fetch` says of its run: the progress line while it lasts, and the summary at its end."""

from typing import Any, Final

import click
import orjson

from greenprobe.commands.counted import counted
from greenprobe.commands.output import terminal_safe
from greenprobe.engine.fetchplan import FetchStatistics
from greenprobe.engine.tally import Tally

__all__ = ["reading", "summarize", "summary_row", "write_summary"]

SHOWN_ERRORS: Final = 3
SHOWN_HOSTS: Final = 2


def reading(now: FetchStatistics, tally: Tally) -> tuple[float | None, str]:
    """Return the part that is done, None for a pipe, and a line about it."""
    rate = now.done / now.seconds if now.seconds else 0.0
    words = [counted(now.done, "URL"), f"{rate:,.0f}/s"]
    words += [f"{count:,} {number}xx" for number, count in enumerate(now.by_class) if count]
    words.append(f"{now.failed:,} failed")
    words.append(f"{now.taken - now.done:,} under way" + (f" ({now.waiting:,} waiting)" if now.waiting else ""))
    part = now.read_bytes / now.size_bytes if now.size_bytes else None
    if part is not None and now.listed:
        part *= now.done / now.listed  # what was read and is not done yet is still to do
    errors = ", ".join(f"{count:,} {kind}" for kind, count in tally.errors()[:SHOWN_ERRORS])
    slow = ", ".join(f"{terminal_safe(host)} {mean:.1f} s" for host, mean in tally.slowest(SHOWN_HOSTS))
    words += [f"errors: {errors}"] if errors else []
    words += [f"slowest: {slow}"] if slow else []
    return part, ", ".join(words)


def summarize(end: FetchStatistics, tally: Tally, rest: int | None) -> None:
    """Say on standard error what came of the list, and what is missing: `rest` lines were not read (None: unknown)."""
    answers = ", ".join(f"{count:,} {number}xx" for number, count in enumerate(end.by_class) if count)
    rate = end.done / end.seconds if end.seconds else 0.0
    found = f"{answers or 'no answers'}, {end.failed:,} failed, {counted(end.body_bytes, 'byte')}"
    click.echo(f"{counted(end.done, 'URL')} in {end.seconds:.2f} s ({rate:,.0f} a second): {found}", err=True)
    missing = end.taken - end.done + (rest or 0)
    if rest is None:
        unfinished = counted(missing, "URL is", "URLs are")
        click.echo(f"{unfinished} not finished, and the list was not read to its end", err=True)
    elif missing:
        click.echo(f"{counted(missing, 'URL is', 'URLs are')} not finished", err=True)


def summary_row(end: FetchStatistics, tally: Tally) -> dict[str, Any]:
    """Return the summary as JSON has it; seconds and bytes."""
    rate = end.done / end.seconds if end.seconds else 0.0
    row = {
        "v": 1,
        "urls": end.done,
        "failed": end.failed,
        "unfinished": end.taken - end.done,
        "seconds": round(end.seconds, 6),
        "urls_per_s": round(rate, 3),
        "body_bytes": end.body_bytes,
    }
    return row | tally.row()


def write_summary(path: str, row: dict[str, Any]) -> None:
    """Write the summary to a file."""
    try:
        with open(path, "wb") as file:
            file.write(orjson.dumps(row, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    except OSError as exc:
        raise click.ClickException(f"cannot write to {path}: {exc.strerror}") from exc
