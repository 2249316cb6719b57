"""Which entries of a list were there before: the same URL once it is normalized, or the same text if it is none.

Exact but for chance: a digest of 16 bytes stands for each URL. Price: about a hundred bytes of memory each.
"""

from hashlib import blake2b
from typing import Final

from greenprobe.errors import UrlError
from greenprobe.http.urls import UrlReader

__all__ = ["Repeats"]

DIGEST_BYTES: Final = 16


class Repeats:
    """Remembers every URL it is asked about."""

    def __init__(self, scheme: str | None = None) -> None:
        """`scheme` is put before a host without one, as the fetch will do it."""
        self._reader = UrlReader(scheme)
        self._seen: set[bytes] = set()
        self.count = 0

    def is_repeat(self, line: bytes) -> bool:
        """Tell whether an entry was there before; from now on it was. One without text never was."""
        if not line:
            return False
        try:
            url = self._reader.read(line)
            text = b"%b %b %b" % (url.credentials or b"", url.origin.key.encode(), url.target)
        except UrlError:
            text = line
        before = len(self._seen)
        self._seen.add(blake2b(text, digest_size=DIGEST_BYTES).digest())
        is_repeat = len(self._seen) == before
        self.count += is_repeat
        return is_repeat
