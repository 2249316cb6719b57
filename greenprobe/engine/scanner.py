"""The scan: greenthreads that take the next target, connect, and say what the port is.

A worker is a loop with one socket. A probe that is answered at once never leaves it, so on a near host one worker does
all the work and nobody switches; only when a worker has to wait is another one hired, as far as the window of `Timing`
goes. So there are as many greenthreads as connects under way, and no queue, timer or object a probe.

What we run out of (descriptors, local ports, memory) is never a state: the worker keeps its target, tells `Timing`,
waits and tries again. Only if nothing at all goes forward for PATIENCE seconds does the scan give up.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from errno import EADDRNOTAVAIL, ECONNREFUSED, errorcode
from random import Random
from typing import Any, Final

from greenlet import GreenletExit, getcurrent, greenlet

from greenprobe.engine.connector import PENDING, SELF_CONNECT, Asker, Connector, is_routed
from greenprobe.engine.fdlimit import free_descriptors, raise_limit
from greenprobe.engine.scanplan import ScanPlan, ScanRecord, ScanStatistics
from greenprobe.engine.targets import Address
from greenprobe.engine.timing import HostTiming, Timing
from greenprobe.engine.verdicts import CLOSED, EXHAUSTED, NO_RESPONSE, Icmp, Verdict, verdict
from greenprobe.engine.window import Round
from greenprobe.errors import GreenprobeError
from greenprobe.greenthread import kill, spawn_n
from greenprobe.hub import Hub, get_hub

__all__ = ["ScanStalled", "Scanner"]

NEAR: Final = 0.0005  # seconds: with a shorter way there and back the answer is likely to be there at once
TURN: Final = 64  # probes in a row before others get their turn
MAX_HOSTS: Final = 1 << 15  # whose timing is remembered; the one known longest is forgotten first
FIRST_PAUSE, LONGEST_PAUSE = 0.005, 1.0  # seconds between two tries to get what we ran out of
MAX_ROUNDS: Final = 8  # of tries for a port that stays silent while its rounds turn out lossy again and again
PATIENCE: Final = 120.0  # seconds; TIME_WAIT, the slowest shortage to end, lasts 60
SPREAD: Final = 0.25  # of a timeout
NOT_YET: Final = -1.0  # a time
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


class Question:
    """A port that did not answer at once: how often it was asked. A round is as many tries as silence deserves."""

    __slots__ = ("attempt", "before", "host", "port", "round", "rounds", "sockaddr")

    def __init__(self, host: Host, port: int, sockaddr: tuple[Any, ...]) -> None:
        self.host = host
        self.port = port
        self.sockaddr = sockaddr
        self.attempt = 1  # in this round
        self.before = 0  # tries in earlier rounds
        self.rounds = 1
        self.round: Round | None = None  # of the window, once it had to wait

    @property
    def tries(self) -> int:
        """How often it was asked in all."""
        return self.before + self.attempt

    def start_round(self) -> None:
        """Begin anew, as if it had not been asked yet."""
        self.before += self.attempt
        self.attempt = 1
        self.rounds += 1
        self.round = None


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
        self._on_wire = 0
        self._line: deque[list[greenlet]] = deque()
        self._is_drained = False
        self._batch: list[ScanRecord] = []
        self._reader: greenlet | None = None
        self._failure: BaseException | None = None
        self._counts = {"open": 0, "closed": 0, "filtered": 0, "unreported": 0}
        self._resends = 0
        self._shortages: dict[str, int] = {}
        self._pause = FIRST_PAUSE
        self._stuck_since = NOT_YET
        self._dice = Random(plan.targets.order.seed)
        self._started = self._clock()

    def __repr__(self) -> str:
        done = sum(self._counts.values())
        return f"<Scanner: {done} of {self.plan.targets.count} done, {self._waiting} under way>"

    def run(self) -> Generator[ScanRecord, None, None]:
        """Yield a record for each target as it is known."""
        for batch in self.batches():
            yield from batch

    def batches(self) -> Generator[list[ScanRecord], None, None]:
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
            window=self._timing.window.size,
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
            self._call_next()
            self._wake_reader()

    def _ask_all(self, asker: Asker) -> None:
        clock, timing, window = self._clock, self._timing, self._timing.window
        for turn, (index, port) in enumerate(self._walk, 1):
            host = self._hosts.get(index) or self._host(index)
            if self._on_wire >= window.size:
                self._stand_in_line(is_again=False)
            sockaddr = (host.ip, port, *host.tail)
            started = clock()
            code = self._start(asker, host, sockaddr)
            if code == ECONNREFUSED and asker.icmp is None:
                rtt = clock() - started
                timing.answered(host.timing, rtt, 1)
                self._known(host, port, CLOSED, rtt, 1)
            else:
                self._pursue(asker, Question(host, port, sockaddr), code, started)
            if len(self._workers) > timing.places:
                return
            if turn % TURN == 0:
                self._hub.sleep(0)
        self._is_drained = True

    def _start(self, asker: Asker, host: Host, sockaddr: tuple[Any, ...]) -> int:
        try:
            return asker.start(host.family, sockaddr, is_near=host.timing.srtt < NEAR)
        except OSError as error:
            if error.errno in EXHAUSTED:
                return error.errno
            raise

    def _host(self, index: int) -> Host:
        hosts = self.plan.targets.hosts
        address = hosts.at(index)
        host = self._hosts[index] = Host(address, hosts.name_of(address))
        if len(self._hosts) > MAX_HOSTS:
            del self._hosts[next(iter(self._hosts))]
        return host

    def _pursue(self, asker: Asker, question: Question, code: int, started: float) -> None:
        """Go on with a port whose first try ended with `code`, until it is known what it is."""
        host, port = question.host, question.port
        while True:
            if code in PENDING:
                code = self._wait(asker, question, started)
            if code in PENDING:
                asker.close()
                if not self._asks_again(question):
                    self._known(host, port, NO_RESPONSE, None, question.tries)
                    return
            elif code in EXHAUSTED:
                if code == EADDRNOTAVAIL and not self._is_routed(host.family, question.sockaddr):
                    self._known(host, port, NOT_ROUTED, None, question.tries)
                    return
                self._ran_out(code)
            elif code != SELF_CONNECT:
                rtt = self._answered(question, started)
                self._known(host, port, verdict(code, asker.icmp), rtt, question.tries, asker.icmp)
                return
            if self._on_wire >= self._timing.window.size:
                self._stand_in_line(is_again=True)
            started = self._clock()
            code = self._start(asker, host, question.sockaddr)

    def _wait(self, asker: Asker, question: Question, started: float) -> int:
        """Wait for an answer: first as long as the probe is on the wire, which takes a place, then further without."""
        timing, host = self._timing, question.host.timing
        is_first = question.round is None
        if question.round is None:
            question.round = timing.window.sent()
        self._waiting += 1
        try:
            self._on_wire += 1
            self._hire_for_room()
            try:
                code = asker.wait(started + timing.ripe(host))
            finally:
                self._on_wire -= 1
                self._call_next()
            # Only now, as answers of other ports may have told meanwhile how far the host is.
            timeout = timing.timeout(host, question.attempt)
            if is_first:
                timing.window.gone(question.round, now=self._clock(), timeout=timeout)
            if code in PENDING:
                self._hire_for_room()
                # Spread, or those who were lost together would ask again together, and be lost together again.
                code = asker.wait(started + timeout * (1 + SPREAD * self._dice.random()))
            return code
        finally:
            self._waiting -= 1

    def _answered(self, question: Question, started: float) -> float:
        """Tell `Timing` of an answer, and the window if it had to be waited for; return its round-trip time."""
        now = self._clock()
        rtt = now - started
        timing, host, attempt = self._timing, question.host.timing, question.attempt
        timing.answered(host, rtt, attempt)
        if question.round is not None:
            queue = rtt - host.fastest
            timeout = timing.timeout(host, 1)
            timing.window.answered(question.round, is_late=attempt > 1, queue=queue, now=now, timeout=timeout)
        return rtt

    def _asks_again(self, question: Question) -> bool:
        """Decide after a silence: another try, another round of tries if we asked too fast, or no more."""
        timing = self._timing
        if timing.silent(question.host.timing, question.attempt):
            question.attempt += 1
            return True
        is_doubtful = question.round is not None and question.round.is_lossy
        if is_doubtful and question.rounds < MAX_ROUNDS:
            question.start_round()
            return True
        return False

    def _hire_for_room(self) -> None:
        """Hire one more worker if all wait for answers and the network and our sockets have room for a probe."""
        workers = len(self._workers)
        timing = self._timing
        has_room = self._on_wire < timing.window.size and workers < timing.places
        if has_room and self._waiting >= workers and not self._is_drained:
            self._hire()

    def _stand_in_line(self, *, is_again: bool) -> None:
        """Wait until the network has room for a probe; who asks again goes first."""
        while self._on_wire >= self._timing.window.size:
            place = [getcurrent()]  # empty once it was called
            (self._line.appendleft if is_again else self._line.append)(place)
            try:
                while place:
                    self._hub.switch()
            finally:
                place.clear()
        self._call_next()

    def _call_next(self) -> None:
        line = self._line
        while line and self._on_wire < self._timing.window.size:
            place = line.popleft()
            if place:  # else its worker was killed
                self._hub.schedule(place.pop())
                return

    def _known(
        self, host: Host, port: int, what: Verdict, rtt: float | None, tries: int, icmp: Icmp | None = None
    ) -> None:
        """Hand a record to the reader."""
        state, reason = what
        self._counts[state] += 1
        self._resends += tries - 1
        self._stuck_since = NOT_YET
        sender = icmp.sender if icmp is not None else None
        self._batch.append(new(ScanRecord, (host.name, host.text, port, state, reason, rtt, tries, sender)))
        if self._reader is not None:
            self._wake_reader()

    def _ran_out(self, code: int) -> None:
        """Wait a little after something of ours ran out; raises ScanStalled when that goes on for too long."""
        now = self._clock()
        if self._stuck_since == NOT_YET:
            self._stuck_since = now
            self._pause = FIRST_PAUSE
        name = errorcode.get(code, str(code))
        if now - self._stuck_since > PATIENCE:
            raise ScanStalled(f"{name} for {PATIENCE:.0f} s with nothing answered; give a smaller --concurrency")
        self._shortages[name] = self._shortages.get(name, 0) + 1
        self._timing.exhausted(self._waiting)
        self._hub.sleep(self._pause)
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
