"""`greenprobe scan`: which ports of which hosts are open, closed or filtered."""

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from socket import SOCK_STREAM, getaddrinfo

import click

from greenprobe.commands.options import Progress, concurrency_option, format_option, output_option, timeout_option
from greenprobe.commands.output import Column, Output, encoder
from greenprobe.commands.scan_table import ScanTable
from greenprobe.engine.examined import door_of, examined
from greenprobe.engine.ports import parse_ports
from greenprobe.engine.probes.registry import Registry, load_probes
from greenprobe.engine.scanner import Scanner
from greenprobe.engine.scanplan import ScanPlan, ScanRecord, ScanStatistics
from greenprobe.engine.services import Examiner
from greenprobe.engine.targets import Targets, parse_hosts
from greenprobe.errors import TargetError

__all__ = ["scan"]

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
EXAMINED_AT_ONCE = 256  # open ports
FEW_PORTS = 20  # up to here the table shows every port, also closed ones: somebody asked for just these

Write = Callable[[list[ScanRecord]], None]


@click.command()
@click.argument("hosts", metavar="HOST...", nargs=-1, required=True)
@click.argument("ports", metavar="PORTS")
@click.option("--open", "only_open", is_flag=True, help="Write open ports only, in every format.")
@click.option("--exclude", metavar="HOST", multiple=True, help="Leave out an address or block. May be repeated.")
@click.option("--all-addresses", is_flag=True, help="Scan every address of a name, not just the first.")
@concurrency_option(default=4000)
@timeout_option(default=1.0, what="an answer must come; from the answers of a host a shorter time is learned")
@click.option(
    "--retries",
    metavar="N",
    type=click.IntRange(0, 20),
    default=9,
    show_default=True,
    help="How often a silent port is asked again, at most; the answers of a host say how often it needs that.",
)
@click.option(
    "--seed", metavar="N", type=click.IntRange(0), help="Probe in the order of this number.  [default: random]"
)
@click.option("--service", "asks_service", is_flag=True, help="Say what speaks at each open port, and what it tells.")
@click.option("--banner", "asks_banner", is_flag=True, help="As --service, but only listen and ask once.")
@click.option(
    "--probes",
    "probes_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Take more probes from a TOML file; see `greenprobe probes`.",
)
@format_option("table", "jsonl", "csv", "text", default="table")
@output_option()
@click.pass_obj
def scan(
    progress: Progress,
    hosts: tuple[str, ...],
    ports: str,
    only_open: bool,
    exclude: tuple[str, ...],
    all_addresses: bool,
    concurrency: int,
    timeout: float,
    retries: int,
    seed: int | None,
    asks_service: bool,
    asks_banner: bool,
    probes_file: Path | None,
    format_name: str,
    output: str,
) -> None:
    """Say which TCP PORTS of each HOST are open, closed or filtered, and why.

    HOST is a name, an IPv4 or IPv6 address, or a block. PORTS are numbers and ranges between commas; - is all.

    \b
      greenprobe scan 127.0.0.1 22,80,443,8000-8100
      greenprobe scan ::1 127.0.0.0/30 22 --format jsonl
      greenprobe scan localhost - --open

    The table shows open ports and counts the others; with at most 20 ports it shows them all. The other formats
    write a line a port, in the order of the answers.
    """
    named = parse_hosts(hosts, _addresses, all_addresses=all_addresses).without(parse_hosts(exclude, _addresses))
    if not named.count:
        raise TargetError("--exclude leaves no host to scan; exclude less")
    order = seed if seed is not None else int.from_bytes(os.urandom(4))
    targets = Targets(named, parse_ports(ports), seed=order)
    scanner = Scanner(ScanPlan(targets=targets, concurrency=concurrency, timeout=timeout, retries=retries))
    with Output(output) as out:
        if format_name == "table":
            table = ScanTable(hosts=named.count, show_all=len(targets.ports) <= FEW_PORTS and not only_open)
            write: Write = table.add
        else:
            write = _row_writer(out, format_name, only_open=only_open)
        try:
            records = scanner.batches()
            if asks_service or asks_banner:
                examiner = Examiner(Registry(load_probes(probes_file)), only_banner=not asks_service)
                records = examined(records, examiner.examine, door_of, concurrency=EXAMINED_AT_ONCE)
            with progress(lambda: _reading(scanner.statistics())), closing(records) as batches:
                for batch in batches:
                    write(batch)
        finally:
            if format_name == "table":
                out.write("".join(f"{line}\n" for line in table.lines()).encode())
            out.flush()
            _summarize(scanner.statistics())


def _row_writer(out: Output, format_name: str, *, only_open: bool) -> Write:
    heading, encode = encoder(format_name, COLUMNS)
    if heading:
        out.write(heading)

    def write(batch: list[ScanRecord]) -> None:
        if only_open:
            batch = [record for record in batch if record.state == "open"]
        if batch:
            out.write(b"".join([encode(record.row()) for record in batch]))

    return write


def _addresses(name: str) -> list[str]:
    """Return the addresses of a name, best first, each once."""
    found = getaddrinfo(name, None, type=SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


def _reading(now: ScanStatistics) -> tuple[float, str]:
    return now.done / now.total, f"{now.done:,} of {now.total:,} ports, {now.open:,} open, {now.under_way:,} under way"


def _summarize(end: ScanStatistics) -> None:
    """Say on standard error what was found, what is missing, and what we ran out of."""
    counts = {"open": end.open, "closed": end.closed, "filtered": end.filtered, "unreported": end.unreported}
    found = ", ".join(f"{count:,} {state}" for state, count in counts.items() if count or state == "open")
    rate = end.done / end.elapsed if end.elapsed else 0.0
    click.echo(f"{end.done:,} ports in {end.elapsed:.2f} s ({rate:,.0f} a second): {found}", err=True)
    if end.done < end.total:
        click.echo(f"{end.total - end.done:,} of {end.total:,} ports are not finished", err=True)
    if end.shortages:
        short = ", ".join(f"{name} {count:,} times" for name, count in end.shortages.items())
        click.echo(f"this machine ran short ({short}), so the scan went slower", err=True)
