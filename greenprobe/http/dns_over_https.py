"""DNS over HTTPS (RFC 8484): the `Exchange` of servers written as https://, through our own client.

It stands here and not beside the other ways (`greenprobe.dns`), because the client needs names itself. The name of the
server is libc's to find: our own resolver may be the one that asks this server.
"""

from collections.abc import Callable
from errno import EPROTO
from functools import partial
from socket import AF_INET, AF_INET6, SOCK_STREAM
from ssl import SSLContext
from typing import Final

from greenprobe.dns.asker import MakeExchange
from greenprobe.dns.servers import Server
from greenprobe.errors import FetchError, PoolTimeout
from greenprobe.http.client import Client
from greenprobe.http.connections import Address
from greenprobe.http.options import ClientOptions
from greenprobe.http.trust import trusting
from greenprobe.hub import Hub
from greenprobe.names import in_thread, is_numeric
from greenprobe.timeout import fail_after

__all__ = ["HttpsPath", "exchanges"]

MEDIA_TYPE: Final = "application/dns-message"
HEADERS: Final = {"Content-Type": MEDIA_TYPE, "Accept": MEDIA_TYPE}
NO_ID: Final = b"\0\0"  # RFC 8484, section 4.1: HTTP keeps question and answer together
MAX_MESSAGE_BYTES: Final = 65535
MAX_CONNECTIONS: Final = 8


def exchanges(trust: Callable[[], SSLContext] = trusting) -> dict[str, MakeExchange]:
    """Return what a `Resolver` or an `Asker` takes as its `exchanges`, to know servers written as https://."""
    return {"https": partial(HttpsPath, trust=trust)}


class HttpsPath:
    """The way to one server, for the greenthreads of one hub."""

    def __init__(self, hub: Hub, server: Server, *, trust: Callable[[], SSLContext] = trusting) -> None:
        options = ClientOptions(
            per_host=MAX_CONNECTIONS,
            max_redirects=0,
            max_body_bytes=MAX_MESSAGE_BYTES,
            server_name=server.name or None,
        )
        self._client = Client(options, hub=hub, trust=trust, resolve=resolve_by_libc)
        self._url = str(server._replace(name="", port=server.port))

    def exchange(self, query: bytes, asked: bytes, timeout: float, *, keeps_case: bool = False) -> bytes:
        """POST a query (without its id); return the reply. Raises OSError, TimeoutError after `timeout` seconds."""
        try:
            with fail_after(timeout):
                response = self._client.post(self._url, NO_ID + query, headers=HEADERS)
        except TimeoutError:
            raise
        except (FetchError, PoolTimeout) as error:
            raise OSError(EPROTO, str(error)) from error
        media_type = (response.header("content-type") or "").partition(";")[0].strip().lower()
        if response.status != 200 or media_type != MEDIA_TYPE:
            raise OSError(EPROTO, f"HTTP status {response.status}, content type {media_type or 'missing'}")
        return response.content

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def resolve_by_libc(host: str, port: int, timeout: float) -> list[Address]:
    """Return the addresses of a server; a number needs no look-up."""
    if is_numeric(host):
        return [Address(int(AF_INET6 if ":" in host else AF_INET), (host, port))]
    return [Address(int(family), sockaddr) for family, _, _, _, sockaddr in in_thread(host, port, 0, SOCK_STREAM)]
