"""/etc/hosts: names and addresses that nobody has to be asked for (hosts(5)).

As libc reads it: every line that has the name counts, the first of them says the canonical name, and IPv6's loopback
stands for IPv4's where only IPv4 is asked for. `localhost` and all below it are known in any case (RFC 6761).
"""

from socket import AF_INET, AF_INET6, AF_UNSPEC, inet_ntop, inet_pton
from typing import Final, NamedTuple

__all__ = ["Entry", "Hosts", "parse_hosts"]

MAPPED: Final = b"\0" * 10 + b"\xff\xff"
LOOPBACK: Final = {AF_INET6: "::1", AF_INET: "127.0.0.1"}


class Entry(NamedTuple):
    """A line of the file. The address is in its shortest form."""

    family: int
    address: str
    canonical: str
    aliases: tuple[str, ...]


class Hosts:
    """A hosts file, read. Names are found whatever their case."""

    def __init__(self, entries: list[Entry]) -> None:
        self._by_name: dict[str, list[Entry]] = {}
        self._by_address: dict[str, Entry] = {}
        for entry in entries:
            for name in dict.fromkeys(each.lower() for each in (entry.canonical, *entry.aliases)):
                self._by_name.setdefault(name, []).append(entry)
            self._by_address.setdefault(entry.address, entry)

    def find(self, host: str, family: int = AF_UNSPEC) -> list[Entry]:
        """Return the lines of `host` in `family`, each with an address of that family."""
        name = host.lower().removesuffix(".")
        known = self._by_name.get(name)
        if known is None:
            return localhost(name, family) if name == "localhost" or name.endswith(".localhost") else []
        if family == AF_UNSPEC:
            return known
        return [found for entry in known if (found := in_family(entry, family)) is not None]

    def name_of(self, address: str) -> Entry | None:
        """Return the first line of an address in its shortest form."""
        return self._by_address.get(address)


def in_family(entry: Entry, family: int) -> Entry | None:
    """Return a line with its address in `family`, or None if it has none there."""
    if entry.family == family:
        return entry
    if family == AF_INET and entry.address == LOOPBACK[AF_INET6]:
        return entry._replace(family=AF_INET, address=LOOPBACK[AF_INET])
    if family == AF_INET and (packed := inet_pton(AF_INET6, entry.address)).startswith(MAPPED):
        return entry._replace(family=AF_INET, address=inet_ntop(AF_INET, packed[12:]))
    return None


def localhost(name: str, family: int) -> list[Entry]:
    """Return what `localhost` is where the file does not say. Source: RFC 6761, section 6.3."""
    return [Entry(each, address, name, ()) for each, address in LOOPBACK.items() if family in {AF_UNSPEC, each}]


def parse_hosts(text: str) -> Hosts:
    """Read the text of a hosts file; a line without an address, or without a name, is left out."""
    entries = []
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        family = AF_INET6 if ":" in address else AF_INET
        try:
            shortest = inet_ntop(family, inet_pton(family, address))
        except (OSError, ValueError):
            continue
        if names:
            entries.append(Entry(family, shortest, names[0], tuple(names[1:])))
    return Hosts(entries)
