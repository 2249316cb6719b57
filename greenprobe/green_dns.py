"""Names to addresses, green: the standard library's functions over a resolver that can be chosen.

There are two. *green* speaks DNS itself over green sockets: thousands of names at once, no thread, a cache
(`greenprobe.dns`). *thread* asks libc in real threads: whatever nsswitch.conf names, exactly as any other program
gets it, at the price of a thread for each name that is under way, and no cache. The choice is the argument `resolver`
of each function, else what `install` was given, else the variable GREENPROBE_RESOLVER, else made here:

Facts. libc's answers come from the sources in the line `hosts:` of nsswitch.conf. Where these are the hosts file and
DNS, as on most servers and in containers, libc does nothing that we do not. Where it names more (LDAP, NIS, WINS),
only libc can ask. Choice: green if all sources are ones we know, libc's thread if not. Price: who has a source that
we do not know and wants speed has to say so.

Importing this changes nothing. `install()` has the sockets of `green_socket` look names up here, too.
"""

import os
import re
from collections.abc import Callable
from socket import AF_INET, SOCK_STREAM, gethostname
from typing import Any, Final, Literal

from greenprobe import names
from greenprobe.dns.asker import Exchange
from greenprobe.dns.family import Family, GreenFamily, HostInfo, ThreadFamily
from greenprobe.dns.resolver import Resolver
from greenprobe.dns.servers import Server
from greenprobe.dns.watched import read_text
from greenprobe.errors import TargetError
from greenprobe.hub import Hub
from greenprobe.lazy import Lazy
from greenprobe.names import AddrInfo

__all__ = [
    "choose",
    "find_to_connect",
    "getaddrinfo",
    "getfqdn",
    "gethostbyaddr",
    "gethostbyname",
    "gethostbyname_ex",
    "getnameinfo",
    "install",
]

dns_over_https = Lazy("greenprobe.http.dns_over_https")

Choice = Literal["green", "thread"] | Resolver | Family | None

VARIABLE: Final = "GREENPROBE_RESOLVER"
SERVERS_VARIABLE: Final = "GREENPROBE_DNS"
RESOLUTION_DELAY: Final = 0.05  # seconds; RFC 8305, section 3: for sockets, which need one address, not all
OURS: Final = frozenset({"files", "dns", "myhostname", "mymachines", "resolve"})
REACTION: Final = re.compile(r"\[[^]]*\]")  # such as [NOTFOUND=return]
MULTICAST: Final = "mdns"  # what these know ends in .local, which is left to libc anyway


def is_known(nsswitch: str) -> bool:
    """Tell whether all sources of host names in an nsswitch.conf are ones that we can stand in for.

    `resolve` is systemd-resolved, which is the server in resolv.conf then. No line is the same as `files dns`.
    """
    for line in nsswitch.splitlines():
        database, _, sources = line.partition("#")[0].partition(":")
        if database.strip() == "hosts":
            words = REACTION.sub(" ", sources).split()
            hosts_first = "files" in words and "dns" not in words[: words.index("files")]
            return hosts_first and all(word in OURS or word.startswith(MULTICAST) for word in words)
    return True


def choose(choice: Choice = None, *, nsswitch_path: str = "/etc/nsswitch.conf") -> Family:
    """Return the functions for a choice; None looks at GREENPROBE_RESOLVER and GREENPROBE_DNS, then at nsswitch.conf.

    Raises TargetError if the choice is none.
    """
    if choice is None:
        word = os.environ.get(VARIABLE, "")
        is_green = bool(os.environ.get(SERVERS_VARIABLE)) or is_known(read_text(nsswitch_path))
        choice = word or ("green" if is_green else "thread")  # type: ignore[assignment]
    if isinstance(choice, Resolver):
        return GreenFamily(choice)
    if not isinstance(choice, str):
        assert choice is not None
        return choice
    try:
        return MAKERS[choice]()
    except KeyError:
        raise TargetError(f"{VARIABLE} or resolver {choice!r} is none of {', '.join(MAKERS)}") from None


