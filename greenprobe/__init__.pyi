# The public names of greenprobe, for type checkers. tests/test_layers.py compares them with __init__.py.

from greenprobe.backdoor import Backdoor as Backdoor
from greenprobe.channel import Channel as Channel
from greenprobe.condition import Barrier as Barrier, Condition as Condition
from greenprobe.convenience import (
    connect as connect,
    create_connection as create_connection,
    listen as listen,
    serve as serve,
    wrap_ssl as wrap_ssl,
)
from greenprobe.crawling import crawl as crawl
from greenprobe.dbpool import ConnectionPool as ConnectionPool
from greenprobe.errors import (
    BrokenResourceError as BrokenResourceError,
    BusyError as BusyError,
    Cancelled as Cancelled,
    ClosedResourceError as ClosedResourceError,
    DeadlockError as DeadlockError,
    GreenletExit as GreenletExit,
    GreenprobeError as GreenprobeError,
    HubError as HubError,
    PoolTimeout as PoolTimeout,
    StopServe as StopServe,
    SwitchError as SwitchError,
    TargetError as TargetError,
)
from greenprobe.executor import ThreadPoolExecutor as ThreadPoolExecutor
from greenprobe.green_signal import signal as signal
from greenprobe.greenthread import (
    GreenThread as GreenThread,
    kill as kill,
    sleep as sleep,
    spawn as spawn,
    spawn_after as spawn_after,
    spawn_n as spawn_n,
)
from greenprobe.hub import Hub as Hub, get_hub as get_hub
from greenprobe.objectpool import ObjectPool as ObjectPool
from greenprobe.outcome import AsyncResult as AsyncResult
from greenprobe.patcher import (
    PatchWarning as PatchWarning,
    import_patched as import_patched,
    is_monkey_patched as is_monkey_patched,
    monkey_patch as monkey_patch,
    original as original,
    restore as restore,
)
from greenprobe.pool import (
    GreenPile as GreenPile,
    GreenPool as GreenPool,
    as_completed as as_completed,
    wait_any as wait_any,
)
from greenprobe.queue import (
    Empty as Empty,
    Full as Full,
    LifoQueue as LifoQueue,
    PriorityQueue as PriorityQueue,
    Queue as Queue,
    ShutDown as ShutDown,
)
from greenprobe.server import StreamServer as StreamServer
from greenprobe.sync import (
    BoundedSemaphore as BoundedSemaphore,
    Event as Event,
    Lock as Lock,
    RLock as RLock,
    Semaphore as Semaphore,
)
from greenprobe.taskgroup import TaskGroup as TaskGroup
from greenprobe.threadpool import ThreadPool as ThreadPool, run_in_thread as run_in_thread
from greenprobe.timeout import (
    CancelScope as CancelScope,
    Timeout as Timeout,
    fail_after as fail_after,
    move_on_after as move_on_after,
    with_timeout as with_timeout,
)

__version__: str
