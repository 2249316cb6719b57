"""How many descriptors this process may have: raise the limit, and say what is left."""

import os
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit, setrlimit
from typing import Final

__all__ = ["free_descriptors", "raise_limit"]

ENOUGH: Final = 1 << 20  # where the hard limit is "unlimited"; more than any window
RESERVE: Final = 16  # for output files, name servers, the interpreter's own imports


def raise_limit() -> int:
    """Raise the soft limit of open descriptors to the hard one; return the limit that holds now."""
    soft, hard = getrlimit(RLIMIT_NOFILE)
    wanted = ENOUGH if hard == RLIM_INFINITY else hard
    if soft != RLIM_INFINITY and soft < wanted:
        try:
            setrlimit(RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            return soft  # a container or a policy says no: live with what there is
    return getrlimit(RLIMIT_NOFILE)[0] if soft != RLIM_INFINITY else ENOUGH


def free_descriptors(limit: int) -> int:
    """Return how many more descriptors can be opened under `limit`, at least 1, some kept in reserve."""
    return max(1, limit - len(os.listdir("/proc/self/fd")) - RESERVE)
