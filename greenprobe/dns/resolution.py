"""One question and what to do about it: which server next, over what, how long; when it is over, and with what result.

No socket, no clock, no greenthread: `Resolution` says what to ask, is told what came, and says what next. The rules,
a row each (`asker.py` acts on them):

| what came                                   | what follows                                              |
| ------------------------------------------- | --------------------------------------------------------- |
| an answer, NODATA, NXDOMAIN                 | that is the result                                        |
| truncated, over UDP                         | the same server over TCP                                  |
| FORMERR, NOTIMP, BADVERS, to a query with EDNS | the same server without EDNS                           |
| SERVFAIL, REFUSED, other codes, malformed, lame, an error | a complaint is noted; the next server       |
| nothing in time                             | the same, and the last round goes without EDNS            |

Servers are asked in turn, `attempts` rounds of all; a round waits twice as long as the one before, shared among the
servers, as libc does. When all is spent, the result is the best of the complaints.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple

from greenprobe.dns.servers import Server
from greenprobe.dns.wire import (
    AUTHORITATIVE,
    FORMERR,
    NOERROR,
    NOTIMP,
    NXDOMAIN,
    RECURSION_AVAILABLE,
    Reply,
)

__all__ = ["Ask", "Complaint", "Resolution", "Result", "rcode_name"]

BADVERS: Final = 16
EDNS_TROUBLE: Final = frozenset({FORMERR, NOTIMP, BADVERS})
RCODES: Final = {
    0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED", 6: "YXDOMAIN", 7: "YXRRSET",
    8: "NXRRSET", 9: "NOTAUTH", 10: "NOTZONE", 16: "BADVERS", 23: "BADCOOKIE",
}  # fmt: skip
SHORTEST: Final = 1.0  # seconds: libc's, for what a later round leaves each of many servers
TIMED_OUT: Final = "TIMEOUT"


def rcode_name(rcode: int) -> str:
    """Return the name of a response code, such as "NXDOMAIN". Source: RFC 6895, section 2.3."""
    return RCODES.get(rcode) or f"RCODE{rcode}"


class Ask(NamedTuple):
    """What to do next: ask `server` over `protocol`, and wait `timeout` seconds."""

    server: Server
    protocol: str
    edns: bool
    timeout: float


class Complaint(NamedTuple):
    """Why a server was of no use: `status` is a word (an rcode, TIMEOUT, MALFORMED, LAME, UNREACHABLE)."""

    server: Server
    status: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.server}: {self.detail or self.status}"


class Result(NamedTuple):
    """What came of a question. `status` is NOERROR or NXDOMAIN, or the word of the best complaint; then no `reply`."""

    status: str
    reply: Reply | None
    server: Server | None
    protocol: str
    tries: int
    complaints: tuple[Complaint, ...]


new_ask: Callable[..., Ask] = partial(tuple.__new__, Ask)
new_result: Callable[..., Result] = partial(tuple.__new__, Result)


class Resolution:
    """One question on its way. Call `next` until it returns None, tell it what came each time, take `result`."""

    __slots__ = ("_accepts_referrals", "_again", "_asked", "_rounds", "_servers", "_timeout", "_turns", "_use_tcp",
                 "complaints", "result", "speaks_edns", "tries")  # fmt: skip

    def __init__(
        self,
        servers: Sequence[Server],
        *,
        timeout: float,
        attempts: int,
        use_tcp: bool = False,
        speaks_edns: Callable[[Server], bool] = lambda server: True,
        accepts_referrals: bool = False,
    ) -> None:
        self._accepts_referrals = accepts_referrals
        self._servers = servers
        self._timeout = timeout
        self._rounds = attempts
        self._use_tcp = use_tcp
        self._turns: Iterator[Ask] | None = None
        self._again: Ask | None = None
        self._asked: Ask | None = None
        self.speaks_edns = speaks_edns
        self.complaints: list[Complaint] = []
        self.tries = 0
        self.result: Result | None = None

    def next(self) -> Ask | None:
        """Return what to ask now; None if it is over, and `result` is there."""
        if self.result is not None:
            return None
        if self._again is not None:
            asked, self._again = self._again, None
        elif self._turns is None:
            asked = self._ask(self._servers[0], self._timeout, is_last=False)
            self._turns = self._rest()
        else:
            following = next(self._turns, None)
            if following is None:
                self.result = self._verdict()
                return None
            asked = following
        self._asked = asked
        self.tries += 1
        return asked

    def truncated(self) -> None:
        """Note that the reply did not fit: the same server is asked over TCP."""
        asked = self._current()
        self._again = asked._replace(protocol="tcp")

    def replied(self, reply: Reply) -> bool:
        """Note a reply; tell whether the server did its work (and is not to blame)."""
        asked = self._current()
        rcode = reply.rcode
        if rcode == NXDOMAIN or (rcode == NOERROR and (self._accepts_referrals or not is_lame(reply))):
            self.result = new_result(
                (RCODES[rcode], reply, asked.server, asked.protocol, self.tries, tuple(self.complaints))
            )
            return True
        if rcode in EDNS_TROUBLE and asked.edns:
            self._again = asked._replace(edns=False)
            return True
        self.failed("LAME" if rcode == NOERROR else rcode_name(rcode))
        return False

    def failed(self, status: str, detail: str = "") -> None:
        """Note that nothing of use came."""
        self.complaints.append(Complaint(self._current().server, status, detail))

    def _current(self) -> Ask:
        assert self._asked is not None
        return self._asked

    def _rest(self) -> Iterator[Ask]:
        """Yield all turns but the first."""
        count = len(self._servers)
        for turn in range(1, count * self._rounds):
            round_ = turn // count
            timeout = self._timeout if not round_ else max(self._timeout * 2**round_ / count, SHORTEST)
            yield self._ask(self._servers[turn % count], timeout, is_last=round_ and round_ == self._rounds - 1)

    def _ask(self, server: Server, timeout: float, *, is_last: bool | int) -> Ask:
        # A firewall that drops what it does not know drops EDNS, silently: the last round does without.
        protocol = "tcp" if self._use_tcp and server.protocol == "udp" else server.protocol
        edns = self.speaks_edns(server) and not (is_last and self._has_timed_out(server))
        return new_ask((server, protocol, edns, timeout))

    def _has_timed_out(self, server: Server) -> bool:
        return any(each.server == server and each.status == TIMED_OUT for each in self.complaints)

    def _verdict(self) -> Result:
        """Return the result when all is spent: what a server said tells more than its silence."""
        spoken = [each for each in self.complaints if each.status not in {TIMED_OUT, "UNREACHABLE"}]
        last = (spoken or self.complaints)[-1]
        return Result(last.status, None, last.server, "", self.tries, tuple(self.complaints))


def is_lame(reply: Reply) -> bool:
    """Tell whether a server without an answer refers us to others instead: it neither has the zone nor recurses."""
    if reply.answer or reply.flags & (AUTHORITATIVE | RECURSION_AVAILABLE):
        return False
    kinds = {record.type for record in reply.authority}
    return "NS" in kinds and "SOA" not in kinds
