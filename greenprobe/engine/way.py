"""Whether the way to a host is open: what may be concluded from its silence, and what to do when it is not.

Facts. A router on the way whose table of connections is full, or a host that bans who asks too much, drops our probes
as a filter does. One port tells them apart: one that has answered before, the witness. If it answers now, RUN times in
a row, what stayed silent until now is silent; if it does not, nothing is known of any port.

Choice. While the way is closed the host is held: nothing of it is asked, for a pause that doubles. When it is open
again a batch is asked in calm, each port on one socket, as a port takes one entry of such a table so, however often the
kernel asks; then the witness, right after and at the end: the table may have been full and have room again. Batches
grow while it answers, and shrink when it does not. No clock, no socket here: the scanner does what is said.

Price. What falls silent costs its host RUN more probes or a few more, shared by all ports that do so together.
"""

from typing import Final, Generic, TypeVar

__all__ = ["RUN", "Way", "judge_run"]

Question = TypeVar("Question")

RUN: Final = 3  # answers of the witness in a row: a way that loses half lets one of eight through
MISSED: Final = 3  # silences of the witness in one test, then the way is closed
FIRST_PAUSE: Final = 1.0  # seconds
LONGEST_PAUSE: Final = 16.0
PATIENCE: Final = 240.0  # seconds of pauses in a row; entries last up to 120, ended ones 60 more until they are swept
FIRST_BATCH: Final = 32  # questions
SMALLEST_BATCH: Final = 4
BIGGEST_BATCH: Final = 1024


class Way(Generic[Question]):
    """The way to one host. `suspects` are its silent ports that are not told yet, `later` those to ask in calm."""

    __slots__ = ("_pause", "_waited", "batch", "is_held", "is_judged", "is_lost", "later", "suspects")

    def __init__(self) -> None:
        self.suspects: list[Question] = []
        self.later: list[Question] = []
        self.is_judged = False  # somebody is at it
        self.is_held = False  # from the first time it was closed on
        self.is_lost = False  # it never opened again
        self.batch = FIRST_BATCH
        self._pause = FIRST_PAUSE
        self._waited = 0.0

    def opened(self) -> list[Question]:
        """Note that the witness answers; return the questions that are settled by it: those ports are silent."""
        settled, self.suspects = self.suspects, []
        if settled:
            self.batch = min(self.batch * 2, BIGGEST_BATCH)
            self._pause, self._waited = FIRST_PAUSE, 0.0
        return settled

    def closed(self) -> float:
        """Note that the witness is silent; return the seconds to wait, 0 when that has been enough."""
        self.is_held = True
        if self.suspects:
            self.overfilled()
        if self._waited >= PATIENCE:
            self.is_lost = True
            return 0.0
        pause, self._pause = self._pause, min(self._pause * 2, LONGEST_PAUSE)
        self._waited += pause
        return pause

    def overfilled(self) -> None:
        """Note that what was asked last was more than the way carries."""
        self.batch = max(self.batch // 2, SMALLEST_BATCH)
        self.set_aside()

    def set_aside(self) -> None:
        """Have the suspects asked again: nothing is known of them."""
        self.later += self.suspects
        self.suspects = []

    def take_all(self) -> list[Question]:
        """Return all that is left, when the way is lost."""
        left, self.later = self.later, []
        return left

    def take_later(self) -> list[Question]:
        """Return the next questions to ask again in calm."""
        batch, self.later = self.later[: self.batch], self.later[self.batch :]
        return batch


def judge_run(results: list[bool]) -> bool | None:
    """Tell from what the witness did, in order, whether the way is open; None if it has to be asked once more."""
    if len(results) >= RUN and all(results[-RUN:]):
        return True
    return False if results.count(False) >= MISSED else None
