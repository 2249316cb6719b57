"""Connect, listen, wrap and serve in one call each."""

import socket as stdlib
from collections.abc import Callable
from functools import partial
from socket import create_server as bound_listener
from ssl import CERT_NONE, PROTOCOL_TLS_SERVER, Purpose, SSLContext, create_default_context
from typing import Any, Final

from greenlet import GreenletExit

from greenprobe.acceptor import connections
from greenprobe.arguments import not_callable
from greenprobe.errors import StopServe
from greenprobe.green_socket import socket
from greenprobe.green_ssl import HANDSHAKE_TIMEOUT, SSLSocket, wrap
from greenprobe.greenthread import spawn, spawn_n
from greenprobe.happy_eyeballs import interleave, race
from greenprobe.hub import get_hub
from greenprobe.names import AddrInfo, is_numeric, resolve
from greenprobe.outcome import AsyncResult
from greenprobe.sync import Semaphore

__all__ = ["StopServe", "connect", "create_connection", "create_server", "listen", "serve", "wrap_ssl"]

Address = Any
Handler = Callable[[socket, Address], object]
DEFAULT_TIMEOUT: Final[Any] = stdlib._GLOBAL_DEFAULT_TIMEOUT  # type: ignore[attr-defined]
BACKLOG: Final = 1024  # the kernel may allow less


# -- connecting


def create_connection(
    address: tuple[str, int | str],
    timeout: float | None = DEFAULT_TIMEOUT,
    source_address: Address | None = None,
    *,
    all_errors: bool = False,
) -> socket:
    """Connect to a host and a port, by the first of the host's addresses that answers (RFC 8305).

    As `socket.create_connection`, `timeout` is for each address, and then the timeout of the socket.
    """
    host, port = address
    attempt = partial(_attempt, timeout=timeout, source_address=source_address)
    return race(_candidates(host, port), attempt, all_errors=all_errors)


def _candidates(host: str, port: int | str) -> list[AddrInfo]:
    if host and isinstance(port, int) and is_numeric(host):
        family = stdlib.AF_INET6 if ":" in host else stdlib.AF_INET
        return [(family, stdlib.SOCK_STREAM, 0, "", (host, port))]
    return interleave(resolve(host, port, 0, stdlib.SOCK_STREAM))


def _attempt(candidate: AddrInfo, *, timeout: float | None, source_address: Address | None) -> socket:
    family, kind, proto, _, address = candidate
    sock = socket(family, kind, proto)
    try:
        if timeout is not DEFAULT_TIMEOUT:
            sock.settimeout(timeout)
        if source_address is not None:
            sock.bind(source_address)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def connect(address: Address, family: int | None = None, bind: Address | None = None) -> socket:
    """Connect to an address: (host, port), or the path of a Unix socket; `bind` is the address to connect from.

    Waits as long as the kernel tries, unless a default timeout is set; `create_connection` takes one in seconds. Raises
    OSError, gaierror for a name without an address.
    """
    if family is None and isinstance(address, tuple):
        return create_connection(address[:2], source_address=bind)
    family = family_of(address) if family is None else family
    return _attempt((family, stdlib.SOCK_STREAM, 0, "", address), timeout=DEFAULT_TIMEOUT, source_address=bind)


def family_of(address: Address) -> int:
    """Return the address family that an address looks like."""
    if isinstance(address, (str, bytes)):
        return stdlib.AF_UNIX
    return stdlib.AF_INET6 if ":" in address[0] else stdlib.AF_INET


# -- listening


def listen(
    address: Address,
    family: int | None = None,
    backlog: int = BACKLOG,
    *,
    reuse_addr: bool = True,
    reuse_port: bool = False,
) -> socket:
    """Return a socket that listens at an address: (host, port), or a path. Port 0 is one that is free.

    `backlog` connections may wait in the kernel. Raises OSError if the address cannot be had.
    """
    family = family_of(address) if family is None else family
    sock = socket(family, stdlib.SOCK_STREAM)
    try:
        if reuse_addr and family != stdlib.AF_UNIX:
            sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_REUSEPORT, 1)
        sock.bind(address)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def create_server(
    address: Address,
    *,
    family: int = stdlib.AF_INET,
    backlog: int | None = None,
    reuse_port: bool = False,
    dualstack_ipv6: bool = False,
) -> socket:
    """Return a listening socket. Options and errors are those of `socket.create_server`."""
    bound = bound_listener(
        address, family=family, backlog=backlog, reuse_port=reuse_port, dualstack_ipv6=dualstack_ipv6
    )
    return take_over(bound, backlog=BACKLOG if backlog is None else backlog)


