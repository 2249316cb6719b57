"""What is asked of a server: method, headers, body; checked, so that nothing in them can start a line of its own.

A plain GET needs no Request: the client sends what its lane has ready. How redirects change a request is decided here
too. Sources: RFC 9110, sections 9.2.2 (idempotent methods), 15.4 (redirects); https://fetch.spec.whatwg.org (which
headers a redirect to another origin loses).
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from greenprobe.errors import LocalProtocolError
from greenprobe.http.auth import Auth
from greenprobe.http.bodies import RequestBody
from greenprobe.http.urls import Origin

__all__ = [
    "ORIGIN_HEADERS",
    "SECRET_HEADERS",
    "Fields",
    "Request",
    "checked_fields",
    "default_fields",
    "http2_fields",
    "request_head",
]

Fields = tuple[tuple[str, str], ...]

IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
SECRET_HEADERS: Final = frozenset({"authorization", "cookie", "proxy-authorization"})
ORIGIN_HEADERS: Final = SECRET_HEADERS | {"host"}  # meant for who was asked, and lost when a redirect leads elsewhere
FRAMING_HEADERS: Final = frozenset({"content-length", "transfer-encoding", "connection", "upgrade", "te"})
BODY_HEADERS: Final = frozenset({"content-type", "content-encoding", "content-language", "content-location", "expect"})

_is_token = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_is_value = re.compile(r"[\t -~\x80-\xff]*").fullmatch


class Request(NamedTuple):
    """How to ask for a URL. Made by `Request.of`, which checks it, or from one that was checked."""

    method: str = "GET"
    fields: Fields = ()
    body: RequestBody | None = None
    auth: Auth | None = None
    expects_continue: bool = False

    @classmethod
    def of(
        cls,
        method: str = "GET",
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        body: RequestBody | None = None,
        *,
        auth: Auth | None = None,
        expects_continue: bool = False,
    ) -> "Request":
        """Check and return a request.

        With `expects_continue` the body waits for the server's consent (100), or a second. Raises LocalProtocolError.
        """
        if body is not None and body.content_type:
            checked_fields([("Content-Type", body.content_type)])
        if not _is_token(method) or method.upper() == "CONNECT":
            raise LocalProtocolError(f"{method!r} is no method that can be sent; GET, POST and PUT are, for example")
        return cls(method, checked_fields(headers), body, auth, expects_continue and body is not None)

    @property
    def can_repeat(self) -> bool:
        """Tell whether to send it twice does no harm, and is possible."""
        return self.method in IDEMPOTENT and (self.body is None or self.body.can_repeat)

    def value(self, name: str) -> str | None:
        """Return the value of a header by its lower-case name."""
        return next((value for field, value in self.fields if field.lower() == name), None)

    def without(self, names: frozenset[str]) -> "Request":
        """Return the request without the headers of these lower-case names."""
        return self._replace(fields=tuple(pair for pair in self.fields if pair[0].lower() not in names))

    def redirected(self, status: int, *, same_origin: bool) -> "Request":
        """Return what a redirect with this status makes of the request."""
        request = self
        if (status == 303 and self.method not in {"GET", "HEAD"}) or (status in {301, 302} and self.method == "POST"):
            request = self.without(BODY_HEADERS)._replace(method="GET", body=None, expects_continue=False)
        if not same_origin:
            request = request.without(ORIGIN_HEADERS)._replace(auth=None)
        return request


def checked_fields(headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> Fields:
    """Return header fields that can be sent; raises LocalProtocolError for one that cannot."""
    fields = tuple(headers.items() if isinstance(headers, Mapping) else headers)
    for name, value in fields:
        if not _is_token(name):
            raise LocalProtocolError(f"{name!r} is no name that a header may have")
        if not _is_value(value):
            raise LocalProtocolError(f"the header {name} has a line break or another character that cannot be sent")
        if name.lower() in FRAMING_HEADERS:
            raise LocalProtocolError(f"the header {name} is the client's own business; it cannot be set")
    return fields


def default_fields(user_agent: str, accept_encoding: str, headers: Fields) -> Fields:
    """Return what every request says: the defaults, and `headers` in their place where they have the same name.

    A header with an empty value takes the default away.
    """
    given = {name.lower() for name, _ in headers}
    defaults = (("User-Agent", user_agent), ("Accept", "*/*"), ("Accept-Encoding", accept_encoding))
    kept = [pair for pair in defaults if pair[0].lower() not in given]
    return (*kept, *(pair for pair in headers if pair[1]))


def request_head(origin: Origin, target: bytes, request: Request, defaults: Fields, extra: Fields = ()) -> bytes:
    """Return the head of a request; `extra` are the fields that the client adds (cookies, authorization)."""
    given = {name.lower() for name, _ in request.fields}
    host = request.value("host") or origin.authority
    fields = [("Host", host), *(pair for pair in defaults if pair[0].lower() not in given)]
    fields += [(name, value) for name, value in request.fields if name.lower() != "host" and value]
    fields += [(name, value) for name, value in extra if name.lower() not in given]
    fields += _body_fields(request, given)
    lines = "".join([f"{name}: {value}\r\n" for name, value in fields])
    return request.method.encode() + b" " + target + b" HTTP/1.1\r\n" + lines.encode("latin-1") + b"\r\n"


def http2_fields(
    origin: Origin, target: bytes, request: Request, defaults: Fields, extra: Fields = ()
) -> list[tuple[bytes, bytes]]:
    """Return the head of a request as HTTP/2 has it: pseudo-fields first, names in lower case. RFC 9113, 8.3.1."""
    lines = request_head(origin, target, request, defaults, extra).split(b"\r\n")[1:-2]
    pairs = [line.partition(b": ")[::2] for line in lines]
    fields = [(name.lower(), value) for name, value in pairs]
    pseudo = [
        (b":method", request.method.encode()),
        (b":scheme", origin.scheme.encode()),
        (b":authority", next(value for name, value in fields if name == b"host")),
        (b":path", target),
    ]
    return pseudo + [field for field in fields if field[0] not in NOT_IN_HTTP2]


NOT_IN_HTTP2: Final = frozenset({b"host", b"transfer-encoding", b"connection", b"expect"})


def _body_fields(request: Request, given: set[str]) -> list[tuple[str, str]]:
    body = request.body
    if body is None:
        return [("Content-Length", "0")] if request.method in {"POST", "PUT", "PATCH"} else []
    fields = []
    if body.content_type and "content-type" not in given:
        fields.append(("Content-Type", body.content_type))
    if body.length is None:
        fields.append(("Transfer-Encoding", "chunked"))
    else:
        fields.append(("Content-Length", str(body.length)))
    if request.expects_continue:
        fields.append(("Expect", "100-continue"))
    return fields
