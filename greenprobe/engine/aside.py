"""Entries that wait for their host: it has no place free, or may not be asked yet. First come, first called, by host.

Two things call the next entry of a host: a place that is left there, and a timer for the moment from which it may be
asked. Entries that are to be tried again wait for a timer of their own.
"""

from collections import deque
from collections.abc import Callable

from greenprobe.engine.politeness import Pace
from greenprobe.engine.visits import Job
from greenprobe.hub import Hub
from greenprobe.timers import Timer

__all__ = ["Aside"]


class Aside:
    """Who waits for which host. `call` takes an entry that may go now; `is_full` tells whether a host has no place."""

    def __init__(
        self, hub: Hub, pace: Pace | None, *, is_full: Callable[[str], bool], call: Callable[[Job], None]
    ) -> None:
        self._hub = hub
        self._pace = pace
        self._is_full = is_full
        self._call = call
        self._by_host: dict[str, deque[Job]] = {}
        self._timers: dict[str, Timer] = {}
        self._later = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count + self._later

    def must_wait(self, host: str) -> bool:
        """Tell whether an entry for `host` has to wait: behind others, for a place, or for its time."""
        return host in self._by_host or self._is_full(host) or self._wait(host) > 0

    def put(self, job: Job) -> None:
        """Let an entry wait for its host."""
        host = job[2].origin.key
        waiting = self._by_host.get(host)
        if waiting is None:
            waiting = self._by_host[host] = deque()
        waiting.append(job)
        self._count += 1
        self._arm(host)

    def put_later(self, job: Job, when: float) -> None:
        """Let an entry wait until `when`, then for its host."""
        self._later += 1
        self._hub.timers.add(when, self._is_time, job)

    def call_next(self, host: str) -> None:
        """A place of `host` is free, or its time has come: call who waits the longest, if both are so."""
        waiting = self._by_host.get(host)
        if waiting is None or self._is_full(host):
            return
        if self._wait(host) > 0:
            self._arm(host)
            return
        job = waiting.popleft()
        self._count -= 1
        if not waiting:
            del self._by_host[host]
        self._call(job)

    def clear(self) -> None:
        """Let nobody wait any longer."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._by_host.clear()
        self._count = self._later = 0

    def _wait(self, host: str) -> float:
        return 0.0 if self._pace is None else self._pace.ready_at(host) - self._hub.clock()

    def _arm(self, host: str) -> None:
        """Have the host's next entry called when its time comes."""
        if self._pace is None or host in self._timers:
            return
        when = self._pace.ready_at(host)
        if when > self._hub.clock():
            self._timers[host] = self._hub.timers.add(when, self._is_due, host)

    def _is_due(self, host: str) -> None:
        self._timers.pop(host, None)
        self.call_next(host)

    def _is_time(self, job: Job) -> None:
        if self._later:
            self._later -= 1
            self.put(job)
            self.call_next(job[2].origin.key)
