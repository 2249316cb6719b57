"""tpool."""

import threading
from typing import Any

import eventlet
from eventlet import tpool
from show import quiet, show

main = threading.get_ident()
log: list[Any] = []
ticked = threading.Event()


def where(*args: Any, **kwargs: Any) -> Any:
    return threading.get_ident() == main, args, kwargs


def fail() -> None:
    raise KeyError("in a thread")


def expire() -> None:
    raise eventlet.Timeout()


def tick() -> None:
    for _ in range(3):
        log.append("tick")
        eventlet.sleep(0.002)
    ticked.set()


show("execute", tpool.execute, where, 1, a=2)
show("raises", tpool.execute, fail)
show("timeout crosses", tpool.execute, expire)
eventlet.spawn(tick)
show("others run meanwhile", tpool.execute, ticked.wait, 10)
print(log)
inside = tpool.execute(lambda: tpool.execute(threading.get_ident) == threading.get_ident())
print("in place inside", inside)
over = threading.Event()
show("a late call", eventlet.with_timeout, 0.01, tpool.execute, over.wait, 30, timeout_value="late")
over.set()


class Thing:
    value = 5

    def __init__(self, items: Any = ()) -> None:
        self.items = list(items)

    def here(self) -> bool:
        return threading.get_ident() == main

    def child(self) -> "Thing":
        return Thing([9])

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]

    def __setitem__(self, index: int, value: Any) -> None:
        self.items[index] = value

    def __call__(self, x: int) -> int:
        return x + 1

    def __eq__(self, other: object) -> bool:
        return self.items == getattr(other, "items", other)

    def __hash__(self) -> int:
        return 7

    def __repr__(self) -> str:
        return f"Thing{self.items}"

    def __iter__(self) -> Any:
        return iter(self.items)

    def __enter__(self) -> str:
        return "entered"

    def __exit__(self, *exc: object) -> None:
        log.append(exc[0])


thing = Thing([1, 2])
proxy = tpool.Proxy(thing)
print(proxy.value, proxy.here(), proxy.here(nonblocking=True), len(proxy), proxy[1], bool(proxy), repr(proxy), str(proxy))
proxy[0] = 4
print(thing.items, proxy(1), proxy == Thing([4, 2]), hash(proxy), [each for each in proxy])
with proxy as entered:
    print(entered)
print(type(proxy.child()).__name__)
print(type(tpool.Proxy(thing, autowrap=(Thing,)).child()).__name__)
print(type(tpool.Proxy(thing, autowrap_names=("child",)).child()).__name__)
print(tpool.Proxy(Thing)([5]).items)
numbers = tpool.Proxy(iter([1, 2]))
print(next(numbers), next(numbers))
show("iterator over", next, numbers)
show("missing", getattr, proxy, "nosuch")
tpool.set_num_threads(5)
show("set_num_threads", tpool.execute, where)
tpool.killall()
show("after killall", tpool.execute, where)
tpool.killall()
tpool.set_num_threads(0)
with quiet():
    import warnings
    warnings.simplefilter("ignore")
    show("no threads", tpool.execute, where)
