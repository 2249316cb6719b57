"""Where the records of a fetch go: lines, a WARC file, a database, and the journal that binds them together.

The conditions choose which records are written; all are counted, and all are done as far as the journal is concerned.
"""

import os
from collections.abc import Callable
from typing import IO, Final

from greenprobe.commands.database import ResultsDatabase
from greenprobe.commands.output import Encoder, Output
from greenprobe.commands.warc import WarcFile
from greenprobe.engine.conditions import Condition, is_wanted
from greenprobe.engine.fetchplan import FetchRecord
from greenprobe.engine.journal import Journal
from greenprobe.engine.shards import NumberedRow, ShardBatch
from greenprobe.engine.tally import Tally

__all__ = ["Recording", "wanted_rows"]

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
        has_bodies: bool = False,
    ) -> None:
        self._out = out
        self._encode = encode
        self._clock = clock
        self._match = match
        self._drop = drop
        self._warc = warc
        self._database = database
        self._journal = journal
        self._has_bodies = has_bodies
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
        self._write_rows(wanted_rows(batch, self._match, self._drop))
        if self._journal is not None:
            self._numbers += [record.line for record in batch]
        self._commit_if_due()

    def write_shard(self, batch: ShardBatch) -> None:
        """Write what a process has made of its entries; it has chosen and counted already."""
        if batch.rows:
            self._write_rows(batch.rows, batch.archive)
        if batch.lines:
            self._out.write(batch.lines)
        if self._journal is not None:
            self._numbers += batch.numbers
        if not self._is_plain:
            self._commit_if_due()

    def _write_rows(self, numbered: list[NumberedRow], archive: IO[bytes] | None = None) -> None:
        """Write rows everywhere; `archive` has the records of their exchanges, if the rows themselves do not."""
        rows = [row for _, row in numbered]
        if self._warc is not None and archive is not None:
            self._warc.append(rows, archive)
        elif self._warc is not None:
            self._warc.write(rows)
        if self._database is not None:
            self._database.write([number for number, _ in numbered], rows)
        if rows:
            self._out.write(b"".join([self._encode(row) for row in rows]))

    def commit(self) -> None:
        """Have everything written; where there is a journal, on the disk, and the journal say so."""
        self._committed = self._clock()
        if self._database is not None:
            self._database.commit()
        if self._journal is not None:
            self._commit_to(self._journal)
            return
        self._out.flush()
        if self._warc is not None:
            self._warc.length()

    def _commit_to(self, journal: Journal) -> None:
        lengths = {"output": self._out.sync()}
        if self._warc is not None:
            lengths["warc"] = self._warc.sync()
        if self._numbers:
            if self._has_bodies:
                os.sync()  # files without number, perhaps of other processes: no other call reaches them all
            journal.commit(lengths, self._numbers)
            self._numbers = []

    def _commit_if_due(self) -> None:
        if self._clock() - self._committed >= COMMIT_SECONDS:
            self.commit()


def wanted_rows(batch: list[FetchRecord], match: Conditions, drop: Conditions) -> list[NumberedRow]:
    """Return the rows of records that are to be written, each with the number of its entry."""
    wanted = []
    for record in batch:
        row = record.row()
        if is_wanted(row, match, drop):
            row.pop("body", None)
            wanted.append((record.line, row))
        else:
            for exchange in row.get("warc", ()):
                exchange.close()
    return wanted
