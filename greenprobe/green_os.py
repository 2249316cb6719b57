"""`os` for greenthreads: the calls that block, green, under the names that `os` has for them; and `open`.

| calls | how they wait |
| --- | --- |
| read, readv, write, writev, sendfile | park until the descriptor is ready (pipes, terminals ...); `descriptors` |
| waitpid, wait, wait3, wait4, waitid, system | park on a pidfd of the child; `children` |
| fdopen | a file object whose calls park, unless it is a regular file; `green_files` |
| open(path, mode) | a file object as of the built-in `open`; a regular file's calls are made in the thread pool |
| fork, forkpty | those of `os`: the child keeps the greenthread that forked and starts a fresh hub; see `hub.py` |

Patching leaves `os.open`, `os.posix_spawn` and the built-in `open` alone. `os.popen` and `os.spawnv` stand on these
calls and on `subprocess`, and so are green when patched.
"""

import os as stdlib
from os import fork, forkpty
from typing import Any, Final

from greenprobe.children import system, wait, wait3, wait4, waitid, waitpid
from greenprobe.descriptors import read, readv, sendfile, write, writev
from greenprobe.green_files import fdopen, open

__all__ = [
    "PATCHES",
    "fdopen",
    "fork",
    "forkpty",
    "open",
    "read",
    "readv",
    "sendfile",
    "system",
    "wait",
    "wait3",
    "wait4",
    "waitid",
    "waitpid",
    "write",
    "writev",
]


def __getattr__(name: str) -> Any:
    return getattr(stdlib, name)


PATCHES: Final[dict[Any, dict[str, Any]]] = {
    "os": {
        "fdopen": fdopen,
        "read": read,
        "readv": readv,
        "sendfile": sendfile,
        "system": system,
        "wait": wait,
        "wait3": wait3,
        "wait4": wait4,
        "waitid": waitid,
        "waitpid": waitpid,
        "write": write,
        "writev": writev,
    }
}
