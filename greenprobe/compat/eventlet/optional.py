"""What eventlet patches beyond the standard library: psycopg2, MySQLdb, and the built-in `open`."""

import builtins
import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from greenprobe.compat.eventlet.greenio.py3 import GreenPipe
from greenprobe.compat.eventlet.hubs.levels import trampoline
from greenprobe.compat.eventlet.tpool import Proxy, execute

__all__ = ["green_mysqldb", "make_psycopg_green", "patch_builtins", "patch_mysqldb", "patch_psycopg"]


def find(name: str) -> Any:
    """Return a module if it is installed, else None."""
    try:
        return import_module(name)
    except ImportError:
        return None


def patch_psycopg() -> None:
    """Have psycopg2 wait green, if it is installed."""
    if find("psycopg2") is not None:
        make_psycopg_green()


def make_psycopg_green() -> None:
    """Have psycopg2 wait for its server through `trampoline`. Raises ImportError if it is not installed."""
    import_module("psycopg2.extensions").set_wait_callback(wait_for_postgres)


def wait_for_postgres(conn: Any, timeout: float | None = None) -> None:
    """Wait until an asynchronous connection of psycopg2 has done what it is at."""
    extensions = import_module("psycopg2.extensions")
    while True:
        state = conn.poll()
        if state == extensions.POLL_OK:
            return
        if state == extensions.POLL_READ:
            trampoline(conn.fileno(), read=True, timeout=timeout)
        elif state == extensions.POLL_WRITE:
            trampoline(conn.fileno(), write=True, timeout=timeout)
        else:
            raise extensions.Error(f"psycopg2 polled {state!r}")


def patch_mysqldb() -> None:
    """Have `import MySQLdb` give a module whose connections work in threads, if it is installed."""
    module = find("MySQLdb")
    if module is not None:
        sys.modules["MySQLdb"] = green_mysqldb(module)


def green_mysqldb(module: ModuleType) -> ModuleType:
    """Return a copy of MySQLdb whose connections make their calls in the thread pool."""
    copy = ModuleType(module.__name__, module.__doc__)
    vars(copy).update(vars(module))

    def connect(*args: Any, **kwargs: Any) -> Any:
        connection = execute(module.connect, *args, **kwargs)
        return Proxy(connection, autowrap_names=("cursor",))

    for name in ("connect", "Connect", "Connection"):
        setattr(copy, name, connect)
    return copy


def patch_builtins() -> None:
    """Have `open` give green files for what can be waited for: pipes, ttys, FIFOs."""
    builtins.open = GreenPipe  # type: ignore[assignment]
