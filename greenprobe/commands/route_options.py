"""Where a command connects to for a name: `-4`, `-6`, `--resolve`, `--connect-to`, and whom it asks, `--dns`."""

from collections.abc import Callable, Mapping
from socket import AF_INET, AF_UNSPEC
from typing import Any, Final

import click

from greenprobe.commands.name_servers import dns_option, family_of
from greenprobe.commands.options import Decorator, family_options, only_family
from greenprobe.errors import TargetError
from greenprobe.http.connector import Resolve, resolving
from greenprobe.http.routes import Known, Routes, read_detour, read_known
from greenprobe.names import is_of_family

__all__ = ["resolve_of", "route_options"]


def _reading(read: Callable[[str], object]) -> Callable[[click.Context, click.Parameter, tuple[str, ...]], Any]:
    """Return what refuses words that `read` cannot read; the words themselves are kept, as other processes get them."""

    def check(context: click.Context, option: click.Parameter, words: tuple[str, ...]) -> tuple[str, ...]:
        try:
            for word in words:
                read(word)
        except TargetError as exc:
            raise click.BadParameter(str(exc), context, option) from exc
        return words

    return check


ROUTES: Final[list[Decorator]] = [
    dns_option(),
    family_options("Connect to"),
    click.option(
        "--resolve",
        "known",
        metavar="HOST:PORT:ADDRESS",
        multiple=True,
        callback=_reading(read_known),
        help="Take ADDRESS, or several between commas, for HOST (`*`: any) at PORT.",
    ),
    click.option(
        "--connect-to",
        "detours",
        metavar="HOST:PORT:HOST:PORT",
        multiple=True,
        callback=_reading(read_detour),
        help="Connect to the second for the first; what is left out is any, or the same.",
    ),
]


def route_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add them."""
    for option in reversed(ROUTES):
        command = option(command)
    return command


def resolve_of(words: Mapping[str, Any]) -> Resolve:
    """Return what finds addresses, for the words of a command. Raises click.BadParameter, click.UsageError."""
    family = only_family(ipv4=words["ipv4"], ipv6=words["ipv6"])
    resolve = resolving(family_of(words), family)
    if not (words["known"] or words["detours"]):
        return resolve
    known = [_of_family(read_known(text), text, family) for text in words["known"]]
    return Routes(resolve, known=known, detours=[read_detour(text) for text in words["detours"]])


def _of_family(known: Known, text: str, family: int) -> Known:
    """Leave out the addresses of the other family."""
    if family == AF_UNSPEC:
        return known
    fitting = tuple(address for address in known.addresses if is_of_family(family, address.partition("%")[0]))
    if not fitting:
        version = 4 if family == AF_INET else 6
        raise click.UsageError(f"--resolve {text!r} has no IPv{version} address, and -{version} takes no other")
    return known._replace(addresses=fitting)
