"""The scan: greenthreads that take the next target, connect, and say what the port is.

A worker is a loop with one socket. A probe that is answered at once never leaves it, so on a near host one worker does
all the work and nobody switches; only when a worker has to wait is another one hired, as far as the window of `Timing`
goes. So there are as many greenthreads as connects under way, and no queue, timer or object a probe.

What we run out of (descriptors, local ports, memory) is never a state: the worker keeps its target, tells `Timing`,
waits and tries again. Only if nothing at all goes forward for PATIENCE seconds does the scan give up.
"""

from collections.abc import Callable, Iterator
from errno import EADDRNOTAVAIL, ECONNREFUSED, errorcode
from typing import Any, Final

from greenlet import GreenletExit, getcurrent, greenlet

from greenprobe.engine.connector import NO_ANSWER, PENDING, SELF_CONNECT, Asker, Connector, is_routed
from greenprobe.engine.fdlimit import free_descriptors, raise_limit
from greenprobe.engine.scanplan import ScanPlan, ScanRecord, ScanStatistics
from greenprobe.engine.targets import Address
from greenprobe.engine.timing import HostTiming, Timing
from greenprobe.engine.verdicts import CLOSED, EXHAUSTED, NO_RESPONSE, Verdict, verdict
from greenprobe.errors import GreenprobeError
from greenprobe.greenthread import kill, spawn_n
from greenprobe.hub import Hub, get_hub

__all__ = ["ScanStalled", "Scanner"]

NEAR: Final = 0.0005  # seconds: with a shorter way there and back the answer is likely to be there at once
TURN: Final = 64  # probes in a row before others get their turn
MAX_HOSTS: Final = 1 << 15  # whose timing is remembered; the one known longest is forgotten first
FIRST_PAUSE, LONGEST_PAUSE = 0.005, 1.0  # seconds between two tries to get what we ran out of
PATIENCE: Final = 120.0  # seconds; TIME_WAIT, the slowest shortage to end, lasts 60
new: Final = tuple.__new__  # half the price of calling a named tuple
NOT_ROUTED: Final = Verdict("filtered", "net-unreach")


class ScanStalled(GreenprobeError):
    """This machine ran out of something and did not get it back: the message says of what."""


class Host:
    """A host under scan: what a probe needs of it, ready made."""

    __slots__ = ("family", "ip", "name", "tail", "text", "timing")

    def __init__(self, address: Address, name: str) -> None:
        self.family = address.family
        self.ip = address.ip
        self.text = address.text
        self.name = name
        self.tail: tuple[int, ...] = (0, address.scope_id) if address.scope_id else ()
        self.timing = HostTiming()


