"""A list of URLs, read as it is needed: numbered lines of a file or a pipe, one chunk in memory at a time.

A line may stand for millions of entries: they too are made as they are taken, some thousand at a time. A pipe is read
only when something is in it, so that whoever writes it slowly holds nobody up; it is not made non-blocking, as it may
be shared with other processes. Blank lines are left out but counted.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from select import select
from stat import S_ISREG
from typing import Final

from greenprobe.engine.lineforms import Entry, LineForm, PlainLines
from greenprobe.hub import Hub
from greenprobe.sync import Lock

__all__ = ["UrlList"]

CHUNK_BYTES: Final = 1 << 16
MAX_READY: Final = 1 << 12  # entries at hand; more than the lines of most chunks
MAX_LINE_BYTES: Final = 1 << 17  # longer than any URL that is sent; the rest of such a line is dropped
BOM: Final = b"\xef\xbb\xbf"


class UrlList:
    """Entries with their numbers: take them from `lines`, and `refill` it when it is empty. For one hub.

    `carried` is what belongs to entries beside their URL, by their number, until somebody takes it.
    """

    def __init__(
        self,
        hub: Hub,
        fd: int,
        form: LineForm | None = None,
        *,
        is_done: Callable[[int], bool] | None = None,
        is_repeat: Callable[[bytes], bool] | None = None,
    ) -> None:
        """Read from `fd`, which stays open and belongs to the caller. Entries that are done or repeats are left out."""
        self._form = form or PlainLines()
        self._is_done = is_done
        self._is_repeat = is_repeat
        self.carried = self._form.carried
        self._hub = hub
        self._fd = fd
        status = os.fstat(fd)
        self._is_file = S_ISREG(status.st_mode)
        self._lock = Lock()
        self._rest = b""
        self._number = 0
        self.lines: deque[tuple[int, bytes]] = deque()
        self._entries: Iterator[Entry] = iter(())  # of the chunk that was read last
        self._is_read = False
        self.is_over = False  # there will be none but those in `lines`
        self.read_bytes = 0
        self.size_bytes = status.st_size if self._is_file else None

    def refill(self) -> bool:
        """Read until there is a line in `lines`, waiting if need be; False when the list is over."""
        with self._lock:
            while not self.lines:
                if self.is_over:
                    return False
                if not self._make_ready() and not self._is_read:
                    self._take(self._read())
        return True

    def _make_ready(self) -> bool:
        """Put the next entries of the chunk into `lines`; tell whether there were any."""
        self.lines.extend(islice(self._entries, MAX_READY))
        self.is_over = self._is_read and len(self.lines) < MAX_READY
        return bool(self.lines)

    def count_rest(self) -> int | None:
        """Return how many lines are left; None if that would mean to wait for a pipe."""
        if not self._is_file and not self.is_over:
            return None
        count = 0
        while self.refill():
            count += len(self.lines)
            self.lines.clear()
        return count

    def close(self) -> None:
        """Let go of the descriptor's slot in the poller."""
        self._hub.poller.forget(self._fd)

    def _read(self) -> bytes:
        if not self._is_file:
            slot = self._hub.poller.slot(self._fd)
            while not select([self._fd], [], [], 0)[0]:
                self._hub.wait(slot.read)
        data = os.read(self._fd, CHUNK_BYTES)
        self.read_bytes += len(data)
        return data

    def _take(self, data: bytes) -> None:
        """Cut the lines off the front of what was read."""
        if not data:
            self._is_read = True
            data = b"\n" if self._rest else b""
        *whole, rest = (self._rest + data).split(b"\n")
        if self._number == 0 and whole and whole[0].startswith(BOM):
            whole[0] = whole[0][len(BOM) :]
        first = self._number + 1
        self._number += len(whole)
        self._rest = rest[:MAX_LINE_BYTES]
        entries = self._form.entries(first, whole)
        if self._is_read:
            entries = chain(entries, self._form.end())
        if self._is_repeat is not None:  # before those that are done go: what repeats them is no news either
            is_repeat = self._is_repeat
            entries = self._without(entries, lambda number, line: is_repeat(line))
        if self._is_done is not None:
            is_done = self._is_done
            entries = self._without(entries, lambda number, line: is_done(number))
        self._entries = iter(entries)

    def _without(self, entries: Iterable[Entry], is_left_out: Callable[[int, bytes], bool]) -> Iterator[Entry]:
        for number, line in entries:
            if is_left_out(number, line):
                self.carried.pop(number, None)
            else:
                yield number, line
