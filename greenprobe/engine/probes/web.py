"""HTTP: status, server, title, where it redirects to (which is not followed). Source: RFC 9112, sections 2 to 4."""

import re
from html import unescape
from typing import Final

from greenprobe.engine.probes.probe import MORE, OTHER, Fields, Heard, Probe, text_of

__all__ = ["HTTP"]

START: Final = b"HTTP/"
STATUS: Final = re.compile(rb"HTTP/(\d\.\d) (\d{3})(?: ([^\r\n]*))?\r?\n")
HEADER: Final = re.compile(rb"^([!-9;-~]+):[ \t]*([^\r\n]*?)[ \t]*\r?$", re.MULTILINE)
TITLE: Final = re.compile(rb"<title[^>]{0,100}>(.{0,2000}?)</title", re.IGNORECASE | re.DOTALL)
END: Final = re.compile(rb"\r?\n\r?\n")
SHOWN: Final = ("server", "location", "content-type", "www-authenticate", "x-powered-by")
ENOUGH_BYTES: Final = 1 << 14  # of a body; a title stands before


def parse_http(data: bytes, is_over: bool) -> Fields | Heard:
    """Read an answer to a GET, as far as it has come."""
    status = STATUS.match(data)
    if status is None:
        may_come = START.startswith(data[: len(START)]) and b"\n" not in data and len(data) < 512
        return MORE if may_come and not is_over else OTHER
    end = END.search(data)
    head, body = (data[: end.start()], data[end.end() :]) if end else (data, b"")
    headers = {name.lower(): value for name, value in reversed(HEADER.findall(head))}
    title = TITLE.search(body)
    if not is_over and (end is None or (title is None and not _is_whole(headers, body))):
        return MORE
    found: Fields = {"version": text_of(status[1]), "status": int(status[2]), "phrase": text_of(status[3] or b"")}
    return found | _shown(headers) | ({"title": _text(title[1])} if title is not None else {})


def _shown(headers: dict[bytes, bytes]) -> Fields:
    wanted = {name.replace("-", "_"): headers.get(name.encode()) for name in SHOWN}
    shown = {name: text_of(value) for name, value in wanted.items() if value is not None}
    return shown | {"product": shown.get("server", "")}


def _text(html: bytes) -> str:
    return text_of(" ".join(unescape(html.decode("utf-8", "replace")).split()).encode())


def _is_whole(headers: dict[bytes, bytes], body: bytes) -> bool:
    length = headers.get(b"content-length", b"")
    known = int(length) if length.isdigit() and len(length) < 12 else ENOUGH_BYTES
    return len(body) >= min(known, ENOUGH_BYTES) or b"html" not in headers.get(b"content-type", b"html")


HTTP: Final = Probe(
    name="http",
    about="web servers",
    parse=parse_http,
    hello=b"GET / HTTP/1.1\r\nHost: {host}\r\nUser-Agent: greenprobe\r\nAccept: */*\r\nConnection: close\r\n\r\n",
    ports=(80, 591, 2375, 3000, 5000, 5601, 5985, 7001, 8000, 8008, 8080, 8081, 8088, 8888, 9000, 9090, 9200, 15672),
    fields={
        "version": "of HTTP",
        "status": "a number",
        "phrase": "that came with the status",
        "server": "header",
        "location": "header; a redirect is not followed",
        "content_type": "header",
        "www_authenticate": "header",
        "x_powered_by": "header",
        "title": "of the page",
        "product": "the server header",
    },
    secure_name="https",
    secure_ports=(443, 2376, 4443, 5986, 6443, 8443, 9443, 10443),
)
