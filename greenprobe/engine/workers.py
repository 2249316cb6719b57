"""Greenthreads that all do the same work, and the hand-over of what they make to the one who consumes it.

Records are handed over as a list of all that were completed since the last look: a consumer is woken once for all that
the hub finished in a turn. Workers wait when the consumer is too far behind. What one of them fails with is the fault
of the program, not of a peer: it ends the run, and the consumer gets it.
"""

from collections.abc import Callable, Generator
from typing import Final, Generic, TypeVar

from greenlet import getcurrent, greenlet

from greenprobe.greenthread import kill, spawn_n
from greenprobe.hub import Hub
from greenprobe.sync import Event

__all__ = ["Workers"]

MAX_WAITING: Final = 1000  # records, for a consumer that is slower than the network

Record = TypeVar("Record")


class Workers(Generic[Record]):
    """Runs `work` in as many greenthreads as were started; iterate over `batches()`.

    `work` returns when there is nothing left, or when `crash` is set. `has_more` tells whether workers may be started
    later though there is none now. `crew` is who is at work.
    """

    __slots__ = ("_consumer", "_has_more", "_has_room", "_hub", "_is_stopped", "_records", "_work", "crash", "crew")

    def __init__(self, hub: Hub, work: Callable[..., None], *, has_more: Callable[[], bool] = lambda: False) -> None:
        self._hub = hub
        self._work = work
        self._has_more = has_more
        self.crew: set[greenlet] = set()
        self._records: list[Record] = []
        self._consumer: greenlet | None = None
        self._has_room = Event()
        self._is_stopped = False
        self.crash: Exception | None = None

    def start(self, *args: object) -> None:
        """Start one more, unless all are being stopped; `work` gets the arguments."""
        if not self._is_stopped:
            self.crew.add(spawn_n(self._run, *args))

    def leave(self, record: Record) -> None:
        """Leave a record for the consumer, however far it is behind. For workers."""
        self._records.append(record)
        if self._consumer is not None:
            self._wake_consumer()

    def hand_over(self, record: Record) -> None:
        """Leave a record for the consumer; wait if it is too far behind. For workers."""
        self._records.append(record)
        if self._consumer is not None:
            self._wake_consumer()
        elif len(self._records) >= MAX_WAITING:
            self._wait_for_room()

    def batches(self) -> Generator[list[Record], None, None]:
        """Start the first and yield records, some at a time, as they are completed, until all have ended.

        KeyboardInterrupt stops everything; what was completed before is yielded before it is raised again.
        """
        self.start()
        try:
            while (self.crew or self._records or self._has_more()) and self.crash is None:
                self._wait_for_records()
                if self._records:
                    yield self._take_records()
            if self.crash is not None:
                if self._records:
                    yield self._take_records()
                raise self.crash
        except KeyboardInterrupt:
            self._stop()
            yield self._take_records()
            raise
        finally:
            self._stop()

    def _run(self, *args: object) -> None:
        try:
            self._work(*args)
        except Exception as exc:
            self.crash = exc
        finally:
            self.crew.discard(getcurrent())
            self._wake_consumer()

    def _stop(self) -> None:
        """Kill the workers, and wait until they have put away what they hold."""
        self._is_stopped = True
        for worker in self.crew:
            kill(worker)
        while not all(worker.dead for worker in self.crew):
            self._hub.sleep()
        self.crew.clear()

    def _wait_for_records(self) -> None:
        try:
            while not self._records and (self.crew or self._has_more()) and self.crash is None:
                self._consumer = getcurrent()
                self._hub.switch()
        finally:
            self._consumer = None

    def _take_records(self) -> list[Record]:
        records, self._records = self._records, []
        self._has_room.set()
        return records

    def _wake_consumer(self) -> None:
        if self._consumer is not None:
            self._hub.schedule(self._consumer)
            self._consumer = None

    def _wait_for_room(self) -> None:
        while len(self._records) >= MAX_WAITING:
            self._has_room.clear()
            self._has_room.wait()
