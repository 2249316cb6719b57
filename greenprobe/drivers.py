"""Database drivers in C that leave the waiting to others: in a patched process they wait green.

A C library's own calls block the OS thread, whatever is patched. Two drivers have a door: psycopg2 calls a function of
ours when it has to wait, psycopg (3) takes any of its wait functions, of which the one over `select.poll` is green. A
driver is imported when its program does so, so the door is opened after that import, or at once if it has happened.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.machinery import ModuleSpec
from select import POLLIN, POLLOUT
from types import ModuleType
from typing import Any, Final

from greenprobe.level import watch_changes

__all__ = ["adopt_drivers"]

Door = Callable[[Any], Callable[[], object]]  # opens it, given the module; returns what closes it again


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


class Doorkeeper:
    """A finder of modules that finds none, but sees to it that doors are opened after an import."""

    def __init__(self) -> None:
        self.undo: list[Callable[[], object]] = []

    def open(self, name: str, module: ModuleType) -> None:
        """Open the door of a module, and note how to close it."""
        self.undo.append(DOORS[name](module))

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find what the other finders do, and have the door opened when it has been executed."""
        if name not in DOORS:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                self.follow(name, spec.loader)
                return spec
        return None

    def follow(self, name: str, loader: Any) -> None:
        """Open the door after the loader has executed the module."""
        execute = loader.exec_module

        def execute_and_open(module: ModuleType) -> None:
            execute(module)
            self.open(name, module)

        loader.exec_module = execute_and_open


def adopt_drivers() -> Callable[[], None]:
    """Have those drivers wait green that are imported, or will be; return what undoes it."""
    keeper = Doorkeeper()
    for name in DOORS:
        module = sys.modules.get(name)
        if module is not None:
            keeper.open(name, module)
    sys.meta_path.insert(0, keeper)
    return partial(dismiss, keeper)


def dismiss(keeper: Doorkeeper) -> None:
    """Close the doors again."""
    sys.meta_path.remove(keeper)
    while keeper.undo:
        keeper.undo.pop()()


def nothing() -> None:
    """Do nothing."""
