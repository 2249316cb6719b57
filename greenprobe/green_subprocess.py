"""`subprocess`, green: the standard library's own code over green descriptors, files and child processes.

Facts. `subprocess` is two thousand lines, whose behaviour its tests describe and programs rely on: the repr, the kinds
of its files, warnings, races with signals, `posix_spawn` and `vfork` where they are faster. What blocks in it are
`os.read` and `os.waitpid`, its selector, its pipes, a lock, and a wait with a timeout that sleeps between two looks.
Choice. Nothing is rewritten but that wait, which parks on a pidfd instead. `PATCHES` puts the wait and green pipes into
the standard library's module, which then finds the rest green. Unpatched, this module has a copy of it, executed over
green modules, with a `Popen` that is a subclass of the standard library's, and with the standard library's exceptions.
"""

import os
import subprocess as stdlib
import time
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any, Final

from greenprobe import green_files, green_os, green_selectors
from greenprobe.children import wait_exit
from greenprobe.hub import get_hub
from greenprobe.sync import Lock

__all__ = [
    "PATCHES",
    "Popen",
    "call",
    "check_call",
    "check_output",
    "getoutput",
    "getstatusoutput",
    "popen",
    "run",
]


def __getattr__(name: str) -> Any:
    return getattr(stdlib, name)


def wait(self: Any, timeout: float | None) -> int:
    """`Popen._wait`, green. Raises TimeoutExpired."""
    deadline = None if timeout is None else get_hub().clock() + timeout
    in_time = True
    while not has_ended(self):
        if not in_time:
            raise stdlib.TimeoutExpired(self.args, timeout)  # type: ignore[arg-type]  # then there was one
        in_time = wait_exit(self.pid, deadline)
    return self.returncode  # type: ignore[no-any-return]


def has_ended(self: Any) -> bool:
    """Look, without waiting, whether the child has ended, and keep its status if so."""
    with self._waitpid_lock:
        if self.returncode is None:
            pid, status = self._try_wait(os.WNOHANG)
            if pid == self.pid:
                self._handle_exitstatus(status)
    return self.returncode is not None


# -- a copy for those who do not patch


def stand_in(module: ModuleType, **green: Any) -> SimpleNamespace:
    """Return a namespace with what a module has, and some of it green."""
    return SimpleNamespace(**{**vars(module), **green})


def copy_over(green: dict[str, Any]) -> ModuleType:
    """Execute `subprocess` once more, and give the functions of the copy these globals."""
    spec = stdlib.__spec__
    assert isinstance(spec, ModuleSpec)
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    vars(module).update(green)
    return module


SHARED: Final = "CalledProcessError CompletedProcess SubprocessError TimeoutExpired _active _cleanup".split()
_copy: Final = copy_over(
    {
        **{name: getattr(stdlib, name) for name in SHARED},
        "_PopenSelector": green_selectors.PollSelector,
        "io": green_files,
        "os": stand_in(os, **{name: getattr(green_os, name) for name in green_os.PATCHES["os"]}),
        "selectors": green_selectors,
        "threading": SimpleNamespace(Lock=Lock),
        "time": stand_in(time, sleep=lambda seconds: get_hub().sleep(seconds)),
    }
)


class Popen(stdlib.Popen[Any]):
    """`subprocess.Popen`, green."""


for _name, _member in vars(_copy.Popen).items():
    if isinstance(_member, FunctionType):
        setattr(Popen, _name, _member)
Popen._wait = wait  # type: ignore[attr-defined]
_copy.Popen = Popen  # type: ignore[attr-defined]

call, check_call, check_output, run = _copy.call, _copy.check_call, _copy.check_output, _copy.run
getoutput, getstatusoutput = _copy.getoutput, _copy.getstatusoutput


def popen(command: str, mode: str = "r", buffering: int = -1) -> Any:
    """`os.popen`, green."""
    if mode not in {"r", "w"}:
        raise ValueError(f"invalid mode {mode!r}")
    if buffering == 0:
        raise ValueError("popen() does not support unbuffered streams")
    piped = {"stdout" if mode == "r" else "stdin": stdlib.PIPE}
    make: Any = Popen
    child = make(command, shell=True, text=True, bufsize=buffering, **piped)
    return os._wrap_close(child.stdout or child.stdin, child)


PATCHES: Final[dict[Any, dict[str, Any]]] = {stdlib: {"io": green_files}, stdlib.Popen: {"_wait": wait}}
