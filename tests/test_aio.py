"""The bridge between coroutines and greenthreads: results, exceptions, cancellation, context, both ways."""

import asyncio
import signal
from collections.abc import Awaitable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest
from core_tools import run_python, turns
from greenlet import GreenletExit
from patched import run as run_patched

from greenprobe import aio
from greenprobe.greenthread import GreenThread, sleep, spawn
from greenprobe.outcome import AsyncResult
from greenprobe.sync import Event
from greenprobe.threadpool import ThreadPool, run_in_thread
from greenprobe.timeout import Timeout, move_on_after

name: ContextVar[str] = ContextVar("name", default="nobody")


@pytest.fixture(autouse=True)
def _no_loop_left() -> Iterator[None]:
    yield
    aio.stop_background_loop()


class Trouble(Exception):
    """What a test raises."""


async def fail() -> None:
    """Raise."""
    await asyncio.sleep(0)
    raise Trouble("deep")


# -- loops in greenthreads


def test_a_coroutine_runs_beside_greenthreads() -> None:
    opened = Event()
    order = []

    async def wait_for_the_other() -> str:
        order.append("coroutine")
        while not opened.is_set():
            await asyncio.sleep(0.001)
        return "done"

    def other() -> None:
        order.append("greenthread")
        opened.set()

    spawn(other)
    assert aio.run(wait_for_the_other()) == "done"
    assert sorted(order) == ["coroutine", "greenthread"]


def test_what_a_coroutine_raises_comes_out_of_run() -> None:
    with pytest.raises(Trouble, match="deep"):
        aio.run(fail())


def test_loops_run_side_by_side_and_sleep_in_the_hub_s_time(clock: Any) -> None:
    async def doze(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    assert [each.wait() for each in [spawn(aio.run, doze(0.001 * n)) for n in range(3)]] == [0, 0.001, 0.002]


def test_killing_the_greenthread_of_a_loop_cancels_its_tasks_and_lets_them_finish() -> None:
    said = []
    began = Event()

    async def stubborn() -> None:
        began.set()
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.001)
            said.append("cleaned up")

    green = spawn(aio.run, stubborn())
    assert began.wait(30)
    green.kill()
    with pytest.raises(GreenletExit):
        green.wait(30)
    assert said == ["cleaned up"]


def test_a_scope_that_is_over_lets_tasks_finish() -> None:
    said = []

    async def stubborn() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.001)
            said.append("cleaned up")

    with move_on_after(0.01) as scope:
        aio.run(stubborn())
    assert scope.cancelled_caught
    assert said == ["cleaned up"]


# -- a greenthread waits for a coroutine


def test_a_greenthread_gets_a_coroutine_s_result() -> None:
    async def answer() -> int:
        await asyncio.sleep(0.001)
        return 42

    assert aio.wait(answer()) == 42
    assert [each.wait(30) for each in [spawn(aio.wait, answer()) for _ in range(3)]] == [42] * 3


def test_what_a_coroutine_raises_comes_out_of_wait() -> None:
    with pytest.raises(Trouble, match="deep") as caught:
        aio.wait(fail())
    assert caught.traceback[-1].name == "fail"


def test_a_future_and_any_other_awaitable_can_be_waited_for() -> None:
    class Ready:
        def __await__(self) -> Any:
            yield
            return "ready"

    loop = aio.background_loop()
    future: asyncio.Future[str] = loop.create_future()
    waiter = spawn(aio.wait, future)
    turns()
    assert not waiter.ready()
    loop.call_soon_threadsafe(future.set_result, "set")
    assert waiter.wait(30) == "set"
    ready: Awaitable[str] = Ready()
    assert aio.wait(ready) == "ready"


def test_a_killed_waiter_cancels_its_coroutine() -> None:
    began, ended = Event(), AsyncResult[str]()

    async def long() -> None:
        began.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            ended.set("cancelled")
            raise

    green = spawn(aio.wait, long())
    assert began.wait(30)
    green.kill()
    with pytest.raises(GreenletExit):
        green.wait(30)
    assert ended.wait(30) == "cancelled"


def test_a_timeout_cancels_the_coroutine() -> None:
    ended = AsyncResult[str]()

    async def long() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            ended.set("cancelled")
            raise

    with pytest.raises(TimeoutError):
        aio.wait(long(), 0.001)
    assert ended.wait(30) == "cancelled"
    with pytest.raises(Timeout), Timeout(0.001):
        aio.wait(asyncio.sleep(3600))


