"""patcher: monkey_patch, original, import_patched and what stands around them."""

import eventlet
from eventlet import patcher
from show import show

show("unknown key", eventlet.monkey_patch, nosuch=True)
names = ("os", "select", "socket", "thread", "time", "subprocess", "psycopg", "MySQLdb", "builtins")
print([patcher.is_monkey_patched(name) for name in names])

# private copies
import socket
import time

copy = patcher.import_patched("http.client")
print(copy is not __import__("http.client").client, socket.socket is copy.socket.socket)
destination: dict[str, object] = {}
patcher.slurp_properties(__import__("heapq"), destination, ignore=["merge"])
print(sorted(destination))
patcher.slurp_properties(time, destination, srckeys=["sleep"])
print("sleep" in destination)


class Fake:
    sleep = "mine"


def look() -> object:
    import time

    return time.sleep


print(patcher.patch_function(look, ("time", Fake))(), look() is time.sleep)
saver = patcher.SysModulesSaver(["time"])
import sys

sys.modules["time"] = Fake  # type: ignore[assignment]
saver.restore()
print(sys.modules["time"] is time)

# some of it
plain_socket = socket.socket
eventlet.monkey_patch(time=True)
print([patcher.is_monkey_patched(name) for name in names], patcher.is_monkey_patched(time))
print(socket.socket is plain_socket, patcher.original("time").sleep is time.sleep)
log: list[str] = []
eventlet.spawn(log.append, "ran meanwhile")
time.sleep(0)
time.sleep(0.001)
print(log)

# all but something; twice
eventlet.monkey_patch(subprocess=False)
print([patcher.is_monkey_patched(name) for name in names if name != "psycopg"])
import select
import threading

print(patcher.is_monkey_patched(socket), patcher.is_monkey_patched(select))
before = socket.socket
eventlet.monkey_patch()
eventlet.monkey_patch(all=True)
print(socket.socket is before, isinstance(socket.socket(), eventlet.greenio.GreenSocket))
print(patcher.original("socket").socket is socket.socket)

# threads are greenthreads now
def work() -> None:
    log.append("thread")
    time.sleep(0.001)
    log.append("done")


log.clear()
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(log, thread.is_alive())
lock = threading.Lock()
lock.acquire()
eventlet.spawn_after(0.001, lock.release)
print(lock.acquire(timeout=1))
import queue

q: "queue.Queue[int]" = queue.Queue()
eventlet.spawn_after(0.001, q.put, 5)
print(q.get())
local = threading.local()
local.x = 1
eventlet.spawn(lambda: log.append(hasattr(local, "x"))).wait()
print(log[-1])
one, other = socket.socketpair()
eventlet.spawn_after(0.001, other.sendall, b"hello")
print(one.recv(10))
one.setblocking(False)
one.close()
other.close()
read, _, _ = select.select([], [], [], 0.001)
print(read)
