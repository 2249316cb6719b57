"""resolv.conf: which servers to ask, with which patience, and how short names are completed (resolv.conf(5)).

Read as libc reads it, the variables LOCALDOMAIN and RES_OPTIONS too, but for the number of servers, which libc ends
at three. What is not understood is left out, as libc does.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from socket import gethostname
from typing import Any, Final

from greenprobe.dns.servers import Server
from greenprobe.names import is_address

__all__ = ["ResolvConf", "candidates", "parse_resolv_conf"]

MAX_NDOTS, MAX_TIMEOUT, MAX_ATTEMPTS = 15, 30, 5  # libc's RES_MAXNDOTS, RES_MAXRETRANS, RES_MAXRETRY
FLAGS: Final = {
    "rotate": "rotate",
    "edns0": "edns0",
    "use-vc": "use_tcp",
    "trust-ad": "trust_ad",
    "no-aaaa": "no_aaaa",
    "single-request": "one_by_one",
    "single-request-reopen": "one_by_one",
    "no-tld-query": "no_tld_query",
}
NUMBERS: Final = {"ndots": MAX_NDOTS, "timeout": MAX_TIMEOUT, "attempts": MAX_ATTEMPTS}


@dataclass(frozen=True, slots=True)
class ResolvConf:
    """What a resolv.conf says. `timeout` is for the first try at one server, in seconds; `attempts` are rounds.

    `edns0` only asks for what is done anyway; `trust_ad` asks servers for the AD bit, and believes it.
    """

    servers: tuple[Server, ...] = (Server("127.0.0.1"),)
    search: tuple[str, ...] = ()
    ndots: int = 1
    timeout: float = 5
    attempts: int = 2
    rotate: bool = False
    edns0: bool = False
    use_tcp: bool = False
    trust_ad: bool = False
    no_aaaa: bool = False
    one_by_one: bool = False
    no_tld_query: bool = False


def parse_resolv_conf(text: str, environ: Mapping[str, str] = os.environ) -> ResolvConf:
    """Return what the text of a resolv.conf says; 127.0.0.1 is the server if it names none."""
    lines = [line.partition("#")[0].partition(";")[0].split() for line in text.splitlines()]
    said: dict[str, list[list[str]]] = {}
    for keyword, *words in filter(None, lines):
        if words:
            said.setdefault("search" if keyword == "domain" else keyword, []).append(
                words[:1] if keyword in {"domain", "nameserver"} else words
            )
    servers = tuple(Server(word) for (word,) in said.get("nameserver", ()) if is_address(word))
    search = environ.get("LOCALDOMAIN", "").split() or said.get("search", [[gethostname().partition(".")[2]]])[-1]
    options = [*chain.from_iterable(said.get("options", ())), *environ.get("RES_OPTIONS", "").split()]
    suffixes = tuple(dict.fromkeys(word.strip(".").lower() for word in search if word.strip(".")))
    return replace(ResolvConf(servers or ResolvConf().servers, suffixes), **read_options(options))


def read_options(words: Sequence[str]) -> dict[str, Any]:
    """Return the fields that `options` set; the last word on a thing counts."""
    found: dict[str, Any] = {}
    for word in words:
        name, _, value = word.partition(":")
        if name in NUMBERS and value.isascii() and value.isdigit():
            found[name] = min(max(int(value), 0 if name == "ndots" else 1), NUMBERS[name])
        elif word in FLAGS:
            found[FLAGS[word]] = True
    return found


def candidates(host: str, conf: ResolvConf) -> list[str]:
    """Return the full names to try for `host`, in order; each ends in a dot."""
    if host.endswith("."):
        return [host]
    longer = [f"{host}.{suffix}." for suffix in conf.search]
    if "." not in host and conf.no_tld_query:
        return longer
    return [f"{host}.", *longer] if host.count(".") >= conf.ndots else [*longer, f"{host}."]
