"""A folder as a WSGI application: files with ETags, conditions and ranges, and no way out of the folder.

What a path names is looked up with its links followed, and has to lie in the folder then. Names that begin with a dot
are not served, by whatever link, `.well-known` excepted: `.git` and `.env` are in too many folders that somebody once
served. Conditions and ranges are those of RFC 9110, 13 and 14, decided without touching the file; of several ranges
none is served. A folder may be of any size, so it is listed in a real thread.
"""

import os
from collections.abc import Callable, Iterable
from email.utils import formatdate, parsedate_to_datetime
from html import escape
from mimetypes import guess_type
from re import compile as pattern
from stat import S_ISDIR, S_ISREG
from time import time
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from greenprobe.threadpool import run_in_thread
from greenprobe.wsgi_response import FileWrapper

__all__ = ["StaticFiles", "Validators", "evaluate", "read_range"]

INDEX: Final = "index.html"
RANGE = pattern(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*").fullmatch
COMPRESSED: Final = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}
TEXT: Final = ("text/", "application/javascript", "application/json", "application/xml")

Environ = dict[str, Any]
StartResponse = Callable[..., Any]


class Validators(NamedTuple):
    """What a version of a file is known by: its ETag, and when it changed, in whole seconds of Unix time.

    The date alone tells versions apart only if it `is_settled`: a second that is not over may bring another version.
    """

    etag: str
    modified: int
    is_settled: bool = True


def validators_of(status: os.stat_result, now: float) -> Validators:
    """Return what a file is known by at a time; a date in the future would be a lie. RFC 9110, 8.8.2.

    The date is strong once a second has passed since (8.8.2.2), the ETag at once.
    """
    modified = min(int(status.st_mtime), int(now))
    return Validators(f'"{status.st_mtime_ns:x}-{status.st_size:x}"', modified, modified < int(now))


def evaluate(environ: Environ, file: Validators) -> str | None:
    """Return the status that the request's conditions lead to, None if they let it pass. RFC 9110, 13.2.2."""
    match = environ.get("HTTP_IF_MATCH")
    unmodified = seconds_of(environ.get("HTTP_IF_UNMODIFIED_SINCE"))
    if match is not None:
        if not names(match, file.etag, weak=False):
            return "412 Precondition Failed"
    elif unmodified is not None and file.modified > unmodified:
        return "412 Precondition Failed"
    none_match = environ.get("HTTP_IF_NONE_MATCH")
    modified = seconds_of(environ.get("HTTP_IF_MODIFIED_SINCE"))
    if none_match is not None:
        if names(none_match, file.etag, weak=True):
            return "304 Not Modified"
    elif modified is not None and file.modified <= modified:
        return "304 Not Modified"
    return None


def names(field: str, etag: str, *, weak: bool) -> bool:
    """Tell whether an If-Match or If-None-Match field names `etag`."""
    if field.strip() == "*":
        return True
    tags = [tag.strip() for tag in field.split(",")]
    return etag in ([tag.removeprefix("W/") for tag in tags] if weak else tags)


def seconds_of(date: str | None) -> int | None:
    """Return an HTTP date as Unix time, None if it is none."""
    if date is None:
        return None
    try:
        return int(parsedate_to_datetime(date).timestamp())
    except (ValueError, OverflowError):
        return None


def read_range(environ: Environ, file: Validators, size: int) -> range | None:
    """Return the bytes to send, None for all of them; an empty range cannot be satisfied. RFC 9110, 14.2."""
    found = RANGE(environ.get("HTTP_RANGE", ""))
    if found is None or found[1] == found[2] == "":
        return None
    condition = environ.get("HTTP_IF_RANGE")
    if condition is not None and not is_same_version(condition, file):
        return None
    if not found[1]:
        return range(max(0, size - int(found[2])), size)
    first = int(found[1])
    last = int(found[2]) if found[2] else size - 1
    if last < first and found[2]:
        return None  # no valid range at all: to be ignored
    return range(min(first, size), min(last + 1, size))


def is_same_version(condition: str, file: Validators) -> bool:
    """Tell whether an If-Range field names this version of a file; a weak date does not. RFC 9110, 13.1.5."""
    return condition == file.etag or (file.is_settled and seconds_of(condition) == file.modified)


