"""A host under scan and a port of it that did not answer at once: what the scanner knows while it asks.

A host without any answer yet keeps its silent ports here, two numbers each: should it answer after all, they are asked
again; else they are told when nothing more of it is to come. From KEPT silent ports on it counts as dead, and further
ones are told at once.
"""

from array import array
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

from greenprobe.engine.gate import Gate
from greenprobe.engine.targets import Address
from greenprobe.engine.timing import SCOUTS, HostTiming
from greenprobe.engine.way import Way
from greenprobe.engine.window import Round, Window

__all__ = ["Host", "Question"]

KEPT: Final = 1024

Place = int  # in the order of the targets


class Host:
    """What a probe needs of a host, ready made, and how far it is.

    `gates` are those that a probe to it has to pass: the one of all and perhaps its own. `backlog` holds targets that
    wait for its own.
    """

    __slots__ = (
        "backlog",
        "called",
        "closed_port",
        "family",
        "gates",
        "ip",
        "is_held",
        "is_settled",
        "name",
        "open_port",
        "silent_places",
        "silent_ports",
        "silent_rounds",
        "tail",
        "text",
        "timing",
        "under_way",
        "way",
    )

    def __init__(self, address: Address, name: str, gates: tuple[Gate[Window], ...]) -> None:
        self.family = address.family
        self.ip = address.ip
        self.text = address.text
        self.name = name
        self.tail: tuple[int, ...] = (0, address.scope_id) if address.scope_id else ()
        self.timing = HostTiming()
        self.gates = gates
        self.backlog: deque[tuple[Place, int]] | None = None  # made when something waits
        self.called = 0  # from the backlog, and not asked yet
        self.is_settled = False
        self.silent_ports = array("L")
        self.silent_places = array("Q")
        self.silent_rounds: list[Round] = []
        self.open_port = 0  # one that is known, as is a closed one
        self.closed_port = 0
        self.way: Way[Question] | None = None  # made when a port falls silent
        self.is_held = False  # as the way was closed: its ports wait for calm
        self.under_way = 0

    def is_full(self) -> bool:
        """Whether this host alone has no room for another target."""
        if self.is_held:
            return True
        if len(self.gates) == 1:
            return False
        window = self.gates[1].window
        return window.on_wire + self.called >= window.size

    @property
    def has_witness(self) -> bool:
        """Whether a port is known that answers."""
        return bool(self.open_port or self.closed_port)

    def witnesses(self) -> tuple[int, int]:
        """Return two ports known to answer, or the same one twice; first the better one to ask now."""
        first, second = self.open_port, self.closed_port
        if self.is_held:  # maybe by a table in which a refusal leaves nothing
            first, second = second, first
        return first or second, second or first

    def call_next(self) -> "Question":
        """Return the first of the backlog, which must not be empty, to be asked."""
        assert self.backlog
        place, port = self.backlog.popleft()
        self.called += 1
        return Question(self, port, place)

    def sockaddr(self, port: int) -> tuple[Any, ...]:
        """Return what connect() wants."""
        return (self.ip, port, *self.tail)

    def keep_silent(self, question: "Question") -> bool:
        """Note a silent port of a host without any answer; False if it is to be told at once."""
        if self.is_settled or question.is_second or len(self.silent_ports) >= KEPT:
            return False
        self.silent_ports.append(question.port)
        self.silent_places.append(question.place)
        for _, round_ in question.tickets:
            if not self.silent_rounds or self.silent_rounds[-1] is not round_:
                self.silent_rounds.append(round_)
        return True

    def take_silent(self) -> Iterator["Question"]:
        """Yield the silent ports as questions that were asked once, and forget them."""
        ports, places = self.silent_ports, self.silent_places
        self.silent_ports, self.silent_places, self.silent_rounds = array("L"), array("Q"), []
        for place, port in zip(places, ports, strict=True):
            question = Question(self, port, place)
            question.before = 1
            question.is_second = True
            yield question

    def is_doubtful(self) -> bool:
        """Tell whether its silence may be ours: few ports were asked with patience, or the path lost much."""
        return len(self.silent_ports) < SCOUTS or any(round_.is_lossy for round_ in self.silent_rounds)


class Question:
    """A port that did not answer at once: how often it was asked. A round is as many tries as silence deserves."""

    __slots__ = ("attempt", "before", "host", "is_scout", "is_second", "place", "port", "rounds", "tickets")

    def __init__(self, host: Host, port: int, place: Place) -> None:
        self.host = host
        self.port = port
        self.place = place
        self.attempt = 1  # in this round; 0 before the first
        self.before = 0  # tries in earlier rounds
        self.rounds = 1
        self.is_scout = False
        self.is_second = False  # asked again after a silence of the whole host
        self.tickets: tuple[tuple[Window, Round], ...] = ()  # of the windows it passed, once it had to wait

    @property
    def tries(self) -> int:
        """How often it was asked in all."""
        return self.before + self.attempt

    @property
    def is_doubtful(self) -> bool:
        """Whether it was asked while too much was on the wire."""
        return any(round_.is_lossy for _, round_ in self.tickets)

    def start_round(self) -> None:
        """Begin anew, as if it had not been asked yet."""
        self.before += self.attempt
        self.attempt = 1
        self.rounds += 1
        self.tickets = ()
