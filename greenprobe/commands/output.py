"""Results on their way out: rows become lines of JSON, CSV or text, and lines reach a file in batches.

A row is a mapping; columns pick flat values out of it for CSV and text. Every write ends at the end of a line, so a
reader of the file sees whole lines only, also after Ctrl-C or when the disk is full. A line waits at most MAX_AGE_S
for company: a live pipe sees it soon, and a busy run pays one system call for hundreds of lines. Nothing here knows
what the rows mean.
"""

import csv
import os
import select
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol, Self

import click
import orjson

from greenprobe.commands.distinct import is_same
from greenprobe.engine.journal import LastingFile
from greenprobe.hub import get_hub

__all__ = ["Column", "Encoder", "Output", "encoder", "opened_at", "picking", "terminal_safe"]

MAX_AGE_S = 0.1
MAX_BUFFER_BYTES = 1 << 17
FORMULA_STARTS = frozenset("=+-@\t\r\n")

Row = Mapping[str, Any]
# Runs a call some seconds from now.
Later = Callable[[float, Callable[[], None]], object]


class Column(NamedTuple):
    """A flat value of a row: `path` leads to it through nested mappings, as in "elapsed.total"."""

    name: str
    path: str
    width: int = 0  # in text: padded on the right; negative: on the left

    def value(self, row: Row) -> Any:
        """Return the value in `row`, or None where the path ends early."""
        found: Any = row
        for key in self.path.split("."):
            if not isinstance(found, Mapping):
                return None
            found = found.get(key)
        return found


class Encoder(Protocol):
    """Turns one row into the bytes of its line."""

    def __call__(self, row: Row, /) -> bytes: ...


def by_hub(seconds: float, call: Callable[[], None]) -> object:
    """Have the loop of this thread's hub run a call."""
    hub = get_hub()
    return hub.timers.add(hub.clock() + seconds, call)


def encoder(format_name: str, columns: Sequence[Column]) -> tuple[bytes, Encoder]:
    """Return the first bytes of a file in this format (a heading, or nothing) and what encodes a row."""
    heading, encode = FORMATS[format_name]
    return heading(columns), encode(columns)


def picking(columns: Sequence[Column]) -> Encoder:
    """Return what encodes these columns of a row as a JSON line."""

    def encode(row: Row, /) -> bytes:
        picked = {column.name: column.value(row) for column in columns}
        return orjson.dumps(picked, option=orjson.OPT_APPEND_NEWLINE)

    return encode


def terminal_lines(lines: bytes) -> bytes:
    """Return lines for a terminal: what could steer it is escaped, as JSON escapes it; a line's end stays one."""
    text = lines.decode("utf-8", "backslashreplace")
    return "".join([c if c.isprintable() or c == "\n" else escaped(c) for c in text]).encode()


def escaped(character: str) -> str:
    """Return a character as JSON escapes it, in surrogates if need be."""
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[n]:02x}{units[n + 1]:02x}" for n in range(0, len(units), 2))


