"""A WARC 1.1 file of what was fetched: a request and a response record for each exchange, gzipped one by one.

Redirects and challenges are exchanges too, each with its own target URI. The blocks are what was on the wire, in the
content coding that came: heads byte for byte, only that chunks are joined, so that block and payload are what readers
take them for; the header that spoke of chunks is kept under the name that web archives give it, X-Archive-Orig-... What
broke off is stored as far as it came, with WARC-Truncated; an exchange whose answer has no whole head is not, as a
request alone (6.5 allows it) says nothing about its target that the results do not. A 304 that was asked for is a
`revisit` record (6.7, server-not-modified), which says where the body is, if the results that `--since` named have it
in an archive. With `--warc-dedup`, so is an answer whose payload is in this file already (identical-payload-digest);
the table of what is holds the last MAX_PAYLOADS, and is not kept from run to run. Records are written by whoever writes
the lines, so that an entry is in all outputs or in none. Source: ISO 28500:2017; the writer is warcio's.
"""

import os
from contextlib import suppress
from datetime import UTC, datetime
from io import BytesIO
from typing import IO, Any, Final

import click

from greenprobe.commands.output import opened_at
from greenprobe.engine.journal import LastingFile
from greenprobe.http.recorded import ArchivedBody, RecordedExchange
from greenprobe.lazy import Lazy

__all__ = ["ExchangeWriter", "WarcFile", "needs_warcio", "stored_head"]

shutil = Lazy("shutil")
warcwriter = Lazy("warcio.warcwriter")

Row = dict[str, Any]
Fields = dict[str, str]

FRAMING: Final = frozenset({b"transfer-encoding", b"content-length"})
CONDITIONS: Final = (b"\r\nif-none-match:", b"\r\nif-modified-since:")
PROFILE: Final = "http://netpreserve.org/warc/1.1/revisit/"
MIN_PAYLOAD_BYTES: Final = 1 << 10  # less is hardly longer than the words that refer to it
MAX_PAYLOADS: Final = 50_000  # some 20 MB


class RawHead:
    """The head of a message as warcio takes one, but with the bytes that it had."""

    def __init__(self, headers_buff: bytes) -> None:
        self.headers_buff = headers_buff

    def compute_headers_buffer(self, header_filter: object = None) -> None:
        """Do nothing: they are there."""


class ExchangeWriter:
    """Writes exchanges to a file as the records of a WARC."""

    def __init__(self, file: IO[bytes], *, dedups: bool = False) -> None:
        """With `dedups`, write payloads once. Raises ImportError if warcio is not installed."""
        self._file = file
        self._payloads: dict[str, ArchivedBody] | None = {} if dedups else None  # by digest, the oldest first
        self._writer = warcwriter.WARCWriter(file, gzip=True, warc_version="WARC/1.1")

    def write_info(self, name: str) -> None:
        """Write the record that says who made the file."""
        about = {"software": "greenprobe", "format": "WARC File Format 1.1"}
        info = self._writer.create_warcinfo_record(name, about)
        self._writer.write_record(info)
        info.raw_stream.close()

    def write(self, rows: list[Row]) -> None:
        """Write the exchanges that rows carry; put in their stead where the last response is. Raises OSError."""
        for row in rows:
            for exchange in row.pop("warc", ()):
                if exchange.head:
                    row["warc_offset"] = self._file.tell()
                    body = self._write(exchange)
                    row["warc_body"] = body and body._asdict()
                exchange.close()

    def _write(self, exchange: RecordedExchange) -> ArchivedBody | None:
        """Write an exchange, and return where its body is."""
        about = {"WARC-Date": date_of(exchange.started)}
        if exchange.address is not None:
            about["WARC-IP-Address"] = exchange.address
        head, _, sent_body = bytes(exchange.request).partition(b"\r\n\r\n")
        request = self._record(exchange, "request", head + b"\r\n\r\n", about, BytesIO(sent_body), len(sent_body))
        response, body = self._response(exchange, about)
        self._writer.write_request_response_pair(request, response)
        return body

    def _response(self, exchange: RecordedExchange, about: Fields) -> tuple[Any, ArchivedBody | None]:
        """Return the record of an answer, and where its body is."""
        if is_not_modified(exchange):
            body = exchange.refers_to
            return self._revisit(exchange, about, "server-not-modified", body), body
        exchange.body.seek(0)
        truncated = {} if exchange.truncated is None else {"WARC-Truncated": exchange.truncated}
        length = exchange.body_bytes
        head = stored_head(exchange)
        whole = self._record(exchange, "response", head, about | truncated, exchange.body, length)
        here = ArchivedBody(exchange.url.text, about["WARC-Date"])
        if truncated or self._payloads is None or length < MIN_PAYLOAD_BYTES:
            return whole, None if truncated else here
        digest = whole.rec_headers.get_header("WARC-Payload-Digest")
        before = self._payloads.get(digest)
        if before is not None:
            more = about | {"WARC-Payload-Digest": digest}
            return self._revisit(exchange, more, "identical-payload-digest", before), before
        if len(self._payloads) >= MAX_PAYLOADS:
            del self._payloads[next(iter(self._payloads))]
        self._payloads[digest] = here
        return whole, here

    def _revisit(self, exchange: RecordedExchange, about: Fields, profile: str, body: ArchivedBody | None) -> Any:
        """Return the record of an answer whose body is elsewhere. Source: ISO 28500:2017, section 6.7."""
        fields = about | {"WARC-Profile": PROFILE + profile}
        if body is not None:
            fields |= {"WARC-Refers-To-Target-URI": body.url, "WARC-Refers-To-Date": body.date}
        return self._record(exchange, "revisit", stored_head(exchange), fields)

    def _record(
        self,
        exchange: RecordedExchange,
        kind: str,
        head: bytes,
        fields: Fields,
        payload: IO[bytes] | None = None,
        length: int = 0,  # given, so that warcio copies nothing
    ) -> Any:
        return self._writer.create_warc_record(
            exchange.url.text,
            kind,
            payload,
            length=length,
            http_headers=RawHead(head),
            warc_headers_dict=dict(fields),
        )


def needs_warcio(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """Raise click.ClickException if there is no library for WARC files: as an option is read, before files are."""
    if value is not None:
        try:
            warcwriter.WARCWriter  # noqa: B018 - looking it up loads it
        except ImportError as exc:
            raise click.ClickException("--warc needs the package warcio: pip install 'greenprobe[warc]'") from exc
    return value


class WarcFile:
    """A WARC file that is being written. Errors are click.ClickExceptions that name it."""

    def __init__(self, path: str, *, goes_on_at: int | None = None, dedups: bool = False) -> None:
        """Open `path`; with `goes_on_at`, cut it to so many bytes and go on behind them."""
        self._path = path
        self._lasting = LastingFile(path)
        try:
            self._file = os.fdopen(opened_at(path, goes_on_at), "wb") if goes_on_at else open(path, "wb")  # noqa: SIM115
        except OSError as exc:
            raise self._error(exc) from exc
        try:
            self._writer = ExchangeWriter(self._file, dedups=dedups)
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


def is_not_modified(exchange: RecordedExchange) -> bool:
    """Tell whether an answer says that what was asked about has not changed."""
    asked = bytes(exchange.request).partition(b"\r\n\r\n")[0].lower()
    return exchange.head.partition(b" ")[2][:3] == b"304" and any(name in asked for name in CONDITIONS)


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
