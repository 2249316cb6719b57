"""The results of an earlier run, looked up by URL: what was known of each then.

Facts. Such a file may be far larger than memory. Choice: only where each record stands is kept, 16 bytes a URL, sorted
by a hash of it; a look-up reads the record itself. Of several records of a URL the last counts. Price: one read of a
page a URL, which the system's cache mostly has; and some 200 bytes a URL while the places are found.
"""

from array import array
from bisect import bisect_left
from hashlib import blake2b
from typing import Any, Final

import orjson

from greenprobe.errors import LocalProtocolError, TargetError
from greenprobe.http.conditional import revalidation
from greenprobe.http.recorded import ArchivedBody
from greenprobe.http.request import Fields

__all__ = ["EarlierResults"]

Row = dict[str, Any]

MAX_ROW_BYTES: Final = 1 << 24
ANSWERS: Final = frozenset({200, 203, 304})  # whose validators are those of a whole body


class EarlierResults:
    """Results in JSON lines, as `greenprobe fetch` writes them."""

    def __init__(self, path: str) -> None:
        """Look through `path` once. Raises OSError, or TargetError if it holds no results."""
        self._path = path
        pairs = sorted(self._places().items())
        self._hashes = array("Q", [key for key, _ in pairs])
        self._offsets = array("Q", [offset for _, offset in pairs])

    def __len__(self) -> int:
        return len(self._hashes)

    def row(self, url: str) -> Row | None:
        """Return the record of a URL, spelled as it was then; None if there is none."""
        key = hash_of(url)
        place = bisect_left(self._hashes, key)
        if place == len(self._hashes) or self._hashes[place] != key:
            return None
        with open(self._path, "rb") as file:
            file.seek(self._offsets[place])
            row = row_of(file.readline(MAX_ROW_BYTES))
        return row if row is not None and row["url"] == url else None

    def revalidation(self, url: str) -> Fields:
        """Return the fields that ask for what has changed since; none if nothing is known that could tell."""
        row = self.row(url)
        headers = row.get("headers") if row is not None else None
        if row is None or row.get("status") not in ANSWERS or row.get("error") or not isinstance(headers, dict):
            return ()
        try:
            return revalidation(headers)
        except (LocalProtocolError, LookupError, TypeError):
            return ()  # somebody has had his hands in the file

    def archived(self, url: str) -> ArchivedBody | None:
        """Return where the archive of that run has the body of a URL; None if it kept none."""
        row = self.row(url)
        place = row.get("warc_body") if row is not None else None
        if not isinstance(place, dict) or not all(isinstance(place.get(name), str) for name in ArchivedBody._fields):
            return None
        body = ArchivedBody(place["url"], place["date"])
        return body if "".join(body).isprintable() else None  # it becomes a line of a head

    def _places(self) -> dict[int, int]:
        """Return where the last record of each URL begins, by the hash of the URL."""
        found: dict[int, int] = {}
        offset = 0
        with open(self._path, "rb") as file:
            for number, line in enumerate(file, 1):
                row = row_of(line)
                if row is not None:
                    found[hash_of(row["url"])] = offset
                elif number == 1:
                    raise TargetError(f"{self._path} holds no results of fetch as JSON lines")
                offset += len(line)
        return found


def row_of(line: bytes) -> Row | None:
    """Return the record of a line; None if it is none, as the last of a run that was killed may be."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("url"), str) else None


def hash_of(url: str) -> int:
    """Return 64 bits that tell a URL."""
    return int.from_bytes(blake2b(url.encode("utf-8", "surrogatepass"), digest_size=8).digest())
