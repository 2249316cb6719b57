"""A DNS server of our own for tests: real UDP and TCP sockets on a loopback port, answers from a table, tricks by name.

It builds its messages with dnspython. The first label of a name that is in `tricks` decides what is done to the answer;
all other names are answered as they should be.
"""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from socket import AF_INET, SOCK_DGRAM, SOCK_STREAM
from ssl import SSLContext

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from greenprobe.dns.servers import Server
from greenprobe.green_socket import socket
from greenprobe.green_ssl import wrap
from greenprobe.greenthread import GreenThread, kill, spawn

__all__ = ["DnsServer", "Records", "Trick", "ZoneServer", "dns_server", "rrsets"]

Records = dict[tuple[str, str], list[str]]
# The query as it came, the answer as it should be, "udp" or "tcp"; returned are the messages to send.
Trick = Callable[["DnsServer", bytes, dns.message.Message, str], list[bytes]]


def bound_to_one_port(host: str, port: int = 0) -> tuple[socket, socket]:
    """Return a TCP and a UDP socket on the same port."""
    for _ in range(50):
        tcp, udp = socket(AF_INET, SOCK_STREAM), socket(AF_INET, SOCK_DGRAM)
        tcp.bind((host, port))
        try:
            udp.bind(tcp.getsockname())
        except OSError:
            tcp.close()
            udp.close()
        else:
            return tcp, udp
    raise AssertionError("no port is free for both TCP and UDP")


class DnsServer:
    """Serves `records`: (name, type) to lines of a zone file. A name that is nowhere in them does not exist.

    `asked` is the log: (name, type, "udp" or "tcp"). `origin` is what the SOA of a negative answer is for.
    """

    def __init__(
        self, records: Records, tricks: dict[str, Trick] | None = None, *, host: str = "127.0.0.53", port: int = 0
    ) -> None:
        self.records = records
        self.tricks = tricks or {}
        self.asked: list[tuple[str, str, str]] = []
        self.queries: list[dns.message.Message] = []
        self.recursive = True
        self.negative_ttl = 60
        self.context: SSLContext | None = None  # TCP is TLS then
        self.peer: tuple[str, int] = (host, 0)
        self._tcp, self.udp = bound_to_one_port(host, port)
        self.address: tuple[str, int] = self._tcp.getsockname()
        self._tcp.listen()
        self._greens: list[GreenThread] = [spawn(self._serve_udp), spawn(self._serve_tcp)]

    @property
    def server(self) -> Server:
        """This server as resolvers have it."""
        return Server(*self.address)

    def kinds(self) -> list[str]:
        """Return the types that were asked for."""
        return [kind for _, kind, _ in self.asked]

    def close(self) -> None:
        for green in self._greens:
            kill(green)
            green.join()
        self.udp.close()
        self._tcp.close()

    def send_udp(self, wire: bytes) -> None:
        """Send a message to whoever asked last."""
        self.udp.sendto(wire, self.peer)

    def _serve_udp(self) -> None:
        while True:
            wire, self.peer = self.udp.recvfrom(4096)
            for message in self._answers(wire, "udp"):
                self.udp.sendto(message, self.peer)

    def _serve_tcp(self) -> None:
        while True:
            sock, _ = self._tcp.accept()
            self._greens.append(spawn(self._serve_connection, sock))

    def _serve_connection(self, sock: socket) -> None:
        if self.context is not None:
            try:
                sock = wrap(sock, self.context, server_side=True)
            except OSError:
                return  # the client does not trust us
        with closing(sock):
            data = b""
            while more := sock.recv(4096):
                data += more
                while len(data) >= 2 and len(data) >= (end := 2 + int.from_bytes(data[:2], "big")):
                    query, data = data[2:end], data[end:]
                    messages = self._answers(query, "tcp")
                    for wire in messages:
                        sock.sendall(len(wire).to_bytes(2, "big") + wire[:5])  # in two parts
                        sock.sendall(wire[5:])
                    if not messages:
                        return

    def _answers(self, wire: bytes, way: str) -> list[bytes]:
        query = dns.message.from_wire(wire)
        name, kind = query.question[0].name, dns.rdatatype.to_text(query.question[0].rdtype)
        self.asked.append((name.to_text(), kind, way))
        self.queries.append(query)
        response = self.respond(query)
        trick = self.tricks.get(name.labels[0].decode("latin-1").lower())
        if trick is not None:
            return trick(self, wire, response, way)
        return [response.to_wire(max_size=65535, want_shuffle=False)]

    def respond(self, query: dns.message.Message) -> dns.message.Message:
        """Return the right answer to a query."""
        response = dns.message.make_response(query, recursion_available=self.recursive)
        name = query.question[0].name.to_text().lower()
        kind = dns.rdatatype.to_text(query.question[0].rdtype)
        lines = self.records.get((name, kind))
        if lines is None:
            lines = [line for line in self.records.get((name, "CNAME"), []) if line.split()[3] in {"CNAME", kind}]
        response.answer.extend(rrsets(lines))
        if not lines or (len(lines) > 1 and kind not in {line.split()[3] for line in lines}):
            if not any(known == name for known, _ in self.records):
                response.set_rcode(dns.rcode.NXDOMAIN)
            soa = f"test. {self.negative_ttl} IN SOA ns.test. host.test. 1 2 3 4 {self.negative_ttl}"
            response.authority.extend(rrsets([soa]))
        return response


class ZoneServer(DnsServer):
    """Serves a zone with authority, and refers to others for the zones below it: name of the zone, lines of its cut."""

    def __init__(self, records: Records, cuts: dict[str, list[str]], *, host: str, port: int = 0) -> None:
        super().__init__(records, host=host, port=port)
        self.recursive = False
        self.cuts = cuts

    def respond(self, query: dns.message.Message) -> dns.message.Message:
        name = query.question[0].name.to_text().lower()
        for zone, lines in self.cuts.items():
            if name == zone or name.endswith("." + zone):
                response = dns.message.make_response(query, recursion_available=False)
                found = rrsets(lines)
                response.authority = [each for each in found if each.rdtype == dns.rdatatype.NS]
                response.additional = [each for each in found if each.rdtype != dns.rdatatype.NS]
                return response
        response = super().respond(query)
        response.flags |= dns.flags.AA
        return response


def rrsets(lines: list[str]) -> list[dns.rrset.RRset]:
    """Return lines of a zone file (name, ttl, IN, type, data) as RRsets."""
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for line in lines:
        owner, ttl, _, kind, data = line.split(None, 4)
        found.setdefault((owner, kind), []).append((ttl, data))
    return [
        dns.rrset.from_text(owner, int(rows[0][0]), "IN", kind, *[data for _, data in rows])
        for (owner, kind), rows in found.items()
    ]


@contextmanager
def dns_server(
    records: Records, tricks: dict[str, Trick] | None = None, *, host: str = "127.0.0.53", port: int = 0
) -> Iterator[DnsServer]:
    """Serve for a block."""
    server = DnsServer(records, tricks, host=host, port=port)
    try:
        yield server
    finally:
        server.close()
