"""Private copies of standard modules that use green sockets, locks and time, whatever is patched in the process.

The copies see the values of the patcher's table, and GreenSocket as their socket. `eventlet.green.*` are made of them.
"""

from types import ModuleType
from typing import Any, Final

from greenprobe.compat.eventlet.greenio.base import GreenSocket
from greenprobe.copies import Copies, Rows
from greenprobe.patcher import TABLE

__all__ = ["contents", "green", "loaded"]

OURS: Final[Rows] = {"socket": {"socket": GreenSocket}}
HIDDEN: Final = frozenset({"__name__", "__file__", "__path__", "__package__", "__spec__", "__loader__", "__cached__"})

_copies: Copies | None = None


def copies() -> Copies:
    """Return the copies of this process, made when they are first asked for."""
    global _copies
    if _copies is None:
        _copies = Copies([*(rows for group in TABLE.values() for rows in group), OURS])
    return _copies


def green(name: str) -> ModuleType:
    """Return the green copy of a module that the patcher's table changes."""
    return copies().get(name)


def loaded(name: str, *also: str) -> ModuleType:
    """Return a copy of any module, loaded anew on the green ones; the packages of `also` are private with it."""
    return copies().load(name, {each.partition(".")[0] for each in (name, *also)})


def contents(module: ModuleType) -> dict[str, Any]:
    """Return the names of a module, without what says which module it is."""
    return {name: value for name, value in vars(module).items() if name not in HIDDEN}
