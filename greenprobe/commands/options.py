"""Options that several commands share: one concept, one name, one help text, everywhere.

Each is a decorator for a click command. A command names its defaults; the words stay the same.
"""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from math import isfinite
from socket import AF_INET, AF_INET6, AF_UNSPEC
from typing import Any, Protocol

import click

from greenprobe.engine.fdlimit import free_descriptors, raise_limit

__all__ = [
    "MAX_CONCURRENCY",
    "MAX_PROCESSES",
    "READABLE",
    "READABLE_OR_STDIN",
    "Decorator",
    "FiniteRange",
    "Progress",
    "Reader",
    "Reading",
    "WholeRange",
    "affordable",
    "concurrency_option",
    "family_options",
    "format_option",
    "only_family",
    "output_option",
    "progress_option",
    "refuse_closed_stdin",
    "timeout_option",
]

# The part that is done, 0 to 1, or None where nobody knows; and what to say about it: plain text.
Reading = tuple[float | None, str]
Reader = Callable[[], Reading]


class Progress(Protocol):
    """The click object of a command. Give it a reader of counters, and how to show them: "auto", "plain" or "off"; use
    what it returns as a context. See commands/progress.py.
    """

    def __call__(self, read: Reader, mode: str, /) -> AbstractContextManager[None]: ...


class WholeRange(click.IntRange):
    """A range of whole numbers."""

    name = "whole number"  # as messages call it


class FiniteRange(click.FloatRange):
    """A range of numbers that leaves out those which no comparison leaves out: NaN, and infinity."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number. Raises click.BadParameter."""
        number = super().convert(value, param, ctx)
        if not isfinite(number):
            self.fail(f"{value!r} is no finite number.", param, ctx)
        return number


def refuse_closed_stdin(path: object) -> None:
    """Raise click.UsageError if a path is `-` and standard input is closed: its number is somebody else's by now."""
    if path == "-" and sys.stdin is None:
        raise click.UsageError("- is standard input, which is closed here; name a file")


class ReadableOrStdin(click.Path):
    """A file that is there, or `-` for standard input."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path. Raises click.UsageError."""
        refuse_closed_stdin(value)
        return super().convert(value, param, ctx)


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

READABLE = click.Path(exists=True, dir_okay=False)
READABLE_OR_STDIN = ReadableOrStdin(exists=True, dir_okay=False, allow_dash=True)

MAX_CONCURRENCY = 100_000
MAX_PROCESSES = 64


def output_option() -> Decorator:
    """Add `--output/-o FILE`: where the results go; `-` is standard output."""
    return click.option(
        "-o",
        "--output",
        metavar="FILE",
        default="-",
        show_default=True,
        help="Write the results to FILE, `-` is standard output.",
    )


def format_option(*names: str, default: str) -> Decorator:
    """Add `--format NAME` with the formats this command can write (see `output.encoder`)."""
    return click.option(
        "--format",
        "format_name",
        type=click.Choice(names),
        default=default,
        show_default=True,
        help="The form of the results: " + ", ".join(names) + ".",
    )


def concurrency_option(*, default: int) -> Decorator:
    """Add `--concurrency/-c N`: how many conversations run at once, at most."""
    return click.option(
        "-c",
        "--concurrency",
        metavar="N",
        type=WholeRange(1, MAX_CONCURRENCY),
        default=default,
        show_default=True,
        help="How many run at once, at most.",
    )


def timeout_option(*, default: float, what: str) -> Decorator:
    """Add `--timeout SECONDS`; `what` says what has to be over by then."""
    return click.option(
        "--timeout",
        metavar="SECONDS",
        type=FiniteRange(0, min_open=True),
        default=default,
        show_default=True,
        help=f"Seconds in which {what}.",
    )


def family_options(what: str) -> Decorator:
    """Add `-4` and `-6`, as `ipv4` and `ipv6`; `what` says what is done with addresses. See `only_family`."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for version in (6, 4):
            help_text = f"{what} IPv{version} addresses only."
            option = click.option(f"-{version}", f"--ipv{version}", is_flag=True, help=help_text)
            command = option(command)
        return command

    return add


def only_family(*, ipv4: bool, ipv6: bool) -> int:
    """Return the family that `-4` or `-6` leaves, AF_UNSPEC for both. Raises click.UsageError."""
    if ipv4 and ipv6:
        raise click.UsageError("-4 and -6 leave no address; give one of them")
    return AF_INET if ipv4 else AF_INET6 if ipv6 else AF_UNSPEC


def progress_option() -> Decorator:
    """Add `--progress MODE`, as `progress_mode`: how to show how far a run is."""
    return click.option(
        "--progress",
        "progress_mode",
        type=click.Choice(["auto", "plain", "off"]),
        default="auto",
        show_default=True,
        help="Draw a line on a terminal and write plain lines elsewhere; or write plain lines; or nothing.",
    )


def affordable(concurrency: int, what: str) -> int:
    """Return how many connections this process may have, up to `concurrency`; say so if that is less."""
    free = free_descriptors(raise_limit())
    if concurrency > free:
        click.echo(f"only {free:,} descriptors may be open here, so {free:,} {what} at once", err=True)
    return min(concurrency, free)
