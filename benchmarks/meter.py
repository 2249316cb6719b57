"""What a process has used: CPU seconds, memory, descriptors. Linux's /proc and getrusage, nothing installed."""

import gc
import os
import resource


def cpu() -> float:
    """Return the CPU seconds, user and system, of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def rss_kib() -> float:
    """Return the resident memory now, after a full collection."""
    gc.collect()
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024


def peak_kib() -> float:
    """Return the largest resident memory so far."""
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def open_fds() -> int:
    """Return how many descriptors are open, the one that counts left out."""
    return len(os.listdir("/proc/self/fd")) - 1
