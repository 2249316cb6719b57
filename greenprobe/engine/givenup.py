"""Which hosts are given up: those that did not answer so many times in a row.

What counts is whether a host answers at all; whatever it answers, it is there. Who is given up stays so until something
that was under way is answered after all.
"""

from collections import OrderedDict
from typing import Final

from greenprobe.errors import FetchError, HostGivenUp, PoolTimeout
from greenprobe.http.trace import Trace

__all__ = ["GivenUp"]

MAX_HOSTS: Final = 100_000  # with errors; who had one the longest ago is forgotten


class GivenUp:
    """Counts the errors of hosts, each by the key of its origin."""

    def __init__(self, most_errors: int) -> None:
        """A host is given up with its `most_errors`th error in a row."""
        self._most_errors = most_errors
        self._errors: OrderedDict[str, int] = OrderedDict()

    def __contains__(self, host: str) -> bool:
        return self._errors.get(host, 0) >= self._most_errors

    def check(self, host: str) -> None:
        """Raise HostGivenUp for a host that is."""
        if host in self:
            raise HostGivenUp(f"{host} was given up and not asked; errors in a row: {self._most_errors:,}")

    def note(self, host: str, trace: Trace, error: FetchError | PoolTimeout | None) -> None:
        """Note what came of asking a host."""
        if trace.status is not None or trace.hops:
            self._errors.pop(host, None)
        elif error is not None and not isinstance(error, (HostGivenUp, PoolTimeout)):
            self._errors[host] = self._errors.get(host, 0) + 1
            self._errors.move_to_end(host)
            if len(self._errors) > MAX_HOSTS:
                self._errors.popitem(last=False)
