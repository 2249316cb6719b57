"""db_pool."""

import contextlib
import io
import threading
from typing import Any

import eventlet
from eventlet import db_pool, tpool
from show import show

log: list[Any] = []
main = threading.get_ident()


class Cursor:
    def execute(self, sql: str) -> str:
        return f"{sql} in main: {threading.get_ident() == main}"


class Connection:
    made = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        Connection.made += 1
        self.number = Connection.made
        log.append(("connect", args, kwargs, threading.get_ident() == main))

    def cursor(self) -> Cursor:
        return Cursor()

    def thread_id(self) -> int:
        return self.number

    def rollback(self) -> None:
        log.append(("rollback", self.number))

    def commit(self) -> None:
        log.append(("commit", self.number))

    def close(self) -> None:
        log.append(("close", self.number))


class module:
    @staticmethod
    def connect(*args: Any, **kwargs: Any) -> Connection:
        if kwargs.get("slow"):
            eventlet.sleep(kwargs["slow"])
        if kwargs.get("fail"):
            raise OSError("refused")
        return Connection(*args, **kwargs)


def flush() -> None:
    print(log)
    log.clear()


for kind in (db_pool.TpooledConnectionPool, db_pool.RawConnectionPool):
    pool = kind(module, 0, 2, 10, 30, 5, db_pool.cleanup_rollback, "host", user="u")
    print(kind.__name__, pool.free(), pool.current_size)
    conn = pool.get()
    flush()
    print(conn.cursor().execute("select"), bool(conn), type(conn).__name__)
    conn.close()
    flush()
    print(bool(conn), pool.free(), len(pool.free_items))
    again = pool.get()
    print(again.thread_id())
    other = pool.get()
    print(other.thread_id(), pool.free())
    show("all out", eventlet.with_timeout, 0.01, pool.get, timeout_value="waits")
    waiter = eventlet.spawn(pool.get)
    eventlet.sleep(0)
    pool.put(again)
    got = waiter.wait()
    print(got.thread_id(), pool.free())
    pool.put(got)
    pool.put(other)
    flush()
    with pool.item() as one:
        one.commit()
    flush()
    with pool.item(cleanup=None) as one:
        pass
    flush()
    pool.clear()
    flush()
    print(pool.current_size, pool.free())
    Connection.made = 0

# failures
pool = db_pool.RawConnectionPool(module, max_size=1, fail=True)
show("refused", pool.get)
print(pool.free())
pool = db_pool.RawConnectionPool(module, max_size=1, connect_timeout=0.01, slow=1)
show("slow", pool.get)
print(pool.free(), issubclass(db_pool.ConnectTimeout, Exception))


def bad(conn: Any) -> None:
    raise KeyError("cleanup")


pool = db_pool.RawConnectionPool(module, max_size=1, cleanup=bad)
conn = pool.get()
log.clear()
with contextlib.redirect_stdout(io.StringIO()):
    conn.close()
print(len(pool.free_items), pool.free())

# age
pool = db_pool.RawConnectionPool(module, max_size=2, max_idle=0)
log.clear()
pool.get().close()
print(len(pool.free_items), pool.free())
pool = db_pool.RawConnectionPool(module, max_size=2, max_idle=0.01, max_age=10)
pool.get().close()
log.clear()
print(len(pool.free_items))
eventlet.sleep(0.03)
flush()
print(len(pool.free_items), pool.current_size)

# a connector
connector = db_pool.DatabaseConnector(
    module, {"default": {"user": "d"}, "h": {"user": "x"}}, conn_pool=db_pool.RawConnectionPool
)
print(connector.credentials_for("h"), connector.credentials_for("other"))
one = connector.get("h", "base")
print(one is connector.get("h", "base"), one is connector.get("h", "other"))
log.clear()
conn = one.get()
flush()
print(db_pool.ConnectionPool is db_pool.TpooledConnectionPool, issubclass(db_pool.ConnectionPool, db_pool.BaseConnectionPool))
tpool.killall()
