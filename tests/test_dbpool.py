"""Database connections in threads, with sqlite3: transactions, waiting, and calls that are given up."""

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from core_tools import turns

from greenprobe.dbpool import ConnectionPool
from greenprobe.errors import PoolTimeout
from greenprobe.greenthread import sleep, spawn
from greenprobe.threadpool import ThreadPool
from greenprobe.timeout import Timeout


@pytest.fixture
def threads() -> Iterator[ThreadPool]:
    """A thread pool that ends with the test."""
    with ThreadPool(4) as pool:
        yield pool


@pytest.fixture
def pool(tmp_path: Path, threads: ThreadPool) -> Iterator[ConnectionPool]:
    """Two connections to a database with a table of numbers."""
    pool = ConnectionPool(
        sqlite3.connect, tmp_path / "data.db", check_same_thread=False, timeout=5, size=2, threads=threads
    )
    pool.execute("create table numbers (n integer)")
    pool.execute("insert into numbers values (1), (2), (3)")
    yield pool
    pool.close()


def test_statements_run_in_transactions_of_their_own(pool: ConnectionPool) -> None:
    assert pool.execute("select n from numbers where n > ?", (1,)) == [(2,), (3,)]
    assert pool.execute("delete from numbers") == []
    assert pool.execute("select n from numbers") == []


def test_a_block_commits_and_rolls_back_if_it_raises(pool: ConnectionPool) -> None:
    with pool.connection() as connection:
        connection.execute("insert into numbers values (4)")
    with pytest.raises(KeyError), pool.connection() as connection:
        connection.execute("insert into numbers values (5)")
        raise KeyError
    assert pool.execute("select max(n) from numbers") == [(4,)]
    assert pool.statistics().made == 1


def test_calls_are_made_in_other_threads_while_others_run(pool: ConnectionPool) -> None:
    seen: list[int] = []
    with pool.connection() as connection:
        connection.create_function("here", 0, threading.get_ident)
        other = spawn(seen.append, 1)
        [(where,)] = connection.execute("select here()").fetchall()
    assert where != threading.get_ident()
    assert other.dead
    assert seen == [1]


def test_a_cursor_iterates_in_pieces(pool: ConnectionPool) -> None:
    with pool.connection() as connection, connection.cursor() as cursor:
        cursor.executemany("insert into numbers values (?)", [(n,) for n in range(4, 251)])
        assert [n for (n,) in cursor.execute("select n from numbers")] == list(range(1, 251))


def test_attributes_are_the_drivers_own(pool: ConnectionPool) -> None:
    with pool.connection() as connection:
        assert connection.in_transaction is False
        connection.row_factory = sqlite3.Row
        [row] = connection.execute("select max(n) as most from numbers").fetchall()
        assert row["most"] == 3
        connection.row_factory = None


def test_who_comes_when_all_are_lent_waits(pool: ConnectionPool) -> None:
    with pool.connection(), pool.connection():
        with pytest.raises(PoolTimeout), pool.connection(timeout=0.01):
            pass
        waiter = spawn(pool.execute, "select 1")
        turns()
        assert not waiter.dead
    assert waiter.wait() == [(1,)]


def test_a_statement_that_fails_leaves_a_connection_of_use(pool: ConnectionPool) -> None:
    with pytest.raises(sqlite3.OperationalError):
        pool.execute("no sql")
    assert pool.execute("select 1") == [(1,)]
    assert pool.statistics().made == 1


def test_a_connection_whose_call_was_given_up_is_closed_when_that_is_over(pool: ConnectionPool) -> None:
    go = threading.Event()
    targets: list[Any] = []
    with pytest.raises(Timeout), pool.connection() as connection:
        targets.append(connection._target)
        connection.create_function("wait", 0, lambda: int(go.wait(5)))
        with Timeout(0.01):
            connection.execute("select wait()")
    assert pool.statistics().made == 0
    go.set()
    while connection._is_busy():
        sleep(0.001)
    closed = False
    while not closed:
        sleep(0.001)
        try:
            targets[0].total_changes  # noqa: B018 - does it still answer?
        except sqlite3.ProgrammingError:
            closed = True
    assert pool.execute("select 1") == [(1,)]


def test_a_connection_that_comes_too_late_is_closed(threads: ThreadPool) -> None:
    go, closed = threading.Event(), threading.Event()

    class Slow:
        def close(self) -> None:
            closed.set()

    def connect() -> Slow:
        go.wait(5)
        return Slow()

    pool = ConnectionPool(connect, threads=threads)
    with pytest.raises(Timeout), Timeout(0.01), pool.connection():
        pass
    go.set()
    while not closed.is_set():
        sleep(0.001)
    assert pool.statistics().made == 0


class Broken:
    """A connection that has broken: whatever is asked of it fails."""

    def rollback(self) -> None:
        raise OSError("gone")

    commit = close = rollback


def test_a_connection_that_cannot_be_rolled_back_is_not_lent_again(threads: ThreadPool) -> None:
    pool = ConnectionPool(Broken, size=1, threads=threads)
    for _ in range(2):
        with pytest.raises(KeyError), pool.connection(timeout=5):
            raise KeyError
    with pytest.raises(OSError, match="gone"), pool.connection(timeout=5):
        pass  # what cannot be committed cannot be rolled back either
    assert pool.statistics().made == 0
    assert repr(pool).startswith("<ConnectionPool <ObjectPool")
    pool.close()


def test_making_that_fails_is_the_callers_to_see(threads: ThreadPool) -> None:
    pool = ConnectionPool(sqlite3.connect, "/nosuch/folder/data.db", threads=threads)
    for _ in range(3):
        with pytest.raises(sqlite3.OperationalError), pool.connection():
            pass
    assert pool.statistics().made == 0
