"""From the options of a scan to its plan: names become addresses, and large scans of others' networks ask first."""

import os
import re
from collections.abc import Callable, Iterable
from errno import EADDRNOTAVAIL
from functools import partial
from ipaddress import ip_address
from socket import (
    AF_INET,
    AF_INET6,
    AF_UNSPEC,
    IPPROTO_IP,
    IPPROTO_TCP,
    SO_BINDTODEVICE,
    SOCK_STREAM,
    SOL_SOCKET,
    TCP_SYNCNT,
    if_nameindex,
    socket,
)
from typing import Any, Final

import click

from greenprobe.commands.given import means_a_file
from greenprobe.commands.name_servers import family_of
from greenprobe.commands.options import only_family
from greenprobe.commands.scan_options import ScanOptions, read_words
from greenprobe.engine.ports import Ports, parse_ports, top_ports, without_ports
from greenprobe.engine.scanplan import ScanPlan
from greenprobe.engine.targets import Hosts, Span, Targets, parse_hosts
from greenprobe.errors import TargetError
from greenprobe.lazy import Lazy
from greenprobe.pool import GreenPool

__all__ = ["MANY", "plan_of", "public_hosts", "targets_of"]

green_dns = Lazy("greenprobe.green_dns")  # 10 ms, which only names need

LOOKED_UP_AT_ONCE: Final = 64  # names
MOST: Final = 1 << 64  # probes: what can be counted of a scan
MANY: Final = 1024  # hosts of others that may be scanned without a word
IP_BIND_ADDRESS_NO_PORT: Final = 24  # <linux/in.h>: the port is chosen when the connection is made, as without bind()
SHARD: Final = re.compile(r"(\d{1,6})/(\d{1,6})", re.ASCII)


def targets_of(options: ScanOptions) -> Targets:
    """Return what to scan. Raises TargetError and click.UsageError."""
    words, port_words = options.hosts_and_ports()
    _refuse_files(words)
    ports = _ports(options, port_words)
    family = only_family(ipv4=options.ipv4, ipv6=options.ipv6)
    resolve = partial(_addresses, family_of({"dns": options.dns}) or green_dns)
    parse = partial(parse_hosts, spread=GreenPool(LOOKED_UP_AT_ONCE).imap)
    # An exclusion leaves out every address of a name, whichever of them would be scanned.
    excluded = parse([*options.exclude, *read_words(options.exclude_files)], resolve=resolve, all_addresses=True)
    hosts = _named(options, words, partial(parse, resolve=partial(resolve, family=family))).without(excluded)
    if not hosts.count:
        raise TargetError("no host is left to scan; name one, or exclude less")
    if hosts.count * len(ports) > MOST:
        raise TargetError("these are more than 2^64 probes, which no scan would finish; write a smaller block")
    _ask_for_authority(hosts, is_authorized=options.is_authorized)
    seed = options.seed if options.seed is not None else int.from_bytes(os.urandom(4))
    return Targets(hosts, ports, seed=seed)


def plan_of(options: ScanOptions, targets: Targets) -> ScanPlan:
    """Return how to scan it. Raises TargetError and click.UsageError."""
    tempo = options.tempo()
    if 0 < tempo.rate < options.min_rate:
        raise TargetError(f"--min-rate {options.min_rate:g} is more than the rate, {tempo.rate:g}; raise --rate")
    shard, shards = _shard(options)
    return ScanPlan(
        targets=targets,
        concurrency=tempo.concurrency,
        timeout=tempo.timeout,
        retries=tempo.retries,
        rate=tempo.rate,
        min_rate=options.min_rate,
        first_window=tempo.first_window,
        host_window=tempo.host_window,
        shard=shard,
        shards=shards,
        prepare=_binder(options, targets.hosts),
    )


def _named(options: ScanOptions, words: Iterable[str], parse: Callable[..., Hosts]) -> Hosts:
    """Return what is named, without names that have no address: these are told of. Raises TargetError if none has."""
    missing: list[TargetError] = []
    wanted = [*words, *read_words(options.hosts_files)]
    hosts = parse(wanted, all_addresses=options.all_addresses, leave_out=missing.append)
    if missing and not hosts.count:
        raise missing[0]
    for failure in missing:
        click.echo(f"{failure}; it is left out", err=True)
    return hosts


def _refuse_files(words: Iterable[str]) -> None:
    """Raise TargetError for a list that was given as a host."""
    for word in words:
        if means_a_file(word) and os.path.isfile(word):
            raise TargetError(f"{word!r} is a file; to scan the hosts in it, write --hosts {word}")


