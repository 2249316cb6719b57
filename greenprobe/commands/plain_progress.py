"""Progress as plain lines on standard error, now and then: for logs, where nothing can be drawn."""

from contextlib import AbstractContextManager

import click

from greenprobe.commands.options import Reader, Reading
from greenprobe.commands.regularly import regularly

__all__ = ["INTERVAL_S", "duration", "line_of", "plain_progress"]

INTERVAL_S = 10.0


def plain_progress(read: Reader) -> AbstractContextManager[None]:
    """Write what `read` says every INTERVAL_S seconds, and what is left at their pace, until the block ends."""
    done = 0.0

    def tell() -> None:
        nonlocal done
        reading = read()
        now = reading[0] or 0.0
        click.echo(line_of(reading) + left(now - done, 1.0 - now), err=True)
        done = now

    return regularly(INTERVAL_S, tell)


def line_of(reading: Reading) -> str:
    """Return a reading as a line of text."""
    fraction, text = reading
    return text if fraction is None else f"{fraction:4.0%}  {text}"


def left(step: float, rest: float) -> str:
    """Return what to say of the time that `rest` takes, a part of the whole, if `step` took INTERVAL_S seconds."""
    return f", {duration(INTERVAL_S * rest / step)} left" if step > 0.0 and rest > 0.0 else ""


def duration(seconds: float) -> str:
    """Return a duration for reading."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
