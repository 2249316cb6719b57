"""Progress as plain lines on standard error, now and then: for logs, where nothing can be drawn."""

from contextlib import AbstractContextManager

import click

from greenprobe.commands.options import Reader, Reading
from greenprobe.commands.regularly import regularly

__all__ = ["line_of", "plain_progress"]

INTERVAL_S = 10.0


def plain_progress(read: Reader) -> AbstractContextManager[None]:
    """Write what `read` says every INTERVAL_S seconds, until the block ends."""
    return regularly(INTERVAL_S, lambda: click.echo(line_of(read()), err=True))


def line_of(reading: Reading) -> str:
    """Return a reading as a line of text."""
    fraction, text = reading
    return text if fraction is None else f"{fraction:4.0%}  {text}"
