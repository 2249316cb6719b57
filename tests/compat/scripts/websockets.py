"""eventlet.websocket: handshakes, messages, closing, what breaks the rules."""

import io
import struct
from typing import Any

import eventlet
from eventlet import websocket, wsgi

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
log: list[Any] = []


def frame(opcode: int, payload: bytes = b"", fin: bool = True) -> bytes:
    mask = b"\x01\x02\x03\x04"
    size = len(payload)
    head = bytes([(0x80 if fin else 0) | opcode])
    head += bytes([0x80 | size]) if size < 126 else bytes([0x80 | 126]) + struct.pack("!H", size)
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


@websocket.WebSocketWSGI
def handler(ws: Any) -> None:
    log.append((ws.path, ws.protocol, ws.version, ws.origin, ws.environ["REQUEST_METHOD"]))
    while (message := ws.wait()) is not None:
        if message == "quit":
            break
        ws.send(message)
    log.append("over")


def chooser(ws: Any) -> None:
    ws.send(f"protocol {ws.protocol}")


chosen = websocket.WebSocketWSGI.configured(
    chooser, supported_protocols=["b", "c"], origin_checker=lambda host, origin: origin != "http://evil"
)


@websocket.WebSocketWSGI.configured()
def failing(ws: Any) -> None:
    raise BrokenPipeError(32, "gone")


def app(environ: Any, start_response: Any) -> Any:
    apps = {"/": handler, "/chosen": chosen, "/failing": failing}
    return apps[environ["PATH_INFO"]](environ, start_response)


listener = eventlet.listen(("127.0.0.1", 0))
address = listener.getsockname()
server = eventlet.spawn(wsgi.server, listener, app, log=io.StringIO())
eventlet.sleep(0)


def opened(path: str = "/", *lines: str, version: str = "13", key: str = KEY, upgrade: str = "websocket") -> Any:
    sock = eventlet.connect(address)
    extra = "".join(f"{line}\r\n" for line in lines)
    sock.sendall(
        (
            f"GET {path} HTTP/1.1\r\nHost: h\r\nUpgrade: {upgrade}\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: {version}\r\n{extra}\r\n"
        ).encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        head += sock.recv(1)
    first, *rest = head.decode().split("\r\n")
    print(path, first, sorted(line for line in rest if line.startswith(("Sec-WebSocket-A", "Sec-WebSocket-P"))))
    return sock


def rest_of(sock: Any) -> bytes:
    found = b""
    try:
        while more := sock.recv(65536):
            found += more
    except OSError:
        pass
    return found


print("-- messages")
sock = opened()
sock.sendall(frame(1, b"hello") + frame(2, b"\x00\xff"))
print(sock.recv(7), sock.recv(4))
sock.sendall(frame(1, "ä".encode(), fin=False) + frame(9, b"ping") + frame(0, b"!"))
print(sock.recv(6))
sock.sendall(frame(1, b"quit"))
print(rest_of(sock)[:4])

print("-- closing")
sock = opened()
sock.sendall(frame(8, struct.pack("!H", 1001) + b"bye"))
print(rest_of(sock)[2:4])
eventlet.sleep(0.01)
print(log)

print("-- handshakes that fail")
sock = opened(upgrade="other")
opened(version="5").close()
opened("/chosen", "Origin: http://evil")

print("-- protocols")
for offer in ("a, b, c", "c", "a"):
    sock = opened("/chosen", f"Sec-WebSocket-Protocol: {offer}")
    print(rest_of(sock)[2:-4])

print("-- a handler that meets a broken pipe just ends")
sock = opened("/failing")
print(rest_of(sock)[:1])

print("-- too big")
app_small = websocket.WebSocketWSGI(lambda ws: print("message", ws.wait()), max_frame_length=10)
listener = eventlet.listen(("127.0.0.1", 0))
address = listener.getsockname()
small = eventlet.spawn(wsgi.server, listener, app_small, log=io.StringIO())
sock = opened()
sock.sendall(frame(1, b"x" * 11))
answer = rest_of(sock)
print(answer[:1], answer[2:4])
print(issubclass(websocket.ConnectionClosedError, Exception), websocket.DEFAULT_MAX_FRAME_LENGTH)
