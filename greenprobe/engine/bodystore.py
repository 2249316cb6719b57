"""Bodies as files: safe names made from URLs, written aside and given their name when they are complete.

A name is HOST/PATH-DIGEST.EXTENSION. The digest is of the whole URL, so different URLs never share a name; what stands
before it is only there to be read, and has nothing but letters, digits, dots, dashes and underscores in it. A file that
is there already is never touched: the new one gets a number.
"""

import os
import re
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from greenprobe.engine.fetchplan import Failure
from greenprobe.errors import StorageError
from greenprobe.http.trace import Trace
from greenprobe.lazy import Lazy

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BodyStore", "file_name"]

mimetypes = Lazy("mimetypes")
pathlib = Lazy("pathlib")
tempfile = Lazy("tempfile")

MAX_HOST: Final = 80
MAX_PATH: Final = 60
MAX_COPIES: Final = 1000

_unsafe = re.compile(r"[^A-Za-z0-9._\-]+")
_extension = re.compile(r"\.[A-Za-z0-9]{1,8}").fullmatch


def file_name(url: str, content_type: str | None) -> tuple[str, str]:
    """Return the folder and the name of the file for a URL's body."""
    host, _, path = url.partition("://")[2].partition("/")
    path = path.partition("?")[0]
    stem, dot, extension = path.rpartition(".")
    if not dot or _extension(dot + extension) is None:
        stem, extension = path, ""
    digest = sha256(url.encode()).hexdigest()[:12]
    kind = (content_type or "").partition(";")[0].strip().lower()
    ending = f".{extension}" if extension else mimetypes.guess_extension(kind) or ".bin"
    readable = safe(stem)[:MAX_PATH] or "index"
    return safe(host)[:MAX_HOST] or "host", f"{readable}-{digest}{ending}"


def safe(text: str) -> str:
    """Return text as part of a file's name: no separators, no leading dots."""
    return _unsafe.sub("_", text).strip("._")


class BodyStore:
    """A directory of bodies."""

    def __init__(self, path: str) -> None:
        """Make the directory if it is not there. Raises OSError."""
        self._root: Path = pathlib.Path(path)
        self._root.mkdir(parents=True, exist_ok=True)

    def taker(self, number: int, trace: Trace) -> "StoredBody":
        """Begin a file for the answer in `trace`. Raises StorageError."""
        folder, name = file_name(trace.url.text, trace.headers.get("content-type", (None,))[0])
        return StoredBody(self._root / folder, name, self._root)


class StoredBody:
    """One file that is being written; a Taker."""

    def __init__(self, folder: "Path", name: str, root: "Path") -> None:
        self._folder = folder
        self._name = name
        self._root = root
        try:
            folder.mkdir(exist_ok=True)
            self._fd, self._temporary = tempfile.mkstemp(prefix=".part-", dir=folder)
        except OSError as exc:
            raise StorageError(f"cannot write to {folder}: {exc.strerror}") from exc

    def __call__(self, piece: bytes) -> None:
        """Write the next piece. Raises StorageError."""
        rest = memoryview(piece)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as exc:
            raise StorageError(f"cannot write to {self._temporary}: {exc.strerror}") from exc

    def finish(self, trace: Trace, failure: Failure | None) -> dict[str, Any]:
        """Give the file its name if the body is complete; else remove it."""
        try:
            self._close(failure)
            if failure is not None:
                return {"file": None}
            return {"file": str(self._settle().relative_to(self._root))}
        finally:
            with suppress(OSError):
                os.unlink(self._temporary)

    def _close(self, failure: Failure | None) -> None:
        """Close the file. Raises StorageError if that loses a body: NFS may say only now that the disk is full."""
        try:
            os.close(self._fd)
        except OSError as exc:
            if failure is None:
                raise StorageError(f"cannot write to {self._temporary}: {exc.strerror}") from exc

    def _settle(self) -> "Path":
        stem, extension = os.path.splitext(self._name)
        for copy in range(1, MAX_COPIES):
            path = self._folder / (self._name if copy == 1 else f"{stem}-{copy}{extension}")
            try:
                os.link(self._temporary, path)  # fails where a rename would overwrite
            except FileExistsError:
                continue
            except OSError as exc:
                raise StorageError(f"cannot write {path}: {exc.strerror}") from exc
            os.chmod(path, 0o644)
            return path
        raise StorageError(f"there are {MAX_COPIES:,} files called {self._name} already")
