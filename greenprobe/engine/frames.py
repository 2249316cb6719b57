"""Messages between the processes of one run: pickled values with their length in front, over pipes.

Both ends are ours and of one version, started by one another, so pickle may be trusted with what it reads.
"""

import os
from collections import deque
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from greenprobe.hub import Hub
from greenprobe.lazy import Lazy
from greenprobe.sync import Lock

__all__ = ["FrameReader", "FrameSource", "frame_of", "read_frame", "write_frame"]

pickle = Lazy("pickle")

READ_BYTES: Final = 1 << 18
HEAD_BYTES: Final = 4

Entry = tuple[int, bytes]
Extras = dict[str, Any]


def frame_of(value: object) -> bytes:
    """Return a value as a frame."""
    data: bytes = pickle.dumps(value, protocol=5)
    return len(data).to_bytes(HEAD_BYTES, "big") + data


def write_frame(hub: Hub, fd: int, frame: bytes) -> None:
    """Write a frame to a non-blocking pipe, waiting green. Raises OSError: BrokenPipeError if nobody reads."""
    rest = memoryview(frame)
    slot = hub.poller.slot(fd)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            hub.wait(slot.write)


def read_frame(source: BinaryIO) -> Any:
    """Read a value from a file that blocks. Raises EOFError where it ends."""
    head = source.read(HEAD_BYTES)
    data = source.read(int.from_bytes(head, "big"))
    return pickle.loads(data)


class FrameReader:
    """Reads frames from a non-blocking pipe."""

    def __init__(self, hub: Hub, fd: int) -> None:
        self._hub = hub
        self._fd = fd
        self._buffer = bytearray()
        os.set_blocking(fd, False)

    def read(self) -> Iterator[Any]:
        """Yield values until the pipe ends, also in the middle of a frame."""
        slot = self._hub.poller.slot(self._fd)
        while True:
            try:
                data = os.read(self._fd, READ_BYTES)
            except BlockingIOError:
                self._hub.wait(slot.read)
                continue
            if not data:
                return
            self._buffer += data
            yield from self._whole()

    def _whole(self) -> Iterator[Any]:
        buffer = self._buffer
        place = 0
        while len(buffer) - place >= HEAD_BYTES:
            end = place + HEAD_BYTES + int.from_bytes(buffer[place : place + HEAD_BYTES], "big")
            if end > len(buffer):
                break
            yield pickle.loads(memoryview(buffer)[place + HEAD_BYTES : end].tobytes())
            place = end
        del buffer[:place]

    def close(self) -> None:
        """Let go of the descriptor's slot in the poller."""
        self._hub.poller.forget(self._fd)


class FrameSource:
    """A list whose entries come in frames: what UrlList is to a fetcher, in a process that was given a part of one."""

    def __init__(self, hub: Hub, fd: int) -> None:
        self._reader = FrameReader(hub, fd)
        self._frames = self._reader.read()
        self._lock = Lock()
        self.lines: deque[Entry] = deque()
        self.carried: dict[int, Extras] = {}
        self.is_over = False
        self.read_bytes = 0
        self.size_bytes: int | None = None

    def first(self) -> Any:
        """Return the value of the first frame, which is no entries; None where the pipe ended before."""
        return next(self._frames, None)

    def refill(self) -> bool:
        """Read until there is an entry in `lines`, waiting if need be; False when there will be no more."""
        with self._lock:
            while not self.lines:
                if self.is_over:
                    return False
                frame = next(self._frames, None)
                if frame is None:
                    self.is_over = True
                    continue
                entries, carried = frame
                self.lines.extend(entries)
                self.carried.update(carried)
        return True

    def close(self) -> None:
        """Let go of the descriptor's slot in the poller."""
        self._reader.close()
