"""Which addresses a client may connect to: all, or none that leads inside.

A name may resolve to anything, and differently the next time (DNS rebinding), so what is judged is the address that is
connected to. Source: the registries of special-purpose addresses of IANA, as Python's ipaddress has them; the IPv4
address inside an IPv6 one counts (mapped, 6to4, Teredo, NAT64: RFC 4291, 3056, 4380, 6052).
"""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

__all__ = ["is_public"]

NAT64: Final = ip_network("64:ff9b::/96")


def is_public(text: str) -> bool:
    """Tell whether an address, as text, is one of the whole internet's."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        inner = embedded(address)
        if inner is not None:
            return is_public(str(inner))
    return address.is_global and not address.is_multicast and not address.is_reserved


def embedded(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 address stands for, None if for none."""
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo is not None else None)
