"""asyncio and greenthreads in one OS thread: a coroutine awaits a greenthread, a greenthread waits for a coroutine.

An asyncio loop over green polling parks its greenthread where it would block the thread, so it is one greenthread among
others, and there may be several.

| who | wants | calls |
| --- | --- | --- |
| a greenthread | a coroutine's result, on a loop that lives as long | `run(coroutine)`, in place of `asyncio.run` |
| a greenthread | a coroutine's result, on a loop that all share | `wait(awaitable)` |
| a greenthread | something of a loop that runs elsewhere | `wait(awaitable, loop=loop)` |
| a coroutine | blocking green code | `await to_greenthread(function, *args)` |
| a coroutine | a greenthread, an AsyncResult, a thread pool's job | `await as_future(outcome)` |

Ends cross over as what the other side calls them. An exception is raised on the other side as it is. A greenthread that
is killed while it waits for a coroutine cancels it; one that waits for a cancelled one gets `asyncio.CancelledError`. A
coroutine that is cancelled while it awaits a greenthread kills it; one that awaits a killed one is cancelled. Context
variables go along as to any child: the other side sees them, and what it sets stays there.
"""

import asyncio
import atexit
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from greenlet import GreenletExit

from greenprobe.green_selectors import DefaultSelector
from greenprobe.greenthread import GreenThread, spawn
from greenprobe.hub import Hub, get_hub
from greenprobe.outcome import AsyncResult, Outcome
from greenprobe.running_loop import keep_running_loops_apart
from greenprobe.threadpool import Job
from greenprobe.timeout import CancelScope

__all__ = ["as_future", "background_loop", "new_event_loop", "run", "stop_background_loop", "to_greenthread", "wait"]

P = ParamSpec("P")
T = TypeVar("T")
Loop = asyncio.AbstractEventLoop


# -- loops


def new_event_loop() -> Loop:
    """Return an asyncio loop that parks its greenthread where it would block the thread.

    For `asyncio.Runner(loop_factory=aio.new_event_loop)`; in a patched process `asyncio.new_event_loop` does the same.
    """
    keep_running_loops_apart()
    return asyncio.SelectorEventLoop(DefaultSelector())


def run(main: Coroutine[Any, Any, T], *, debug: bool | None = None) -> T:
    """Run a coroutine on a new loop in this greenthread, and return its result; others go on. See `asyncio.run`.

    When this greenthread is killed, or its scope ends, all tasks of the loop are cancelled; it leaves when they have.
    """
    get_hub().catch_interrupts()  # before asyncio takes SIGINT for itself
    runner = asyncio.Runner(debug=debug, loop_factory=new_event_loop)
    try:
        return runner.run(main)
    finally:
        close(runner)


def close(runner: asyncio.Runner) -> None:
    """Cancel all tasks, wait for their ends, and close the loop."""
    with CancelScope(shield=True):  # the tasks have a right to their `finally` blocks
        runner.close()


class Background:
    """A loop in a greenthread of its own, until it is told to stop."""

    __slots__ = ("green", "loop", "runner")

    def __init__(self) -> None:
        self.runner = asyncio.Runner(loop_factory=new_event_loop)
        self.loop = self.runner.get_loop()
        self.green = spawn(self.serve)
        self.green.name = "greenprobe.aio background loop"

    def serve(self) -> None:
        """Run the loop, in the greenthread."""
        try:
            self.loop.run_forever()
        finally:
            close(self.runner)

    def stop(self) -> None:
        """End it: cancel its tasks and wait for them."""
        if not self.green.ready():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.green.join()


_background: "WeakKeyDictionary[Hub, Background]" = WeakKeyDictionary()


def background_loop() -> Loop:
    """Return the loop that `wait` uses in this OS thread. The first call starts it, in a greenthread of its own.

    It goes on with what its coroutines started in the background, until `stop_background_loop()` or the program's end.
    """
    hub = get_hub()
    background = _background.get(hub)
    if background is None or background.green.ready():
        if not _background:
            atexit.register(stop_background_loop)
        background = _background[hub] = Background()
    return background.loop


def stop_background_loop() -> None:
    """End the loop that `wait` uses in this OS thread, if there is one: its tasks are cancelled, and awaited."""
    background = _background.pop(get_hub(), None)
    if background is not None:
        background.stop()


# -- a greenthread waits for a coroutine


