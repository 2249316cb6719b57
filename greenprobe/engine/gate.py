"""A window and the greenthreads that wait for room in it."""

from collections import deque
from typing import Generic, Protocol, TypeVar

from greenlet import getcurrent, greenlet

from greenprobe.hub import Hub

__all__ = ["Gate"]


class Room(Protocol):
    """What a gate looks at."""

    size: int
    on_wire: int


R = TypeVar("R", bound=Room)


class Gate(Generic[R]):
    """Lets as many pass as `window` has room for. The one who passes counts itself into `window.on_wire`."""

    __slots__ = ("_hub", "_line", "window")

    def __init__(self, hub: Hub, window: R) -> None:
        self._hub = hub
        self._line: deque[list[greenlet]] | None = None  # made when somebody waits: there is a gate a host
        self.window = window

    @property
    def is_full(self) -> bool:
        """Whether there is no room."""
        return self.window.on_wire >= self.window.size

    def wait(self, *, is_again: bool) -> None:
        """Wait until there is room; who asks again goes first."""
        window = self.window
        while window.on_wire >= window.size:
            place = [getcurrent()]  # empty once it was called
            line = self._line = self._line if self._line is not None else deque()
            (line.appendleft if is_again else line.append)(place)
            try:
                while place:
                    self._hub.switch()
            finally:
                place.clear()

    def call(self) -> None:
        """Wake who waits first, if there is room."""
        line, window = self._line, self.window
        while line and window.on_wire < window.size:
            place = line.popleft()
            if place:  # else its greenthread was killed
                self._hub.schedule(place.pop())
                return
