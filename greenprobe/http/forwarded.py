"""What trusted proxies say of the client: X-Forwarded-For and its kin, or Forwarded (RFC 7239). No sockets.

Facts. Every proxy appends the address that it saw, so the right end of the list is the most trustworthy; anybody may
have written the left end. A proxy that writes one kind of header passes the other kind through, as the client sent it.
Choice. Nothing is believed unless the peer is a proxy that was named; from the right, addresses of named proxies are
passed over, and the next one is the client. One kind of header is read, the one that was asked for.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, Final

from greenprobe.errors import TargetError
from greenprobe.http.request_head import HOST_AND_PORT

__all__ = ["TrustedProxies", "read_networks"]

Network = IPv4Network | IPv6Network
MAX_HOPS: Final = 100
# Looked for behind separators only: at each place, a header without pairs would cost the square of its length.
PAIR = re.compile(r'(?:^|[;,])\s*([A-Za-z]{1,40})=(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*))\s*(?=[;,]|$)')
NODE = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::\d+)?|([0-9.]+)(?::\d+)?|([0-9A-Fa-f:.]+)").fullmatch


def read_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Read addresses and networks. Raises TargetError for what is neither."""
    found = []
    for text in texts:
        try:
            found.append(ip_network(text.strip(), strict=False))
        except ValueError:
            raise TargetError(f"{text!r} is no address or network; write 10.0.0.1 or 10.0.0.0/8") from None
    return tuple(found)


@dataclass(frozen=True)
class TrustedProxies:
    """The proxies to believe, and which of their headers: `Forwarded` if `standard`, else the X-Forwarded ones.

    A Unix socket has no address; its peers are believed if `unix`. `host` takes over the host, too, which only a proxy
    that always writes it makes safe.
    """

    networks: tuple[Network, ...]
    standard: bool = False
    host: bool = False
    unix: bool = True

    def variables(self, client: str, fields: dict[str, str]) -> dict[str, Any]:
        """Return what to change in an environ, given the peer's address and the header fields by their CGI names."""
        if not self.trusts(client):
            return {}
        hops, scheme, host = self._standard(fields) if self.standard else self._customary(fields)
        changes: dict[str, Any] = {}
        origin = self._origin(hops)
        if origin is not None:
            changes["REMOTE_ADDR"] = origin
        if scheme in {"http", "https"}:
            changes["wsgi.url_scheme"] = scheme
        if self.host and host and HOST_AND_PORT(host):
            changes["HTTP_HOST"] = host
        return changes

    def trusts(self, address: str) -> bool:
        """Tell whether an address is one of the proxies."""
        if not address:
            return self.unix
        try:
            found = ip_address(address)
        except ValueError:
            return False
        found = getattr(found, "ipv4_mapped", None) or found
        return any(found in network for network in self.networks if network.version == found.version)

    def _origin(self, hops: list[str]) -> str | None:
        """Return the nearest address that is no proxy, or the farthest that is one."""
        origin = None
        for hop in reversed(hops[-MAX_HOPS:]):
            address = node_address(hop)
            if address is None:
                break
            origin = address
            if not self.trusts(address):
                break
        return origin

    def _customary(self, fields: dict[str, str]) -> tuple[list[str], str, str]:
        def last(name: str) -> str:
            return fields.get(name, "").rpartition(",")[2].strip()

        hops = [hop.strip() for hop in fields.get("HTTP_X_FORWARDED_FOR", "").split(",") if hop.strip()]
        return hops, last("HTTP_X_FORWARDED_PROTO").lower(), last("HTTP_X_FORWARDED_HOST")

    def _standard(self, fields: dict[str, str]) -> tuple[list[str], str, str]:
        pairs = [
            (pair[1].lower(), pair[2].replace("\\", "") if pair[2] is not None else pair[3])
            for pair in PAIR.finditer(fields.get("HTTP_FORWARDED", ""))
        ]
        last = dict(pairs)
        return [value for name, value in pairs if name == "for"], last.get("proto", "").lower(), last.get("host", "")


def node_address(text: str) -> str | None:
    """Return the address of a hop, without its port; None if it hides, or is none."""
    found = NODE(text)
    if found is None:
        return None
    try:
        return str(ip_address(found[1] or found[2] or found[3]))
    except ValueError:
        return None
