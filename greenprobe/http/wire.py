"""HTTP/1 on the wire: bytes of an answer in, frozen events out. No sockets, no clocks, no redirects.

There are two readers. `ResponseReader` is httptools (llhttp, the parser of Node.js) with limits on what llhttp lets
pass: the size and number of headers, interim answers, framing bytes, transfer codings. It takes bytes as they come.
`read_plain` serves the answer that most fetches get: HTTP/1.1, with its whole head in the first piece and with a
Content-Length. It says None to everything else, and then a ResponseReader is asked.

Facts. A ResponseReader takes 7.3 us for an answer with eight headers: httptools calls Python for every header, and the
pairs have to become a mapping of text. Nearly all header lines of a server are the same from answer to answer.
Choice: split the head into lines, and look every line up in a table of lines seen before, which checks a new line by
the rules of RFC 9110 before it takes it: 1.6 us. Price: two parsers, which must agree. `read_plain` may only ever say
no too often; a test feeds both the same mutated answers and demands that what it accepts, llhttp reads the same way.
Often whole heads are the same, byte for byte, from one answer to the next: of one page that is asked for again and
again, of the same 404 to a hundred paths. `PlainReader` remembers the last: 0.1 us; where it differs, 0.15 us more.
"""

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from greenprobe.errors import HeaderTooLarge, IncompleteBody, ProtocolError

__all__ = ["Body", "End", "Event", "Head", "Headers", "PlainReader", "PlainReply", "ResponseReader", "read_plain"]

MAX_HEADER_BYTES: Final = 1 << 18  # curl: 300 kB; a Location of a megabyte is no Location
MAX_HEADERS: Final = 4096  # curl: 5,000
MAX_INTERIM: Final = 100  # 1xx answers before the final one
# Chunk lines, extensions and trailers, in bytes: a body in chunks of one byte has five of framing for each.
MAX_FRAMING_BYTES: Final = 1 << 16
MAX_FRAMING_RATIO: Final = 16

MAX_KNOWN_LINES: Final = 4096
MAX_KNOWN_LINE_BYTES: Final = 256

# Lower-case names in the order of their first appearance, each with all its values in order.
Headers = dict[str, tuple[str, ...]]


class Head(NamedTuple):
    """The head of the final answer. `length` is the announced length of the body, None if it is not known."""

    status: int
    headers: Headers
    length: int | None


class Body(NamedTuple):
    """Some bytes of the body."""

    data: bytes


class End(NamedTuple):
    """The answer is complete. `reusable` says whether another request may be sent on the connection."""

    reusable: bool


Event = Head | Body | End


# The status, the headers, where the body begins, how many bytes of it are missing still, and whether the connection can
# be used again. A bare tuple: a NamedTuple takes 0.2 us to make.
PlainReply = tuple[int, Headers, int, int, bool]


