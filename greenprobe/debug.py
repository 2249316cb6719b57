"""Who waits where and for what, who blocks the hub, and who switches where nobody may.

Nothing here costs anything before it is asked for: the dump reads the frames of parked greenlets, the watchdog looks in
from a thread of its own, `assert_no_switches` swaps one attribute of the hub.

How the watchdog knows
    Facts: a hub that polls says `asleep`. One that runs takes what another thread queues at its next turn. Choice: the
    watchdog queues a call, and looks again when its patience is over. If the call has not run, and the thread was in
    the same greenlet all the while (the frame at the bottom of its stack is the same), this greenlet has not switched.
    A greenthread is never blamed for a turn that many others made long. Price: nothing in the hub; its thread wakes
    LOOKS times in a period.
"""

import signal
import sys
import traceback
from _thread import allocate_lock, get_native_id, start_new_thread
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import StringIO
from os import readlink
from time import monotonic
from types import FrameType
from typing import Final, NamedTuple, Self, TextIO

from greenlet import getcurrent, greenlet

from greenprobe import hub as hubs
from greenprobe.errors import SwitchError
from greenprobe.hub import Hub, get_hub
from greenprobe.poller import Side
from greenprobe.runqueue import Refusal
from greenprobe.threadpool import WORKERS, change_helpers
from greenprobe.whereabouts import name_of, parked, where

__all__ = [
    "Blocked",
    "Watchdog",
    "allow_multiple_waiters",
    "assert_no_switches",
    "dump_on_signal",
    "format_greenthreads",
]

NO_SWITCH: Final = Refusal(SwitchError, "this would switch to another greenthread, inside assert_no_switches()")
LOOKS: Final = 4  # at the stack, in each period of a watchdog's patience


# -- the dump


def format_greenthreads() -> str:
    """Return a text that shows every greenthread of every hub of the process: what it waits for, and its stack.

    The current one comes first. Takes a look at every object the garbage collector knows: for people, not for loops.
    """
    out = StringIO()
    for hub in sorted(hubs._hubs, key=lambda hub: hub is not getattr(hubs._here, "hub", None)):
        out.write(f"{hub!r}\n")
        for green, frame in greenthreads_of(hub):
            out.write(f"\n  {name_of(green) if green is not None else 'running'}: {doing(hub, green)}\n")
            out.writelines(indented(traceback.format_stack(frame)))
        out.write("\n")
    return out.getvalue()


def greenthreads_of(hub: Hub) -> Iterator[tuple[greenlet | None, FrameType | None]]:
    """Yield each running or parked greenlet of a hub and its innermost frame; None for one that another thread runs."""
    if hub is getattr(hubs._here, "hub", None):
        yield getcurrent(), sys._getframe(2)
    else:
        frame = sys._current_frames().get(hub.thread_id)
        if frame is not None:
            yield None, frame
    for green in parked(hub.loop):
        yield green, green.gr_frame


def indented(lines: list[str]) -> Iterator[str]:
    """Indent what traceback.format_stack returns."""
    for entry in lines:
        for line in entry.splitlines():
            yield f"    {line}\n"


def doing(hub: Hub, green: greenlet | None) -> str:
    """Say what a greenlet does or waits for: a descriptor, a time, or the function it parks in."""
    if green is None or green is getcurrent():
        return "runs"
    waits = [*descriptors_waited_for(hub, green), *times_waited_for(hub, green)]
    if isinstance(hub.ready, Iterable) and green in list(hub.ready):
        waits.append("is about to run")
    return ", ".join([where(green), *waits])


def descriptors_waited_for(hub: Hub, green: greenlet) -> Iterator[str]:
    """Yield a text for each side of a descriptor that a greenlet waits for."""
    for fd, slot in list(hub.poller.slots.items()):
        for what, side in (("read", slot.read), ("write", slot.write)):
            if waits_at(side, green):
                yield f"to {what} fd {fd} ({target_of(fd)})"


def waits_at(side: Side, green: greenlet) -> bool:
    """Tell whether a greenlet waits at a side, first or in line."""
    return side.waiter is green or green in (side.line or ())


def target_of(fd: int) -> str:
    """Return what a descriptor stands for."""
    try:
        return readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return "closed"


def times_waited_for(hub: Hub, green: greenlet) -> Iterator[str]:
    """Yield a text for each timer that is for a greenlet."""
    now = hub.clock()
    for when, _, timer in sorted(hub.timers.heap, key=lambda entry: entry[:2]):
        if any(argument is green or is_side_of(argument, green) for argument in timer.args):
            yield f"for {when - now:.3f} s at most"


def is_side_of(thing: object, green: greenlet) -> bool:
    """Tell whether a timer's argument is a side of a descriptor where a greenlet waits."""
    return isinstance(thing, Side) and thing.waiter is green


