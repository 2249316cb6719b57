"""eventlet.coros: a metaphore, which many raise and one waits to see at zero."""

from greenprobe.compat.eventlet.event import Event

__all__ = ["metaphore"]


class metaphore:  # noqa: N801 - eventlet's name
    """A counter; `wait` waits until it is zero."""

    def __init__(self) -> None:
        self.counter = 0
        self.event = Event()
        self.event.send()

    def inc(self, by: int = 1) -> None:
        """Add to the counter. Raises AssertionError if `by` is not above 0."""
        if by <= 0:
            raise AssertionError(f"inc by {by}; give 1 or more")
        self.counter += by
        if self.event.ready():
            self.event.reset()

    def dec(self, by: int = 1) -> None:
        """Take from the counter; at zero whoever waits goes on. Raises AssertionError if that would be below zero."""
        if not 0 < by <= self.counter:
            raise AssertionError(f"dec by {by} of {self.counter}; give 1 to {self.counter}")
        self.counter -= by
        if not self.counter:
            self.event.send()

    def wait(self) -> None:
        """Wait until the counter is zero."""
        self.event.wait()
