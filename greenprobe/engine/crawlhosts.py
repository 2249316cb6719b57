"""What a crawl knows of each host: its robots.txt, and when it may be asked next; with one clock a host and an address.

Where a delay is asked for (by the plan, or by robots.txt), a host has one request at a time, and the delay runs from
its end to the start of the next; so the server sees at least that distance, whatever the network does. Hosts that share
an IP address share that clock, too: who finds it taken gets a time at which to come again, each the next one.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from greenprobe.engine.robots import Robots
from greenprobe.outcome import AsyncResult

__all__ = ["Host", "Hosts"]

MAX_HOSTS: Final = 20_000  # in memory; who was not asked for the longest is forgotten, its robots.txt read again


class Clock:
    """When an address may be asked: `free_at` from the last request's end, `is_busy` while there is one."""

    __slots__ = ("free_at", "is_busy", "line")

    def __init__(self) -> None:
        self.free_at = 0.0
        self.is_busy = False
        self.line = 0  # how many were told to come again


class Host:
    """One origin. `robots` is an outcome, which the first visitor provides and the others wait for."""

    __slots__ = ("clock", "delay", "in_flight", "ip", "ips", "pages", "robots")

    def __init__(self, delay: float) -> None:
        self.robots: AsyncResult[Robots] | None = None
        self.delay = delay
        self.clock = Clock()
        self.ip: Clock | None = None
        self.ips: frozenset[str] = frozenset()
        self.in_flight = 0
        self.pages = 0


class Hosts:
    """All hosts of a crawl."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._hosts: OrderedDict[str, Host] = OrderedDict()
        self._addresses: OrderedDict[str, Clock] = OrderedDict()

    def of(self, origin: str) -> Host:
        """Return a host, a new one if it is not known."""
        host = self._hosts.get(origin)
        if host is None:
            host = self._hosts[origin] = Host(self._delay)
            self._forget()
        else:
            self._hosts.move_to_end(origin)
        return host

    def known(self, origin: str) -> Host | None:
        """Return a host if it is known."""
        return self._hosts.get(origin)

    def share(self, host: Host, addresses: Sequence[str]) -> None:
        """Note that a host is at these IP addresses; the first is the one whose clock it shares."""
        host.ips = frozenset(addresses)
        address = addresses[0]
        clock = self._addresses.get(address)
        if clock is None:
            clock = self._addresses[address] = Clock()
            if len(self._addresses) > MAX_HOSTS:
                self._addresses.popitem(last=False)
        else:
            self._addresses.move_to_end(address)
        host.ip = clock

    def wait_time(self, host: Host, now: float) -> float:
        """Return in how many seconds to come again; 0 to begin now, which `begin` must follow."""
        if not host.delay:
            return 0.0
        for clock in (host.clock, host.ip):
            if clock is None:
                continue
            if clock.is_busy or clock.free_at > now:
                clock.line += 1
                return max(clock.free_at - now, 0.0) + (clock.line - (not clock.is_busy)) * host.delay
        return 0.0

    def begin(self, host: Host) -> None:
        """A request to a host begins."""
        host.in_flight += 1
        if host.delay:
            for clock in (host.clock, host.ip):
                if clock is not None:
                    clock.is_busy = True

    def end(self, host: Host, now: float) -> float:
        """A request to a host has ended; return when the next may begin."""
        host.in_flight -= 1
        if not host.delay:
            return now
        until = now + host.delay
        for clock in (host.clock, host.ip):
            if clock is not None:
                clock.is_busy = False
                clock.free_at = max(clock.free_at, until)
                clock.line = max(0, clock.line - 1)
        return until

    def _forget(self) -> None:
        while len(self._hosts) > MAX_HOSTS:
            origin, oldest = next(iter(self._hosts.items()))
            if oldest.in_flight:
                self._hosts.move_to_end(origin)  # nobody is asked later than who is being asked
                return
            del self._hosts[origin]
