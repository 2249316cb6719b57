"""The files of a run are different ones: none is written twice, and none that is read is written over."""

import os
from collections.abc import Iterable, Mapping
from itertools import combinations, product
from typing import Any

import click

__all__ = ["check_distinct", "check_kept", "is_same"]


def check_distinct(options: Mapping[str, Any], written: Iterable[str]) -> None:
    """Raise click.UsageError if two of the options `written` name one file."""
    for (first, path), (second, other) in combinations(_named(options, written), 2):
        if is_same(path, other):
            raise click.UsageError(f"--{first} and --{second} are the same file, {path}; name another for one of them")


def check_kept(options: Mapping[str, Any], written: Iterable[str], read: Iterable[str | None]) -> None:
    """Raise click.UsageError if one of the options `written` names a file that is read, too."""
    for (name, path), source in product(_named(options, written), filter(None, read)):
        if source != "-" and is_same(path, source):
            raise click.UsageError(f"--{name} {path} is the input too; name another file")


def _named(options: Mapping[str, Any], names: Iterable[str]) -> list[tuple[str, str]]:
    """Return the options that name a file, and it."""
    return [(name.replace("_", "-"), options[name]) for name in names if options[name] not in {None, "", "-"}]


def is_same(path: str, other: str) -> bool:
    """Tell whether two paths lead to one file that is, or would be, a regular one."""
    if os.path.exists(path) and not os.path.isfile(path):
        return False
    return os.path.realpath(path) == os.path.realpath(other) or (
        os.path.exists(path) and os.path.exists(other) and os.path.samefile(path, other)
    )
