"""The hash of a site's favicon, as search engines of devices know it: MurmurHash3 of its base64. Once an origin."""

from base64 import encodebytes
from collections import OrderedDict
from typing import Final

from greenprobe.engine.facts import mmh3
from greenprobe.errors import FetchError, PoolTimeout
from greenprobe.http.client import Client
from greenprobe.http.trace import Trace
from greenprobe.http.urls import Origin, Url

__all__ = ["Favicons"]

MAX_ORIGINS: Final = 10_000
MAX_ICON_BYTES: Final = 1 << 18


class Favicons:
    """Fetches /favicon.ico of origins, and remembers what it found."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: OrderedDict[str, int | None] = OrderedDict()

    def hash_of(self, origin: Origin) -> int | None:
        """Return the hash of an origin's icon, None if it has none."""
        if origin.key in self._known:
            return self._known[origin.key]
        found = self._known[origin.key] = self._fetch(origin)
        if len(self._known) > MAX_ORIGINS:
            self._known.popitem(last=False)
        return found

    def _fetch(self, origin: Origin) -> int | None:
        icon = bytearray()
        trace = Trace(Url(origin, b"/favicon.ico"))
        try:
            self._client.fetch(trace, icon.extend)
        except (FetchError, PoolTimeout):
            return None
        if trace.status != 200 or not 0 < len(icon) <= MAX_ICON_BYTES:
            return None
        return mmh3(encodebytes(icon))
