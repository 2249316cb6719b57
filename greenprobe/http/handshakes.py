"""Shaking hands with the origins of one client: how a later handshake costs less than the first.

A session is resumed where the server does that. Where it does not, a certificate is recognized.

Facts. A full handshake takes OpenSSL half a millisecond, an eighth of it for the chain of the certificate, which is the
same each time. That the server holds the certificate's key is proven by the handshake itself, whether or not the chain
is checked. Failure: to trust a certificate that nobody has verified for this host, or for ever. Choice: the certificate
that was verified for an origin is kept for RECOGNIZED_SECONDS, byte by byte; later handshakes with that origin check no
chain, and go on only if they were shown exactly these bytes. If not, nothing was sent: the connection is closed, and a
new one verifies. Price: a certificate that expires or is distrusted in that time is found out as much later; a server
that shows another certificate costs one connection more.
"""

from collections.abc import Callable
from ssl import SSLContext
from typing import Final

from greenprobe.http.connections import Connection, TlsConnection, start_tls
from greenprobe.http.lanes import Lane
from greenprobe.http.trust import Trust

__all__ = ["Handshakes", "Unrecognized"]

RECOGNIZED_SECONDS: Final = 60.0
HTTP_2: Final = ("h2", "http/1.1")


class Unrecognized(Exception):
    """The server showed another certificate than it did before; nothing was sent to it."""


class Handshakes:
    """Turns connections into TLS. `trust` makes the context, when the first is needed; only a Trust recognizes."""

    def __init__(
        self,
        clock: Callable[[], float],
        trust: Callable[[], SSLContext],
        *,
        offers_http2: bool = False,
        recognizes: bool = True,
    ) -> None:
        self._clock = clock
        self._trust = trust
        self._offers_http2 = offers_http2
        self._recognizes = recognizes and isinstance(trust, Trust) and trust.verifies
        self._context: SSLContext | None = None
        self._recognizing: SSLContext | None = None
        self._to_proxies: SSLContext | None = None

    def shake(self, host: str, plain: Connection, deadline: float, lane: Lane | None = None) -> TlsConnection:
        """Shake hands with `host`, with what is known of its lane, or with a proxy; on an error `plain` is closed.

        Raises TimeoutError, OSError, or Unrecognized: then ask again, with a new connection.
        """
        if lane is None:
            self._to_proxies = self._to_proxies or self._trust()  # CONNECT is spoken in HTTP/1.1
            return start_tls(plain, self._to_proxies, host, deadline)
        if self._context is None:
            self._context = self._made(self._trust)
        lane.handshakes += 1
        if lane.certificate is not None:
            if self._clock() < lane.certificate_until:
                return self._recognize(lane, lane.certificate, host, plain, deadline)
            lane.certificate = None
        return start_tls(plain, self._context, host, deadline, session=lane.session)

    def remember(self, lane: Lane, connection: Connection) -> None:
        """Keep what the next handshake with the same origin can profit from. Call it after the first answer.

        To take a session out of OpenSSL and to offer it again costs as much as half a handshake. So nothing is kept
        of the first connection to an origin, which is the only one to most, nor of a server that does not resume.
        """
        if not isinstance(connection, TlsConnection):
            return
        if not lane.can_resume:
            if self._recognizes and lane.certificate is None and connection.context is self._context:
                lane.certificate = connection.certificate
                lane.certificate_until = self._clock() + RECOGNIZED_SECONDS
        elif lane.session is not None:
            if not connection.is_resumed and lane.handshakes > lane.offered_from:
                lane.can_resume, lane.session = False, None
        elif lane.handshakes > 1:
            lane.session, lane.offered_from = connection.session, lane.handshakes + lane.busy

    def _recognize(
        self, lane: Lane, certificate: bytes, host: str, plain: Connection, deadline: float
    ) -> TlsConnection:
        if self._recognizing is None:
            assert isinstance(self._trust, Trust)
            self._recognizing = self._made(self._trust.unverified)
        secure = start_tls(plain, self._recognizing, host, deadline)
        if secure.certificate != certificate:
            secure.close()
            lane.certificate = None
            raise Unrecognized
        return secure

    def _made(self, make: Callable[[], SSLContext]) -> SSLContext:
        context = make()
        if self._offers_http2:
            context.set_alpn_protocols(HTTP_2)
        return context
