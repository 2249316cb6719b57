"""A progress line on a terminal: rich draws it, a reader of counters fills it.

The engine never calls this. Some times a second a hub timer asks `read` for the part that is done and a text. Only
`greenprobe.cli` imports this file, and only when standard error is a terminal, so that rich costs a pipe nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

from greenprobe.commands.options import Reader
from greenprobe.commands.regularly import regularly

__all__ = ["progress"]

INTERVAL_S = 0.2


WIDE = 60  # columns of a terminal; in fewer the text alone has room


def wide_columns() -> list[ProgressColumn]:
    """Return a bar, the text, and how long it took and will take."""
    return [
        BarColumn(bar_width=16),
        TextColumn("{task.description}", markup=False, table_column=Column(ratio=1)),
        TimeElapsedColumn(Column(min_width=7, no_wrap=True)),
        TimeRemainingColumn(table_column=Column(min_width=7, no_wrap=True)),
    ]


def narrow_columns() -> list[ProgressColumn]:
    """Return the text, cut to a line."""
    return [TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis"))]


@contextmanager
def progress(read: Reader) -> Iterator[None]:
    """Show what `read` says, on standard error, until the block ends; then the line disappears."""
    console = Console(stderr=True)
    bar = Progress(
        *(wide_columns() if console.width >= WIDE else narrow_columns()),
        console=console,
        auto_refresh=False,
        expand=True,
        transient=True,
        redirect_stdout=False,
    )
    task = bar.add_task("", total=None)

    def draw() -> None:
        fraction, text = read()
        total = None if fraction is None else 1.0
        bar.update(task, description=text, total=total, completed=fraction or 0.0, refresh=True)

    with bar, regularly(INTERVAL_S, draw, first=0.0):
        yield