def read_plain(data: bytes) -> PlainReply | None:
    """Read the first bytes of an answer if it is a plain one; None means: ask a ResponseReader, from the start."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    lines = data[:end].split(b"\r\n")
    try:
        status = _status_lines[lines[0]]
        del lines[0]
        headers: Headers = {}
        for line in lines:  # a tenth faster than dict(map(...))
            name, values = _header_lines[line]
            headers[name] = values
        if len(headers) != len(lines):
            headers = _merge(lines)
        missing = int(headers["content-length"][0]) - len(data) + (end := end + 4)
    except _NOT_PLAIN:
        return None
    if missing < 0:
        return None
    connection = headers.get("connection")
    return status, headers, end, missing, connection is None or connection[0].lower() != "close"


class PlainReader:
    """Reads plain answers with `read`, and remembers the last: who gets its headers shares them with others."""

    __slots__ = ("_head", "_read", "_reply", "_size_bytes")

    def __init__(self, read: Callable[[bytes], PlainReply | None] = read_plain) -> None:
        self._read = read
        self._size_bytes = -1
        self._head = b""
        self._reply: PlainReply | None = None

    def read(self, data: bytes) -> PlainReply | None:
        """Read the first bytes of an answer, as `read_plain`."""
        if len(data) == self._size_bytes and data.startswith(self._head):
            return self._reply
        reply = self._read(data)
        if reply is not None:
            self._size_bytes, self._head, self._reply = len(data), data[: reply[2]], reply
        return reply


class NotPlain(LookupError):
    """This line is not for `read_plain`."""


_NOT_PLAIN = (NotPlain, KeyError)


class StatusLines(dict[bytes, int]):
    """Status lines that were seen, and their codes; only those of answers whose body has the announced length."""

    def __missing__(self, line: bytes) -> int:
        found = PLAIN_STATUS(line)
        if found is None or found[1] in BODILESS:
            raise NotPlain
        if len(self) >= MAX_KNOWN_LINES:
            self.clear()
        status = self[line] = int(found[1])
        return status


class HeaderLines(dict[bytes, tuple[str, tuple[str, ...]]]):
    """Header lines that were seen, as name and values; only those that `read_plain` understands."""

    def __missing__(self, line: bytes) -> tuple[str, tuple[str, ...]]:
        found = HEADER_LINE(line)
        if found is None:
            raise NotPlain
        name = found[1].lower().decode("ascii")
        value = found[2].strip(b" \t").decode("latin-1")
        if name in FRAMING and not FRAMING[name](value):
            raise NotPlain
        pair = (name, (value,))
        if len(line) <= MAX_KNOWN_LINE_BYTES:
            if len(self) >= MAX_KNOWN_LINES:
                self.clear()
            self[line] = pair
        return pair


def _never(value: str) -> None:
    return None


PLAIN_STATUS = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9])(?: [\t -~\x80-\xff]*)?").fullmatch
BODILESS = (b"204", b"304")
HEADER_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\t -~\x80-\xff]*)").fullmatch
# Headers that decide where the body ends and whether the connection lives on: what values are plain.
FRAMING: Final[dict[str, Any]] = {
    "content-length": re.compile("[0-9]{1,15}").fullmatch,
    "connection": re.compile("keep-alive|close", re.IGNORECASE).fullmatch,
    "proxy-connection": _never,
    "transfer-encoding": _never,
    "upgrade": _never,
}

_status_lines = StatusLines()
_header_lines = HeaderLines()


def _merge(lines: list[bytes]) -> Headers:
    """Build the mapping where a name comes more than once."""
    if len(lines) > MAX_HEADERS:
        raise NotPlain
    return merge_headers(map(_header_lines.__getitem__, lines), once=FRAMING)


def merge_headers(pairs: Any, *, once: Any = ()) -> Headers:
    """Collect (name, values) pairs into a mapping; a name in `once` that comes twice raises NotPlain."""
    merged: dict[str, list[str]] = {}
    for name, values in pairs:
        if name not in merged:
            merged[name] = list(values)
        elif name in once:
            raise NotPlain
        else:
            merged[name] += values
    return {name: tuple(values) for name, values in merged.items()}


class ResponseReader:
    """Reads one answer: feed it bytes, then `b""` when the connection ends; each feed returns the events it completed.

    After End, and after an error was raised, it is of no more use. `expects_body` is False for the answer to a HEAD.
    """

    __slots__ = ("_fed_bytes", "_gathered", "_head", "_parser", "_received_bytes")

    def __init__(self, *, expects_body: bool = True) -> None:
        self._gathered = _Gathered(expects_body)
        self._parser = self._gathered.parser = HttpResponseParser(self._gathered)
        self._head: Head | None = None
        self._fed_bytes = 0
        self._received_bytes = 0

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes; raises ProtocolError, HeaderTooLarge or IncompleteBody."""
        if not data:
            return self._feed_eof()
        gathered = self._gathered
        self._fed_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as exc:
            if not gathered.is_done:  # else it is in what follows our answer, as below
                raise ProtocolError("the server switches protocols (101), which nobody asked for") from exc
        except HttpParserError as exc:
            # llhttp goes on to read what follows a complete answer as the next one. What follows ours is rubbish.
            if not gathered.is_done:
                self._refuse_flood()
                raise ProtocolError(f"the answer is not HTTP: {exc}") from exc
        events = self._events()
        if not gathered.is_done:
            self._refuse_flood()
        return events

    def _events(self) -> list[Event]:
        gathered = self._gathered
        events: list[Event] = []
        if self._head is None and gathered.status is not None:
            self._head = _checked_head(gathered, gathered.status)
            events.append(self._head)
        if gathered.pieces:
            data = b"".join(gathered.pieces)
            gathered.pieces.clear()
            self._received_bytes += len(data)
            events.append(Body(data))
        if gathered.is_done:
            events.append(self._end(reusable=not gathered.has_extra))
        return events

    def _feed_eof(self) -> list[Event]:
        head = self._head
        if head is None:
            raise IncompleteBody("the connection ended inside the head of the answer")
        if head.length is None and "transfer-encoding" not in head.headers:
            return [self._end(reusable=False)]
        announced = "a body whose end did not come" if head.length is None else f"{head.length:,}"
        raise IncompleteBody(f"the connection ended after {self._received_bytes:,} bytes of {announced}")

    def _end(self, *, reusable: bool) -> End:
        gathered = self._gathered
        gathered.parser = None  # it holds us: no garbage for the cycle collector
        assert self._head is not None
        return End(reusable and _keeps_alive(gathered.version, self._head.headers))

    def _refuse_flood(self) -> None:
        gathered = self._gathered
        if gathered.interim > MAX_INTERIM:
            raise ProtocolError(f"more than {MAX_INTERIM} interim answers (1xx) and no final one")
        if len(gathered.headers) > MAX_HEADERS:
            raise HeaderTooLarge(f"the answer has more than {MAX_HEADERS:,} headers")
        if self._head is None:
            if self._fed_bytes > MAX_HEADER_BYTES:
                raise HeaderTooLarge(f"the head of the answer is longer than {MAX_HEADER_BYTES:,} bytes")
        elif (
            self._fed_bytes - self._received_bytes
            > MAX_HEADER_BYTES + MAX_FRAMING_BYTES + MAX_FRAMING_RATIO * self._received_bytes
        ):
            raise HeaderTooLarge("chunk lines or trailers without end")


