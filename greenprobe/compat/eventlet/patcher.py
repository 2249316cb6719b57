"""eventlet.patcher: monkey_patch with eventlet's keys, over greenprobe's; modules imported on green ones.

eventlet's `thread` is the core's thread and queue; its `socket` is socket and ssl; its `select` also selectors.
"""

import sys
from collections.abc import Callable, Iterable
from functools import wraps
from importlib import import_module
from types import ModuleType
from typing import Any, Final

from greenprobe import patcher as core
from greenprobe.compat.eventlet.green.private import contents, green, loaded
from greenprobe.compat.eventlet.optional import patch_builtins, patch_mysqldb, patch_psycopg
from greenprobe.compat.eventlet.running import main

__all__ = [
    "SysModulesSaver",
    "already_patched",
    "import_patched",
    "inject",
    "is_monkey_patched",
    "monkey_patch",
    "original",
    "patch_function",
    "slurp_properties",
]

GROUPS: Final = {
    "os": ("os",),
    "select": ("select", "selectors"),
    "socket": ("socket", "ssl"),
    "thread": ("thread", "queue"),
    "time": ("time",),
    "subprocess": ("subprocess",),
}
OTHERS: Final[dict[str, Callable[[], object]]] = {
    "psycopg": patch_psycopg,
    "MySQLdb": patch_mysqldb,
    "builtins": patch_builtins,
}
ONLY_WHEN_NAMED: Final = frozenset({"MySQLdb", "builtins"})
MODULES: Final = {"thread": ("threading", "_thread", "queue"), "select": ("selectors",), "socket": ("ssl",)}
DEFAULT_PAIRS: Final = ("os", "select", "socket", "ssl", "subprocess", "_thread", "threading", "time", "queue")

already_patched: dict[str, bool] = {}


def monkey_patch(**on: bool) -> None:
    """Make the standard library green.

    With no key, or only False ones, everything but those, MySQLdb and builtins; with a True one only what is named
    (`all` stands for no key). Twice is once. Raises TypeError for an unknown key.
    """
    wanted = chosen(on)
    groups = {group: True for key in wanted for group in GROUPS.get(key, ())}
    if groups:
        core.monkey_patch(**groups)
    for key in wanted:
        if key in OTHERS and not already_patched.get(key):
            OTHERS[key]()
        already_patched.update(dict.fromkeys((key, *MODULES.get(key, ())), True))


def chosen(on: dict[str, bool]) -> list[str]:
    """Return the keys that are asked for."""
    default = on.pop("all", None)
    unknown = [key for key in on if key not in GROUPS and key not in OTHERS]
    if unknown:
        raise TypeError(f"monkey_patch() got an unexpected keyword argument {unknown[0]!r}")
    every = [key for key in (*GROUPS, *OTHERS) if key not in ONLY_WHEN_NAMED]
    named = [key for key in (*GROUPS, *OTHERS) if on.get(key)]
    if named and not default:
        return named
    return [key for key in every if on.get(key, True)] + [key for key in named if key in ONLY_WHEN_NAMED]


def is_monkey_patched(module: Any) -> bool:
    """Tell whether a module, or what has its name, or a key of `monkey_patch`, is patched."""
    name = module.__name__ if isinstance(module, ModuleType) else module
    return name in already_patched or (isinstance(name, str) and core.is_monkey_patched(name))


def original(modname: str) -> ModuleType:
    """Return a module as the standard library has it, patched or not."""
    return core.original(modname)


# -- modules on green ones


class SysModulesSaver:
    """Puts entries of `sys.modules` back as they were."""

    def __init__(self, module_names: Iterable[str] = ()) -> None:
        self._saved: dict[str, ModuleType | None] = {}
        self.save(*module_names)

    def save(self, *module_names: str) -> None:
        """Remember what stands there now."""
        for name in module_names:
            self._saved[name] = sys.modules.get(name)

    def restore(self) -> None:
        """Put it back."""
        for name, module in self._saved.items():
            if module is not None:
                sys.modules[name] = module
            else:
                sys.modules.pop(name, None)


def import_patched(module_name: str, *additional_modules: Any, **kw_additional_modules: Any) -> ModuleType:
    """Return a private copy of a module that uses green modules; the rest of the process does not see it.

    `additional_modules` are pairs of a name and the module that the copy shall find under it, as are the keywords.
    Without any it finds the green standard library.
    """
    return inject(module_name, None, *additional_modules, *kw_additional_modules.items())


def inject(module_name: str, new_globals: dict[str, Any] | None, *additional_modules: Any) -> ModuleType:
    """Do as `import_patched`, and write what the copy has into `new_globals` if that is not None."""
    module = load_on(module_name, dict(additional_modules)) if additional_modules else loaded(module_name)
    if new_globals is not None:
        new_globals.update(contents(module))
    return module


def load_on(module_name: str, found: dict[str, ModuleType]) -> ModuleType:
    """Import a module anew while it finds these modules; put `sys.modules` back as it was."""
    saver = SysModulesSaver([*found, module_name])
    try:
        sys.modules.update(found)
        sys.modules.pop(module_name, None)
        return import_module(module_name)
    finally:
        saver.restore()


def patch_function(func: Callable[..., Any], *additional_modules: Any) -> Callable[..., Any]:
    """Return a function that, while it runs, imports the green standard library, or the pairs that are given."""

    @wraps(func)
    def patched(*args: Any, **kw: Any) -> Any:
        found = dict(additional_modules) or {name: green(name) for name in DEFAULT_PAIRS}
        saver = SysModulesSaver(found)
        sys.modules.update(found)
        try:
            return func(*args, **kw)
        finally:
            saver.restore()

    return patched


def slurp_properties(
    source: Any, destination: dict[str, Any], ignore: Iterable[str] = (), srckeys: Iterable[str] | None = None
) -> None:
    """Copy the public names of a module, or those in `srckeys`, into a dictionary, but for those of `ignore`."""
    names = getattr(source, "__all__", vars(source)) if srckeys is None else srckeys
    kept_out = set(ignore)
    destination.update({name: getattr(source, name) for name in list(names) if name not in kept_out})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], before=monkey_patch))
