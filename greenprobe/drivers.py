"""Database drivers in C that leave the waiting to others: in a patched process they wait green.

A C library's own calls block the OS thread, whatever is patched. Two drivers have a door: psycopg2 calls a function of
ours when it has to wait, psycopg (3) takes any of its wait functions, of which the one over `select.poll` is green. A
driver is imported when its program does so, so the door is opened after that import, or at once if it has happened.
"""

from collections.abc import Callable
from functools import partial
from select import POLLIN, POLLOUT
from typing import Any, Final

from greenprobe.doors import Door, keep_doors
from greenprobe.level import watch_changes

__all__ = ["adopt_drivers"]


def wait_for_psycopg2(connection: Any) -> None:
    """Wait, green, until a connection's pending operation has ended. psycopg2 calls this."""
    wanted = {1: POLLIN, 2: POLLOUT}  # psycopg2.extensions.POLL_READ, POLL_WRITE
    while state := connection.poll():
        if state not in wanted:
            raise connection.OperationalError(f"unexpected state {state!r} of a connection that waits")
        with watch_changes([(connection.fileno(), wanted[state])]) as changes:
            changes.poll_until(None)


def open_psycopg2(module: Any) -> Callable[[], object]:
    """Have psycopg2 wait green, unless somebody else has seen to that."""
    if module.extensions.get_wait_callback() is not None:
        return nothing
    module.extensions.set_wait_callback(wait_for_psycopg2)
    return partial(module.extensions.set_wait_callback, None)


def open_psycopg(module: Any) -> Callable[[], object]:
    """Have psycopg wait in Python over `select.poll`, not in C."""
    names = [name for name in ("wait", "_ready") if hasattr(module, f"{name}_poll")]
    before = {name: getattr(module, name) for name in names}
    vars(module).update({name: getattr(module, f"{name}_poll") for name in names})
    return partial(vars(module).update, before)


DOORS: Final[dict[str, Door]] = {"psycopg2": open_psycopg2, "psycopg.waiting": open_psycopg}


def adopt_drivers() -> Callable[[], None]:
    """Have those drivers wait green that are imported, or will be; return what undoes it."""
    return keep_doors(DOORS)


def nothing() -> None:
    """Do nothing."""
