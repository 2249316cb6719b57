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
from errno import EADDRNOTAVAIL, ECONNREFUSED, errorcode
from functools import partial
from typing import Any, Final

from greenlet import GreenletExit, getcurrent, greenlet

from greenprobe.engine.connector import PENDING, SELF_CONNECT, Asker, Connector, is_routed
from greenprobe.engine.conntrack import Tracking
from greenprobe.engine.fdlimit import free_descriptors, raise_limit
from greenprobe.engine.findings import Findings
from greenprobe.engine.gate import Gate
from greenprobe.engine.hosts import Host, Question
from greenprobe.engine.ledger import Ledger
from greenprobe.engine.ports import UDP, has_udp
from greenprobe.engine.probing import NO_ENTRY, Probing
from greenprobe.engine.scanplan import ScanPlan, ScanRecord, ScanStatistics
from greenprobe.engine.shortage import Shortages
from greenprobe.engine.starts import Starts
from greenprobe.engine.targets import BLOCK, Target
from greenprobe.engine.timing import Timing
from greenprobe.engine.udp import BothAsker
from greenprobe.engine.verdicts import (
    CLOSED,
    EXHAUSTED,
    NO_LONGER,
    NO_RESPONSE,
    UDP_NO_RESPONSE,
    Verdict,
    udp_verdict,
    verdict,
)
from greenprobe.engine.way import Way, judge_run
from greenprobe.engine.window import Window
from greenprobe.greenthread import kill, spawn_n
from greenprobe.hub import Hub, get_hub

__all__ = ["Scanner"]

