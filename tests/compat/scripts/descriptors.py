"""trampoline, notify_close, listeners of the hub."""

import os
import socket
from typing import Any

import eventlet
from eventlet import hubs
from show import quiet, show

log: list[Any] = []
hub = hubs.get_hub()
read, write = os.pipe()


def wait_readable(**kwargs: Any) -> None:
    try:
        hubs.trampoline(read, read=True, **kwargs)
        log.append("readable")
    except BaseException as error:
        log.append(type(error).__name__)


print(hubs.trampoline(write, write=True) == write)
show("timeout", hubs.trampoline, read, read=True, timeout=0.01)
show("timeout of a class", hubs.trampoline, read, read=True, timeout=0.01, timeout_exc=KeyError)
show("timeout of an instance", hubs.trampoline, read, read=True, timeout=0.01, timeout_exc=KeyError("x"))
show("both", hubs.trampoline, read, read=True, write=True)
eventlet.spawn(wait_readable)
eventlet.sleep(0)
print(log)
os.write(write, b"ab")
eventlet.sleep(0.01)
print(log)

# levels: what is left is reported again
print(hubs.trampoline(read, read=True) == read)
os.read(read, 1)
print(hubs.trampoline(read, read=True, timeout=1) == read)
os.read(read, 1)
show("now empty", hubs.trampoline, read, read=True, timeout=0.01)

# an object with a descriptor
one, other = socket.socketpair()
other.send(b"x")
print(hubs.trampoline(one, read=True) == one.fileno())
one.recv(1)

# one reader at a time
log.clear()
eventlet.spawn(wait_readable)
eventlet.sleep(0)
show("second reader", hubs.trampoline, read, read=True)
os.write(write, b"x")
eventlet.sleep(0.01)
print(log)
os.read(read, 1)

# killed in it
log.clear()
with quiet():
    waiter = eventlet.spawn(wait_readable)
    eventlet.sleep(0)
    waiter.kill()
print(log)
eventlet.spawn(wait_readable)
eventlet.sleep(0)
os.write(write, b"x")
eventlet.sleep(0.01)
print(log)
os.read(read, 1)

# the hub itself cannot wait
hub.schedule_call_global(0, lambda: show("in the hub", hubs.trampoline, read, read=True))
eventlet.sleep(0)

# listeners
log.clear()


def callback(fd: int) -> None:
    log.append(("ready", fd == read, os.read(fd, 100)))


listener = hub.add(hub.READ, read, callback, log.append, None)
print(listener.evtype, listener.fileno == read, len(hub.get_readers()))
eventlet.sleep(0)
print(log)
for data in (b"first", b"second"):
    os.write(write, data)
    eventlet.sleep(0.01)
print(log)
with quiet():
    show("second listener", hub.add, hub.READ, read, callback, log.append, None)
hub.remove(listener)
eventlet.sleep(0)
print(len(hub.get_readers()))
os.write(write, b"third")
eventlet.sleep(0.01)
print(len(log))
os.read(read, 100)
os.close(read)
os.close(write)