class _Gathered:
    """What llhttp's callbacks collect. httptools looks the `on_...` methods up once, when the parser is made."""

    __slots__ = (
        "expects_body",
        "has_extra",
        "headers",
        "interim",
        "is_done",
        "is_interim",
        "parser",
        "pieces",
        "status",
        "version",
    )

    def __init__(self, expects_body: bool) -> None:
        self.expects_body = expects_body
        self.parser: Any = None
        self.headers: list[tuple[bytes, bytes]] = []
        self.pieces: list[bytes] = []
        self.status: int | None = None  # of the final answer
        self.version = ""
        self.interim = 0
        self.is_interim = False
        self.is_done = False
        self.has_extra = False

    def on_message_begin(self) -> None:
        self.has_extra = self.is_done

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.status is None:  # else it is a trailer
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self.is_done:
            return
        status = self.parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            self.interim += 1
            self.is_interim = True
            self.headers.clear()
            return
        self.status = status
        self.version = self.parser.get_http_version()
        self.is_done = not self.expects_body

    def on_body(self, data: bytes) -> None:
        if self.is_done:
            self.has_extra = True
        else:
            self.pieces.append(data)

    def on_message_complete(self) -> None:
        if self.is_interim:
            self.is_interim = False
        else:
            self.is_done = True


def _checked_head(gathered: _Gathered, status: int) -> Head:
    if gathered.version not in VERSIONS:
        raise ProtocolError(f"the answer is HTTP/{gathered.version}; only 1.0 and 1.1 can be read")
    if status < 200:
        raise ProtocolError(f"status {status} is none that a final answer may have")
    headers = merge_headers(
        (name.lower().decode("ascii"), (value.strip(b" \t").decode("latin-1"),)) for name, value in gathered.headers
    )
    coding = headers.get("transfer-encoding")
    if coding is not None and (len(coding) > 1 or coding[0].lower() != "chunked"):
        raise ProtocolError(f"transfer coding {', '.join(coding)!r} is not known; only chunked is")
    length = headers.get("content-length")
    return Head(status, headers, None if length is None else int(length[0].lstrip("0") or 0))


VERSIONS = ("1.0", "1.1")


def _keeps_alive(version: str, headers: Headers) -> bool:
    """Tell whether the server keeps the connection open. Source: RFC 9112, section 9.3."""
    tokens = {token.strip().lower() for value in headers.get("connection", ()) for token in value.split(",")}
    return "close" not in tokens and (version == "1.1" or "keep-alive" in tokens)
