"""The choice of a hub: eventlet has several, greenprobe one, which stands for all of them.

A name is looked up as eventlet looks it up, so that a misspelt one is the same error. The hubs that eventlet comes with
are wishes for speed, or for asyncio beside green code; both are there anyway. A hub of the caller's own cannot be run:
it is warned of, once, and the one hub serves.
"""

import os
from importlib import import_module
from inspect import isclass
from types import ModuleType
from typing import Any, Final
from warnings import warn

import greenprobe.compat.eventlet.hubs.epolls as epolls
import greenprobe.compat.eventlet.hubs.kqueue as kqueue
import greenprobe.compat.eventlet.hubs.poll as poll
import greenprobe.compat.eventlet.hubs.selects as selects
from greenprobe.compat.eventlet.hubs.hub import Hub

__all__ = [
    "builtin_hub_modules",
    "builtin_hub_names",
    "epolls",
    "get_default_hub",
    "kqueue",
    "poll",
    "selects",
    "use_hub",
]

VARIABLE: Final = "EVENTLET_HUB"
THEIRS: Final = "eventlet.hubs."
OURS: Final = "greenprobe.compat.eventlet.hubs."

builtin_hub_names: Final = ("epolls", "kqueue", "poll", "selects")
builtin_hub_modules: Final = (epolls, kqueue, poll, selects)

_warned_of: set[Any] = set()


def use_hub(mod: Any = None) -> None:
    """Take note of the hub that a program wants: a class, a module with `Hub`, or the name of one.

    A name is one of eventlet's ("epolls", "asyncio"...), or "package.module" or "package.module:Class". None is what
    EVENTLET_HUB names, or the default. Raises what looking it up raises, and RuntimeError if it is not available or "".
    """
    if mod is None:
        mod = os.environ.get(VARIABLE) or epolls
    chosen = found(mod.strip()) if isinstance(mod, str) else mod
    if hasattr(chosen, "is_available") and not chosen.is_available():
        raise RuntimeError(f"the hub {mod!r} is not available on this system")
    hub = chosen if isclass(chosen) else chosen.Hub
    if hub is not Hub and hub not in _warned_of:
        _warned_of.add(hub)
        warn(
            f"the hub {hub.__module__}.{hub.__qualname__} is not run: greenprobe has one hub, which serves here",
            RuntimeWarning,
            stacklevel=2,
        )


def found(name: str) -> Any:
    """Return the module or the class that a name stands for."""
    if not name:
        raise RuntimeError(f"Need to specify a hub: the name is empty; give one of {', '.join(builtin_hub_names)}")
    module, _, cls = name.partition(":")
    if "." not in name and ":" not in name:
        module = OURS + name
    elif module.startswith(THEIRS):
        module = OURS + module.removeprefix(THEIRS)
    loaded = import_module(module)
    return getattr(loaded, cls) if cls else loaded


def get_default_hub() -> ModuleType:
    """Return what `use_hub` takes when it is given nothing."""
    return epolls
