"""A connection to an open port while it is asked what it speaks: bounded bytes, bounded time, TLS when asked for.

The other side may be anything: it may drip a byte a second, never end, or reset. So a read has a deadline that does not
move, `said` never holds more than MAX_BYTES, and an end is a fact (`end`), not an exception.
"""

import ssl
import warnings
from collections.abc import Callable
from errno import EMFILE, ENFILE, ENOBUFS, ENOMEM
from socket import SO_LINGER, SOCK_STREAM, SOL_SOCKET
from ssl import SSLContext, SSLError
from typing import Any, Final, NamedTuple, Self

from greenprobe.engine.connector import RESET_ON_CLOSE
from greenprobe.engine.probes.certificates import chain_fields
from greenprobe.engine.probes.probe import Fields
from greenprobe.green_socket import socket
from greenprobe.green_ssl import SSLSocket, wrap
from greenprobe.hub import get_hub

__all__ = ["Door", "Link", "open_link"]

MAX_BYTES: Final = 1 << 16
CHUNK: Final = 1 << 13
PAUSE: Final = 0.1  # seconds between two tries to get a descriptor
TRIES: Final = 100
OURS: Final = frozenset({EMFILE, ENFILE, ENOBUFS, ENOMEM})


class Door(NamedTuple):
    """An open port. `host` is what it was asked for by; `rtt` is in seconds; `bind` prepares a socket."""

    host: str
    family: int
    sockaddr: tuple[Any, ...]
    rtt: float
    bind: Callable[[Any], object] = lambda sock: None

    @property
    def port(self) -> int:
        """Its number."""
        return int(self.sockaddr[1])


def open_link(door: Door, timeout: float) -> "Link":
    """Connect to a port. Raises OSError (TimeoutError) if it does not answer any more."""
    for _ in range(TRIES):
        try:
            sock = socket(door.family, SOCK_STREAM)
            break
        except OSError as exc:
            if exc.errno not in OURS:
                raise
            get_hub().sleep(PAUSE)
    else:
        raise TimeoutError("no descriptor for a connection")
    try:
        door.bind(sock)
        sock.setsockopt(SOL_SOCKET, SO_LINGER, RESET_ON_CLOSE)
        sock.settimeout(timeout)
        sock.connect(door.sockaddr)
    except BaseException:
        sock.close()
        raise
    return Link(sock, door.host)


class Link:
    """A conversation. `said` is what the server has said since `forget`.

    `end` is "" while it may say more, else "closed" or "reset".
    """

    def __init__(self, sock: socket, host: str) -> None:
        self._sock: socket | SSLSocket = sock
        self._host = host
        self._clock = get_hub().clock
        self.said = b""
        self.end = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._sock.close()

    @property
    def is_quiet(self) -> bool:
        """Whether the server has neither said anything nor hung up."""
        return not self.said and not self.end

    def forget(self) -> None:
        """Begin a new exchange."""
        self.said = b""

    def send(self, data: bytes, timeout: float) -> None:
        """Say something; `{host}` in it is the host that was asked for."""
        try:
            self._sock.settimeout(timeout)
            self._sock.sendall(data.replace(b"{host}", self._host.encode("ascii", "replace")))
        except OSError:
            pass  # what the server said before it hung up can still be read; the read finds the end

    def read(self, deadline: float) -> bool:
        """Wait for more of what the server says; False when there will be no more, or not by `deadline`."""
        left = deadline - self._clock()
        if self.end or left <= 0 or len(self.said) >= MAX_BYTES:
            return False
        try:
            self._sock.settimeout(left)
            data = self._sock.recv(CHUNK)
        except TimeoutError:
            return False
        except OSError:
            self.end = "reset"
            return False
        if not data:
            self.end = "closed"
            return False
        self.said += data
        return True

    def start_tls(self, timeout: float, *, offers_http: bool = False) -> Fields:
        """Go on in TLS and return what the server showed. Raises SSLError, or OSError if there was no handshake.

        `offers_http` names HTTP/1.1 by ALPN (RFC 7301). Who speaks something else may refuse it: Exim does.
        """
        name = self._host if self._host.strip("0123456789.") and ":" not in self._host else None
        context = anything_goes()
        if offers_http:
            context.set_alpn_protocols(["http/1.1"])
        secure = wrap(
            self._sock, context, server_hostname=name, handshake_timeout=timeout, do_handshake_on_connect=True
        )
        self._sock = secure
        self.forget()
        cipher = secure.cipher()
        return {
            "version": secure.version(),
            "cipher": cipher[0] if cipher else None,
            "bits": cipher[2] if cipher else None,
            "alpn": secure.selected_alpn_protocol(),
            **chain_fields(chain_of(secure)),
        }


def anything_goes() -> SSLContext:
    """Return a context that talks to any server: old versions, weak ciphers, whatever certificate. It looks only."""
    context = SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.set_ciphers("ALL:@SECLEVEL=0")
        except (ValueError, SSLError):
            pass  # a policy of this system forbids it
    return context


def chain_of(secure: SSLSocket) -> list[bytes]:
    """Return the certificates that a server sent, its own first, as DER."""
    leaf = secure.getpeercert(binary_form=True)
    whole = getattr(secure._sslobj, "get_unverified_chain", None)
    chain = whole() if whole is not None else None
    return [ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in chain] if chain else [leaf] if leaf else []
