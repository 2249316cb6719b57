"""What a report of a scan shows: hosts by ports, services, certificates by expiry, in bounded memory.

Lines are outside data, however they came about: what is not as it should be is counted and left out.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import Any, Final

from greenprobe.reporting.findings import rows_of
from greenprobe.reporting.scan_changes import is_scan_row

__all__ = ["ScanFindings", "gather_scan"]

MAX_HOSTS: Final = 1000  # in the matrix and the table
MAX_COLUMNS: Final = 120  # ports in the matrix
MAX_OPEN: Final = 20_000  # open ports in the table
MAX_CERTIFICATES: Final = 2000
MAX_TEXT: Final = 200
SAID: Final = ("status", "title", "location", "software", "version", "error")

Row = dict[str, Any]


class ScanFindings:
    """The counts behind a report of a scan."""

    def __init__(self) -> None:
        self.records = self.broken_lines = 0
        self._states: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._services: Counter[str] = Counter()
        self._ports: Counter[tuple[str, int]] = Counter()
        self._open: list[list[Any]] = []
        self._hosts: dict[str, str] = {}
        self._certificates: list[list[Any]] = []

    def add(self, row: Row) -> None:
        """Take one result."""
        self.records += 1
        state = text(row["state"])
        self._states[state] += 1
        self._reasons[f"{state}: {text(row.get('reason'))}"] += 1
        if state == "open":
            self._add_open(row)

    def _add_open(self, row: Row) -> None:
        ip, port, proto = text(row["ip"]), row["port"], text(row.get("proto", "tcp"))
        service = text(row.get("service") or "")
        self._services[service or "not asked or unknown"] += 1
        self._ports[proto, port] += 1
        if ip not in self._hosts:
            if len(self._hosts) >= MAX_HOSTS:
                return
            self._hosts[ip] = text(row.get("host"))
        if len(self._open) < MAX_OPEN:
            self._open.append([ip, port, proto, service, text(row.get("product") or ""), said(row)])
        certificate = inner(inner(row, "tls"), "certificate")
        if certificate and len(self._certificates) < MAX_CERTIFICATES:
            facts = (certificate.get(name) for name in ("not_after", "subject", "issuer", "key"))
            signed = "self-signed" if certificate.get("self_signed") is True else ""
            version = inner(row, "tls").get("version")
            self._certificates.append([f"{ip} {port}", *map(text, facts), text(version), signed])

    def row(self) -> dict[str, Any]:
        """Return everything that the page draws."""
        columns = sorted(key for key, _ in self._ports.most_common(MAX_COLUMNS))
        place = {key: number for number, key in enumerate(columns)}
        hosts = sorted(self._hosts, key=host_order)
        line = {ip: number for number, ip in enumerate(hosts)}
        cells = list(filled(self._open, line, place))
        return {
            "kind": "scan",
            "records": self.records,
            "broken_lines": self.broken_lines,
            "open": self._states["open"],
            "states": self._states.most_common(),
            "reasons": self._reasons.most_common(20),
            "services": self._services.most_common(40),
            "columns": list(map(column_name, columns)),
            "hosts": [[ip, self._hosts[ip]] for ip in hosts],
            "cells": cells,
            "ports": sorted(self._open, key=lambda one: (host_order(one[0]), one[1])),
            "certificates": sorted(self._certificates, key=lambda one: one[1]),
        }


def filled(found: list[list[Any]], line: dict[str, int], place: dict[tuple[str, int], int]) -> Iterator[list[Any]]:
    """Yield line, column and service of each open port that has a place in the matrix."""
    for ip, port, proto, service, *_ in found:
        if (proto, port) in place:
            yield [line[ip], place[proto, port], service]


def gather_scan(lines: Iterable[bytes]) -> ScanFindings:
    """Return the findings of the lines of a scan's result."""
    found = ScanFindings()
    for row in rows_of(lines):
        if is_scan_row(row):
            found.add(row)
        else:
            found.broken_lines += 1
    return found


def column_name(column: tuple[str, int]) -> str:
    """Return how a port is headed: its number, with a u if it is UDP."""
    proto, port = column
    return f"{port}" if proto == "tcp" else f"{port}u"


def said(row: Row) -> str:
    """Return what a service tells of itself, on a line."""
    info = inner(row, "info")
    words = [text(info[name]) for name in SAID if info.get(name)]
    return text("; ".join(words) or row.get("banner") or row.get("note") or "")


def inner(row: Row, name: str) -> Row:
    """Return row[name] where it is a mapping, else an empty one."""
    value = row.get(name)
    return value if isinstance(value, dict) else {}


def text(value: Any) -> str:
    """Return a value as text of a bounded length; nothing for None."""
    return "" if value is None else str(value)[:MAX_TEXT]


def host_order(ip: str) -> tuple[int, int, str]:
    """Return what sorts addresses by number, and other texts behind them."""
    try:
        address = ip_address(ip)
    except ValueError:
        return 9, 0, ip
    return address.version, int(address), ip
