"""The head of a request: bytes in, one frozen record out, or a refusal with its status. No sockets, no clocks.

Facts. A request passes several parsers on its way: proxies, caches, us. Where two of them disagree about where it ends,
the body of one is the next request of the other (request smuggling, RFC 9112, 11.2). The differences that were used for
it are all liberties: a bare LF, a space before the colon, a folded line, a sign before a length, two lengths, two
codings, a coding that is nearly `chunked`.
Failure. A parser made to be tolerant (llhttp, behind httptools) takes some of them, more in older releases than in
newer ones; it calls Python for each header, 6 us for a browser's head; and it does not say where in the bytes it was
fed a message ended, which whoever serves pipelined requests has to know.
Choice. One strict reader. The head is split at CRLF, and each line has to match the grammar of RFC 9112 to the byte.
Nearly all lines of a client are the same from request to request, so each is looked up in a table of lines that were
checked before: under 2 us. What is not understood is refused. Tests feed llhttp what this accepts, and demand that it
reads the same.
Price. Liberties that are harmless are refused with the others. Two tables of bounded size hold lines of strangers.

Names are those of CGI (RFC 3875, 4.1.18), as WSGI wants them. They cannot tell `X_A` from `X-A`, so names with an
underscore are left out; so is `Proxy`, which would look like the environment variable of the same name.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from greenprobe.errors import BadRequest

__all__ = ["HeadLimits", "RequestHead", "header_pairs", "read_fields", "read_head", "refuse_early"]

MAX_KNOWN_LINES: Final = 4096
MAX_KNOWN_LINE_BYTES: Final = 256


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """How large the head of a request may be."""

    request_line_bytes: int = 8192
    head_bytes: int = 65536
    fields: int = 200


class RequestHead(NamedTuple):
    """The head of one request.

    `variables` are the meta-variables of CGI: the header fields, REQUEST_METHOD, PATH_INFO and so on. `length` is that
    of the body in bytes, None if it comes in chunks. `lines` are the header lines as they were sent.
    """

    method: str
    target: str
    version: str
    variables: dict[str, str]
    length: int | None
    keep_alive: bool
    expects_continue: bool
    lines: list[bytes]


class RequestLine(NamedTuple):
    """The first line, and the meta-variables that follow from it."""

    method: str
    target: str
    is_1_1: bool
    variables: dict[str, str]


def read_head(head: bytes, limits: HeadLimits) -> RequestHead:
    """Read a head, given without the blank line that ends it. Raises BadRequest."""
    lines = head.split(b"\r\n")
    first = lines.pop(0)
    if len(first) > limits.request_line_bytes:
        raise BadRequest(414, f"the request line has more than {limits.request_line_bytes} bytes")
    if len(head) > limits.head_bytes:
        raise BadRequest(431, f"the head has more than {limits.head_bytes} bytes")
    line = _request_line(first)
    if len(lines) > limits.fields:
        raise BadRequest(431, f"{len(lines)} header fields; {limits.fields} are allowed")
    fields = read_fields(lines)
    coding = fields.get("HTTP_TRANSFER_ENCODING")
    if coding is not None:
        length = None
        _check_coding(coding, fields, line.is_1_1)
    else:
        length = int(fields.get("CONTENT_LENGTH", 0))  # checked by its line
    connection = fields.get("HTTP_CONNECTION")
    keep_alive = line.is_1_1 if connection is None else _keeps_alive(connection, line.is_1_1)
    if line.is_1_1 and "HTTP_HOST" not in fields:
        raise BadRequest(400, "no Host field")
    expectation = fields.get("HTTP_EXPECT")
    fields.update(line.variables)  # the host of an absolute target wins: RFC 9112, 3.2.2
    return RequestHead(
        line.method,
        line.target,
        "HTTP/1.1" if line.is_1_1 else "HTTP/1.0",
        fields,
        length,
        keep_alive,
        expectation is not None and _expects_continue(expectation, line.is_1_1),
        lines,
    )


def read_fields(lines: list[bytes]) -> dict[str, str]:
    """Return header or trailer lines as CGI variables; fields that come twice are joined. Raises BadRequest."""
    fields = dict(map(_field, lines))
    if len(fields) != len(lines):
        fields = _merge(map(_field, lines))
    if "" in fields:
        del fields[""]
    return fields


def header_pairs(lines: Iterable[bytes]) -> list[tuple[str, str]]:
    """Return the names and values of lines that were read, as they were sent: also those that CGI cannot name."""
    pairs = (line.partition(b":") for line in lines)
    return [(name.decode("latin-1"), value.strip(b" \t").decode("latin-1")) for name, _, value in pairs]


def refuse_early(data: bytes, limits: HeadLimits, seen: int = 0) -> None:
    """Look at a head whose end has not come yet; raise BadRequest if nothing that may follow would make it right.

    The first `seen` bytes were looked at before: so bytes that trickle in cost what they are.
    """
    if not TOKEN_START(data):
        raise BadRequest(400, "this is not HTTP")
    if BARE_LF(data, max(0, seen - 1)):
        raise BadRequest(400, "a line feed without a carriage return")
    if len(data) > limits.request_line_bytes and data.find(b"\r\n", 0, limits.request_line_bytes + 2) < 0:
        raise BadRequest(414, f"the request line has more than {limits.request_line_bytes} bytes")
    if len(data) > limits.head_bytes:
        raise BadRequest(431, f"the head has more than {limits.head_bytes} bytes")


TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
TOKEN_START = re.compile(TOKEN).match
BARE_LF = re.compile(rb"(?<!\r)\n").search


# -- the request line


class RequestLines(dict[bytes, RequestLine]):
    """Request lines that were seen, as they were understood."""

    def __missing__(self, line: bytes) -> RequestLine:
        found = REQUEST_LINE(line)
        if found is None:
            raise _line_error(line)
        method, target, minor = found.groups()
        made = RequestLine(method.decode(), target.decode(), minor == b"1", _target_variables(method, target))
        made.variables["REQUEST_METHOD"] = made.method
        made.variables["REQUEST_URI"] = made.target
        made.variables["SERVER_PROTOCOL"] = "HTTP/1.1" if made.is_1_1 else "HTTP/1.0"
        if len(line) <= MAX_KNOWN_LINE_BYTES:
            if len(self) >= MAX_KNOWN_LINES:
                self.clear()
            self[line] = made
        return made


# No `#`: a fragment is not sent (RFC 9112, 3.2). No byte above 0x7e: it would have to be percent-encoded.
REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([!-\"$-~]+) HTTP/1\.([01])").fullmatch
OTHER_VERSION = re.compile(rb"[^ ]+ [^ ]+ HTTP/[0-9](?:\.[0-9])?").fullmatch
ABSOLUTE = re.compile(rb"https?://([^/?]+)([^?]*)(?:\?(.*))?", re.IGNORECASE).fullmatch
BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})|%00").search
HOST_AND_PORT = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=%]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?").fullmatch


def _line_error(line: bytes) -> BadRequest:
    if OTHER_VERSION(line) and not line.endswith((b"HTTP/1.0", b"HTTP/1.1")):
        return BadRequest(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")
    return BadRequest(400, "the request line is not HTTP")


def _target_variables(method: bytes, target: bytes) -> dict[str, str]:
    """Return the meta-variables that a target gives; by its form, RFC 9112, 3.2. Raises BadRequest."""
    if method == b"CONNECT":
        if b":" not in target or not HOST_AND_PORT(target.decode()):
            raise BadRequest(400, "CONNECT wants a host and a port")
        return {"PATH_INFO": "", "QUERY_STRING": ""}
    if target[:1] == b"/":
        path, _, query = target.partition(b"?")
        return _path_variables(path, query)
    if target == b"*" and method == b"OPTIONS":
        return {"PATH_INFO": "*", "QUERY_STRING": ""}
    found = ABSOLUTE(target)
    if found is None or not HOST_AND_PORT(found[1].decode()):
        raise BadRequest(400, "the target is neither a path nor an http URL")
    return {**_path_variables(found[2] or b"/", found[3] or b""), "HTTP_HOST": found[1].decode()}


def _path_variables(path: bytes, query: bytes) -> dict[str, str]:
    if b"%" in path:
        if BAD_ESCAPE(path):
            raise BadRequest(400, "a percent sign in the path without two hexadecimal digits, or a NUL")
        path = unquote_to_bytes(path)
    return {"PATH_INFO": path.decode("latin-1"), "QUERY_STRING": query.decode("latin-1")}


_request_line = RequestLines().__getitem__


# -- header lines


class FieldLines(dict[bytes, tuple[str, str]]):
    """Header lines that were seen, as variable and value; "" is the variable of those to leave out."""

    def __missing__(self, line: bytes) -> tuple[str, str]:
        found = FIELD(line)
        if found is None:
            raise BadRequest(400, "a header line that is not HTTP")
        variable = _variable(found[1])
        value = found[2].strip(b" \t").decode("latin-1")
        check = CHECKED.get(variable)
        if check is not None and not check(value):
            raise BadRequest(400, f"the field {found[1].decode()} has no valid value")
        pair = (variable, value)
        if len(line) <= MAX_KNOWN_LINE_BYTES and variable not in SECRET:
            if len(self) >= MAX_KNOWN_LINES:
                self.clear()
            self[line] = pair
        return pair


def _variable(name: bytes) -> str:
    """Return the CGI name of a field, "" for one that has none."""
    if b"_" in name or name.lower() == b"proxy":
        return ""
    variable = name.decode("ascii").upper().replace("-", "_")
    return variable if variable in {"CONTENT_LENGTH", "CONTENT_TYPE"} else "HTTP_" + variable


FIELD = re.compile(rb"(" + TOKEN + rb"):([\t -~\x80-\xff]*)").fullmatch
CHECKED: Final = {
    "CONTENT_LENGTH": re.compile("[0-9]{1,18}").fullmatch,
    "HTTP_HOST": HOST_AND_PORT,
}
ONCE: Final = frozenset({"CONTENT_LENGTH", "CONTENT_TYPE", "HTTP_HOST", "HTTP_TRANSFER_ENCODING"})
SECRET: Final = frozenset({"HTTP_AUTHORIZATION", "HTTP_COOKIE", "HTTP_PROXY_AUTHORIZATION"})  # not kept in the table

_field = FieldLines().__getitem__


def _merge(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    merged: dict[str, list[str]] = {}
    for variable, value in pairs:
        if variable in merged and variable in ONCE:
            raise BadRequest(400, f"the field {variable.removeprefix('HTTP_').replace('_', '-').title()} comes twice")
        merged.setdefault(variable, []).append(value)
    return {variable: ("; " if variable == "HTTP_COOKIE" else ", ").join(values) for variable, values in merged.items()}


# -- framing: RFC 9112, 6 and 9.3


def _check_coding(coding: str, fields: dict[str, str], is_1_1: bool) -> None:
    """Raise BadRequest unless the body is in chunks and nothing else says where it ends."""
    if "CONTENT_LENGTH" in fields:
        raise BadRequest(400, "both Transfer-Encoding and Content-Length")
    if not is_1_1:
        raise BadRequest(400, "Transfer-Encoding in HTTP/1.0")
    codings = [word.strip(" \t").lower() for word in coding.split(",")]
    if codings == ["chunked"]:
        return
    if codings[-1] == "chunked" and "chunked" not in codings[:-1] and all(codings):
        raise BadRequest(501, "a transfer coding other than chunked")
    raise BadRequest(400, "a transfer coding that does not end with one chunked")


def _keeps_alive(connection: str, is_1_1: bool) -> bool:
    tokens = {token.strip(" \t").lower() for token in connection.split(",")}
    return "close" not in tokens and (is_1_1 or "keep-alive" in tokens)


def _expects_continue(expectation: str, is_1_1: bool) -> bool:
    """Tell whether the client waits for a 100; HTTP/1.0 clients cannot (RFC 9110, 10.1.1)."""
    if not is_1_1:
        return False
    if expectation.lower() != "100-continue":
        raise BadRequest(417, "an expectation other than 100-continue")
    return True
