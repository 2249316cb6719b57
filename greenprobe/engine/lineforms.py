"""What a line of a list means: a URL, a template for many, or a row of JSON or CSV with a column of URLs.

A form turns numbered lines into entries, (number, URL), and remembers in `carried` what else belongs to an entry until
its record takes it: the other columns, or the line that a template stood on. Numbers are unique. An entry that a
template made has the number of its line plus a multiple of TEMPLATE_STEP.
"""

import csv
import re
from collections.abc import Iterable, Iterator
from itertools import islice, product
from typing import Any, Final, Protocol

import orjson

from greenprobe.errors import TargetError

__all__ = ["CsvRows", "Entry", "JsonRows", "LineForm", "PlainLines", "expanded"]

TEMPLATE_STEP: Final = 1 << 40
MAX_EXPANSION: Final = 10_000_000  # URLs of one line

Entry = tuple[int, bytes]


class LineForm(Protocol):
    """Turns lines into entries."""

    carried: dict[int, dict[str, Any]]

    def entries(self, first: int, lines: list[bytes]) -> Iterable[Entry]:
        """Return the entries of these lines, the first of which has the number `first`; blank lines have none."""


class PlainLines:
    """A URL a line; `{1..100}`, `{01..10}`, `{a..e}` and `{one,two}` in it stand for each of these."""

    def __init__(self) -> None:
        self.carried: dict[int, dict[str, Any]] = {}

    def entries(self, first: int, lines: list[bytes]) -> Iterable[Entry]:
        """Return the lines with their numbers, without the space around them."""
        plain = [(number, line) for number, line in enumerate(map(bytes.strip, lines), first) if line]
        if b"{" in b"".join(lines):
            return self._expanded(plain)
        return plain

    def _expanded(self, entries: list[Entry]) -> Iterator[Entry]:
        for number, line in entries:
            if b"{" not in line or not is_template(line):
                yield number, line
                continue
            for ordinal, url in enumerate(expanded(line), 1):
                unique = number + ordinal * TEMPLATE_STEP
                self.carried[unique] = {"line": number}
                yield unique, url


_field = re.compile(rb"\{(?:(-?[0-9]{1,9})\.\.(-?[0-9]{1,9})|([a-z])\.\.([a-z])|([^{}]*,[^{}]*))\}")
is_template = _field.search


def expanded(line: bytes) -> Iterator[bytes]:
    """Yield the URLs that a template stands for, the last field the fastest; at most MAX_EXPANSION of them."""
    parts: list[Iterable[bytes]] = []
    end = 0
    for field in _field.finditer(line):
        parts += [(line[end : field.start()],), _values(field)]
        end = field.end()
    parts.append((line[end:],))
    return islice(map(b"".join, product(*parts)), MAX_EXPANSION)


def _values(field: "re.Match[bytes]") -> Iterable[bytes]:
    first, last, low, high, words = field.groups()
    if words is not None:
        return tuple(words.split(b","))
    if low is not None:
        return tuple(bytes([letter]) for letter in _span(low[0], high[0]))
    width = len(first) if first.startswith((b"0", b"-0")) and len(first) > 1 else 0
    return tuple(b"%0*d" % (width, number) for number in islice(_span(int(first), int(last)), MAX_EXPANSION))


def _span(first: int, last: int) -> Iterable[int]:
    return range(first, last + 1) if first <= last else range(first, last - 1, -1)


class JsonRows:
    """A JSON object a line, with the URL under `column`; the others are carried through as "input"."""

    def __init__(self, column: str = "url") -> None:
        self._column = column
        self.carried: dict[int, dict[str, Any]] = {}

    def entries(self, first: int, lines: list[bytes]) -> Iterable[Entry]:
        """Return the URLs; a line without one is an entry that becomes a record with an error."""
        return list(self._entries(first, lines))

    def _entries(self, first: int, lines: list[bytes]) -> Iterator[Entry]:
        for number, line in enumerate(map(bytes.strip, lines), first):
            if not line:
                continue
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError:
                row = None
            url = row.pop(self._column, None) if isinstance(row, dict) else None
            if not isinstance(url, str):
                yield number, line
                continue
            if row:
                self.carried[number] = {"input": row}
            yield number, url.strip().encode("utf-8", "backslashreplace")


class CsvRows:
    """CSV with a heading, with the URL in `column`; the others are carried through as "input"."""

    def __init__(self, column: str = "url") -> None:
        self._column = column
        self._names: list[str] | None = None
        self._rest: list[str] = []  # lines of a row whose quotes are still open
        self._number = 0
        self.carried: dict[int, dict[str, Any]] = {}

    def entries(self, first: int, lines: list[bytes]) -> Iterable[Entry]:
        """Return the URLs. Raises TargetError if the heading has no such column."""
        return list(self._entries(first, lines))

    def _entries(self, first: int, lines: list[bytes]) -> Iterator[Entry]:
        for number, line in enumerate(lines, first):
            if not self._rest:
                self._number = number
            self._rest.append(line.decode("utf-8", "replace").rstrip("\r"))
            text = "\n".join(self._rest)
            if text.count('"') % 2:
                continue
            self._rest.clear()
            cells = next(csv.reader([text], strict=False), []) if text.strip() else []
            if not cells:
                continue
            if self._names is None:
                self._take_heading(cells)
                continue
            row = dict(zip(self._names, cells, strict=False))
            url = row.pop(self._column, "")
            if row:
                self.carried[self._number] = {"input": row}
            yield self._number, url.strip().encode("utf-8", "replace")

    def _take_heading(self, cells: list[str]) -> None:
        self._names = [cell.strip() for cell in cells]
        if self._column not in self._names:
            shown = ", ".join(self._names[:10])
            raise TargetError(f"the list has no column {self._column!r}; it has {shown}: name one with --url-column")
