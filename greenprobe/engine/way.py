"""Whether the way to a host is open: what may be concluded from its silence, and what to do when it is not.

Facts. A router on the way whose table of connections is full, or a host that bans who asks too much, drops our probes
as a filter does. One port tells them apart: one that has answered before, the witness. If it answers now, RUN times in
a row, what stayed silent until now is silent; if it does not, nothing is known of any port. An answer of an open port
leaves an entry in such a table for ten seconds and up to its next sweep, a refusal none; but some hosts refuse only so
many times a second. A sweep, once a second at most, makes room for a few at once.

Failure. Asking the witness only after the last try of a port: a sweep in between lets the witness through, and a closed
port is called filtered. In a model of 32 hosts behind one router that befell 16 of 200 scans, some ports each.

Choice. The last try of a port is made between two tests of the witness. While the way is closed the host is held:
nothing of it is asked, for a pause that doubles. When it is open again a batch is asked in calm, each port on one
socket, as a port takes one entry of such a table so, however often the kernel asks; then the witness, right after, when
a single miss tells that there was no room, and at the end. How many ports are in calm at once is counted for all held
hosts together (`Calm`), as they may be behind one router: more while the witnesses answer, fewer when they do not. No
clock, no socket here: the scanner does what is said.

Price. What falls silent costs its host twice RUN more probes or a few more, shared by all ports that do so together.
Hosts that each ban us by themselves wait for each other a little.
"""

from typing import Final, Generic, TypeVar

__all__ = ["RUN", "Calm", "Way", "judge_run"]

Question = TypeVar("Question")

RUN: Final = 3  # answers of the witness in a row: a way that loses half lets one of eight through
MISSED: Final = 3  # silences of the witness in one test, then the way is closed
FIRST_PAUSE: Final = 1.0  # seconds
LONGEST_PAUSE: Final = 16.0
PATIENCE: Final = 240.0  # seconds of pauses in a row; entries last up to 120, ended ones 60 more until they are swept
FIRST_CALM: Final = 32  # questions
LEAST_CALM: Final = 8
MOST_CALM: Final = 1024


class Calm:
    """How many ports of held hosts are asked in calm, `on_wire`, and how many may be, `size`; `settled` were told.

    The size doubles while it is less than has been enough, then grows by halves. Batches that meet one closing of the
    way, counted in `closings`, halve it once.
    """

    __slots__ = ("_enough", "closings", "on_wire", "settled", "size")

    def __init__(self) -> None:
        self.closings = 0
        self.on_wire = 0
        self.settled = 0
        self.size = FIRST_CALM
        self._enough = MOST_CALM

    def take(self, wanted: int) -> int:
        """Take room, of which there is some, for up to `wanted`; return for how many."""
        count = min(wanted, self.size - self.on_wire)
        self.on_wire += count
        return count

    def give_back(self, count: int, *, closings: int, is_open: bool) -> None:
        """Give room back after a batch that began at so many closings; at its end the way was open or not."""
        self.on_wire -= count
        if is_open:
            self._enough = max(self._enough, count)
            more = count if self.size < self._enough else -(-count // 2)
            self.size = min(self.size + more, MOST_CALM)
        elif closings == self.closings:
            self.closings += 1
            self._enough = max(self._enough // 2, LEAST_CALM)
            self.size = max(self.size // 2, LEAST_CALM)


class Way(Generic[Question]):
    """The way to one host.

    `doubts` are its silent ports that have a last try left, `suspects` those that have none and are not told yet,
    `later` those to ask in calm.
    """

    __slots__ = ("_pause", "_progress", "_waited", "doubts", "is_held", "is_judged", "is_lost", "later", "suspects")

    def __init__(self) -> None:
        self.doubts: list[Question] = []
        self.suspects: list[Question] = []
        self.later: list[Question] = []
        self.is_judged = False  # somebody is at it
        self.is_held = False  # from the first time it was closed on
        self.is_lost = False  # it never opened again
        self._pause = FIRST_PAUSE
        self._waited = 0.0
        self._progress = 0

    def opened(self) -> tuple[list[Question], list[Question]]:
        """Note that the witness answers; return the ports that are silent, and those to be asked a last time."""
        silent, self.suspects = self.suspects, []
        doubts, self.doubts = self.doubts, []
        if silent:
            self._pause, self._waited = FIRST_PAUSE, 0.0
        return silent, doubts

    def closed(self, progress: int = 0) -> float:
        """Note that the witness is silent; return the seconds to wait, 0 when that has been enough.

        It has not as long as there is `progress`, a number that changes with it, of any held host.
        """
        if progress != self._progress:
            self._progress, self._waited = progress, 0.0
        self.is_held = True
        self.set_aside()
        if self._waited >= PATIENCE:
            self.is_lost = True
            return 0.0
        pause, self._pause = self._pause, min(self._pause * 2, LONGEST_PAUSE)
        self._waited += pause
        return pause

    def set_aside(self) -> None:
        """Have what was silent asked in calm: nothing is known of it."""
        self.later += self.suspects + self.doubts
        self.suspects, self.doubts = [], []

    def take_all(self) -> list[Question]:
        """Return all that is left, when the way is lost."""
        left, self.later = self.later, []
        return left

    def take_later(self, most: int) -> list[Question]:
        """Return the next questions to ask again in calm."""
        batch, self.later = self.later[:most], self.later[most:]
        return batch


def judge_run(results: list[bool], misses: int = MISSED) -> bool | None:
    """Tell from what the witness did, in order, whether the way is open; None if it has to be asked once more.

    It is closed after so many `misses`.
    """
    if len(results) >= RUN and all(results[-RUN:]):
        return True
    return False if results.count(False) >= misses else None
