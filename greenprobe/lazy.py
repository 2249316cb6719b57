"""Modules that few runs need, loaded when one does: what is installed would cost every start some 40 ms.

    h2 = Lazy("h2.connection")
    h2.H2Connection(...)

The only place that imports by a name in a string, so that the layers stay visible everywhere else.
"""

from importlib import import_module
from typing import Any

__all__ = ["Lazy"]


class Lazy:
    """Stands for a module, and loads it when something in it is asked for; raises ImportError if it is not there."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        value = getattr(import_module(self._name), attribute)
        setattr(self, attribute, value)
        return value

    def __repr__(self) -> str:
        return f"<Lazy {self._name}>"
