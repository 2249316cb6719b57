# The public names of greenprobe, for type checkers. tests/test_layers.py compares them with __init__.py.

from greenprobe.errors import (
    BrokenResourceError as BrokenResourceError,
)
from greenprobe.errors import (
    BusyError as BusyError,
)
from greenprobe.errors import (
    Cancelled as Cancelled,
)
from greenprobe.errors import (
    ClosedResourceError as ClosedResourceError,
)
from greenprobe.errors import (
    DeadlockError as DeadlockError,
)
from greenprobe.errors import (
    GreenletExit as GreenletExit,
)
from greenprobe.errors import (
    GreenprobeError as GreenprobeError,
)
from greenprobe.errors import (
    HubError as HubError,
)
from greenprobe.errors import (
    SwitchError as SwitchError,
)
from greenprobe.greenthread import (
    GreenThread as GreenThread,
)
from greenprobe.greenthread import (
    kill as kill,
)
from greenprobe.greenthread import (
    sleep as sleep,
)
from greenprobe.greenthread import (
    spawn as spawn,
)
from greenprobe.greenthread import (
    spawn_after as spawn_after,
)
from greenprobe.greenthread import (
    spawn_n as spawn_n,
)
from greenprobe.hub import Hub as Hub
from greenprobe.hub import get_hub as get_hub
from greenprobe.pool import GreenPile as GreenPile
from greenprobe.pool import GreenPool as GreenPool
from greenprobe.queue import Channel as Channel
from greenprobe.queue import LifoQueue as LifoQueue
from greenprobe.queue import PriorityQueue as PriorityQueue
from greenprobe.queue import Queue as Queue
from greenprobe.sync import (
    AsyncResult as AsyncResult,
)
from greenprobe.sync import (
    Barrier as Barrier,
)
from greenprobe.sync import (
    BoundedSemaphore as BoundedSemaphore,
)
from greenprobe.sync import (
    Condition as Condition,
)
from greenprobe.sync import (
    Event as Event,
)
from greenprobe.sync import (
    Lock as Lock,
)
from greenprobe.sync import (
    RLock as RLock,
)
from greenprobe.sync import (
    Semaphore as Semaphore,
)
from greenprobe.taskgroup import TaskGroup as TaskGroup
from greenprobe.timeout import Timeout as Timeout
from greenprobe.timeout import fail_after as fail_after
from greenprobe.timeout import move_on_after as move_on_after

__version__: str
