"""What a line of a list means: a URL, a template for many, or a row of JSON or CSV with a column of URLs.

A form turns numbered lines into entries, (number, URL), and remembers in `carried` what else belongs to an entry until
its record takes it: the other columns, or the line that a template stood on. Numbers are unique. An entry that a
template made has the number of its line plus a multiple of TEMPLATE_STEP. A row without a URL is an entry without
text, and under FAULT it carries what is wrong with it.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from math import prod
from typing import Any, Final, Protocol

import orjson

from greenprobe.errors import TargetError

__all__ = ["FAULT", "CsvRows", "Entry", "JsonRows", "LineForm", "PlainLines", "expanded", "parts_of"]

TEMPLATE_STEP: Final = 1 << 40
MAX_EXPANSION: Final = 8_000_000  # URLs of one line: their numbers have 63 bits
MAX_ROW_LINES: Final = 1000  # of a row of CSV; one more has lost a quote
MAX_SHOWN: Final = 60  # characters of a row that is none
FAULT: Final = "fault"

Entry = tuple[int, bytes]


class LineForm(Protocol):
    """Turns lines into entries."""

    carried: dict[int, dict[str, Any]]

    def entries(self, first: int, lines: list[bytes]) -> Iterable[Entry]:
        """Return the entries of these lines, the first of which has the number `first`; blank lines have none."""

    def end(self) -> Iterable[Entry]:
        """Return the entries that are left when there are no more lines."""


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

    def end(self) -> Iterable[Entry]:
        """Return nothing: a line is an entry."""
        return ()

    def _expanded(self, entries: list[Entry]) -> Iterator[Entry]:
        for number, line in entries:
            if b"{" not in line or not is_template(line):
                yield number, line
                continue
            parts = parts_of(line)
            count = prod(map(len, parts))
            if count > MAX_EXPANSION:
                self.carried[number] = {
                    FAULT: f"{shown(line)} stands for {count:,} URLs; at most {MAX_EXPANSION:,} may"
                }
                yield number, b""
                continue
            for ordinal, url in enumerate(expanded(parts), 1):
                unique = number + ordinal * TEMPLATE_STEP
                self.carried[unique] = {"line": number}
                yield unique, url


_field = re.compile(rb"\{(?:(-?[0-9]{1,18})\.\.(-?[0-9]{1,18})|([a-z])\.\.([a-z])|([^{}]*,[^{}]*))\}")
is_template = _field.search


class Numbers:
    """Numbers as a template has them, each made when it is asked for."""

    def __init__(self, span: range, width: int) -> None:
        self._span = span
        self._width = width

    def __len__(self) -> int:
        return len(self._span)

    def __iter__(self) -> Iterator[bytes]:
        return (b"%0*d" % (self._width, number) for number in self._span)


Part = tuple[bytes, ...] | Numbers


def parts_of(line: bytes) -> list[Part]:
    """Return what a template is made of, in order, each with all that may stand there.

    Fields of one value are text like that between fields, so that there are no more parts than a count can be doubled.
    """
    parts: list[Part] = []
    text, end = [], 0
    for field in _field.finditer(line):
        text.append(line[end : field.start()])
        end = field.end()
        values = _values(field)
        if len(values) == 1:
            text += values
        else:
            parts += [(b"".join(text),), values]
            text = []
    parts.append((b"".join([*text, line[end:]]),))
    return parts


def expanded(parts: Sequence[Part], before: bytes = b"") -> Iterator[bytes]:
    """Yield the URLs that a template stands for, the last field the fastest."""
    if not parts:
        yield before
        return
    for value in parts[0]:
        yield from expanded(parts[1:], before + value)


def _values(field: "re.Match[bytes]") -> Part:
    first, last, low, high, words = field.groups()
    if words is not None:
        return tuple(words.split(b","))
    if low is not None:
        return tuple(bytes([letter]) for letter in _span(low[0], high[0]))
    width = len(first) if first.startswith((b"0", b"-0")) and len(first) > 1 else 0
    return Numbers(_span(int(first), int(last)), width)


def _span(first: int, last: int) -> range:
    return range(first, last + 1) if first <= last else range(first, last - 1, -1)


class JsonRows:
    """A JSON object a line, with the URL under `column`; the others are carried through as "input"."""

    def __init__(self, column: str = "url") -> None:
        self._column = column
        self.carried: dict[int, dict[str, Any]] = {}

    def entries(self, first: int, lines: list[bytes]) -> Iterable[Entry]:
        """Return the URLs; a row without one is an entry without text, whose fault is carried."""
        return list(self._entries(first, lines))

    def end(self) -> Iterable[Entry]:
        """Return nothing: a line is an entry."""
        return ()

    def _entries(self, first: int, lines: list[bytes]) -> Iterator[Entry]:
        for number, line in enumerate(map(bytes.strip, lines), first):
            if not line:
                continue
            row = object_of(line)
            if row is None:
                self.carried[number] = {FAULT: f"line {number} is no JSON object: {shown(line)}"}
                yield number, b""
                continue
            yield entry_of(number, row, self._column, self.carried)


class CsvRows:
    """CSV with a heading, with the URL in `column`; the others are carried through as "input"."""

    def __init__(self, column: str = "url") -> None:
        self._column = column
        self._names: list[str] | None = None
        self._rest: list[str] = []  # lines of a row whose quotes are still open
        self._is_quoted = False
        self._number = 0
        self.carried: dict[int, dict[str, Any]] = {}

    def entries(self, first: int, lines: list[bytes]) -> Iterable[Entry]:
        """Return the URLs; a row without one is an entry without text.

        Raises TargetError if the heading has no such column.
        """
        return list(self._entries(first, lines))

    def end(self) -> Iterable[Entry]:
        """Return a row whose quotes are still open as an entry with a fault."""
        return [self._unclosed()] if self._rest else []

    def _entries(self, first: int, lines: list[bytes]) -> Iterator[Entry]:
        for number, line in enumerate(lines, first):
            if not self._rest:
                self._number = number
            self._rest.append(line.decode("utf-8", "replace").rstrip("\r"))
            self._is_quoted ^= line.count(b'"') % 2 == 1
            if self._is_quoted:
                if len(self._rest) >= MAX_ROW_LINES:
                    yield self._unclosed()
                continue
            text = "\n".join(self._rest)
            self._rest.clear()
            try:
                cells = next(csv.reader([text], strict=False), []) if text.strip() else []
            except csv.Error as exc:  # a field longer than 128 KiB
                yield self._faulty(f"is no row of CSV: {exc}")
                continue
            if not cells:
                continue
            if self._names is None:
                self._take_heading(cells)
                continue
            row = dict(zip(self._names, cells, strict=False))
            yield entry_of(self._number, row, self._column, self.carried)

    def _unclosed(self) -> Entry:
        """Give a row up, and begin anew with the next line."""
        last = self._number + len(self._rest) - 1
        self._rest.clear()
        self._is_quoted = False
        return self._faulty(f"opens a quote that is not closed by line {last}")

    def _faulty(self, what: str) -> Entry:
        self.carried[self._number] = {FAULT: f"line {self._number} {what}"}
        return self._number, b""

    def _take_heading(self, cells: list[str]) -> None:
        self._names = [cell.strip() for cell in cells]
        if self._column not in self._names:
            shown = ", ".join(self._names[:10])
            raise TargetError(f"the list has no column {self._column!r}; it has {shown}: name one with --url-column")


def object_of(line: bytes) -> dict[str, Any] | None:
    """Return the JSON object that a line is, None if it is none."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return row if isinstance(row, dict) else None


def entry_of(number: int, row: dict[str, Any], column: str, carried: dict[int, dict[str, Any]]) -> Entry:
    """Return the entry of a row, and leave in `carried` what else belongs to it."""
    fault = fault_of(number, row, column)
    url = row.pop(column, None)
    if row or fault:
        carried[number] = ({"input": row} if row else {}) | ({FAULT: fault} if fault else {})
    return number, b"" if fault else str(url).strip().encode("utf-8", "backslashreplace")


def fault_of(number: int, row: dict[str, Any], column: str) -> str | None:
    """Return what is wrong with a row whose `column` is no URL: it is missing, empty, or holds something else."""
    if column not in row:
        return f"line {number} has no column {column!r}; it has {', '.join([*row][:10]) or 'none'}"
    value = row[column]
    if value is not None and not isinstance(value, str):
        return f"line {number}: column {column!r} holds {shown(orjson.dumps(value))}, which is no text"
    return None if value and value.strip() else f"line {number}: column {column!r} is empty"


def shown(data: bytes) -> str:
    """Return the beginning of what was found, for a message."""
    text = data.decode("utf-8", "backslashreplace")
    return repr(text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "...")
