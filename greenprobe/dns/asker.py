"""Doing what `Resolution` says: the ways to servers, for the greenthreads of one hub.

UDP, TCP and TLS are here. Another protocol, DNS over HTTPS, comes from above as an `Exchange`: our own HTTP client
stands on names itself, so it cannot be imported here. `greenprobe.http.dns_over_https` has it.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from random import SystemRandom
from socket import AF_INET, AF_INET6, IPPROTO_TCP, SOCK_STREAM, TCP_NODELAY
from ssl import SSLContext, create_default_context
from typing import Any, Final, NamedTuple, Protocol

from greenprobe.dns.deferred import read_reply
from greenprobe.dns.resolution import Ask, Resolution, Result
from greenprobe.dns.servers import Book, Server, is_address
from greenprobe.dns.stream import IDLE_SECONDS, StreamPath
from greenprobe.dns.udp import Crowd, UdpPath, socket_address
from greenprobe.dns.wire import OPTIONS, RECURSION_DESIRED, TRUNCATED, Question, Reply, write_head
from greenprobe.errors import DnsFormError
from greenprobe.green_socket import socket
from greenprobe.green_ssl import wrap
from greenprobe.hub import Hub
from greenprobe.names import in_thread

__all__ = ["AskOptions", "Asker", "Exchange", "MakeExchange"]

RANDOM: Final = SystemRandom()
HEADER_BYTES: Final = 12


class Exchange(Protocol):
    """A way to one server."""

    def exchange(self, query: bytes, asked: bytes, timeout: float, *, keeps_case: bool = False) -> bytes:
        """Send a query without its first two bytes, the id; return the reply, with an id.

        `asked` is the question in it; with `keeps_case` a reply must have it letter for letter. Raises OSError,
        TimeoutError after `timeout` seconds.
        """

    def close(self) -> None:
        """End what is kept open."""


MakeExchange = Callable[[Hub, Server], Exchange]


class AskOptions(NamedTuple):
    """How to ask. `timeout` is for the first try at a server, in seconds; `attempts` are rounds over all servers.

    `flags` are those of the header, `mixes_case` is the "0x20" of draft-vixie-dnsext-dns0x20, `most_servers` are asked
    of those that are given. A server that refers us to others is lame unless `accepts_referrals`.
    """

    timeout: float = 5.0
    attempts: int = 2
    use_tcp: bool = False
    edns: bool = True
    dnssec: bool = False
    mixes_case: bool = False
    rotate: bool = False
    flags: int = RECURSION_DESIRED
    most_servers: int = 100
    accepts_referrals: bool = False


class Counts:
    """What an asker has done."""

    __slots__ = ("failures", "queries", "timeouts")

    def __init__(self) -> None:
        self.queries = 0
        self.timeouts = 0
        self.failures = 0


class Asker:
    """Asks servers, one question at a time in each greenthread that calls `ask`, any number of them at once."""

    def __init__(
        self,
        hub: Hub,
        *,
        book: Book | None = None,
        exchanges: Mapping[str, MakeExchange] = {},
        trust: Callable[[], SSLContext] = create_default_context,
        pace: Callable[[], object] | None = None,
    ) -> None:
        """`pace` is called before each query, and may wait."""
        self._hub = hub
        self._pace = pace
        self.crowd = Crowd()
        self._paths: dict[tuple[Server, str], Exchange] = {}
        self._make: dict[str, MakeExchange] = {
            "udp": lambda hub, server: UdpPath(hub, server.host, server.port, self.crowd),
            "tcp": lambda hub, server: StreamPath(hub, partial(connect_tcp, server)),
            "tls": lambda hub, server: StreamPath(hub, partial(connect_tls, server, trust()), idle=IDLE_SECONDS),
            **exchanges,
        }
        self.book = book if book is not None else Book()
        self.counts = Counts()

    def ask(self, question: Question, servers: Sequence[Server], options: AskOptions) -> Result:
        """Ask servers until one of them has said what there is to say, or all attempts are spent."""
        hub, book = self._hub, self.book
        now = hub.clock()
        resolution = Resolution(
            book.order(servers, now, rotate=options.rotate)[: options.most_servers],
            timeout=options.timeout,
            attempts=options.attempts,
            use_tcp=options.use_tcp,
            speaks_edns=lambda server: options.edns and book.speaks_edns(server, now),
            accepts_referrals=options.accepts_referrals,
        )
        while (step := resolution.next()) is not None:
            self._take(step, question, options, resolution)
        assert resolution.result is not None
        return resolution.result

    def close(self) -> None:
        """End the connections that are kept."""
        for path in self._paths.values():
            path.close()
        self._paths.clear()

    def _take(self, step: Ask, question: Question, options: AskOptions, resolution: Resolution) -> None:
        """Take one step of a resolution, and tell it what came of it."""
        counts, book = self.counts, self.book
        server, protocol, edns, timeout = step
        if self._pace is not None:
            self._pace()
        counts.queries += 1
        try:
            reply = self._exchange(server, protocol, question, options, edns=edns, timeout=timeout)
            if reply is None:
                resolution.truncated()
            elif resolution.replied(reply):
                if book.is_worried:
                    book.answered(server)
                if edns and resolution.result is None:
                    book.refused_edns(server, self._hub.clock())
            else:
                counts.failures += 1
        except TimeoutError:
            counts.timeouts += 1
            book.failed(server, self._hub.clock())
            resolution.failed("TIMEOUT", "timed out")
        except DnsFormError as error:
            counts.failures += 1
            resolution.failed("MALFORMED", str(error))
        except OSError as error:
            counts.failures += 1
            book.failed(server, self._hub.clock())
            resolution.failed("UNREACHABLE", error.strerror or str(error))

    def _exchange(
        self, server: Server, protocol: str, question: Question, options: AskOptions, *, edns: bool, timeout: float
    ) -> Reply | None:
        """Make an exchange; None if the reply did not fit into a datagram. Raises OSError, DnsFormError."""
        path = self._paths.get((server, protocol))
        if path is None:
            path = self._paths[server, protocol] = self._make[protocol](self._hub, server)
        asked = mixed(question.wire) if options.mixes_case and protocol == "udp" else question.wire
        head = HEADS.get((options.flags, edns)) or head_of(options.flags, edns=edns)
        query = head + asked + (OPTIONS[options.dnssec] if edns else b"")
        wire = path.exchange(query, asked, timeout, keeps_case=options.mixes_case)
        if len(wire) < HEADER_BYTES:
            raise DnsFormError("the reply is shorter than a header")
        if protocol == "udp" and wire[2] << 8 & TRUNCATED:
            return None
        return read_reply(with_question(wire, question), question)


HEADS: Final[dict[tuple[int, bool], bytes]] = {}


def head_of(flags: int, *, edns: bool) -> bytes:
    """Return the header of a query behind its id."""
    head = HEADS[flags, edns] = write_head(0, flags, 1, 0, 0, 1 if edns else 0)[2:]
    return head


def mixed(asked: bytes) -> bytes:
    """Return a question with the case of its letters at random: more for a forger to guess."""
    bits = RANDOM.getrandbits(len(asked))
    name = bytes(
        byte ^ 0x20 if bits >> at & 1 and (0x41 <= byte <= 0x5A or 0x61 <= byte <= 0x7A) else byte
        for at, byte in enumerate(asked[:-4])
    )
    return name + asked[-4:]


def with_question(wire: bytes, question: Question) -> bytes:
    """Return a reply with the question in our own case, where the reply, or the query, had it in another."""
    end = 12 + len(question.wire)
    given = wire[12:end]
    if given != question.wire and given.lower() == question.wire.lower():
        return wire[:12] + question.wire + wire[end:]
    return wire


def connect_tcp(server: Server, timeout: float) -> socket:
    """Connect to a server. A name, which tls may have, is libc's to find: we would go round in a circle.

    Raises OSError, TimeoutError among them.
    """
    host = server.host
    address = socket_address(host, server.port) if is_address(host) else libc_address(host, server.port)
    sock = socket(AF_INET6 if ":" in str(address[0]) else AF_INET, SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        sock.connect(address)
        sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def libc_address(host: str, port: int) -> Any:
    """Look a server's name up, in a thread."""
    return in_thread(host, port, 0, SOCK_STREAM)[0][4]


def connect_tls(server: Server, context: SSLContext, timeout: float) -> socket:
    """Connect to a server, and shake hands with it: its certificate must be for its name, or its address."""
    sock = connect_tcp(server, timeout)
    try:
        return wrap(sock, context, server_hostname=server.name or server.host, handshake_timeout=timeout)
    except BaseException:
        sock.close()
        raise
