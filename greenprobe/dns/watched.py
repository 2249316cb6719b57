"""A small file that is read again when it has changed: /etc/hosts, /etc/resolv.conf and their kind.

To ask the kernel for a file's stamp costs a microsecond and a half. `current` is exact; who is in a hurry looks once a
second, as `family.py` does.
"""

import os
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Watched"]

T = TypeVar("T")
Stamp = tuple[int, int, int]


class Watched(Generic[T]):
    """What `parse` made of the text of the file at `path`; of "" if there is no such file."""

    __slots__ = ("_parse", "_path", "_stamp", "_value")

    def __init__(self, path: str, parse: Callable[[str], T]) -> None:
        self._path = path
        self._parse = parse
        self._stamp: Stamp | None = (-1, -1, -1)
        self._value: T

    def __repr__(self) -> str:
        return f"<Watched {self._path}>"

    def current(self) -> T:
        """Return the value, read anew if the file has changed since."""
        try:
            status = os.stat(self._path)
            stamp: Stamp | None = (status.st_mtime_ns, status.st_size, status.st_ino)
        except OSError:
            stamp = None
        if stamp != self._stamp:
            self._value = self._parse(read_text(self._path) if stamp is not None else "")
            self._stamp = stamp
        return self._value


def read_text(path: str) -> str:
    """Return the text of a file, or "" if it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
