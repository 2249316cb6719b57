"""Where the frames of HTTP/2 end: bytes in, the same bytes out, cut behind each GOAWAY. Source: RFC 9113, section 4.1.

h2 takes a GOAWAY for the end of everything, and so what comes in one piece with it for a fault; cut there, its state
can be set back in between. It also waits for the end of a frame before it looks how long one may be: here a frame that
is too long is refused with its head, and so is a server that answers in HTTP/1.
"""

from typing import Final

from greenprobe.errors import ProtocolError

__all__ = ["FrameCutter"]

HEAD_BYTES: Final = 9
MAX_FRAME_BYTES: Final = 1 << 14  # what a peer may send that was not told otherwise
GOAWAY: Final = 7


class FrameCutter:
    """Follows the frames of one connection."""

    __slots__ = ("_head", "_is_goaway", "_missing")

    def __init__(self) -> None:
        self._head = b""  # what there is of the next frame's
        self._missing = 0  # bytes of this frame
        self._is_goaway = False

    def cut(self, data: bytes) -> list[bytes]:
        """Return `data` in pieces. Raises ProtocolError."""
        pieces = []
        start = place = 0
        while len(data) - place >= self._missing:
            place += self._missing
            self._missing = 0
            if self._is_goaway:
                pieces.append(data[start:place])
                start = place
                self._is_goaway = False
            head = self._head + data[place : place + HEAD_BYTES - len(self._head)]
            place += len(head) - len(self._head)
            if len(head) < HEAD_BYTES:
                self._head = head
                break
            self._head = b""
            self._begin(head)
        else:
            self._missing -= len(data) - place
        if start < len(data):
            pieces.append(data[start:])
        return pieces

    def _begin(self, head: bytes) -> None:
        length_bytes = int.from_bytes(head[:3])
        if head.startswith(b"HTTP/"):
            raise ProtocolError("the answer is HTTP/1, where HTTP/2 was agreed on")
        if length_bytes > MAX_FRAME_BYTES:
            raise ProtocolError(f"a frame of {length_bytes:,} bytes; there may be {MAX_FRAME_BYTES:,}")
        self._missing = length_bytes
        self._is_goaway = head[3] == GOAWAY