def terminal_safe(text: str) -> str:
    """Return `text` with everything escaped that could steer a terminal or turn the reading order round."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class Output:
    """A file that takes whole lines and writes them in batches.

    `later` is called when a first line starts waiting; what it is given must run on the thread that writes. An error of
    such a late flush is raised by the next call, as a click.ClickException whose one line names the file.
    """

    def __init__(
        self, path: str, *, later: Later = by_hub, inputs: Iterable[str] = (), goes_on_at: int | None = None
    ) -> None:
        """Open `path` ("-" is standard output), refusing to overwrite any of `inputs`.

        With `goes_on_at` the file is cut to so many bytes, and what is written goes behind them.
        """
        self._name = "standard output" if path == "-" else path
        self._later = later
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._is_due = False
        self._failure: click.ClickException | None = None
        self._fd = 1 if path == "-" else self._open(path, inputs, goes_on_at)
        self._owns_fd = path != "-"
        self._can_truncate = self._owns_fd and stat.S_ISREG(os.fstat(self._fd).st_mode)
        self._whole_bytes = goes_on_at or 0
        self._lasting = LastingFile(path)
        self._is_terminal = os.isatty(self._fd)

    def write(self, lines: bytes, *, is_safe: bool = False) -> None:
        """Take one or more whole lines; write when enough wait, or when the first has waited long enough.

        For a terminal they are escaped, unless they are safe: made for one.
        """
        if self._failure is not None:
            raise self._failure
        if self._is_terminal and not is_safe:
            lines = terminal_lines(lines)
        self._waiting.append(lines)
        self._waiting_bytes += len(lines)
        if self._waiting_bytes >= MAX_BUFFER_BYTES:
            self.flush()
        elif not self._is_due:
            self._is_due = True
            self._later(MAX_AGE_S, self._flush_late)

    def flush(self) -> None:
        """Write all lines that wait."""
        if self._failure is not None:
            raise self._failure
        if not self._waiting:
            return
        data = b"".join(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        try:
            self._write_all(data)
        except OSError as exc:
            self._failure = self._error(exc)
            raise self._failure from exc

    def length(self) -> int:
        """Write all lines that wait, and return how many bytes that makes in all."""
        self.flush()
        return self._whole_bytes

    def sync(self) -> int:
        """Have everything on the disk, if it is a file, its name too, and return its length in bytes."""
        self.flush()
        if self._can_truncate:
            try:
                self._lasting.sync(self._fd)
            except OSError as exc:
                raise self._error(exc) from exc
        return self._whole_bytes

    @property
    def is_terminal(self) -> bool:
        """Tell whether somebody looks at it."""
        return self._is_terminal

    @property
    def is_file(self) -> bool:
        """Tell whether it is a regular file, which can be cut and gone on with."""
        return self._can_truncate

    def close(self) -> None:
        """Flush and close. A second call does nothing."""
        if self._fd < 0:
            return
        try:
            if self._failure is None:
                self.flush()
        finally:
            fd, self._fd = self._fd, -1
            if self._owns_fd:
                os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _open(self, path: str, inputs: Iterable[str], goes_on_at: int | None) -> int:
        for source in inputs:
            if source != "-" and is_same(path, source):
                raise click.UsageError(f"{path} is the input too; write the results to another file")
        try:
            if goes_on_at:
                return opened_at(path, goes_on_at)
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_TRUNC, 0o666)
        except OSError as exc:
            raise self._error(exc) from exc

    def _error(self, exc: OSError) -> click.ClickException:
        return click.ClickException(f"cannot write to {self._name}: {exc.strerror}")

    def _flush_late(self) -> None:
        self._is_due = False
        if self._failure is None and self._fd >= 0:
            try:
                self.flush()
            except click.ClickException:
                pass  # kept in _failure: the writer meets it at its next call

    def _write_all(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[_write_some(self._fd, rest) :]
        except OSError:
            self._cut_to_whole_lines(data[: len(data) - len(rest)])
            raise
        self._whole_bytes += len(data)

    def _cut_to_whole_lines(self, written: bytes) -> None:
        """Take back the part of a line that a full disk let through."""
        if self._can_truncate:
            os.ftruncate(self._fd, self._whole_bytes + written.rfind(b"\n") + 1)


def opened_at(path: str, length: int) -> int:
    """Open a file that was written before, cut to `length` bytes, behind them. Raises OSError.

    One that is shorter has lost results, or was taken for something else: click.ClickException says so.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError as exc:
        raise click.ClickException(f"{path} is gone; to begin anew, remove the state") from exc
    try:
        size = os.fstat(fd).st_size
        if size < length:
            raise click.ClickException(
                f"{path} has {size:,} bytes and had {length:,}; to begin anew, remove it and the state"
            )
        os.ftruncate(fd, length)
        os.lseek(fd, 0, os.SEEK_END)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _write_some(fd: int, data: memoryview) -> int:
    try:
        return os.write(fd, data)
    except BlockingIOError:
        # Somebody else made our standard output non-blocking. Wait in the kernel: the reader of the results sets the
        # pace of the whole run, as it does on a blocking pipe.
        select.select([], [fd], [])
        return 0


def _no_heading(columns: Sequence[Column]) -> bytes:
    return b""


def _json_encoder(columns: Sequence[Column]) -> Encoder:
    return partial(orjson.dumps, option=orjson.OPT_APPEND_NEWLINE)


def _csv_heading(columns: Sequence[Column]) -> bytes:
    return _csv_line([column.name for column in columns])


def _csv_encoder(columns: Sequence[Column]) -> Encoder:
    def encode(row: Row, /) -> bytes:
        return _csv_line([_csv_safe(column.value(row)) for column in columns])

    return encode


class _OneLine:
    """The file that csv.writer wants; it keeps the last line."""

    line = ""

    def write(self, line: str) -> None:
        self.line = line


def _csv_line(values: Sequence[Any]) -> bytes:
    # With "\r\n" for a line's end, the writer quotes both characters wherever they stand in a cell.
    sink = _OneLine()
    csv.writer(sink, lineterminator="\r\n").writerow(values)
    return (sink.line[:-2] + "\n").encode("utf-8", "backslashreplace")


def _csv_safe(value: Any) -> Any:
    """Return a cell that no spreadsheet runs: text that starts like a formula gets an apostrophe in front."""
    value = flat(value)
    if isinstance(value, str) and value[:1] in FORMULA_STARTS and value:
        return "'" + value
    return value


def flat(value: Any) -> Any:
    """Return a value for a cell: what is nested, as JSON."""
    return orjson.dumps(value).decode() if isinstance(value, (Mapping, list, tuple)) else value


def _text_heading(columns: Sequence[Column]) -> bytes:
    return _text_line([_pad(column.name, column.width) for column in columns])


def _text_encoder(columns: Sequence[Column]) -> Encoder:
    def encode(row: Row, /) -> bytes:
        return _text_line([_pad(_text_value(column.value(row)), column.width) for column in columns])

    return encode


def _text_value(value: Any) -> str:
    if value is None:
        return "-"
    return terminal_safe(f"{value:.3f}" if isinstance(value, float) else str(flat(value)))


def _pad(text: str, width: int) -> str:
    return text.rjust(-width) if width < 0 else text.ljust(width)


def _text_line(cells: Sequence[str]) -> bytes:
    return ("  ".join(cells).rstrip() + "\n").encode("utf-8", "backslashreplace")


FORMATS: dict[str, tuple[Callable[[Sequence[Column]], bytes], Callable[[Sequence[Column]], Encoder]]] = {
    "jsonl": (_no_heading, _json_encoder),
    "csv": (_csv_heading, _csv_encoder),
    "text": (_text_heading, _text_encoder),
}
