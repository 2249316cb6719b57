"""eventlet.debug: what the hub waits for, who blocks it, and a trace of every line."""

import gc
import linecache
import os
import re
import signal
import sys
import traceback
from collections.abc import Iterable
from types import FrameType
from typing import Any, Final, Self

from greenlet import greenlet

from greenprobe.compat.eventlet import tpool
from greenprobe.compat.eventlet.hubs.hub import FdListener, get_hub
from greenprobe.debug import format_greenthreads
from greenprobe.hub import get_hub as get_core
from greenprobe.whereabouts import where

__all__ = [
    "Spew",
    "format_asyncio_info",
    "format_hub_listeners",
    "format_hub_timers",
    "format_threads_info",
    "hub_blocking_detection",
    "hub_exceptions",
    "hub_listener_stacks",
    "hub_prevent_multiple_readers",
    "hub_timer_stacks",
    "spew",
    "tpool_exceptions",
    "unspew",
]

WORDS: Final = re.compile(r"\W+")


# -- a trace of every line


class Spew:
    """A trace function that prints each line that runs, and the values of the names in it.

    `trace_names` are the only modules to trace, or None for all.
    """

    def __init__(self, trace_names: Iterable[str] | None = None, show_values: bool = True) -> None:
        self.trace_names = None if trace_names is None else set(trace_names)
        self.show_values = show_values

    def __call__(self, frame: FrameType, event: str, arg: Any) -> Self:
        if event == "line":
            name = frame.f_globals.get("__name__", "[unknown]")
            if self.trace_names is None or name in self.trace_names:
                self._print(frame, name)
        return self

    def _print(self, frame: FrameType, name: str) -> None:
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno, frame.f_globals).rstrip()
        sys.stdout.write(f"{name}:{frame.f_lineno}: {line}\n")
        if self.show_values:
            values = {**frame.f_globals, **frame.f_locals}
            known = [word for word in dict.fromkeys(WORDS.split(line)) if word in values]
            if known:
                sys.stdout.write("\t" + " ".join(f"{word}={values[word]!r}" for word in known) + "\n")


def spew(trace_names: Iterable[str] | None = None, show_values: bool = False) -> None:
    """Print each line that runs from now on, in functions that are called from now on."""
    sys.settrace(Spew(trace_names, show_values))


def unspew() -> None:
    """End `spew`."""
    sys.settrace(None)


# -- what the hub waits for


def format_hub_listeners() -> str:
    """Return who waits for a descriptor, a line each: readers, then writers."""
    hub = get_hub()
    return "\n".join(
        [
            f"READERS: {len(hub.get_readers())}",
            *(shown(listener) for listener in hub.get_readers()),
            f"WRITERS: {len(hub.get_writers())}",
            *(shown(listener) for listener in hub.get_writers()),
        ]
    )


_listener_stacks = False
_timer_stacks = False


def shown(listener: FdListener) -> str:
    """Return a line for a listener, and its stack if `hub_listener_stacks` says so."""
    waiter = getattr(listener.cb, "__self__", None)
    if not isinstance(waiter, greenlet):
        return repr(listener)
    line = f"{listener.evtype} fd {listener.fileno}: {waiter!r} {where(waiter)}"
    if not _listener_stacks or waiter.gr_frame is None:
        return line
    return line + "\n" + "".join(traceback.format_stack(waiter.gr_frame)).rstrip()


def format_hub_timers() -> str:
    """Return which timers run, a line each, with the seconds until they fire."""
    core = get_core()
    now = core.clock()
    lines = [f"TIMERS: {len(core.timers)}"]
    for when, _, timer in sorted(core.timers.heap, key=lambda entry: entry[:2]):
        if not timer.pending:
            continue
        lines.append(f"{when - now:.6f} s: {timer!r}")
        if _timer_stacks:
            lines += stacks_of(timer.args)
    return "\n".join(lines)


def stacks_of(things: Iterable[object]) -> list[str]:
    """Return the stacks of the parked greenlets among some things."""
    frames = [thing.gr_frame for thing in things if isinstance(thing, greenlet) and thing.gr_frame is not None]
    return ["".join(traceback.format_stack(frame)).rstrip() for frame in frames]


def hub_listener_stacks(state: bool = False) -> None:
    """Have `format_hub_listeners` show the stack of each greenthread that waits, or not."""
    global _listener_stacks
    _listener_stacks = state


def hub_timer_stacks(state: bool = False) -> None:
    """Have `format_hub_timers` show the stack of each greenthread that a timer will wake, or not."""
    global _timer_stacks
    _timer_stacks = state


def format_threads_info() -> str:
    """Return the stacks of all OS threads and of all greenthreads of this process."""
    lines = []
    for ident, frame in sys._current_frames().items():
        lines += [f"OS thread {ident}:", "".join(traceback.format_stack(frame)).rstrip()]
    return "\n".join([*lines, "greenthreads:", format_greenthreads()])


def format_asyncio_info() -> str:
    """Return the stacks of all asyncio tasks of this process."""
    tasks = [thing for thing in gc.get_objects() if type(thing).__name__ == "Task" and hasattr(thing, "get_stack")]
    lines = [f"TASKS: {len(tasks)}"]
    for task in tasks:
        lines.append(repr(task))
        lines += ["".join(traceback.format_stack(frame, 1)).rstrip() for frame in task.get_stack()]
    return "\n".join(lines)


# -- switches


def hub_exceptions(state: bool = True) -> None:
    """Print what greenthreads and timers die of, or not."""
    get_hub().set_timer_exceptions(state)


def tpool_exceptions(state: bool = False) -> None:
    """Print what calls in the thread pool raise, or not."""
    tpool.QUIET = not state


def hub_prevent_multiple_readers(state: bool = True) -> None:
    """Refuse a second greenthread that waits for one side of one descriptor, or allow it."""
    get_hub().prevent_multiple_readers(state)


def hub_blocking_detection(state: bool = False, resolution: float = 1) -> None:
    """Raise RuntimeError in code that has kept the hub from turning for `resolution` seconds; in the main thread only.

    Uses SIGALRM, so not for production; `greenprobe.debug.Watchdog` reports the same and raises nothing.
    """
    global _detector
    if _detector is not None:
        _detector.stop()
        _detector = None
    if state:
        _detector = Detector(resolution)
        _detector.start()


class Detector:
    """Asks the hub to put an alarm off at each of its turns, `resolution` seconds on."""

    def __init__(self, resolution: float) -> None:
        self._seconds = resolution
        self._core = get_core()
        self._before: Any = signal.SIG_DFL
        self._timer: Any = None

    def start(self) -> None:
        """Take SIGALRM over."""
        self._before = signal.signal(signal.SIGALRM, self._blocked)
        self._turn()

    def stop(self) -> None:
        """Give SIGALRM back."""
        if self._timer is not None:
            self._timer.cancel()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)

    def _turn(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, self._seconds)
        self._timer = self._core.timers.add(self._core.clock() + self._seconds / 4, self._turn)

    def _blocked(self, signum: int, frame: FrameType | None) -> None:
        stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
        sys.stderr.write(f"the hub of process {os.getpid()} was blocked for {self._seconds} s:\n{stack}")
        raise RuntimeError(f"this kept the hub from other greenthreads for {self._seconds} s")


_detector: Detector | None = None
