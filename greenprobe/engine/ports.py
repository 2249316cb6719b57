"""Which ports: `22,80,1000-2000` or `-` becomes a sorted sequence without repeats, and back to text."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from greenprobe.errors import TargetError

__all__ = ["LAST_PORT", "Ports", "format_ports", "parse_ports"]

LAST_PORT: Final = 65535
PART: Final = re.compile(r"(\d*)(-?)(\d*)", re.ASCII)

# A range where they are consecutive, which takes no room; else a tuple.
Ports = Sequence[int]


def parse_ports(text: str) -> Ports:
    """Return the ports that `text` names: numbers and ranges between commas; an open end of a range is 1 or 65535.

    Raises TargetError, which names the part that cannot be understood.
    """
    ranges = sorted(_range(part.strip()) for part in text.split(","))
    merged = _merge(ranges)
    if len(merged) == 1:
        return range(merged[0][0], merged[0][1] + 1)
    return tuple(port for low, high in merged for port in range(low, high + 1))


def format_ports(ports: Iterable[int]) -> str:
    """Return the shortest text that `parse_ports` reads as these ports."""
    merged = _merge([(port, port) for port in sorted(ports)])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in merged)


def _range(part: str) -> tuple[int, int]:
    match = PART.fullmatch(part)
    if match is None or not part:
        raise TargetError(f"{part!r} is no port; write numbers and ranges such as 22,80,1000-2000, or - for all")
    first, dash, last = match.groups()
    low = int(first) if first else 1
    high = int(last) if last else LAST_PORT if dash else low
    for port in (high, low):
        if not 1 <= port <= LAST_PORT:
            raise TargetError(f"port {port} does not exist; ports are 1 to {LAST_PORT}")
    if low > high:
        raise TargetError(f"port range {part!r} runs backwards; write {high}-{low}")
    return low, high


def _merge(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join sorted ranges that overlap or touch."""
    merged: list[tuple[int, int]] = []
    for low, high in ranges:
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(high, merged[-1][1])
        else:
            merged.append((low, high))
    return merged