TURN: Final = 64  # probes in a row before others get their turn
MAX_HOSTS: Final = 3 * BLOCK  # that are remembered; the one known longest is settled and forgotten first
FULL_PAUSE: Final = 0.005  # seconds between two looks whether a backlog has shrunk
MAX_BACKLOG: Final = 50_000  # targets whose hosts have no room, before all wait for them
MAX_ROUNDS: Final = 8  # of tries for a port that stays silent while its rounds turn out lossy again and again
NOT_ROUTED: Final = Verdict("filtered", "net-unreach")
LOOK: Final = 0.02  # seconds between two looks whether a batch is done


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
        self._window = self._timing.window
        self._gate = Gate(hub, self._window)
        self._probing = Probing(
            plan,
            hub,
            timing=self._timing,
            starts=self._starts,
            shortages=self._shortages,
            gate=self._gate,
            hire=self._hire_for_room,
            call=self._call_backlog,
        )
        self._start = self._probing.start
        self._again: deque[Question] = deque()
        self._backlog = 0
        self._silent = 0
        self._is_drained = False
        self._findings = Findings(hub)
        self._failure: BaseException | None = None
        self._held = 0
        self._lost = 0
        self._started = self._clock()

    def __repr__(self) -> str:
        return (
            f"<Scanner: {self._findings.done} of {self.plan.targets.count} done, {self._probing.under_way} under way>"
        )

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
            yield self._findings.take()
            raise
        finally:
            self._dismiss()

    def statistics(self) -> ScanStatistics:
        """Return how far the scan is."""
        counts = self._findings.counts
        return ScanStatistics(
            total=self._total,
            done=self._findings.done,
            open=counts["open"],
            closed=counts["closed"],
            filtered=counts["filtered"],
            unclear=counts["open|filtered"],
            unreported=counts["unreported"],
            silent=self._silent,
            tries=self._findings.done + self._findings.resends,
            under_way=self._probing.under_way,
            window=self._timing.window.size,
            elapsed=self._clock() - self._started,
            held=self._held,
            lost=self._lost,
            shortages=dict(self._shortages.counts),
        )

    # -- the reader's side

    def _take_batches(self) -> Iterator[list[ScanRecord]]:
        while True:
            if batch := self._findings.take():
                yield batch
            elif self._failure is not None:
                raise self._failure
            elif not self._workers:
                return
            else:
                self._findings.wait()

    def _dismiss(self) -> None:
        """End all workers and wait until they have: they close their sockets and wait for nothing."""
        self._walk = iter(())
        for worker in list(self._workers):
            kill(worker)
        while self._workers:
            self._findings.wait()

    # -- the workers

    def _hire(self) -> None:
        self._workers.add(spawn_n(self._work))

    def _work(self, host: Host | None = None) -> None:
        asker = self._make_asker(self._hub)
        try:
            if host is not None and host.way is not None:
                self._judge(asker, host, host.way)
                host.way.is_judged = False
            self._ask_all(asker)
        except GreenletExit:
            pass
        except BaseException as error:  # raised where somebody listens: in `batches`
            self._failure = error
        finally:
            asker.close()
            self._workers.discard(getcurrent())
            self._gate.call()
            self._findings.wake()

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
        if host.is_held or host.backlog or (self._has_host_windows and host.is_full()):
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
        self._probing.pass_gates(host)
        started = self._starts.next()
        self._pursue(asker, question, self._start(asker, host, host.sockaddr(question.port)), started)

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
        host = question.host
        question.is_scout = self._timing.is_scout(host.timing)
        host.under_way += 1
        try:
            self._pursue_on(asker, question, code, started)
        finally:
            host.under_way -= 1

    def _pursue_on(self, asker: Asker, question: Question, code: int, started: float) -> None:
        host, port = question.host, question.port
        while True:
            if code in PENDING:
                code = self._probing.wait(asker, question, started)
            if code in PENDING and not self._starts.may_have_dropped(started, self._clock()):
                code = self._probing.wait_longer(asker, question, started)
            if code in PENDING:
                asker.close()
                if not self._asks_again(question, started):
                    return
            elif code in EXHAUSTED:
                if code == EADDRNOTAVAIL and not self._is_routed(host.family, host.sockaddr(port)):
                    self._known(host, port, question.place, NOT_ROUTED, None, question.tries)
                    return
                self._probing.ran_out(errorcode.get(code, str(code)))
            elif code not in (SELF_CONNECT, NO_ENTRY):
                rtt = self._probing.answered(question, started)
                if host.silent_ports:
                    self._reopen(host)
                what = verdict(code, asker.icmp) if port < UDP else udp_verdict(code, asker.icmp)
                self._known(host, port, question.place, what, rtt, question.tries, asker)
                return
            self._probing.pass_gates(host)
            started = self._starts.next()
            code = self._start(asker, host, host.sockaddr(port))

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
        if host.is_held:
            self._suspect(question)
            return False
        if question.attempt < self._timing.tries(host.timing):
            question.attempt += 1
            return True
        if question.is_doubtful and question.rounds < MAX_ROUNDS:
            question.start_round()
            return True
        self._suspect(question)
        return False

    # -- the way to a host

    def _suspect(self, question: Question) -> None:
        """Have a silent port of a host that has answered told, once the way to it has been found open."""
        host = question.host
        if host.way is not None and host.way.is_lost:
            self._known(host, question.port, question.place, NO_LONGER, None, question.tries)
            return
        if not host.witness or not self.plan.retries or self._starts.are_short:
            self._stays_silent(question, question.tries)
            return
        if host.way is None:
            host.way = Way()
        host.way.suspects.append(question)
        self._see_to(host)

    def _see_to(self, host: Host) -> None:
        way = host.way
        if way is not None and not way.is_judged:
            way.is_judged = True
            self._workers.add(spawn_n(self._work, host))

    def _judge(self, asker: Asker, host: Host, way: Way[Question]) -> None:
        """Ask the witness of a host, and do what follows, until nothing of the host is left to be decided."""
        while way.suspects or (way.is_held and (way.later or host.backlog)):
            if self._answers(asker, host):
                for question in way.opened():
                    self._stays_silent(question, question.tries)
                if way.is_held:
                    self._ask_in_calm(asker, host, way)
                continue
            self._held += not way.is_held
            pause = way.closed()
            host.is_held = True
            if way.is_lost:
                self._give_up(host, way)
            else:
                self._probing.rest(pause)
                self._finish_under_way(asker, host)
                way.set_aside()  # those were asked while it was closed

    def _answers(self, asker: Asker, host: Host) -> bool:
        """Ask the witness of a host until it is sure whether the way to it is open."""
        results: list[bool] = []
        while (is_open := judge_run(results)) is None:
            started = self._starts.next()
            code = self._start(asker, host, host.sockaddr(host.witness))
            if code in PENDING:
                code = self._probing.wait_once(asker, host, started)
            asker.close()
            self._findings.resends += 1
            if code in EXHAUSTED:
                self._probing.ran_out(errorcode.get(code, str(code)))
            elif code not in (SELF_CONNECT, NO_ENTRY):
                results.append(code not in PENDING and verdict(code, asker.icmp).state in ("open", "closed"))
        return is_open

    def _ask_in_calm(self, asker: Asker, host: Host, way: Way[Question]) -> None:
        """Ask the next few ports of a host, and wait until nothing of it is under way."""
        batch = way.take_later()
        for question in batch:
            question.start_round()
        while host.backlog and len(batch) < way.batch:
            batch.append(self._call_next(host))
        self._again.extend(batch)
        self._start_waiting(asker, host)
        is_open = self._answers(asker, host)
        self._finish_under_way(asker, host)
        if not is_open:
            way.overfilled()

    def _finish_under_way(self, asker: Asker, host: Host) -> None:
        self._start_waiting(asker, host)
        while host.under_way:
            self._probing.rest(LOOK)

    def _start_waiting(self, asker: Asker, host: Host) -> None:
        """Wait until all that is to be asked again of a host has been begun; help where sockets are few."""
        while any(question.host is host for question in self._again):
            if len(self._workers) >= self._timing.places:
                self._ask_again(asker)
            else:
                self._probing.rest(LOOK)

    def _give_up(self, host: Host, way: Way[Question]) -> None:
        """Say of all that is left of a host that it no longer answers."""
        self._lost += 1
        for question in way.take_all():
            self._known(host, question.port, question.place, NO_LONGER, None, question.tries)
        while host.backlog:
            question = self._call_next(host)
            self._known(host, question.port, question.place, NO_LONGER, None, 0)

    # -- what waits outside of a worker

    def _put_back(self, host: Host, port: int, place: int) -> None:
        """Leave a target to its host, which has no room; wait where too many wait already."""
        if host.way is not None and host.way.is_lost:
            self._known(host, port, place, NO_LONGER, None, 0)
            return
        if host.backlog is None:
            host.backlog = deque()
        host.backlog.append((place, port))
        self._backlog += 1
        if host.is_held:
            self._see_to(host)
        while self._backlog > MAX_BACKLOG and not self._again:
            self._hub.sleep(FULL_PAUSE)

    def _call_backlog(self, host: Host) -> None:
        """Have what waits for a host asked, as far as there is room now."""
        while host.backlog and not host.is_full():
            self._again.append(self._call_next(host))
        if self._again:
            self._hire_for_room()

    def _call_next(self, host: Host) -> Question:
        question = host.call_next()
        self._backlog -= 1
        return question

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
        if has_room and self._probing.under_way >= workers and (self._again or not self._is_drained):
            self._hire()

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
        """Hand a record to the reader: the scan went forward."""
        self._shortages.end()
        self._findings.add(host, port, place, what, rtt, tries, asker)
