"""Results in SQLite: a table of the usual columns, and the whole row as JSON beside them.

Rows go in by the batch; a commit is made when the writer asks for one, so that the database and the journal of a run
agree to the row. `Database` is what those of scan and crawl are made of, too.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import click
import orjson

from greenprobe.engine.journal import Done
from greenprobe.lazy import Lazy

__all__ = ["Database", "ResultsDatabase"]

sqlite3 = Lazy("sqlite3")

COLUMNS: Final = {
    "line": "INTEGER PRIMARY KEY",
    "url": "TEXT NOT NULL",
    "final_url": "TEXT",
    "status": "INTEGER",
    "bytes": "INTEGER",
    "content_type": "TEXT",
    "first_byte": "REAL",
    "total": "REAL",
    "address": "TEXT",
    "error": "TEXT",
    "message": "TEXT",
    "row": "TEXT NOT NULL",
}
SCHEMA: Final = f"CREATE TABLE results ({', '.join(f'{name} {kind}' for name, kind in COLUMNS.items())})"
INSERT: Final = f"INSERT INTO results VALUES ({', '.join('?' * len(COLUMNS))})"


class Database:
    """An SQLite database that a run writes. Errors are click.ClickExceptions that name it."""

    def __init__(self, path: str) -> None:
        self._path = path
        with self._naming_errors():
            self._connection = sqlite3.connect(path, isolation_level="DEFERRED")
        try:
            with self._naming_errors():
                self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        """Make the tables; refuse those that are there, or cut them to what is to be gone on with."""
        raise NotImplementedError

    def commit(self) -> None:
        """Have everything in the file."""
        with self._naming_errors():
            self._connection.commit()

    def close(self) -> None:
        """Commit and close."""
        try:
            self.commit()
        finally:
            self._connection.close()

    def _has_table(self, name: str) -> bool:
        """Tell whether there is a table of that name."""
        found = self._connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,))
        return found.fetchone() is not None

    @contextmanager
    def _naming_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as exc:
            raise click.ClickException(f"cannot write to {self._path}: {exc}") from exc


class ResultsDatabase(Database):
    """The database of a fetch."""

    def __init__(self, path: str, *, done: Done | None = None) -> None:
        """Open `path`. A table that is there is refused, or, with `done`, cut to the entries that are in it."""
        self._done = done
        super().__init__(path)

    def _prepare(self) -> None:
        done = self._done
        has_table = self._has_table("results")
        if not has_table and done:
            raise click.ClickException(f"{self._path} has lost its results; to begin anew, remove it and the state")
        if not has_table:
            self._connection.execute(SCHEMA)
        elif done is None:
            raise click.ClickException(f"{self._path} has results in it already; name another file with --sqlite")
        else:
            numbers = self._connection.execute("SELECT line FROM results ORDER BY line").fetchall()
            undone = [(number,) for (number,) in numbers if number not in done]
            self._connection.executemany("DELETE FROM results WHERE line = ?", undone)
        self._connection.commit()

    def write(self, numbers: list[int], rows: list[dict[str, Any]]) -> None:
        """Insert rows by the numbers of their entries."""
        with self._naming_errors():
            self._connection.executemany(INSERT, map(values_of, numbers, rows))


def values_of(number: int, row: dict[str, Any]) -> tuple[Any, ...]:
    """Return the columns of a row."""
    elapsed, error = row["elapsed"], row["error"] or {}
    return (
        number,
        row["url"],
        row["final_url"],
        row["status"],
        row["bytes"],
        row["content_type"],
        elapsed["first_byte"],
        elapsed["total"],
        row["address"],
        error.get("class"),
        error.get("message"),
        orjson.dumps(row).decode(),
    )
