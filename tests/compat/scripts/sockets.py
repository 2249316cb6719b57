"""GreenSocket, connect, listen, serve, GreenPipe."""

import os
import socket as plain
import tempfile
import warnings
from typing import Any

import eventlet
from eventlet import convenience, greenio
from eventlet.green import socket
from show import quiet, show

folder = tempfile.mkdtemp()
log: list[Any] = []

# listen and its options
REUSEADDR = (plain.SOL_SOCKET, plain.SO_REUSEADDR)
REUSEPORT = (plain.SOL_SOCKET, plain.SO_REUSEPORT)


def options(sock: Any) -> None:
    print(sock.getsockopt(*REUSEADDR), sock.getsockopt(*REUSEPORT))
    sock.close()


with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    listener = eventlet.listen(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    options(listener)
    options(eventlet.listen(("127.0.0.1", port)))
    options(eventlet.listen(("127.0.0.1", port), reuse_port=False, reuse_addr=False))
    options(eventlet.listen(("127.0.0.1", 0), reuse_port=True))
    options(eventlet.listen(("::1", 0), family=plain.AF_INET6))
    print([each.category.__name__ for each in warned])
path = os.path.join(folder, "s.sock")
listener = eventlet.listen(path, family=plain.AF_UNIX)
print(listener.getsockname() == path, isinstance(listener, greenio.GreenSocket))
show("in use", eventlet.listen, path, plain.AF_UNIX)
listener.close()
print(issubclass(convenience.ReuseRandomPortWarning, Warning), issubclass(convenience.ReusePortUnavailableWarning, Warning))

# serve: the client's socket is closed when the handler returns
def handle(sock: Any, address: Any) -> None:
    data = sock.recv(100)
    log.append((data, address[0]))
    if data == b"stop":
        raise eventlet.StopServe()
    if data == b"fail":
        raise KeyError("from the handler")
    sock.sendall(data.upper())


def talk(port: int, data: bytes) -> bytes:
    client = eventlet.connect(("127.0.0.1", port))
    client.sendall(data)
    answer = b""
    while True:
        more = client.recv(100)
        if not more:
            client.close()
            return answer
        answer += more


for last in (b"stop", b"fail"):
    log.clear()
    listener = eventlet.listen(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = eventlet.spawn(eventlet.serve, listener, handle)
    with quiet():
        show("talk", talk, port, b"hello")
        show("talk", talk, port, last)
        show("server", server.wait)
    print(log)
    listener.close()

# concurrency
running: list[int] = []
most: list[int] = []


def slow(sock: Any, address: Any) -> None:
    running.append(1)
    most.append(len(running))
    eventlet.sleep(0.01)
    running.pop()


listener = eventlet.listen(("127.0.0.1", 0))
port = listener.getsockname()[1]
server = eventlet.spawn(eventlet.serve, listener, slow, concurrency=2)
clients = [eventlet.spawn(talk, port, b"x") for _ in range(5)]
with quiet():
    for client in clients:
        show("client", client.wait)
print(max(most))
server.kill()
listener.close()

# connect
show("refused", eventlet.connect, ("127.0.0.1", port))
listener = eventlet.listen(("127.0.0.1", 0))
client = eventlet.connect(listener.getsockname(), bind=("127.0.0.1", 0))
server, address = listener.accept()
print(address == client.getsockname(), type(server).__name__, server.getpeername() == client.getsockname())

# reads and writes
def reader(sock: Any) -> None:
    log.append(sock.recv(100))


log.clear()
eventlet.spawn(reader, server)
eventlet.sleep(0)
print(log)
client.send(b"data")
eventlet.sleep(0.01)
print(log)
client.sendall(b"x" * 100000)
buffer = bytearray(10)
print(server.recv_into(buffer), bytes(buffer))
print(len(server.recv(5)), server.fileno() >= 0)
server.settimeout(0.01)
print(server.gettimeout(), client.gettimeout())
while True:
    try:
        server.recv(65536)
    except TimeoutError as error:
        print("timeout", error, eventlet.is_timeout(error))
        break
server.setblocking(0)
show("non-blocking", server.recv, 1)
server.setblocking(1)
print(server.gettimeout())

# a second reader
def waits() -> None:
    try:
        server.recv(1)
    except OSError as error:
        log.append(type(error).__name__)


eventlet.spawn(waits)
eventlet.sleep(0)
show("second reader", server.recv, 1)
client.close()
eventlet.sleep(0.01)
show("end", server.recv, 1)
server.close()
show("closed", server.recv, 1)
listener.close()

# files of sockets
one, other = socket.socketpair()
with one.makefile("wb") as out:
    out.write(b"line\nrest")
one.shutdown(plain.SHUT_WR)
with other.makefile("rb") as read:
    print(read.readline(), read.read())
show("shutdown_safe", greenio.shutdown_safe, one)
show("shutdown_safe", greenio.shutdown_safe, socket.socket())
one.close()
show("shutdown_safe of a closed one", greenio.shutdown_safe, one)
other.close()

# datagrams
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.bind(("127.0.0.1", 0))
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.sendto(b"packet", receiver.getsockname())
data, address = receiver.recvfrom(100)
print(data, address[0])
sender.close()
receiver.close()

# a GreenSocket of somebody else's socket shares its descriptor
raw = plain.socket()
shared = greenio.GreenSocket(raw)
print(shared.fileno() == raw.fileno(), shared.fd is raw, shared.gettimeout())
shared.close()
print(raw.fileno())
raw = plain.socket()
raw.settimeout(3)
shared = greenio.GreenSocket(raw)
print(shared.gettimeout())
shared.close()

# names
print(socket.gethostbyname("127.0.0.1"))
print(socket.getaddrinfo("127.0.0.1", 80, socket.AF_INET, socket.SOCK_STREAM)[0][4])
show("no such name", socket.getaddrinfo, "nosuch.invalid.", 80)
print(socket.socket is greenio.GreenSocket, socket.timeout is TimeoutError, socket.AF_INET == plain.AF_INET)

# pipes
def write_pipe(pipe: Any) -> None:
    pipe.write(b"hello")
    eventlet.sleep(0.01)
    pipe.write(b" world")
    pipe.close()


read_fd, write_fd = os.pipe()
pipe = greenio.GreenPipe(write_fd, "wb", 0)
eventlet.spawn(write_pipe, pipe)
with greenio.GreenPipe(read_fd, "rb", 0) as read:
    print(read.read(5), read.read())
read_fd, write_fd = os.pipe()
file = os.fdopen(write_fd, "wb", 0)
pipe = greenio.GreenPipe(file, "wb", 0)
print(file.closed)
pipe.close()
with greenio.GreenPipe(read_fd) as text:
    print(repr(text.read()), type(text).__name__)
read_fd, write_fd = os.pipe()
text, out = greenio.GreenPipe(read_fd, "r"), greenio.GreenPipe(write_fd, "w")
out.write("one\ntwo\n")
out.flush()
print(repr(text.readline()), repr(next(text)))
show("seek", text.seek, 0)
show("tell", out.tell)
out.close()
print(repr(text.read()))
text.close()
show("closed", text.read)
big = b"x" * 300000


def read_all(fd: int) -> int:
    with greenio.GreenPipe(fd, "rb") as read:
        return len(read.read())


read_fd, write_fd = os.pipe()
counter = eventlet.spawn(read_all, read_fd)
with greenio.GreenPipe(write_fd, "wb") as out:
    out.write(big)
show("through a pipe", counter.wait)
