"""The loop: run queue, timers, poll; switch and wake; calls from other threads; Ctrl-C; fork; deadlock.

One hub an OS thread, one greenlet a hub. A greenthread that waits registers itself somewhere (a side of a descriptor,
a wait queue, a timer) and switches to the loop; whoever ends the wait queues it, and the loop switches back to it.

A wake-up is a hint, the condition is the truth
    Facts: a greenthread may be queued to run and be killed, or time out, before its turn comes; then it moves on to
    another wait while its old entry is still in the queue. Failure: the stale entry ends the new wait. Choice: every
    wait in greenprobe loops until its own condition holds, so a wake-up too many costs a turn and nothing else.
    Price: one comparison a wait. What a user waits for in a plain `greenlet.switch()` has no condition, so a wait that
    was queued twice, or queued and left by an exception, takes its entries out of the queue (`forget`); it is rare.

Failures
    What a greenlet dies of, or a callback raises, is reported (`on_error`), and the loop goes on. What the loop itself
    fails with (a closed epoll set, a broken clock) would come again every turn, without end: it goes to the main
    greenthread, as what a signal handler raises does.

Other threads
    Appending to the run queue is atomic, so any thread may wake any greenthread: append it, then look whether the hub
    sleeps. The hub says `asleep` first and looks at the queue a last time afterwards; the other thread appends first
    and looks at `asleep` afterwards. One of the two sees the other (the GIL makes the order total). The wake-up is
    one write to an eventfd, which is edge-triggered and so never read; it clears `asleep`, so a burst writes once.

Fairness
    A turn runs who is queued, then the timers, then polls. Who queues itself again waits for the others. Up to HOPS
    switches, and half as many, may pass between two polls, so that a lone `sleep(0)` does not pay a system call each.
    Who computes in between makes that long: after a turn of more than `slice` seconds the next one has only as many as
    should fit; and in a turn that has lasted so long `sleep(0)` waits for a timer that is due now, and so for the next.
    Who parks may poll in the middle of a turn: from then on, time counts anew from the first `sleep(0)`.

Ctrl-C
    KeyboardInterrupt at an arbitrary instruction would tear the loop, a lock, or another greenthread's work. Once the
    hub of the main thread runs, SIGINT therefore only notes that it came, and the main greenthread gets it at its
    next switch. A second one that arrives before that is raised at once, where the program stands: it is stuck there.
    A SIGINT handler that is not Python's own is left alone.

Deadlock
    Nothing queued, no timer, no descriptor waited for, no other thread and no signal handler that could wake us: such
    a wait can never end. The main greenthread gets DeadlockError, which says who waits where. Looking at every slot
    is not free, so it is done after IDLE_CHECK seconds of silence, once for each silence; only threads, which may end
    without a word, are counted again.

Fork
    The child goes on with the greenthread that forked, and with its timeouts, on a hub of its own. The old hub is a
    grave: what else is queued, registered or scheduled there, by parked greenthreads and by locks that remember them,
    never runs in the child.
"""

import os
import sys
from _thread import _count as count_other_threads, _local, get_ident
from collections import deque
from collections.abc import Callable
from os import close, write
from time import monotonic
from typing import Any, Final
from weakref import WeakSet

from greenlet import GreenletExit, getcurrent, greenlet

from greenprobe.errors import DeadlockError, HubError
from greenprobe.hops import FOREVER, LONGEST_POLL, MAX_EVENTS, NEVER
from greenprobe.poller import Poller
from greenprobe.process import (
    Interrupts,
    exit_status,
    flush_and_exit,
    has_interrupts,
    has_signal_handlers,
    in_main_thread,
    report,
)
from greenprobe.runqueue import Call, IdlePolicy, Refusal, RunQueue
from greenprobe.timers import Timers
from greenprobe.waits import DescriptorWaits
from greenprobe.whereabouts import describe, root_of

__all__ = ["Hub", "get_hub"]

HOPS: Final = 64  # direct switches a turn, at most; a poll costs about as much as ten
IDLE_CHECK: Final = 0.05  # seconds of silence before looking for a deadlock
THREAD_CHECK: Final = 1.0  # seconds between looks whether the threads that might wake us still live
ONE: Final = (1).to_bytes(8, sys.byteorder)  # what an eventfd is written