class StaticFiles:
    """The application. `listing` shows what is in a folder without an index file; without it such a folder is a 404."""

    def __init__(self, root: str | os.PathLike[str], *, listing: bool = False) -> None:
        self._root = os.path.realpath(root)
        self._listing = listing

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        if environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
            return refuse(start_response, "405 Method Not Allowed", ("Allow", "GET, HEAD"))
        text = environ["PATH_INFO"]
        path = self._locate(text)
        try:
            status = os.stat(path) if path is not None else None
        except (OSError, ValueError):
            status = None
        if path is None or status is None:
            return refuse(start_response, "404 Not Found")
        if S_ISDIR(status.st_mode):
            return self._folder(environ, start_response, path)
        if not S_ISREG(status.st_mode) or text.endswith("/"):
            return refuse(start_response, "404 Not Found")
        return send_file(environ, start_response, path)

    def _locate(self, text: str) -> str | None:
        """Return the file that a path names; None if it may not be served."""
        parts = [part for part in text.encode("latin-1").decode("utf-8", "surrogateescape").split("/") if part]
        if "\0" in text or any(map(is_hidden, parts)):
            return None
        path = os.path.realpath(os.path.join(self._root, *parts))
        inside = os.path.relpath(path, self._root).split(os.sep)
        return path if inside == ["."] or not any(map(is_hidden, inside)) else None

    def _folder(self, environ: Environ, start_response: StartResponse, path: str) -> Iterable[bytes]:
        text = environ["PATH_INFO"]
        if not text.endswith("/"):
            # Relative, so that it holds under any prefix, and a path that begins with two slashes is no host.
            here = quote(text.rpartition("/")[2], encoding="latin-1")
            query = environ["QUERY_STRING"]
            return refuse(start_response, "301 Moved Permanently", ("Location", f"./{here}/{'?' * bool(query)}{query}"))
        index = self._locate(f"{text}{INDEX}")
        if index is not None and os.path.isfile(index):
            return send_file(environ, start_response, index)
        if not self._listing:
            return refuse(start_response, "404 Not Found")
        try:
            body = run_in_thread(list_folder, path, text.encode("latin-1").decode("utf-8", "replace"))
        except OSError:
            return refuse(start_response, "404 Not Found")
        start_response("200 OK", [("Content-Type", "text/html; charset=utf-8"), *SAFETY])
        return [body]


def is_hidden(name: str) -> bool:
    """Tell whether a name is not to be served; `..`, which leads out, is one."""
    return name.startswith(".") and name != ".well-known"


SAFETY: Final = [("X-Content-Type-Options", "nosniff")]


def send_file(environ: Environ, start_response: StartResponse, path: str) -> Iterable[bytes]:
    """Answer with a file, or the part of it that was asked for."""
    try:
        file = open(path, "rb")  # noqa: SIM115 - the server closes it, after it was sent
    except OSError:
        return refuse(start_response, "404 Not Found")
    status = os.fstat(file.fileno())
    known = validators_of(status, time())
    pairs = [("ETag", known.etag), ("Last-Modified", formatdate(known.modified, usegmt=True))]
    verdict = evaluate(environ, known)
    if verdict is not None:
        file.close()
        if verdict.startswith("304"):
            start_response(verdict, pairs)
            return []
        return refuse(start_response, verdict)
    part = read_range(environ, known, status.st_size) if environ["REQUEST_METHOD"] == "GET" else None
    if part is not None and not part:
        file.close()
        return refuse(start_response, "416 Range Not Satisfiable", ("Content-Range", f"bytes */{status.st_size}"))
    pairs += [("Accept-Ranges", "bytes"), ("Content-Type", content_type(path)), *SAFETY]
    if part is None:
        start_response("200 OK", [*pairs, ("Content-Length", str(status.st_size))])
    else:
        file.seek(part.start)
        span = f"bytes {part.start}-{part.stop - 1}/{status.st_size}"
        start_response("206 Partial Content", [*pairs, ("Content-Range", span), ("Content-Length", str(len(part)))])
    return FileWrapper(file)


def content_type(path: str) -> str:
    """Return the media type of a file, by its name."""
    kind, coding = guess_type(path)
    if coding is not None:
        return COMPRESSED.get(coding, "application/octet-stream")
    if kind is None:
        return "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith(TEXT) else kind


def list_folder(path: str, title: str) -> bytes:
    """Return a page that links what is in a folder; hidden names are left out."""
    with os.scandir(path) as entries:
        found = sorted(entry.name + "/" * entry.is_dir() for entry in entries if not entry.name.startswith("."))
    items = "".join(
        f'<li><a href="./{quote(name, errors="surrogateescape")}">{escape(printable(name))}</a></li>\n'
        for name in found
    )
    page = f"<!doctype html>\n<title>{escape(title)}</title>\n<h1>{escape(title)}</h1>\n<ul>\n{items}</ul>\n"
    return page.encode("utf-8")


def printable(name: str) -> str:
    """Return a file name as text; bytes that are no UTF-8 become question marks."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def refuse(start_response: StartResponse, status: str, *pairs: tuple[str, str]) -> Iterable[bytes]:
    """Answer with a status and nothing to read but its name."""
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), *pairs])
    return [f"{status}\n".encode()]
