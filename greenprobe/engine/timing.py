"""How long to wait for an answer and how often to ask: numbers in, decisions out.

No clock, no socket, no greenthread: the scanner tells what happened, `Timing` says what to do.

Waiting. Each host has the estimator of RFC 6298: `timeout = srtt + 4 * rttvar`, within bounds. A host that has not
answered yet gets the longest timeout for its first few ports, its scouts, as nothing is known of its path; the other
ports meanwhile get what the answers of other hosts have shown, and what stays silent is decided when the host is known.
Every try is a new connect, so an answer belongs to the try that it answers, but for those that come so late that the
kernel has asked again by itself: they are no samples (Karn's algorithm).

Asking again. Silence is what a filter does, and what a lost packet does. How many of the tries to a host are lost is
known from the ports that answered at a later one; a silent port is asked until the chance that all its tries were lost
is below ERROR: 3 times at 1 % loss, 4 times at 2 %, 6 times at 10 %. A scan may have tens of thousands of such ports. A
host that never answers gets one try a port, if it has had SCOUTS; should it answer after all, what was silent is asked
again.

Places. How many sockets we may have: less than were open when something ran out, and one more again each time as many
answers came as there are places. How many probes the network carries is another matter: `Window`.
"""

from math import ceil, log
from typing import Final

from greenprobe.engine.window import FIRST, Window

__all__ = ["RESENT_AFTER", "SCOUTS", "HostTiming", "Timing"]

SHORTEST: Final = 0.1  # seconds; below it a busy peer looks silent
FIRST_VARIANCE: Final = 0.005  # seconds: a first sample of a few microseconds would leave no room at all
SCOUTS: Final = 8  # ports of a host without any answer that each get the longest timeout
MIN_TRIES: Final = 3  # for a silent port of a host that has answered
ERROR: Final = 1e-6  # chance that a port which would answer is called silent
SAMPLE_EVERY: Final = 16  # answers of a host so near that its timeout is the shortest anyway
BACKOFF: Final = 1.5  # each further try waits that much longer: what was lost in a full queue should not meet it again
RESENT_AFTER: Final = 1.0  # seconds after which the kernel sends a SYN again: a later answer may be to either one
RIPE_AT_LEAST: Final = 0.02  # seconds; our own turns take some
RIPE_UNKNOWN: Final = 0.2  # seconds: a round trip to the other side of the earth


class HostTiming:
    """What is known of the path to one host. Seconds."""

    __slots__ = ("answers", "fastest", "lost", "rttvar", "scouts", "srtt", "timeout")

    def __init__(self) -> None:
        self.srtt = -1.0  # negative: no sample yet
        self.rttvar = 0.0
        self.timeout = 0.0
        self.fastest = float("inf")
        self.answers = 0
        self.scouts = 0
        self.lost = 0  # tries of ports that answered a later one

    def __repr__(self) -> str:
        return f"<HostTiming srtt={self.srtt:.6f} timeout={self.timeout:.3f} {self.answers} answers>"

    def sample(self, rtt: float) -> None:
        """Take one round-trip time into the estimate. Source: RFC 6298, section 2."""
        if self.srtt < 0:
            self.srtt = rtt
            self.rttvar = max(rtt / 2, FIRST_VARIANCE)
        else:
            off = rtt - self.srtt
            self.srtt += off / 8
            self.rttvar += (abs(off) - self.rttvar) / 4
        self.timeout = self.srtt + 4 * self.rttvar
        if rtt < self.fastest:
            self.fastest = rtt


class Timing:
    """The timing of one scan.

    `longest` bounds a wait for one answer, `max_tries` the tries a port, `limit` the sockets.
    """

    __slots__ = ("_credit", "everybody", "limit", "longest", "max_tries", "places", "shortest", "window")

    def __init__(self, *, longest: float, max_tries: int, limit: int, first_window: int = FIRST) -> None:
        self.longest = longest
        self.shortest = min(SHORTEST, longest)
        self.max_tries = max_tries
        self.limit = limit
        self.places = limit
        self.window = Window(limit, first=first_window)
        self.everybody = HostTiming()
        self._credit = 0

    def limit_to(self, sockets: int) -> None:
        """Never have more than that many sockets."""
        self.limit = min(self.limit, sockets)
        self.places = min(self.places, self.limit)

    def is_scout(self, host: HostTiming) -> bool:
        """Tell whether the next port of `host` is one of its scouts, and count it if so."""
        if host.answers or host.scouts >= SCOUTS:
            return False
        host.scouts += 1
        return True

    def timeout(self, host: HostTiming, attempt: int, *, is_scout: bool = False) -> float:
        """Return the seconds to wait for the answer to the `attempt`-th try (from 1) of a port of `host`."""
        known = host if host.srtt >= 0 else self.everybody
        if known.srtt < 0 or (is_scout and known is not host):
            return self.longest
        return min(max(known.timeout, self.shortest) * BACKOFF ** (attempt - 1), self.longest)

    def ripe(self, host: HostTiming) -> float:
        """Return the seconds after which a probe to `host` is not on the wire any more, answered or not."""
        known = host if host.srtt >= 0 else self.everybody
        if known.srtt < 0:
            return min(RIPE_UNKNOWN, self.longest)
        return min(max(known.timeout, known.srtt * 1.5, RIPE_AT_LEAST), self.longest)

    def answered(self, host: HostTiming, rtt: float, attempt: int) -> None:
        """Note that the `attempt`-th try was answered after `rtt` seconds."""
        host.answers += 1
        if rtt < RESENT_AFTER and (
            host.answers % SAMPLE_EVERY == 1 or rtt * 4 > self.shortest or host.timeout > self.shortest
        ):
            host.sample(rtt)
            self.everybody.sample(rtt)
        host.lost += attempt - 1
        if self.places < self.limit:
            self._add_place()

    def tries(self, host: HostTiming) -> int:
        """Return how often a silent port of a host that has answered is asked in all."""
        wanted = MIN_TRIES
        if host.lost:
            wanted = max(wanted, ceil(log(ERROR) / log(host.lost / (host.lost + host.answers))))
        return min(wanted, self.max_tries)

    def exhausted(self, under_way: int) -> None:
        """Note that something of this machine ran out with `under_way` sockets open."""
        self.places = max(1, min(self.places, under_way) * 3 // 4)
        self._credit = 0

    def _add_place(self) -> None:
        self._credit += 1
        if self._credit >= self.places:
            self._credit = 0
            self.places += 1