class Crossing(Generic[T]):
    """A coroutine on its way to another greenthread's loop, and its result on the way back."""

    __slots__ = ("abandoned", "awaitable", "future", "outcome")

    def __init__(self, awaitable: Awaitable[T]) -> None:
        self.awaitable = awaitable
        self.outcome: AsyncResult[T] = AsyncResult()
        self.future: asyncio.Future[T] | None = None
        self.abandoned = False

    def start(self, loop: Loop) -> None:
        """Begin to await. Called by the loop, in a copy of the waiting greenthread's context."""
        if asyncio.isfuture(self.awaitable):
            self.future = self.awaitable
        else:
            self.future = loop.create_task(as_coroutine(self.awaitable))
        self.future.add_done_callback(self.finish)

    def finish(self, future: "asyncio.Future[T]") -> None:
        """Bring the result home. Called by the loop."""
        if future.cancelled():
            self.outcome.set_exception(asyncio.CancelledError())
        elif (error := future.exception()) is None:
            self.outcome.set(future.result())
        else:
            self.outcome.set_exception(error)
            if self.abandoned:
                report = {"message": "the greenthread that waited for this has left", "exception": error}
                future.get_loop().call_exception_handler({**report, "future": future})

    def cancel(self) -> None:
        """Cancel what nobody waits for any more. Called by the loop."""
        self.abandoned = True
        if self.future is not None:
            self.future.cancel()


async def as_coroutine(awaitable: Awaitable[T]) -> T:
    """Await anything that can be awaited."""
    return await awaitable


def wait(awaitable: Awaitable[T], timeout: float | None = None, *, loop: Loop | None = None) -> T:
    """Have `loop` await a coroutine, task or future, and wait in this greenthread for the result.

    `loop` runs in another greenthread or OS thread; None means `background_loop()`. Raises what the coroutine raises,
    CancelledError if it is cancelled, TimeoutError after `timeout` seconds. A wait that ends early, by that, a kill or
    a scope, cancels the coroutine and does not wait for its `finally` blocks. Raises RuntimeError in a coroutine or a
    callback of the same loop, which would wait for itself.
    """
    crossing = Crossing(awaitable)
    try:
        loop = loop if loop is not None else background_loop()
        if asyncio._get_running_loop() is loop:
            raise RuntimeError("a coroutine's own loop cannot run while the coroutine waits for it; write `await`")
        loop.call_soon_threadsafe(crossing.start, loop)
    except BaseException:
        if asyncio.iscoroutine(awaitable):
            awaitable.close()
        raise
    try:
        return crossing.outcome.wait(timeout)
    except BaseException:
        if not (crossing.outcome.ready() or loop.is_closed()):
            loop.call_soon_threadsafe(crossing.cancel)
        raise


# -- a coroutine awaits a greenthread


async def to_greenthread(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `function(*args, **kwargs)` in a new greenthread and await its result; it may block, greenly.

    When the coroutine is cancelled the greenthread is killed, and awaited: it never outlives this call.
    """
    green = spawn(function, *args, **kwargs)
    try:
        result: T = await as_future(green)
    except asyncio.CancelledError:
        if not green.ready():
            ended = asyncio.get_running_loop().create_future()
            green.link(partial(tell, ended.get_loop(), partial(set_once, ended)))
            await ended
        raise
    return result


def as_future(outcome: Outcome[T]) -> "asyncio.Future[T]":
    """Return a future of the running loop for a greenthread, an AsyncResult, a job; `asyncio.gather` takes it, too.

    When it is cancelled a greenthread is killed, and a job that has not begun is taken back; `asyncio.shield` keeps
    that off. When the greenthread is killed it is cancelled.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    link = partial(tell, loop, partial(settle, future, outcome))
    future.add_done_callback(partial(give_up, outcome, link))
    outcome.link(link)
    return future


def tell(loop: Loop, function: Callable[[], object], _: Outcome[Any]) -> None:
    """Have the loop call `function`, if it still runs. Called by the hub."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(function)


def set_once(future: "asyncio.Future[None]") -> None:
    """Set a future that means no more than that something has happened."""
    if not future.done():
        future.set_result(None)


def settle(future: "asyncio.Future[T]", outcome: Outcome[T]) -> None:
    """Give a future the outcome. Called by the loop."""
    error = outcome.exception
    if future.done():
        return
    if outcome.successful():
        future.set_result(outcome.wait())
    elif isinstance(error, GreenletExit | asyncio.CancelledError):
        future.cancel()
    elif isinstance(error, StopIteration):  # which no future takes, as a coroutine ends by it
        stopped = RuntimeError(f"{outcome!r} raised StopIteration")
        stopped.__cause__ = error
        future.set_exception(stopped)
    elif error is not None:
        future.set_exception(error)


def give_up(outcome: Outcome[Any], link: Callable[..., object], future: "asyncio.Future[Any]") -> None:
    """End what nobody awaits any more. Called by the loop when the future is done."""
    if not future.cancelled() or outcome.ready():
        return
    if isinstance(outcome, GreenThread):
        outcome.kill()
    elif isinstance(outcome, Job):
        outcome.cancel()
    else:
        outcome.unlink(link)
