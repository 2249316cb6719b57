"""What was taken of the standard library before it was patched: references and real locks, found and exchanged.

Facts. `from time import sleep` copies a reference into a module; a class or a function may hold one, too (an attribute,
a default value). A lock that was made before is a C object that blocks the OS thread. Neither can be changed in place.
Choice. All loaded modules are looked through for what the table replaces, by identity, and it is exchanged where it
stands. Locks are looked for from the modules inwards, through instances and containers, a few steps deep, and are
exchanged if nobody holds them: one new lock for one old, wherever that is found, the bound methods of it that a
Condition keeps included. What cannot be exchanged is reported by the names of its module and attribute.
Price. A few milliseconds where little is loaded, as a program should be that patches first.
"""

import sys
from collections import deque
from collections.abc import Callable, Iterator
from types import BuiltinMethodType, FunctionType, ModuleType
from typing import Any, Final, NamedTuple

__all__ = ["Place", "exchange_locks", "exchange_references"]

OURS: Final = ("greenprobe", "greenlet")
DEPTH: Final = 4  # steps from a module: an object, its attribute's Condition, the lock of that
LEAVES: Final = (str, bytes, int, float, complex, bool, type(None), FunctionType, ModuleType, BuiltinMethodType)
Undo = Callable[[], object]


class Place(NamedTuple):
    """Where something is: a class or a container, the attribute or key in it, and its name for people."""

    holder: Any
    key: Any
    name: str

    def put(self, value: Any) -> Undo:
        """Put `value` here; return what undoes it. Raises TypeError or AttributeError if that cannot be."""
        holder, key = self.holder, self.key
        old = self.get()
        if isinstance(holder, type):
            setattr(holder, key, value)
            return lambda: setattr(holder, key, old)
        holder[key] = value
        return lambda: holder.__setitem__(key, old)

    def get(self) -> Any:
        """Return what is here, without running any code of it."""
        return vars(self.holder)[self.key] if isinstance(self.holder, type) else self.holder[self.key]


def modules() -> Iterator[tuple[str, ModuleType]]:
    """Yield the loaded modules, but for greenprobe's own."""
    loaded: dict[str, Any] = dict(sys.modules)  # some programs put other objects there
    for name, module in loaded.items():
        if not isinstance(module, ModuleType):
            continue
        started_as = getattr(vars(module).get("__spec__"), "name", None) or name  # not "__main__" of `python -m`
        if started_as.partition(".")[0] not in OURS:
            yield name, module


# -- references


def exchange_references(new_by_id: dict[int, Any]) -> list[Undo]:
    """Exchange all references that loaded modules hold to what `new_by_id` names by its id; return what undoes it."""
    undo: list[Undo] = []
    for name, module in modules():
        for place, value in references(name, module):
            new = new_by_id.get(id(value))
            if new is not None:
                try:
                    undo.append(place.put(new))
                except (TypeError, AttributeError):
                    pass  # an attribute of a class that cannot be changed
    return undo


def references(name: str, module: ModuleType) -> Iterator[tuple[Place, Any]]:
    """Yield what a module's globals, its classes' attributes and its functions' defaults refer to."""
    for key, value in list(vars(module).items()):
        yield Place(vars(module), key, f"{name}.{key}"), value
        if isinstance(value, type) and value.__module__ == name:
            for attribute, member in list(vars(value).items()):
                yield Place(value, attribute, f"{name}.{key}.{attribute}"), member
                if isinstance(member, FunctionType):
                    yield from defaults(f"{name}.{key}.{attribute}", member)
        elif isinstance(value, FunctionType) and value.__module__ == name:
            yield from defaults(f"{name}.{key}", value)


def defaults(name: str, function: FunctionType) -> Iterator[tuple[Place, Any]]:
    """Yield the default values of a function's parameters."""
    holder = Defaults(function)
    for index, value in enumerate(list(holder)):
        yield Place(holder, index, name), value
    for key, value in (function.__kwdefaults__ or {}).items():
        yield Place(function.__kwdefaults__, key, name), value


class Defaults(list[Any]):
    """The positional default values of a function, as a list that writes through."""

    def __init__(self, function: FunctionType) -> None:
        super().__init__(function.__defaults__ or ())
        self._function = function

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(index, value)
        self._function.__defaults__ = tuple(self)


# -- locks


class Exchange(NamedTuple):
    """The outcome of `exchange_locks`: what undoes it, and the names of the locks that stayed, with the reason."""

    undo: list[Undo]
    left: list[str]


def exchange_locks(makers: dict[type, Callable[[], Any]]) -> Exchange:
    """Exchange the free locks of the types in `makers`, wherever they are reachable, for ones that the makers make."""
    new_by_id: dict[int, Any] = {}
    old_locks: list[Any] = []  # kept, so that no id is used again
    result = Exchange([], [])
    for place, value in reachable(tuple(makers)):
        method = None if type(value) in makers else value.__name__
        old = value if method is None else value.__self__
        if id(old) not in new_by_id:
            if is_held(old):
                result.left.append(f"{place.name} is held")
                continue
            old_locks.append(old)
            new_by_id[id(old)] = makers[type(old)]()
        new = new_by_id[id(old)]
        try:
            result.undo.append(place.put(new if method is None else getattr(new, method)))
        except (TypeError, AttributeError):
            result.left.append(f"{place.name} cannot be written to")
    return result


def is_held(lock: Any) -> bool:
    """Tell whether a lock of C's is held."""
    return "unlocked" not in repr(lock).partition(" ")[0]  # an RLock has no `locked` before Python 3.14


def reachable(kinds: tuple[type, ...]) -> Iterator[tuple[Place, Any]]:
    """Yield each place that refers to an object of these types, or to a method of one."""
    seen: set[int] = set()
    queue: deque[tuple[Any, str, int]] = deque((vars(module), name, 0) for name, module in modules())
    while queue:
        holder, name, depth = queue.popleft()
        for place in places(holder, name):
            value = place.get()
            if type(value) in kinds or (type(value) is BuiltinMethodType and type(value.__self__) in kinds):
                yield place, value
            elif depth < DEPTH and id(value) not in seen and may_hold_locks(value):
                seen.add(id(value))
                queue.append((value, place.name, depth + 1))


def may_hold_locks(value: Any) -> bool:
    """Tell whether to look into an object: containers, instances and classes, but for greenprobe's own."""
    kind = type(value)
    module = kind.__module__ if kind is not type else value.__module__
    return kind not in LEAVES and not (isinstance(module, str) and module.partition(".")[0] in OURS)


def places(holder: Any, name: str) -> Iterator[Place]:
    """Yield the places in an object that can be looked at without running any code of it."""
    if type(holder) is dict:
        for key in list(holder):
            yield Place(holder, key, f"{name}.{key}" if isinstance(key, str) else f"{name}[{key!r:.40}]")
    elif type(holder) in (list, deque, tuple):
        for index in range(len(holder)):
            yield Place(holder, index, f"{name}[{index}]")
    else:
        try:
            attributes = object.__getattribute__(holder, "__dict__")
        except AttributeError:
            return
        if isinstance(holder, type):
            for key in list(attributes):
                yield Place(holder, key, f"{name}.{key}")
        elif type(attributes) is dict:
            for key in list(attributes):
                yield Place(attributes, key, f"{name}.{key}")
