"""What cannot go on now and waits outside of any worker, so that it costs two numbers and no greenthread.

A target whose host has no room stands in the host's backlog. A silent port of a host without any answer is kept by the
host until that is known: should it answer after all, its silent ports are asked again; else they are told when nothing
more of it is to come, once more asked if the silence is doubtful. What is to be asked again now is in `again`, which
goes before new targets.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from greenprobe.engine.findings import Findings
from greenprobe.engine.hosts import Host, Question

__all__ = ["Waiting"]

MAX_BACKLOG: Final = 50_000  # targets whose hosts have no room, before all wait for them


class Waiting:
    """`again` are the questions to ask next, `silent` is how many ports are kept. `hire` gets somebody to ask."""

    __slots__ = ("_asks_twice", "_backlog", "_findings", "_hire", "again", "silent")

    def __init__(self, findings: Findings, *, hire: Callable[[], object], asks_twice: bool) -> None:
        """`asks_twice` says that a doubtful silence of a whole host is asked about once more."""
        self.again: deque[Question] = deque()
        self.silent = 0
        self._backlog = 0
        self._findings = findings
        self._hire = hire
        self._asks_twice = asks_twice

    @property
    def is_full(self) -> bool:
        """Whether whoever has a further target should wait, as nothing is to be asked that would make room."""
        return self._backlog > MAX_BACKLOG and not self.again

    def ask_again(self, questions: Iterable[Question]) -> None:
        """Have questions asked next."""
        self.again.extend(questions)
        self._hire()

    # -- targets of hosts without room

    def put_back(self, host: Host, port: int, place: int) -> None:
        """Leave a target to its host."""
        if host.backlog is None:
            host.backlog = deque()
        host.backlog.append((place, port))
        self._backlog += 1

    def call(self, host: Host) -> None:
        """Have what waits for a host asked, as far as there is room now."""
        while host.backlog and not host.is_full():
            self.again.append(self.call_next(host))
        if self.again:
            self._hire()

    def call_next(self, host: Host) -> Question:
        """Take the first target of a backlog, which must not be empty."""
        question = host.call_next()
        self._backlog -= 1
        return question

    # -- silent ports of hosts without an answer

    def keep(self, question: Question) -> None:
        """Keep a silent port until its host is known, or tell it at once."""
        if question.host.keep_silent(question):
            self.silent += 1
        else:
            self._findings.add_silent(question, question.tries)

    def reopen(self, host: Host) -> None:
        """Ask the silent ports of a host again, which has just answered for the first time."""
        self.silent -= len(host.silent_ports)
        self.ask_again(host.take_silent())

    def settle(self, host: Host, *, were_others_held: bool) -> None:
        """Say of a host without any answer that its ports are silent, or ask them once more if that is doubtful.

        It is so where other hosts fell silent as a whole: a router on the way may have had no room for this one.
        """
        self.silent -= len(host.silent_ports)
        asks_again = self._asks_twice and (were_others_held or host.is_doubtful())
        for question in host.take_silent():
            if asks_again:
                self.again.append(question)
            else:
                self._findings.add_silent(question, question.before)
        host.is_settled = True
