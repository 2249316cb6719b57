"""Where the records of a fetch go: lines, a WARC file, a database, and the journal that binds them together.

The conditions choose which records are written; all are counted, and all are done as far as the journal is concerned.
"""

from collections.abc import Callable
from typing import Final

from greenprobe.commands.database import ResultsDatabase
from greenprobe.commands.output import Encoder, Output
from greenprobe.commands.warc import WarcFile
from greenprobe.engine.conditions import Condition, is_wanted
from greenprobe.engine.fetchplan import FetchRecord
from greenprobe.engine.journal import Journal
from greenprobe.engine.shards import ShardBatch
from greenprobe.engine.tally import Tally

__all__ = ["Recording"]

COMMIT_SECONDS: Final = 0.25  # the most work that is done twice
Conditions = tuple[Condition, ...]


class Recording:
    """Takes batches of records and writes them everywhere."""

    def __init__(
        self,
        out: Output,
        encode: Encoder,
        *,
        clock: Callable[[], float],
        match: Conditions = (),
        drop: Conditions = (),
        warc: WarcFile | None = None,
        database: ResultsDatabase | None = None,
        journal: Journal | None = None,
    ) -> None:
        self._out = out
        self._encode = encode
        self._clock = clock
        self._match = match
        self._drop = drop
        self._warc = warc
        self._database = database
        self._journal = journal
        self._numbers: list[int] = []  # recorded since the last commit
        self._committed = clock()
        self._is_plain = not (match or drop or warc or database or journal)
        self.tally = Tally()

    def write(self, batch: list[FetchRecord]) -> None:
        """Write a batch."""
        self.tally.add(batch)
        if self._is_plain:
            encode = self._encode
            self._out.write(b"".join([encode(record.row()) for record in batch]))
            return
        self._write_chosen(batch)
        now = self._clock()
        if now - self._committed >= COMMIT_SECONDS:
            self.commit()

    def write_lines(self, batch: ShardBatch) -> None:
        """Write what a process has made of its entries; it has chosen and counted already."""
        if batch.lines:
            self._out.write(batch.lines)
        if self._journal is not None:
            self._numbers += batch.numbers
            if self._clock() - self._committed >= COMMIT_SECONDS:
                self.commit()

    def _write_chosen(self, batch: list[FetchRecord]) -> None:
        pairs = [(record.line, record.row()) for record in batch]
        wanted = [(number, row) for number, row in pairs if is_wanted(row, self._match, self._drop)]
        numbers = [number for number, _ in wanted]
        rows = [row for _, row in wanted]
        for row in rows:
            row.pop("body", None)
        if self._warc is not None:
            self._warc.write(rows)
        if self._database is not None:
            self._database.write(numbers, rows)
        if rows:
            self._out.write(b"".join([self._encode(row) for row in rows]))
        if self._journal is not None:
            self._numbers += [record.line for record in batch]

    def commit(self) -> None:
        """Have everything written; where there is a journal, on the disk, and the journal say so."""
        self._committed = self._clock()
        if self._is_plain:
            self._out.flush()
            return
        lengths = {"output": self._out.sync()}
        if self._warc is not None:
            lengths["warc"] = self._warc.sync()
        if self._database is not None:
            self._database.sync()
        if self._journal is not None and self._numbers:
            self._journal.commit(lengths, self._numbers)
            self._numbers = []
