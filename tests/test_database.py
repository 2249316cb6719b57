"""Databases that runs write: what another program does to one is said in a line that names it."""

import sqlite3
from contextlib import closing
from pathlib import Path

import click
import pytest

from greenprobe.commands.database import ResultsDatabase
from greenprobe.engine.fetchplan import FetchRecord, Timings


def test_a_database_that_somebody_reads_for_ever_is_named_when_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "db"
    database = ResultsDatabase(str(path))
    database._connection.execute("PRAGMA busy_timeout = 0")
    database.write([1], [FetchRecord(1, "u", "u", 200, 0, {}, (), Timings(None, None, None, None, 0.0), None).row()])
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM results").fetchone()
        with pytest.raises(click.ClickException, match=r"cannot write to .*db: database is locked"):
            database.close()
