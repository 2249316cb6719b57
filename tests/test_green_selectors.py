"""Selectors that park, and asyncio loops on them, several in one OS thread."""

import asyncio
import os
import selectors as stdlib
from typing import Any

import pytest
from core_tools import turns

from greenprobe import green_selectors
from greenprobe.greenthread import GreenThread, sleep, spawn
from greenprobe.sync import Event

ALL = [green_selectors.SelectSelector, green_selectors.PollSelector, green_selectors.EpollSelector]


@pytest.mark.parametrize("kind", ALL)
def test_a_selector_parks_only_its_own_greenthread(kind: Any, pipe: tuple[int, int]) -> None:
    with kind() as selector:
        key = selector.register(pipe[0], stdlib.EVENT_READ, "data")
        waiter = spawn(selector.select)
        turns()
        assert not waiter.ready()
        os.write(pipe[1], b"x")
        assert waiter.wait(30) == [(key, stdlib.EVENT_READ)]


@pytest.mark.parametrize("kind", ALL)
def test_a_selector_times_out(kind: Any, pipe: tuple[int, int], clock: Any) -> None:
    with kind() as selector:
        selector.register(pipe[0], stdlib.EVENT_READ)
        assert selector.select(2.5) == []
        assert clock.now() == 2.5
        assert selector.select(0) == []


@pytest.mark.parametrize("name", ["SelectSelector", "PollSelector", "EpollSelector"])
def test_a_selector_is_one_of_the_standard_library_s(name: str) -> None:
    assert issubclass(getattr(green_selectors, name), getattr(stdlib, name))
    assert green_selectors.EVENT_READ == stdlib.EVENT_READ


# -- asyncio


def run(coroutine: Any, kind: Any = green_selectors.DefaultSelector) -> Any:
    """Run a coroutine on a loop of its own over a green selector."""
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(kind())) as runner:
        return runner.run(coroutine)


@pytest.mark.parametrize("kind", ALL)
def test_an_asyncio_loop_parks_its_greenthread(kind: Any) -> None:
    began, go_on = Event(), []

    async def ask() -> str:
        began.set()
        future = asyncio.get_running_loop().create_future()
        go_on.append(future)
        return str(await future)

    loop = spawn(run, ask(), kind)
    assert began.wait(30)
    turns()
    assert not loop.ready()
    go_on[0].get_loop().call_soon_threadsafe(go_on[0].set_result, "answer")
    assert loop.wait(30) == "answer"


def test_loops_of_several_greenthreads_run_side_by_side() -> None:
    met: list[int] = []

    async def meet(number: int) -> int:
        met.append(number)
        while len(met) < 3:  # nobody gets on before all three loops run
            await asyncio.sleep(0.001)
        return number

    assert [each.wait(30) for each in [spawn(run, meet(number)) for number in range(3)]] == [0, 1, 2]


def test_a_greenthread_beside_a_loop_sees_no_running_loop() -> None:
    seen: list[object] = []
    parked = Event()

    def block() -> None:
        parked.set()
        sleep(0.001)

    async def watched() -> bool:
        loop = asyncio.get_running_loop()
        block()  # parks in the middle of a callback, with the loop's greenthread
        await asyncio.sleep(0.001)
        return asyncio.get_running_loop() is loop

    async def other() -> bool:
        return asyncio.get_running_loop() is not None

    def look() -> object:
        parked.wait()
        seen.append(asyncio._get_running_loop())
        return run(other())

    looking: GreenThread = spawn(look)
    assert run(watched())
    assert looking.wait(30)
    assert seen == [None]
    assert asyncio._get_running_loop() is None
