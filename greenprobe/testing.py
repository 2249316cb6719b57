"""What tests of green code need: a clock that jumps, other run orders, "all are blocked", leak checks, a hub a test.

Names that fixtures build on: `fresh_hub`, `JumpClock`, `RandomOrder`, `LifoOrder`, `PriorityOrder`,
`wait_all_blocked`, `assert_no_leaks`, `Leaks`. A typical set of pytest fixtures:

    @pytest.fixture
    def hub():
        with assert_no_leaks(), fresh_hub() as hub:
            yield hub

    @pytest.fixture
    def clock(hub):
        with JumpClock() as clock:
            yield clock

Nothing here changes what code does; it changes when it runs, and what time it is then. A test that passes only in one
order, or only if something takes long enough, fails under `RandomOrder` or `JumpClock`.
"""

import gc
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from random import Random
from time import monotonic, sleep as real_sleep
from types import TracebackType
from typing import Any, Final, Self
from weakref import WeakSet

from greenlet import getcurrent, greenlet

from greenprobe import hub as hubs
from greenprobe.errors import HubError
from greenprobe.hub import Hub, get_hub
from greenprobe.process import in_main_thread
from greenprobe.runqueue import IdlePolicy, RunQueue
from greenprobe.threadpool import WORKERS
from greenprobe.whereabouts import name_of, parked, where

__all__ = [
    "JumpClock",
    "Leaks",
    "LifoOrder",
    "PriorityOrder",
    "RandomOrder",
    "assert_no_leaks",
    "fresh_hub",
    "wait_all_blocked",
]

GRACE: Final = 0.001  # seconds that what is under way in the kernel gets before a wait for a descriptor counts as idle
FOREVER: Final = -1.0
SETTLING_TURNS: Final = 100  # of the run queue, for greenthreads that are about to end by themselves
SETTLING_SECONDS: Final = 1.0  # for threads that are about to end: they are in /proc, and have hubs, to the last


# -- a hub a test


@contextmanager
def fresh_hub() -> Iterator[Hub]:
    """Give the current thread a hub of its own for a block, and the old one back after it.

    Use it in the main greenlet of the thread. What is still parked on the new hub at the end never runs again. No turn
    ends by the clock there (`Hub.slice`), so that a busy machine does not change the order.
    """
    if getcurrent().parent is not None:
        raise HubError("fresh_hub() works in a thread's main greenlet only: that is where a hub's loop is rooted")
    here = hubs._here
    before = dict(here.__dict__)  # holds on to the old hub's guard, which would close it
    handler = signal.getsignal(signal.SIGINT)
    hub = hubs._settle(Hub())
    hub.slice = inf
    try:
        yield hub
    finally:
        hub.close()
        here.__dict__.clear()
        here.__dict__.update(before)
        if in_main_thread() and signal.getsignal(signal.SIGINT) is not handler and handler is not None:
            signal.signal(signal.SIGINT, handler)


# -- time


class JumpClock:
    """A clock for the current hub that stands still while anybody runs, and jumps when everybody waits.

    When nobody can run, no descriptor stirs and nothing is expected from outside (a job in the thread pool), it jumps
    to the next deadline. It starts at 0, so a test reads `assert clock.now() == 30`. Enter it before anything that
    takes time is started: deadlines of the real clock mean nothing to it. `grace` is how long, in real seconds, a
    descriptor that is waited for may stay silent before a jump; a peer in another process needs more than GRACE.
    """

    def __init__(self, start: float = 0.0, *, grace: float = GRACE) -> None:
        self._now = start
        self._grace = grace
        self._hub: Hub | None = None
        self._before: tuple[Callable[[], float], IdlePolicy | None] = (monotonic, None)

    def __repr__(self) -> str:
        return f"<JumpClock {self._now}>"

    def now(self) -> float:
        """Return the time; what `hub.clock()` says while the clock is installed."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move on by hand. What is due then runs at the hub's next turn."""
        self._now += seconds

    def __enter__(self) -> Self:
        hub = get_hub()
        for timer in running(hub):
            raise HubError(f"{timer!r} runs on the real clock; enter JumpClock first")
        self._hub = hub
        self._before = (hub.clock, hub.idle_policy)
        hub.clock = self.now
        hub.idle_policy = self
        return self

    def __exit__(self, *exc_info: object) -> None:
        hub = self._hub
        assert hub is not None
        hub.clock, inner = self._before
        if isinstance(hub.idle_policy, AllBlocked):
            hub.idle_policy.inner = inner
        else:
            hub.idle_policy = inner
        self._hub = None

    def patience(self, seconds: float) -> float:
        """Tell the hub how long to poll, in real seconds."""
        hub = self._hub
        assert hub is not None
        if hub.timers.next_deadline() is None:
            return seconds
        if hub.expected:
            return FOREVER
        return self._grace if hub.poller.has_waiters() else 0

    def idle(self) -> bool:
        """Jump to the next deadline, if there is one to jump to."""
        hub = self._hub
        assert hub is not None
        deadline = hub.timers.next_deadline()
        if deadline is None or hub.expected:
            return False
        self._now = max(self._now, deadline)
        return True


