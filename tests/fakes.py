"""A web without sockets, and one with: scripted connections for the client, a scripted server for the command.

`FakeWeb` stands in for `connect_tcp`. Each connection that is opened plays the next of its scripts: what `receive`
gives, item by item. Bytes are handed out, `b""` is the end, a number is so many seconds of silence, an exception is
raised. After the last item there is silence. All time is the hub's, so it may jump.
"""

import re
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from errno import ECONNREFUSED
from socket import AF_INET, SHUT_RDWR, create_server, socket
from ssl import SSLContext
from typing import Any

from greenprobe.http.connections import Address, Connection
from greenprobe.hub import Hub

__all__ = [
    "FakeConnection",
    "FakeWeb",
    "Refused",
    "Script",
    "ok",
    "recording_server",
    "resolve_anything",
    "served_in_threads",
    "silent_ports",
    "web_server",
]

Script = Sequence[bytes | float | BaseException]


def ok(body: bytes = b"ok", *headers: str, status: str = "200 OK") -> bytes:
    """Return a plain answer."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


class Refused(ConnectionRefusedError):
    """A refused connection, as the kernel reports it."""

    def __init__(self) -> None:
        super().__init__(ECONNREFUSED, "Connection refused")


class FakeConnection(Connection):
    """A connection that plays a script."""

    def __init__(self, hub: Hub, address: Address, script: Script) -> None:
        self.hub = hub
        self.address = address
        self.script = deque(script)
        self.requests: list[bytes] = []
        self.hung_up = False
        self.closed = False
        self.idle_since = 0.0
        self.is_fresh = True
        self.tls_facts = None

    def send(self, data: bytes, deadline: float) -> None:
        self.requests.append(data)

    def send_at_once(self) -> None:
        pass

    def receive(self, deadline: float) -> bytes:
        while self.script:
            item = self.script.popleft()
            if isinstance(item, bytes):
                return item
            if isinstance(item, BaseException):
                raise item
            pause_until(self.hub, item, deadline)
        self.hub.sleep_until(deadline)
        raise TimeoutError

    def is_over(self) -> bool:
        return self.hung_up

    def close(self) -> None:
        self.closed = True


def pause_until(hub: Hub, seconds: float, deadline: float) -> None:
    """Sleep; raise TimeoutError at the deadline if that comes first."""
    wakes = hub.clock() + seconds
    if wakes > deadline:
        hub.sleep_until(deadline)
        raise TimeoutError
    hub.sleep_until(wakes)


class FakeWeb:
    """Hands out a connection for each script, in order; an exception or a number instead is what connecting does."""

    def __init__(self, *scripts: Script | BaseException | float) -> None:
        self.scripts = deque(scripts)
        self.connections: list[FakeConnection] = []
        self.asked: list[Any] = []

    def connect(self, hub: Hub, address: Address, deadline: float) -> Connection:
        self.asked.append(address.sockaddr)
        script = self.scripts.popleft()
        if isinstance(script, (int, float)):
            pause_until(hub, script, deadline)
            script = self.scripts.popleft()
        assert not isinstance(script, (int, float))
        if isinstance(script, BaseException):
            raise script
        connection = FakeConnection(hub, address, script)
        self.connections.append(connection)
        return connection

    def requests(self) -> list[str]:
        """Return the request lines of all connections, each with the number of its connection in front."""
        return [
            f"{number} {request.splitlines()[0].decode()}"
            for number, connection in enumerate(self.connections)
            for request in connection.requests
        ]


def resolve_anything(host: str, port: int, timeout: float) -> list[Address]:
    """Give every name one address."""
    return [Address(AF_INET, (host, port))]


NO_LINE = {b"", b"\r\n"}
Respond = Callable[[str], bytes]


@contextmanager
def web_server(
    respond: Respond, *, context: SSLContext | None = None, greeting: bytes = b"", address: str = "127.0.0.1"
) -> Iterator[int]:
    """Serve on a port of `address`, in real threads: `respond` gets a path and gives the whole answer.

    A connection is kept unless the answer says close. An answer of b"" closes it without a word. The `greeting` is sent
    before anything is asked.
    """
    socks: list[socket] = []

    def begin(sock: socket) -> None:
        sock.sendall(greeting)
        converse(sock, respond, context, socks)

    with served_in_threads(begin, socks, address) as port:
        yield port


@contextmanager
def served_in_threads(
    converse: Callable[[socket], None], socks: list[socket], address: str = "127.0.0.1"
) -> Iterator[int]:
    """Accept on a port of `address`; each connection is a thread that converses. In the end `socks` are hung up."""
    threads: list[threading.Thread] = []
    with create_server((address, 0), backlog=512) as listener:

        def accept() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                threads.append(threading.Thread(target=converse, args=(sock,)))
                threads[-1].start()

        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            yield listener.getsockname()[1]
        finally:
            for sock in [listener, *socks]:
                hang_up(sock)
            for thread in [acceptor, *threads]:
                thread.join(5)


@contextmanager
def recording_server(seen: list[bytes], answered: bytes = ok(b"", "Connection: close")) -> Iterator[int]:
    """Answer one request of one connection, and put its bytes, body and all, into `seen`."""
    with create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            try:
                sock, _ = listener.accept()
            except OSError:
                return  # nobody came
            with sock:
                request = b""
                while b"\r\n\r\n" not in request or len(request.partition(b"\r\n\r\n")[2]) < announced(request):
                    request += sock.recv(65536)
                seen.append(request)
                sock.sendall(answered)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            hang_up(listener)
            thread.join(5)


def announced(request: bytes) -> int:
    """Return the Content-Length of a request."""
    found = re.search(rb"\r\nContent-Length: (\d+)", request)
    return int(found[1]) if found else 0


def hang_up(sock: socket) -> None:
    """End a conversation under whoever waits for it."""
    try:
        sock.shutdown(SHUT_RDWR)
    except OSError:
        pass  # it was over


def converse(sock: socket, respond: Respond, context: SSLContext | None, socks: list[socket]) -> None:
    """Answer requests on one connection until either side has had enough; note its socket in `socks`."""
    try:
        if context is not None:
            sock = context.wrap_socket(sock, server_side=True)
        socks.append(sock)
        with sock, sock.makefile("rb") as lines:
            while (request := lines.readline()) not in NO_LINE:
                while lines.readline() not in NO_LINE:
                    pass
                words = request.split()
                if len(words) != 3:
                    return  # no request: the random bytes of a TLS hello, with a line's end among them
                answer = respond(words[1].decode("latin-1"))
                sock.sendall(answer)
                if not answer or b"\r\nConnection: close" in answer:
                    return
    except OSError:
        pass  # the client went away, or would not shake hands
    finally:
        sock.close()


@contextmanager
def silent_ports(count: int, address: str = "127.0.0.1") -> Iterator[list[int]]:
    """Give ports of `address` that answer nothing: their accept queues are full."""
    with ExitStack() as stack:
        servers = [stack.enter_context(create_server((address, 0), backlog=0)) for _ in range(count)]
        for server in servers * 2:
            client = stack.enter_context(socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield [server.getsockname()[1] for server in servers]
