"""What is known of one fetch, while it runs and afterwards: also of one that failed."""

from typing import Final, NamedTuple

from greenprobe.http.certificates import TlsFacts
from greenprobe.http.connections import Address
from greenprobe.http.urls import Url
from greenprobe.http.wire import Headers

__all__ = ["NO_HEADERS", "Hop", "Trace"]

NO_HEADERS: Final[Headers] = {}


class Hop(NamedTuple):
    """A redirect that was followed: where it came from, and with which status."""

    status: int
    url: str


class Trace:
    """The state of one fetch. Times are in the hub's clock, durations in seconds.

    `url` is where the redirects have led so far, and status, headers, size, address and TLS facts are those of its
    answer. `dns`, `connect` and `tls` are sums over the connections that were opened for it, None if none was.
    `first_byte` is the time from the last request to the first byte of its answer. `ended` is when the last thing
    happened that is noted here. `sent_bytes` and `received_bytes` are all of HTTP both ways, over all hops and
    attempts, before TLS.
    """

    __slots__ = (
        "address",
        "attempts",
        "connect",
        "deadline",
        "dns",
        "ended",
        "first_byte",
        "headers",
        "hops",
        "protocol",
        "received_bytes",
        "sent_bytes",
        "size_bytes",
        "started",
        "status",
        "tls",
        "tls_facts",
        "url",
    )

    def __init__(self, url: Url) -> None:
        self.url = url
        self.status: int | None = None
        self.headers = NO_HEADERS
        self.size_bytes = self.sent_bytes = self.received_bytes = 0
        self.hops: tuple[Hop, ...] = ()
        self.attempts = 1
        self.address: Address | None = None
        self.protocol = "http/1.1"
        self.tls_facts: TlsFacts | None = None
        self.dns: float | None = None
        self.connect: float | None = None
        self.tls: float | None = None
        self.first_byte: float | None = None
        self.started = 0.0
        self.ended = 0.0
        self.deadline = 0.0

    def redirect(self, url: Url) -> None:
        """Go on to `url`."""
        assert self.status is not None
        self.hops = (*self.hops, Hop(self.status, self.url.text))
        self.url = url
        self.forget_answer()

    def restart(self, url: Url) -> None:
        """Begin another attempt, at the first `url`, with a deadline of its own."""
        self.url = url
        self.hops = ()
        self.attempts += 1
        self.deadline = 0.0
        self.forget_answer()

    def forget_answer(self) -> None:
        """Make ready for another answer."""
        self.status = None
        self.headers = NO_HEADERS
        self.size_bytes = 0
        self.first_byte = None

    def __repr__(self) -> str:
        return f"<Trace of {self.url.text} status={self.status} size={self.size_bytes} hops={len(self.hops)}>"
