"""Database connections in a pool, each call made in the thread pool: for drivers that block, of the DB-API (PEP 249).

    pool = ConnectionPool(sqlite3.connect, "data.db", check_same_thread=False, size=4)
    with pool.connection() as connection:
        rows = connection.execute("select ...").fetchall()

Facts: a driver written in C waits in the kernel, and nothing can make that green. Failure: the whole thread waits with
it. Choice: each call that may wait is made in a real thread, while other greenthreads run. A connection is lent to one
greenthread at a time, so its calls come one after the other, though not always from the same thread.
Price: two switches of OS threads a call; a driver that is green already (PyMySQL, psycopg under monkey patching) needs
an ObjectPool, and no threads.

A call that is given up (by a timeout or a kill) goes on in its thread; the connection is then busy, and is closed when
that call is over instead of being lent again.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Self

from greenprobe.objectpool import ObjectPool, ObjectPoolStatistics
from greenprobe.threadpool import Job, ThreadPool, default_pool

__all__ = ["ConnectionPool", "ThreadedConnection", "ThreadedCursor"]

MAX_IDLE: Final = 60.0
MAX_AGE: Final = 3600.0


class Threaded:
    """An object whose methods are called in threads, one at a time. Attributes that cannot be called are its own."""

    _target: Any
    _threads: ThreadPool
    _last: Job[Any] | None

    def __init__(self, target: Any, threads: ThreadPool) -> None:
        vars(self).update(_target=target, _threads=threads, _last=None)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._target!r}>"

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._target, name)
        if not callable(attribute):
            return attribute

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._call(attribute, *args, **kwargs)

        return call

    def __setattr__(self, name: str, value: Any) -> None:
        if name in vars(self):
            vars(self)[name] = value
        else:
            setattr(self._target, name, value)

    def _call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Make a call in a thread and wait for it; a call that has not begun when the wait ends is not made."""
        job = self._threads.submit(function, *args, **kwargs)
        self._last = job
        try:
            return job.wait()
        except BaseException:
            job.cancel()
            raise

    def _is_busy(self) -> bool:
        return self._last is not None and not self._last.ready()


class ThreadedCursor(Threaded):
    """A cursor. Iterating fetches rows in pieces of its `arraysize`, at least 100."""

    def __init__(self, target: Any, threads: ThreadPool, owner: "ThreadedConnection") -> None:
        super().__init__(target, threads)
        vars(self)["_owner"] = owner

    def _call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = vars(self)["_owner"]._call(function, *args, **kwargs)
        return self if result is self._target else result

    def __iter__(self) -> Iterator[Any]:
        size = max(100, getattr(self._target, "arraysize", 1))
        while rows := self._call(self._target.fetchmany, size):
            yield from rows

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._call(self._target.close)


class ThreadedConnection(Threaded):
    """A connection; what its methods return is wrapped if it is a cursor."""

    def _call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = super()._call(function, *args, **kwargs)
        if hasattr(result, "fetchmany") and not isinstance(result, Threaded):
            return ThreadedCursor(result, self._threads, self)
        return result


class ConnectionPool:
    """At most `size` connections made by `connect(*args, **kwargs)`, in the threads of `threads` (the process's pool).

    What lay idle for `max_idle` seconds, or is `max_age` seconds old, is closed rather than lent again.
    """

    def __init__(
        self,
        connect: Callable[..., Any],
        *args: Any,
        size: int = 4,
        max_idle: float | None = MAX_IDLE,
        max_age: float | None = MAX_AGE,
        threads: ThreadPool | None = None,
        **kwargs: Any,
    ) -> None:
        self._threads = threads if threads is not None else default_pool()
        self._connect = lambda: connect(*args, **kwargs)
        self._pool: ObjectPool[ThreadedConnection] = ObjectPool(
            self._open, size, discard=self._close, max_idle=max_idle, max_age=max_age
        )

    def __repr__(self) -> str:
        return f"<ConnectionPool {self._pool!r}>"

    def statistics(self) -> ObjectPoolStatistics:
        """Return the pool's figures at this moment."""
        return self._pool.statistics()

    def _open(self) -> ThreadedConnection:
        job = self._threads.submit(self._connect)
        try:
            return ThreadedConnection(job.wait(), self._threads)
        except BaseException:
            if not job.cancel():
                job.link(close_late)
            raise

    def _close(self, connection: ThreadedConnection) -> None:
        """Close a connection, once what it is at is over; nobody waits for it."""
        last = connection._last
        if last is not None and not last.ready():
            last.link(lambda _: self._close(connection))
        else:
            self._threads.submit(close_quietly, connection._target)

    @contextmanager
    def connection(self, timeout: float | None = None) -> Iterator[ThreadedConnection]:
        """Lend a connection for a block, and commit at its end; if the block raises, roll back.

        Raises PoolTimeout if there is none in `timeout` seconds. A connection that cannot be rolled back is closed.
        """
        connection = self._pool.take(timeout)
        try:
            yield connection
            connection.commit()
        except BaseException:
            self._put_away(connection)
            raise
        self._pool.give_back(connection)

    def _put_away(self, connection: ThreadedConnection) -> None:
        if connection._is_busy():
            self._pool.drop(connection)
            return
        try:
            connection.rollback()
        except BaseException as error:
            self._pool.drop(connection)
            if not isinstance(error, Exception):
                raise
        else:
            self._pool.give_back(connection)

    def execute(self, statement: str, *args: Any, timeout: float | None = None) -> list[Any]:
        """Run one statement in a transaction of its own; return its rows, if it has any."""
        with self.connection(timeout) as connection:
            cursor = connection.cursor()
            cursor.execute(statement, *args)
            rows: list[Any] = cursor.fetchall() if cursor.description is not None else []
            cursor.close()
        return rows

    def close(self) -> None:
        """Close what lies idle, and what is lent when it comes back."""
        self._pool.close()


def close_quietly(connection: Any) -> None:
    """Close a connection; one that is broken may refuse."""
    try:
        connection.close()
    except Exception:  # whatever the driver raises: it is of no use any more
        pass


def close_late(job: Job[Any]) -> None:
    """Close a connection that came after nobody waited for it any more. Called by the loop."""
    if job.successful():
        default_pool().submit(close_quietly, job.value)
