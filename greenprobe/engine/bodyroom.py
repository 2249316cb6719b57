"""How much of all bodies is in memory at once: a small share for each visit, and a few places for those that need more.

Facts. Each of a hundred visits may be at a body of 10 MiB: a gigabyte. Failure: if bodies took bytes of one budget as
they grow, all could hold some and each wait for more, for ever. Choice: who outgrows its share takes a place, which is
as large as a body may be, and never needs anything more. So who has a place never waits, and who waits has no more than
a share; meanwhile nothing is read for it, and the network holds the rest back. Price: fewer big bodies at once than
would fit if each took what it turns out to need; and the time that a body waits counts as its own.
"""

from typing import Final

from greenprobe.errors import BodyTooLarge
from greenprobe.http.decoding import Sink
from greenprobe.sync import Semaphore

__all__ = ["Body", "BodyRoom"]

LARGEST_SHARE: Final = 1 << 18  # bytes of each visit


class BodyRoom:
    """Room for the bodies of so many visits: `total` bytes, `longest` each at most; always for one whole body."""

    def __init__(self, total: int, longest: int, visits: int) -> None:
        self.share = min(LARGEST_SHARE, total // 4 // visits)
        self.places = Semaphore(max(1, (total - self.share * visits) // max(1, longest)))


class Body:
    """A body as it arrives, in `content`; `close` gives its place back."""

    __slots__ = ("_has_place", "_room", "content")

    def __init__(self, room: BodyRoom) -> None:
        self._room = room
        self._has_place = False
        self.content = bytearray()

    def sink(self, limit_bytes: int | None) -> Sink:
        """Begin anew, and return what takes the pieces, up to a limit; it may wait, and raises BodyTooLarge."""
        self.content.clear()

        def take(piece: bytes) -> None:
            size = len(self.content) + len(piece)
            if limit_bytes is not None and size > limit_bytes:
                raise BodyTooLarge(f"the body is longer than {limit_bytes:,} bytes, the most for its type")
            if size > self._room.share and not self._has_place:
                self._room.places.acquire()
                self._has_place = True
            self.content.extend(piece)

        return take

    def whole(self) -> bytes:
        """Return the content, which is in memory only once then; the place is kept for it."""
        content = bytes(self.content)
        self.content.clear()
        return content

    def close(self) -> None:
        """Let go of the content, and of its place."""
        self.content.clear()
        if self._has_place:
            self._has_place = False
            self._room.places.release()
