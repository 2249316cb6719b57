"""The table of a scan: for each host its open ports, and how many are in which other state.

It is made when the scan is over, since the probes come in no order. It holds what it will show: open ports, and counts.
Counts are kept for each host up to MAX_HOSTS hosts, and for all together beyond that.
"""

from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final

from greenprobe.commands.output import terminal_safe
from greenprobe.engine.scanplan import ScanRecord

__all__ = ["ScanTable"]

MAX_HOSTS: Final = 4096
HEADING: Final = ("PORT", "STATE", "REASON", "RTT")
SERVICE_HEADING: Final = ("SERVICE", "SAYS")
STATE: Final = 1  # its column
COLOURS: Final = {"open": "1;32", "filtered": "33", "open|filtered": "33", "unreported": "31"}
MAX_SAYS: Final = 100  # characters of what a service says

Kind = tuple[str, str]  # state, reason


class ScanTable:
    """Takes records, gives lines. `show_all` lists every port, whatever its state."""

    def __init__(self, *, hosts: int, show_all: bool, has_colour: bool = False) -> None:
        self._has_colour = has_colour
        self._by_host = hosts <= MAX_HOSTS
        self._show_all = show_all
        self._shown: dict[str, list[ScanRecord]] = {}
        self._counts: dict[str, Counter[Kind]] = {}

    def add(self, records: list[ScanRecord]) -> None:
        """Take records in any order."""
        by_host, show_all = self._by_host, self._show_all
        for record in records:
            if show_all or record.state == "open":
                self._shown.setdefault(record.ip, []).append(record)
            else:
                key = record.ip if by_host else ""
                counts = self._counts.get(key)
                if counts is None:
                    counts = self._counts[key] = Counter()
                counts[record.state, record.reason] += 1

    def lines(self) -> Iterator[str]:
        """Yield the table, hosts and ports in numeric order."""
        blank = False
        for ip in sorted(self._shown, key=_host_order):
            if blank:
                yield ""
            blank = True
            yield from self._host(ip)
        yield from self._rest(blank)

    def _host(self, ip: str) -> Iterator[str]:
        records = sorted(self._shown[ip], key=lambda record: (record.proto, record.port))
        name = records[0].host
        yield ip if name == ip else f"{ip} ({name})"
        rows = _rows(records)
        for row, line in zip(rows, _columns(rows), strict=True):
            yield _coloured(line, row[STATE]) if self._has_colour else line
        if ip in self._counts:
            yield f"  not shown: {_say(self._counts[ip])}"

    def _rest(self, blank: bool) -> Iterator[str]:
        others = [counts for ip, counts in self._counts.items() if ip not in self._shown]
        if not others:
            return
        if blank:
            yield ""
        total: Counter[Kind] = Counter()
        for counts in others:
            total.update(counts)
        if not self._by_host:
            yield f"not shown: {_say(total)}"
        else:
            hosts = f"{len(others):,} hosts have" if len(others) > 1 else f"{self._lone_host()} has"
            yield f"{hosts} no open port: {_say(total)}"

    def _lone_host(self) -> str:
        return next(ip for ip in self._counts if ip not in self._shown)


def _rows(records: list[ScanRecord]) -> list[tuple[str, ...]]:
    if all(record.service is None for record in records):
        return [HEADING, *map(_cells, records)]
    return [HEADING + SERVICE_HEADING, *(_cells(record) + _service(record) for record in records)]


def _cells(record: ScanRecord) -> tuple[str, ...]:
    rtt = "-" if record.rtt is None else f"{record.rtt * 1e3:.3f} ms"
    return f"{record.port}/{record.proto}", record.state, record.reason, rtt


def _service(record: ScanRecord) -> tuple[str, ...]:
    service = record.service
    if service is None:
        return "-", ""
    info = service.info or {}
    certificate = (service.tls or {}).get("certificate") or {}
    says = [service.product or info.get("greeting") or service.banner or service.note]
    says += [str(info[key]) for key in ("status", "title", "location", "fingerprint") if info.get(key)]
    says += [f"certificate of {certificate['subject']}"] if certificate.get("subject") else []
    return terminal_safe(service.name) or "unknown", terminal_safe("; ".join(filter(None, says)))[:MAX_SAYS]


def _coloured(line: str, state: str) -> str:
    colour = COLOURS.get(state)
    return line.replace(state, f"\x1b[{colour}m{state}\x1b[0m", 1) if colour else line


def _columns(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield f"  {cells.rstrip()}"


def _say(counts: Counter[Kind]) -> str:
    return ", ".join(f"{count:,} {state} ({reason})" for (state, reason), count in counts.most_common())


def _host_order(ip: str) -> tuple[int, int, str]:
    address = ip_address(ip)
    return address.version, int(address), ip
