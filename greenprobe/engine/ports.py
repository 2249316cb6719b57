"""Which ports: `22,80,1000-2000`, `https`, `U:53` or `-` becomes a sorted sequence without repeats, and back to text.

A UDP port is its number plus UDP, so that both kinds go in one sequence.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import chain
from socket import getservbyname
from typing import Final

from greenprobe.errors import TargetError

__all__ = [
    "LAST_PORT",
    "UDP",
    "Ports",
    "format_ports",
    "has_udp",
    "number_of",
    "parse_ports",
    "top_ports",
    "without_ports",
]

LAST_PORT: Final = 65535
UDP: Final = 1 << 16
PART: Final = re.compile(r"(\d*)(-?)(\d*)", re.ASCII)
NAME: Final = re.compile(r"[a-zA-Z][\w.+-]*", re.ASCII)
PREFIXES: Final = {"T": ("tcp", 0), "U": ("udp", UDP)}

# What people run most, in our own order: the web and its proxies, remote shells and desktops, mail, names, shares,
# databases, queues, monitoring, and what is found open by mistake. After these come the registered system ports (RFC
# 6335: 1 to 1023), then all others, ascending. Numbers and names are those of the IANA registry.
COMMON: Final = (
    *(80, 443, 22, 21, 25, 53, 3389, 445, 139, 135, 110, 143, 993, 995, 587, 465, 8080, 23, 8443, 3306, 5432, 111),
    *(6379, 27017, 5900, 1433, 1521, 389, 636, 88, 5985, 5986, 9200, 11211, 2049, 5672, 1883, 8883, 8000, 8888, 3000),
    *(9090, 9100, 5000, 8081, 8008, 10000, 1723, 500, 548, 554, 5060, 5061, 179, 161, 514, 515, 631, 873, 990, 2222),
    *(2375, 2376, 2379, 6443, 10250, 15672, 9092, 2181, 7001, 9000, 9443, 8009, 4443, 4848, 5601, 5984, 8086, 8089),
    *(49152, 49153, 49154, 49155, 49156, 49157, 3268, 3269, 464, 593, 1080, 3128, 1194, 1701, 1900, 2000, 2121, 3260),
    *(4444, 5001, 5222, 5269, 5353, 5357, 5555, 5671, 5800, 5901, 6000, 6001, 6667, 7070, 7443, 8088, 8090, 8180, 8200),
    *(8300, 8500, 8834, 9042, 9999, 11434, 25565, 27018, 32768, 50000, 61616),
)

# A range where they are consecutive, which takes no room; else a tuple.
Ports = Sequence[int]


def parse_ports(text: str) -> Ports:
    """Return the ports that `text` names: numbers, ranges and service names between commas.

    An open end of a range is 1 or 65535. `U:` makes what follows UDP, `T:` makes it TCP again. Raises TargetError,
    which names the part that cannot be understood.
    """
    ranges = []
    protocol, offset = PREFIXES["T"]
    for part in text.split(","):
        part = part.strip()
        if part[:2].upper() in ("T:", "U:"):
            protocol, offset = PREFIXES[part[0].upper()]
            part = part[2:].strip()
        low, high = _range(part, protocol)
        ranges.append((low + offset, high + offset))
    merged = _merge(sorted(ranges))
    if len(merged) == 1:
        return range(merged[0][0], merged[0][1] + 1)
    return tuple(port for low, high in merged for port in range(low, high + 1))


def top_ports(count: int) -> Ports:
    """Return the `count` TCP ports that are most worth a look, in numeric order; see COMMON."""
    rest = chain(range(1, 1024), range(1024, LAST_PORT + 1))
    known = set(COMMON)
    found = [*COMMON[:count]]
    found += [port for port, _ in zip((p for p in rest if p not in known), range(count - len(found)), strict=False)]
    return range(1, LAST_PORT + 1) if count == LAST_PORT else tuple(sorted(found))


def without_ports(ports: Ports, excluded: Ports) -> Ports:
    """Return the ports that are not in `excluded`."""
    left = tuple(port for port in ports if not _has(excluded, port))
    return ports if len(left) == len(ports) else left


def _has(ports: Ports, port: int) -> bool:
    place = bisect_left(ports, port)
    return place < len(ports) and ports[place] == port


def has_udp(ports: Ports) -> bool:
    """Tell whether any port is UDP: they come last."""
    return bool(ports) and ports[-1] > UDP


def number_of(port: int) -> tuple[int, str]:
    """Return the number and the protocol of a port."""
    return (port, "tcp") if port < UDP else (port - UDP, "udp")


def format_ports(ports: Iterable[int]) -> str:
    """Return the shortest text that `parse_ports` reads as these ports."""
    words = []
    is_udp = False
    for low, high in _merge([(port, port) for port in sorted(ports)]):
        prefix = "U:" if low > UDP and not is_udp else ""
        is_udp = is_udp or low > UDP
        first, last = low % UDP, high % UDP
        words.append(prefix + (str(first) if low == high else f"{first}-{last}"))
    return ",".join(words)


def _range(part: str, protocol: str) -> tuple[int, int]:
    match = PART.fullmatch(part)
    if match is None or not part:
        number = _named(part, protocol)
        return number, number
    first, dash, last = match.groups()
    low = int(first) if first else 1
    high = int(last) if last else LAST_PORT if dash else low
    for port in (high, low):
        if not 1 <= port <= LAST_PORT:
            raise TargetError(f"port {port} does not exist; ports are 1 to {LAST_PORT}")
    if low > high:
        raise TargetError(f"port range {part!r} runs backwards; write {high}-{low}")
    return low, high


def _named(part: str, protocol: str) -> int:
    if NAME.fullmatch(part):
        try:
            return getservbyname(part, protocol)
        except OSError:
            raise TargetError(f"no {protocol} service is called {part!r} on this machine; write its number") from None
    raise TargetError(f"{part!r} is no port; write numbers and ranges such as 22,80,1000-2000, or - for all")


def _merge(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join sorted ranges that overlap or touch."""
    merged: list[tuple[int, int]] = []
    for low, high in ranges:
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(high, merged[-1][1])
        else:
            merged.append((low, high))
    return merged
