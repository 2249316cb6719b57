"""How a client fetches: plain, frozen data, and the hooks that watch it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from greenprobe.http.auth import Auth, Netrc
from greenprobe.http.cookies import CookieJar
from greenprobe.http.proxy import Proxies
from greenprobe.http.request import Fields
from greenprobe.http.retries import RetryPolicy

__all__ = ["ClientOptions", "Hooks"]


class Hooks(NamedTuple):
    """Functions that are called on the way, each with the Trace of the fetch; they may raise a FetchError to end it.

    `request` is called before each request, `connect` when a connection was opened for it, `answer` when its answer is
    complete, `redirect` before one is followed, `retry` before the pause (in seconds, its second argument), `done` at
    the end with the error or None.
    """

    request: Callable[[Any], object] | None = None
    connect: Callable[[Any], object] | None = None
    answer: Callable[[Any], object] | None = None
    redirect: Callable[[Any], object] | None = None
    retry: Callable[[Any, float], object] | None = None
    done: Callable[[Any, Exception | None], object] | None = None


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """How to fetch. Times are seconds; `total_timeout` counts from the moment there is a place in the pool, anew for
    each attempt. `tls_timeout` and `first_byte_timeout` are those of connecting and reading unless they are given.
    `max_open` bounds the connections in all: who needs one more closes an idle one or waits in line.
    """

    per_host: int = 100
    max_open: int = 1000
    idle_timeout: float = 15.0  # servers keep idle connections for 5 to 75 s; the shorter, the fewer meet a closed one
    connect_timeout: float = 10.0
    tls_timeout: float | None = None
    first_byte_timeout: float | None = None
    read_timeout: float = 30.0
    total_timeout: float = 60.0
    max_redirects: int = 10
    max_body_bytes: int = 1 << 26
    allows_downgrade: bool = False
    allows_private: bool = True
    user_agent: str = "greenprobe"
    headers: Fields = ()
    auth: Auth | None = None
    netrc: Netrc | None = None
    cookies: CookieJar | None = None
    proxies: Proxies | None = None
    retries: RetryPolicy = field(default_factory=RetryPolicy)
    http2: bool = False  # offer it to servers; many exchanges share a connection
    max_streams: int = 100  # of a connection that speaks HTTP/2
    notes_tls: bool = False  # note version, cipher and certificate in the trace; 60 us a handshake
    pins: frozenset[bytes] = frozenset()
    server_name: str | None = None
    records_exchanges: bool = False  # in a RecordedTrace, for archives
    hooks: Hooks | None = None

    def __post_init__(self) -> None:
        """Refuse what is mistaken most easily: a number of retries in place of their policy. Raises TypeError."""
        if not isinstance(self.retries, RetryPolicy):
            raise TypeError(f"retries={self.retries!r} is no policy; write retries=RetryPolicy({self.retries!r})")
