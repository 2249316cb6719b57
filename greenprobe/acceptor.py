"""Connections from a listener, one after the other, for as long as it is open: what every server's loop stands on.

`accept` reports the troubles of single connections and of the whole machine alike as errors. None of them is a
reason to stop serving: a connection that broke before it was accepted is passed over, and when descriptors or memory
run out the acceptor waits, longer each time, and tries again.
"""

from collections.abc import Generator
from enum import Enum, auto
from errno import (
    EBADF,
    ECONNABORTED,
    EHOSTDOWN,
    EHOSTUNREACH,
    EINVAL,
    EMFILE,
    ENETDOWN,
    ENETUNREACH,
    ENFILE,
    ENOBUFS,
    ENOMEM,
    ENONET,
    ENOPROTOOPT,
    ENOTSOCK,
    EPERM,
    EPROTO,
)
from typing import Any, Final

from greenprobe.green_socket import socket
from greenprobe.hub import get_hub

__all__ = ["Reaction", "connections", "pause_after", "reaction_to"]

FIRST_PAUSE: Final = 0.01  # seconds
LONGEST_PAUSE: Final = 1.0


class Reaction(Enum):
    """What to do about an error of `accept`."""

    PASS_OVER = auto()
    BACK_OFF = auto()
    END = auto()
    RAISE = auto()


# accept(2): errors that wait on the new connection are reported by accept; treat them like EAGAIN. EPERM: a firewall.
BROKEN_BEFORE: Final = frozenset(
    {ECONNABORTED, EHOSTDOWN, EHOSTUNREACH, ENETDOWN, ENETUNREACH, ENONET, ENOPROTOOPT, EPERM, EPROTO}
)
EXHAUSTED: Final = frozenset({EMFILE, ENFILE, ENOBUFS, ENOMEM})
NO_LISTENER: Final = frozenset({EBADF, EINVAL, ENOTSOCK})  # closed; shut down; closed and its number reused


def reaction_to(error: OSError) -> Reaction:
    """Return what to do about an error of `accept`."""
    if error.errno in BROKEN_BEFORE:
        return Reaction.PASS_OVER
    if error.errno in EXHAUSTED:
        return Reaction.BACK_OFF
    return Reaction.END if error.errno in NO_LISTENER else Reaction.RAISE


def pause_after(failures: int) -> float:
    """Return the seconds to wait after so many failures in a row."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 16))


def connections(listener: socket) -> Generator[tuple[socket, Any], None, None]:
    """Yield (socket, address) of each connection, until the listener is closed or shut down.

    A listener with a timeout raises TimeoutError when nobody has come for that long.
    """
    failures = 0
    while True:
        found = _accept(listener)
        if found is Reaction.END:
            return
        if found is Reaction.BACK_OFF:
            failures += 1
            get_hub().sleep(pause_after(failures))
        elif not isinstance(found, Reaction):
            failures = 0
            yield found
            del found  # not held while the next one is waited for


def _accept(listener: socket) -> tuple[socket, Any] | Reaction:
    try:
        return listener.accept()
    except OSError as error:
        reaction = reaction_to(error)
        if reaction is Reaction.RAISE:
            raise
        return reaction