def test_who_waits_for_a_cancelled_coroutine_is_told() -> None:
    async def give_up() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        aio.wait(give_up())


def test_what_an_abandoned_coroutine_raises_is_reported() -> None:
    began, reported = Event(), AsyncResult[Any]()

    async def careless() -> None:
        began.set()
        try:
            await asyncio.sleep(3600)
        finally:
            raise Trouble("in the end")

    aio.background_loop().set_exception_handler(lambda loop, context: reported.set(context["exception"]))
    green = spawn(aio.wait, careless())
    assert began.wait(30)
    green.kill()
    green.join(30)
    assert isinstance(reported.wait(30), Trouble)


def test_a_coroutine_that_would_wait_for_itself_is_refused() -> None:
    async def knot() -> None:
        aio.wait(asyncio.sleep(0), loop=asyncio.get_running_loop())

    with pytest.raises(RuntimeError, match="write `await`"):
        aio.run(knot())


def test_a_closed_loop_is_refused() -> None:
    loop = aio.new_event_loop()
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        aio.wait(asyncio.sleep(0), loop=loop)


def test_a_loop_of_another_os_thread_can_be_waited_for() -> None:
    with ThreadPool(1) as pool:
        made: AsyncResult[asyncio.AbstractEventLoop] = AsyncResult()

        def serve() -> None:
            loop = asyncio.new_event_loop()  # the standard library's, which blocks its thread
            made.set(loop)
            loop.run_forever()
            loop.close()

        serving = pool.submit(serve)
        loop = made.wait(30)
        assert aio.wait(asyncio.sleep(0.001, "there"), 30, loop=loop) == "there"
        loop.call_soon_threadsafe(loop.stop)
        serving.wait(30)


def test_tasks_in_the_background_go_on_and_end_with_the_loop() -> None:
    said: list[str] = []

    async def tick() -> None:
        try:
            while True:
                said.append("tick")
                await asyncio.sleep(0.0001)
        finally:
            said.append("stopped")

    async def start() -> None:
        start.task = asyncio.create_task(tick())  # type: ignore[attr-defined]

    aio.wait(start())
    while said.count("tick") < 3:
        sleep(0.0001)
    aio.stop_background_loop()
    assert said[-1] == "stopped"
    assert aio.wait(asyncio.sleep(0, "another loop")) == "another loop"


# -- a coroutine awaits a greenthread


def test_a_coroutine_awaits_blocking_green_code() -> None:
    def block(number: int, *, by: int) -> int:
        sleep(0.001)
        return number * by

    async def several() -> list[int]:
        return await asyncio.gather(*(aio.to_greenthread(block, number, by=2) for number in range(5)))

    assert aio.run(several()) == [0, 2, 4, 6, 8]


def test_what_a_greenthread_raises_is_raised_in_the_coroutine() -> None:
    def explode() -> None:
        raise Trouble("green")

    async def use() -> None:
        with pytest.raises(Trouble, match="green"):
            await aio.to_greenthread(explode)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await aio.to_greenthread(next, iter(()))

    aio.run(use())


def test_cancelling_the_coroutine_kills_the_greenthread_and_waits_for_it() -> None:
    said = []
    began = Event()

    def stubborn() -> None:
        began.set()
        try:
            sleep(3600)
        finally:
            sleep(0.001)
            said.append("cleaned up")

    async def cancel() -> None:
        task = asyncio.ensure_future(aio.to_greenthread(stubborn))
        while not began.is_set():
            await asyncio.sleep(0.0001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert said == ["cleaned up"]

    aio.run(cancel())


def test_killing_the_greenthread_cancels_who_awaits_it() -> None:
    async def use() -> None:
        green = spawn(sleep, 3600)
        future = aio.as_future(green)
        await asyncio.sleep(0)
        green.kill()
        with pytest.raises(asyncio.CancelledError):
            await future

    aio.run(use())


def test_results_and_jobs_can_be_awaited_and_a_shield_keeps_them() -> None:
    async def use() -> tuple[str, int]:
        result: AsyncResult[str] = AsyncResult()
        given_up = aio.as_future(result)
        given_up.cancel()
        spawn(result.set, "value")
        green = spawn(sleep, 0.01)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(aio.as_future(green)), 0.0001)
        await aio.as_future(green)
        pool = ThreadPool(1)
        number = await aio.as_future(pool.submit(int, "7"))
        pool.shutdown(wait=False)
        return await aio.as_future(result), number

    assert aio.run(use()) == ("value", 7)
    assert run_in_thread(int, "7") == 7


