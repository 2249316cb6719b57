"""What a scan says on standard error: what it may not do, what goes wrong when that is noticed, and a summary."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from errno import EACCES, EPERM
from socket import AF_INET6
from typing import Final

import click

from greenprobe.commands.counted import counted
from greenprobe.commands.regularly import regularly
from greenprobe.engine.scanplan import ScanStatistics

__all__ = ["no_echoes", "summarize", "troubles_told"]

INTERVAL: Final = 0.5  # seconds between two looks for trouble


def no_echoes(refusals: Mapping[int, OSError]) -> Iterator[str]:
    """Yield why hosts of some families were not asked for echoes, and what would help."""
    versions: dict[str, list[str]] = {}
    for family, error in refusals.items():
        versions.setdefault(_why(error), []).append("IPv6" if family == AF_INET6 else "IPv4")
    for why, which in versions.items():
        yield f"echo requests over {' and '.join(which)} are {why}; TCP alone was asked"


def _why(error: OSError) -> str:
    if error.errno in (EACCES, EPERM):
        return "not permitted to this user (net.ipv4.ping_group_range or CAP_NET_RAW would permit it)"
    return f"not possible: {error.strerror}"


def troubles_told(read: Callable[[], ScanStatistics]) -> AbstractContextManager[None]:
    """Say once of each trouble that there is one, soon after `read` shows it, until the block ends."""
    told: set[str] = set()

    def look() -> None:
        for name, said in troubles(read()):
            if name not in told:
                told.add(name)
                click.echo(said, err=True)

    return regularly(INTERVAL, look)


def troubles(now: ScanStatistics) -> Iterator[tuple[str, str]]:
    """Yield each trouble of a scan that goes on: its name, and what to say of it."""
    for name in now.shortages:
        yield name, f"this machine runs short ({name}), so the scan goes slower; no port is judged by it"
    if now.held:
        yield "held", "a host fell silent on ports that had answered, so the scan waits for it; no port is judged by it"


def summarize(end: ScanStatistics) -> None:
    """Say what was found, what is missing, and what we ran out of."""
    rate = end.done / end.elapsed if end.elapsed else 0.0
    ports = counted(end.done, "port")
    click.echo(f"{ports} in {end.elapsed:.2f} s ({rate:,.0f} a second): {_by_state(end)}", err=True)
    if end.done < end.total:
        total = counted(end.total, "port is", "ports are")
        click.echo(f"{end.total - end.done:,} of {total} not finished", err=True)
    if end.held:
        who = counted(end.held, "host")
        lost = f"; {end.lost:,} never answered again" if end.lost else ""
        click.echo(
            f"{who} fell silent on ports that had answered, so their others were asked again in calm{lost}", err=True
        )
    if end.shortages:
        short = ", ".join(f"{name} {counted(count, 'time')}" for name, count in end.shortages.items())
        click.echo(f"this machine ran short ({short}), so the scan went slower", err=True)


def _by_state(end: ScanStatistics) -> str:
    counts = {"open": end.open, "closed": end.closed, "filtered": end.filtered, "open or filtered": end.unclear}
    counts["unreported"] = end.unreported
    return ", ".join(f"{count:,} {state}" for state, count in counts.items() if count or state == "open")
