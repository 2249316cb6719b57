"""GreenPool and GreenPile."""

from typing import Any

import eventlet
from eventlet import greenpool
from show import quiet, show

log: list[Any] = []
greenpool.DEBUG = False


def work(number: int) -> int:
    log.append(number)
    eventlet.sleep(0)
    return number * number


def fail(*args: Any) -> None:
    raise ValueError(*args)


def state(pool: Any) -> None:
    print(pool.size, pool.free(), pool.running(), pool.waiting())


show("size a string", greenpool.GreenPool, "x")
show("size a float", greenpool.GreenPool, 1.5)
show("size negative", greenpool.GreenPool, -1)
state(eventlet.GreenPool())

# spawn
pool = eventlet.GreenPool(2)
gt = pool.spawn(work, 3)
state(pool)
show("result", gt.wait)
state(pool)
show("spawn_n", pool.spawn_n, work, 4)
state(pool)
show("waitall", pool.waitall)
state(pool)
print(log)
with quiet():
    show("exception", pool.spawn(fail, "x").wait)
    pool.spawn_n(fail)
    pool.waitall()
state(pool)

# a full pool makes the spawner wait, in turn
log.clear()


def occupy(name: str, evt: Any) -> None:
    log.append(name)
    evt.wait()


def spawn_into(pool: Any, name: str, evt: Any) -> None:
    pool.spawn(occupy, name, evt)
    log.append("spawned " + name)


evt = eventlet.Event()
pool = eventlet.GreenPool(1)
pool.spawn(occupy, "a", evt)
eventlet.spawn(spawn_into, pool, "b", evt)
eventlet.spawn(spawn_into, pool, "c", evt)
eventlet.sleep(0)
eventlet.sleep(0)
state(pool)
print(log)
evt.send(None)
for _ in range(10):
    eventlet.sleep(0)
state(pool)
print(log)

# resizing under workers
evt = eventlet.Event()
pool = eventlet.GreenPool(3)
for name in "abc":
    pool.spawn(occupy, name, evt)
pool.resize(1)
print(pool.size, pool.free(), pool.running())
evt.send(None)
pool.waitall()
state(pool)
pool = eventlet.GreenPool(0)
state(pool)
pool.resize(1)
show("result", pool.spawn(work, 5).wait)

# a worker of a full pool that spawns runs the function in place
log.clear()
pool = eventlet.GreenPool(1)


def recurse(depth: int) -> Any:
    log.append(depth)
    if depth < 3:
        gt = pool.spawn(recurse, depth + 1)
        log.append(("back", depth, gt.dead))
        return gt.wait()
    return "deepest"


show("recursion", pool.spawn(recurse, 1).wait)
print(log)


def in_place() -> Any:
    try:
        gt = pool.spawn(fail, "in place")
    except ValueError as error:
        return "raised by spawn", error.args
    return "raised later", type(gt).__name__


with quiet():
    show("in place", pool.spawn(in_place).wait)
log.clear()


def in_place_n() -> None:
    log.append("before")
    pool.spawn_n(log.append, "inside")
    log.append("after")


pool.spawn(in_place_n).wait()
pool.waitall()
print(log)


def wait_inside() -> None:
    pool.waitall()


with quiet():
    show("waitall in a worker", pool.spawn(wait_inside).wait)

# a worker that is killed gives its place back
with quiet():
    pool = eventlet.GreenPool(1)
    gt = pool.spawn(eventlet.sleep, 10)
    eventlet.sleep(0)
    gt.kill()
    state(pool)
    gt = pool.spawn(work, 1)
    gt.kill()
    state(pool)
    pool.waitall()

# imap, in order, with a pool of its own
log.clear()
pool = eventlet.GreenPool(2)


def backwards(number: int) -> int:
    eventlet.sleep(0.005 * (3 - number % 3))
    return number


show("imap", lambda: list(pool.imap(backwards, range(6))))
show("several", lambda: list(pool.imap(lambda x, y: x + y, [1, 2, 3], [10, 20])))
show("None", lambda: list(pool.imap(None, [1, 2], [3, 4])))
show("nothing", lambda: list(pool.imap(work, [])))
show("starmap", lambda: list(pool.starmap(pow, [(2, 3), (3, 2)])))
results = pool.imap(work, range(4))
eventlet.sleep(0)
print("running", pool.running(), pool.free())
show("waitall does not wait for it", pool.waitall)
show("rest", list, results)


def sometimes(number: int) -> int:
    if number == 1:
        raise ValueError(number)
    return number


with quiet():
    it = pool.imap(sometimes, range(3))
    for _ in range(4):
        show("next", next, it)
show("iterator", lambda: iter(it) is it)

# the input is read as results are taken
read: list[int] = []


def numbers() -> Any:
    for number in range(100):
        read.append(number)
        yield number


it = eventlet.GreenPool(3).imap(work, numbers())
next(it)
eventlet.sleep(0)
eventlet.sleep(0)
print("read ahead", len(read) <= 10)

# piles
pile = eventlet.GreenPile(2)
for number in (3, 1, 2):
    pile.spawn(backwards, number)
show("pile", list, pile)
show("pile over", next, pile)
pile = eventlet.GreenPile(eventlet.GreenPool(3))
with quiet():
    pile.spawn(sometimes, 0)
    pile.spawn(sometimes, 1)
    pile.spawn(sometimes, 2)
    for _ in range(4):
        show("next", pile.next)
print(pile.pool.size, isinstance(pile, greenpool.GreenPile))

# producers and consumers, as in eventlet's examples
pool = eventlet.GreenPool(10)
seen: set[int] = set()


def crawl(number: int) -> None:
    eventlet.sleep(0)
    for link in (2 * number, 2 * number + 1):
        if link < 40 and link not in seen:
            seen.add(link)
            pool.spawn_n(crawl, link)


pool.spawn_n(crawl, 1)
pool.waitall()
print(len(seen), pool.running())
