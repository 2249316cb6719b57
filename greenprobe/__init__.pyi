# The public names of greenprobe, for type checkers. tests/test_layers.py compares them with __init__.py.

from greenprobe.condition import Barrier as Barrier, Condition as Condition
from greenprobe.convenience import (
    connect as connect,
    create_connection as create_connection,
    listen as listen,
    serve as serve,
    wrap_ssl as wrap_ssl,
)
from greenprobe.errors import (
    BrokenResourceError as BrokenResourceError,
    BusyError as BusyError,
    Cancelled as Cancelled,
    ClosedResourceError as ClosedResourceError,
    DeadlockError as DeadlockError,
    GreenletExit as GreenletExit,
    GreenprobeError as GreenprobeError,
    HubError as HubError,
    StopServe as StopServe,
    SwitchError as SwitchError,
)
from greenprobe.greenthread import (
    GreenThread as GreenThread,
    kill as kill,
    sleep as sleep,
    spawn as spawn,
    spawn_after as spawn_after,
    spawn_n as spawn_n,
)
from greenprobe.hub import Hub as Hub, get_hub as get_hub
from greenprobe.outcome import AsyncResult as AsyncResult
from greenprobe.pool import GreenPile as GreenPile, GreenPool as GreenPool
from greenprobe.queue import Channel as Channel, LifoQueue as LifoQueue, PriorityQueue as PriorityQueue, Queue as Queue
from greenprobe.server import StreamServer as StreamServer
from greenprobe.sync import (
    BoundedSemaphore as BoundedSemaphore,
    Event as Event,
    Lock as Lock,
    RLock as RLock,
    Semaphore as Semaphore,
)
from greenprobe.taskgroup import TaskGroup as TaskGroup
from greenprobe.timeout import Timeout as Timeout, fail_after as fail_after, move_on_after as move_on_after

__version__: str
