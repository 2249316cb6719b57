"""The links of a crawl, a JSON line each; what their targets answered is filled in when the crawl ends.

A link is written with its page, before its target is visited. So its line ends with a status of null; `complete` goes
through the file once more and puts " 404" in the place of "null", which is as long. No line ever moves: the lengths
that a state remembers stay true, and whatever interrupts this, the same command does it again.

Price: one look-up for each address that is linked to. What is not a regular file, a pipe say, keeps null.
"""

import os
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import takewhile
from time import monotonic
from typing import Final

import click
import orjson

from greenprobe.commands.output import Output, encoder
from greenprobe.engine.crawlplan import LinkRecord

__all__ = ["LinkFile"]

CHUNK_BYTES: Final = 1 << 20
RECENT: Final = 50_000  # addresses whose status is in memory meanwhile
STATUS: Final = slice(-6, -2)  # of a line, which ends with "null}" and a newline
UNKNOWN: Final = b"null"


class LinkFile:
    """The file of links that is being written. Raises click errors."""

    def __init__(self, path: str, *, goes_on_at: int | None = None) -> None:
        self._path = path
        self._out = Output(path, goes_on_at=goes_on_at)
        self._encode = encoder("jsonl", [])[1]

    def write(self, links: Iterable[LinkRecord]) -> None:
        """Write a line for each link."""
        lines = b"".join([self._encode(link.row()) for link in links])
        if lines:
            self._out.write(lines)

    def complete(self, status_of: Callable[[str], int | None], seconds: float = float("inf")) -> None:
        """Fill in what each link's target answered; leave off after so many seconds."""
        if not os.path.isfile(self._path):
            return
        self._out.flush()
        known = lru_cache(RECENT)(status_of)
        until = monotonic() + seconds
        try:
            with open(self._path, "r+b") as file:
                place = 0
                chunks = iter(lambda: file.readlines(CHUNK_BYTES), [])
                for lines in takewhile(lambda _: monotonic() < until, chunks):
                    before = b"".join(lines)
                    after = b"".join([completed(line, known) for line in lines])
                    if after != before:
                        file.seek(place)
                        file.write(after)
                    place += len(after)
        except OSError as exc:
            raise click.ClickException(f"cannot complete {self._path}: {exc.strerror}") from exc

    def length(self) -> int:
        """Write what waits, and return how many bytes there are."""
        return self._out.length()

    def sync(self) -> int:
        """Have everything on the disk, and return the same."""
        return self._out.sync()

    def close(self) -> None:
        """Write what waits, and close."""
        self._out.close()


def completed(line: bytes, status_of: Callable[[str], int | None]) -> bytes:
    """Return the line of a link with the status of its target, as long as before."""
    status = status_of(orjson.loads(line[: STATUS.start] + UNKNOWN + line[STATUS.stop :])["to"])
    written = UNKNOWN if status is None else b"%4d" % status
    return line[: STATUS.start] + written + line[STATUS.stop :]
