"""Opening a connection: the name, the address, TCP, a proxy's consent, TLS, each timed and its failure named.

The addresses of a name are kept in its lane for ADDRESS_SECONDS, so that a new connection to a known origin asks
nobody; of several, the first that answers is taken (RFC 8305). When descriptors or local ports run out, an idle
connection is closed, or we wait until somebody else's is.
"""

from collections.abc import Callable
from errno import EADDRNOTAVAIL, EMFILE, ENFILE, ENOBUFS, ENOMEM
from functools import partial
from math import inf
from socket import AF_INET, AF_INET6, AF_UNSPEC
from ssl import SSLCertVerificationError, SSLContext, SSLError
from typing import TYPE_CHECKING, Final

from greenprobe.errors import (
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
    DnsError,
    FetchError,
    ForbiddenAddress,
    ProxyError,
    TlsError,
    TotalTimeout,
)
from greenprobe.happy_eyeballs import interleave, race
from greenprobe.http.addresses import is_public
from greenprobe.http.connections import Address, Connection, TlsConnection, reason
from greenprobe.http.handshakes import Handshakes, Unrecognized
from greenprobe.http.lanes import Lane, Lanes
from greenprobe.http.options import ClientOptions
from greenprobe.http.proxy import Conversation, Proxy, socks, tunnel
from greenprobe.http.trace import Trace
from greenprobe.http.trust import check_pins
from greenprobe.http.urls import Origin
from greenprobe.hub import Hub
from greenprobe.lazy import Lazy
from greenprobe.names import is_of_family

if TYPE_CHECKING:
    from greenprobe.dns.family import Family

__all__ = ["Connect", "Connector", "Resolve", "resolve_name", "resolving"]

green_dns = Lazy("greenprobe.green_dns")  # loaded with the first name: 40 modules

ADDRESS_SECONDS: Final = 30.0
EXHAUSTED: Final = frozenset({EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL})
EXHAUSTED_PAUSE_S: Final = 0.05
SPEAKS_PLAIN: Final = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"})

# Host, port and timeout in; addresses out, best first. Raises OSError, TimeoutError among them.
Resolve = Callable[[str, int, float], list[Address]]
# Connects to one address until a deadline. Raises OSError, TimeoutError among them.
Connect = Callable[[Hub, Address, float], Connection]


def resolving(names: "Family | None", family: int = AF_UNSPEC) -> Resolve:
    """Return what asks `names`, None is whatever is installed, for addresses of `family`, by default of both."""
    return partial(resolve_name, names=names, family=family)


def resolve_name(
    host: str, port: int, timeout: float, *, names: "Family | None" = None, family: int = AF_UNSPEC
) -> list[Address]:
    """Ask `names`, by default what is installed, for addresses of `family`; a numeric host is answered at once."""
    if family != AF_INET6 and is_of_family(AF_INET, host):
        return [Address(AF_INET, (host, port))]
    found = green_dns.find_to_connect(host, port, family, timeout=timeout, resolver=names)
    return [Address(int(kind), sockaddr) for kind, _, _, _, sockaddr in interleave(found)]