def running(hub: Hub) -> Iterator[object]:
    """Yield the live timers of a hub, less those that sides of descriptors keep after their wait is over."""
    for _, _, timer in hub.timers.heap:
        callback = timer.callback
        if callback is not None and getattr(callback, "__func__", None) is not Hub._expire:
            yield timer


class AllBlocked:
    """The idle policy that ends `wait_all_blocked`; it stands before whatever policy there was, and goes away."""

    def __init__(self, hub: Hub) -> None:
        self.inner = hub.idle_policy
        self.waiters: list[greenlet] = []
        self.over = False
        self._hub = hub

    def patience(self, seconds: float) -> float:
        """Poll no longer than GRACE: sleeping greenthreads count as blocked."""
        if not self._hub.poller.has_waiters():
            return 0
        return GRACE if seconds < 0 else min(GRACE, seconds)

    def idle(self) -> bool:
        """Wake who waits for this moment."""
        self.over = True
        self.leave()
        for waiter in self.waiters:
            self._hub.schedule(waiter)
        return True

    def leave(self) -> None:
        """Give the place back to the policy before."""
        if self._hub.idle_policy is self:
            self._hub.idle_policy = self.inner


def wait_all_blocked() -> None:
    """Wait until every other greenthread of this hub is parked, and nothing is on its way to one of them.

    Greenthreads that sleep, or wait for a job in a thread, are parked, too. Several may wait here; all are woken.
    """
    hub = get_hub()
    policy = hub.idle_policy
    if not isinstance(policy, AllBlocked):
        policy = AllBlocked(hub)
        hub.idle_policy = policy
    me = getcurrent()
    policy.waiters.append(me)
    try:
        while not policy.over:
            hub.switch()
    finally:
        policy.waiters.remove(me)
        if not policy.waiters:
            policy.leave()


# -- order


