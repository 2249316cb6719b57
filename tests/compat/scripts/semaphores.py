"""Semaphore, BoundedSemaphore, CappedSemaphore, Lock."""

from typing import Any

import eventlet
from eventlet import lock, semaphore
from show import quiet, show

log: list[Any] = []


def take(sem: Any, name: str, **kwargs: Any) -> None:
    log.append((name, sem.acquire(**kwargs)))


def state(sem: Any) -> None:
    print(sem.balance, sem.locked(), sem.bounded())


for value in (0, 1, 2):
    state(semaphore.Semaphore(value))
show("negative", semaphore.Semaphore, -1)
sem = eventlet.Semaphore()
show("acquire", sem.acquire)
state(sem)
show("not blocking", sem.acquire, blocking=False)
show("not blocking", sem.acquire, False)
show("timeout", sem.acquire, timeout=0.01)
show("no time", sem.acquire, timeout=0)
show("negative timeout", sem.acquire, timeout=-5)
show("timeout without blocking", sem.acquire, blocking=False, timeout=1)
show("-1 without blocking", sem.acquire, blocking=False, timeout=-1)
show("release", sem.release)
show("release", sem.release, blocking=False)
state(sem)
show("timeout -1", sem.acquire, timeout=-1)
show("timeout None", sem.acquire, timeout=None)

# first come, first served; release never yields
for name in "abc":
    eventlet.spawn(take, sem, name)
eventlet.sleep(0)
state(sem)
show("release", sem.release)
show("release", sem.release)
print("nobody ran", log)
eventlet.sleep(0)
eventlet.sleep(0)
eventlet.sleep(0)
print(log)
state(sem)
sem.release()
eventlet.sleep(0)
print(log)
state(sem)

# killed and timed out waiters
log.clear()
sem = semaphore.Semaphore(0)
with quiet():
    gone = eventlet.spawn(take, sem, "gone")
    eventlet.spawn(take, sem, "late", timeout=0.005)
    eventlet.spawn(take, sem, "stays")
    eventlet.sleep(0)
    gone.kill()
eventlet.sleep(0.02)
state(sem)
sem.release()
eventlet.sleep(0)
eventlet.sleep(0)
print(log)

# with
sem = semaphore.Semaphore(1)
with sem:
    state(sem)
state(sem)
print(isinstance(sem, semaphore.Semaphore))

bounded = eventlet.BoundedSemaphore(1)
show("over-release", bounded.release)
bounded.acquire()
show("release", bounded.release)
state(bounded)
with bounded:
    state(bounded)

# capped: release waits, too
log.clear()
show("more than the limit", semaphore.CappedSemaphore, 3, 2)
show("negative", semaphore.CappedSemaphore, -1, 2)
capped = eventlet.CappedSemaphore(1, 2)
state(capped)
show("release", capped.release)
state(capped)
show("release with a timeout", eventlet.with_timeout, 0.01, capped.release, timeout_value="waits")
state(capped)


def give(sem: Any) -> None:
    sem.release()
    log.append("released")


eventlet.spawn(give, capped)
eventlet.sleep(0)
print(log)
show("acquire", capped.acquire)
eventlet.sleep(0)
eventlet.sleep(0)
print(log)
state(capped)
capped.acquire()
capped.acquire()
state(capped)
show("not blocking", capped.acquire, blocking=False)
with semaphore.CappedSemaphore(1, 1) as entered:
    print("inside")

# locks
one = lock.Lock()
show("acquire", one.acquire)
show("not blocking", one.acquire, False)
show("release", one.release)
show("release again", one.release)
with one:
    print(one.locked())
print(one.locked(), isinstance(one, semaphore.Semaphore))
