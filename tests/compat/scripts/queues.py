"""LightQueue, Queue, PriorityQueue, LifoQueue: bounds, the channel of maxsize 0, join."""

from typing import Any

import eventlet
from eventlet import queue
from show import quiet, show

log: list[Any] = []


def getter(q: Any, name: str = "get", **kwargs: Any) -> None:
    try:
        log.append((name, q.get(**kwargs)))
    except BaseException as error:
        log.append((name, type(error).__name__))


def putter(q: Any, item: Any, **kwargs: Any) -> None:
    try:
        q.put(item, **kwargs)
        log.append(("put", item))
    except BaseException as error:
        log.append(("put", item, type(error).__name__))


def state(q: Any) -> None:
    print(q.maxsize, q.qsize(), q.empty(), q.full(), q.getting(), q.putting())


for kind in (queue.LightQueue, queue.Queue, queue.LifoQueue, queue.PriorityQueue):
    print(kind.__name__)
    q = kind()
    state(q)
    for item in (3, 1, 2):
        q.put(item)
    state(q)
    print([q.get() for _ in range(3)])
    show("get_nowait of nothing", q.get_nowait)
    show("get with a timeout", q.get, timeout=0.01)
    show("get without time", q.get, timeout=0)
    show("get(block=False)", q.get, block=False)
    q = kind(2)
    q.put(1)
    show("put_nowait", q.put_nowait, 2)
    show("put_nowait of too much", q.put_nowait, 3)
    show("put with a timeout", q.put, 3, timeout=0.01)
    state(q)
    for size in (-1, None, 5):
        print("size", size, kind(size).maxsize)

# bounded: the putter waits
log.clear()
q = eventlet.Queue(1)
eventlet.spawn(putter, q, "a")
eventlet.spawn(putter, q, "b")
eventlet.sleep(0)
state(q)
print(log)
show("get", q.get)
eventlet.sleep(0)
eventlet.sleep(0)
state(q)
print(log)
show("get", q.get)
state(q)

# resize lets putters in
log.clear()
q = eventlet.Queue(1)
for item in "abc":
    eventlet.spawn(putter, q, item)
eventlet.sleep(0)
q.resize(3)
eventlet.sleep(0)
eventlet.sleep(0)
state(q)
print(sorted(log))
q.resize(1)
state(q)

# 0 is a channel
log.clear()
q = eventlet.Queue(0)
state(q)
show("put_nowait with nobody there", q.put_nowait, 1)
show("get_nowait with nobody there", q.get_nowait)
show("put with a timeout", q.put, 1, timeout=0.01)
eventlet.spawn(getter, q)
eventlet.sleep(0)
state(q)
show("put with a getter there", q.put, "x")
eventlet.sleep(0)
print(log)
log.clear()
eventlet.spawn(putter, q, "y")
eventlet.sleep(0)
state(q)
print(log)
show("get with a putter there", q.get)
eventlet.sleep(0)
print(log)
state(q)
log.clear()
eventlet.spawn(getter, q)
eventlet.sleep(0)
show("put_nowait with a getter there", q.put_nowait, "z")
eventlet.sleep(0)
eventlet.sleep(0)
print(log)

# many getters, many items
log.clear()
q = eventlet.Queue()
for name in range(4):
    eventlet.spawn(getter, q, name)
eventlet.sleep(0)
state(q)
for item in range(4):
    q.put(item)
print(q.qsize(), q.getting())
eventlet.sleep(0)
eventlet.sleep(0)
print(sorted(item for _, item in log), sorted(name for name, _ in log), q.qsize(), q.getting())

# who was killed or timed out gets nothing
log.clear()
q = eventlet.Queue()
with quiet():
    gone = eventlet.spawn(getter, q, "gone")
    eventlet.spawn(getter, q, "late", timeout=0.005)
    eventlet.spawn(getter, q, "stays")
    eventlet.sleep(0)
    gone.kill()
eventlet.sleep(0.02)
q.put("item")
eventlet.sleep(0)
eventlet.sleep(0)
print(log)

# in the hub's own greenlet
log.clear()
q = eventlet.Queue()
hub = eventlet.hubs.get_hub()
hub.schedule_call_global(0, q.put_nowait, "from the hub")
show("get", q.get)
q.put(1)
hub.schedule_call_global(0, lambda: log.append(q.get_nowait()))
eventlet.sleep(0)
print(log)
channel = eventlet.Queue(0)
hub.schedule_call_global(0, lambda: show("put_nowait in the hub", channel.put_nowait, 1))
eventlet.sleep(0)

# join
q = eventlet.Queue()
show("join of nothing", q.join)
show("task_done too often", q.task_done)
log.clear()


def join() -> None:
    q.join()
    log.append("joined")


q.put(1)
q.put(2)
eventlet.spawn(join)
eventlet.sleep(0)
q.get()
q.task_done()
eventlet.sleep(0)
print(log, q.unfinished_tasks)
q.get()
q.task_done()
eventlet.sleep(0)
eventlet.sleep(0)
print(log, q.unfinished_tasks)
show("task_done too often", q.task_done)

# the stdlib's exceptions
show("Full", lambda: queue.Full is __import__("queue").Full and queue.Empty is __import__("queue").Empty)

# a subclass with a container of its own
class Unique(queue.LightQueue):
    def _init(self, maxsize: Any) -> None:
        self.queue: Any = []

    def _put(self, item: Any) -> None:
        if item not in self.queue:
            self.queue.append(item)

    def _get(self) -> Any:
        return self.queue.pop(0)


unique = Unique()
for item in "aab":
    unique.put(item)
print(unique.qsize(), unique.get(), unique.get())