class Scanner:
    """Runs a plan once. `run` yields the records; `statistics` may be asked at any time."""

    def __init__(
        self,
        plan: ScanPlan,
        *,
        asker: Callable[[Hub], Asker] = Connector,
        routed: Callable[[int, tuple[Any, ...]], bool] = is_routed,
    ) -> None:
        self.plan = plan
        self._hub = hub = get_hub()
        self._clock = hub.clock
        self._make_asker = asker
        self._is_routed = routed
        self._walk = plan.targets.walk()
        self._timing = Timing(longest=plan.timeout, max_tries=plan.retries + 1, limit=plan.concurrency)
        self._hosts: dict[int, Host] = {}
        self._workers: set[greenlet] = set()
        self._waiting = 0
        self._batch: list[ScanRecord] = []
        self._reader: greenlet | None = None
        self._failure: BaseException | None = None
        self._counts = {"open": 0, "closed": 0, "filtered": 0, "unreported": 0}
        self._resends = 0
        self._shortages: dict[str, int] = {}
        self._pause = FIRST_PAUSE
        self._stuck_since = -1.0
        self._started = self._clock()

    def __repr__(self) -> str:
        done = sum(self._counts.values())
        return f"<Scanner: {done} of {self.plan.targets.count} done, {self._waiting} under way>"

    def run(self) -> Iterator[ScanRecord]:
        """Yield a record for each target as it is known."""
        for batch in self.batches():
            yield from batch

    def batches(self) -> Iterator[list[ScanRecord]]:
        """Yield the records as they are known, all that have come together at once.

        After KeyboardInterrupt what has been found is yielded first, then the interrupt goes on. Raises ScanStalled.
        """
        self._timing.limit_to(free_descriptors(raise_limit()))
        self._started = self._clock()
        self._hire()
        try:
            yield from self._take_batches()
        except KeyboardInterrupt:
            self._dismiss()
            yield self._take_batch()
            raise
        finally:
            self._dismiss()

    def statistics(self) -> ScanStatistics:
        """Return how far the scan is."""
        counts = self._counts
        return ScanStatistics(
            total=self.plan.targets.count,
            done=sum(counts.values()),
            **counts,
            tries=sum(counts.values()) + self._resends,
            under_way=self._waiting,
            window=self._timing.window,
            elapsed=self._clock() - self._started,
            shortages=dict(self._shortages),
        )

    # -- the reader's side

    def _take_batches(self) -> Iterator[list[ScanRecord]]:
        while True:
            if self._batch:
                yield self._take_batch()
            elif self._failure is not None:
                raise self._failure
            elif not self._workers:
                return
            else:
                self._reader = getcurrent()
                self._hub.switch()

    def _take_batch(self) -> list[ScanRecord]:
        batch, self._batch = self._batch, []
        return batch

    def _wake_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            self._hub.schedule(reader)

    def _dismiss(self) -> None:
        """End all workers and wait until they have: they close their sockets and wait for nothing."""
        self._walk = iter(())
        for worker in list(self._workers):
            kill(worker)
        while self._workers:
            self._reader = getcurrent()
            self._hub.switch()

    # -- the workers

    def _hire(self) -> None:
        self._workers.add(spawn_n(self._work))

    def _work(self) -> None:
        asker = self._make_asker(self._hub)
        try:
            self._ask_all(asker)
        except GreenletExit:
            pass
        except BaseException as error:  # raised where somebody listens: in `batches`
            self._failure = error
        finally:
            asker.close()
            self._workers.discard(getcurrent())
            self._wake_reader()

    def _ask_all(self, asker: Asker) -> None:
        for turn, (index, port) in enumerate(self._walk, 1):
            host = self._hosts.get(index) or self._host(index)
            self._ask(asker, host, port)
            if len(self._workers) > self._timing.window:
                return
            if turn % TURN == 0:
                self._hub.sleep(0)

    def _host(self, index: int) -> Host:
        hosts = self.plan.targets.hosts
        address = hosts.at(index)
        host = self._hosts[index] = Host(address, hosts.name_of(address))
        if len(self._hosts) > MAX_HOSTS:
            del self._hosts[next(iter(self._hosts))]
        return host

    def _ask(self, asker: Asker, host: Host, port: int) -> None:
        """Ask one port until it is known what it is."""
        timing = self._timing
        clock = self._clock
        sockaddr = (host.ip, port, *host.tail)
        attempt = 1
        while True:
            started = clock()
            try:
                code = asker.start(host.family, sockaddr, is_near=host.timing.srtt < NEAR)
            except OSError as error:
                code = shortage(error)
            if code in PENDING:
                code = self._wait(asker, started + timing.timeout(host.timing, attempt))
            if code == ECONNREFUSED and asker.icmp is None:
                self._known(host, port, CLOSED, clock() - started, attempt, None)
                return
            if code == NO_ANSWER:
                if not timing.silent(host.timing, attempt):
                    self._known(host, port, NO_RESPONSE, None, attempt, None)
                    return
                attempt += 1
            elif code in EXHAUSTED:
                if code == EADDRNOTAVAIL and not self._is_routed(host.family, sockaddr):
                    self._known(host, port, NOT_ROUTED, None, attempt, None)
                    return
                self._ran_out(code)
            elif code != SELF_CONNECT:
                icmp = asker.icmp
                sender = icmp.sender if icmp is not None else None
                self._known(host, port, verdict(code, icmp), clock() - started, attempt, sender)
                return

    def _wait(self, asker: Asker, deadline: float) -> int:
        self._waiting += 1
        if len(self._workers) <= self._waiting < self._timing.window:
            self._hire()
        try:
            return asker.wait(deadline)
        finally:
            self._waiting -= 1

    def _known(self, host: Host, port: int, what: Verdict, rtt: float | None, attempt: int, sender: str | None) -> None:
        state, reason = what
        if rtt is not None:
            self._timing.answered(host.timing, rtt, attempt)
        self._counts[state] += 1
        self._resends += attempt - 1
        self._stuck_since = -1.0
        record = new(ScanRecord, (host.name, host.text, port, state, reason, rtt, attempt, sender))
        self._batch.append(record)
        if self._reader is not None:
            self._wake_reader()

    def _ran_out(self, code: int) -> None:
        """Wait a little after something of ours ran out; raises ScanStalled when that goes on for too long."""
        now = self._clock()
        if self._stuck_since < 0:
            self._stuck_since = now
            self._pause = FIRST_PAUSE
        name = errorcode.get(code, str(code))
        if now - self._stuck_since > PATIENCE:
            raise ScanStalled(f"{name} for {PATIENCE:.0f} s with nothing answered; give a smaller --concurrency")
        self._shortages[name] = self._shortages.get(name, 0) + 1
        self._timing.exhausted(self._waiting)
        self._hub.sleep(self._pause)
        self._pause = min(self._pause * 2, LONGEST_PAUSE)


def shortage(error: OSError) -> int:
    """Return the errno of an error that says we ran out of something; raise any other."""
    if error.errno in EXHAUSTED:
        return error.errno
    raise error
