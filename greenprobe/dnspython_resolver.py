"""Names to addresses by speaking DNS: dnspython's messages over green UDP and TCP, with no thread.

Looks where libc's resolver looks: /etc/hosts, then the servers of /etc/resolv.conf in turn, with its search list. A and
AAAA are asked at the same time. Every question leaves from a socket of its own, so from a random port, and only a
packet of that server with that id and that question is an answer; a truncated one is asked again over TCP.

Not here: more than /etc/hosts and DNS (nsswitch, mDNS), DNSSEC, EDNS options, and choosing the fastest server.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from errno import EPROTO
from socket import (
    AF_INET,
    AF_INET6,
    AF_UNSPEC,
    EAI_AGAIN,
    EAI_NODATA,
    EAI_NONAME,
    SOCK_DGRAM,
    SOCK_STREAM,
    gaierror,
    socket as real_socket,
)
from time import monotonic
from typing import Final, NamedTuple

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.resolver

from greenprobe.green_dns import CACHE_SIZE, Answer, CachedResolver
from greenprobe.green_socket import socket
from greenprobe.greenthread import GreenThread, spawn
from greenprobe.hub import get_hub
from greenprobe.outcome import Outcome

__all__ = ["Config", "DnspythonResolver", "read_config"]

HOSTS_TTL: Final = 10.0
MIN_TTL, MAX_TTL = 1.0, 86400.0
MAX_DATAGRAM_BYTES: Final = 65535
PAYLOAD_BYTES: Final = 1232  # what EDNS says we take: fits every path unfragmented (DNS flag day 2020)
RECORDS: Final[dict[int, dns.rdatatype.RdataType]] = {AF_INET: dns.rdatatype.A, AF_INET6: dns.rdatatype.AAAA}
MESSAGES: Final = {EAI_NONAME: "Name or service not known", EAI_NODATA: "No address associated with hostname"}
LOCALHOST: Final[dict[int, list[str]]] = {AF_INET6: ["::1"], AF_INET: ["127.0.0.1"]}

Server = tuple[str, int]


class Config(NamedTuple):
    """What resolv.conf says. `timeout` is for one try at one server, in seconds."""

    servers: tuple[Server, ...]
    search: tuple[str, ...] = ()
    ndots: int = 1
    timeout: float = 2.0
    attempts: int = 2


def read_config(path: str = "/etc/resolv.conf") -> Config:
    """Read a resolv.conf; 127.0.0.1 is the server if there is no such file, or none in it."""
    try:
        found = dns.resolver.Resolver(filename=path)
    except dns.resolver.NoResolverConfiguration:
        return Config((("127.0.0.1", 53),))
    search = [name.to_text(omit_final_dot=True) for name in found.search]
    if not search and len(found.domain) > 1:
        search = [found.domain.to_text(omit_final_dot=True)]
    servers = tuple((str(server), found.port) for server in found.nameservers)
    return Config(servers, tuple(search), 1 if found.ndots is None else found.ndots, found.timeout)


class DnspythonResolver(CachedResolver):
    """Asks DNS servers over green sockets. `config` None reads /etc/resolv.conf once."""

    def __init__(
        self,
        config: Config | None = None,
        *,
        hosts_path: str = "/etc/hosts",
        size: int = CACHE_SIZE,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        super().__init__(size=size, clock=clock)
        self.config = config if config is not None else read_config()
        self._hosts = Hosts(hosts_path)

    def _ask(self, host: str, family: int) -> Outcome[Answer]:
        return spawn(self._look_up, host, family)

    def _look_up(self, host: str, family: int) -> Answer:
        families = (AF_INET6, AF_INET) if family == AF_UNSPEC else (family,)
        known = self._hosts.find(host, families)
        if known:
            return Answer(tuple(known), HOSTS_TTL)
        failure = gaierror(EAI_NONAME, MESSAGES[EAI_NONAME])
        for name in candidates(host, self.config.search, self.config.ndots):
            try:
                return self._ask_families(name, families)
            except gaierror as error:
                if error.errno not in MESSAGES:
                    raise
                if error.errno == EAI_NODATA:
                    failure = error  # the name is there, at least: libc says so, too
        raise failure

    def _ask_families(self, name: str, families: Sequence[int]) -> Answer:
        """Ask for all families at once. One that fails is forgiven if another has addresses."""
        asking: list[GreenThread] = [spawn(self._ask_servers, name, family) for family in families]
        try:
            for green in asking:
                green.join()
        finally:
            for green in asking:
                green.kill()
        return merged(asking)

    def _ask_servers(self, name: str, family: int) -> Answer:
        """Try each server in turn, `attempts` times over. Raises gaierror: EAI_AGAIN if none could say."""
        try:
            query = dns.message.make_query(name, RECORDS[family], use_edns=0, payload=PAYLOAD_BYTES)
        except dns.exception.DNSException:
            raise gaierror(EAI_NONAME, MESSAGES[EAI_NONAME]) from None
        for _ in range(self.config.attempts):
            for server in self.config.servers:
                response = self._try(server, query)
                if response is None:
                    continue
                if response.rcode() == dns.rcode.NXDOMAIN:
                    raise gaierror(EAI_NONAME, MESSAGES[EAI_NONAME])
                if response.rcode() == dns.rcode.NOERROR:
                    return addresses_in(response)
        raise gaierror(EAI_AGAIN, "Temporary failure in name resolution")

    def _try(self, server: Server, query: dns.message.QueryMessage) -> dns.message.Message | None:
        """Ask one server once, over TCP if its answer does not fit; None if it has none to give."""
        try:
            response = ask_udp(server, query, self.config.timeout)
            if response.flags & dns.flags.TC:
                response = ask_tcp(server, query, self.config.timeout)
        except (OSError, EOFError, dns.exception.DNSException):
            return None
        return response


def merged(asked: Sequence[Outcome[Answer]]) -> Answer:
    """Return the addresses of all families in one answer. Raises the first failure if there are none."""
    answers = [outcome.wait() for outcome in asked if outcome.successful()]
    found = [address for answer in answers for address in answer.addresses]
    if found:
        return Answer(tuple(in_order(found)), min(answer.ttl for answer in answers if answer.addresses))
    for outcome in asked:
        outcome.wait()
    raise gaierror(EAI_NODATA, MESSAGES[EAI_NODATA])


def ask_udp(server: Server, query: dns.message.Message, timeout: float) -> dns.message.Message:
    """Send a query and wait for its answer; whatever else arrives is ignored. Raises OSError, TimeoutError."""
    deadline = get_hub().clock() + timeout
    with closing(socket(family_of(server[0]), SOCK_DGRAM)) as sock:
        sock.connect(server)
        sock.send(query.to_wire())
        while True:
            sock.settimeout(left(deadline))
            data = sock.recv(MAX_DATAGRAM_BYTES)
            try:
                response = dns.message.from_wire(data, ignore_trailing=True)
            except dns.exception.DNSException:
                continue
            if query.is_response(response):
                return response


def ask_tcp(server: Server, query: dns.message.Message, timeout: float) -> dns.message.Message:
    """Ask over a new TCP connection. Raises OSError, TimeoutError, EOFError, DNSException."""
    deadline = get_hub().clock() + timeout
    with closing(socket(family_of(server[0]), SOCK_STREAM)) as sock:
        sock.settimeout(timeout)
        sock.connect(server)
        wire = query.to_wire()
        sock.sendall(len(wire).to_bytes(2, "big") + wire)
        size = int.from_bytes(read_exactly(sock, 2, deadline), "big")
        response = dns.message.from_wire(read_exactly(sock, size, deadline))
    if not query.is_response(response):
        raise OSError(EPROTO, "the answer is to another question")
    return response


def read_exactly(sock: socket, size: int, deadline: float) -> bytes:
    """Read `size` bytes. Raises EOFError if there are fewer."""
    data = b""
    while len(data) < size:
        sock.settimeout(left(deadline))
        more = sock.recv(size - len(data))
        if not more:
            raise EOFError(f"{len(data)} bytes of {size}")
        data += more
    return data


def left(deadline: float) -> float:
    """Return the seconds until `deadline`. Raises TimeoutError if it has passed."""
    seconds = deadline - get_hub().clock()
    if seconds <= 0:
        raise TimeoutError("no answer in time")
    return seconds


# -- decisions


def candidates(host: str, search: Sequence[str], ndots: int) -> list[str]:
    """Return the full names to try for `host`, in order (resolv.conf(5)); each ends in a dot."""
    if host.endswith("."):
        return [host]
    longer = [f"{host}.{suffix.rstrip('.')}." for suffix in search if suffix.strip(".")]
    return [f"{host}.", *longer] if host.count(".") >= ndots else [*longer, f"{host}."]


def addresses_in(response: dns.message.Message) -> Answer:
    """Return the addresses at the end of an answer's CNAME chain; none if the name has none of that kind."""
    assert isinstance(response, dns.message.QueryMessage)
    chain = response.resolve_chaining()
    addresses = tuple(record.address for record in chain.answer) if chain.answer is not None else ()
    return Answer(addresses, min(max(float(chain.minimum_ttl), MIN_TTL), MAX_TTL))


