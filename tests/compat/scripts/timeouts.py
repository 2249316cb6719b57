"""Timeout, with_timeout, is_timeout."""

import socket
from typing import Any

import eventlet
from eventlet import timeout as module
from eventlet.timeout import Timeout, is_timeout, with_timeout, wrap_is_timeout
from show import show

print(issubclass(Timeout, BaseException), issubclass(Timeout, Exception))


def expire(*args: Any) -> str:
    with Timeout(*args):
        eventlet.sleep(5)
    return "left silently"


show("plain", expire, 0.01)
show("None", expire, 0.01, None)
show("True", expire, 0.01, True)
show("False", expire, 0.01, False)
show("class", expire, 0.01, KeyError)
show("instance", expire, 0.01, KeyError("x"))
show("zero", expire, 0)
show("negative", expire, -1)

# which one it is
outer = Timeout(0.02)
try:
    with Timeout(5):
        eventlet.sleep(5)
except Timeout as error:
    print("outer", error is outer, error.pending)
finally:
    outer.cancel()
instance = ValueError("mine")
try:
    with Timeout(0.01, instance):
        eventlet.sleep(5)
except ValueError as error:
    print("instance", error is instance)

# an inner silent one lets the outer one through
outer = Timeout(0.01)
try:
    with Timeout(5, False):
        eventlet.sleep(5)
    print("not reached")
except Timeout as error:
    print("outer through silent", error is outer)

# it runs from its construction, and may be started again
one = Timeout(5)
print(one.pending)
show("start a running one", one.start)
one.cancel()
print(one.pending)
one.cancel()
one.start()
print(one.pending)
one.cancel()
with one:
    print("again", one.pending)
print(one.pending)
never = Timeout()
print("never", never.pending)
with never:
    eventlet.sleep(0)
show("start of None", never.start)

for args in ((), (1,), (2,), (2.5,), (3, KeyError), (3, False), (3, True)):
    each = Timeout(*args)
    print(repr(str(each)), each.seconds, each.exception)
    each.cancel()

# a timeout in another greenthread stays there
def work() -> str:
    try:
        with Timeout(0.01):
            eventlet.sleep(5)
    except Timeout:
        return "timed out"
    return "done"

worker = eventlet.spawn(work)
show("worker", worker.wait)

# with_timeout
show("in time", with_timeout, 5, lambda x: x + 1, 1)
show("late", with_timeout, 0.01, eventlet.sleep, 5)
show("late with a value", with_timeout, 0.01, eventlet.sleep, 5, timeout_value="value")
show("late with None", with_timeout, 0.01, eventlet.sleep, 5, timeout_value=None)
show("keywords", with_timeout, 5, dict, a=1)
show("its own error", with_timeout, 5, int, "x", timeout_value=1)


def inner_timeout() -> None:
    with Timeout(0.01):
        eventlet.sleep(5)


show("somebody else's timeout", with_timeout, 5, inner_timeout, timeout_value="not this")
show("nested", with_timeout, 0.01, with_timeout, 5, eventlet.sleep, 5, timeout_value="outer or inner")

# is_timeout
class Mine(Exception):
    pass

class Marked(Exception):
    is_timeout = True

for thing in (Timeout(), TimeoutError(), socket.timeout(), Marked(), Mine(), None, KeyError("timeout")):
    print(type(thing).__name__, is_timeout(thing))
wrapped = wrap_is_timeout(Mine)
print(wrapped is Mine, is_timeout(Mine()), Mine().is_timeout)
maker = wrap_is_timeout(lambda: ValueError())
print(is_timeout(maker()), type(maker()).__name__)
print(eventlet.Timeout is Timeout, module.Timeout is Timeout)
print(eventlet.is_timeout is is_timeout, eventlet.with_timeout is with_timeout)
