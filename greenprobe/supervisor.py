"""Worker processes of a server: so many at all times, replaced when they die, exchanged on request, stopped in order.

The supervisor serves nothing and has no hub: it forks, waits and signals, so there is little in it that can fail. Its
workers share the listening sockets that were opened before; who dies takes no connection with it that another has.

SIGHUP exchanges all workers: new ones are started, from new code, and when they say that they serve, the old ones are
told to stop. New ones that cannot even start change nothing. SIGTERM and SIGINT stop; a second one ends everything now.
"""

import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Final

from greenprobe.process import exit_status, flush_and_exit

__all__ = ["CANNOT_START", "LONGEST_PAUSE", "Supervisor", "WorkerLinks", "pause_before_start"]

CANNOT_START: Final = 3  # the exit status of a worker that will fail again, if it is started again
KILL_AFTER: Final = 5.0  # seconds beyond the time to stop
SHORT_LIFE: Final = 1.0  # a worker that dies sooner is started again after a pause
LONGEST_PAUSE: Final = 10.0
LONGEST_WAIT: Final = 60.0
HANDLED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


@dataclass(frozen=True)
class WorkerLinks:
    """What a worker has of its supervisor: a pipe to write to when it serves, and one that ends with the supervisor."""

    ready_fd: int
    lifeline_fd: int

    def say_ready(self) -> None:
        """Tell the supervisor that this worker serves."""
        os.write(self.ready_fd, b".")


@dataclass
class Worker:
    """A worker process, as we see it. `kill_at` is None until it was told to stop, inf once it was killed."""

    pid: int
    generation: int
    started: float
    ready_fd: int | None  # until something came from there
    is_ready: bool = False
    kill_at: float | None = None

    def listen(self) -> None:
        """Hear from a worker that it serves; or that it will never say so, having closed what we gave it."""
        if self.ready_fd is not None:
            self.is_ready = bool(os.read(self.ready_fd, 1))
            self.close()

    def close(self) -> None:
        """Listen no more."""
        if self.ready_fd is not None:
            os.close(self.ready_fd)
            self.ready_fd = None


