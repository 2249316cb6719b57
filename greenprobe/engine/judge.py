"""Making sure of the way to a host before its silent ports are told: asks the witness, and does what `Way` says.

A host under judgement has one worker of its own. While the way is closed that worker rests and nothing of the host is
asked; when it is open again, the worker has a batch asked in calm, waits for its end, and looks at the witness again.
"""

from collections.abc import Callable
from errno import errorcode
from typing import Final

from greenprobe.engine.connector import PENDING, SELF_CONNECT, Asker
from greenprobe.engine.findings import Findings
from greenprobe.engine.gate import Gate
from greenprobe.engine.hosts import Host, Question
from greenprobe.engine.probing import NO_ENTRY, Probing
from greenprobe.engine.starts import Starts
from greenprobe.engine.verdicts import EXHAUSTED, NO_LONGER, verdict
from greenprobe.engine.waiting import Waiting
from greenprobe.engine.way import MISSED, Calm, Way, judge_run
from greenprobe.hub import Hub

__all__ = ["Judge"]

LOOK: Final = 0.02  # seconds between two looks whether a batch is done


class Judge:
    """`held` is how many hosts fell silent as a whole, `lost` how many of them for good."""

    __slots__ = ("_calm", "_findings", "_gate", "_helps", "_probing", "_send", "_starts", "_waiting", "held", "lost")

    def __init__(
        self,
        hub: Hub,
        *,
        probing: Probing,
        starts: Starts,
        waiting: Waiting,
        findings: Findings,
        send: Callable[[Host], object],
        helps: Callable[[Asker], bool],
    ) -> None:
        """`send` has a worker call `judge` for a host. `helps` asks what waits, where nobody else can; else False."""
        self._calm = Calm()
        self._gate = Gate(hub, self._calm)
        self._probing = probing
        self._starts = starts
        self._waiting = waiting
        self._findings = findings
        self._send = send
        self._helps = helps
        self.held = 0
        self.lost = 0

    def is_needed(self, host: Host) -> bool:
        """Tell whether the silence of a host that has answered is to be judged, and can be."""
        return host.has_witness and not self._starts.are_short

    def doubt(self, question: Question) -> None:
        """Have a silent port asked a last time, once the way to its host, which is not held, has been found open."""
        self._way(question.host).doubts.append(question)
        self.see_to(question.host)

    def suspect(self, question: Question) -> None:
        """Have a silent port of a host that has answered told, once the way to it has been found open."""
        host = question.host
        if host.way is not None and host.way.is_lost:
            self._findings.add(host, question.port, question.place, NO_LONGER, None, question.tries)
        elif not self.is_needed(host):
            self._findings.add_silent(question, question.tries)
        else:
            self._way(host).suspects.append(question)
            self.see_to(host)

    def _way(self, host: Host) -> Way[Question]:
        if host.way is None:
            host.way = Way()
        return host.way

    def see_to(self, host: Host) -> None:
        """Send somebody to a host that has a way, unless he is there."""
        way = host.way
        if way is not None and not way.is_judged:
            way.is_judged = True
            self._send(host)

    def judge(self, asker: Asker, host: Host) -> None:
        """Ask the witness of a host, and do what follows, until nothing of the host is left to be decided."""
        way = host.way
        assert way is not None
        while way.suspects or way.doubts or (way.is_held and (way.later or host.backlog)):
            if self._answers(asker, host):
                self._settle(way)
                if way.is_held:
                    self._ask_in_calm(asker, host, way)
            else:
                self._hold(asker, host, way)
        way.is_judged = False

    def _settle(self, way: Way[Question]) -> None:
        """Tell what was silent, and have what has a try left asked, now that the way is open."""
        silent, doubts = way.opened()
        for question in silent:
            self._findings.add_silent(question, question.tries)
            self._calm.settled += way.is_held
        for question in doubts:
            question.attempt += 1
        self._waiting.ask_again(doubts)

    def _answers(self, asker: Asker, host: Host, misses: int = MISSED) -> bool:
        """Ask the witnesses of a host, the other one where one is silent, until it is sure whether the way is open."""
        results: list[bool] = []
        port, other = host.witnesses()
        while (is_open := judge_run(results, misses)) is None:
            started = self._starts.next()
            code = self._probing.start(asker, host, host.sockaddr(port))
            if code in PENDING:
                code = self._probing.wait_once(asker, host, started)
            asker.close()
            self._findings.resends += 1
            if code in EXHAUSTED:
                self._probing.ran_out(errorcode.get(code, str(code)))
            elif code not in (SELF_CONNECT, NO_ENTRY):
                results.append(code not in PENDING and verdict(code, asker.icmp).state in ("open", "closed"))
                if not results[-1]:
                    port, other = other, port
        return is_open

    def _hold(self, asker: Asker, host: Host, way: Way[Question]) -> None:
        """Ask nothing of a host for a while, as the way to it is closed."""
        self.held += not way.is_held
        pause = way.closed(self._calm.settled)
        host.is_held = True
        if way.is_lost:
            self._give_up(host, way)
        else:
            self._probing.rest(pause)
            self._finish_under_way(asker, host)
            way.set_aside()  # those were asked while it was closed

    def _ask_in_calm(self, asker: Asker, host: Host, way: Way[Question]) -> None:
        """Ask the next few ports of a host, once there is room for that, until nothing of it is under way."""
        wanted = len(way.later) + len(host.backlog or ())
        if not wanted:
            return
        self._probing.stand_at(self._gate, is_again=False)
        room, closings = self._calm.take(wanted), self._calm.closings
        is_open = False
        try:
            self._ask_batch(host, way, room)
            self._start_waiting(asker, host)
            is_open = self._answers(asker, host, misses=1)
            self._finish_under_way(asker, host)
        finally:
            self._calm.give_back(room, closings=closings, is_open=is_open)
            self._gate.call()
        if not is_open:
            way.set_aside()

    def _ask_batch(self, host: Host, way: Way[Question], most: int) -> None:
        batch = way.take_later(most)
        for question in batch:
            question.start_round()
        while host.backlog and len(batch) < most:
            batch.append(self._waiting.call_next(host))
        self._waiting.again.extend(batch)

    def _finish_under_way(self, asker: Asker, host: Host) -> None:
        self._start_waiting(asker, host)
        while host.under_way:
            self._probing.rest(LOOK)

    def _start_waiting(self, asker: Asker, host: Host) -> None:
        """Wait until all that is to be asked again of a host has been begun; help where sockets are few."""
        while any(question.host is host for question in self._waiting.again):
            if not self._helps(asker):
                self._probing.rest(LOOK)

    def _give_up(self, host: Host, way: Way[Question]) -> None:
        """Say of all that is left of a host that it no longer answers."""
        self.lost += 1
        for question in way.take_all():
            self._findings.add(host, question.port, question.place, NO_LONGER, None, question.tries)
        while host.backlog:
            question = self._waiting.call_next(host)
            self._findings.add(host, question.port, question.place, NO_LONGER, None, 0)
