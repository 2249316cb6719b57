"""One probe: how it starts, what it waits for and how long, and what its answer tells `Timing` and the windows.

A probe takes a place on the wire until it is ripe, and waits on without one: so `under_way`, which counts those that
wait, may be far above the windows. Whoever begins to wait has others hired to go on.
"""

from collections.abc import Callable
from errno import EALREADY
from random import Random
from typing import Any, Final

from greenprobe.engine.connector import PENDING, Asker
from greenprobe.engine.gate import Gate
from greenprobe.engine.hosts import Host, Question
from greenprobe.engine.ports import UDP
from greenprobe.engine.scanplan import ScanPlan
from greenprobe.engine.shortage import Shortages
from greenprobe.engine.starts import Starts
from greenprobe.engine.timing import RESENT_AFTER, Timing
from greenprobe.engine.verdicts import EXHAUSTED
from greenprobe.engine.window import Window
from greenprobe.hub import Hub

__all__ = ["NO_ENTRY", "Probing"]

NEAR: Final = 0.0005  # seconds: with a shorter way there and back the answer is likely to be there at once
SPREAD: Final = 0.25  # of a timeout
NO_ENTRY: Final = -2  # our connection tracking dropped it: ask again
MOST_RESENT: Final = 4  # tries on one socket: one, three and seven seconds after the first


class Probing:
    """What the probes of one scan share. `hire` gets somebody to go on; `call` tells that a host may have room."""

    __slots__ = (
        "_call",
        "_clock",
        "_dice",
        "_gate",
        "_hire",
        "_hub",
        "_shortages",
        "_starts",
        "_timing",
        "plan",
        "under_way",
    )

    def __init__(
        self,
        plan: ScanPlan,
        hub: Hub,
        *,
        timing: Timing,
        starts: Starts,
        shortages: Shortages,
        gate: Gate[Window],
        hire: Callable[[], object],
        call: Callable[[Host], object],
    ) -> None:
        self.plan = plan
        self.under_way = 0
        self._hub = hub
        self._clock = hub.clock
        self._timing = timing
        self._starts = starts
        self._shortages = shortages
        self._gate = gate
        self._hire = hire
        self._call = call
        self._dice = Random(plan.targets.seed)

    def start(self, asker: Asker, host: Host, sockaddr: tuple[Any, ...]) -> int:
        """Begin; return an errno: of PENDING while there is no answer, of EXHAUSTED or NO_ENTRY if we are short."""
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

    def wait(self, asker: Asker, question: Question, started: float) -> int:
        """Wait for an answer: first as long as the probe is on the wire, which takes a place, then further without."""
        timing, host = self._timing, question.host
        is_first = not question.tickets
        if is_first:
            question.tickets = tuple([(gate.window, gate.window.sent()) for gate in host.gates])
        self.under_way += 1
        try:
            code = self.wait_on_wire(asker, host, started + timing.ripe(host.timing))
            # Only now, as answers of other ports may have told meanwhile how far the host is.
            timeout = timing.timeout(host.timing, question.attempt, is_scout=question.is_scout)
            if is_first:
                now = self._clock()
                for window, round_ in question.tickets:
                    window.gone(round_, now=now, timeout=timeout)
                if self.plan.min_rate:
                    timing.window.keep(round(self.plan.min_rate * timing.ripe(host.timing)))
            self._call(host)
            if code in PENDING:
                self._hire()
                # Spread, or those who were lost together would ask again together, and be lost together again.
                code = asker.wait(started + timeout * (1 + SPREAD * self._dice.random()))
            return code
        finally:
            self.under_way -= 1

    def wait_longer(self, asker: Asker, question: Question, started: float) -> int:
        """Where connections are short, wait while the kernel asks again from the same socket; else do nothing."""
        timing = question.host.timing
        if not self._insists(question) or not timing.answers:
            return EALREADY
        tries = self.tries(question)
        self.under_way += 1
        try:
            code = asker.insist(started + 2.0 ** (tries - 1) - 1 + self._timing.timeout(timing, 1))
        finally:
            self.under_way -= 1
        if self._clock() - started >= RESENT_AFTER:
            question.attempt = tries
        return code

    def tries(self, question: Question) -> int:
        """Return how often a silent port of a host that has answered is asked, at most so often as one socket asks."""
        tries = self._timing.tries(question.host.timing)
        return min(tries, MOST_RESENT) if self._insists(question) else tries

    def _insists(self, question: Question) -> bool:
        """Tell whether connections are short: then one socket makes all tries, as each other one takes an entry."""
        return (self._starts.are_short or question.host.is_held) and question.port < UDP

    def wait_once(self, asker: Asker, host: Host, started: float) -> int:
        """Wait for the answer of a port that is known to answer, as long as a first try deserves."""
        self.under_way += 1
        try:
            return self.wait_on_wire(asker, host, started + self._timing.timeout(host.timing, 1))
        finally:
            self.under_way -= 1

    def wait_on_wire(self, asker: Asker, host: Host, deadline: float) -> int:
        """Wait until `deadline`, and take a place meanwhile."""
        for gate in host.gates:
            gate.window.on_wire += 1
        self._hire()
        try:
            return asker.wait(deadline)
        finally:
            for gate in host.gates:
                gate.window.on_wire -= 1
                gate.call()

    def answered(self, question: Question, started: float) -> float:
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
        return rtt

    def pass_gates(self, host: Host) -> None:
        """Wait until there is room for asking again, of the host and of all."""
        own = host.gates[-1]
        while own.is_full:
            self.stand_at(own, is_again=True)
            if self._gate.is_full:
                self._gate.wait(is_again=True)
        if self._gate.is_full:
            self._gate.wait(is_again=True)

    def stand_at(self, gate: Gate[Any], *, is_again: bool) -> None:
        """Wait until a gate that is not everybody's has room."""
        self.under_way += 1  # others go on meanwhile
        try:
            self._hire()
            gate.wait(is_again=is_again)
        finally:
            self.under_way -= 1

    def rest(self, seconds: float) -> None:
        """Do nothing for a while."""
        self.under_way += 1  # others go on meanwhile
        try:
            self._hire()
            self._hub.sleep(seconds)
        finally:
            self.under_way -= 1

    def ran_out(self, name: str) -> None:
        """Wait a little after something of ours ran out; raises ScanStalled when that goes on for too long."""
        pause = self._shortages.add(name, self._clock())
        self._timing.exhausted(self.under_way)
        self._hub.sleep(pause)
