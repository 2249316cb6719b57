"""Results in SQLite: a table of the usual columns, and the whole row as JSON beside them.

Rows go in by the batch; a commit is made when the writer asks for one, so that the database and the journal of a run
agree to the row.
"""

from typing import Any, Final

import click
import orjson

from greenprobe.engine.journal import Done
from greenprobe.lazy import Lazy

__all__ = ["ResultsDatabase"]

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


class ResultsDatabase:
    """A database that is being written."""

    def __init__(self, path: str, *, done: Done | None = None) -> None:
        """Open `path`. A table that is there is refused, or, with `done`, cut to the entries that are in it."""
        self._path = path
        try:
            self._connection = sqlite3.connect(path, isolation_level="DEFERRED")
        except sqlite3.Error as exc:
            raise click.ClickException(f"cannot write to {path}: {exc}") from exc
        try:
            self._prepare(done)
        except sqlite3.Error as exc:
            self._connection.close()
            raise click.ClickException(f"cannot write to {path}: {exc}") from exc
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self, done: Done | None) -> None:
        has_table = self._connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'results'").fetchone()
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
        try:
            self._connection.executemany(INSERT, map(values_of, numbers, rows))
        except sqlite3.Error as exc:
            raise click.ClickException(f"cannot write to {self._path}: {exc}") from exc

    def sync(self) -> int:
        """Commit."""
        try:
            self._connection.commit()
        except sqlite3.Error as exc:
            raise click.ClickException(f"cannot write to {self._path}: {exc}") from exc
        return 0

    def close(self) -> None:
        """Commit and close."""
        self._connection.commit()
        self._connection.close()


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
