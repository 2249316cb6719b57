"""The hash of a site's favicon, as search engines of devices know it: MurmurHash3 of its base64.

An origin is asked once, in its turn: who comes while it is asked waits for what it says. More than an icon may have is
not kept.
"""

from base64 import encodebytes
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Final

from greenprobe.engine.facts import mmh3
from greenprobe.errors import FetchError, PoolTimeout
from greenprobe.http.client import Client
from greenprobe.http.trace import Trace
from greenprobe.http.urls import Origin, Url
from greenprobe.outcome import AsyncResult

__all__ = ["Favicons"]

MAX_ORIGINS: Final = 10_000
MAX_ICON_BYTES: Final = 1 << 18


class Favicons:
    """Fetches /favicon.ico of origins, and remembers what it found."""

    def __init__(
        self,
        client: Client,
        trace: Callable[[Url], Trace],
        keep: Callable[[Trace], None],
        wait_for_turn: Callable[[str], None],
    ) -> None:
        """`trace` makes the trace of each request, and `keep` gets it when it is over.

        `wait_for_turn` waits until an origin, given by its key, may be asked.
        """
        self._client = client
        self._trace = trace
        self._keep = keep
        self._wait_for_turn = wait_for_turn
        self._known: OrderedDict[str, AsyncResult[int | None]] = OrderedDict()

    def hash_of(self, origin: Origin) -> int | None:
        """Return the hash of an origin's icon, None if it has none."""
        known = self._known.get(origin.key)
        if known is not None:
            return known.wait()
        outcome = self._known[origin.key] = AsyncResult()
        if len(self._known) > MAX_ORIGINS:
            self._known.popitem(last=False)
        found = None
        try:
            found = self._fetch(origin)
        finally:
            outcome.set(found)
        return found

    def _fetch(self, origin: Origin) -> int | None:
        self._wait_for_turn(origin.key)
        icon = bytearray()
        trace = self._trace(Url(origin, b"/favicon.ico"))
        try:
            self._client.fetch(trace, partial(take_icon, icon))
        except (FetchError, PoolTimeout):
            return None
        finally:
            self._keep(trace)
        if trace.status != 200 or not 0 < len(icon) <= MAX_ICON_BYTES:
            return None
        return mmh3(encodebytes(icon))


def take_icon(icon: bytearray, piece: bytes) -> None:
    """Keep a piece of an icon, unless there is more already than one may have."""
    if len(icon) <= MAX_ICON_BYTES:
        icon.extend(piece)
