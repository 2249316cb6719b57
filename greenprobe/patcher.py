"""Monkey patching: the table of the standard library's names and their green versions; patch, restore, copies.

    import greenprobe
    greenprobe.monkey_patch()          # before anything else is imported

or, without touching the program, `python -m greenprobe.patcher script.py` or `-m module`.

`TABLE` says, group by group, what stands for what; each green module brings its own rows. To patch is to write these
into the modules, and to exchange what loaded modules already took from there (`stale`); each write is noted, so
`restore` takes all of it back. What cannot be exchanged is named in a `PatchWarning`.

greenprobe itself is out of reach: it binds what it blocks on by name, when it is imported, which is before this runs.
"""

import runpy
import sys
import threading
import warnings
from _thread import LockType, RLock, get_ident
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from greenprobe import (
    debug,
    drivers,
    green_lock,
    green_network,
    green_os,
    green_queue,
    green_select,
    green_selectors,
    green_semlock,
    green_signal,
    green_subprocess,
    green_thread,
    green_threading,
    green_time,
    testing,
)
from greenprobe.copies import Copies, Reloads, Rows
from greenprobe.disguise import disguise
from greenprobe.stale import exchange_locks, exchange_references
from greenprobe.threadpool import WORKERS

__all__ = [
    "TABLE",
    "PatchWarning",
    "import_patched",
    "is_monkey_patched",
    "monkey_patch",
    "original",
    "restore",
]

TABLE: Final[dict[str, list[Rows]]] = {
    "os": [green_os.PATCHES],
    "select": [green_select.PATCHES],
    "selectors": [green_selectors.PATCHES],
    "socket": [green_network.SOCKET_PATCHES],
    "ssl": [green_network.SSL_PATCHES],
    "thread": [green_thread.PATCHES, green_threading.PATCHES],
    "queue": [green_queue.PATCHES],
    "time": [green_time.PATCHES],
    "subprocess": [green_subprocess.PATCHES],
    "signal": [green_signal.PATCHES],
    "psycopg": [],  # psycopg2, too
}
ACTIONS: Final[dict[str, Callable[[], Callable[[], object]]]] = {  # what a table cannot say; each returns its undoing
    "thread": green_threading.adopt_threading,
    "signal": green_signal.adopt_handlers,
    "os": green_semlock.adopt_semaphores,
    "psycopg": drivers.adopt_drivers,
}
LOADED_FIRST: Final = (debug, testing)  # they bind what they need of the standard library as it is
HELP: Final = """usage: python -m greenprobe.patcher [-h] SCRIPT | -m MODULE [ARGUMENT ...]

Run a program with the standard library patched before its first line."""


class PatchWarning(RuntimeWarning):
    """Something took the standard library's own before it was patched, and keeps it: the message says who and what."""


_undo: list[Callable[[], object]] = []  # what takes the patches back, latest last
_patched: set[str] = set()  # groups
_originals: Rows = {}  # what stood there before
_reloads = Reloads(lambda: [rows for group in TABLE if group in _patched for rows in TABLE[group]])


# -- patch and restore


def monkey_patch(**on: bool) -> None:
    """Make the standard library green: `monkey_patch()` all of it, `monkey_patch(socket=True)` only what is named.

    The keys are those of `TABLE`; only False ones mean "all but". Patching again adds what is not patched yet. Raises
    TypeError for an unknown key. Warns (PatchWarning) of what was taken before and cannot be exchanged.
    """
    groups = [group for group in TABLE if group in chosen(on) and group not in _patched]
    left = too_late(groups)
    new_by_id: dict[int, Any] = {}
    for group in groups:
        if group in ACTIONS:
            _undo.append(ACTIONS[group]())
        for rows in TABLE[group]:
            new_by_id |= write(rows)
    _patched.update(groups)
    if groups and _reloads not in sys.meta_path:
        sys.meta_path.insert(0, _reloads)
    if new_by_id:
        _undo.extend(exchange_references(new_by_id))
    if "thread" in groups:
        exchange = exchange_locks({LockType: green_lock.allocate_lock, RLock: green_lock.RLock})
        _undo.extend(exchange.undo)
        left += [f"{place}: it blocks its whole thread" for place in exchange.left]
    for each in left:
        warnings.warn(f"patched too late for {each}; patch before anything else", PatchWarning, stacklevel=2)


def chosen(on: dict[str, bool]) -> set[str]:
    """Return the groups that are asked for."""
    unknown = [key for key in on if key not in TABLE]
    if unknown:
        raise TypeError(f"monkey_patch() knows no {unknown[0]!r}; it knows {', '.join(TABLE)}")
    named = {key for key, wanted in on.items() if wanted}
    return named or {key for key in TABLE if key not in on}


