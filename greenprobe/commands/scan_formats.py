"""Forms of a scan's results that other tools read: nmap's XML and its grepable lines, host by host; SQLite.

The first two group ports by host, so they are made when the scan is over. They hold what they will show: ports that
were asked for by few, or that are open; of the others how many are in which state, and which, as ranges.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from html import escape
from ipaddress import ip_address
from time import asctime, localtime
from typing import Any, Final

import click
import orjson

from greenprobe.commands.database import Database
from greenprobe.commands.output import terminal_safe
from greenprobe.engine.ports import format_ports
from greenprobe.engine.probes.registry import BUILT_IN
from greenprobe.engine.scanplan import ScanRecord

__all__ = ["GrepableReport", "ScanDatabase", "XmlReport"]

# A name inside TLS and the plain one, which nmap writes with a tunnel.
IN_TLS: Final = {probe.secure_name: probe.name for probe in BUILT_IN if probe.secure_name}
MANY: Final = 25  # ports in one state of one host that are told as ranges
EXTRA_REASONS: Final = {"reset": "conn-refused"}  # nmap's word in a connect scan


Listed = tuple[int, str, str, str, str]  # port, state, protocol, service, product


class HostPorts:
    """What is known of one host."""

    __slots__ = ("name", "plain", "shown")

    def __init__(self, name: str) -> None:
        self.name = name
        self.shown: list[ScanRecord] = []
        self.plain: defaultdict[tuple[str, str, str], list[int]] = defaultdict(list)

    def add(self, record: ScanRecord) -> None:
        """Take a record of this host."""
        if record.state == "open":
            self.shown.append(record)
        else:
            self.plain[record.state, record.reason, record.proto].append(record.port)

    def states(self) -> Iterator[tuple[tuple[str, str, str], list[int]]]:
        """Yield (state, reason, protocol) and the ports that are in it, but for the shown ones."""
        for key, ports in sorted(self.plain.items()):
            yield key, sorted(ports)


class Collected:
    """Records by host, in numeric order."""

    def __init__(self) -> None:
        self._hosts: dict[str, HostPorts] = {}

    def add(self, records: Iterable[ScanRecord]) -> None:
        """Take records in any order."""
        for record in records:
            host = self._hosts.get(record.ip)
            if host is None:
                host = self._hosts[record.ip] = HostPorts(record.host)
            host.add(record)

    def hosts(self) -> Iterator[tuple[str, HostPorts]]:
        """Yield addresses and what is known of them."""
        yield from sorted(self._hosts.items(), key=lambda item: _host_order(item[0]))

    def __len__(self) -> int:
        return len(self._hosts)


class XmlReport(Collected):
    """The results as nmap would write them: version 1.05 of its XML."""

    def __init__(self, *, arguments: str, started: float, ports: str, count: int) -> None:
        super().__init__()
        self._arguments = arguments
        self._started = started
        self._ports = ports
        self._count = count

    def lines(self, *, now: float, version: str) -> Iterator[str]:
        """Yield the document, as it is at `now`."""
        started = int(self._started)
        yield '<?xml version="1.0" encoding="UTF-8"?>'
        yield "<!DOCTYPE nmaprun>"
        yield (
            f'<nmaprun scanner="greenprobe" args={_quoted(self._arguments)} start="{started}" '
            f'startstr={_quoted(asctime(localtime(started)))} version={_quoted(version)} xmloutputversion="1.05">'
        )
        yield f'<scaninfo type="connect" protocol="tcp" numservices="{self._count}" services={_quoted(self._ports)}/>'
        for ip, host in self.hosts():
            yield from self._host(ip, host, int(now))
        took = f"{now - self._started:.2f}"
        yield (
            f'<runstats><finished time="{int(now)}" timestr={_quoted(asctime(localtime(now)))} elapsed="{took}" '
            f'summary="{len(self)} hosts scanned in {took} seconds" exit="success"/>'
            f'<hosts up="{len(self)}" down="0" total="{len(self)}"/></runstats>'
        )
        yield "</nmaprun>"

    def _host(self, ip: str, host: HostPorts, now: int) -> Iterator[str]:
        kind = "ipv6" if ":" in ip else "ipv4"
        yield f'<host starttime="{int(self._started)}" endtime="{now}">'
        yield '<status state="up" reason="user-set" reason_ttl="0"/>'
        yield f'<address addr={_quoted(ip.partition("%")[0])} addrtype="{kind}"/>'
        name = "" if host.name == ip else f'<hostname name={_quoted(host.name)} type="user"/>'
        yield f"<hostnames>{name}</hostnames><ports>"
        listed = []
        for (state, reason, proto), ports in host.states():
            if len(ports) > MANY:
                yield (
                    f'<extraports state="{state}" count="{len(ports)}"><extrareasons '
                    f'reason="{EXTRA_REASONS.get(reason, reason)}" count="{len(ports)}" proto="{proto}" '
                    f'ports="{format_ports(ports)}"/></extraports>'
                )
            else:
                listed += [(proto, port, state, reason, "") for port in ports]
        listed += [(one.proto, one.port, one.state, one.reason, _service(one)) for one in host.shown]
        for proto, port, state, reason, service in sorted(listed):
            shown = EXTRA_REASONS.get(reason, reason)
            yield (
                f'<port protocol="{proto}" portid="{port}">'
                f'<state state="{state}" reason="{shown}" reason_ttl="0"/>{service}</port>'
            )
        yield "</ports></host>"


def _service(record: ScanRecord) -> str:
    service = record.service
    if service is None or not service.name:
        return ""
    plain = IN_TLS.get(service.name) or service.name.removesuffix("/tls")
    tunnel = ' tunnel="ssl"' if plain != service.name else ""
    product = f" product={_quoted(service.product)}" if service.product else ""
    return f'<service name={_quoted(plain)}{product}{tunnel} method="probed" conf="10"/>'


def _quoted(text: str) -> str:
    return f'"{escape(terminal_safe(text))}"'


class GrepableReport(Collected):
    """A line a host, as `nmap -oG` writes it."""

    def lines(self, *, now: float, version: str) -> Iterator[str]:
        """Yield a heading, the hosts, and an end."""
        yield f"# greenprobe {version} scan"
        for ip, host in self.hosts():
            listed: list[Listed] = [(one.port, one.state, one.proto, *_grepable_service(one)) for one in host.shown]
            ignored = []
            for (state, _, proto), ports in host.states():
                if len(ports) > MANY:
                    ignored.append(f"{state} ({len(ports)})")
                else:
                    listed += [(port, state, proto, "", "") for port in ports]
            words = ", ".join(map(_grepable_port, sorted(listed)))
            name = "" if host.name == ip else _plain(host.name)
            rest = f"\tIgnored State: {', '.join(ignored)}" if ignored else ""
            yield f"Host: {ip} ({name})\tPorts: {words}{rest}"
        yield f"# greenprobe done at {asctime(localtime(now))} -- {len(self)} hosts scanned"


def _grepable_port(listed: Listed) -> str:
    port, state, proto, name, what = listed
    return f"{port}/{state}/{proto}//{name}//{what}/"


def _grepable_service(record: ScanRecord) -> tuple[str, str]:
    service = record.service
    return ("", "") if service is None else (_plain(service.name), _plain(service.product))


def _plain(text: str) -> str:
    """Return text without what a reader of grepable lines splits at."""
    return terminal_safe(text).replace("/", "|").replace(",", " ")


def _host_order(ip: str) -> tuple[int, int, str]:
    address = ip_address(ip)
    return address.version, int(address), ip


COLUMNS: Final = {
    "host": "TEXT NOT NULL",
    "ip": "TEXT NOT NULL",
    "port": "INTEGER NOT NULL",
    "proto": "TEXT NOT NULL",
    "state": "TEXT NOT NULL",
    "reason": "TEXT NOT NULL",
    "rtt_ms": "REAL",
    "tries": "INTEGER NOT NULL",
    "service": "TEXT",
    "product": "TEXT",
    "row": "TEXT NOT NULL",
}
SCHEMA: Final = (
    f"CREATE TABLE ports ({', '.join(f'{name} {kind}' for name, kind in COLUMNS.items())}, "
    "PRIMARY KEY (ip, proto, port)) WITHOUT ROWID"
)
INSERT: Final = f"INSERT OR REPLACE INTO ports VALUES ({', '.join('?' * len(COLUMNS))})"


class ScanDatabase(Database):
    """The table `ports` of an SQLite file: the usual columns, and the whole row as JSON."""

    def __init__(self, path: str, *, goes_on: bool = False) -> None:
        """Open `path`. A table that is there is refused, unless this scan goes on.

        Who goes on may add rows that are there: they were written after the scan was last known to be so far.
        """
        self._goes_on = goes_on
        super().__init__(path)

    def _prepare(self) -> None:
        if not self._has_table("ports"):
            self._connection.execute(SCHEMA)
        elif not self._goes_on:
            raise click.ClickException(f"{self._path} has a scan in it already; name another file with --sqlite")
        self._connection.commit()

    def add(self, records: Iterable[ScanRecord]) -> None:
        """Insert records."""
        with self._naming_errors():
            self._connection.executemany(INSERT, map(_values, records))


def _values(record: ScanRecord) -> tuple[Any, ...]:
    row = record.row()
    return (*(row.get(name) for name in COLUMNS if name != "row"), orjson.dumps(row).decode())
