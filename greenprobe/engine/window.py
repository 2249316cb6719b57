"""How many probes may be on the wire at once: a window that opens while the path carries what it is given.

Facts. Silence is normal for a filtered port, so it is no sign of loss, and a probe that was not answered within its
round-trip time is not on the wire any more, though we go on waiting for it. A path that is too narrow first answers
later (its queue fills), then loses; so does a host that limits its answers. What was lost is answered at a later try,
a timeout after it was sent. Random loss of some percent is no reason to go slower: it would not become less.

Failure. Counting late answers among those that come in at the same time: at the end of a scan only the lost ones are
left to answer, and the window would close on a path that is in order.

Choice. Probes are counted by the round they were first sent in: as many as the window was wide then. A round with more
than MAX_LATE of its answers late, or with a queue above MAX_QUEUE, was too wide: the window closes to three quarters of
what it was in that round, and the silences of a lossy round are doubtful. A round that went well opens it: at first by
the share of its probes that were answered, which doubles it where all were; after the first closing by a sixteenth, and
not before a round sent after the closing could have been found lossy.
Price. As long as nothing at all has answered there is nothing to judge by, and the window opens blindly.
"""

from typing import Final

__all__ = ["Round", "Window"]

FIRST: Final = 64
LEAST: Final = 4
SMALLEST_ROUND: Final = 32
MAX_LATE: Final = 0.1
FEW_LATE: Final = 6  # late answers of a round that are chance: at 2 % loss seven of 33 are late once in 300,000 rounds
MAX_QUEUE: Final = 0.04  # seconds above the shortest round trip of the host, on average


class Round:
    """Probes that were first sent one after the other, with the same window."""

    __slots__ = ("answers", "gone", "is_lossy", "late", "queue", "sent", "size")

    def __init__(self, size: int) -> None:
        self.size = size  # of the window
        self.sent = 0
        self.gone = 0  # from the wire: answered, or older than a round trip
        self.answers = 0
        self.late = 0
        self.queue = 0.0
        self.is_lossy = False

    @property
    def is_full(self) -> bool:
        """Whether a new probe belongs to the next round."""
        return self.sent >= max(self.size, SMALLEST_ROUND)


class Window:
    """`size` is how many probes may be on the wire, `on_wire` how many are: the caller counts them.

    Numbers in, no clock: `now` is seconds of any clock. The size stays between `least` and `limit`.
    """

    __slots__ = ("_has_answers", "_has_closed", "_open_from", "_round", "least", "limit", "on_wire", "size")

    def __init__(self, limit: int, *, first: int = FIRST) -> None:
        self.limit = limit
        self.least = min(LEAST, limit)
        self.size = min(first, limit)
        self.on_wire = 0
        self._round = Round(self.size)
        self._has_answers = False
        self._has_closed = False
        self._open_from = float("-inf")

    def __repr__(self) -> str:
        return f"<Window of {self.size}, {self._round.sent} sent in this round>"

    def keep(self, least: int) -> None:
        """Never be smaller than `least`, whatever is lost."""
        self.least = max(1, min(least, self.limit))
        self.size = max(self.size, self.least)

    def sent(self) -> Round:
        """Note the first try of a probe; return its round."""
        if self._round.is_full:
            self._round = Round(self.size)
        self._round.sent += 1
        return self._round

    def answered(self, round_: Round, *, is_late: bool, queue: float, now: float, timeout: float) -> None:
        """Note an answer to a probe of a round, perhaps to a re-send, `queue` seconds above the shortest time."""
        self._has_answers = True
        round_.answers += 1
        round_.queue += queue
        if is_late:
            round_.late += 1
            if round_.late > max(FEW_LATE, round_.answers * MAX_LATE) and not round_.is_lossy:
                round_.is_lossy = True
                self._close(round_, now, timeout)

    def gone(self, round_: Round, *, now: float, timeout: float) -> None:
        """Note that the first try of a probe is not on the wire any more; a re-send would come after `timeout`."""
        round_.gone += 1
        if round_.gone < round_.sent or not round_.is_full:
            return
        if round_.queue > round_.answers * MAX_QUEUE:
            self._close(round_, now, timeout)
        elif now >= self._open_from:
            self._open(round_)

    def _open(self, round_: Round) -> None:
        if self._has_closed:
            more = max(1, self.size // 16)
        elif self._has_answers:
            more = self.size * round_.answers // round_.sent
        else:
            more = self.size
        self.size = min(self.size + more, self.limit)

    def _close(self, round_: Round, now: float, timeout: float) -> None:
        self.size = max(self.least, min(self.size, round_.size * 3 // 4))
        self._has_closed = True
        self._open_from = now + 2 * timeout
