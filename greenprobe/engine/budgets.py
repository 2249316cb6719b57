"""How much of a host's endless pages is worth fetching: a budget for each pattern of addresses, refilled by news.

Facts. Calendars, session ids, filters and made-up paths give a host as many addresses as a crawler will take, and
most are well-formed. Failure: rules that know such addresses by their looks also cut off shops and archives, whose good
pages look the same. Choice: what tells a trap is that its pages say nothing new. Addresses of one pattern (numbers,
long codes and the values of a query left out) share a budget of START pages; each page of theirs that says something
new adds REFILL. So a catalogue of a million products is walked to its end, and a calendar ends after START empty days.
New is a page whose text has not been seen in that pattern, its digits and its own address left out of the comparison.
Who finds a budget spent waits while pages of its pattern are under way: what they say may refill it.
Price: START requests for each pattern of a trap; and an engine that is begun again begins the budgets again.
"""

import re
from collections import OrderedDict
from hashlib import blake2b
from typing import Final

from greenprobe.engine.canonical import Address

__all__ = ["Budgets", "pattern_of", "print_of"]

START: Final = 30
REDIRECTS: Final = 60  # of one pattern; a redirect says nothing, new or old
REFILL: Final = 4
MAX_PATTERNS: Final = 20_000  # in memory; who was not asked for the longest is forgotten
MAX_PRINTS: Final = 500  # remembered of a pattern
MAX_SEGMENTS: Final = 4  # that a pattern tells apart

_code = re.compile(r"[0-9a-fA-F-]{6,}|[0-9]+|(?=[A-Za-z_-]{0,50}[0-9])[A-Za-z0-9_-]{12,}")
_digits: Final = str.maketrans("", "", "0123456789")


class Pattern:
    """What was spent on one pattern, and earned by it."""

    __slots__ = ("earned", "prints", "redirects", "spent", "under_way")

    def __init__(self) -> None:
        self.spent = self.redirects = self.under_way = 0
        self.earned = START
        self.prints: set[int] = set()


class Budgets:
    """The budgets of one crawl."""

    def __init__(self) -> None:
        self._patterns: OrderedDict[str, Pattern] = OrderedDict()

    def spend(self, address: Address) -> bool:
        """Tell whether an address may be fetched, and count it."""
        pattern = self._of(address)
        if pattern.spent >= pattern.earned:
            return False
        pattern.spent += 1
        return True

    def may_be_refilled(self, address: Address) -> bool:
        """Tell whether pages are under way whose news would let an address be fetched that may not be now."""
        return self._of(address).under_way > 0

    def begin(self, address: Address) -> None:
        """Note that an address is being fetched, until `end`."""
        self._of(address).under_way += 1

    def end(self, address: Address) -> None:
        """Note that an address is no longer being fetched."""
        pattern = self._of(address)
        pattern.under_way = max(0, pattern.under_way - 1)  # its pattern may have been forgotten meanwhile

    def redirect(self, address: Address) -> bool:
        """Tell whether the redirect that an address turned out to be may be followed; it then costs no page."""
        self.refund(address)
        pattern = self._of(address)
        pattern.redirects += 1
        return pattern.redirects <= REDIRECTS

    def refund(self, address: Address) -> None:
        """Take back what was spent on an address that turned out to be no page: a trap's never say 404."""
        self._of(address).spent -= 1

    def learn(self, address: Address, fingerprint: int) -> None:
        """Note what a fetched page said (`print_of`); news refill its pattern's budget."""
        pattern = self._of(address)
        if fingerprint in pattern.prints:
            return
        pattern.earned += REFILL
        if len(pattern.prints) < MAX_PRINTS:
            pattern.prints.add(fingerprint)

    def _of(self, address: Address) -> Pattern:
        key = address.origin + pattern_of(address.target)
        pattern = self._patterns.get(key)
        if pattern is None:
            pattern = self._patterns[key] = Pattern()
            if len(self._patterns) > MAX_PATTERNS:
                self._patterns.popitem(last=False)
        else:
            self._patterns.move_to_end(key)
        return pattern


def pattern_of(target: str) -> str:
    """Return the pattern of a target: "/a/#/#.html?" for "/a/12/0f3a9c.html?sort=up&page=3".

    Of a path of more than four segments only the first counts: one that grows for ever has few patterns.
    """
    path, _, query = target.partition("?")
    segments = path.split("/")
    if len(segments) > MAX_SEGMENTS + 1:
        segments[2:] = ["**"]
    path = _code.sub("#", "/".join(segments))
    return f"{path}?" if query else path


def print_of(text: str, address: Address) -> int:
    """Return a number that equal pages share, whatever their address and the digits in them."""
    path = address.target.partition("?")[0]
    said = text.replace(address.url, "").replace(address.target, "")
    if len(path) > 1:
        said = said.replace(path, "")
    return int.from_bytes(blake2b(said.translate(_digits).encode("utf-8", "replace"), digest_size=8).digest(), "little")
