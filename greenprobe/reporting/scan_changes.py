"""What changed between two scans: ports that opened or closed, services and certificates that are others now.

A scan that was written with --open names open ports only; so a port that is missing counts as not open. Only what both
scans asked can change: a service is compared where both name one.
"""

from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import Any, Final, NamedTuple

from greenprobe.reporting.findings import rows_of

__all__ = ["Change", "OpenPort", "Ports", "changes", "is_scan_row", "read_ports"]

MAX_TEXT: Final = 300


class OpenPort(NamedTuple):
    """What is kept of an open port. Empty texts: nobody asked, or nobody knows."""

    host: str
    service: str
    product: str
    certificate: str
    subject: str
    expires: str
    fingerprint: str


class Change(NamedTuple):
    """One difference: `kind` is "opened", "closed", "service" or "certificate"; `before` and `after` are texts."""

    kind: str
    ip: str
    port: int
    proto: str
    host: str
    before: str
    after: str

    def row(self) -> dict[str, Any]:
        """Return it as it is written to files."""
        return self._asdict()


Key = tuple[str, str, int]  # address, protocol, port
# The open ports of a scan, and of the others the state that was seen.
Ports = tuple[dict[Key, OpenPort], dict[Key, str]]


def is_scan_row(row: Any) -> bool:
    """Tell whether a line of a file is a result of scan."""
    if not isinstance(row, dict):
        return False
    return isinstance(row.get("ip"), str) and isinstance(row.get("port"), int) and isinstance(row.get("state"), str)


def read_ports(lines: Iterable[bytes]) -> tuple[Ports, int]:
    """Return the ports of a scan's JSON lines, and how many lines are something else."""
    opened: dict[Key, OpenPort] = {}
    others: dict[Key, str] = {}
    broken = 0
    states: dict[str, str] = {}  # each text once, however many ports are in that state
    for row in rows_of(lines):
        if not is_scan_row(row):
            broken += 1
            continue
        key = (row["ip"], _text(row.get("proto", "tcp")), row["port"])
        if row["state"] == "open":
            opened[key] = _open_port(row)
        else:
            said = f"{_text(row['state'])} ({_text(row.get('reason'))})"
            others[key] = states.setdefault(said, said)
    return (opened, others), broken


def _open_port(row: dict[str, Any]) -> OpenPort:
    info, tls = _inner(row, "info"), _inner(row, "tls")
    certificate = _inner(tls, "certificate")
    return OpenPort(
        host=_text(row.get("host")),
        service=_text(row.get("service")),
        product=_text(row.get("product")),
        certificate=_text(certificate.get("sha256")),
        subject=_text(certificate.get("subject")),
        expires=_text(certificate.get("not_after")),
        fingerprint=_text(info.get("fingerprint")),
    )


def _inner(row: dict[str, Any], name: str) -> dict[str, Any]:
    value = row.get(name)
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return "" if value is None else str(value)[:MAX_TEXT]


def changes(old: Ports, new: Ports) -> Iterator[Change]:
    """Yield the differences, by address and port."""
    (old_open, old_others), (new_open, new_others) = old, new
    for key in sorted(old_open.keys() | new_open.keys(), key=_order):
        before, after = old_open.get(key), new_open.get(key)
        if before is not None and after is not None:
            yield from _compared(key, before, after)
        elif after is not None:
            yield _change("opened", key, after.host, old_others.get(key, "not seen"), _said(after))
        elif before is not None:
            yield _change("closed", key, before.host, _said(before), new_others.get(key, "not seen"))


def _compared(key: Key, before: OpenPort, after: OpenPort) -> Iterator[Change]:
    is_known = bool(before.service and after.service)
    if is_known and _differ(_said(before), _said(after)):
        yield _change("service", key, after.host, _said(before), _said(after))
    elif _differ(before.fingerprint, after.fingerprint):
        yield _change("service", key, after.host, before.fingerprint, after.fingerprint)
    if _differ(before.certificate, after.certificate):
        yield _change("certificate", key, after.host, _certificate(before), _certificate(after))


def _differ(before: str, after: str) -> bool:
    """Tell whether both are known, and are not the same."""
    return bool(before and after) and before != after


def _said(port: OpenPort) -> str:
    return " ".join(filter(None, (port.service, port.product))) or "open"


def _certificate(port: OpenPort) -> str:
    return f"{port.subject} until {port.expires} ({port.certificate[:16]})"


def _change(kind: str, key: Key, host: str, before: str, after: str) -> Change:
    ip, proto, port = key
    return Change(kind, ip, port, proto, host, before, after)


def _order(key: Key) -> tuple[int, int, str, str, int]:
    ip, proto, port = key
    try:
        address = ip_address(ip)
    except ValueError:
        return 9, 0, ip, proto, port
    return address.version, int(address), ip, proto, port