def in_order(addresses: Sequence[str]) -> list[str]:
    """Put addresses that a route leads to first, IPv6 before IPv4: the part of RFC 6724 that a client needs."""
    return sorted(dict.fromkeys(addresses), key=lambda address: not has_route(address))


def has_route(address: str) -> bool:
    """Tell whether the kernel has a route to an address. Sends nothing: a UDP connect only looks it up."""
    try:
        with real_socket(family_of(address), SOCK_DGRAM) as sock:
            sock.connect((address, 9))
    except OSError:
        return False
    return True


def family_of(address: str) -> int:
    """Return the family of a numeric address."""
    return AF_INET6 if ":" in address else AF_INET


class Hosts:
    """A hosts file, read again when it has changed. `localhost` is known whatever it says (RFC 6761)."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._names: dict[str, list[str]] = {}

    def find(self, host: str, families: Sequence[int]) -> list[str]:
        """Return the addresses of `host` in these families, in the order of `families`."""
        self._refresh()
        name = host.lower().rstrip(".")
        known = self._names.get(name, [])
        if not known and (name == "localhost" or name.endswith(".localhost")):
            return [address for family in families for address in LOCALHOST[family]]
        return [address for family in families for address in known if family_of(address) == family]

    def _refresh(self) -> None:
        try:
            status = os.stat(self._path)
            stamp = (status.st_mtime_ns, status.st_size)
            text = None if stamp == self._stamp else read_text(self._path)
        except OSError:
            stamp, text = None, ""
        if text is not None:
            self._names, self._stamp = parse_hosts(text), stamp


def read_text(path: str) -> str:
    """Read a small file."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def parse_hosts(text: str) -> dict[str, list[str]]:
    """Return the addresses of each name of a hosts file, in order (hosts(5))."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        address, *known = line.partition("#")[0].split() or [""]
        for name in known:
            found.setdefault(name.lower(), []).append(address)
    return found
