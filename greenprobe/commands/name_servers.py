"""Whom a command asks for names: `--dns`, a list of servers as `resolve --servers` takes it.

The text itself is kept until it is used: it goes to other processes, and into journals.
"""

import os
from collections.abc import Callable, Mapping
from functools import partial
from ssl import SSLContext
from typing import TYPE_CHECKING, Any, Final

import click

from greenprobe.commands.given import means_a_file
from greenprobe.commands.options import Decorator
from greenprobe.dns.servers import Server, parse_servers
from greenprobe.errors import TargetError
from greenprobe.http.trust import trusting
from greenprobe.lazy import Lazy

if TYPE_CHECKING:
    from greenprobe.dns.asker import MakeExchange
    from greenprobe.dns.family import Family

__all__ = ["SERVERS", "dns_option", "family_of", "over_https", "read_servers"]

SERVERS: Final = (
    "a file, or a list between commas, of 192.0.2.1, [2001:db8::1]:53, tls://192.0.2.1#dns.test, "
    "https://dns.test/dns-query, tcp://192.0.2.1."
)

# Most name no servers, and of those who do, most ask over UDP.
dns_family = Lazy("greenprobe.dns.family")
dns_over_https = Lazy("greenprobe.http.dns_over_https")
dns_resolver = Lazy("greenprobe.dns.resolver")


def dns_option() -> Decorator:
    """Add `--dns SERVERS`: who is asked for the names of hosts."""
    return click.option(
        "--dns",
        metavar="SERVERS",
        callback=_checked,
        help=f"Ask these name servers: {SERVERS}  [default: those of /etc/resolv.conf]",
    )


def read_servers(text: str, port: int | None = None, *, option: str = "--dns") -> list[Server]:
    """Return the servers that a list, or a file, names; `port` is for those that name none.

    Raises click.BadParameter.
    """
    hint = f"'{option}'"  # as click writes it
    try:
        servers = parse_servers([_read(text) if os.path.exists(text) else text], port)
    except OSError as exc:
        raise click.BadParameter(f"cannot read {text}: {exc.strerror}", param_hint=hint) from exc
    except TargetError as exc:
        wrong = f"no such file: {text!r}" if means_a_file(text) else str(exc)
        raise click.BadParameter(wrong, param_hint=hint) from exc
    if not servers:
        raise click.BadParameter(f"{text!r} names no server", param_hint=hint)
    return servers


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def family_of(words: Mapping[str, Any]) -> "Family | None":
    """Return what looks names up, for the words of a command; None is what everybody uses.

    The certificates of tls and https servers are checked as those of other hosts. Raises click.BadParameter.
    """
    if words["dns"] is None:
        return None
    trust = partial(trusting, words.get("ca_file"), verify=not words.get("insecure"), alpn=())
    servers = read_servers(words["dns"])
    family: Family = dns_family.GreenFamily(
        dns_resolver.Resolver(servers, exchanges={"https": over_https(trust)}, trust=trust)
    )
    return family


def over_https(trust: Callable[[], SSLContext]) -> "MakeExchange":
    """Return what makes the way to servers that are asked over HTTPS."""
    return lambda hub, server: dns_over_https.HttpsPath(hub, server, trust=trust)


def _checked(context: click.Context, option: click.Parameter, text: str | None) -> str | None:
    """Refuse what names no server."""
    if text is not None:
        read_servers(text)
    return text
