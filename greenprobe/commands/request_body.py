"""`--data`: the body of every request, as text, from a file (@FILE) or from standard input (@-); curl's words for it.

It is read with the option, once, so that all processes send the same.
"""

import sys
from collections.abc import Callable
from typing import Any, Final

import click

from greenprobe.commands.options import refuse_closed_stdin

__all__ = ["check_stdin", "data_option"]

STDIN: Final = "greenprobe.body_on_stdin"


def data_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--data`, whose value is bytes."""
    text = "Send this body; @FILE reads it from a file, @- from standard input."
    return click.option("-d", "--data", metavar="TEXT", callback=_read, help=text)(command)


def check_stdin(words: tuple[str, ...]) -> None:
    """Raise click.UsageError if these words say that the list is read where the body was."""
    if words == ("-",) and click.get_current_context().meta.get(STDIN):
        raise click.UsageError("standard input is the list already; give the body of --data in a file")


def _read(context: click.Context, option: click.Parameter, text: str | None) -> bytes | None:
    if text is None or not text.startswith("@"):
        return None if text is None else text.encode("utf-8", "surrogateescape")
    refuse_closed_stdin(text[1:])
    if text == "@-":
        context.meta[STDIN] = True
        return sys.stdin.buffer.read()
    try:
        with open(text[1:], "rb") as file:
            return file.read()
    except OSError as exc:
        raise click.BadParameter(f"{text}: {exc.strerror}", context, option) from exc
