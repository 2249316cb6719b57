"""eventlet.db_pool: pools of database connections; the calls of one are made in tpool's threads, or as they are.

New programs do better with `greenprobe.dbpool`, which commits, and gives no connection on whose call was given up.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from sys import is_finalizing
from time import monotonic
from typing import Any, Final, NamedTuple

from greenprobe.compat.eventlet.greenthread import GreenThread, spawn_after, spawn_n
from greenprobe.compat.eventlet.pools import Pool
from greenprobe.compat.eventlet.timeout import Timeout
from greenprobe.compat.eventlet.tpool import Proxy, execute
from greenprobe.hub import get_hub

__all__ = [
    "BaseConnectionPool",
    "ConnectTimeout",
    "ConnectionPool",
    "DatabaseConnector",
    "GenericConnectionWrapper",
    "PooledConnectionWrapper",
    "RawConnectionPool",
    "TpooledConnectionPool",
    "cleanup_rollback",
]

MISSING: Final[Any] = object()


class ConnectTimeout(Exception):
    """No connection could be made in time."""


def cleanup_rollback(conn: Any) -> None:
    """Roll back what a connection was at; done to each that is put back."""
    conn.rollback()


class Idle(NamedTuple):
    """A connection that nobody has: when it was last used and made (monotonic seconds)."""

    last_used: float
    created_at: float
    connection: Any


class GenericConnectionWrapper:
    """A database connection whose attributes are those of `baseconn`."""

    def __init__(self, baseconn: Any) -> None:
        self._base = baseconn

    def __getattr__(self, name: str) -> Any:
        if name == "_base":
            raise AttributeError("the connection was put back into its pool")
        return getattr(self._base, name)

    def __enter__(self) -> Any:
        return self._base.__enter__()

    def __exit__(self, *exc_info: object) -> Any:
        return self._base.__exit__(*exc_info)

    def __repr__(self) -> str:
        return repr(self._base)


class PooledConnectionWrapper(GenericConnectionWrapper):
    """A connection that `close` puts back into its pool; afterwards it is false and of no use."""

    def __init__(self, baseconn: Any, pool: "BaseConnectionPool") -> None:
        super().__init__(baseconn)
        self._pool = pool

    def __bool__(self) -> bool:
        return "_base" in vars(self)

    def _destroy(self) -> None:
        vars(self).pop("_base", None)

    def close(self) -> None:
        """Put it back into its pool."""
        if self and self._pool is not None:
            self._pool.put(self)
        self._destroy()

    def __del__(self) -> None:
        base = vars(self).pop("_base", None)
        if base is not None and not is_finalizing():
            get_hub().call_threadsafe(spawn_n, self._pool.put, base)  # a garbage collection may run anywhere


class BaseConnectionPool(Pool):
    """A pool of connections of a DB-API module. A subclass says how they are made and called.

    What lay idle for `max_idle` seconds, or is `max_age` seconds old, is closed; 0 keeps none. `cleanup(connection)` is
    called with each that is put back; None is nothing.
    """

    def __init__(
        self,
        db_module: Any,
        min_size: int = 0,
        max_size: int = 4,
        max_idle: float = 10,
        max_age: float = 30,
        connect_timeout: float = 5,
        cleanup: Callable[[Any], object] | None = cleanup_rollback,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        self._db_module = db_module
        self._args, self._kwargs = args, kwargs
        self.max_idle, self.max_age = max_idle, max_age
        self.connect_timeout = connect_timeout
        self.cleanup = cleanup
        self._expirer: GreenThread | None = None
        self._created_at: dict[int, float] = {}
        super().__init__(min_size, max_size, order_as_stack=True)

    # -- age

    def _is_expired(self, now: float, last_used: float, created_at: float) -> bool:
        too_idle = self.max_idle <= 0 or now - last_used > self.max_idle
        return too_idle or self.max_age <= 0 or now - created_at > self.max_age

    def _expire_old_connections(self, now: float) -> None:
        """Close what is too old, and look again when the next one will be."""
        old = [idle for idle in self.free_items if self._is_expired(now, idle.last_used, idle.created_at)]
        for idle in old:
            self.free_items.remove(idle)
            self.current_size -= 1
        for idle in old:
            self._safe_close(idle.connection, quiet=True)

    def _schedule_expiration(self) -> None:
        if self._expirer is not None and not self._expirer.dead:
            return
        now = monotonic()
        due = [min(i.last_used + self.max_idle, i.created_at + self.max_age) for i in self.free_items]
        if due:
            self._expirer = spawn_after(max(0.001, min(due) - now), self._expire)

    def _expire(self) -> None:
        self._expirer = None
        self._expire_old_connections(monotonic() + 0.001)
        self._schedule_expiration()

    # -- get and put

    def create(self) -> Idle:
        """Make a connection."""
        now = monotonic()
        return Idle(now, now, self.connect(self._db_module, self.connect_timeout, *self._args, **self._kwargs))

    @classmethod
    def connect(cls, db_module: Any, connect_timeout: float, *args: Any, **kw: Any) -> Any:
        """Return a new connection. Raises ConnectTimeout."""
        raise NotImplementedError(f"{cls.__name__} does not say how to connect")

    def get(self) -> Any:
        """Return a connection that is the caller's until `put`, or its `close`."""
        self._expire_old_connections(monotonic())
        idle = super().get()
        self._created_at[id(idle.connection)] = idle.created_at
        return PooledConnectionWrapper(idle.connection, self)

    def put(self, conn: Any, cleanup: Any = MISSING) -> None:
        """Put a connection back. It is closed if it is too old, or if `cleanup`, its own or the pool's, raises.

        A kill or a timeout while it is cleaned up drops it, as a call of it may go on in a thread.
        """
        base = self._unwrap_connection(conn)
        created_at = self._created_at.pop(id(base), 0.0)
        now = monotonic()
        try:
            fit = not self._is_expired(now, now, created_at) and self._clean(conn, cleanup)
        except BaseException:
            self._free_place()
            raise
        finally:
            if isinstance(conn, PooledConnectionWrapper):
                conn._destroy()
        if fit and self.current_size <= self.max_size:
            super().put(Idle(now, created_at, base))
            self._schedule_expiration()
            return
        try:
            self._safe_close(base, quiet=True)
        finally:
            self._free_place()

    def _clean(self, conn: Any, cleanup: Any) -> bool:
        """Clean a connection up; tell whether that worked."""
        clean = self.cleanup if cleanup is MISSING else cleanup
        if clean is None:
            return True
        try:
            clean(conn)
        except Exception:  # whatever the driver raises
            return False
        return True

    @contextmanager
    def item(self, cleanup: Any = MISSING) -> Iterator[Any]:
        """Get a connection for a block, and put it back at its end."""
        conn = self.get()
        try:
            yield conn
        finally:
            self.put(conn, cleanup=cleanup)

    def clear(self) -> None:
        """Close what nobody has."""
        if self._expirer is not None:
            self._expirer.cancel()
            self._expirer = None
        while self.free_items:
            idle = self.free_items.popleft()
            self.current_size -= 1
            self._safe_close(idle.connection, quiet=True)

    def _unwrap_connection(self, conn: Any) -> Any:
        return conn._base if isinstance(conn, GenericConnectionWrapper) else conn

    def _safe_close(self, conn: Any, quiet: bool = False) -> None:
        try:
            conn.close()
        except Exception:  # whatever the driver raises: it is of no use any more
            if not quiet:
                raise


