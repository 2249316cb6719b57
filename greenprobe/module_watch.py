"""Which files a process runs from, and whether one of them has changed since."""

import os
import sys
from collections.abc import Callable
from typing import Final

from greenprobe.hub import get_hub

__all__ = ["modified_times", "watch_modules"]

INTERVAL: Final = 0.5  # seconds between looks

Times = dict[str, int]


def modified_times() -> Times:
    """Return when the source of each loaded module changed, in nanoseconds of Unix time; 0 for one that is gone."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    return {file: modified_time(file) for file in files if file}


def modified_time(file: str) -> int:
    """Return when a file changed, 0 if it is not there."""
    try:
        return os.stat(file).st_mtime_ns
    except OSError:
        return 0


def watch_modules(on_change: Callable[[], object]) -> None:
    """Call `on_change` whenever a file of a loaded module has changed; does not return. Modules may be loaded late."""
    known: Times = {}
    while True:
        now = modified_times()
        if any(known.get(file, time) != time for file, time in now.items()):
            on_change()
        known = now
        get_hub().sleep(INTERVAL)
