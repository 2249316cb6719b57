"""Where the records of a scan go: one sink for each form of the results."""

import os
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from time import time
from typing import Protocol

import orjson

from greenprobe.commands.output import Column, Output, encoder
from greenprobe.commands.scan_formats import GrepableReport, XmlReport
from greenprobe.commands.scan_options import ScanOptions
from greenprobe.commands.scan_table import ScanTable
from greenprobe.engine.ports import UDP, format_ports
from greenprobe.engine.scanplan import ScanPlan, ScanRecord

__all__ = ["COLUMNS", "ROWS", "KeptSink", "RowSink", "Sink", "lines_form", "report_sink"]

COLUMNS = [
    Column("host", "host", 24),
    Column("ip", "ip", 15),
    Column("port", "port", -5),
    Column("proto", "proto", 5),
    Column("state", "state", 8),
    Column("reason", "reason", 16),
    Column("rtt_ms", "rtt_ms", -9),
    Column("tries", "tries", -5),
    Column("icmp_from", "icmp_from", 15),
    Column("service", "service", 10),
    Column("product", "product", 24),
    Column("banner", "banner"),
]
ROWS = ("jsonl", "csv", "text")  # formats of a line a record
FEW_PORTS = 20  # up to here the table shows every port, also closed ones: somebody asked for just these


class Sink(Protocol):
    """Takes batches of records while the scan runs; writes the rest when it is over."""

    def write(self, batch: list[ScanRecord]) -> None:
        """Take records."""

    def end(self) -> None:
        """Write what had to wait for the end."""


class RowSink:
    """A line a record, as they come."""

    def __init__(self, out: Output, format_name: str, *, has_heading: bool) -> None:
        self._out = out
        heading, self._encode = encoder(format_name, COLUMNS)
        if heading and has_heading:
            out.write(heading)

    def write(self, batch: list[ScanRecord]) -> None:
        """Write records."""
        if batch:
            encode = self._encode
            self._out.write(b"".join([encode(record.row()) for record in batch]))

    def end(self) -> None:
        """Write nothing more."""


class ReportSink:
    """Something that is made of all records at the end."""

    def __init__(
        self, out: Output, add: Callable[[list[ScanRecord]], None], lines: Callable[[], Iterator[str]]
    ) -> None:
        self._out = out
        self._lines = lines
        self.write = add

    def end(self) -> None:
        """Write it."""
        lines = "".join(f"{line}\n" for line in self._lines()).encode("utf-8", "backslashreplace")
        self._out.write(lines, is_safe=True)


class KeptSink:
    """A report of a scan that may be killed: its records are lines of a file, which goes on where the scan does."""

    def __init__(self, rows: Output, path: str, report: ReportSink) -> None:
        self._rows = rows
        self._path = path
        self._report = report
        self.write = RowSink(rows, "jsonl", has_heading=False).write

    def end(self) -> None:
        """Write the report of all records that are in the file."""
        self._rows.flush()
        with open(self._path, "rb") as lines:
            for line in lines:
                self._report.write([ScanRecord.of_row(orjson.loads(line))])
        self._report.end()


def lines_form(options: ScanOptions) -> str:
    """Return the form of the lines that are written while the scan runs; "" if there are none."""
    if options.format_name in ROWS:
        return options.format_name
    return "jsonl" if options.resume else ""


def report_sink(out: Output, options: ScanOptions, plan: ScanPlan, *, started: float) -> ReportSink:
    """Return the sink of a form that is made at the end."""
    name = options.format_name
    if name == "table":
        show_all = len(plan.targets.ports) <= FEW_PORTS and not options.only_open
        has_colour = out.is_terminal and "NO_COLOR" not in os.environ
        table = ScanTable(hosts=plan.targets.hosts.count, show_all=show_all, has_colour=has_colour)
        return ReportSink(out, table.add, table.lines)
    report = GrepableReport() if name == "grepable" else _xml(options, plan, started)
    return ReportSink(out, report.add, lambda: report.lines(now=time(), version=_version()))


def _xml(options: ScanOptions, plan: ScanPlan, started: float) -> XmlReport:
    tcp = [port for port in plan.targets.ports if port < UDP]
    return XmlReport(
        arguments=f"greenprobe scan {' '.join(options.words)}",
        started=started,
        ports=format_ports(tcp),
        count=len(tcp),
    )


def _version() -> str:
    try:
        return version("greenprobe")
    except PackageNotFoundError:
        return "0"
