"""Waiting for child processes: waitpid, wait, wait3, wait4, waitid that park.

Facts. A pidfd becomes readable when its process ends, and epoll takes it. The older way is a handler of SIGCHLD that
reaps every child. Failure: whoever else waits, by WNOHANG or in another library, finds no child, and the user's own
handler of SIGCHLD is lost. Choice. No handler: who waits for one process parks on a pidfd of it and makes the real
call, with WNOHANG, in a loop as everywhere; nobody is reaped whom nobody waited for. For any child, for a process
group, and for stopped and continued ones there is no such descriptor: who waits for those has a thread of its own look
with WNOWAIT, which leaves the child to the real call.
Price: three system calls a child (pidfd_open, epoll_ctl, close); for the others a thread, which stays until a child
changes if the wait is called off.
"""

import os
from collections.abc import Callable
from typing import Any, Final, TypeVar

from greenprobe.level import Parking
from greenprobe.threadpool import ThreadPool

__all__ = ["system", "wait", "wait3", "wait4", "wait_exit", "waitid", "waitpid"]

T = TypeVar("T")

SHELL: Final = "/bin/sh"
EXITED, STOPPED, CONTINUED, NO_HANG = os.WEXITED, os.WSTOPPED, os.WCONTINUED, os.WNOHANG
MOST_WATCHERS: Final = 1 << 15  # threads that look for changes; each serves one wait

kernel_waitpid, kernel_waitid, kernel_wait3, kernel_wait4 = os.waitpid, os.waitid, os.wait3, os.wait4
pidfd_open, close, posix_spawn = os.pidfd_open, os.close, os.posix_spawn

_watchers: ThreadPool | None = None


def wait_exit(pid: int, deadline: float | None = None) -> bool:
    """Park until a process has ended (it is not reaped): True; False when `deadline`, in the hub's clock, passed."""
    try:
        handle = pidfd_open(pid)
    except ProcessLookupError:
        return True
    parking = Parking(handle, private=True)
    try:
        return parking.wait_read(deadline)
    finally:
        parking.close()
        close(handle)


def park(which: int, id: int, flags: int) -> None:
    """Park until the real call has a chance. `flags` are those of waitid: what kinds of change count."""
    if which == os.P_PID and flags == EXITED:
        wait_exit(id)
        return
    try:
        watchers().run(kernel_waitid, which, id, flags | os.WNOWAIT)
    except OSError:
        pass  # the real call says why


def watchers() -> ThreadPool:
    """Return the threads that look for changes, apart from the pool of short calls, which they would fill."""
    global _watchers
    if _watchers is None:
        _watchers = ThreadPool(MOST_WATCHERS, idle_seconds=0.5)
    return _watchers


def reap(attempt: Callable[[int], T], found: Callable[[T], object], options: int, which: int, id: int) -> T:
    """Return what `attempt(options)` would if it blocked only this greenthread."""
    if options & NO_HANG:
        return attempt(options)
    flags = EXITED | options & (STOPPED | CONTINUED)
    while True:
        result = attempt(options | NO_HANG)
        if found(result):
            return result
        park(which, id, flags)


def first(result: tuple[int, Any] | tuple[int, int, Any]) -> int:
    """Return the process of a result, 0 if there is none yet."""
    return result[0]


def whose(pid: int) -> tuple[int, int]:
    """Return what waitid calls those whom waitpid calls `pid`."""
    if pid > 0:
        return os.P_PID, pid
    if pid == -1:
        return os.P_ALL, 0
    return os.P_PGID, -pid if pid else os.getpgrp()


def waitpid(pid: int, options: int, /) -> tuple[int, int]:
    """`os.waitpid`, green."""
    return reap(lambda flags: kernel_waitpid(pid, flags), first, options, *whose(pid))


def wait() -> tuple[int, int]:
    """`os.wait`, green."""
    return waitpid(-1, 0)


def wait3(options: int) -> tuple[int, int, Any]:
    """`os.wait3`, green."""
    return reap(kernel_wait3, first, options, os.P_ALL, 0)


def wait4(pid: int, options: int) -> tuple[int, int, Any]:
    """`os.wait4`, green."""
    return reap(lambda flags: kernel_wait4(pid, flags), first, options, *whose(pid))


def waitid(idtype: int, id: int, options: int, /) -> os.waitid_result | None:
    """`os.waitid`, green."""
    if options & NO_HANG:
        return kernel_waitid(idtype, id, options)
    while True:
        result = kernel_waitid(idtype, id, options | NO_HANG)
        if result is not None:
            return result
        park(idtype, id, options & (EXITED | STOPPED | CONTINUED))


def system(command: str | bytes) -> int:
    """`os.system`, green: run a command in a shell, return its wait status. Ctrl-C reaches the caller, too."""
    return waitpid(posix_spawn(SHELL, ["sh", "-c", command], os.environ), 0)[1]
