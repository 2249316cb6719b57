"""eventlet.tpool: blocking calls in OS threads, over greenprobe's thread pool.

As in eventlet, a call made in a thread of the pool, while the import lock is held (the thread might need it), or with a
pool of no threads, is made in place.
"""

import os
import traceback
from _imp import lock_held
from _thread import get_ident
from collections.abc import Callable
from typing import Any, Self
from warnings import warn

from greenprobe.compat.eventlet.timeout import Timeout
from greenprobe.threadpool import ThreadPool

__all__ = ["Proxy", "execute", "killall", "set_num_threads", "setup"]

EXC_CLASSES = (Exception, Timeout)
QUIET = True  # False: print what calls in threads raise

_size: int = int(os.environ.get("EVENTLET_THREADPOOL_SIZE", "20"))
_pool: ThreadPool | None = None
_inside: set[int] = set()  # threads that make a call of ours


def set_num_threads(nthreads: int) -> None:
    """Set how many threads the pool has at most, from the next call on; 0 makes calls in place."""
    global _size
    _size = nthreads
    killall()


def setup() -> None:
    """Make the pool. Raises AssertionError for a negative number of threads; warns if there are to be none."""
    global _pool
    if _size < 0:
        raise AssertionError(f"a thread pool of {_size} threads; give 0 or more")
    if _size == 0:
        warn("a thread pool of no threads: tpool makes calls in place, and they block", RuntimeWarning, stacklevel=3)
    elif _pool is None:
        _pool = ThreadPool(_size)


def killall() -> None:
    """End the pool's threads, once they have finished what they are at; the next call makes new ones."""
    global _pool
    pool, _pool = _pool, None
    if pool is not None:
        pool.shutdown(wait=False)


def execute(meth: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call `meth(*args, **kwargs)` in a thread and wait for it; only the current greenthread waits."""
    if get_ident() in _inside or lock_held():
        return meth(*args, **kwargs)
    setup()
    if _pool is None:
        return meth(*args, **kwargs)
    return _pool.run(work, meth, args, kwargs)


def work(meth: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Make a call, in a thread of the pool."""
    me = get_ident()
    _inside.add(me)
    try:
        return meth(*args, **kwargs)
    except EXC_CLASSES:
        if not QUIET:
            traceback.print_exc()
        raise
    finally:
        _inside.discard(me)


def proxy_call(autowrap: tuple[Any, ...], f: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function in a thread; wrap what it returns in a Proxy if that is of a type in `autowrap`.

    A keyword `nonblocking` that is true makes the call in place.
    """
    if kwargs.pop("nonblocking", False):
        result = f(*args, **kwargs)
    else:
        result = execute(f, *args, **kwargs)
    return Proxy(result, autowrap) if isinstance(result, autowrap) else result


class Proxy:
    """An object whose methods are called in threads. Attributes that are not callable are handed out as they are.

    What a method returns is wrapped in turn if it is of a type in `autowrap`, or the method's name in `autowrap_names`.
    """

    def __init__(self, obj: Any, autowrap: tuple[Any, ...] = (), autowrap_names: tuple[str, ...] = ()) -> None:
        self._obj = obj
        self._autowrap = tuple(autowrap)
        self._names = tuple(autowrap_names)

    def __getattr__(self, attr_name: str) -> Any:
        attribute = getattr(self._obj, attr_name)
        if not callable(attribute):
            return attribute

        def call(*args: Any, **kwargs: Any) -> Any:
            result = proxy_call(self._autowrap, attribute, *args, **kwargs)
            return Proxy(result, self._autowrap) if attr_name in self._names else result

        return call

    def __call__(self, *a: Any, **kw: Any) -> Any:
        if "__call__" in self._names:
            return Proxy(proxy_call(self._autowrap, self._obj, *a, **kw), self._autowrap)
        return proxy_call(self._autowrap, self._obj, *a, **kw)

    def __getitem__(self, key: Any) -> Any:
        return proxy_call(self._autowrap, self._obj.__getitem__, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        proxy_call(self._autowrap, self._obj.__setitem__, key, value)

    def __copy__(self, memo: Any = None) -> Any:
        return self.__deepcopy__(memo)

    def __deepcopy__(self, memo: Any = None) -> Any:
        return self._obj.__deepcopy__(memo) if hasattr(self._obj, "__deepcopy__") else self._obj.__copy__()

    def __eq__(self, rhs: object) -> bool:
        return bool(self._obj == rhs)

    def __hash__(self) -> int:
        return hash(self._obj)

    def __repr__(self) -> str:
        return repr(self._obj)

    def __str__(self) -> str:
        return str(self._obj)

    def __len__(self) -> int:
        return len(self._obj)

    def __bool__(self) -> bool:
        return bool(self._obj)

    def __enter__(self) -> Any:
        return proxy_call(self._autowrap, self._obj.__enter__)

    def __exit__(self, *exc: object) -> Any:
        return proxy_call(self._autowrap, self._obj.__exit__, *exc)

    def __iter__(self) -> Self:
        return self if iter(self._obj) is self._obj else Proxy(iter(self._obj))  # type: ignore[return-value]

    def __next__(self) -> Any:
        ended = object()
        item = proxy_call(self._autowrap, next, self._obj, ended)
        if item is ended:
            raise StopIteration
        return item

    next = __next__
