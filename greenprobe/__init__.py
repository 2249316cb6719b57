"""The public names of greenprobe, each loaded when it is first asked for (PEP 562).

`import greenprobe` loads nothing and changes nothing in the process. Nothing inside greenprobe imports from here.
Type checkers read `__init__.pyi`, which names the same.
"""

import sys

__version__ = "0.1.0.dev0"

_MODULES = {
    "backdoor": "Backdoor",
    "channel": "Channel",
    "condition": "Barrier Condition",
    "crawling": "crawl",
    "convenience": "connect create_connection listen serve wrap_ssl",
    "dbpool": "ConnectionPool",
    "errors": "BrokenResourceError BusyError Cancelled ClosedResourceError DeadlockError GreenletExit GreenprobeError "
    "HubError PoolTimeout StopServe SwitchError TargetError",
    "executor": "ThreadPoolExecutor",
    "greenthread": "GreenThread kill sleep spawn spawn_after spawn_n",
    "hub": "Hub get_hub",
    "green_signal": "signal",
    "objectpool": "ObjectPool",
    "outcome": "AsyncResult",
    "patcher": "PatchWarning import_patched is_monkey_patched monkey_patch original restore",
    "pool": "GreenPile GreenPool as_completed wait_any",
    "queue": "Empty Full LifoQueue PriorityQueue Queue ShutDown",
    "server": "StreamServer",
    "sync": "BoundedSemaphore Event Lock RLock Semaphore",
    "taskgroup": "TaskGroup",
    "threadpool": "ThreadPool run_in_thread",
    "timeout": "CancelScope Timeout fail_after move_on_after with_timeout",
}
_WHERE = {name: f"greenprobe.{module}" for module, names in _MODULES.items() for name in names.split()}

__all__ = ["__version__", *_WHERE]  # noqa: PLE0604 - strings, all of them


def __getattr__(name: str) -> object:
    try:
        module = _WHERE[name]
    except KeyError:
        raise AttributeError(f"module 'greenprobe' has no attribute {name!r}") from None
    __import__(module)
    value = globals()[name] = getattr(sys.modules[module], name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
