"""Queries in flight on one socket, and the one greenthread that reads the replies: what UDP, TCP and TLS share.

A query has a random id of 16 bits; a reply counts only if it has the id and, byte for byte, the question of a query in
flight. Anything else that arrives is ignored, not an error: it may be forged, or late. The reader lives as long as
somebody waits, so an idle resolver has no greenthread and no UDP socket. Who waits is a greenthread, or a function that
the reader calls: a switch less, for what is done with most replies. Deadlines are compared by the reader when it
wakes, and a scan for those that are over comes at most once in EXPIRY_SECONDS: so a query costs no timer, and a timeout
may come that much late.
"""

import os
from collections.abc import Callable
from errno import EIO
from typing import Final

from greenlet import GreenletExit, getcurrent

from greenprobe.dns.wire import FORMERR, NOTIMP, REFUSED, SERVFAIL
from greenprobe.hub import Hub

__all__ = ["NEVER", "Call", "Came", "InFlight", "Waiting"]

# What came of a query: the reply, or why there is none; GreenletExit, if nobody waits for one any more.
Came = bytes | OSError | GreenletExit
Call = Callable[[Came], object]

EXPIRY_SECONDS: Final = 0.01
NEVER: Final = float("inf")
IDS_AT_ONCE: Final = 256  # bytes of randomness to fetch
QUESTIONLESS: Final = frozenset({FORMERR, NOTIMP, REFUSED, SERVFAIL})  # errors that may come without a question
QUESTIONLESS_BYTES: Final = 64  # a header, and an OPT record
QUESTIONS, NONE, ONE = slice(4, 6), b"\0\0", b"\0\1"
IS_RESPONSE, IS_TRUNCATED = 0x80, 0x02  # in the third byte of a message


class Waiting:
    """A query in flight: its question, when it is over, what came; who waits is `call`, or who asks."""

    __slots__ = ("asked", "call", "came", "deadline", "green", "keeps_case")

    def __init__(self, asked: bytes, deadline: float, call: Call | None, *, keeps_case: bool) -> None:
        self.asked = asked
        self.deadline = deadline
        self.keeps_case = keeps_case
        self.came: Came | None = None
        self.call = call
        self.green = getcurrent() if call is None else None

    def reply_in(self, data: bytes) -> bytes | None:
        """Return the reply to our question that a message with our id is, or None if it is none.

        One whose question has lost the case of its letters may be forged: it is made to say "truncated", so that TCP
        will tell.
        """
        if len(data) < 12 or not data[2] & IS_RESPONSE:
            return None
        if data[QUESTIONS] != ONE:  # where there is no question, a record stands in its place: look at the number
            is_error = data[QUESTIONS] == NONE and len(data) < QUESTIONLESS_BYTES and data[3] & 15 in QUESTIONLESS
            return data if is_error else None
        asked = self.asked
        given = data[12 : 12 + len(asked)]
        if given == asked:
            return data
        if given.lower() != asked.lower():
            return None
        return data[:2] + bytes([data[2] | IS_TRUNCATED]) + data[3:] if self.keeps_case else data


class InFlight:
    """The queries in flight on one socket, by id. A subclass sends and receives."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.waiting: dict[bytes, Waiting] = {}
        self.next_deadline = NEVER
        self._ids = b""
        self._at = 0

    def enrol(
        self, asked: bytes, deadline: float, *, keeps_case: bool = False, call: Call | None = None
    ) -> tuple[bytes, Waiting]:
        """Note a query; return its id and what to wait for. `call`, if given, gets what comes: it must not wait."""
        number = self._new_id()
        waiting = self.waiting[number] = Waiting(asked, deadline, call, keeps_case=keeps_case)
        if deadline < self.next_deadline:
            self.next_deadline = deadline
        return number, waiting

    def await_reply(self, number: bytes, waiting: Waiting) -> bytes:
        """Park until the reply is there. Raises TimeoutError, or the OSError that the socket met."""
        switch = self.hub.switch
        try:
            while waiting.came is None:
                switch()
        finally:
            if self.waiting.get(number) is waiting:  # killed
                del self.waiting[number]
        if not isinstance(waiting.came, bytes):
            raise waiting.came
        return waiting.came

    def deliver(self, data: bytes) -> bool:
        """Give a message to who waits for it; False if nobody does."""
        number = data[:2]
        waiting = self.waiting.get(number)
        reply = waiting.reply_in(data) if waiting is not None else None
        if waiting is None or reply is None:
            return False
        self._settle(number, waiting, reply)
        return True

    def expire(self, now: float) -> None:
        """Wake those whose deadline has passed."""
        self.fail(lambda waiting: TimeoutError("timed out") if waiting.deadline <= now else None)
        soonest = min((waiting.deadline for waiting in self.waiting.values()), default=NEVER)
        self.next_deadline = max(soonest, now + EXPIRY_SECONDS)

    def fail_all(self, error: OSError) -> None:
        """Wake everybody with an error, each with one of its own."""
        self.fail(lambda _: OSError(error.errno or EIO, error.strerror or str(error)))

    def fail(self, verdict: Callable[[Waiting], OSError | GreenletExit | None]) -> None:
        """Wake those for whom `verdict` has an error."""
        for number, waiting in list(self.waiting.items()):
            error = verdict(waiting)
            if error is not None and self.waiting.get(number) is waiting:
                self._settle(number, waiting, error)

    def _settle(self, number: bytes, waiting: Waiting, came: Came) -> None:
        """Hand over what came for a query, which is in flight no more."""
        del self.waiting[number]
        if waiting.call is not None:
            waiting.call(came)
        else:
            waiting.came = came
            self.hub.ready.append(waiting.green)

    def _new_id(self) -> bytes:
        while True:
            number = self._ids[self._at : self._at + 2]
            self._at += 2
            if not number:
                self._ids, self._at = os.urandom(IDS_AT_ONCE), 0
            elif number not in self.waiting:
                return number
