"""The scan: greenthreads that take the next target, connect, and say what the port is.

A worker is a loop with one socket. A probe that is answered at once never leaves it, so on a near host one worker does
all the work and nobody switches; only when a worker has to wait is another one hired, as far as the windows of `Timing`
go. So there are as many greenthreads as connects under way, and no queue, timer or object a probe.

What cannot go on now waits outside of any worker: a target whose host has no room stands in the host's backlog, a
silent port of a host without any answer in its list, and what is to be asked again in `_again`, which goes before new
targets.

What we run out of (descriptors, local ports, memory, entries of our connection tracking) is never a state: the worker
keeps its target, tells `Timing`, waits and tries again. Only if nothing at all goes forward for PATIENCE seconds does
the scan give up.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from errno import EADDRNOTAVAIL, EALREADY, ECONNREFUSED, errorcode
from functools import partial
from random import Random
from typing import Any, Final

from greenlet import GreenletExit, getcurrent, greenlet

from greenprobe.engine.connector import PENDING, SELF_CONNECT, Asker, Connector, is_routed
from greenprobe.engine.conntrack import Tracking
from greenprobe.engine.fdlimit import free_descriptors, raise_limit
from greenprobe.engine.gate import Gate
from greenprobe.engine.hosts import Host, Question
from greenprobe.engine.ledger import Ledger
from greenprobe.engine.ports import UDP, has_udp
from greenprobe.engine.scanplan import ScanPlan, ScanRecord, ScanStatistics
from greenprobe.engine.shortage import Shortages
from greenprobe.engine.starts import Starts
from greenprobe.engine.targets import BLOCK, Target
from greenprobe.engine.timing import RESENT_AFTER, Timing
from greenprobe.engine.udp import BothAsker, spoken
from greenprobe.engine.verdicts import (
    CLOSED,
    EXHAUSTED,
    NO_RESPONSE,
    UDP_NO_RESPONSE,
    Verdict,
    udp_verdict,
    verdict,
)
from greenprobe.engine.window import Window
from greenprobe.greenthread import kill, spawn_n
from greenprobe.hub import Hub, get_hub

__all__ = ["Scanner"]

NEAR: Final = 0.0005  # seconds: with a shorter way there and back the answer is likely to be there at once
TURN: Final = 64  # probes in a row before others get their turn
MAX_HOSTS: Final = 3 * BLOCK  # that are remembered; the one known longest is settled and forgotten first
FULL_PAUSE: Final = 0.005  # seconds between two looks whether a backlog has shrunk
MAX_BACKLOG: Final = 50_000  # targets whose hosts have no room, before all wait for them
MAX_ROUNDS: Final = 8  # of tries for a port that stays silent while its rounds turn out lossy again and again
SPREAD: Final = 0.25  # of a timeout
new: Final = tuple.__new__  # half the price of calling a named tuple
NOT_ROUTED: Final = Verdict("filtered", "net-unreach")
NO_ENTRY: Final = -2  # our connection tracking dropped it: ask again
MOST_RESENT: Final = 4  # tries on one socket: one, three and seven seconds after the first


class Scanner:
    """Runs a plan once. `run` yields the records; `statistics` may be asked at any time."""

    def __init__(
        self,
        plan: ScanPlan,
        *,
        asker: Callable[[Hub], Asker] | None = None,
        done: Ledger | None = None,
        routed: Callable[[int, tuple[Any, ...]], bool] = is_routed,
        tracking: Callable[[float], Tracking] = Tracking,
    ) -> None:
        self.plan = plan
        self._hub = hub = get_hub()
        self._clock = hub.clock
        self._make_asker = asker or partial(
            BothAsker if has_udp(plan.targets.ports) else Connector, prepare=plan.prepare
        )
        self._is_routed = routed
        self._walk: Iterator[Target] = plan.walk(done)
        self._total = plan.total - (done.count if done is not None else 0)
        self._timing = Timing(
            longest=plan.timeout,
            max_tries=plan.retries + 1,
            limit=plan.concurrency,
            first_window=plan.first_window,
        )
        self._shortages = Shortages()
        self._starts = Starts(hub, rate_per_s=plan.rate, tracking=tracking(hub.clock()), shortages=self._shortages)
        self._hosts: dict[int, Host] = {}
        self._has_host_windows = plan.targets.hosts.count > 1 and not plan.min_rate
        self._workers: set[greenlet] = set()
        self._waiting = 0
        self._window = self._timing.window
        self._gate = Gate(hub, self._window)
        self._again: deque[Question] = deque()
        self._backlog = 0
        self._silent = 0
        self._is_drained = False
        self._batch: list[ScanRecord] = []
        self._reader: greenlet | None = None
        self._failure: BaseException | None = None
        self._counts = {"open": 0, "closed": 0, "filtered": 0, "open|filtered": 0, "unreported": 0}
        self._resends = 0
        self._dice = Random(plan.targets.seed)
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
            total=self._total,
            done=sum(counts.values()),
            open=counts["open"],
            closed=counts["closed"],
            filtered=counts["filtered"],
            unclear=counts["open|filtered"],
            unreported=counts["unreported"],
            silent=self._silent,
            tries=sum(counts.values()) + self._resends,
            under_way=self._waiting,
            window=self._timing.window.size,
            elapsed=self._clock() - self._started,
            shortages=dict(self._shortages.counts),
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
            self._gate.call()
            self._wake_reader()

    def _ask_all(self, asker: Asker) -> None:
        timing, workers = self._timing, self._workers
        for turn, (place, index, port) in enumerate(self._walk, 1):
            self._ask(asker, self._hosts.get(index) or self._host(index), port, place)
            while self._again and len(workers) <= timing.places:
                self._ask_again(asker)
            if len(workers) > timing.places:
                return
            if turn % TURN == 0:
                self._hub.sleep(0)
        self._is_drained = True
        while self._again or (len(workers) == 1 and self._settle_all()):
            self._ask_again(asker)

    def _ask(self, asker: Asker, host: Host, port: int, place: int) -> None:
        """Ask a port for the first time, or leave it to a host that has no room now."""
        if host.backlog or (self._has_host_windows and host.is_full()):
            self._put_back(host, port, place)
            return
        if self._window.on_wire >= self._window.size:
            self._wait_in_line()
        sockaddr = (host.ip, port, *host.tail)
        started = self._clock() if self._starts.is_free else self._starts.next()
        code = self._start(asker, host, sockaddr)
        if code == ECONNREFUSED and asker.icmp is None and port < UDP:
            rtt = self._clock() - started
            self._timing.answered(host.timing, rtt, 1)
            if host.silent_ports:
                self._reopen(host)
            self._known(host, port, place, CLOSED, rtt, 1)
        else:
            self._pursue(asker, Question(host, port, place), code, started)

    def _wait_in_line(self) -> None:
        self._gate.wait(is_again=False)
        self._gate.call()

    def _ask_again(self, asker: Asker) -> None:
        """Ask what waited outside of a worker."""
        question = self._again.popleft()
        host = question.host
        host.called -= not question.before
        self._pass_gates(host)
        started = self._starts.next()
        self._pursue(asker, question, self._start(asker, host, host.sockaddr(question.port)), started)

    def _start(self, asker: Asker, host: Host, sockaddr: tuple[Any, ...]) -> int:
        try:
            code = asker.start(host.family, sockaddr, is_near=host.timing.srtt < NEAR)
        except OSError as error:
            if error.errno in EXHAUSTED:
                return error.errno
            raise
        if self._starts.was_dropped(code):
            asker.close()
            return NO_ENTRY
        return code

    def _host(self, index: int) -> Host:
        hosts = self.plan.targets.hosts
        address = hosts.at(index)
        timing = self._timing
        gates: tuple[Gate, ...] = (self._gate,)
        if self._has_host_windows:
            window = Window(min(timing.limit, self.plan.host_window), first=self.plan.first_window)
            gates += (Gate(self._hub, window),)
        host = self._hosts[index] = Host(address, hosts.name_of(address), gates)
        if len(self._hosts) > MAX_HOSTS:
            self._settle(self._hosts.pop(next(iter(self._hosts))))
        return host

    def _pursue(self, asker: Asker, question: Question, code: int, started: float) -> None:
        """Go on with a port whose first try ended with `code`, until it is known what it is."""
        host, port = question.host, question.port
        question.is_scout = self._timing.is_scout(host.timing)
        while True:
            if code in PENDING:
                code = self._wait(asker, question, started)
            if code in PENDING and not self._starts.may_have_dropped(started, self._clock()):
                code = self._wait_longer(asker, question, started)
            if code in PENDING:
                asker.close()
                if not self._asks_again(question, started):
                    return
            elif code in EXHAUSTED:
                if code == EADDRNOTAVAIL and not self._is_routed(host.family, host.sockaddr(port)):
                    self._known(host, port, question.place, NOT_ROUTED, None, question.tries)
                    return
                self._ran_out(errorcode.get(code, str(code)))
            elif code not in (SELF_CONNECT, NO_ENTRY):
                rtt = self._answered(question, started)
                what = verdict(code, asker.icmp) if port < UDP else udp_verdict(code, asker.icmp)
                self._known(host, port, question.place, what, rtt, question.tries, asker)
                return
            self._pass_gates(host)
            started = self._starts.next()
            code = self._start(asker, host, host.sockaddr(port))

    def _wait(self, asker: Asker, question: Question, started: float) -> int:
        """Wait for an answer: first as long as the probe is on the wire, which takes a place, then further without."""
        timing, host = self._timing, question.host
        is_first = not question.tickets
        if is_first:
            question.tickets = tuple([(gate.window, gate.window.sent()) for gate in host.gates])
        self._waiting += 1
        try:
            code = self._wait_on_wire(asker, host, started + timing.ripe(host.timing))
            # Only now, as answers of other ports may have told meanwhile how far the host is.
            timeout = timing.timeout(host.timing, question.attempt, is_scout=question.is_scout)
            if is_first:
                now = self._clock()
                for window, round_ in question.tickets:
                    window.gone(round_, now=now, timeout=timeout)
                if self.plan.min_rate:
                    timing.window.keep(round(self.plan.min_rate * timing.ripe(host.timing)))
            self._call_backlog(host)
            if code in PENDING:
                self._hire_for_room()
                # Spread, or those who were lost together would ask again together, and be lost together again.
                code = asker.wait(started + timeout * (1 + SPREAD * self._dice.random()))
            return code
        finally:
            self._waiting -= 1

    def _wait_on_wire(self, asker: Asker, host: Host, deadline: float) -> int:
        for gate in host.gates:
            gate.window.on_wire += 1
        self._hire_for_room()
        try:
            return asker.wait(deadline)
        finally:
            for gate in host.gates:
                gate.window.on_wire -= 1
                gate.call()

    def _wait_longer(self, asker: Asker, question: Question, started: float) -> int:
        """Where connections are short, wait while the kernel asks again from the same socket; else do nothing."""
        timing = question.host.timing
        if not self._starts.are_short or question.port > UDP or not timing.answers:
            return EALREADY
        tries = min(self._timing.tries(timing), MOST_RESENT)
        self._waiting += 1
        try:
            code = asker.insist(started + 2.0 ** (tries - 1) - 1 + self._timing.timeout(timing, 1))
        finally:
            self._waiting -= 1
        if self._clock() - started >= RESENT_AFTER:
            question.attempt = tries
        return code

    def _answered(self, question: Question, started: float) -> float:
        """Tell `Timing` of an answer, and the windows if it had to be waited for; return its round-trip time."""
        now = self._clock()
        rtt = now - started
        timing, host, attempt = self._timing, question.host, question.attempt
        timing.answered(host.timing, rtt, attempt)
        if question.tickets:
            queue = rtt - host.timing.fastest
            timeout = timing.timeout(host.timing, 1)
            for window, round_ in question.tickets:
                window.answered(round_, is_late=attempt > 1, queue=queue, now=now, timeout=timeout)
        if host.silent_ports:
            self._reopen(host)
        return rtt

    def _asks_again(self, question: Question, started: float) -> bool:
        """Decide after a silence: another try, another round of tries if it may be our own fault, or no more."""
        host = question.host
        now = self._clock()
        if self._starts.may_have_dropped(started, now):
            return True
        if not host.timing.answers:
            if host.keep_silent(question):
                self._silent += 1
            else:
                self._stays_silent(question, question.tries)
            return False
        if question.attempt < self._timing.tries(host.timing):
            question.attempt += 1
            return True
        if question.is_doubtful and question.rounds < MAX_ROUNDS:
            question.start_round()
            return True
        self._stays_silent(question, question.tries)
        return False

    # -- what waits outside of a worker

    def _put_back(self, host: Host, port: int, place: int) -> None:
        """Leave a target to its host, which has no room; wait where too many wait already."""
        if host.backlog is None:
            host.backlog = deque()
        host.backlog.append((place, port))
        self._backlog += 1
        while self._backlog > MAX_BACKLOG and not self._again:
            self._hub.sleep(FULL_PAUSE)

    def _call_backlog(self, host: Host) -> None:
        """Have what waits for a host asked, as far as there is room now."""
        while host.backlog and not host.is_full():
            place, port = host.backlog.popleft()
            self._backlog -= 1
            host.called += 1
            self._again.append(Question(host, port, place))
        if self._again:
            self._hire_for_room()

    def _reopen(self, host: Host) -> None:
        """Ask the silent ports of a host again, which has just answered for the first time."""
        self._silent -= len(host.silent_ports)
        self._again.extend(host.take_silent())
        self._hire_for_room()

    def _settle(self, host: Host) -> None:
        """Say of a host without any answer that its ports are silent, or ask them once more if that is doubtful."""
        self._silent -= len(host.silent_ports)
        asks_again = host.is_doubtful() and self.plan.retries > 0
        for question in host.take_silent():
            if asks_again:
                self._again.append(question)
            else:
                self._stays_silent(question, question.before)
        host.is_settled = True

    def _settle_all(self) -> bool:
        """Settle every host that is left; tell whether that gave something to ask."""
        for host in self._hosts.values():
            if host.silent_ports:
                self._settle(host)
        return bool(self._again)

    def _hire_for_room(self) -> None:
        """Hire one more worker if all wait for answers and the network and our sockets have room for a probe."""
        workers = len(self._workers)
        window = self._window
        has_room = window.on_wire < window.size and workers < self._timing.places
        if has_room and self._waiting >= workers and (self._again or not self._is_drained):
            self._hire()

    def _pass_gates(self, host: Host) -> None:
        """Wait until there is room for asking again, of the host and of all."""
        own = host.gates[-1]
        while own.is_full:
            self._waiting += 1  # others go on meanwhile
            try:
                self._hire_for_room()
                own.wait(is_again=True)
            finally:
                self._waiting -= 1
            if self._gate.is_full:
                self._gate.wait(is_again=True)
        if self._gate.is_full:
            self._gate.wait(is_again=True)

    def _stays_silent(self, question: Question, tries: int) -> None:
        what = NO_RESPONSE if question.port < UDP else UDP_NO_RESPONSE
        self._known(question.host, question.port, question.place, what, None, tries)

    def _known(
        self,
        host: Host,
        port: int,
        place: int,
        what: Verdict,
        rtt: float | None,
        tries: int,
        asker: Asker | None = None,
    ) -> None:
        """Hand a record to the reader; `asker` was told more than the verdict."""
        state, reason = what
        self._counts[state] += 1
        self._resends += tries - 1
        self._shortages.end()
        sender = asker.icmp.sender if asker is not None and asker.icmp is not None else None
        service, proto = None, "tcp"
        if port > UDP:
            port, proto = port - UDP, "udp"
            service = spoken(port, asker.said) if asker is not None and state == "open" else None
        fields = (host.name, host.text, port, state, reason, rtt, tries, sender, service, proto, place)
        self._batch.append(new(ScanRecord, fields))
        if self._reader is not None:
            self._wake_reader()

    def _ran_out(self, name: str) -> None:
        """Wait a little after something of ours ran out; raises ScanStalled when that goes on for too long."""
        pause = self._shortages.add(name, self._clock())
        self._timing.exhausted(self._waiting)
        self._hub.sleep(pause)
