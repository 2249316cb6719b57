"""corolocal, coros, hubs."""

from typing import Any

import eventlet
from eventlet import corolocal, coros, hubs
from show import quiet, show


class Mine(corolocal.local):
    def __init__(self, first: int = 0, **kwargs: Any) -> None:
        self.first = first
        self.kwargs = kwargs

plain = corolocal.local()
plain.x = 1
mine = Mine(5, a=1)
mine.first = 6

def other() -> Any:
    found = hasattr(plain, "x"), mine.first, mine.kwargs
    plain.x = 2
    return found, plain.x

show("elsewhere", eventlet.spawn(other).wait)
print(plain.x, mine.first)
del plain.x
show("deleted", getattr, plain, "x")
show("arguments for nothing", corolocal.local, 1)
show("get_ident", lambda: corolocal.get_ident() == id(eventlet.getcurrent()))

meta = coros.metaphore()
show("wait for nothing", meta.wait)
log: list[Any] = []

def wait() -> None:
    meta.wait()
    log.append("done")

meta.inc()
meta.inc(2)
eventlet.spawn(wait)
eventlet.sleep(0)
meta.dec()
meta.dec()
eventlet.sleep(0)
print(log)
meta.dec()
eventlet.sleep(0)
print(log)
show("below zero", meta.dec)

# hubs
hub = hubs.get_hub()
print(hub is hubs.get_hub(), hub.READ, hub.WRITE, hub.greenlet is eventlet.getcurrent())
log.clear()
timer = hub.schedule_call_global(0.01, log.append, "global")
print(timer.pending, hub.get_timers_count() > 0)
cancelled = hub.schedule_call_global(0.01, log.append, "cancelled")
cancelled.cancel()
print(cancelled.pending)
eventlet.sleep(0.02)
print(log, timer.pending)

def short_lived() -> None:
    hub.schedule_call_local(0.01, log.append, "local of the dead")

eventlet.spawn(short_lived).wait()
hub.schedule_call_local(0.01, log.append, "local")
eventlet.sleep(0.02)
print(log)
me = eventlet.getcurrent()
hub.schedule_call_global(0, me.switch, "passed")
show("switch", hub.switch)
hub.schedule_call_global(0, me.switch)
show("switch with nothing", hub.switch)
hub.schedule_call_global(0, me.throw, KeyError)
show("switch with an error", hub.switch)
hub.schedule_call_global(0, lambda: show("sleep(0) in the hub", eventlet.sleep, 0))
hub.schedule_call_global(0, lambda: show("sleep in the hub", eventlet.sleep, 1))
eventlet.sleep(0)
with quiet() as out:
    hub.schedule_call_global(0, int, "x")
    eventlet.sleep(0)
print("printed", out.getvalue().count("ValueError"))
for name in (None, "poll", "selects", "epolls"):
    show(f"use_hub {name}", hubs.use_hub, name)
print(isinstance(hubs.HubError(), Exception), issubclass(hubs.IOClosed, OSError))