def test_a_greenthread_of_another_thread_s_hub_can_be_awaited() -> None:
    async def use() -> str:
        result: AsyncResult[str] = AsyncResult()
        with ThreadPool(1) as pool:
            job = pool.submit(result.set, "from a thread")
            value = await aio.as_future(result)
            await aio.as_future(job)
        return value

    assert aio.run(use()) == "from a thread"


def test_who_ends_after_the_loop_has_closed_harms_nobody() -> None:
    greens: list[GreenThread] = []

    async def leave() -> None:
        greens.append(spawn(sleep, 0.001))
        await asyncio.wait([asyncio.shield(aio.as_future(greens[0]))], timeout=0)

    aio.run(leave())
    greens[0].join(30)


# -- context


def test_context_variables_go_along_both_ways_and_changes_stay() -> None:
    def green() -> str:
        seen = name.get()
        name.set("green")
        return seen

    async def coroutine() -> tuple[str, str, str]:
        seen = name.get()
        name.set("coroutine")
        below = await aio.to_greenthread(green)
        return seen, below, name.get()

    name.set("caller")
    assert aio.wait(coroutine()) == ("caller", "coroutine", "coroutine")
    assert aio.run(coroutine()) == ("caller", "coroutine", "coroutine")
    assert name.get() == "caller"


# -- as a program


def test_ctrl_c_ends_a_loop_as_it_does_in_asyncio() -> None:
    done = run_python(
        """
        import asyncio, os, signal
        from greenprobe import aio
        async def main():
            asyncio.get_running_loop().call_later(0.01, os.kill, os.getpid(), signal.SIGINT)
            try:
                await asyncio.sleep(30)
            finally:
                print("cleaned up", flush=True)
        aio.run(main())
        """
    )
    assert done.stdout == "cleaned up\n"
    assert "KeyboardInterrupt" in done.stderr.splitlines()[-1]
    assert done.returncode == -signal.SIGINT


def test_a_program_that_waited_for_coroutines_ends_quietly() -> None:
    done = run_python(
        """
        import asyncio, warnings
        warnings.simplefilter("error")
        from greenprobe import aio
        print(aio.wait(asyncio.sleep(0, "answer")))
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "answer\n", "")


def test_asyncio_runs_patched_in_threads_that_are_green() -> None:
    lines = run_patched(
        """
        import asyncio, threading, time
        async def main(number):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"%d" % number)
            writer.write_eof()
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            slept = await asyncio.to_thread(time.sleep, 0.001)
            found.append((answer, slept))
        async def echo(reader, writer):
            writer.write(await reader.read())
            writer.close()
            await writer.wait_closed()
        async def serve():
            global address
            server = await asyncio.start_server(echo, "127.0.0.1", 0)
            address = server.sockets[0].getsockname()
            ready.set()
            async with server:
                while len(found) < 3:
                    await asyncio.sleep(0.001)
        ready, found = threading.Event(), []
        server = threading.Thread(target=asyncio.run, args=(serve(),))
        server.start()
        ready.wait()
        clients = [threading.Thread(target=asyncio.run, args=(main(number),)) for number in range(3)]
        for thread in clients: thread.start()
        for thread in [*clients, server]: thread.join()
        print(sorted(found))
        """
    )
    assert lines == ["[(b'0', None), (b'1', None), (b'2', None)]"]


def test_a_forked_child_waits_with_a_loop_of_its_own() -> None:
    assert aio.wait(asyncio.sleep(0, "parent")) == "parent"
    done = run_python(
        """
        import asyncio, os
        from greenprobe import aio
        print(aio.wait(asyncio.sleep(0, "parent")), flush=True)
        if not os.fork():
            print(aio.wait(asyncio.sleep(0, "child")), flush=True)
            os._exit(0)
        os.wait()
        """
    )
    assert (done.stdout, done.stderr) == ("parent\nchild\n", "")
