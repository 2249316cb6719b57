"""`selectors` over green polling: the standard library's selector classes with the system calls of `green_select`.

They are subclasses, so that isinstance holds. `asyncio.SelectorEventLoop(DefaultSelector())` is a loop that parks its
greenthread where it would block the thread; see `aio.py`.
"""

import selectors as stdlib
from typing import Any, Final

from greenprobe import green_select

__all__ = ["PATCHES", "DefaultSelector", "EpollSelector", "PollSelector", "SelectSelector"]


def __getattr__(name: str) -> Any:
    return getattr(stdlib, name)


class SelectSelector(stdlib.SelectSelector):
    """`selectors.SelectSelector`, green."""

    _select = green_select.select


class PollSelector(stdlib.PollSelector):
    """`selectors.PollSelector`, green."""

    _selector_cls = green_select.poll


class EpollSelector(stdlib.EpollSelector):
    """`selectors.EpollSelector`, green."""

    _selector_cls = green_select.epoll


DefaultSelector = EpollSelector

# The standard library's classes stay; so those who hold one, or derived from one before, have it green.
PATCHES: Final[dict[Any, dict[str, Any]]] = {
    stdlib.SelectSelector: {"_select": green_select.select},
    stdlib.PollSelector: {"_selector_cls": green_select.poll},
    stdlib.EpollSelector: {"_selector_cls": green_select.epoll},
}
