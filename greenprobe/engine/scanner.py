"""The scan: greenthreads that take the next target, connect, and say what the port is.

A worker is a loop with one socket. A probe that is answered at once never leaves it, so on a near host one worker does
all the work and nobody switches; only when a worker has to wait is another one hired, as far as the windows of `Timing`
go. So there are as many greenthreads as connects under way, and no queue, timer or object a probe.

What cannot go on now waits outside of any worker (`waiting.py`). Before a silent port of a host that has answered is
told, somebody makes sure of the way to the host (`judge.py`).

What we run out of (descriptors, local ports, memory, entries of our connection tracking) is never a state: the worker
keeps its target, tells `Timing`, waits and tries again. Only if nothing at all goes forward for PATIENCE seconds does
the scan give up.
"""

from collections.abc import Callable, Generator, Iterator
from errno import EADDRNOTAVAIL, ECONNREFUSED, errorcode
from functools import partial
from typing import Any, Final

from greenprobe.engine.connector import PENDING, SELF_CONNECT, Asker, Connector, is_routed
from greenprobe.engine.conntrack import Tracking
from greenprobe.engine.fdlimit import free_descriptors, raise_limit
from greenprobe.engine.findings import Findings
from greenprobe.engine.gate import Gate
from greenprobe.engine.hosts import Host, Question
from greenprobe.engine.judge import Judge
from greenprobe.engine.ledger import Ledger
from greenprobe.engine.ports import UDP, has_udp
from greenprobe.engine.probing import NO_ENTRY, Probing
from greenprobe.engine.scanplan import ScanPlan, ScanRecord, ScanStatistics
from greenprobe.engine.shortage import Shortages
from greenprobe.engine.starts import Starts
from greenprobe.engine.targets import BLOCK, Target
from greenprobe.engine.timing import Timing
from greenprobe.engine.udp import BothAsker
from greenprobe.engine.verdicts import CLOSED, EXHAUSTED, NO_LONGER, Verdict, udp_verdict, verdict
from greenprobe.engine.waiting import Waiting
from greenprobe.engine.window import Window
from greenprobe.engine.workers import Workers
from greenprobe.hub import Hub, get_hub

__all__ = ["Scanner"]

TURN: Final = 64  # probes in a row before others get their turn
MAX_HOSTS: Final = 3 * BLOCK  # that are remembered; the one known longest is settled and forgotten first
FULL_PAUSE: Final = 0.005  # seconds between two looks whether a backlog has shrunk
MAX_ROUNDS: Final = 8  # of tries for a port that stays silent while its rounds turn out lossy again and again
NOT_ROUTED: Final = Verdict("filtered", "net-unreach")


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
        self._workers: Workers[ScanRecord] = Workers(hub, self._work)
        self._crew = self._workers.crew
        self._findings = Findings(self._workers.leave, self._shortages)
        self._known = self._findings.add
        self._waiting = Waiting(self._findings, hire=self._hire_for_room, asks_twice=plan.retries > 0)
        self._again = self._waiting.again
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
            call=self._waiting.call,
        )
        self._start = self._probing.start
        self._judge = Judge(
            hub,
            probing=self._probing,
            starts=self._starts,
            waiting=self._waiting,
            findings=self._findings,
            send=self._workers.start,
            helps=self._helps,
        )
        self._is_drained = False
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
        yield from self._workers.batches()

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
            silent=self._waiting.silent,
            tries=self._findings.done + self._findings.resends,
            under_way=self._probing.under_way,
            window=self._timing.window.size,
            elapsed=self._clock() - self._started,
            held=self._judge.held,
            lost=self._judge.lost,
            shortages=dict(self._shortages.counts),
        )

    # -- the workers

    def _work(self, host: Host | None = None) -> None:
        """Ask what there is; if a host is given, judge the way to it first."""
        asker = self._make_asker(self._hub)
        try:
            if host is not None:
                self._judge.judge(asker, host)
            self._ask_all(asker)
        finally:
            asker.close()
            self._gate.call()

    def _ask_all(self, asker: Asker) -> None:
        timing, crew = self._timing, self._crew
        for turn, (place, index, port) in enumerate(self._walk, 1):
            self._ask(asker, self._hosts.get(index) or self._host(index), port, place)
            while self._again and len(crew) <= timing.places:
                self._ask_again(asker)
            if len(crew) > timing.places:
                return
            if turn % TURN == 0:
                self._hub.sleep(0)
        self._is_drained = True
        while self._again or (len(crew) == 1 and self._settle_all()):
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
                self._waiting.reopen(host)
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
        host.called -= question.tries == 1
        self._probing.pass_gates(host)
        started = self._starts.next()
        self._pursue(asker, question, self._start(asker, host, host.sockaddr(question.port)), started)

    def _host(self, index: int) -> Host:
        hosts = self.plan.targets.hosts
        address = hosts.at(index)
        timing = self._timing
        gates: tuple[Gate[Window], ...] = (self._gate,)
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
                    self._waiting.reopen(host)
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
            self._waiting.keep(question)
            return False
        if not host.is_held:
            left = self._probing.tries(question) - question.attempt
            if left > self._judge.is_needed(host):
                question.attempt += 1
                return True
            if left > 0:
                self._judge.doubt(question)
                return False
            if question.is_doubtful and question.rounds < MAX_ROUNDS:
                question.start_round()
                return True
        if self.plan.retries:
            self._judge.suspect(question)
        else:
            self._findings.add_silent(question, question.tries)
        return False

    # -- what waits outside of a worker

    def _put_back(self, host: Host, port: int, place: int) -> None:
        """Leave a target to its host, which has no room; wait where too many wait already."""
        if host.way is not None and host.way.is_lost:
            self._known(host, port, place, NO_LONGER, None, 0)
            return
        self._waiting.put_back(host, port, place)
        if host.is_held:
            self._judge.see_to(host)
        while self._waiting.is_full:
            self._hub.sleep(FULL_PAUSE)

    def _helps(self, asker: Asker) -> bool:
        """Ask something that waits, if we may have no further worker to do so."""
        if len(self._crew) < self._timing.places:
            return False
        self._ask_again(asker)
        return True

    def _settle_all(self) -> bool:
        """Settle every host that is left; tell whether that gave something to ask.

        Where hosts were held, only the first that gives something: together they would fill what was full before.
        """
        for host in self._hosts.values():
            if host.silent_ports:
                self._settle(host)
                if self._judge.held and self._again:
                    break
        return bool(self._again)

    def _settle(self, host: Host) -> None:
        self._waiting.settle(host, were_others_held=self._judge.held > 0)

    def _hire_for_room(self) -> None:
        """Hire one more worker if all wait for answers and the network and our sockets have room for a probe."""
        workers = len(self._crew)
        window = self._window
        has_room = window.on_wire < window.size and workers < self._timing.places
        if has_room and self._probing.under_way >= workers and (self._again or not self._is_drained):
            self._workers.start()