class Supervisor:
    """Runs `work(links)` in `processes` processes until it is told to stop; what it returns is their exit status.

    `tell` is called with a line of text when something happens, `on_ready` when the first worker serves, `on_stop` when
    it begins to stop: to close listeners, so that who comes then is refused. Workers get `stop_timeout` seconds to end.
    """

    def __init__(
        self,
        work: Callable[[WorkerLinks], int],
        processes: int,
        *,
        stop_timeout: float,
        tell: Callable[[str], object],
        on_ready: Callable[[], object],
        on_stop: Callable[[], object],
    ) -> None:
        self._work = work
        self._processes = processes
        self._stop_timeout = stop_timeout
        self._tell = tell
        self._on_ready = on_ready
        self._on_stop = on_stop
        self._has_served = False
        self._workers: dict[int, Worker] = {}
        self._generation = 0
        self._failures = 0  # short lives in a row
        self._start_after = 0.0
        self._status: int | None = None  # what to end with; None: go on
        self._lifeline = os.pipe()

    def run(self) -> int:
        """Supervise until a signal says stop, or the workers cannot start; return an exit status."""
        with wakeup_pipe() as bell:
            try:
                while self._status is None or self._workers:
                    self._start_missing(bell)
                    self._wait(bell)
                    self._reap()
                    self._retire()
            finally:
                self._signal_all(signal.SIGKILL)
                for fd in self._lifeline:
                    os.close(fd)
        return self._status or 0

    # -- workers

    def _start_missing(self, bell: int) -> None:
        if self._status is not None or monotonic() < self._start_after:
            return
        present = sum(worker.generation == self._generation for worker in self._workers.values())
        try:
            for _ in range(self._processes - present):
                self._start(bell)
        except OSError as error:  # of processes, memory or descriptors there may be enough later
            self._failures += 1
            self._put_off(f"cannot start a worker: {error.strerror}; trying again")

    def _start(self, bell: int) -> None:
        reader, writer = os.pipe()
        # A signal to the child, before it has handlers of its own, would be written to our pipe: it waits for them.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        try:
            pid = os.fork()
            if not pid:
                links = WorkerLinks(writer, self._lifeline[0])
                flush_and_exit(self._be_worker(links, [reader, bell, self._lifeline[1]], mask))
            self._workers[pid] = Worker(pid, self._generation, monotonic(), reader)
        except OSError:
            os.close(reader)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.close(writer)

    def _be_worker(self, links: WorkerLinks, not_ours: list[int], mask: set[int | signal.Signals]) -> int:
        try:
            signal.set_wakeup_fd(-1)
            for signum in HANDLED:
                signal.signal(signum, signal.SIG_DFL)
            for signum in (signal.SIGINT, signal.SIGHUP):  # a terminal's go to us all: the supervisor's to pass on
                signal.signal(signum, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            for fd in not_ours:
                os.close(fd)
            for worker in self._workers.values():
                worker.close()
            return self._work(links)
        except BaseException as error:
            return exit_status(error)

    def _wait(self, bell: int) -> None:
        """Wait for signals, and for workers that say they are ready."""
        poll = select.poll()
        poll.register(bell, select.POLLIN)
        for worker in self._workers.values():
            if worker.ready_fd is not None:
                poll.register(worker.ready_fd, select.POLLIN)
        readable = {fd for fd, _ in poll.poll(self._patience() * 1000)}
        for worker in self._workers.values():
            if worker.ready_fd in readable:
                worker.listen()
                if worker.is_ready and not self._has_served:
                    self._has_served = True
                    self._on_ready()
        if bell in readable:
            for signum in os.read(bell, 1000):
                self._take_signal(signum)

    def _patience(self) -> float:
        now = monotonic()
        times = [self._start_after] if self._status is None and self._start_after > now else []
        times += [worker.kill_at for worker in self._workers.values() if worker.kill_at is not None]
        return max(0.0, min([LONGEST_WAIT, *(time - now for time in times)]))

    def _take_signal(self, signum: int) -> None:
        if signum in (signal.SIGTERM, signal.SIGINT):
            if self._status is not None:
                self._signal_all(signal.SIGKILL)
                return
            self._tell("stopping")
            self._end(130 if signum == signal.SIGINT else 0)
        elif signum == signal.SIGHUP and self._status is None:
            self._tell("reloading")
            self._generation += 1
            self._start_after = 0.0

    def _reap(self) -> None:
        while self._workers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            worker = self._workers.pop(pid, None)
            if worker is not None:
                worker.close()
                self._note_death(worker, os.waitstatus_to_exitcode(status))

    def _note_death(self, worker: Worker, code: int) -> None:
        if worker.kill_at is not None or self._status is not None:
            return
        how = f"by signal {-code}" if code < 0 else f"with status {code}"
        if code == CANNOT_START and not worker.is_ready:
            self._give_up(worker)
            return
        self._failures = self._failures + 1 if monotonic() - worker.started < SHORT_LIFE else 0
        self._put_off(f"worker {worker.pid} ended {how}; starting another")

    def _put_off(self, why: str) -> None:
        """Start no worker for a while, the longer the more of them have failed."""
        pause = pause_before_start(self._failures)
        self._start_after = monotonic() + pause
        self._tell(f"{why} in {pause:g} s" if pause else why)

    def _give_up(self, worker: Worker) -> None:
        """A worker cannot start: keep those that serve, or end if there are none."""
        serving = [other.generation for other in self._workers.values() if other.is_ready]
        if serving:
            if worker.generation == self._generation:
                self._generation = max(serving)
                self._tell("the new workers cannot start; the old ones serve on")
            return
        self._end(1)

    def _end(self, status: int) -> None:
        self._status = status
        self._on_stop()
        for worker in self._workers.values():
            self._stop(worker)

    def _retire(self) -> None:
        """Stop workers of older generations once the new ones serve; kill those whose time to stop is over.

        Those that do not serve yet are stopped at once, so that many signals start no more workers than one.
        """
        current = [worker for worker in self._workers.values() if worker.generation == self._generation]
        enough = sum(worker.is_ready for worker in current) >= self._processes
        for worker in self._workers.values():
            is_old = worker.generation < self._generation
            if worker.generation > self._generation or (is_old and (enough or not worker.is_ready)):
                self._stop(worker)
            if worker.kill_at is not None and monotonic() >= worker.kill_at:
                worker.kill_at = inf
                os.kill(worker.pid, signal.SIGKILL)

    def _stop(self, worker: Worker) -> None:
        if worker.kill_at is None:
            worker.kill_at = monotonic() + self._stop_timeout + KILL_AFTER
            os.kill(worker.pid, signal.SIGTERM)

    def _signal_all(self, signum: int) -> None:
        for pid in self._workers:
            os.kill(pid, signum)


def pause_before_start(failures: int) -> float:
    """Return the seconds to wait before a worker is started in place of one, after so many short lives in a row."""
    return min(LONGEST_PAUSE, 2.0 ** min(failures, 16) / 4) if failures else 0.0


@contextmanager
def wakeup_pipe() -> Iterator[int]:
    """Have the signals of a supervisor written to a pipe, and give its reading end."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    fd = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)  # first: what a handler alone got would be lost
    before = {signum: signal.signal(signum, lambda *_: None) for signum in HANDLED}
    try:
        yield reader
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        signal.set_wakeup_fd(fd)
        os.close(reader)
        os.close(writer)
