"""eventlet.dagpool: greenthreads that wait for each other's results, by key: a graph that runs itself.

A value is posted once under its key, by somebody outside or as the result of a spawned function. Who waits goes through
the keys in the order in which they were posted, so everybody sees results in the order in which they came.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple

from greenlet import getcurrent

from greenprobe.compat.eventlet.greenthread import GreenThread, spawn
from greenprobe.waitqueue import WaitQueue

__all__ = ["Collision", "DAGPool", "PropagateError"]

MISSING: Final = object()


class Collision(Exception):
    """A key was spawned or posted twice."""


class PropagateError(Exception):
    """A function raised: `exc` is what, `key` is whose. Raised where that result, or what needs it, is asked for."""

    def __init__(self, key: Any, exc: BaseException) -> None:
        super().__init__(key, exc)
        self.key = key
        self.exc = exc

    def __str__(self) -> str:
        return f"PropagateError({self.key}): {type(self.exc).__name__}: {self.exc}"


class Runner(NamedTuple):
    """A spawned function that is not over: its greenthread, and the keys it was spawned to wait for."""

    greenthread: GreenThread
    pending: frozenset[Any]


class DAGPool:
    """Values by key, some there, some still being worked out. `preload` are values, or pairs, that are there."""

    def __init__(self, preload: Any = ()) -> None:
        self.values: dict[Any, Any] = {}
        self.coros: dict[Any, Runner] = {}
        self._posted: list[Any] = []  # keys, in order
        self._waiters = WaitQueue()
        for key, value in dict(preload).items():
            self.post(key, value)

    # -- spawning and posting

    def spawn(self, key: Any, depends: Any, function: Callable[..., Any], *args: Any, **kwds: Any) -> None:
        """Run `function(key, results, *args, **kwds)`; what it returns is posted under `key`.

        `results` iterates over (key, value) of the keys in `depends`, as they are posted. If the function posts under
        its own key, what it returns is dropped. Raises Collision if the key is taken.
        """
        if key in self.values or key in self.coros:
            raise Collision(key)
        pending = keys_of(depends)
        results = self._each(pending)
        self.coros[key] = Runner(spawn(self._run, function, key, results, args, kwds), pending)

    def spawn_many(self, depends: Mapping[Any, Any], function: Callable[..., Any], *args: Any, **kwds: Any) -> None:
        """Spawn one function for each key of a dictionary of dependencies."""
        for key, needs in depends.items():
            self.spawn(key, needs, function, *args, **kwds)

    def _run(
        self,
        function: Callable[..., Any],
        key: Any,
        results: Iterator[tuple[Any, Any]],
        args: tuple[Any, ...],
        kwds: dict[str, Any],
    ) -> None:
        try:
            result = function(key, results, *args, **kwds)
        except Exception as error:
            result = PropagateError(key, error)
        finally:
            if self._is_mine(key):  # and was not killed
                del self.coros[key]
        with suppress(Collision):
            self.post(key, result)

    def _is_mine(self, key: Any) -> bool:
        """Tell whether the current greenthread is the one that works a key out."""
        runner = self.coros.get(key)
        return runner is not None and runner.greenthread is getcurrent()

    def post(self, key: Any, value: Any, replace: bool = False) -> None:
        """Set a value. Raises Collision if the key has one and `replace` is not set, or somebody else works it out."""
        if (key in self.values and not replace) or (key in self.coros and not self._is_mine(key)):
            raise Collision(key)
        if key not in self.values:
            self._posted.append(key)
        self.values[key] = value
        self._waiters.wake_all()

    def kill(self, key: Any) -> None:
        """Kill the greenthread that works a key out, and forget it. Raises KeyError if there is none."""
        self.coros.pop(key).greenthread.kill()

    # -- waiting

    def wait(self, keys: Any = MISSING) -> dict[Any, Any]:
        """Wait for some keys, or for all that are known now; return their values. Raises PropagateError."""
        return dict(self.wait_each(keys))

    waitall = wait

    def wait_each(self, keys: Any = MISSING) -> Iterator[tuple[Any, Any]]:
        """Yield (key, value) of some keys, or of all that are known now, as they are posted. Raises PropagateError."""
        return self._each(self._asked_for(keys))

    def wait_each_success(self, keys: Any = MISSING) -> Iterator[tuple[Any, Any]]:
        """Do as `wait_each`, and leave out what failed."""
        return (pair for pair in self._each_raw(self._asked_for(keys)) if not isinstance(pair[1], PropagateError))

    def wait_each_exception(self, keys: Any = MISSING) -> Iterator[tuple[Any, PropagateError]]:
        """Yield (key, PropagateError) of what failed."""
        return (pair for pair in self._each_raw(self._asked_for(keys)) if isinstance(pair[1], PropagateError))

    def _asked_for(self, keys: Any) -> frozenset[Any]:
        return frozenset((*self.values, *self.coros)) if keys is MISSING else keys_of(keys)

    def _each(self, keys: frozenset[Any]) -> Iterator[tuple[Any, Any]]:
        return ((key, value_or_raise(value)) for key, value in self._each_raw(keys))

    def _each_raw(self, keys: frozenset[Any]) -> Iterator[tuple[Any, Any]]:
        left, seen = set(keys), 0
        while left:
            while seen == len(self._posted):
                self._wait_for_post(seen)
            key = self._posted[seen]
            seen += 1
            if key in left:
                left.remove(key)
                yield key, self.values[key]

    def _wait_for_post(self, seen: int) -> None:
        waiter = self._waiters.enrol()
        try:
            if seen == len(self._posted):
                waiter.wait()
        finally:
            self._waiters.withdraw(waiter)

    def __getitem__(self, key: Any) -> Any:
        """Wait for one value."""
        return dict(self._each(frozenset([key])))[key]

    # -- looking

    def get(self, key: Any, default: Any = None) -> Any:
        """Return a value if it is there, else `default`. Raises PropagateError."""
        return value_or_raise(self.values.get(key, default))

    def keys(self) -> tuple[Any, ...]:
        """Return the keys that have values."""
        return tuple(self.values)

    def items(self) -> tuple[tuple[Any, Any], ...]:
        """Return the keys that have values, with these. Raises PropagateError."""
        return tuple((key, value_or_raise(value)) for key, value in self.values.items())

    def running(self) -> int:
        """Return how many greenthreads are at work or wait."""
        return len(self.coros)

    def running_keys(self) -> tuple[Any, ...]:
        """Return the keys that greenthreads work out or wait for."""
        return tuple(self.coros)

    def waiting(self) -> int:
        """Return how many greenthreads wait for keys that are not there."""
        return len(self.waiting_for())

    def waiting_for(self, key: Any = MISSING) -> Any:
        """Return the set of keys that a key waits for; without `key` a dictionary of these sets, where there are any.

        Raises KeyError for a key that nobody has posted or spawned.
        """
        if key is MISSING:
            missing = {each: self._missing(runner) for each, runner in self.coros.items()}
            return {each: keys for each, keys in missing.items() if keys}
        if key in self.values:
            return set()
        return self._missing(self.coros[key])

    def _missing(self, runner: Runner) -> set[Any]:
        return {key for key in runner.pending if key not in self.values}


def keys_of(keys: Any) -> frozenset[Any]:
    """Return a set of keys; a text is one key."""
    return frozenset([keys] if isinstance(keys, str | bytes) or not isinstance(keys, Iterable) else keys)


def value_or_raise(value: Any) -> Any:
    """Return a value, or raise it if it stands for a failure."""
    if isinstance(value, PropagateError):
        raise value
    return value