def take_over(listener: stdlib.socket, *, backlog: int = BACKLOG) -> socket:
    """Return a green listener on the descriptor of another one, which loses it; a green one is returned as it is."""
    if isinstance(listener, socket):
        return listener
    sock = socket(listener.family, listener.type, listener.proto, fileno=listener.detach())
    sock.listen(backlog)  # again: now the green socket knows what it is
    return sock


# -- TLS


def wrap_ssl(
    sock: stdlib.socket,
    *,
    context: SSLContext | None = None,
    server_side: bool = False,
    server_hostname: str | None = None,
    certfile: str | None = None,
    keyfile: str | None = None,
    ca_certs: str | None = None,
    verify: bool = True,
    handshake_timeout: float | None = HANDSHAKE_TIMEOUT,
) -> SSLSocket:
    """Return a TLS socket over a plain one: connected, or listening, or yet to be connected.

    Without a `context` one is made of the other options: a client's checks the server's certificate against
    `ca_certs`, or those of the system, unless `verify` is False; a server's needs `certfile`.
    """
    if context is None:
        context = _context(server_side, certfile=certfile, keyfile=keyfile, ca_certs=ca_certs, verify=verify)
    return wrap(
        sock,
        context,
        server_side=server_side,
        server_hostname=server_hostname,
        handshake_timeout=handshake_timeout,
    )


def _context(
    server_side: bool, *, certfile: str | None, keyfile: str | None, ca_certs: str | None, verify: bool
) -> SSLContext:
    if server_side:
        context = SSLContext(PROTOCOL_TLS_SERVER)
    else:
        context = create_default_context(Purpose.SERVER_AUTH, cafile=ca_certs)
        if not verify:
            context.check_hostname = False
            context.verify_mode = CERT_NONE
    if certfile is not None:
        context.load_cert_chain(certfile, keyfile)
    return context


# -- serving


def serve(sock: socket, handle: Handler, concurrency: int = 1000) -> None:
    """Call `handle(sock, address)` in a greenthread of its own for each connection, which is closed afterwards.

    Returns when a handler raises StopServe, or when `sock` is closed; handlers that run go on. What else a handler
    raises, but for GreenletExit, is raised here and ends the serving. While `concurrency` handlers run, new
    connections wait in the kernel.
    """
    if not callable(handle):
        raise not_callable(handle)
    over: AsyncResult[None] = AsyncResult()
    acceptor = spawn(_serve_all, sock, handle, Semaphore(concurrency), over)
    acceptor.link(lambda ended: _end(over, ended.exception))
    try:
        over.wait()
    except StopServe:
        pass
    finally:
        acceptor.kill()


def _serve_all(sock: socket, handle: Handler, places: Semaphore, over: AsyncResult[None]) -> None:
    places.acquire()
    for connection, address in connections(sock):
        spawn_n(_serve_one, handle, connection, address, places, over)
        del connection  # the handler's, while we wait for a place
        places.acquire()


def _serve_one(
    handle: Handler, connection: socket, address: Address, places: Semaphore, over: AsyncResult[None]
) -> None:
    try:
        handle(connection, address)
    except GreenletExit:
        pass
    except Exception as error:
        _end(over, error)
    finally:
        connection.close()
        places.release()


def _end(over: AsyncResult[None], error: BaseException | None) -> None:
    """Let `serve` return, or raise `error`; when it is over already, an error is only reported."""
    if not over.ready():
        if error is None:
            over.set(None)
        else:
            over.set_exception(error)
    elif error is not None and not isinstance(error, (StopServe, GreenletExit)):
        get_hub().on_error(error)