class Hub(DescriptorWaits):
    """The scheduler of one OS thread. Users get it from `get_hub()`; they never make one.

    `ready` is the run queue, `clock` returns seconds (monotonic), `timers` holds the deadlines, `poller` the
    descriptors. `main` is the main greenthread of the thread, `loop` the greenlet that runs everybody else.
    `expected` counts wake-ups that will certainly come from outside, such as the thread pool's: while there are any,
    nothing is a deadlock. `overdue` counts scopes that are over while their greenthread is still inside, and
    `check_overdue` is called at each switch while there are any (see `timeout.py`).
    """

    helper_threads = 0  # OS threads of greenprobe's own, which wake nobody unasked

    def __init__(self, main: greenlet | None = None) -> None:
        self.ready: RunQueue = deque()
        self.clock: Callable[[], float] = monotonic
        self.timers = Timers()
        self.poller = Poller(self.ready.append)
        self.main = main if main is not None else root_of(getcurrent())
        self.loop = greenlet(self._run, root_of(self.main))
        self._home: Any = self.loop  # or who refuses in its place
        self.thread_id = get_ident()
        self.asleep = False
        self.closed = False
        self.buried = False  # this process is a child that was forked since
        self.expected = 0
        self.overdue = 0
        self.check_overdue: Callable[[], None] = nothing
        self.idle_policy: IdlePolicy | None = None
        self.on_error: Callable[[BaseException], object] = report
        self.resting: list[Any] = []  # greenthreads that wait for another function, see `bare_greenthread.py`
        self.slice = 0.01
        self._hops = 0
        self._most_hops = HOPS  # in the next turn
        self._calls: deque[Call] = deque()  # met by those who hopped, left to the loop
        self._failure: BaseException | None = None  # what a signal handler raised in a poll outside the loop
        self._idle_patience = IDLE_CHECK  # how long to poll when there is no timer
        self._interrupts = Interrupts(self.call_threadsafe, self._interrupt)
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.poller.watch(self._bell)
        _hubs.add(self)

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{len(self.ready)} ready, {len(self.timers)} timers"
        return f"<Hub of thread {self.thread_id}: {state}, {len(self.poller.slots)} descriptors>"

    @property
    def slice(self) -> float:
        """Seconds of a turn, after which who yields lets the hub look at its timers and descriptors."""
        return self._slice

    @slice.setter
    def slice(self, seconds: float) -> None:
        self._slice = seconds
        self._slice_end = NEVER  # the turn that runs counts by it, too

    # -- switch and wake

    def switch(self) -> object:
        """Park the current greenthread until somebody schedules it.

        Wake-ups may be spurious: call this in a loop over the condition waited for. Raises what is thrown in: a kill,
        a timeout, the end of a scope.
        """
        return self.successor().switch()

    def schedule(self, green: Any) -> None:
        """Queue a parked greenlet to run. Any OS thread may call this; queueing one twice does no harm."""
        self.ready.append(green)
        if self.asleep:
            self.ring()

    def call_threadsafe(self, function: Callable[..., Any], *args: Any) -> None:
        """Have the loop call `function(*args)`, which must not wait. Any OS thread may call this."""
        self.schedule(Call(function, args))

    def interject(self, function: Callable[..., Any], *args: Any) -> None:
        """Have the loop call `function(*args)` before anybody who is queued runs; for signal handlers."""
        if self.asleep:
            self.call_threadsafe(function, *args)
        else:
            self._calls.append(Call(function, args))
            self._hops = min(self._hops, 1)  # not 0: a handler may run between the test of it and the decrement

    def in_greenthread(self) -> bool:
        """Tell whether the caller may wait: it is not a callback of the loop."""
        return getcurrent() is not self.loop

    def ring(self) -> None:
        """End the poll of a hub that is `asleep`, from another OS thread or a signal handler."""
        self.asleep = False
        try:
            write(self._bell, ONE)
        except OSError:
            pass  # closed: nobody is left to be woken

    def sleep(self, seconds: float = 0) -> None:
        """Let others run for `seconds`; 0 is one turn of the run queue.

        Raises ValueError for a negative time or NaN, HubError in the loop itself.
        """
        if not seconds >= 0:
            raise ValueError(f"cannot sleep for {seconds!r} s; give 0 or more")
        now = self.clock()
        if self._slice_end == NEVER:
            self._slice_end = now + self._slice
        if seconds or now > self._slice_end:
            self.sleep_until(now + seconds)
            return
        me = getcurrent()
        if me is self.loop:
            raise HubError("a callback of the hub cannot sleep; spawn a greenthread for what takes time")
        self.ready.append(me)
        try:
            self.successor().switch()
        except BaseException:
            self.forget(me)
            raise

    def give_way(self) -> None:
        """Let the loop have a turn, whatever scope of the current greenthread is over."""
        me = getcurrent()
        self.ready.append(me)
        try:
            self._home.switch()
        finally:
            self.forget(me)

    def sleep_until(self, deadline: float) -> None:
        """Let others run until `deadline` (absolute, in the hub's clock)."""
        me = getcurrent()
        if me is self.loop:
            raise HubError("a callback of the hub cannot sleep; spawn a greenthread for what takes time")
        timer = self.timers.add(deadline, self.schedule, me)
        try:
            while timer.callback is not None:
                self.successor().switch()
        except BaseException:
            if timer.callback is None:
                self.forget(me)
            timer.cancel()
            raise

    def forget(self, green: greenlet) -> None:
        """Take a greenlet whose wait is over, though it may have been queued once more, out of the run queue."""
        try:
            while True:
                self.ready.remove(green)
        except ValueError:
            pass  # no more of them

    # -- the loop

    def _run(self, *_: object) -> None:
        self.catch_interrupts()
        while not self.closed:
            try:
                self._turns()
            except BaseException as error:
                self.asleep = False
                if not self.closed:
                    self._throw_to_main(error)

    def _turns(self) -> None:
        """Turn until the hub is closed. What comes out of here is no greenthread's failure but the loop's own."""
        while not self.closed:
            self._drain()
            patience = self._patience()
            if not patience:
                self._fire_timers()
            if self._calls:
                self._run_calls()
            if self._failure is not None:
                self._raise_failure()
            self._poll(patience)

    def _drain(self) -> None:
        """Run who is queued now, once each; a few more if they are few."""
        ready = self.ready
        most = self._hops = self._most_hops
        budget = max(len(ready), most // 2)
        self._slice_end = self.clock() + self._slice
        while budget and ready:
            budget -= 1
            item = ready.popleft()
            try:
                item.switch()
            except BaseException as error:
                self._caught(error)
            if self._calls:
                self._run_calls()
        late = self.clock() - self._slice_end
        self._most_hops = min(HOPS, most * 2) if late <= 0 else max(1, int(most * self._slice / (self._slice + late)))

    def _poll(self, patience: float) -> None:
        """Wait up to `patience` seconds for an edge, and not at all if somebody can run."""
        ready = self.ready
        if self.idle_policy is not None and not ready and not self._calls:
            patience = self.idle_policy.patience(patience)
        self.asleep = True
        events = self.poller.poll(0 if ready or self._calls else patience, MAX_EVENTS)
        self.asleep = False
        if events:
            self.poller.mark(events)
        elif not ready and not self._calls:
            self._silence()
            return
        self._idle_patience = IDLE_CHECK

    def _run_calls(self) -> None:
        # Who hopped came back because of a call: it is due before the rest of the queue.
        while self._calls:
            call = self._calls.popleft()
            try:
                call.switch()
            except BaseException as error:
                self._caught(error)

    def _raise_failure(self) -> None:
        error, self._failure = self._failure, None
        if error is not None:
            raise error

    def _patience(self) -> float:
        """Return how long a poll may take; 0 if a timer is due."""
        heap = self.timers.heap
        if not heap:
            return self._idle_patience
        return min(max(heap[0][0] - self.clock(), 0.0), LONGEST_POLL)

    def _fire_timers(self) -> None:
        """Fire what is due now; what becomes due meanwhile waits for the next turn."""
        now = self.clock()
        for _ in range(len(self.timers.heap)):
            try:
                if not self.timers.fire_next(now):
                    break
            except BaseException as error:
                self._caught(error)

    def _silence(self) -> None:
        """Nobody can run and no descriptor stirred: see whether anybody ever will."""
        if self.idle_policy is not None and self.idle_policy.idle():
            return
        if self.timers.next_deadline() is not None:
            return
        if self.expected or self.poller.has_waiters():
            self._idle_patience = FOREVER
            return
        if self._may_be_woken_from_outside():
            self._idle_patience = THREAD_CHECK
            return
        if self.main.dead:
            flush_and_exit(exit_status(getattr(self.main, "exception", None)))
        self.main.throw(DeadlockError("nobody can ever wake these:\n" + describe(self.loop)))

    def _may_be_woken_from_outside(self) -> bool:
        if count_other_threads() > Hub.helper_threads or not in_main_thread():
            return True
        return not self.main.dead and has_signal_handlers()

    def _throw_to_main(self, error: BaseException) -> None:
        if self.main.dead:  # a forked child whose first greenthread has ended: nobody is left to tell
            flush_and_exit(exit_status(error))
        self.main.throw(error)

    def _caught(self, error: BaseException) -> None:
        """Deal with what a greenlet died of, or a callback raised."""
        if self.closed:
            raise error
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            self._throw_to_main(error)
        else:
            self.on_error(error)

    def _interrupt(self) -> None:
        self.main.throw(KeyboardInterrupt)

    def catch_interrupts(self) -> None:
        """Make Ctrl-C wait for a switch of the main greenthread, if this is the main thread; see the top."""
        self._interrupts.install()

    # -- configuration and end

    def set_order(self, queue: RunQueue) -> None:
        """Run ready greenthreads in the order of `queue` from the next turn on; who is queued moves over."""
        if not isinstance(queue, RunQueue):
            raise TypeError(f"a run queue {queue!r}; give a deque, or what has its append, popleft and remove")
        while self.ready:
            queue.append(self.ready.popleft())
        self.ready = queue
        self.poller.wake = queue.append

    def close(self) -> None:
        """Close the epoll set and the eventfd, and end the loop. Parked greenthreads stay parked for ever."""
        if self.closed:
            return
        self._interrupts.uninstall()
        self.release()
        if getcurrent() is self.loop.parent and self.loop.gr_frame is not None:
            self.loop.throw(GreenletExit)  # it must not turn once more: there is nothing left to poll
        self._home = Refusal(HubError, "the hub of this thread is closed; nobody would ever end this wait")

    def release(self) -> None:
        """Give back the descriptors; the hub is of no use afterwards."""
        self.closed = True
        self._hops = 0
        self.resting.clear()  # each ends by that
        self.poller.shut()
        bell, self._bell = self._bell, -1  # another thread may be about to ring, and the number be somebody else's then
        close(bell)
        _hubs.discard(self)

    def _inherit(self, old: "Hub", branch: greenlet) -> None:
        """Take over, in a forked child, what is due for the greenlet that forked and for its parents up to `branch`."""
        lineage = [green := getcurrent()]
        while green is not branch and green.parent is not None:
            lineage.append(green := green.parent)
        if old.clock is self.clock:
            old.timers.move_to(self.timers, lambda timer: any(green in timer.args for green in lineage))
        self.overdue, self.check_overdue = old.overdue, old.check_overdue

    def bury(self) -> None:
        """In a forked child: whatever still refers to this hub may do so, but nothing runs here any more."""
        self.release()
        self.buried = True
        self._home = Refusal(HubError, "this wait began before a fork; start it again in the child")


# -- one hub a thread


class Guard:
    """Closes a hub when its thread ends: thread-local values are destroyed then."""

    __slots__ = ("hub",)

    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    def __del__(self) -> None:
        if self.hub.closed:
            return
        if in_main_thread():
            self.hub.release()  # the interpreter ends: too late to run anybody
        else:
            self.hub.close()  # the loop's frames hold the hub, and the hub the loop: it must run to its end


_here = _local()
_hubs: WeakSet[Hub] = WeakSet()
_watching_forks = False


def get_hub() -> Hub:
    """Return the hub of the current OS thread, made at the first call."""
    try:
        return _here.hub  # type: ignore[no-any-return]
    except AttributeError:
        return _settle(Hub())


def _settle(hub: Hub) -> Hub:
    global _watching_forks
    _here.hub = hub
    _here.guard = Guard(hub)
    if not _watching_forks:
        _watching_forks = True
        os.register_at_fork(after_in_parent=_doubt_descriptions, after_in_child=_start_over)
    return hub


def _doubt_descriptions() -> None:
    for hub in list(_hubs):
        hub.poller.explicit = True


def _start_over() -> None:
    """Give the only thread of a forked child a hub of its own."""
    old: Hub | None = getattr(_here, "hub", None)
    for hub in list(_hubs):
        hub.bury()
    Hub.helper_threads = count_other_threads()  # which is not counted anew: they live in the parent only
    if old is None:
        return
    branch = getcurrent()
    while branch.parent is not None and branch.parent is not old.loop:
        branch = branch.parent
    hub = _settle(Hub(main=branch))
    hub.poller.explicit = True
    hub._inherit(old, branch)
    if has_interrupts():
        hub.catch_interrupts()
    if branch.parent is old.loop:
        branch.parent = hub.loop
        hub.ready.append(getcurrent())
        hub.loop.switch()  # it must have begun, or the end of `branch` goes past it to the parent's main greenthread


def nothing() -> None:
    """Do nothing."""
