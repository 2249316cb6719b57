"""The choice of a hub: eventlet has several, greenprobe one, which stands for all of them.

A name that eventlet knows is taken as what it is, a wish for its fastest hub or for asyncio beside green code. Both are
there anyway. A hub of the caller's own cannot be run, and is refused.
"""

from typing import Any, Final

from greenprobe.hub import get_hub

__all__ = ["builtin_hub_names", "get_default_hub", "use_hub"]

builtin_hub_names: Final = ("epolls", "kqueue", "poll", "selects")
KNOWN: Final = frozenset({*builtin_hub_names, "asyncio", "pyevent", "hub"})


def use_hub(mod: Any = None) -> None:
    """Make sure that this thread has its hub. `mod` is None, or what eventlet knows a hub of its own by.

    Raises NotImplementedError for any other hub.
    """
    name = mod if isinstance(mod, str) or mod is None else getattr(mod, "__name__", str(mod))
    if name is not None and name.rpartition(":")[0].rpartition(".")[2] not in KNOWN and short(name) not in KNOWN:
        raise NotImplementedError(
            f"hub {name!r}: greenprobe has one hub, on epoll, and runs no other; give none, or one of {sorted(KNOWN)}"
        )
    get_hub()


def short(name: str) -> str:
    """Return the last part of a module's or a class's name."""
    return name.rpartition(".")[2]


def get_default_hub() -> Any:
    """Return what `use_hub` takes when it is given nothing."""
    return "epolls"
