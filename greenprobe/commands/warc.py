"""A WARC 1.1 file of what was fetched: a request and a response record each, gzipped one by one.

The bodies are spooled while they are received and written by whoever writes the records, so that a record and its body
are in the outputs together. What is stored is the decoded body. Headers that spoke of its codings are kept under the
name that web archives give them, X-Archive-Orig-...; a run with WARC asks for no codings in the first place.
Source: ISO 28500:2017; the writer is warcio's.
"""

import os
from http import HTTPStatus
from io import BytesIO
from typing import IO, Any, Final

import click

from greenprobe.engine.fetchplan import Failure
from greenprobe.http.request import Request
from greenprobe.http.trace import Trace
from greenprobe.http.urls import Url
from greenprobe.lazy import Lazy

__all__ = ["SpooledBody", "WarcFile", "spool"]

tempfile = Lazy("tempfile")
warcwriter = Lazy("warcio.warcwriter")
statusandheaders = Lazy("warcio.statusandheaders")

IN_MEMORY_BYTES: Final = 1 << 16
CODING_HEADERS: Final = frozenset({"content-encoding", "transfer-encoding", "content-length"})


class SpooledBody:
    """A body that waits to be written; a Taker. Small ones wait in memory, others in a temporary file."""

    def __init__(self, number: int, trace: Trace) -> None:
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)
        self.size_bytes = 0

    def __call__(self, piece: bytes) -> None:
        """Take the next piece."""
        self._file.write(piece)
        self.size_bytes += len(piece)

    def finish(self, trace: Trace, failure: Failure | None) -> dict[str, Any]:
        """Return the body and its head for WarcFile, in a field that it takes out of the row."""
        if failure is not None:
            self._file.close()
            return {}
        self.url = trace.url
        self.address = trace.address.sockaddr[0] if trace.address is not None else None
        self.status = trace.status or 0
        self.headers = [(name, value) for name, values in trace.headers.items() for value in values]
        return {"warc": self}

    def rewound(self) -> IO[bytes]:
        """Return the file, to be read from its start."""
        self._file.seek(0)
        return self._file


spool = SpooledBody


class WarcFile:
    """A WARC file that is being written."""

    def __init__(self, path: str, request: Request | None, *, user_agent: str, goes_on_at: int | None = None) -> None:
        """Open `path`; with `goes_on_at`, cut it to so many bytes and go on behind them."""
        self._path = path
        self._request = request or Request()
        self._user_agent = user_agent
        try:
            self._file = open(path, "r+b" if goes_on_at else "wb")  # noqa: SIM115 - closed in close()
            self._file.truncate(goes_on_at or 0)
            self._file.seek(0, os.SEEK_END)
        except OSError as exc:
            raise click.ClickException(f"cannot write to {path}: {exc.strerror}") from exc
        try:
            self._writer = warcwriter.WARCWriter(self._file, gzip=True, warc_version="WARC/1.1")
        except ImportError as exc:
            self._file.close()
            raise click.ClickException("--warc needs the package warcio: pip install 'greenprobe[warc]'") from exc
        if not goes_on_at:
            about = {"software": "greenprobe", "format": "WARC File Format 1.1"}
            info = self._writer.create_warcinfo_record(os.path.basename(path), about)
            self._writer.write_record(info)
            info.raw_stream.close()

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Write the bodies that rows carry, and put their place into the rows in their stead."""
        for row in rows:
            body = row.pop("warc", None)
            if body is not None:
                row["warc_offset"] = self._file.tell()
                try:
                    self._write(body)
                except OSError as exc:
                    raise click.ClickException(f"cannot write to {self._path}: {exc.strerror}") from exc

    def _write(self, body: SpooledBody) -> None:
        url = body.url.text
        address = {"WARC-IP-Address": body.address} if body.address is not None else {}
        make = self._writer.create_warc_record
        heads = {"response": response_head(body), "request": self._request_head(body.url)}
        with body.rewound() as payload:
            # With the length given, warcio copies nothing.
            response, request = (
                make(url, kind, stream, length=length, http_headers=heads[kind], warc_headers_dict=dict(address))
                for kind, stream, length in (("response", payload, body.size_bytes), ("request", BytesIO(), 0))
            )
            self._writer.write_request_response_pair(request, response)

    def _request_head(self, url: Url) -> Any:
        fields = [("Host", url.origin.authority), ("User-Agent", self._user_agent), *self._request.fields]
        line = f"{self._request.method} {url.target.decode()} HTTP/1.1"
        return statusandheaders.StatusAndHeaders(line, fields, is_http_request=True)

    def sync(self) -> int:
        """Have everything on the disk, and return the length in bytes."""
        self._file.flush()
        os.fdatasync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def response_head(body: SpooledBody) -> Any:
    """Return the head of a response as it is stored."""
    fields = [
        (f"X-Archive-Orig-{name}" if name in CODING_HEADERS else name, value.encode("latin-1").decode("latin-1"))
        for name, value in body.headers
    ]
    fields.append(("Content-Length", str(body.size_bytes)))
    try:
        phrase = HTTPStatus(body.status).phrase
    except ValueError:
        phrase = "Unknown"
    return statusandheaders.StatusAndHeaders(f"{body.status} {phrase}", fields, protocol="HTTP/1.1")
