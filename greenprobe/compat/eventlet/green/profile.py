"""profile, aware of greenthreads: each has a stack of its own, and time that others use is not charged to it.

The standard library's profiler keeps one stack beside the interpreter's, which a switch tears. Here a stack is kept
for each greenlet, and exchanged at the first event after a switch. What a greenlet does in functions that were called
before the profile began is left out.
"""

import profile as stdlib
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

from greenlet import getcurrent, greenlet

from greenprobe.compat.eventlet.green.private import contents, loaded

ENDS = frozenset({"return", "exception", "c_return", "c_exception"})


class Profile(stdlib.Profile):
    """`profile.Profile`, with a stack for each greenlet."""

    cur: Any
    dispatcher: Any
    fake_frame: Any
    get_time: Any

    def __init__(self, timer: Any = None, bias: int | None = None) -> None:
        super().__init__(timer, bias)
        self._green = getcurrent()
        self._stacks: WeakKeyDictionary[greenlet, Any] = WeakKeyDictionary()
        self._dispatch_here = self.dispatcher
        self.dispatcher = self._dispatch

    def _dispatch(self, frame: FrameType, event: str, arg: Any) -> None:
        green = getcurrent()
        if green is not self._green:
            self._change_to(green)
        if event in ENDS and isinstance(self.cur[-2], self.fake_frame):
            self.t = self.get_time()  # of a function that was called before the profile began
        else:
            self._dispatch_here(frame, event, arg)

    def _change_to(self, green: greenlet) -> None:
        self._stacks[self._green] = self.cur
        self._green = green
        self.cur = self._stacks.pop(green, None)
        if self.cur is None:
            self.simulate_call("greenthread")

    def simulate_cmd_complete(self) -> None:
        """Close the stacks of all greenlets: the profile is over."""
        super().simulate_cmd_complete()
        mine = self.cur
        for stack in list(self._stacks.values()):
            self.cur = stack
            super().simulate_cmd_complete()
        self._stacks.clear()
        self.cur = mine


copy: Any = loaded("profile")
copy.Profile = Profile  # what its run() and runctx() make
globals().update(contents(copy))
