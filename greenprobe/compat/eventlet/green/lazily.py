"""`eventlet.green.socket` and the like without an import of it: eventlet loads some of these modules by itself."""

from importlib import import_module
from types import ModuleType
from typing import Final

__all__ = ["__getattr__"]

PACKAGE: Final = "greenprobe.compat.eventlet.green"


def __getattr__(name: str) -> ModuleType:
    """Import a green module that is asked for as an attribute of its package."""
    module = f"{PACKAGE}.{name}"
    if not name.startswith("__"):
        try:
            return import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
    raise AttributeError(f"module {PACKAGE!r} has no attribute {name!r}")
