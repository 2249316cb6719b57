"""What a command is asked about: a list in a file or on standard input, or the words of the command line themselves.

One word that is a file is a list. A word that only looks like one (`names.txt`) is taken for a mistyped file, not for a
host: an error now says more than a result about a host of that name.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

from greenprobe.engine.namelist import NUMERIC

__all__ = ["list_path", "opened", "refuse_lists"]

LIST: Final = click.Path(exists=True, dir_okay=False, readable=True)
LIST_SUFFIXES: Final = (".txt", ".csv", ".lst")


def list_path(words: tuple[str, ...], *, have_paths: bool = False) -> str:
    """Return the file of the list, "-" for standard input and for words that mean themselves.

    `have_paths` says that what is asked about may have slashes in it. Raises click.BadParameter.
    """
    if words == ("-",):
        return "-"
    context = click.get_current_context()
    argument = next(each for each in context.command.params if isinstance(each, click.Argument))
    if len(words) == 1 and "://" not in words[0] and (os.path.exists(words[0]) or means_a_file(words[0])):
        return str(LIST.convert(words[0], argument, context))
    for word in words:
        if word == "-" or (means_a_file(word) and not (have_paths and "/" in word)):
            raise click.BadParameter(f"{word!r} is a list; give one list, and nothing beside it", context, argument)
    return "-"


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


@contextmanager
def opened(words: tuple[str, ...], path: str) -> Iterator[int]:
    """Give a descriptor that the list is read from; standard input is not ours to close."""
    if path == "-" and words == ("-",):
        yield 0
        return
    if path == "-":
        fd = os.memfd_create("words")
        os.write(fd, "\n".join(words).encode("utf-8", "surrogateescape"))
        os.lseek(fd, 0, os.SEEK_SET)
    else:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)
