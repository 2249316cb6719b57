"""Which addresses belong to a crawl: by scheme, host, path, expression and depth. Decides on addresses alone."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from publicsuffixlist import PublicSuffixList

from greenprobe.engine.canonical import Address

__all__ = ["Scope", "ScopeRules", "Within", "host_of"]

MAX_SEGMENTS: Final = 40  # of a path
MAX_REPEATS: Final = 3  # of one segment, or of one name in a query


class Within(Enum):
    """How far a crawl goes from the hosts it starts at."""

    HOST = "host"
    SUBDOMAINS = "subdomains"
    DOMAIN = "domain"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class ScopeRules:
    """What a crawl may walk.

    `below` keeps to the folders of the starts; `include` and `exclude` are regular expressions that are searched for in
    the whole URL; `max_depth` counts links from the starts; `schemes` are "http", "https", or none for both.
    """

    within: Within = Within.HOST
    below: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    max_depth: int | None = None
    schemes: tuple[str, ...] = ()


class Scope:
    """The scope of one crawl."""

    def __init__(self, rules: ScopeRules, starts: Iterable[Address]) -> None:
        """Raises re.error for an expression that is none."""
        self._rules = rules
        self._include = [re.compile(pattern) for pattern in rules.include]
        self._exclude = [re.compile(pattern) for pattern in rules.exclude]
        self._suffixes = PublicSuffixList() if rules.within is Within.DOMAIN else None
        self._hosts: set[str] = set()
        self._folders: dict[str, list[str]] = {}
        for start in starts:
            self._add_start(start)

    def _add_start(self, start: Address) -> None:
        host = host_of(start.origin)
        self._hosts.add(self._domain(host) if self._rules.within is Within.DOMAIN else host)
        folder = start.target.partition("?")[0].rpartition("/")[0] + "/"
        self._folders.setdefault(host, []).append(folder)

    def verdict(self, address: Address, depth: int) -> str:
        """Return "" for an address in scope, else the reason why it is not: a word."""
        rules = self._rules
        if rules.max_depth is not None and depth > rules.max_depth:
            return "depth"
        if rules.schemes and address.origin.partition(":")[0] not in rules.schemes:
            return "scheme"
        if not self._has_host(address.origin):
            return "host"
        if rules.below and not self._is_below(address):
            return "path"
        if self._include and not any(each.search(address.url) for each in self._include):
            return "not included"
        if self._exclude and any(each.search(address.url) for each in self._exclude):
            return "excluded"
        return "repeats" if repeats_itself(address.target) else ""

    def _has_host(self, origin: str) -> bool:
        within = self._rules.within
        if within is Within.ANY:
            return True
        host = host_of(origin)
        if within is Within.DOMAIN:
            return self._domain(host) in self._hosts
        if host in self._hosts:
            return True
        return within is Within.SUBDOMAINS and any(host.endswith("." + each) for each in self._hosts)

    def _is_below(self, address: Address) -> bool:
        folders = self._folders.get(host_of(address.origin))
        return folders is None or any(address.target.startswith(folder) for folder in folders)

    def _domain(self, host: str) -> str:
        assert self._suffixes is not None
        found: str | None = self._suffixes.privatesuffix(host)
        return found or host  # an address, or a name without a registered domain, stands for itself


def host_of(origin: str) -> str:
    """Return the host of an origin: "example.org" for "https://example.org:8443"."""
    authority = origin.partition("://")[2]
    if authority.startswith("["):
        return authority.partition("]")[0][1:]
    return authority.partition(":")[0]


def repeats_itself(target: str) -> bool:
    """Tell whether a path or query goes round in circles, as a page makes that adds to its own address."""
    path, _, query = target.partition("?")
    if path.count("/") > MAX_REPEATS:
        segments = [segment for segment in path.split("/") if segment]
        if len(segments) > MAX_SEGMENTS or max(Counter(segments).values(), default=0) > MAX_REPEATS:
            return True
    if query.count("&") >= MAX_REPEATS:
        names = Counter(field.partition("=")[0] for field in query.split("&"))
        return max(names.values()) > MAX_REPEATS
    return False