class Order:
    """A run queue that, as a context manager, orders the current hub's greenthreads for a block."""

    _hub: Hub
    _before: RunQueue
    _slice: float

    def __enter__(self) -> Self:
        self._hub = hub = get_hub()
        self._before = hub.ready
        self._slice, hub.slice = hub.slice, inf
        hub.set_order(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is not None:
            error.add_note(f"greenthreads ran in this order: {self!r}")
        self._hub.set_order(self._before)
        self._hub.slice = self._slice

    def append(self, item: Any, /) -> object:
        """Queue what has a `switch()`. Atomic."""
        raise NotImplementedError

    def popleft(self) -> Any:
        """Take the next one out."""
        raise NotImplementedError

    def remove(self, item: Any, /) -> None:
        """Take an item out. Raises ValueError if it is not queued."""
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError


class RandomOrder(Order):
    """Run ready greenthreads in an order that `seed` alone determines: shakes out who relied on an order.

    An exception that leaves the block gets a note that names the seed.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._random = Random(seed).random
        self._items: list[Any] = []
        self.append = self._items.append  # type: ignore[method-assign]  # atomic, and no call of ours between
        self.remove = self._items.remove  # type: ignore[method-assign]

    def __repr__(self) -> str:
        return f"RandomOrder({self.seed})"

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def popleft(self) -> Any:
        """Take one out; a list's pop is atomic, whatever other threads append meanwhile."""
        return self._items.pop(int(self._random() * len(self._items)))


class LifoOrder(Order):
    """Run who became ready last first. A greenthread that calls `sleep(0)` for ever starves the others."""

    def __init__(self) -> None:
        self._items: list[Any] = []
        self.append = self._items.append  # type: ignore[method-assign]
        self.remove = self._items.remove  # type: ignore[method-assign]

    def __repr__(self) -> str:
        return "LifoOrder()"

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def popleft(self) -> Any:
        """Take out what came last."""
        return self._items.pop()


class PriorityOrder(Order):
    """Run whoever's `key(greenlet)`, a number, is least first; equal ones as they came. The hub's own calls go first.

    The key is taken when the greenlet is queued.
    """

    def __init__(self, key: Callable[[greenlet], float]) -> None:
        self._key = key
        self._items: list[tuple[float, int, Any]] = []
        self._numbers = count()

    def __repr__(self) -> str:
        return f"PriorityOrder({self._key!r})"

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Any]:
        return (item for _, _, item in sorted(self._items, key=lambda entry: entry[:2]))

    def append(self, item: Any, /) -> object:
        """Queue by key; a heap of numbers is changed without leaving C, so this is atomic."""
        key = self._key(item) if isinstance(item, greenlet) else float("-inf")
        heappush(self._items, (float(key), next(self._numbers), item))
        return None

    def popleft(self) -> Any:
        """Take out what has the least key."""
        return heappop(self._items)[2]

    def remove(self, item: Any, /) -> None:
        """Take an item out; what other threads queue meanwhile finds its place with the rest."""
        self._items.remove(next((entry for entry in self._items[:] if entry[2] is item), (0.0, -1, None)))
        heapify(self._items)


# -- leaks


class Leaks:
    """What was alive at one moment: parked greenthreads of this thread, OS threads, descriptors.

    Idle threads of a thread pool are not counted: they end by themselves.
    """

    def __init__(self) -> None:
        hub = get_hub()  # before looking: it has descriptors of its own
        self.greenthreads: WeakSet[greenlet] = WeakSet(parked(hub.loop))
        self.threads = threads()
        self.descriptors = descriptors()

    def since(self) -> list[str]:
        """Say, a line each, what is alive now and was not then."""
        gc.collect()
        greens = [green for green in parked(get_hub().loop) if green not in self.greenthreads]
        lines = [f"greenthread {name_of(green)} {where(green)}" for green in greens if green is not getcurrent()]
        lines += [f"thread {tid} ({thread_name(tid)})" for tid in sorted(threads() - self.threads)]
        lines += [f"descriptor {fd} ({target})" for fd, target in sorted(descriptors() - self.descriptors)]
        return lines


@contextmanager
def assert_no_leaks() -> Iterator[Leaks]:
    """Raise AssertionError after the block if it left greenthreads parked, threads running, or descriptors open.

    What is about to end gets some turns of the hub to do so. A block that raises is not checked.
    """
    before = Leaks()
    yield before
    hub = get_hub()
    for _ in range(SETTLING_TURNS):
        hub.sleep(0)
    leaks = before.since()
    patience = monotonic() + SETTLING_SECONDS
    while leaks and not leaks[0].startswith("greenthread ") and monotonic() < patience:
        real_sleep(0.001)
        leaks = before.since()
    if leaks:
        raise AssertionError("left behind:\n  " + "\n  ".join(leaks))


def threads() -> frozenset[int]:
    """Return the kernel's ids of this process's threads, less those of thread pools."""
    return frozenset(map(int, os.listdir("/proc/self/task"))) - WORKERS


def thread_name(tid: int) -> str:
    """Return a thread's name in the kernel."""
    try:
        with open(f"/proc/self/task/{tid}/comm", encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return "ended"


def descriptors() -> frozenset[tuple[int, str]]:
    """Return the open descriptors and what each stands for."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add((int(name), os.readlink(f"/proc/self/fd/{name}")))
        except OSError:
            pass  # the one that listed the folder
    return frozenset(found)
