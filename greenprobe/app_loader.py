"""Find a WSGI application by its name, `package.module:object`."""

import importlib
import os
import sys
from typing import Any

from greenprobe.errors import TargetError

__all__ = ["load_app"]


def load_app(name: str) -> Any:
    """Import what `name` says: a module, a colon, an attribute (`app` if left out), `()` behind it to call it.

    Modules are looked for in the current folder, too. Raises TargetError; what a module itself raises passes through.
    """
    module_name, _, path = name.partition(":")
    path, calls = (path[:-2], True) if path.endswith("()") else (path, False)
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not is_part_of(error.name, module_name):
            raise
        told = f"there is no module or folder {module_name!r} here; write MODULE:APP, as in mysite.wsgi:app"
        raise TargetError(told) from None
    except (ValueError, TypeError):
        raise TargetError(f"{name!r} names no module; write MODULE:APP, as in mysite.wsgi:app") from None
    for attribute in (path or "app").split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError:
            raise TargetError(f"the module {module_name!r} has no {path or 'app'!r}; write {module_name}:APP") from None
    return found() if calls else found


def is_part_of(missing: str | None, wanted: str) -> bool:
    """Tell whether the module that is missing is the one that was named, or a package it is in."""
    return missing is not None and (wanted == missing or wanted.startswith(missing + "."))