def write(rows: Rows) -> dict[int, Any]:
    """Write rows of the table into their modules and classes; return what replaces what, by id."""
    new_by_id: dict[int, Any] = {}
    for target, attributes in rows.items():
        holder = import_module(target) if isinstance(target, str) else target
        for name, new in attributes.items():
            if not hasattr(holder, name):
                continue  # another Python has it
            before = getattr(holder, name)
            _originals.setdefault(target, {})[name] = before
            green = disguise(new, before, holder.__name__)
            _undo.append(put(holder, name, green))
            if isinstance(target, str):
                new_by_id[id(before)] = green
    return new_by_id


def put(holder: Any, name: str, new: Any) -> Callable[[], object]:
    """Set an attribute; return what undoes it, even where it was inherited."""
    if name not in vars(holder):
        setattr(holder, name, new)
        return lambda: delattr(holder, name)
    before = vars(holder)[name]
    setattr(holder, name, new)
    return lambda: setattr(holder, name, before)


def restore() -> None:
    """Take all patches back: for tests. Greenthreads that wait in a patched call go on waiting there."""
    old_by_id = {
        id(getattr(import_module(target), name)): before
        for target, attributes in _originals.items()
        if isinstance(target, str)
        for name, before in attributes.items()
    }
    while _undo:
        _undo.pop()()
    exchange_references(old_by_id)  # in modules that were imported meanwhile
    sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not _reloads]
    _originals.clear()
    _patched.clear()


def is_monkey_patched(what: str | ModuleType) -> bool:
    """Tell whether a group of `TABLE`, a module or a module's name is patched."""
    name = what.__name__ if isinstance(what, ModuleType) else what
    return name in _patched or name in _originals


# -- too late


def too_late(groups: Iterable[str]) -> list[str]:
    """Return what nobody can exchange: threads that run, and classes that were derived before."""
    left = []
    if "thread" in groups:
        left += [f"the thread {each.name!r}, which runs already" for each in threading.enumerate() if is_foreign(each)]
    if "socket" in groups:
        left += [f"{cls.__module__}.{cls.__qualname__}, a class of sockets" for cls in blocking_sockets()]
    return left


def is_foreign(thread: threading.Thread) -> bool:
    """Tell whether a thread is somebody's else than the main one and greenprobe's."""
    return thread.ident != get_ident() and thread.native_id not in WORKERS  # a fork leaves an old native_id


def blocking_sockets() -> Iterable[type]:
    """Yield the subclasses of the standard library's socket that are not green."""
    for cls in green_network.PLAIN.__subclasses__():
        if cls.__module__ not in {"ssl", "greenprobe.green_socket"}:
            yield cls


# -- originals and private copies


_green_copies: Copies | None = None
_original_copies: Copies | None = None


def original(name: str) -> ModuleType:
    """Return a module as the standard library has it: itself if nothing is patched, else a copy that is not."""
    global _original_copies
    if not _patched:
        return import_module(name)
    if _original_copies is None:
        _original_copies = Copies([_originals])
    return _original_copies.get(name)


def import_patched(name: str, *also: str) -> ModuleType:
    """Return a private copy of a module that uses the patched standard library; nobody else sees either.

    The whole package of `name` is private, and those in `also` (say what else it connects with: "requests",
    "urllib3"), and the standard library's own clients and servers. No other thread may import meanwhile.
    """
    global _green_copies
    if _green_copies is None:
        _green_copies = Copies([rows for group in TABLE.values() for rows in group])
    return _green_copies.load(name, {each.partition(".")[0] for each in (name, *also)})


# -- running a program patched


def main(words: list[str]) -> None:
    """Run `SCRIPT [ARGUMENT ...]` or `-m MODULE [ARGUMENT ...]` as Python would, patched."""
    if words[:1] in (["-h"], ["--help"]):
        sys.stdout.write(HELP + "\n")
        return
    if not words or (words[0].startswith("-") and (words[0] != "-m" or len(words) < 2)):
        sys.exit(usage_error("give a script or -m and a module" if len(words) < 2 else f"unknown option {words[0]}"))
    monkey_patch()
    if words[0] == "-m":
        sys.path.insert(0, "")
    if missing := what_is_missing(words):
        sys.exit(usage_error(missing))
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        sys.path.insert(0, str(Path(words[0]).resolve().parent))
        runpy.run_path(words[0], run_name="__main__")


def what_is_missing(words: list[str]) -> str:
    """Say which file or module is not there of what is to be run; "" if it is."""
    if words[0] != "-m":
        path = Path(words[0])
        if path.is_dir() and not (path / "__main__.py").exists():
            return f"there is no __main__.py in {words[0]!r}"
        return "" if path.exists() else f"there is no file {words[0]!r}"
    name = words[1]
    try:
        found = find_spec(name) is not None
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        found = False
    return "" if found else f"there is no module {name!r}"


def usage_error(text: str) -> int:
    """Say what is wrong with the command line; return the exit status."""
    sys.stderr.write(f"greenprobe.patcher: {text}\n{HELP.splitlines()[0]}\n")
    return 2


if __name__ == "__main__":
    sys.modules["greenprobe.patcher"] = sys.modules["__main__"]  # the program may ask it what is patched
    main(sys.argv[1:])