def dump_on_signal(number: int = signal.SIGUSR1, file: TextIO | None = None) -> Callable[[], None]:
    """Write `format_greenthreads()` to `file` (stderr) whenever the signal comes; return a function that undoes it.

    Call it in the main thread. A dump shows where a program hangs.
    """
    before = signal.signal(number, DumpOnSignal(file))

    def undo() -> None:
        signal.signal(number, before)

    return undo


class DumpOnSignal:
    """The signal handler of `dump_on_signal`; it does not keep the hub from looking for deadlocks."""

    wakes_nobody = True

    def __init__(self, file: TextIO | None) -> None:
        self._file = file

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        print(format_greenthreads(), file=self._file if self._file is not None else sys.stderr, flush=True)


# -- the watchdog


class Blocked(NamedTuple):
    """One find of a watchdog: the place (file, line, function) that ran for at least `seconds`, and the stack."""

    filename: str
    line: int
    function: str
    seconds: float
    stack: str

    def __str__(self) -> str:
        place = f"{self.function}, {self.filename}:{self.line}"
        return f"the hub was blocked for {self.seconds:.2f} s and more by {place}\n{self.stack}"


class Watchdog:
    """Reports, from a thread of its own, each function that keeps a hub from its other greenthreads for `seconds`.

    `report` is called in that thread, once for each function; by default it writes to stderr. A context manager; the
    hub is that of the thread that makes the watchdog, unless given.
    """

    def __init__(
        self, hub: Hub | None = None, *, seconds: float = 0.1, report: Callable[[Blocked], object] | None = None
    ) -> None:
        self.hub = hub if hub is not None else get_hub()
        self.seconds = seconds
        self.report = report if report is not None else write_to_stderr
        self._known: set[tuple[str, str]] = set()
        self._stop = allocate_lock()
        self._ended = allocate_lock()

    def start(self) -> None:
        """Begin to watch. Raises RuntimeError if it watches already."""
        if not self._ended.acquire(False):
            raise RuntimeError("this watchdog is watching already")
        self._stop.acquire()
        change_helpers(1)
        start_new_thread(self._watch, ())

    def stop(self) -> None:
        """End the watch, and wait for its thread: a moment, unless `report` is at work."""
        self._stop.release()
        with self._ended:
            pass

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def _watch(self) -> None:
        WORKERS.add(get_native_id())
        try:
            while not (self._pause() or self.hub.closed):
                if not self.hub.asleep:
                    self._look()
        finally:
            WORKERS.discard(get_native_id())
            change_helpers(-1)
            self._ended.release()

    def _pause(self) -> bool:
        """Wait for a part of the patience; True if it is time to stop."""
        if self._stop.acquire(timeout=self.seconds / LOOKS):
            self._stop.release()
            return True
        return False

    def _look(self) -> None:
        """Watch a hub that runs until it turns or switches, or the patience is over."""
        turned: list[bool] = []
        began = monotonic()
        bottom = bottom_of(self._stack())
        self.hub.call_threadsafe(turned.append, True)
        while monotonic() - began < self.seconds:
            if self._pause() or turned or bottom_of(self._stack()) is not bottom:
                return
        frame = self._stack()
        if frame is not None and bottom_of(frame) is bottom and not turned:
            self._tell(frame, monotonic() - began)

    def _stack(self) -> FrameType | None:
        return sys._current_frames().get(self.hub.thread_id)

    def _tell(self, frame: FrameType, seconds: float) -> None:
        code = frame.f_code
        place = (code.co_filename, code.co_qualname)
        if place in self._known:
            return
        self._known.add(place)
        stack = "".join(traceback.format_stack(frame))
        self.report(Blocked(code.co_filename, frame.f_lineno, code.co_qualname, seconds, stack))


def bottom_of(frame: FrameType | None) -> FrameType | None:
    """Return the outermost frame of a stack: the first of its greenlet."""
    while frame is not None and frame.f_back is not None:
        frame = frame.f_back
    return frame


def write_to_stderr(blocked: Blocked) -> None:
    """Say what was found."""
    print(blocked, file=sys.stderr, flush=True)  # noqa: T201


# -- switches


@contextmanager
def assert_no_switches() -> Iterator[None]:
    """Raise SwitchError where the block, or a function it calls, would switch to another greenthread.

    For code whose correctness rests on nobody coming between. What switches by hand (`greenlet.switch`) is not seen.
    """
    hub = get_hub()
    before = hub._home, hub._hops
    hub._home, hub._hops = NO_SWITCH, 0  # neither to the loop nor past it
    try:
        yield
    finally:
        hub._home, hub._hops = before


def allow_multiple_waiters(allowed: bool = True) -> bool:
    """Let several greenthreads of this thread wait for one side of any descriptor; return what held before.

    By default the second gets BusyError: two readers of one stream each get a part of the other's message.
    """
    poller = get_hub().poller
    before, poller.share_all = poller.share_all, allowed
    return before
