"""A WARC 1.1 file of what was fetched: a request and a response record for each exchange, gzipped one by one.

Redirects and challenges are exchanges too, each with its own target URI. The blocks are what was on the wire, in the
content coding that came: heads byte for byte, only that chunks are joined, so that block and payload are what readers
take them for; the header that spoke of chunks is kept under the name that web archives give it, X-Archive-Orig-...
What broke off is stored as far as it came, with WARC-Truncated. Records are written by whoever writes the lines, so
that an entry is in all outputs or in none. Source: ISO 28500:2017; the writer is warcio's.
"""

import os
from contextlib import suppress
from datetime import UTC, datetime
from io import BytesIO
from typing import IO, Any, Final

import click

from greenprobe.commands.output import opened_at
from greenprobe.engine.journal import LastingFile
from greenprobe.http.recorded import RecordedExchange
from greenprobe.lazy import Lazy

__all__ = ["ExchangeWriter", "WarcFile", "stored_head"]

shutil = Lazy("shutil")
warcwriter = Lazy("warcio.warcwriter")

Row = dict[str, Any]

FRAMING: Final = frozenset({b"transfer-encoding", b"content-length"})


class RawHead:
    """The head of a message as warcio takes one, but with the bytes that it had."""

    def __init__(self, headers_buff: bytes) -> None:
        self.headers_buff = headers_buff

    def compute_headers_buffer(self, header_filter: object = None) -> None:
        """Do nothing: they are there."""


class ExchangeWriter:
    """Writes exchanges to a file as the records of a WARC."""

    def __init__(self, file: IO[bytes]) -> None:
        """Raises click.ClickException if warcio is not installed."""
        self._file = file
        try:
            self._writer = warcwriter.WARCWriter(file, gzip=True, warc_version="WARC/1.1")
        except ImportError as exc:
            raise click.ClickException("--warc needs the package warcio: pip install 'greenprobe[warc]'") from exc

    def write_info(self, name: str) -> None:
        """Write the record that says who made the file."""
        about = {"software": "greenprobe", "format": "WARC File Format 1.1"}
        info = self._writer.create_warcinfo_record(name, about)
        self._writer.write_record(info)
        info.raw_stream.close()

    def write(self, rows: list[Row]) -> None:
        """Write the exchanges that rows carry; put in their stead where the last response begins. Raises OSError."""
        for row in rows:
            for exchange in row.pop("warc", ()):
                if exchange.head:
                    row["warc_offset"] = self._file.tell()
                    self._write(exchange)
                exchange.close()

    def _write(self, exchange: RecordedExchange) -> None:
        about = {"WARC-Date": date_of(exchange.started)}
        if exchange.address is not None:
            about["WARC-IP-Address"] = exchange.address
        truncated = {} if exchange.truncated is None else {"WARC-Truncated": exchange.truncated}
        head, _, sent_body = bytes(exchange.request).partition(b"\r\n\r\n")
        exchange.body.seek(0)
        response, request = (
            self._writer.create_warc_record(
                exchange.url.text,
                kind,
                payload,
                length=length,  # so that warcio copies nothing
                http_headers=RawHead(head),
                warc_headers_dict=headers,
            )
            for kind, head, payload, length, headers in (
                ("response", stored_head(exchange), exchange.body, exchange.body_bytes, about | truncated),
                ("request", head + b"\r\n\r\n", BytesIO(sent_body), len(sent_body), dict(about)),
            )
        )
        self._writer.write_request_response_pair(request, response)


class WarcFile:
    """A WARC file that is being written. Errors are click.ClickExceptions that name it."""

    def __init__(self, path: str, *, goes_on_at: int | None = None) -> None:
        """Open `path`; with `goes_on_at`, cut it to so many bytes and go on behind them."""
        self._path = path
        self._lasting = LastingFile(path)
        try:
            self._file = os.fdopen(opened_at(path, goes_on_at), "wb") if goes_on_at else open(path, "wb")  # noqa: SIM115
        except OSError as exc:
            raise self._error(exc) from exc
        try:
            self._writer = ExchangeWriter(self._file)
            if not goes_on_at:
                self._writer.write_info(os.path.basename(path))
        except OSError as exc:
            raise self._cut(goes_on_at or 0, exc) from exc
        except BaseException:
            self._file.close()
            raise

    def write(self, rows: list[Row]) -> None:
        """Write the exchanges that rows carry, and put their place into the rows in their stead."""
        start = self._file.tell()
        try:
            self._writer.write(rows)
        except OSError as exc:
            raise self._cut(start, exc) from exc

    def append(self, rows: list[Row], archive: IO[bytes]) -> None:
        """Write what an ExchangeWriter has written for these rows, whose places count from its start."""
        start = self._file.tell()
        try:
            with archive:
                archive.seek(0)
                shutil.copyfileobj(archive, self._file)
        except OSError as exc:
            raise self._cut(start, exc) from exc
        for row in rows:
            if "warc_offset" in row:
                row["warc_offset"] += start

    def length(self) -> int:
        """Have everything in the file, and return its length in bytes."""
        try:
            self._file.flush()
        except OSError as exc:
            raise self._error(exc) from exc
        return self._file.tell()

    def sync(self) -> int:
        """Have everything on the disk, and return the length in bytes."""
        length_bytes = self.length()
        try:
            self._lasting.sync(self._file.fileno())
        except OSError as exc:
            raise self._error(exc) from exc
        return length_bytes

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        try:
            self._file.close()
        except OSError as exc:
            raise self._error(exc) from exc

    def _cut(self, start: int, exc: OSError) -> click.ClickException:
        """Take back the records of an entry that a full disk let through in part; return what to raise."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            os.truncate(self._path, start)
        return self._error(exc)

    def _error(self, exc: OSError) -> click.ClickException:
        return click.ClickException(f"cannot write to {self._path}: {exc.strerror}")


def date_of(unix: float) -> str:
    """Return a time as WARC 1.1 has it."""
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def stored_head(exchange: RecordedExchange) -> bytes:
    """Return the head of a response as it is stored: as it came, or, if it spoke of chunks, without those."""
    lines = exchange.head.split(b"\r\n")[:-2]
    names = [line.partition(b":")[0].strip().lower() for line in lines]
    if b"transfer-encoding" not in names:
        return exchange.head
    kept = [b"X-Archive-Orig-" + line if name in FRAMING else line for name, line in zip(names, lines, strict=True)]
    return b"\r\n".join([*kept, b"Content-Length: %d" % exchange.body_bytes, b"", b""])