class TpooledConnectionPool(BaseConnectionPool):
    """A pool of connections whose calls are made in tpool's threads."""

    @classmethod
    def connect(cls, db_module: Any, connect_timeout: float, *args: Any, **kw: Any) -> Any:
        """Connect in a thread. Raises ConnectTimeout."""
        with Timeout(connect_timeout, ConnectTimeout()):
            return Proxy(execute(db_module.connect, *args, **kw), autowrap_names=("cursor",))


class RawConnectionPool(BaseConnectionPool):
    """A pool of connections of a driver that is green by itself."""

    @classmethod
    def connect(cls, db_module: Any, connect_timeout: float, *args: Any, **kw: Any) -> Any:
        """Connect. Raises ConnectTimeout."""
        with Timeout(connect_timeout, ConnectTimeout()):
            return db_module.connect(*args, **kw)


ConnectionPool = TpooledConnectionPool


class DatabaseConnector:
    """A pool for each host and database, made when it is first asked for.

    `credentials` are the keyword arguments of `connect` by host; those of "default" are for all others.
    """

    def __init__(
        self, module: Any, credentials: dict[str, dict[str, Any]], conn_pool: Any = None, *args: Any, **kwargs: Any
    ) -> None:
        self._module = module
        self._credentials = credentials
        self._conn_pool_class = conn_pool if conn_pool is not None else ConnectionPool
        self._args, self._kwargs = args, kwargs
        self._databases: dict[tuple[str, str], Any] = {}

    def credentials_for(self, host: str) -> dict[str, Any] | None:
        """Return the credentials for a host."""
        return self._credentials.get(host, self._credentials.get("default"))

    def get(self, host: str, dbname: str) -> Any:
        """Return the pool for a host and a database."""
        key = host, dbname
        if key not in self._databases:
            named = {"db": dbname, "host": host, **(self.credentials_for(host) or {})}
            self._databases[key] = self._conn_pool_class(self._module, *self._args, **{**self._kwargs, **named})
        return self._databases[key]
