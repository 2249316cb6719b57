"""The head of an answer: what an application gave in, bytes out, and how its body is framed. No sockets, no clocks.

What an application says about framing is taken as far as it can be kept: a Content-Length holds, `Connection: close`
holds, a coding of its own is refused, and what else speaks of this connection alone is left out. Names and values are
checked, so that no answer can be split by what a client wrote into it. As in `request_head.py`, lines that were checked
once are looked up.
"""

import re
from collections.abc import Callable
from enum import Enum, auto
from typing import Final, NamedTuple

from greenprobe.errors import LocalProtocolError

__all__ = ["Framing", "ResponseHead", "encode_fields", "response_head", "simple_response"]

MAX_KNOWN: Final = 1024
MAX_KNOWN_VALUE: Final = 128

Pairs = list[tuple[str, str]]


class Framing(Enum):
    """How the peer learns where the body ends."""

    NONE = auto()  # there is none: a HEAD request, or a status that has no body
    LENGTH = auto()
    CHUNKED = auto()
    CLOSE = auto()


class ResponseHead(NamedTuple):
    """An encoded head, how the body follows, how long it is (None: unknown), whether the connection can live on."""

    data: bytes
    framing: Framing
    length: int | None
    keep_alive: bool


def response_head(
    status: str,
    pairs: Pairs,
    *,
    date: bytes,
    server: bytes,
    length: int | None,
    is_1_1: bool,
    keep_alive: bool,
    without_body: bool = False,
) -> ResponseHead:
    """Return the head of an answer. `length` is that of the body if it is known, `date` and `server` are whole lines.

    `without_body` is said of the answer to a HEAD. Raises LocalProtocolError for what may not be sent.
    """
    parts = [_status_line(status)]
    special: dict[str, str] = {}
    for pair in pairs:
        line, name = _field_line(pair)
        if name is not None:
            line = noted(special, status, name, pair[1], line)
        parts.append(line)
    if "date" not in special:
        parts.append(date)
    if "server" not in special:
        parts.append(server)
    if "content-length" in special:
        length = int(special["content-length"])
    bodiless = status[:3] in BODILESS
    framing = Framing.NONE if bodiless or without_body else framing_of(length, is_1_1=is_1_1)
    if framing is Framing.CHUNKED:
        parts.append(b"Transfer-Encoding: chunked\r\n")
    elif length is not None and not bodiless and "content-length" not in special:
        parts.append(b"Content-Length: %d\r\n" % length)
    keep_alive = keep_alive and framing is not Framing.CLOSE and "close" not in special.get("connection", "").lower()
    parts.append(CONNECTION_LINES[keep_alive, is_1_1])
    return ResponseHead(b"".join(parts), framing, length, keep_alive)


def noted(special: dict[str, str], status: str, name: str, value: str, line: bytes) -> bytes:
    """Keep a field that the framing depends on; return its line. Raises LocalProtocolError for a second length."""
    if name == "content-length" and name in special:
        raise LocalProtocolError("the answer has two Content-Length fields")
    special[name] = value
    return b"" if name == "content-length" and status[:3] == NO_CONTENT else line


def framing_of(length: int | None, *, is_1_1: bool) -> Framing:
    """Return how a body is framed whose length is known, or not."""
    if length is not None:
        return Framing.LENGTH
    return Framing.CHUNKED if is_1_1 else Framing.CLOSE


CONNECTION_LINES: Final = {  # by whether it lives on, and whether the client takes that for granted; ends the head
    (True, True): b"\r\n",
    (True, False): b"Connection: keep-alive\r\n\r\n",
    (False, True): b"Connection: close\r\n\r\n",
    (False, False): b"Connection: close\r\n\r\n",
}
NO_CONTENT: Final = "204"  # not even a length is said of it: RFC 9110, section 8.6
BODILESS: Final = frozenset({NO_CONTENT, "304"})


def encode_fields(pairs: Pairs) -> bytes:
    """Return fields as lines, each with its CRLF: interim answers, trailers. Raises LocalProtocolError."""
    return b"".join(_field_line(pair)[0] for pair in pairs)


def simple_response(status: int, *, date: bytes, server: bytes) -> bytes:
    """Return a whole answer that says nothing but its status, and that the connection ends."""
    reason = REASONS[status]
    body = f"{status} {reason}\n".encode()
    pairs = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
    head = response_head(
        f"{status} {reason}", pairs, date=date, server=server, length=None, is_1_1=True, keep_alive=False
    )
    return head.data + body


REASONS: Final = {
    400: "Bad Request",
    408: "Request Timeout",
    413: "Content Too Large",
    414: "URI Too Long",
    417: "Expectation Failed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}


class StatusLines(dict[str, bytes]):
    """Statuses that were sent before, as lines."""

    def __missing__(self, status: str) -> bytes:
        if not STATUS(require_text(status)):
            raise LocalProtocolError(f"status {status!r}; write it as '200 OK'")
        if len(self) >= MAX_KNOWN:
            self.clear()
        line = self[status] = b"HTTP/1.1 %b\r\n" % status.encode("latin-1")
        return line


class FieldLines(dict[tuple[str, str], tuple[bytes, str | None]]):
    """Fields that were sent before, as lines; with the name, in lower case, of those that the framing depends on."""

    def __missing__(self, pair: tuple[str, str]) -> tuple[bytes, str | None]:
        name, value = checked(pair)
        key = name.lower()
        line = b"" if key in DROPPED else f"{name}: {value}\r\n".encode("latin-1")
        rule = SPECIAL.get(key)
        if rule is not None and not rule(value):
            raise LocalProtocolError(f"the field {name}: {value!r} is not an application's to send")
        found = (line, None if rule is None else key)
        if len(value) <= MAX_KNOWN_VALUE and key != "set-cookie":
            if len(self) >= MAX_KNOWN:
                self.clear()
            self[pair] = found
        return found


def checked(pair: tuple[str, str]) -> tuple[str, str]:
    """Return a field's name and value. Raises LocalProtocolError unless they can be sent as they are."""
    name, value = pair
    if not (NAME(require_text(name)) and VALUE(require_text(value))):
        raise LocalProtocolError(f"the field {name!r}: {value!r} cannot be sent in a header")
    return name, value


def require_text(value: object) -> str:
    """Return a string as it is. Raises LocalProtocolError for anything else, bytes above all."""
    if not isinstance(value, str):
        raise LocalProtocolError(f"{value!r} in the head of an answer; give text (str)")
    return value


def _anything(value: str) -> bool:
    return True


def _nothing(value: str) -> bool:
    return False


STATUS = re.compile(r"[2-5][0-9]{2} [\t -~\x80-\xff]*").fullmatch
NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
VALUE = re.compile(r"[\t -~\x80-\xff]*").fullmatch
# Fields that the framing depends on, and which of their values an application may send.
SPECIAL: Final[dict[str, Callable[[str], object]]] = {
    "connection": _anything,
    "content-length": re.compile("[0-9]{1,18}").fullmatch,
    "date": _anything,
    "server": _anything,
    "transfer-encoding": _nothing,
}
DROPPED: Final = frozenset({"connection", "keep-alive", "proxy-connection"})  # of this connection: ours to send

_status_line = StatusLines().__getitem__
_field_line = FieldLines().__getitem__
