"""Private copies of modules, which see other values than the rest of the process does.

A copy of a C module, or of one whose functions need nothing that is exchanged, is a module with the same contents. A
module whose Python functions look names up in it has to be executed once more. That happens while all copies stand in
`sys.modules`, so what it imports is private, too; afterwards `sys.modules` is put back as it was.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from types import ModuleType
from typing import Any, Final

from greenprobe.disguise import disguise

__all__ = ["Copies", "Reloads", "Rows"]

Rows = dict[Any, dict[str, Any]]  # a module's name, or a class -> attribute -> what stands for it

EXECUTED_ANEW: Final = ("threading", "queue", "socket", "selectors", "ssl", "subprocess")  # in this order
FOLLOWERS: Final = frozenset(  # of the standard library: what stands on the modules above, and is private with them
    "asynchat asyncore concurrent ftplib http imaplib poplib smtpd smtplib socketserver telnetlib urllib wsgiref "
    "xmlrpc".split()
)


class Copies:
    """Private copies of the modules that `values` name, with these values in them, and of what is loaded on them."""

    def __init__(self, values: list[Rows]) -> None:
        self._modules: dict[str, ModuleType] = {}
        self._values = values
        named = {target for rows in values for target in rows if isinstance(target, str)}
        for name in named - {*EXECUTED_ANEW}:
            self._modules[name] = clone(import_module(name))
            fill(self._modules[name], name, self._values)
        for name in EXECUTED_ANEW:
            self._execute(name, {name})
            fill(self._modules[name], name, self._values)

    def get(self, name: str) -> ModuleType:
        """Return the copy of a module; a module that needs none itself."""
        return self._modules.get(name) or import_module(name)

    def load(self, name: str, private: Iterable[str]) -> ModuleType:
        """Load a module anew, with all of the packages `private`, where they are not private already."""
        return self._execute(name, {*private, *FOLLOWERS})

    def _execute(self, name: str, private: set[str]) -> ModuleType:
        """Import a module while the copies stand in `sys.modules`.

        What is loaded for the first time stays private, but for extension modules: most cannot be loaded twice.
        """
        before = dict(sys.modules)
        finders = list(sys.meta_path)
        sys.meta_path[:] = [finder for finder in finders if not isinstance(finder, Reloads)]  # we fill what we load
        for each in before:
            if each.partition(".")[0] in private:
                del sys.modules[each]
        sys.modules.update(self._modules)
        try:
            return import_module(name)
        finally:
            sys.meta_path[:] = finders
            after = dict(sys.modules)
            shared = {each: module for each, module in after.items() if is_extension(module)}
            new = {each: module for each, module in after.items() if before.get(each) is not module}
            self._modules.update({each: new[each] for each in new.keys() - shared.keys()})
            sys.modules.clear()
            sys.modules.update({**shared, **before})


class Reloads(MetaPathFinder):
    """Patches modules that are patched and are loaded once more, by `importlib.reload` or for tests.

    `values` returns the rows that apply at the time.
    """

    def __init__(self, values: Callable[[], list[Rows]]) -> None:
        self._values = values
        self._searching = False

    def find_spec(self, name: str, path: Sequence[str] | None, anew: ModuleType | None = None) -> ModuleSpec | None:
        """Return the spec that others find for a module of the table, with a loader that patches it."""
        values = self._values()
        if self._searching or not any(name == module_of(target) for rows in values for target in rows):
            return None
        self._searching = True
        try:
            spec = find_spec_elsewhere(name, path, anew)
        finally:
            self._searching = False
        if spec is not None and spec.loader is not None:
            spec.loader = PatchingLoader(spec.loader, values)
        return spec


def find_spec_elsewhere(name: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
    """Ask the other finders for a module."""
    for finder in sys.meta_path:
        spec = None if isinstance(finder, Reloads) else finder.find_spec(name, path, target)
        if spec is not None:
            return spec
    return None


class PatchingLoader(Loader):
    """A loader that patches what another one has loaded."""

    def __init__(self, loader: Loader, values: list[Rows]) -> None:
        self._loader = loader
        self._values = values

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Create the module, as the other loader does."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module, and patch it."""
        self._loader.exec_module(module)
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        fill(module, module.__name__, self._values)


def module_of(target: Any) -> str:
    """Return the name of the module that a row is about."""
    if isinstance(target, type):
        return target.__module__
    return target.__name__ if isinstance(target, ModuleType) else str(target)


def fill(copy: ModuleType, name: str, values: list[Rows]) -> None:
    """Write the values for one module, and for classes in it, into a copy of it."""
    for target, attributes in [each for rows in values for each in rows.items()]:
        if isinstance(target, type):
            fill_class(copy, name, target, attributes)
        elif name == module_of(target):
            known = {key: new for key, new in attributes.items() if hasattr(copy, key)}
            vars(copy).update({key: disguise(new, getattr(copy, key), name) for key, new in known.items()})


def fill_class(copy: ModuleType, name: str, target: type, attributes: dict[str, Any]) -> None:
    """Write values for a class into the copy that a copy of its module has of it."""
    own = vars(copy).get(target.__name__)
    if module_of(target) == name and isinstance(own, type) and own.__module__ == name and own is not target:
        for key, new in attributes.items():
            setattr(own, key, disguise(new, getattr(own, key), name))


def clone(module: ModuleType) -> ModuleType:
    """Return a module with the same contents."""
    copy = ModuleType(module.__name__, module.__doc__)
    vars(copy).update(vars(module))
    return copy


def is_extension(module: ModuleType) -> bool:
    """Tell whether a module is a shared library."""
    return isinstance(getattr(module, "__loader__", None), ExtensionFileLoader)
