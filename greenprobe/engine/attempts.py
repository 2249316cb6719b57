"""What is known of entries that will be tried again: how often they were tried, and what of it is to be archived.

An archive has every exchange of an entry, with its row, so bodies wait for the last attempt: in memory, or in temporary
files if they are large. All that wait are bounded by KEPT_BYTES; of an attempt beyond that, the heads are kept.
"""

from typing import Final, NamedTuple

from greenprobe.http.recorded import RecordedExchange, RecordedTrace
from greenprobe.http.trace import Trace

__all__ = ["Attempts"]

KEPT_BYTES: Final = 1 << 25


class Earlier(NamedTuple):
    """The attempts at one entry so far."""

    tries: int
    exchanges: list[RecordedExchange]
    body_bytes: int


class Attempts:
    """Remembers entries by their numbers, from one attempt to the next."""

    def __init__(self) -> None:
        self._earlier: dict[int, Earlier] = {}
        self._kept_bytes = 0

    def resume(self, number: int, trace: Trace) -> None:
        """Tell the trace of a new attempt what came before it."""
        earlier = self._earlier.pop(number, None)
        if earlier is None:
            return
        trace.attempts = earlier.tries + 1
        self._kept_bytes -= earlier.body_bytes
        if isinstance(trace, RecordedTrace):
            trace.exchanges = earlier.exchanges

    def put_off(self, number: int, trace: Trace, *, counts: bool = True) -> None:
        """Remember an attempt that another will follow; unless it `counts`, the next has its number."""
        exchanges = trace.exchanges if isinstance(trace, RecordedTrace) else []
        body_bytes = 0
        for exchange in exchanges:
            if self._kept_bytes + body_bytes + exchange.body_bytes > KEPT_BYTES:
                exchange.drop_body()
            body_bytes += exchange.body_bytes
        self._kept_bytes += body_bytes
        self._earlier[number] = Earlier(trace.attempts - (not counts), exchanges, body_bytes)

    def clear(self) -> None:
        """Forget all, and let go of their bodies."""
        for earlier in self._earlier.values():
            for exchange in earlier.exchanges:
                exchange.close()
        self._earlier.clear()
        self._kept_bytes = 0
