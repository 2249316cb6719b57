"""Opening a connection: the name, the address, TCP, TLS, each timed and its failure named.

The addresses of a name are kept in its lane for ADDRESS_SECONDS, so that a new connection to a known origin asks
nobody; of several, the first that answers is taken (RFC 8305). When descriptors or local ports run out, an idle
connection is closed, or we wait until somebody else's is.
"""

from collections.abc import Callable
from errno import EADDRNOTAVAIL, EMFILE, ENFILE, ENOBUFS, ENOMEM
from math import inf
from os import strerror
from socket import SOCK_STREAM
from ssl import SSLCertVerificationError, SSLContext, SSLError
from typing import Final

from greenprobe.errors import ConnectError, ConnectionLost, ConnectTimeout, DnsError, FetchError, TlsError, TotalTimeout
from greenprobe.green_dns import getaddrinfo
from greenprobe.happy_eyeballs import interleave, race
from greenprobe.http.connections import Address, Connection, TlsConnection, start_tls
from greenprobe.http.lanes import Lane, Lanes
from greenprobe.http.trace import Trace
from greenprobe.hub import Hub

__all__ = ["Connect", "Connector", "Resolve", "reason", "resolve_name"]

ADDRESS_SECONDS: Final = 30.0
EXHAUSTED: Final = frozenset({EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL})
EXHAUSTED_PAUSE_S: Final = 0.05
SPEAKS_PLAIN: Final = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"})

# Host, port and timeout in; addresses out, best first. Raises OSError, TimeoutError among them.
Resolve = Callable[[str, int, float], list[Address]]
# Connects to one address until a deadline. Raises OSError, TimeoutError among them.
Connect = Callable[[Hub, Address, float], Connection]


def resolve_name(host: str, port: int, timeout: float) -> list[Address]:
    """Ask the installed green resolver; a numeric host is answered at once."""
    found = getaddrinfo(host, port, type=SOCK_STREAM, timeout=timeout)
    return [Address(int(family), sockaddr) for family, _, _, _, sockaddr in interleave(found)]


class Connector:
    """Opens connections for the lanes of one client."""

    def __init__(
        self,
        hub: Hub,
        lanes: Lanes,
        *,
        timeout: float,
        trust: Callable[[], SSLContext],
        resolve: Resolve,
        connect: Connect,
    ) -> None:
        self._hub = hub
        self._connect_to = connect
        self._lanes = lanes
        self._timeout = timeout
        self._resolve = resolve
        self._trust = trust
        self._context: SSLContext | None = None

    def open(self, lane: Lane, trace: Trace) -> Connection:
        """Open a connection in a place of `lane`; note in `trace` how long what took. Raises FetchError."""
        began = trace.ended
        deadline = min(trace.deadline, began + self._timeout)
        try:
            if not lane.addresses or began > lane.addresses_until:
                self._find(lane, trace, deadline)
            connection = self._connect(lane, trace, deadline)
            if lane.origin.scheme == "https":
                connection = self._secure(lane, trace, connection, deadline)
        except TimeoutError as exc:
            raise self._late(lane, trace) from exc
        self._lanes.opened(lane, connection)
        return connection

    def remember(self, lane: Lane, connection: Connection) -> None:
        """Keep what the next connection to the same origin can resume from. Call it after the first answer."""
        if isinstance(connection, TlsConnection):
            lane.session = connection.session

    def _find(self, lane: Lane, trace: Trace, deadline: float) -> None:
        """Look the host's addresses up."""
        origin = lane.origin
        try:
            lane.addresses = self._resolve(origin.host, origin.port, deadline - trace.ended)
        except TimeoutError as exc:
            raise DnsError(f"no answer for the name {origin.host} in time") from exc
        except OSError as exc:
            raise DnsError(f"{origin.host}: {exc.strerror}") from exc
        if not lane.addresses:
            raise DnsError(f"{origin.host}: the name has no address")
        now = self._hub.clock()
        lane.addresses_until = now + ADDRESS_SECONDS
        trace.dns = (trace.dns or 0.0) + now - trace.ended
        trace.ended = now

    def _connect(self, lane: Lane, trace: Trace, deadline: float) -> Connection:
        """Connect to one of the lane's addresses."""
        self._lanes.make_room()
        while True:
            try:
                if len(lane.addresses) == 1:
                    connection = self._connect_to(self._hub, lane.addresses[0], deadline)
                else:
                    connection = self._race(lane, deadline)
                break
            except TimeoutError:
                lane.addresses_until = -inf
                raise
            except OSError as exc:
                if exc.errno not in EXHAUSTED or not self._recover(deadline):
                    lane.addresses_until = -inf
                    raise ConnectError(f"no connection to {lane.origin.key}: {reason(exc)}") from exc
        now = self._hub.clock()
        trace.connect = (trace.connect or 0.0) + now - trace.ended
        trace.ended = now
        return connection

    def _race(self, lane: Lane, deadline: float) -> Connection:
        """Connect to the first address that answers; who won once is the first to be asked the next time."""
        connection = race(lane.addresses, lambda address: self._connect_to(self._hub, address, deadline))
        lane.addresses.sort(key=lambda address: address != connection.address)
        return connection

    def _recover(self, deadline: float) -> bool:
        """Get a descriptor or a port back, somehow; False if there was no time left."""
        if self._lanes.close_oldest_idle():
            return True
        self._hub.sleep(EXHAUSTED_PAUSE_S)
        return self._hub.clock() < deadline

    def _secure(self, lane: Lane, trace: Trace, plain: Connection, deadline: float) -> TlsConnection:
        """Shake hands."""
        if self._context is None:
            self._context = self._trust()
        host = lane.origin.host.removesuffix(".")
        try:
            secure = start_tls(plain, self._context, host, deadline, session=lane.session)
        except TimeoutError:
            raise
        except SSLError as exc:
            raise _tls_error(lane, exc) from exc
        except OSError as exc:
            raise ConnectionLost(f"{lane.origin.key} broke off in the TLS handshake: {reason(exc)}") from exc
        now = self._hub.clock()
        trace.tls = (trace.tls or 0.0) + now - trace.ended
        trace.ended = now
        return secure

    def _late(self, lane: Lane, trace: Trace) -> FetchError:
        what = "TLS handshake with" if trace.connect is not None and lane.origin.scheme == "https" else "connection to"
        if self._hub.clock() >= trace.deadline:
            return TotalTimeout(f"out of time in the {what} {lane.origin.key}")
        return ConnectTimeout(f"no {what} {lane.origin.key} within {self._timeout:g} s")


def reason(exc: OSError) -> str:
    """Return what the system, or TLS, says about an error, in its own words."""
    if isinstance(exc, SSLError):
        return exc.reason or str(exc)
    return strerror(exc.errno) if exc.errno else str(exc)


def _tls_error(lane: Lane, exc: SSLError) -> TlsError:
    if isinstance(exc, SSLCertVerificationError):
        return TlsError(f"the certificate of {lane.origin.key} is not to be trusted: {exc.verify_message}")
    if exc.reason in SPEAKS_PLAIN:
        return TlsError(f"{lane.origin.key} does not speak TLS on this port (plain HTTP, perhaps)")
    return TlsError(f"TLS with {lane.origin.key} failed: {exc.reason or exc}")
