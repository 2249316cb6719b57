"""eventlet.wsgi's options: log formats, loggers, versions, limits, timeouts, TLS, Unix sockets, set_idle, the event."""

import io
import logging
import os
import re
import sys
import tempfile
from typing import Any

import eventlet
from eventlet import wsgi

PLAIN = [("content-type", "text/plain")]
GET = b"GET /a?c=d HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


def scrubbed(answer: bytes) -> str:
    """Return an answer with its head sorted, and without what differs from run to run."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    kept = sorted(line for line in lines if not line.startswith("Date:"))
    return f"{first} | {' | '.join(kept)} || {body!r}"


def talk(address: Any, data: bytes, family: int = 2) -> bytes:
    sock = eventlet.connect(address, family)
    sock.sendall(data)
    found = b""
    try:
        while more := sock.recv(65536):
            found += more
    except OSError:
        pass
    sock.close()
    eventlet.sleep(0.01)
    return found


def run(app: Any, *, listener: Any = None, **options: Any) -> tuple[Any, Any]:
    listener = listener or eventlet.listen(("127.0.0.1", 0))
    options.setdefault("log_output", False)
    green = eventlet.spawn(wsgi.server, listener, app, **options)
    eventlet.sleep(0)
    return listener.getsockname(), green


def hello(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", list(PLAIN))
    return [b"hel", b"lo"]


print("-- a format and a logger of one's own")
records: list[str] = []


class Keeping(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        records.append(record.getMessage())


logger = logging.getLogger("access")
logger.setLevel(logging.DEBUG)
logger.propagate = False
logger.addHandler(Keeping())
form = "%(client_ip)s|%(request_line)s|%(status_code)s"
for forwarded in (True, False):
    address, green = run(
        hello, log=logger, log_output=True, log_format=form, log_x_forwarded_for=forwarded, debug=False
    )
    talk(address, GET.replace(b"Host", b"X-Forwarded-For: 1.2.3.4\r\nHost"))
    eventlet.kill(green)
    eventlet.sleep(0.01)
for line in records:
    print(re.sub(r"\(\d+\)|127\.0\.0\.1:\d+|\d{5}", "...", line))

print("-- pieces")


def pieces(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", list(PLAIN))
    yield b"ab"
    yield b"cd"


address, green = run(pieces)
print(scrubbed(talk(address, GET)))
print(scrubbed(talk(address, GET.replace(b"1.1", b"1.0"))))
eventlet.kill(green)

print("-- limits")
address, green = run(hello, url_length_limit=60)
for data in (
    b"GET /" + b"x" * 100 + b" HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: argh\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\n" + b"X: y\r\n" * 20000 + b"\r\n",
):
    print(data[:12], talk(address, data)[8:12])
eventlet.kill(green)

print("-- a client that is silent")
address, green = run(hello, socket_timeout=0.05)
print(talk(address, b""), talk(address, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")[-5:])
eventlet.kill(green)

print("-- set_idle")


def idles(environ: Any, start_response: Any) -> Any:
    environ["eventlet.set_idle"]()
    start_response("200 OK", list(PLAIN))
    yield b"x" * 5000
    eventlet.sleep(10)


address, green = run(idles)
sock = eventlet.connect(address)
sock.sendall(GET)
sock.recv(10)
eventlet.sleep(0.01)
eventlet.kill(green)
while sock.recv(65536):
    pass
print("ended early")

print("-- input")


def reads(environ: Any, start_response: Any) -> Any:
    body = environ["wsgi.input"]
    print(body.chunked_input, body.content_length, body.should_send_hundred_continue)
    print(body.read(3), body.readline(), body.readline(2), body.read(5), list(body), body.read())
    return hello(environ, start_response)


address, green = run(reads)
size = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 18\r\nConnection: close\r\n\r\n"
talk(address, size + b"abcdef\nghijk\nlm\nno")
chunks = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
talk(address, chunks + b"4\r\nabcd\r\na\r\nef\nghijk\nl\r\n4\r\nm\nno\r\n0\r\n\r\n")
eventlet.kill(green)


def discards(environ: Any, start_response: Any) -> Any:
    environ["wsgi.input"].discard()
    print("left", environ["wsgi.input"].read())
    return hello(environ, start_response)


address, green = run(discards)
print(talk(address, size + b"abcdef\nghijk\nlm\nno")[-5:])
eventlet.kill(green)

print("-- an unread body does not become the next request")
address, green = run(hello)
follow = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n12345" + GET
print(talk(address, follow).count(b"200 OK"))
eventlet.kill(green)

print("-- start_response")


def twice(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", list(PLAIN))
    try:
        raise ValueError
    except ValueError:
        start_response("503 Later", [("content-type", "text/other"), ("x-a", "b")], sys.exc_info())
    return [b"sorry"]


def no_content(environ: Any, start_response: Any) -> Any:
    start_response("204 No Content", [])
    return []


def not_modified(environ: Any, start_response: Any) -> Any:
    start_response("304 Not Modified", [("ETag", "x")])
    return [b""]


def own_fields(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [("Date", "mine"), ("SERVER", "x"), ("Content-Length", "2")])
    return [b"ok"]


for app in (twice, no_content, not_modified, own_fields):
    address, green = run(app)
    print(app.__name__, scrubbed(talk(address, GET)))
    eventlet.kill(green)

print("-- a result with close")


class Result:
    def __iter__(self) -> Any:
        yield b"from an object"

    def close(self) -> None:
        print("closed")


def gives_result(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", list(PLAIN))
    return Result()


address, green = run(gives_result)
print(scrubbed(talk(address, GET)))
eventlet.kill(green)

print("-- a Unix socket")
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "s")

    def who(environ: Any, start_response: Any) -> Any:
        print(environ["REMOTE_ADDR"], environ["wsgi.url_scheme"], environ.get("HTTPS"))
        return hello(environ, start_response)

    log = io.StringIO()
    _, green = run(who, listener=eventlet.listen(path, eventlet.green.socket.AF_UNIX), log=log, log_output=True)
    print(scrubbed(talk(path, GET, eventlet.green.socket.AF_UNIX)))
    eventlet.kill(green)
    eventlet.sleep(0.01)
    print(re.sub(r"\(\d+\)|\[.*?\]|\d+ \d+\.\d{6}|/\S+/s\b", "...", log.getvalue()))

print("-- the event, and no more")
event = eventlet.event.Event()
listener = eventlet.listen(("127.0.0.1", 0))
_, green = run(hello, listener=listener, server_event=event, keepalive=7, minimum_chunk_size=9)
found = event.wait()
print(type(found).__name__, found.address == listener.getsockname(), found.app is hello, found.keepalive)
print(found.minimum_chunk_size, found.max_http_version, found.socket_timeout, found.url_length_limit)
eventlet.kill(green)
sys.stdout.flush()
