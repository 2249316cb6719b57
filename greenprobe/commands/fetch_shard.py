"""A process of `greenprobe fetch --processes N`: fetches the entries that come in on standard input.

The first frame is what the command was told. Lines of the output go back in frames, in batches of LATEST_S at the most,
and at the end the tally. Not for people: the command starts it.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from typing import IO, Any, Final

from greenprobe.commands.fetch_plan import choice_of, client_options, encoding_of, plan_of, trust_of
from greenprobe.commands.garbage import rarely_collected
from greenprobe.commands.recording import wanted_rows
from greenprobe.commands.route_options import resolve_of
from greenprobe.commands.warc import ExchangeWriter
from greenprobe.engine.fdlimit import raise_limit
from greenprobe.engine.fetcher import Fetcher
from greenprobe.engine.fetchplan import FetchRecord
from greenprobe.engine.frames import FrameSource, frame_of
from greenprobe.engine.shards import ArchivePiece, NumberedRow, ShardBatch, ShardReport
from greenprobe.engine.tally import Tally
from greenprobe.http.client import Client
from greenprobe.http.cookies import CookieJar
from greenprobe.hub import get_hub
from greenprobe.lazy import Lazy
from greenprobe.process import end

__all__ = ["main"]

tempfile = Lazy("tempfile")

MANY_BYTES: Final = 1 << 16
ROW_BYTES: Final = 1 << 10  # about
IN_MEMORY_BYTES: Final = 1 << 22
PIECE_BYTES: Final = 1 << 18
LATEST_S: Final = 0.05


class Reporting:
    """Collects what is done and sends it, when it is much or has waited for long enough."""

    def __init__(self, fd: int, words: dict[str, Any], fetcher: Fetcher, jar: CookieJar | None) -> None:
        self._fd = fd
        self._fetcher = fetcher
        self._chosen = choice_of(words)
        self._encode = encoding_of(words)[1]
        self._keeps_numbers = bool(words["state"])
        self._keeps_rows = bool(words["warc"] or words["sqlite"])  # which are not lines before their place is known
        self._archive = Archive(dedups=words["warc_dedup"]) if words["warc"] else None
        self._numbers: list[int] = []
        self._rows: list[NumberedRow] = []
        self._lines: list[bytes] = []
        self._size_bytes = 0
        self._is_due = False
        self._jar = jar
        self._cookies = frozenset(jar or ())
        self.tally = Tally()

    def add(self, batch: list[FetchRecord]) -> None:
        """Take a batch of records."""
        self.tally.add(batch)
        numbered = wanted_rows(batch, self._chosen.match, self._chosen.drop)
        if self._keeps_numbers:
            self._numbers += [record.line for record in batch]
        if self._keeps_rows:
            self._rows += numbered
            self._size_bytes += ROW_BYTES * len(numbered)
        else:
            data = b"".join([self._encode(row) for _, row in numbered])
            self._lines.append(data)
            self._size_bytes += len(data)
        if self._archive is not None:
            self._size_bytes += self._archive.write([row for _, row in numbered])
        if self._size_bytes >= MANY_BYTES:
            self.send()
        elif not self._is_due:
            self._is_due = True
            hub = get_hub()
            hub.timers.add(hub.clock() + LATEST_S, self._send_late)

    def send(self) -> None:
        """Send what waits."""
        if self._archive is not None:
            for piece in self._archive.taken():
                self._write(ArchivePiece(piece))
        self._write(ShardBatch(self._numbers, b"".join(self._lines), self._fetcher.statistics(), self._rows))
        self._numbers, self._rows, self._lines, self._size_bytes = [], [], [], 0

    def finish(self) -> None:
        """Send what waits, and the last word."""
        self.send()
        self.tally.settle()
        cookies = self._jar.changes_since(self._cookies) if self._jar is not None else ([], [])
        self._write(ShardReport(self._fetcher.statistics(), self.tally, cookies))

    def _send_late(self) -> None:
        self._is_due = False
        if self._lines or self._rows or self._numbers:
            self.send()

    def _write(self, value: object) -> None:
        rest = memoryview(frame_of(value))
        while rest:
            rest = rest[os.write(self._fd, rest) :]


class Archive:
    """What a process has archived since its last batch."""

    def __init__(self, *, dedups: bool) -> None:
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)
        self._writer = ExchangeWriter(self._file, dedups=dedups)

    def write(self, rows: list[dict[str, Any]]) -> int:
        """Archive the exchanges that rows carry, and return how many bytes that makes."""
        before = self._file.tell()
        self._writer.write(rows)
        return self._file.tell() - before

    def taken(self) -> Iterator[bytes]:
        """Yield what is there, in pieces, and begin anew."""
        self._file.seek(0)
        while piece := self._file.read(PIECE_BYTES):
            yield piece
        self._file.seek(0)
        self._file.truncate()


def main() -> int:
    """Run a shard to its end and return the exit code."""
    hub = get_hub()
    source = FrameSource(hub, 0)
    words = source.first()
    if words is None:
        return 1  # who started us is gone
    raise_limit()
    options = client_options(words)
    plan = plan_of(words, options, choice_of(words))
    client = Client(options, hub=hub, trust=trust_of(words), resolve=resolve_of(words))
    with closing(source), closing(client):
        fetcher = Fetcher(hub, plan, source, client)
        reporting = Reporting(1, words, fetcher, options.cookies)
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            with rarely_collected(), closing(fetcher.run()) as batches:
                for batch in batches:
                    reporting.add(batch)
        except KeyboardInterrupt:
            reporting.finish()
            return 130
        reporting.finish()
    return 0


if __name__ == "__main__":
    try:
        end(main())
    except BrokenPipeError:
        os._exit(1)  # who started us is gone