def green() -> Family:
    """Return the functions over our resolver, which asks the servers in GREENPROBE_DNS, else those of resolv.conf.

    Raises TargetError if what the variable names is no server.
    """
    servers = os.environ.get(SERVERS_VARIABLE)
    return GreenFamily(Resolver([servers] if servers else None, exchanges={"https": over_https}))


def over_https(hub: Hub, server: Server) -> Exchange:
    """Make the way to a server that is asked over HTTPS: through our client, which stands above."""
    path: Exchange = dns_over_https.HttpsPath(hub, server)
    return path


MAKERS: Final[dict[str, Callable[[], Family]]] = {"green": green, "thread": ThreadFamily}

_installed: Family | None = None


def installed() -> Family:
    """Return the functions that are used where no resolver is named; chosen at the first call."""
    global _installed
    if _installed is None:
        _installed = choose()
    return _installed


def install(resolver: Choice = None) -> Family | None:
    """Have this module and all green sockets ask `resolver` (None: the default choice); return the one before."""
    global _installed
    before, _installed = _installed, choose(resolver)
    names.install(lookup)
    return before


def lookup(host: str | bytes, port: int | str | None, family: int, kind: int) -> list[AddrInfo]:
    """Look up for `greenprobe.names`: one address will do."""
    return find_to_connect(host, port, family, kind)


# -- the functions


def getaddrinfo(
    host: str | bytes | None,
    port: int | str | bytes | None,
    family: int = 0,
    type: int = 0,
    proto: int = 0,
    flags: int = 0,
    *,
    resolver: Choice = None,
    timeout: float | None = None,
) -> list[AddrInfo]:
    """Return what socket.getaddrinfo would, without blocking the thread.

    Asks `resolver`, else the installed one. Raises socket.gaierror as libc does, TimeoutError after `timeout` seconds.
    """
    asked = installed() if resolver is None else choose(resolver)
    return asked.getaddrinfo(host, port, family, type, proto, flags, timeout, None)


def find_to_connect(
    host: str | bytes,
    port: int | str | None,
    family: int = 0,
    kind: int = SOCK_STREAM,
    *,
    resolver: Choice = None,
    timeout: float | None = None,
) -> list[AddrInfo]:
    """Return what `getaddrinfo` does, but only what is worth connecting to from this machine, and soon.

    A family that is late or that no interface has may be missing, if the other has addresses.
    """
    asked = installed() if resolver is None else choose(resolver)
    return asked.getaddrinfo(host, port, family, kind, 0, 0, timeout, RESOLUTION_DELAY)


def gethostbyname(hostname: str) -> str:
    """Return one IPv4 address of a host, as socket.gethostbyname does. Raises socket.gaierror."""
    if hostname in NO_HOST:
        return NO_HOST[hostname]
    found: str = installed().getaddrinfo(hostname, None, AF_INET, SOCK_STREAM, 0, 0, None, None)[0][4][0]
    return found


NO_HOST: Final = {"": "0.0.0.0", "<broadcast>": "255.255.255.255"}


def gethostbyname_ex(hostname: str) -> HostInfo:
    """Return (canonical name, aliases, IPv4 addresses), as socket.gethostbyname_ex does. Raises socket.gaierror."""
    return installed().gethostbyname_ex(hostname)


def gethostbyaddr(address: str) -> HostInfo:
    """Return (name, aliases, addresses) of an address or a host, as socket.gethostbyaddr does.

    Raises socket.herror, and socket.gaierror for a host without an address.
    """
    return installed().gethostbyaddr(address)


def getnameinfo(sockaddr: Any, flags: int) -> tuple[str, str]:
    """Return (host, service) of a socket address with a numeric host, as socket.getnameinfo does.

    Raises socket.gaierror.
    """
    return installed().getnameinfo(sockaddr, flags)


def getfqdn(name: str = "") -> str:
    """Return the full name of a host, this machine by default, as socket.getfqdn does."""
    name = name.strip()
    if name in {"", "0.0.0.0", "::"}:
        name = gethostname()
    try:
        canonical, aliases, _ = gethostbyaddr(name)
    except OSError:
        return name
    return next((each for each in [canonical, *aliases] if "." in each), canonical)
