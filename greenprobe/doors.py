"""Open a door in a module when it is imported, or at once if it has been: for what patching must not import itself."""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["Door", "Doorkeeper", "keep_doors"]

Door = Callable[[Any], Callable[[], object]]  # changes a module; returns what changes it back


class Doorkeeper:
    """A finder of modules that finds none of its own, but sees to it that doors are opened after an import."""

    def __init__(self, doors: Mapping[str, Door]) -> None:
        self.doors = doors
        self.undo: list[Callable[[], object]] = []

    def open(self, name: str, module: ModuleType) -> None:
        """Open the door of a module, and note how to close it."""
        self.undo.append(self.doors[name](module))

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find what the other finders do, and have the door opened when it has been executed."""
        if name not in self.doors:
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


def keep_doors(doors: Mapping[str, Door]) -> Callable[[], None]:
    """Open the doors, by module name, of all modules that are imported, or will be; return what undoes it."""
    keeper = Doorkeeper(doors)
    for name in doors:
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
