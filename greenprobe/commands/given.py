"""What a command is asked about: a list in a file or on standard input, or the words of the command line themselves.

One word that is a file is a list. A word that only looks like one (`names.txt`) is taken for a mistyped file, not for a
host: an error now says more than a result about a host of that name. Where URLs are asked about, that is so for a word
without any dot, too: few lists are named so that they cannot be mistaken for `urls`, and few hosts have such names. Who
means a host writes a URL, or puts `--` before it: `WordsCommand` sees to that.
"""

import codecs
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

from greenprobe.commands.options import READABLE, refuse_closed_stdin
from greenprobe.commands.sections import SectionedCommand
from greenprobe.engine.namelist import NUMERIC

__all__ = ["WordsCommand", "list_path", "means_a_file", "opened", "refuse_lists"]

LIST_SUFFIXES: Final = (".txt", ".csv", ".tsv", ".lst", ".list", ".json", ".jsonl", ".ndjson")
HOSTS: Final = frozenset({"localhost"})
NOT_IN_NAMES: Final = frozenset("./:[{?#@")
UTF_16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # what `>` writes in an older PowerShell
DASHES: Final = "greenprobe.dashes"


class WordsCommand(SectionedCommand):
    """A command whose words mean themselves behind `--`, whatever they look like."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Note whether the dashes are there; click takes them away."""
        ctx.meta[DASHES] = "--" in args
        return super().parse_args(ctx, args)


def list_path(words: tuple[str, ...], *, are_urls: bool = False) -> str:
    """Return the file of the list, "-" for standard input and for words that mean themselves.

    `are_urls` says that what is asked about may have slashes in it. Raises click.BadParameter.
    """
    context = click.get_current_context()
    if words == ("-",) or context.meta.get(DASHES):
        return "-"
    argument = next(each for each in context.command.params if isinstance(each, click.Argument))
    if len(words) == 1 and "://" not in words[0] and os.path.exists(words[0]):
        return str(READABLE.convert(words[0], argument, context))
    looks = means_urls_file if are_urls else means_a_file
    for word in words:
        is_path = are_urls and "/" in word and len(words) > 1  # of a URL without a scheme
        if word == "-" or (looks(word) and not is_path):
            raise click.BadParameter(refusal(word, are_urls=are_urls), context, argument)
    return "-"


def refusal(word: str, *, are_urls: bool) -> str:
    """Return what to say of a word that is a list where none may be, or that looks like one and is none."""
    if word == "-" or os.path.isfile(word):
        return f"{word!r} is a list; give one list, and nothing beside it"
    return f"no such file: {word!r}" + (f"; if it is a host, write http://{word}, or -- before it" if are_urls else "")


def refuse_lists(words: tuple[str, ...]) -> None:
    """Raise click.UsageError for a word like `urls.txt` given to a command that reads no list."""
    for word in words:
        if "/" not in word and means_a_file(word):
            raise click.UsageError(f"{word!r} looks like a list; give URLs, with http:// if this is a host")


def means_a_file(word: str) -> bool:
    """Tell whether a word looks like a file's name: not a URL, and not a block of addresses."""
    if "://" in word or NUMERIC.issuperset(word):
        return False
    return "/" in word or word.lower().endswith(LIST_SUFFIXES)


def means_urls_file(word: str) -> bool:
    """Tell whether a word looks like a file's name rather than like a host: also one without a dot."""
    return means_a_file(word) or (word not in HOSTS and NOT_IN_NAMES.isdisjoint(word))


@contextmanager
def opened(words: tuple[str, ...], path: str) -> Iterator[int]:
    """Give a descriptor that the list is read from; standard input is not ours to close.

    Raises click.UsageError for a file that has no line of text as we know them, and for standard input that is closed.
    """
    if path == "-" and words == ("-",):
        refuse_closed_stdin(path)
        yield 0
        return
    if path == "-":
        fd = os.memfd_create("words")
        os.write(fd, "\n".join(words).encode("utf-8", "surrogateescape"))
        os.lseek(fd, 0, os.SEEK_SET)
    else:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if path != "-" and os.path.isfile(path) and os.pread(fd, 2, 0) in UTF_16:
            raise click.UsageError(f"{path} is UTF-16; save it as UTF-8")
        yield fd
    finally:
        os.close(fd)
