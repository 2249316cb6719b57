"""What a scan has found and nobody has taken yet, and who waits for it."""

from typing import Final

from greenlet import getcurrent, greenlet

from greenprobe.engine.connector import Asker
from greenprobe.engine.hosts import Host
from greenprobe.engine.ports import UDP
from greenprobe.engine.scanplan import ScanRecord
from greenprobe.engine.udp import spoken
from greenprobe.engine.verdicts import Verdict
from greenprobe.hub import Hub

__all__ = ["Findings"]

new: Final = tuple.__new__  # half the price of calling a named tuple


class Findings:
    """Records for one reader, counted by their state in `counts`; `resends` is how many tries were not the first."""

    __slots__ = ("_batch", "_hub", "_reader", "counts", "resends")

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._batch: list[ScanRecord] = []
        self._reader: greenlet | None = None
        self.counts = {"open": 0, "closed": 0, "filtered": 0, "open|filtered": 0, "unreported": 0}
        self.resends = 0

    @property
    def done(self) -> int:
        """How many ports are known."""
        return sum(self.counts.values())

    def take(self) -> list[ScanRecord]:
        """Return what has come since the last time."""
        batch, self._batch = self._batch, []
        return batch

    def wait(self) -> None:
        """Wait until there is something, or `wake` is called."""
        self._reader = getcurrent()
        self._hub.switch()

    def wake(self) -> None:
        """Wake the reader, if it waits."""
        reader, self._reader = self._reader, None
        if reader is not None:
            self._hub.schedule(reader)

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
        """Have a record for the reader; `asker` was told more than the verdict."""
        state, reason = what
        self.counts[state] += 1
        self.resends += tries - 1
        sender = asker.icmp.sender if asker is not None and asker.icmp is not None else None
        service, proto = None, "tcp"
        if port > UDP:
            port, proto = port - UDP, "udp"
            service = spoken(port, asker.said) if asker is not None and state == "open" else None
        elif state == "open" or (state == "closed" and not host.witness):
            host.witness = port
        fields = (host.name, host.text, port, state, reason, rtt, tries, sender, service, proto, place)
        self._batch.append(new(ScanRecord, fields))
        if self._reader is not None:
            self.wake()
