"""A list of names, read as it is needed: a line is a name, an address, or a block of addresses, which is many.

Addresses are asked for their names, so they become names below in-addr.arpa and ip6.arpa. A block is never expanded:
its addresses are made as somebody takes them.
"""

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final, NamedTuple

from greenprobe.dns.deferred import to_ascii
from greenprobe.engine.urllist import UrlList

__all__ = ["NameList", "Subject", "subjects"]

MAX_BLOCK: Final = 1 << 24
NUMERIC: Final = frozenset("0123456789abcdefABCDEF.:/")


class Subject(NamedTuple):
    """What a record is about: `text` as given, the name to ask for, and why it cannot be asked for ("" if it can)."""

    line: int
    text: str
    name: str
    is_address: bool
    fault: str


class NameList:
    """Subjects of a list, one at a time, for any number of greenthreads. Built on a `UrlList` of lines."""

    def __init__(self, lines: UrlList) -> None:
        self.lines = lines
        self._block: Iterator[Subject] | None = None

    def take(self) -> Subject | None:
        """Return the next subject, waiting for a line if need be; None when the list is over."""
        while True:
            if self._block is not None:
                subject = next(self._block, None)
                if subject is not None:
                    return subject
                self._block = None
            if not self.lines.lines and not self.lines.refill():
                return None
            number, line = self.lines.lines.popleft()
            found = subjects(number, line)
            if isinstance(found, Subject):
                return found
            self._block = found

    @property
    def has_more_at_hand(self) -> bool:
        """Whether somebody else who takes one would not have to wait, or whether the list may go on."""
        return self._block is not None or bool(self.lines.lines) or not self.lines.is_over


def subjects(number: int, line: bytes) -> Subject | Iterator[Subject]:
    """Return the subject of a line, or those of a block of addresses."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return Subject(number, line.decode("utf-8", "backslashreplace"), "", False, "the line is not UTF-8")
    if NUMERIC.issuperset(text) and ("." in text or ":" in text):
        return numeric_subjects(number, text)
    return named_subject(number, text)


def numeric_subjects(number: int, text: str) -> Subject | Iterator[Subject]:
    """Return the subjects of an address or a block; of what is neither, that of a name."""
    try:
        if "/" not in text:
            return Subject(number, text, ip_address(text).reverse_pointer, True, "")
        block = ip_network(text, strict=False)
    except ValueError as error:
        is_name = "/" not in text and ":" not in text
        return named_subject(number, text) if is_name else Subject(number, text, "", False, str(error))
    if block.num_addresses > MAX_BLOCK:
        return Subject(number, text, "", True, f"the block has more than {MAX_BLOCK:,} addresses; give parts of it")
    return block_subjects(number, block)


def block_subjects(number: int, block: IPv4Network | IPv6Network) -> Iterator[Subject]:
    """Yield the subjects of all addresses of a block, the first and the last too."""
    for address in block:
        yield Subject(number, str(address), address.reverse_pointer, True, "")


def named_subject(number: int, text: str) -> Subject:
    """Return the subject of a name. A URL is none, though DNS could carry it: somebody took the wrong list."""
    if "://" in text:
        return Subject(number, text, "", False, f"{text!r} is a URL; give the names of hosts")
    try:
        return Subject(number, text, to_ascii(text), False, "")
    except ValueError as error:
        return Subject(number, text, "", False, str(error))
