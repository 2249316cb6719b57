"""Doing what `Resolution` says: the ways to servers, for the greenthreads of one hub.

Most questions are over with their first reply. So the first try is made without a `Resolution`; one is made, and told
of it, only if what came is not plain.

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
from greenprobe.dns.inflight import Came
from greenprobe.dns.resolution import RCODES, Ask, Resolution, Result, is_lame, new_ask, new_result
from greenprobe.dns.servers import Book, Server
from greenprobe.dns.stream import IDLE_SECONDS, StreamPath
from greenprobe.dns.udp import Crowd, UdpPath, socket_address
from greenprobe.dns.wire import (
    NOERROR,
    NXDOMAIN,
    OPTIONS,
    RECURSION_DESIRED,
    TRUNCATED,
    Question,
    Reply,
    read_plain,
    write_head,
)
from greenprobe.errors import DnsFormError
from greenprobe.green_socket import socket
from greenprobe.green_ssl import wrap
from greenprobe.hub import Hub
from greenprobe.names import in_thread, is_address

__all__ = ["AskOptions", "Asker", "Exchange", "First", "MakeExchange"]

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


class First:
    """The first try at a question: in which order servers are asked, what is asked, what came, and what that makes."""

    __slots__ = ("came", "result", "servers", "step")

    def __init__(self, servers: Sequence[Server], step: Ask) -> None:
        self.servers = servers
        self.step = step
        self.came: Came | None = None
        self.result: Result | None = None


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

    def ask(
        self, question: Question, servers: Sequence[Server], options: AskOptions, first: First | None = None
    ) -> Result:
        """Ask servers until one of them has said what there is to say, or all attempts are spent.

        `first` is the first try, if `begin` has made it.
        """
        if first is None:
            first = self._first(servers, options)
            self._judge(first, self._try(first.step, question, options), question, options)
        return first.result or self._ask_on(first, question, options)

    def begin(
        self, question: Question, servers: Sequence[Server], options: AskOptions, call: Callable[[First], object]
    ) -> bool:
        """Make the first try, and have `call` get it with what came; False if that would mean to wait for something.

        `call` must not wait. If the first try has no result, there is more to do: let `ask` go on from it. If what
        came is GreenletExit, the asker was closed.
        """
        first = self._first(servers, options)
        server, protocol, edns, timeout = first.step
        if protocol != "udp" or self._pace is not None:
            return False

        def landed(came: Came) -> None:
            self._judge(first, came, question, options)
            call(first)

        query, asked = query_for(question, options, protocol, edns=edns)
        path = self._path(server, protocol)
        assert isinstance(path, UdpPath)
        try:
            has_begun = path.begin(query, asked, timeout, landed, keeps_case=options.mixes_case)
        except OSError:
            return False
        self.counts.queries += has_begun
        return has_begun

    def close(self) -> None:
        """End the connections that are kept."""
        for path in self._paths.values():
            path.close()
        self._paths.clear()

    def _first(self, servers: Sequence[Server], options: AskOptions) -> First:
        """Return the first try, still to be made."""
        book, now = self.book, self._hub.clock()
        servers = book.order(servers, now, rotate=options.rotate)
        server = servers[0]
        protocol = "tcp" if options.use_tcp and server.protocol == "udp" else server.protocol
        edns = options.edns and (not book.is_worried or book.speaks_edns(server, now))
        return First(servers, new_ask((server, protocol, edns, options.timeout)))

    def _judge(self, first: First, came: Came, question: Question, options: AskOptions) -> None:
        """Note what came of the first try; if it is plain, that is the result."""
        first.came = came
        if isinstance(came, bytes):
            first.result = plain_result(first.step, came, question, accepts_referrals=options.accepts_referrals)
            if first.result is not None and self.book.is_worried:
                self.book.answered(first.step.server)

    def _ask_on(self, first: First, question: Question, options: AskOptions) -> Result:
        """Do what has to be done where the first try was not enough."""
        book, now = self.book, self._hub.clock()
        resolution = Resolution(
            first.servers[: options.most_servers],
            timeout=options.timeout,
            attempts=options.attempts,
            use_tcp=options.use_tcp,
            speaks_edns=lambda server: options.edns and book.speaks_edns(server, now),
            accepts_referrals=options.accepts_referrals,
        )
        resolution.next()  # the one that was made
        assert first.came is not None
        self._tell(resolution, first.step, first.came, question)
        while (step := resolution.next()) is not None:
            self._tell(resolution, step, self._try(step, question, options), question)
        assert resolution.result is not None
        return resolution.result

    def _try(self, step: Ask, question: Question, options: AskOptions) -> bytes | OSError:
        """Make one try, and return what came of it."""
        server, protocol, edns, timeout = step
        if self._pace is not None:
            self._pace()
        self.counts.queries += 1
        query, asked = query_for(question, options, protocol, edns=edns)
        try:
            return self._path(server, protocol).exchange(query, asked, timeout, keeps_case=options.mixes_case)
        except OSError as error:
            return error

    def _tell(self, resolution: Resolution, step: Ask, came: Came, question: Question) -> None:
        """Tell a resolution what came of a step of it."""
        counts, book = self.counts, self.book
        server, protocol, edns, _ = step
        try:
            if not isinstance(came, bytes):
                raise came
            reply = reply_in(came, question, protocol)
            if reply is None:
                resolution.truncated()
            elif resolution.replied(reply):
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

    def _path(self, server: Server, protocol: str) -> Exchange:
        """Return the way to a server."""
        path = self._paths.get((server, protocol))
        if path is None:
            path = self._paths[server, protocol] = self._make[protocol](self._hub, server)
        return path


def plain_result(step: Ask, wire: bytes, question: Question, *, accepts_referrals: bool) -> Result | None:
    """Return the result that the first reply makes, or None if it takes a `Resolution` to say: it decides the same."""
    server, protocol, _, _ = step
    reply = read_plain(wire, question)
    if reply is None or (reply.flags & TRUNCATED and protocol == "udp"):
        return None
    rcode = reply.rcode
    if rcode == NXDOMAIN or (rcode == NOERROR and (reply.answer or accepts_referrals or not is_lame(reply))):
        return new_result((RCODES[rcode], reply, server, protocol, 1, ()))
    return None


def reply_in(wire: bytes, question: Question, protocol: str) -> Reply | None:
    """Return the reply that a message is; None if it did not fit into a datagram. Raises DnsFormError."""
    if len(wire) < HEADER_BYTES:
        raise DnsFormError("the reply is shorter than a header")
    if protocol == "udp" and wire[2] << 8 & TRUNCATED:
        return None
    return read_reply(with_question(wire, question), question)


def query_for(question: Question, options: AskOptions, protocol: str, *, edns: bool) -> tuple[bytes, bytes]:
    """Return a query without its id, and the question in it."""
    asked = mixed(question.wire) if options.mixes_case and protocol == "udp" else question.wire
    head = HEADS.get((options.flags, edns)) or head_of(options.flags, edns=edns)
    return (head + asked + OPTIONS[options.dnssec] if edns else head + asked), asked


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
    end = HEADER_BYTES + len(question.wire)
    given = wire[HEADER_BYTES:end]
    if given != question.wire and given.lower() == question.wire.lower():
        return wire[:HEADER_BYTES] + question.wire + wire[end:]
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
