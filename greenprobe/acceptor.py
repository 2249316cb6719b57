"""Connections from a listener, one after the other, for as long as it is open: what every server's loop stands on.

`accept` reports the troubles of single connections and of the whole machine alike as errors. None of them is a
reason to stop serving: a connection that broke before it was accepted is passed over, and when descriptors or memory
run out the acceptor waits, longer each time, and tries again.
"""

import socket as stdlib
from array import array
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
from struct import pack
from typing import Any, Final

from greenprobe.green_socket import INTERNET, socket
from greenprobe.hub import get_hub

__all__ = ["Reaction", "connections", "hold_off", "pause_after", "reaction_to"]

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


# A connection that completes its handshake between the last accept() and close() is reset by the kernel, after its
# client was told that it stands, and perhaps sent a request. So before the last accepts the listener is given a filter
# that drops first SYNs: who comes then tries again a second later, and is refused, having asked nothing.
# Classic BPF over the TCP header: load the flags; SYN without ACK is dropped, all else is let through.
FIRST_SYN_FILTER: Final = array(
    "B",
    b"".join(
        pack("=HBBI", *step)
        for step in [(0x30, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02), (6, 0, 0, 0), (6, 0, 0, 0x40000)]
    ),
)
SO_ATTACH_FILTER: Final = 26


def hold_off(listener: stdlib.socket) -> bool:
    """Let no new connection come to a TCP listener, on whatever descriptor; who is in its queue can be accepted.

    Return whether that can be had.
    """
    if listener.family not in INTERNET:
        return False
    try:
        program = pack("@HP", len(FIRST_SYN_FILTER) // 8, FIRST_SYN_FILTER.buffer_info()[0])
        listener.setsockopt(stdlib.SOL_SOCKET, SO_ATTACH_FILTER, program)
    except OSError:
        return False  # not Linux, or not allowed here: the few that come in between are reset
    return True


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
