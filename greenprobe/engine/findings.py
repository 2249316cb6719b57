"""What a scan has found: records are made here, and counted."""

from collections.abc import Callable
from typing import Final

from greenprobe.engine.connector import Asker
from greenprobe.engine.hosts import Host, Question
from greenprobe.engine.ports import UDP
from greenprobe.engine.scanplan import ScanRecord
from greenprobe.engine.shortage import Shortages
from greenprobe.engine.udp import spoken
from greenprobe.engine.verdicts import NO_RESPONSE, UDP_NO_RESPONSE, Verdict

__all__ = ["Findings"]

new: Final = tuple.__new__  # half the price of calling a named tuple


class Findings:
    """Gives records to `leave`, counted by their state in `counts`; `resends` is how many tries were not the first.

    A record is a step forward, which ends what was short.
    """

    __slots__ = ("_leave", "_shortages", "counts", "resends")

    def __init__(self, leave: Callable[[ScanRecord], object], shortages: Shortages) -> None:
        self._leave = leave
        self._shortages = shortages
        self.counts = {"open": 0, "closed": 0, "filtered": 0, "open|filtered": 0, "unreported": 0}
        self.resends = 0

    @property
    def done(self) -> int:
        """How many ports are known."""
        return sum(self.counts.values())

    def add(
        self,
        host: Host,
        port: int,
        place: int,
        what: Verdict,
        rtt: float | None,
        tries: int,
        asker: Asker | None = None,
    ) -> None:
        """Have a record for the reader; `asker` was told more than the verdict. `rtt` is by our clock."""
        self._shortages.end()
        state, reason = what
        self.counts[state] += 1
        self.resends += tries - 1
        sender = asker.icmp.sender if asker is not None and asker.icmp is not None else None
        service, proto = None, "tcp"
        if port > UDP:
            port, proto = port - UDP, "udp"
            service = spoken(port, asker.said) if asker is not None and state == "open" else None
        elif state == "closed":
            host.closed_port = port
        elif state == "open":
            host.open_port = port
            rtt = (asker.rtt if asker is not None else 0.0) or rtt
        fields = (host.name, host.text, port, state, reason, rtt, tries, sender, service, proto, place)
        self._leave(new(ScanRecord, fields))

    def add_silent(self, question: Question, tries: int) -> None:
        """Have a record of a port that did not answer any of its tries."""
        what = NO_RESPONSE if question.port < UDP else UDP_NO_RESPONSE
        self.add(question.host, question.port, question.place, what, None, tries)