class Connector:
    """Opens connections for the lanes of one client."""

    def __init__(
        self,
        hub: Hub,
        lanes: Lanes,
        options: ClientOptions,
        *,
        trust: Callable[[], SSLContext],
        resolve: Resolve,
        connect: Connect,
    ) -> None:
        self._hub = hub
        self._connect_to = connect
        self._lanes = lanes
        self._options = options
        self._timeout = options.connect_timeout
        self._resolve = resolve
        recognizes = not (options.pins or options.notes_tls)  # these look at what is verified
        self.handshakes = Handshakes(hub.clock, trust, offers_http2=options.http2, recognizes=recognizes)

    def open(self, lane: Lane, trace: Trace) -> Connection:
        """Open a connection in a place of `lane`; note in `trace` how long what took.

        Raises FetchError or PoolTimeout.
        """
        self._lanes.reserve(lane, trace.deadline)
        try:
            connection = self._open(lane, trace)
        except BaseException:
            self._lanes.not_opened()
            raise
        self._lanes.opened(lane, connection)
        return connection

    def _open(self, lane: Lane, trace: Trace) -> Connection:
        trace.ended = began = self._hub.clock()
        deadline = min(trace.deadline, began + self._timeout)
        try:
            if not lane.addresses or began > lane.addresses_until:
                self._find(lane, trace, deadline)
            connection = self._reach(lane, trace, deadline)
            if lane.origin.scheme == "https":
                try:
                    connection = self._secure(lane, trace, connection, deadline)
                except Unrecognized:
                    connection = self._secure(lane, trace, self._reach(lane, trace, deadline), deadline)
        except ConnectTimeout:
            raise
        except TimeoutError as exc:
            raise self._late(lane, trace) from exc
        return connection

    def _reach(self, lane: Lane, trace: Trace, deadline: float) -> Connection:
        """Connect, and have a proxy open the way if there is one."""
        connection = self._connect(lane, trace, deadline)
        if lane.proxy is not None:
            connection = self._pass(lane, lane.proxy, trace, connection, deadline)
        return connection

    # -- the address

    def _find(self, lane: Lane, trace: Trace, deadline: float) -> None:
        """Look up the addresses of the host, or of its proxy."""
        host, port = (lane.origin.host, lane.origin.port) if lane.proxy is None else lane.proxy[1:3]
        lane.addresses = self._addresses(host, port, deadline - trace.ended)
        if not self._options.allows_private:
            self._refuse_private(lane, host)
        now = self._hub.clock()
        lane.addresses_until = now + ADDRESS_SECONDS
        trace.dns = (trace.dns or 0.0) + now - trace.ended
        trace.ended = now

    def _addresses(self, host: str, port: int, timeout: float) -> list[Address]:
        try:
            found = self._resolve(host, port, timeout)
        except TimeoutError as exc:
            raise DnsError(f"no answer for the name {host} in time") from exc
        except OSError as exc:
            why = exc.strerror or str(exc)
            raise DnsError(why if host in why else f"{host}: {why}") from exc
        if not found:
            raise DnsError(f"{host}: the name has no address")
        return found

    def _refuse_private(self, lane: Lane, host: str) -> None:
        """Leave out the addresses that lead inside; raises ForbiddenAddress if no other is left."""
        if lane.proxy is not None:  # who sees the host's address is the proxy; we, only what the URL says
            if is_inside(lane.origin.host):
                raise ForbiddenAddress(f"{lane.origin.host} is no public address")
            return
        public = [address for address in lane.addresses if is_public(address.sockaddr[0])]
        if not public:
            found = lane.addresses[0].sockaddr[0]
            lane.addresses = []
            raise ForbiddenAddress(f"{host} is at {found}, which is no public address")
        lane.addresses = public

    # -- TCP

    def _connect(self, lane: Lane, trace: Trace, deadline: float) -> Connection:
        """Connect to one of the lane's addresses."""
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
                    raise _refused(lane, exc) from exc
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

    # -- a proxy

    def _pass(self, lane: Lane, proxy: Proxy, trace: Trace, connection: Connection, deadline: float) -> Connection:
        """Have the proxy open the way to the origin; the time counts as connecting."""
        origin = lane.origin
        try:
            if proxy.kind == "https":
                connection = self.handshakes.shake(proxy.host, connection, deadline)
            if proxy.is_socks:
                asked = socks(proxy, self._socks_host(lane, proxy, deadline), origin.port)
                self._converse(connection, asked, origin, deadline)
            elif origin.scheme == "https":
                asked = tunnel(proxy, origin.host, origin.port, self._options.user_agent)
                self._converse(connection, asked, origin, deadline)
        except TimeoutError as exc:
            connection.close()
            raise ConnectTimeout(f"{proxy} opened no way to {origin.key} in time") from exc
        except OSError as exc:
            connection.close()
            raise ProxyError(f"{proxy} broke off: {reason(exc)}") from exc
        except BaseException:
            connection.close()
            raise
        now = self._hub.clock()
        trace.connect = (trace.connect or 0.0) + now - trace.ended
        trace.ended = now
        return connection

    def _socks_host(self, lane: Lane, proxy: Proxy, deadline: float) -> str:
        """Return the host as the proxy is to see it: socks5 means that names are looked up here."""
        host = lane.origin.host
        if proxy.kind == "socks5h":
            return host
        found = self._addresses(host, lane.origin.port, deadline - self._hub.clock())[0]
        address = str(found.sockaddr[0])
        if not self._options.allows_private and is_inside(address):
            raise ForbiddenAddress(f"{host} is at {address}, which is no public address")
        return address

    def _converse(self, connection: Connection, conversation: Conversation, origin: Origin, deadline: float) -> None:
        said = next(conversation)
        try:
            while True:
                if said:
                    connection.send(said, deadline)
                said = conversation.send(connection.receive(deadline))
        except StopIteration as end:
            if end.value and origin.scheme == "https":
                raise TlsError(f"{origin.key} does not speak TLS behind the proxy: it speaks first") from None
            if end.value:
                raise ProxyError("the proxy, or who is behind it, speaks before it was asked") from None

    # -- TLS

    def _secure(self, lane: Lane, trace: Trace, plain: Connection, deadline: float) -> TlsConnection:
        """Shake hands with the origin."""
        options = self._options
        if options.tls_timeout is not None:
            deadline = min(trace.deadline, trace.ended + options.tls_timeout)
        host = options.server_name or lane.origin.host.removesuffix(".")
        try:
            secure = self.handshakes.shake(host, plain, deadline, lane)
        except TimeoutError:
            raise
        except SSLError as exc:
            raise _tls_error(lane.origin.key, exc) from exc
        except OSError as exc:
            raise ConnectionLost(f"{lane.origin.key} broke off in the TLS handshake: {reason(exc)}") from exc
        try:
            check_pins(secure.certificate if options.pins else None, options.pins, lane.origin.key)
        except TlsError:
            secure.close()
            raise
        if options.notes_tls:
            secure.note_facts()
        now = self._hub.clock()
        trace.tls = (trace.tls or 0.0) + now - trace.ended
        trace.ended = now
        return secure

    def _late(self, lane: Lane, trace: Trace) -> FetchError:
        what = "TLS handshake with" if trace.connect is not None and lane.origin.scheme == "https" else "connection to"
        if self._hub.clock() >= trace.deadline:
            return TotalTimeout(f"out of time in the {what} {lane.origin.key}")
        seconds = self._options.tls_timeout if what.startswith("TLS") and self._options.tls_timeout else self._timeout
        return ConnectTimeout(f"no {what} {lane.origin.key} within {seconds:g} s")


def is_inside(host: str) -> bool:
    """Tell whether a host is an address that is not public; a name is not."""
    try:
        return not is_public(host)
    except ValueError:
        return False


def _refused(lane: Lane, exc: OSError) -> ConnectError:
    if lane.proxy is not None:
        return ProxyError(f"no connection to {lane.proxy}: {reason(exc)}")
    return ConnectError(f"no connection to {lane.origin.key}: {reason(exc)}")


def _tls_error(key: str, exc: SSLError) -> TlsError:
    if isinstance(exc, SSLCertVerificationError):
        return TlsError(f"the certificate of {key} is not to be trusted: {exc.verify_message}")
    if exc.reason in SPEAKS_PLAIN:
        return TlsError(f"{key} does not speak TLS on this port (plain HTTP, perhaps)")
    return TlsError(f"TLS with {key} failed: {exc.reason or exc}")
