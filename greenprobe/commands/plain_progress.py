"""Progress as plain lines on standard error, now and then: for logs, where nothing can be drawn."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from greenprobe.hub import get_hub
from greenprobe.timers import Timer

__all__ = ["plain_progress"]

INTERVAL_S = 10.0


@contextmanager
def plain_progress(read: Callable[[], tuple[float | None, str]]) -> Iterator[None]:
    """Write what `read` says every INTERVAL_S seconds, until the block ends."""
    hub = get_hub()
    timer: Timer

    def tick() -> None:
        nonlocal timer
        fraction, text = read()
        click.echo(text if fraction is None else f"{fraction:4.0%}  {text}", err=True)
        timer = hub.timers.add(hub.clock() + INTERVAL_S, tick)

    timer = hub.timers.add(hub.clock() + INTERVAL_S, tick)
    try:
        yield
    finally:
        timer.cancel()