def _ports(options: ScanOptions, word: str | None) -> Ports:
    if options.top_ports is not None:
        ports = top_ports(options.top_ports)
    else:
        ports = parse_ports(options.ports if options.ports is not None else word or "")
    if options.exclude_ports is not None:
        ports = without_ports(ports, parse_ports(options.exclude_ports))
    if not ports:
        raise TargetError("--exclude-ports leaves no port to scan; exclude less")
    return ports


def _shard(options: ScanOptions) -> tuple[int, int]:
    if options.shard is None:
        return 0, 1
    match = SHARD.fullmatch(options.shard)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise click.UsageError(f"--shard {options.shard!r} is no part; write 1/3, 2/3 and 3/3")
    if options.seed is None:
        raise click.UsageError("--shard needs --seed, the same for all parts, or they would not fit together")
    return int(match[1]) - 1, int(match[2])


def _addresses(names: Any, name: str, *, family: int = AF_UNSPEC) -> list[str]:
    """Return the addresses of a name, best first, each once."""
    found = names.getaddrinfo(name, None, family, SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


# -- what may be asked without a word


def public_hosts(hosts: Hosts) -> int:
    """Return how many of the hosts are neither private nor of this machine; what is beyond MANY is not counted on."""
    count = 0
    for span in hosts.without(PRIVATE).spans:
        count += span.high - span.low + 1
        if count > MANY:
            break
    return count


def _ask_for_authority(hosts: Hosts, *, is_authorized: bool) -> None:
    if not is_authorized and public_hosts(hosts) > MANY:
        raise click.UsageError(
            f"these are more than {MANY:,} hosts outside of private networks; if their owners want you to scan them, "
            "say --i-am-authorized"
        )


def _span(block: str) -> Span:
    return parse_hosts([block], lambda name: []).spans[0]


# RFC 1918, RFC 6598, RFC 3927, RFC 4193, RFC 4291; documentation and benchmarking networks belong to nobody: RFC 5737,
# RFC 3849, RFC 2544.
PRIVATE: Final = Hosts(
    [
        *map(_span, ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")),
        *map(_span, ("169.254.0.0/16", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "198.18.0.0/15")),
        *map(_span, ("::1", "fc00::/7", "2001:db8::/32")),
        Span(AF_INET6, "", 0xFE80 << 112, (0xFEC0 << 112) - 1),
    ]
)


# -- where to send from


def _binder(options: ScanOptions, hosts: Hosts) -> Callable[[Any], object]:
    """Return what prepares each socket. Raises TargetError if the source or interface cannot be used."""
    source, interface = options.source, options.interface
    _check_interface(interface)
    family = AF_INET if source is None else _family_of(source)
    if source is not None and all(span.family != family for span in hosts.spans):
        version = "IPv6" if family == AF_INET6 else "IPv4"
        raise TargetError(f"--source {source} is of {version}, as none of the hosts is")
    prepare = partial(_prepare, source=source, family=family, interface=interface)
    if source is not None or interface is not None:
        _try(prepare, family, source, interface)
    return prepare


def _check_interface(interface: str | None) -> None:
    known = [name for _, name in if_nameindex()]
    if interface is not None and interface not in known:
        raise TargetError(f"there is no interface {interface!r} here; there are {', '.join(known)}")


def _family_of(source: str) -> int:
    try:
        return AF_INET6 if ip_address(source).version == 6 else AF_INET
    except ValueError:
        raise TargetError(f"--source {source!r} is no address; write one that this machine has") from None


def _try(prepare: Callable[[Any], object], family: int, source: str | None, interface: str | None) -> None:
    with socket(family, SOCK_STREAM) as sock:
        try:
            prepare(sock)
        except OSError as exc:
            what = f"--source {source}" if exc.errno == EADDRNOTAVAIL else f"--interface {interface or source}"
            raise TargetError(f"cannot send from {what}: {exc.strerror}") from exc


def _prepare(sock: Any, *, source: str | None, family: int, interface: str | None) -> None:
    """Bind a socket without taking a local port, and let the kernel send no SYN again by itself for long."""
    if sock.type == SOCK_STREAM:
        sock.setsockopt(IPPROTO_TCP, TCP_SYNCNT, 1)
    if interface is not None:
        sock.setsockopt(SOL_SOCKET, SO_BINDTODEVICE, interface.encode())
    if source is not None and sock.family == family:
        sock.setsockopt(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((source, 0))
