"""Event, the value that is sent once."""

from typing import Any

import eventlet
from eventlet import event
from show import quiet, show

log: list[Any] = []


def wait_for(evt: Any, name: str = "") -> None:
    try:
        log.append((name, evt.wait()))
    except BaseException as error:
        log.append((name, type(error).__name__, error.args))


def state(evt: Any) -> None:
    show("ready", evt.ready)
    show("has_result", evt.has_result)
    show("has_exception", evt.has_exception)
    show("poll", evt.poll, "notready")
    show("poll_result", evt.poll_result, "notready")
    show("poll_exception", evt.poll_exception, "notready")


evt = eventlet.Event()
state(evt)
show("reset a fresh one", evt.reset)
show("wait with a timeout", evt.wait, 0.01)
show("wait without time", evt.wait, timeout=0)
for name in "abc":
    eventlet.spawn(wait_for, evt, name)
eventlet.sleep(0)
show("send", evt.send, "value")
print("nobody ran yet", log)
eventlet.sleep(0)
print("all ran", sorted(log))
state(evt)
show("wait after", evt.wait)
show("send again", evt.send, 1)
show("wait still", evt.wait)
show("reset", evt.reset)
state(evt)
show("send the second", evt.send)
show("wait the second", evt.wait)

# exceptions
for exc in (ValueError("x"), ValueError, (ValueError, "y"), (ValueError, ValueError("z"), None)):
    log.clear()
    evt = event.Event()
    waiter = eventlet.spawn(wait_for, evt)
    eventlet.sleep(0)
    show("send exc", evt.send, exc=exc)
    waiter.wait()
    print(log)
    show("wait", evt.wait)
    show("wait again", evt.wait)
    print(evt.ready(), evt.has_result(), evt.has_exception())
evt = event.Event()
evt.send_exception(KeyError, KeyError("k"), None)
show("send_exception", evt.wait)
evt.reset()
evt.send_exception(KeyError)
show("send_exception of a class", evt.wait)
show("poll raises", evt.poll)
show("poll_exception raises", evt.poll_exception)
show("poll_result", evt.poll_result, 5)

# what was sent before a reset reaches those who waited then
log.clear()
evt = event.Event()
eventlet.spawn(wait_for, evt, "early")
eventlet.sleep(0)
evt.send(1)
evt.reset()
evt.send(2)
eventlet.sleep(0)
print(log)

# a killed or timed out waiter is forgotten
log.clear()
evt = event.Event()
with quiet():
    gone = eventlet.spawn(wait_for, evt, "gone")
    eventlet.sleep(0)
    gone.kill()
evt.send(3)
eventlet.sleep(0)
print(log)


def late() -> None:
    eventlet.sleep(0.01)
    evt.send("late")


evt = event.Event()
eventlet.spawn(late)
show("in time", evt.wait, 5)
show("None can be sent", event.Event().send, None)
show("NOT_USED", repr, event.NOT_USED)
