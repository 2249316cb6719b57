"""Python functions that stand for functions written in C.

A function of C's is no descriptor: as an attribute of a class (`nap = time.sleep`) it does not become a method. It is
pickled by its name. What replaces it must do the same, and names itself as that does.
"""

from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType
from typing import Any

__all__ = ["Around", "disguise"]


class Around:
    """A value of the table that is made of what it replaces: `make(before)` returns it."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self.make = make


def disguise(new: Any, before: Any, module: str) -> Any:
    """Return what stands for a function `before` of a module, if `new` is a function."""
    if isinstance(new, Around):
        if getattr(before, "_around", None) is new:  # a module that is loaded anew in a patched process is filled twice
            return before
        made = new.make(before)
        made._around = new
        return made
    if not isinstance(new, FunctionType):
        return new
    if isinstance(before, BuiltinFunctionType):
        return Builtin(new, before.__name__, module)
    if isinstance(before, FunctionType):
        new.__module__ = before.__module__
    return new


class Builtin(staticmethod):  # type: ignore[type-arg]
    """A function that stands for one written in C: classes that have it as an attribute do not make it a method."""

    def __init__(self, function: FunctionType, name: str, module: str) -> None:
        super().__init__(function)
        self.__module__ = module
        self.__name__ = self.__qualname__ = name

    def __repr__(self) -> str:
        return f"<green function {self.__name__}>"

    def __reduce__(self) -> str:
        return self.__qualname__
