"""CPython's own tests of locks (`test.lock_tests`), run on ours, with greenthreads in place of its threads.

Its module is loaded anew with five names exchanged: what starts a thread, who the current one is, and the clock (which
jumps, so that its pauses take no time). A Python without the package `test` skips these.
"""

import importlib.util
import threading
import time
import unittest
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from greenlet import getcurrent

from greenprobe.condition import Barrier, Condition
from greenprobe.greenthread import sleep, spawn
from greenprobe.hub import get_hub
from greenprobe.sync import BoundedSemaphore, Event, Lock, RLock, Semaphore
from greenprobe.testing import JumpClock


def ours(name: str, like: Any, **changes: Any) -> SimpleNamespace:
    """Return a stand-in for a module, with some of its names changed."""
    return SimpleNamespace(**{**vars(like), "__name__": name, **changes})


def start_greenthread(function: Callable[..., Any], args: tuple[Any, ...]) -> int:
    return id(spawn(function, *args))


def sleeping_retry(seconds: float, *_: object) -> Iterator[None]:
    deadline = get_hub().clock() + seconds
    while get_hub().clock() < deadline:
        yield
        sleep(0.01)
    raise AssertionError(f"not in {seconds} s")


def load() -> ModuleType | None:
    """Return `test.lock_tests` on greenthreads, or None if this Python has none."""
    try:
        spec = importlib.util.find_spec("test.lock_tests")
    except ModuleNotFoundError:
        return None
    if spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    idle = {"threading_setup": lambda: (0, 0), "threading_cleanup": lambda *_: None}
    helper = vars(module)["threading_helper"]
    changed = {
        "start_new_thread": start_greenthread,
        "threading": ours("threading", threading, get_ident=lambda: id(getcurrent())),
        "time": ours("time", time, sleep=sleep, monotonic=lambda: get_hub().clock()),
        "support": ours("support", vars(module)["support"], sleeping_retry=sleeping_retry),
        "threading_helper": ours("helper", helper, wait_threads_exit=lambda *_: nullcontext(), **idle),
    }
    vars(module).update(changed)
    return module


CASES: dict[str, dict[str, type]] = {
    "LockTests": {"locktype": Lock},
    "RLockTests": {"locktype": RLock},
    "EventTests": {"eventtype": Event},
    "ConditionTests": {"condtype": Condition},
    "SemaphoreTests": {"semtype": Semaphore},
    "BoundedSemaphoreTests": {"semtype": BoundedSemaphore},
    "BarrierTests": {"barriertype": Barrier},
}

REPR = "asks for a repr with a module's name of one word, and ours says greenprobe's own things"
DIFFERENT = {  # what of it does not hold for ours, and why
    "EventTests.test_repr": REPR,
    "SemaphoreTests.test_repr": REPR,
    "BoundedSemaphoreTests.test_repr": REPR,
    "BarrierTests.test_repr": REPR,
    "EventTests.test_at_fork_reinit": "reaches for the private Condition that the standard library's Event is made of",
}


def each_test() -> Iterator[Any]:
    """Yield one parameter for each of CPython's tests: a function that makes it."""
    module = load()
    if module is None:
        yield pytest.param(None, "", marks=pytest.mark.skip("this Python comes without its tests"))
        return
    for name, types in CASES.items():
        case: Any = type(name, (getattr(module, name),), {key: staticmethod(kind) for key, kind in types.items()})
        for method in unittest.defaultTestLoader.getTestCaseNames(case):
            reason = DIFFERENT.get(f"{name}.{method}")
            marks = [] if reason is None else [pytest.mark.xfail(reason=reason)]
            yield pytest.param(case, method, id=f"{name}.{method}", marks=marks)


@pytest.mark.parametrize(("case", "method"), list(each_test()))
def test_of_cpython_holds(clock: JumpClock, case: Callable[[str], unittest.TestCase], method: str) -> None:
    result = unittest.TestResult()
    case(method).run(result)
    for _, text in result.failures + result.errors:
        pytest.fail(text, pytrace=False)
    for _, why in result.skipped:
        pytest.skip(why)
