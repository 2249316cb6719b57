"""Waiting until a host may be asked, and all hosts together: whoever asks has taken his turn."""

from greenprobe.engine.politeness import Pace
from greenprobe.hub import Hub

__all__ = ["wait_for_turn"]


def wait_for_turn(hub: Hub, pace: Pace, host: str) -> None:
    """Wait until a request to `host` may start, and note that it does."""
    while (wait := pace.ready_at(host) - hub.clock()) > 0:
        hub.sleep(wait)
    begins = pace.start(host, now := hub.clock())
    if begins > now:
        hub.sleep(begins - now)
