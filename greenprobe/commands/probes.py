"""`greenprobe probes`: which protocols `scan --service` knows."""

from collections.abc import Iterable
from pathlib import Path

import click

from greenprobe.engine.probes.datagrams import DATAGRAMS, Datagram
from greenprobe.engine.probes.probe import Probe
from greenprobe.engine.probes.registry import Registry, load_probes

__all__ = ["probes"]


@click.command(short_help="List the protocols that `scan --service` knows.")
@click.argument("name", required=False)
@click.option(
    "--probes",
    "probes_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Add the probes of a TOML file.",
)
def probes(name: str | None, probes_file: Path | None) -> None:
    """List the protocols that `scan --service` knows, or the fields of the one called NAME.

    \b
      greenprobe probes
      greenprobe probes ssh

    \b
    More probes come from entry points of the group greenprobe.probes, and from a TOML file:
      [[probe]]
      name = "gopher"
      ports = [70]
      hello = "\\r\\n"
      match = 'i(?P<text>[^\\t]*)\\t'
    """
    known = Registry(load_probes(probes_file)).probes
    if name is None:
        for line in (*_table(known), *_datagrams()):
            click.echo(line)
        return
    everything: list[Probe | Datagram] = [*known, *DATAGRAMS]
    found = [one for one in everything if one.name == name]
    if not found:
        names = ", ".join(dict.fromkeys(one.name for one in everything))
        raise click.BadParameter(f"{name!r} is no probe; there are {names}", param_hint="'NAME'")
    for field, meaning in {field: meaning for one in found for field, meaning in one.fields.items()}.items():
        click.echo(f"{field:18} {meaning}")


def _datagrams() -> Iterable[str]:
    for one in DATAGRAMS:
        ports = ",".join(f"U:{port}" for port in one.ports)
        yield f"{one.name:12} {'client':7} {'-':7} {ports:34} {one.about}"


def _table(known: Iterable[Probe]) -> Iterable[str]:
    yield f"{'NAME':12} {'BEGINS':7} {'IN TLS':7} {'PORTS':34} ABOUT"
    for probe in known:
        ports = ",".join(map(str, (*probe.ports, *probe.secure_ports)))
        begins = "server" if probe.greets else "client"
        shown = ports if len(ports) <= 34 else ports[:32].rpartition(",")[0] + ",…"
        yield f"{probe.name:12} {begins:7} {probe.secure_name or '-':7} {shown:34} {probe.about}"
