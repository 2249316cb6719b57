"""spawn, wait, link, kill, sleep."""

import warnings
from typing import Any

import eventlet
from eventlet import greenthread
from eventlet.support import greenlets
from show import quiet, show

log: list[Any] = []


def add(one: int, other: int = 0) -> int:
    log.append(("add", one, other))
    return one + other


def fail(*_: Any) -> None:
    raise ValueError("no")


# spawn runs nothing before the spawner waits; in order
first = eventlet.spawn(add, 1, other=2)
eventlet.spawn_n(add, 3)
print("before", log, first.dead, bool(first))
show("wait", first.wait)
print("after", log, first.dead)
show("wait again", first.wait)

# exceptions are kept, raised again to each waiter, and printed
with quiet() as out:
    bad = eventlet.spawn(fail)
    eventlet.sleep(0)
    eventlet.sleep(0)
print("printed", out.getvalue().count("ValueError: no"))
show("bad", bad.wait)
show("bad again", bad.wait)
with quiet() as out:
    eventlet.spawn_n(fail)
    eventlet.sleep(0)
    eventlet.sleep(0)
print("printed", out.getvalue().count("ValueError: no"))

# links
log.clear()
def linked(gt: Any, *args: Any, **kwargs: Any) -> None:
    log.append((args, kwargs, gt is linkee, eventlet.getcurrent() is gt))

linkee = eventlet.spawn(add, 1)
linkee.link(linked, 1, a=2)
linkee.link(linked, 3)
linkee.link(linked, 4)
show("unlink", linkee.unlink, linked, 4)
show("unlink again", linkee.unlink, linked, 4)
linkee.wait()
print(log)
log.clear()
linkee.link(linked, 5)
print("late", log)
show("unlink when over", linkee.unlink, linked, 5)

# kill: at once, and the caller goes on later
log.clear()
def sleeper(name: str) -> None:
    log.append((name, "begins"))
    try:
        eventlet.sleep(10)
    except BaseException as error:
        log.append((name, type(error).__name__))
        raise

victim = eventlet.spawn(sleeper, "victim")
eventlet.sleep(0)
victim.link(lambda gt: log.append("linked"))
eventlet.spawn_n(log.append, "other")
victim.kill()
print(log, victim.dead)
show("killed", victim.wait)
show("kill the dead", victim.kill)
show("kill the dead", eventlet.kill, victim)

# an unstarted one never runs
log.clear()
unstarted = eventlet.spawn(add, 1)
unstarted.link(lambda gt: log.append("linked"))
unstarted.kill()
print(log, unstarted.dead)
show("unstarted", unstarted.wait)

# kill with an exception
for error in (KeyError, KeyError("x")):
    with quiet():
        other = eventlet.spawn(sleeper, "other")
        eventlet.sleep(0)
        other.kill(error)
    show("killed with", other.wait)

# cancel
log.clear()
cancelled = eventlet.spawn(add, 1)
cancelled.cancel()
show("cancelled", cancelled.wait)
running = eventlet.spawn(sleeper, "running")
eventlet.sleep(0)
running.cancel()
print("cancel of a running one", running.dead)
running.kill()
later = eventlet.spawn_after(5, add, 1)
later.cancel()
show("later", later.wait)
greenthread.cancel(later)

# swallowing a kill
def stubborn() -> str:
    try:
        eventlet.sleep(10)
    except greenlets.GreenletExit:
        return "survived"
    return "slept"

one = eventlet.spawn(stubborn)
eventlet.sleep(0)
one.kill()
show("stubborn", one.wait)

# killing oneself
def suicide() -> None:
    eventlet.kill(eventlet.getcurrent())
    log.append("not reached")

show("suicide", eventlet.spawn(suicide).wait)

# bare greenlets
log.clear()
bare = eventlet.spawn_n(sleeper, "bare")
eventlet.sleep(0)
eventlet.kill(bare)
print(log, bare.dead)
bare = eventlet.spawn_n(add, 9)
eventlet.kill(bare)
eventlet.sleep(0)
print(log, bare.dead)

# spawn_after, in order of time
log.clear()
eventlet.spawn_after(0.03, log.append, "c")
eventlet.spawn_after(0.01, log.append, "a")
last = eventlet.spawn_after(0.02, log.append, "b")
show("spawn_after", last.wait)
eventlet.sleep(0.03)
print(log)

# local: not run if the spawner is dead
log.clear()
def spawner(spawn: Any, name: str) -> None:
    spawn(0.01, log.append, name)

eventlet.spawn(spawner, greenthread.spawn_after, "global").wait()
eventlet.spawn(spawner, greenthread.spawn_after_local, "local").wait()
eventlet.sleep(0.03)
print(log)

# sleep
show("sleep", eventlet.sleep, 0)
show("sleep()", eventlet.sleep)
show("getcurrent", lambda: eventlet.getcurrent() is greenlets.getcurrent())
show("isinstance", isinstance, eventlet.spawn(add, 1), greenthread.GreenThread)
show("isinstance", isinstance, eventlet.spawn_n(add, 1), greenlets.greenlet)

# links that fail
with quiet() as out:
    log.clear()
    linkee = eventlet.spawn(add, 1)
    linkee.link(fail)
    show("value in spite of a link", linkee.wait)
    eventlet.sleep(0)
print("printed", out.getvalue().count("ValueError: no"))

# linking from inside a link does not recurse
log.clear()
def relink(gt: Any, depth: int) -> None:
    log.append(depth)
    if depth < 3:
        gt.link(relink, depth + 1)
        log.append(-depth)

linkee = eventlet.spawn(add, 1)
linkee.link(relink, 1)
linkee.wait()
print(log)

# many waiters
def wait_for(gt: Any) -> None:
    log.append(gt.wait())

log.clear()
waited = eventlet.spawn_after(0.01, add, 20, 22)
waiters = [eventlet.spawn(wait_for, waited) for _ in range(3)]
for waiter in waiters:
    waiter.wait()
print(log)

# deprecated
warnings.simplefilter("ignore")
show("with_timeout", greenthread.with_timeout, 0.01, eventlet.sleep, 5, timeout_value="late")
timer = greenthread.call_after_global(0.01, log.append, "called")
log.clear()
eventlet.sleep(0.02)
print(log)
greenthread.exc_after(0.01, KeyError)
show("exc_after", eventlet.sleep, 5)
