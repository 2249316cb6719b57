"""Every exception greenprobe defines, and when each is raised.

Names say the situation of the caller: Busy (two greenthreads, one descriptor), Closed (you closed it), Broken (the
other side did), Local and Remote protocol errors (who broke the rules). A green stand-in for something of the standard
library raises exactly what the standard library raises, so most waits end in OSError, TimeoutError or queue.Empty.
"""

from greenlet import GreenletExit

__all__ = [
    "BadRequest",
    "BodyTooLarge",
    "BrokenResourceError",
    "BusyError",
    "Cancelled",
    "ClosedResourceError",
    "ConnectError",
    "ConnectTimeout",
    "ConnectionLost",
    "DeadlockError",
    "DecodeError",
    "DnsError",
    "EmptyReply",
    "FetchError",
    "ForbiddenAddress",
    "FrontierError",
    "GreenletExit",
    "GreenprobeError",
    "HeaderTooLarge",
    "HostGivenUp",
    "HubError",
    "IncompleteBody",
    "LocalProtocolError",
    "PoolTimeout",
    "ProtocolError",
    "ProxyError",
    "ReadTimeout",
    "RedirectError",
    "RemoteProtocolError",
    "RenderError",
    "ScanStalled",
    "StopServe",
    "StorageError",
    "SwitchError",
    "TargetError",
    "TlsError",
    "TotalTimeout",
    "UnreadablePage",
    "UnwantedType",
    "UrlError",
    "WriteTimeout",
]


class GreenprobeError(Exception):
    """The root of all greenprobe errors that are Exceptions."""


class HubError(GreenprobeError):
    """The hub was used in a way it cannot be: from its own loop, after it was closed, from another thread."""


class DeadlockError(HubError):
    """Nothing is ready, no timer runs, no descriptor is waited for, no other thread lives: nobody can ever wake us."""


class SwitchError(HubError):
    """A block under `assert_no_switches()` switched."""


class StopServe(GreenprobeError):
    """Raised by a handler of `serve` to end the serving: `serve` returns, the other handlers run on."""


class BusyError(GreenprobeError):
    """Two greenthreads use one thing at once that serves only one: the message names both."""


class ClosedResourceError(GreenprobeError):
    """You closed this side of it before, or while, you used it."""


class BrokenResourceError(GreenprobeError):
    """The other side went away."""


class LocalProtocolError(GreenprobeError):
    """You asked for something that the protocol does not allow here."""


class RemoteProtocolError(GreenprobeError):
    """The peer sent something that the protocol does not allow here."""


class DnsFormError(RemoteProtocolError):
    """A DNS server's reply is malformed, or answers something else."""


class BadRequest(RemoteProtocolError, OSError):
    """A client's request breaks the rules of HTTP or a limit of the server; `status` is what it is answered with.

    An OSError as well: an application that reads a body which turns out broken gets what WSGI servers raise there.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class PoolTimeout(GreenprobeError, TimeoutError):
    """No place in a pool became free in time."""


class TargetError(GreenprobeError):
    """A target, port or URL that was asked for cannot be understood: the message says which and what to write."""


class UnreadablePage(GreenprobeError):
    """A page was fetched, and reading it would take too long or too much memory."""


class FrontierError(GreenprobeError):
    """A frontier's file cannot be used: the message says which and why. Nothing in it was changed."""


class ScanStalled(GreenprobeError):
    """This machine ran out of something and did not get it back: the message says of what."""


class RenderError(GreenprobeError):
    """A page could not be rendered: there is no browser, it is gone, or it refuses."""


class Cancelled(BaseException):
    """The scope this greenthread runs in is over; the scope itself catches it.

    A BaseException, so that `except Exception` lets it pass. Whoever swallows it meets it again at the next switch.
    """


class FetchError(GreenprobeError):
    """A URL could not be fetched. The name of the subclass is what a result record calls the error's class."""


class UrlError(FetchError, TargetError):
    """It is no URL, or none that can be fetched over HTTP; also for the target of a redirect."""


class DnsError(FetchError):
    """The host's name has no address, or nobody could say."""


class ConnectError(FetchError):
    """No connection could be made: refused, unreachable."""


class ConnectTimeout(ConnectError, TimeoutError):
    """No connection was made in time."""


class ForbiddenAddress(ConnectError):
    """The host is at an address that this client may not connect to: private, loopback, reserved."""


class ProxyError(ConnectError):
    """The proxy refused, could not be understood, or could not reach the host."""


class TlsError(FetchError):
    """The peer's certificate is not to be trusted, or it does not speak TLS as it should."""


class ConnectionLost(FetchError):
    """The connection broke while a request or an answer was under way."""


class EmptyReply(ConnectionLost):
    """The connection ended before the first byte of an answer."""


class ReadTimeout(FetchError, TimeoutError):
    """Nothing came from the peer for too long."""


class WriteTimeout(FetchError, TimeoutError):
    """The peer took nothing of the request for too long."""


class TotalTimeout(FetchError, TimeoutError):
    """Everything together took too long."""


class ProtocolError(FetchError, RemoteProtocolError):
    """The answer is not HTTP, or breaks its rules."""


class HeaderTooLarge(ProtocolError):
    """The head of the answer, or what frames its body, passed a limit."""


class IncompleteBody(ConnectionLost):
    """The connection ended before the body was complete."""


class BodyTooLarge(FetchError):
    """The body, decoded, passed the limit on its size, or on what may come out of so few bytes."""


class DecodeError(FetchError):
    """The body is not in the coding that its head names."""


class HostGivenUp(FetchError):
    """The host had too many errors in a row; it was not asked."""


class StorageError(FetchError):
    """A body could not be written to a file; the message says which and why."""


class UnwantedType(FetchError):
    """The answer is of a media type that nobody wants; its body was not received."""


class RedirectError(FetchError):
    """Too many redirects, or one that may not be followed."""
