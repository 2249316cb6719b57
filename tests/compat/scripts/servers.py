"""eventlet.wsgi: environ keys, hooks, logs, chunks, 100 Continue, failures, keep-alive, the end of a server."""

import io
import re
import sys
from typing import Any

import eventlet
from eventlet import wsgi

PLAIN = [("content-type", "text/plain")]
GET = b"GET /a%20b?c=d HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


def scrubbed(answer: bytes) -> str:
    """Return an answer with its head sorted, and without what differs from run to run."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    kept = sorted(line for line in lines if not line.startswith("Date:"))
    return f"{first} | {' | '.join(kept)} || {body!r}"


class Running:
    """A server in a greenthread."""

    def __init__(self, app: Any, **options: Any) -> None:
        self.log = io.StringIO()
        self.listener = eventlet.listen(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        options.setdefault("log", self.log)
        self.green = eventlet.spawn(wsgi.server, self.listener, app, **options)
        eventlet.sleep(0)

    def talk(self, data: bytes) -> bytes:
        sock = eventlet.connect(self.address)
        sock.sendall(data)
        found = b""
        while more := sock.recv(65536):
            found += more
        sock.close()
        eventlet.sleep(0.01)
        return found

    def say(self, data: bytes) -> None:
        print(scrubbed(self.talk(data)))

    def end(self) -> None:
        eventlet.kill(self.green)
        eventlet.sleep(0.01)
        text = self.log.getvalue()
        text = re.sub(r"\(\d+\)", "(pid)", text)
        text = re.sub(r"\[.*?\]", "[time]", text)
        text = re.sub(r"\d+\.\d{6}", "seconds", text)
        text = re.sub(r"(\('127\.0\.0\.1', |127\.0\.0\.1:)\d+", r"\1port", text)
        text = re.sub(r'(" \d{3}) \d+ ', r"\1 bytes ", text)
        for line in text.splitlines():
            if not line.startswith(("  ", "Traceback")):
                print("log:", line.rpartition("timeout.")[2])


def hello(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", list(PLAIN))
    return [b"hel", b"lo"]


print("-- answers and the log")
server = Running(hello)
server.say(GET)
server.say(GET.replace(b"1.1", b"1.0"))
server.say(b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 1.2.3.4, 5.6.7.8\r\nConnection: close\r\n\r\n")
server.end()

print("-- the environ")
keys = "REQUEST_METHOD SCRIPT_NAME PATH_INFO RAW_PATH_INFO QUERY_STRING CONTENT_TYPE CONTENT_LENGTH GATEWAY_INTERFACE"
keys += " SERVER_NAME REMOTE_ADDR HTTP_HOST HTTP_X_A HTTP_X_B headers_raw wsgi.version wsgi.multithread wsgi.multiprocess"
keys += " wsgi.run_once wsgi.url_scheme extra eventlet.posthooks"


def show_environ(environ: Any, start_response: Any) -> Any:
    for key in keys.split():
        print(key, repr(environ.get(key, "missing")))
    print(environ["wsgi.input"] is environ["eventlet.input"], callable(environ["eventlet.set_idle"]))
    body = environ["wsgi.input"]
    print(body.readline(), body.read(2), list(body), body.read())
    return hello(environ, start_response)


server = Running(show_environ, environ={"extra": 5}, log_output=False)
server.say(
    b"POST /a%20b?c=d HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nX_B: 2\r\nContent-Length: 9\r\nConnection: close\r\n\r\nab\ncdef\ng"
)
server.say(
    b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    b"5\r\nab\ncd\r\n4\r\nef\ng\r\n0\r\n\r\n"
)
server.end()

print("-- hooks run after the answer")


def hooked(environ: Any, start_response: Any) -> Any:
    environ["eventlet.posthooks"].append((lambda env, *a, **k: print("hook", env["PATH_INFO"], a, k), (1,), {"b": 2}))
    return hello(environ, start_response)


server = Running(hooked, log_output=False)
server.say(GET)
server.end()

print("-- pieces")


def pieces(environ: Any, start_response: Any) -> Any:
    if environ.get("QUERY_STRING"):
        environ["eventlet.minimum_write_chunk_size"] = int(environ["QUERY_STRING"])
    start_response("200 OK", list(PLAIN))
    for _ in range(4):
        yield b"abc"
        yield b""


server = Running(pieces, log_output=False)
for query in (b"", b"?1", b"?5"):
    server.say(b"GET /" + query + b" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
server.end()
server = Running(pieces, log_output=False, minimum_chunk_size=6)
server.say(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
server.end()

print("-- write")


def writes(environ: Any, start_response: Any) -> Any:
    write = start_response("200 OK", [("content-LENGTH", "4")])
    write(b"ab")
    write(b"cd")
    return []


server = Running(writes, log_output=False)
server.say(GET)
server.end()
server = Running(writes, log_output=False, capitalize_response_headers=False)
server.say(GET)
server.end()

print("-- 100 Continue")
PUT = b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"


def waits(environ: Any, start_response: Any) -> Any:
    body = environ["wsgi.input"]
    path = environ["PATH_INFO"]
    if path == "/headers":
        body.set_hundred_continue_response_headers([("x-some", "thing")])
    if path in ("/headers", "/twice"):
        body.send_hundred_continue_response()
    if path == "/twice":
        body.set_hundred_continue_response_headers([("x-other", "thing")], capitalize_response_headers=False)
        body.send_hundred_continue_response()
    text = body.read() if path != "/unread" else b""
    start_response("200 OK", list(PLAIN))
    return [text]


def expect(path: bytes, server: Any) -> None:
    sock = eventlet.connect(server.address)
    sock.sendall(PUT.replace(b" / ", b" " + path + b" "))
    eventlet.sleep(0.05)
    print(path, [scrubbed(part) for part in [sock.recv(65536)]])
    sock.sendall(b"ok")
    rest = b""
    try:
        while more := sock.recv(65536):
            rest += more
    except OSError:
        pass
    print(path, scrubbed(rest) if rest else "nothing more")
    sock.close()


server = Running(waits, log_output=False)
for path in (b"/", b"/headers", b"/twice", b"/unread"):
    expect(path, server)
server.end()

print("-- failures")


def fails(environ: Any, start_response: Any) -> Any:
    if environ["PATH_INFO"] == "/late":
        start_response("200 OK", list(PLAIN))
        return late()
    if environ["PATH_INFO"] == "/timeout":
        raise eventlet.Timeout(None)
    raise ZeroDivisionError("secret")


def late() -> Any:
    yield b"x" * 5000
    raise ZeroDivisionError("late")


for debug in (True, False):
    server = Running(fails, debug=debug)
    answer = server.talk(GET)
    print(answer[:34], b"ZeroDivisionError: secret" in answer)
    print(server.talk(GET.replace(b"/a%20b", b"/timeout"))[:34])
    print(server.talk(GET.replace(b"/a%20b", b"/late")).endswith(b"0\r\n\r\n"))
    server.end()

print("-- already handled")


def takes_over(environ: Any, start_response: Any) -> Any:
    environ["eventlet.input"].get_socket().sendall(b"HTTP/1.1 299 mine\r\n\r\nall mine")
    wsgi.WSGI_LOCAL.already_handled = True
    return []


server = Running(takes_over, log_output=False)
server.say(GET)
server.end()

print("-- keep-alive")
server = Running(hello, log_output=False)
sock = eventlet.connect(server.address)
for _ in range(2):
    sock.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    print(scrubbed(sock.recv(65536)))
sock.sendall(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
print(scrubbed(sock.recv(65536)))
server.end()
print("idle connections end with the server:", sock.recv(100))
server = Running(hello, log_output=False, keepalive=False)
server.say(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
server.end()
server = Running(hello, log_output=False, keepalive=0.05)
server.talk(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
print("idle connections end in time")
server.end()

print("-- pools and the end")


def slow(environ: Any, start_response: Any) -> Any:
    eventlet.sleep(0.1)
    return hello(environ, start_response)


pool = eventlet.GreenPool(2)
server = Running(slow, log_output=False, custom_pool=pool)
sock = eventlet.connect(server.address)
sock.sendall(GET)
eventlet.sleep(0.03)
print("running", pool.running())
eventlet.kill(server.green)
print(scrubbed(sock.recv(65536)))
try:
    wsgi.server(eventlet.listen(("127.0.0.1", 0)), hello, custom_pool=object())
except AttributeError:
    print("a pool without spawn and waitall is an AttributeError")
events: Any = eventlet.Event()
with_event = eventlet.listen(("127.0.0.1", 0))
print(wsgi.format_date_time(0), wsgi.DEFAULT_LOG_FORMAT, wsgi.MINIMUM_CHUNK_SIZE, wsgi.MAX_REQUEST_LINE)
sys.stdout.flush()
