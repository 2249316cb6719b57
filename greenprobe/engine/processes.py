"""Processes that each do a part of a run: started by this one, told what to do, and read to their end.

What goes in and out is frames; the last is a report. Ctrl-C is forwarded, and what was completed before it is taken. If
this process is killed, the others end when they find their pipes closed.
"""

import os
import signal
import sys
from collections.abc import Callable, Generator, Sequence
from typing import Any, Final, Generic, TypeVar

from greenprobe.engine.frames import FrameReader, frame_of, write_frame
from greenprobe.errors import GreenprobeError
from greenprobe.greenthread import GreenThread, spawn
from greenprobe.hub import Hub
from greenprobe.lazy import Lazy
from greenprobe.queue import Queue

__all__ = ["Process", "Processes", "process_command"]

subprocess = Lazy("subprocess")

AHEAD: Final = 64  # frames that wait for a slow process
LONGEST_END_S: Final = 10.0

P = TypeVar("P", bound="Process")
Batch = TypeVar("Batch")


class Process:
    """One process. `task` is the first frame that it is sent; `report` the last that it said, None before."""

    def __init__(self, hub: Hub, command: list[str], task: object) -> None:
        # SIGINT is held back until the process can answer it; a terminal sends it to us alone, and we pass it on.
        held_back = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0, bufsize=0
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held_back)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        os.set_blocking(self.stdin.fileno(), False)
        self.frames: Queue[bytes | None] = Queue(AHEAD)
        self.statistics: Any = None
        self.report: Any = None
        self.is_over = False  # all that it said was handed over
        self._hub = hub
        self.frames.put(frame_of(task))

    def write(self) -> None:
        """Write frames as they come, until None."""
        try:
            while (frame := self.frames.get()) is not None:
                write_frame(self._hub, self.stdin.fileno(), frame)
        except BrokenPipeError:
            pass  # the process has ended: its reader tells
        finally:
            self.close_input()

    def close_input(self) -> None:
        """Tell the process that nothing more comes. A second call does nothing."""
        if not self.stdin.closed:
            self._hub.poller.forget(self.stdin.fileno())
            self.stdin.close()

    def close(self) -> None:
        """End the process if it has not ended, and let go of everything."""
        self.close_input()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(LONGEST_END_S)
        self._hub.poller.forget(self.stdout.fileno())
        self.stdout.close()


class Processes(Generic[P, Batch]):
    """Runs processes side by side. Iterate over `run()`."""

    def __init__(self, hub: Hub, processes: Sequence[P], *, what: str) -> None:
        """`what` is what the processes do, for messages."""
        self._hub = hub
        self._processes = processes
        self._what = what
        self._batches: Queue[Batch | P | GreenprobeError] = Queue(2 * len(processes))
        self._green: list[GreenThread] = []

    def run(self) -> Generator[Batch, None, None]:
        """Yield batches as they come. Raises GreenprobeError if a process ends before its time.

        KeyboardInterrupt stops all processes; what was completed before is yielded before it is raised again.
        """
        for one in self._processes:
            self._start(one.write)
            self._start(self._read, one)
        self._begin()
        try:
            try:
                yield from self._gather()
            except KeyboardInterrupt:
                for one in self._processes:
                    if one.process.poll() is None:
                        one.process.send_signal(signal.SIGINT)
                yield from self._gather()
                raise
        finally:
            self._stop()

    def _begin(self) -> None:
        """Start what feeds the processes, if anything does."""

    def _hear(self, one: P, value: Any) -> Batch | None:
        """Take what a process says; return the batch in it, if it is one. Raises GreenprobeError to end the run."""
        raise NotImplementedError

    def _start(self, function: Callable[..., None], *args: Any) -> None:
        self._green.append(spawn(function, *args))

    def _stop(self) -> None:
        for green in self._green:
            green.kill()
        for green in self._green:
            green.join()
        for one in self._processes:
            one.close()

    def _gather(self) -> Generator[Batch, None, None]:
        """Yield batches until every process has said its last."""
        while not all(one.is_over for one in self._processes):
            found = self._batches.get()
            if isinstance(found, GreenprobeError):
                raise found
            if not isinstance(found, Process):
                yield found
            elif found.report is not None:
                found.is_over = True
            else:
                code = found.process.wait(LONGEST_END_S)
                raise GreenprobeError(f"a process of the {self._what} ended early, with {code}")

    def _read(self, one: P) -> None:
        """Read what a process says, to its end."""
        try:
            for value in FrameReader(self._hub, one.stdout.fileno()).read():
                batch = self._hear(one, value)
                if batch is not None:
                    self._batches.put(batch)
        except GreenprobeError as exc:
            self._batches.put(exc)
        self._batches.put(one)


def process_command(module: str) -> list[str]:
    """Return the command that runs a module of greenprobe in a process of its own."""
    return [sys.executable, "-m", module]
