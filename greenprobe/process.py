"""What a hub asks of its process: which thread this is, who handles signals, who prints failures, how it ends."""

import atexit
import os
import sys
import traceback
from _thread import _count as count_other_threads, get_native_id
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from signal import SIGINT, default_int_handler, getsignal, signal, valid_signals
from types import FrameType
from typing import Final, NoReturn

from greenlet import GreenletExit

__all__ = [
    "Interrupts",
    "end",
    "exit_status",
    "flush_and_exit",
    "has_interrupts",
    "has_signal_handlers",
    "in_main_thread",
    "interrupts_held",
    "report",
]

UNPRINTABLE: Final = (OSError, ValueError)  # a full disk, a pipe that nobody reads; a closed file


class Interrupts:
    """A SIGINT handler that notes the signal and has `deliver` called soon; a second one before that raises at once."""

    __slots__ = ("_deliver", "_soon", "pending")
    wakes_nobody = True

    def __init__(self, soon: Callable[[Callable[[], object]], object], deliver: Callable[[], object]) -> None:
        self.pending = False
        self._soon = soon
        self._deliver = deliver

    def install(self) -> None:
        """Handle SIGINT from now on, if this is the main thread and nobody but Python or another hub does."""
        handler = getsignal(SIGINT)
        if in_main_thread() and (handler is default_int_handler or isinstance(handler, Interrupts)):
            signal(SIGINT, self)

    def uninstall(self) -> None:
        """Give SIGINT back to Python, if it is still ours."""
        if getsignal(SIGINT) is self:
            signal(SIGINT, default_int_handler)

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        if self.pending:
            self.pending = False
            raise KeyboardInterrupt
        self.pending = True
        self._soon(self._take)

    def _take(self) -> None:
        if self.pending:
            self.pending = False
            self._deliver()


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Raise the KeyboardInterrupt of a Ctrl-C after the block, where a hub does not hold it back already.

    For imports: there are modules in C that crash if they are interrupted as they are set up (orjson), and callbacks of
    CPython's that swallow it.
    """
    if not in_main_thread() or getsignal(SIGINT) is not default_int_handler:
        yield
        return
    came: list[int] = []
    signal(SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal(SIGINT, default_int_handler)
    if came:
        raise KeyboardInterrupt


def in_main_thread() -> bool:
    """Tell whether this is the thread that runs signal handlers (on Linux its id is the process id)."""
    return get_native_id() == os.getpid()


def has_interrupts() -> bool:
    """Tell whether SIGINT is a hub's."""
    return isinstance(getsignal(SIGINT), Interrupts)


def has_signal_handlers() -> bool:
    """Tell whether Python code of the user's runs on some signal: it may wake a greenthread.

    Handlers of greenprobe's own say `wakes_nobody`.
    """
    handlers = (getsignal(number) for number in valid_signals())
    return any(
        callable(handler) and handler is not default_int_handler and not getattr(handler, "wakes_nobody", False)
        for handler in handlers
    )


def report(error: BaseException) -> None:
    """Print an exception that nobody asked for, as of a thread: where it cannot be printed the program goes on."""
    if sys.stderr is not None:
        with suppress(*UNPRINTABLE):
            traceback.print_exception(error, file=sys.stderr)


def exit_status(error: BaseException | None) -> int:
    """Return the status that a process ends with by `error`, which is printed if Python would print it."""
    if error is None or isinstance(error, GreenletExit):
        return 0
    if not isinstance(error, SystemExit):
        report(error)
        return 1
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    if sys.stderr is not None:
        with suppress(*UNPRINTABLE):
            sys.stderr.write(f"{error.code}\n")
    return 1


def flush_and_exit(status: int) -> NoReturn:
    """End a forked child as the last thread of a process ends: without the parent's exit handlers.

    It does end: where nobody reads our last words, or a disk is full, a child must not go on as its parent.
    """
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    finally:
        os._exit(status)


def end(status: int) -> NoReturn:
    """End a program whose work is done and closed: its exit handlers run, but nobody tidies up modules and objects.

    That would take 18 ms, a fifth of what a short run takes in all. Where other threads run, it is left to Python.
    """
    if count_other_threads():
        sys.exit(status)
    atexit._run_exitfuncs()
    flush_and_exit(status)
