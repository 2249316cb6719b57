"""Progress as plain lines on standard error, now and then: for logs, where nothing can be drawn."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from greenprobe.commands.options import Reader, Reading
from greenprobe.hub import get_hub
from greenprobe.timers import Timer

__all__ = ["line_of", "plain_progress"]

INTERVAL_S = 10.0


@contextmanager
def plain_progress(read: Reader) -> Iterator[None]:
    """Write what `read` says every INTERVAL_S seconds, until the block ends."""
    hub = get_hub()
    timer: Timer

    def tick() -> None:
        nonlocal timer
        click.echo(line_of(read()), err=True)
        timer = hub.timers.add(hub.clock() + INTERVAL_S, tick)

    timer = hub.timers.add(hub.clock() + INTERVAL_S, tick)
    try:
        yield
    finally:
        timer.cancel()


def line_of(reading: Reading) -> str:
    """Return a reading as a line of text."""
    fraction, text = reading
    return text if fraction is None else f"{fraction:4.0%}  {text}"
