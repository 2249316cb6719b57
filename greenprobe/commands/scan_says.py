"""What a scan says on standard error: what it may not do, what goes wrong when that is noticed, and a summary."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from errno import EACCES, EPERM
from socket import AF_INET6
from typing import Final

import click

from greenprobe.commands.counted import counted
from greenprobe.engine.scanplan import ScanStatistics
from greenprobe.hub import get_hub
from greenprobe.timers import Timer

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


@contextmanager
def troubles_told(read: Callable[[], ScanStatistics]) -> Iterator[None]:
    """Say once of each trouble that there is one, soon after `read` shows it, until the block ends."""
    teller = _Teller(read)
    try:
        yield
    finally:
        teller.stop()


class _Teller:
    """Looks for trouble, again and again, from a timer of the hub."""

    def __init__(self, read: Callable[[], ScanStatistics]) -> None:
        self._read = read
        self._hub = get_hub()
        self._told: set[str] = set()
        self._timer: Timer = self._hub.timers.add(self._hub.clock() + INTERVAL, self._look)

    def stop(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def _look(self) -> None:
        for name, said in troubles(self._read()):
            if name not in self._told:
                self._told.add(name)
                click.echo(said, err=True)
        self._timer = self._hub.timers.add(self._hub.clock() + INTERVAL, self._look)


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
