"""ThreadPoolExecutor for greenthreads: futures, map, cancel, shutdown, as the standard library's."""

from _thread import allocate_lock, get_ident

import pytest

from greenprobe.executor import CancelledError, Future, ThreadPoolExecutor
from greenprobe.greenthread import spawn
from greenprobe.testing import wait_all_blocked


def test_a_future_has_the_value_and_others_run_meanwhile() -> None:
    gate = allocate_lock()
    gate.acquire()
    with ThreadPoolExecutor(1) as executor:
        future = executor.submit(gate.acquire)
        waiting = spawn(future.result)
        wait_all_blocked()
        assert not future.done()
        gate.release()
        assert waiting.wait() is True
        assert future.done()
        assert not future.running()
        assert future.exception() is None


def test_a_future_has_the_exception() -> None:
    with ThreadPoolExecutor(1) as executor:
        future = executor.submit(divmod, 1, 0)
        assert isinstance(future.exception(), ZeroDivisionError)
        with pytest.raises(ZeroDivisionError):
            future.result()


def test_a_result_that_is_late_raises_a_timeout_and_comes_later() -> None:
    gate = allocate_lock()
    gate.acquire()
    with ThreadPoolExecutor(1) as executor:
        future = executor.submit(gate.acquire)
        with pytest.raises(TimeoutError):
            future.result(timeout=0.001)
        with pytest.raises(TimeoutError):
            future.exception(timeout=0.001)
        gate.release()
        assert future.result() is True


def test_map_keeps_the_order() -> None:
    with ThreadPoolExecutor(4) as executor:
        assert list(executor.map(pow, range(50), [2] * 50)) == [number**2 for number in range(50)]


def test_a_future_that_has_not_begun_can_be_cancelled() -> None:
    gate = allocate_lock()
    gate.acquire()
    with ThreadPoolExecutor(1) as executor:
        first, second = executor.submit(gate.acquire), executor.submit(int)
        while not first.running():
            wait_all_blocked()
        assert not first.cancel()
        assert second.cancel()
        assert second.cancelled()
        assert second.done()
        with pytest.raises(CancelledError):
            second.result()
        with pytest.raises(CancelledError):
            second.exception()
        gate.release()
        assert first.result()


def test_callbacks_get_the_future_in_the_hubs_thread() -> None:
    seen: list[tuple[Future[int], int]] = []
    with ThreadPoolExecutor(1) as executor:
        future = executor.submit(int)
        future.add_done_callback(lambda done: seen.append((done, get_ident())))
        future.result()
        future.add_done_callback(lambda done: seen.append((done, get_ident())))
    assert seen == [(future, get_ident())] * 2


def test_shutdown_can_cancel_what_has_not_begun() -> None:
    gate = allocate_lock()
    gate.acquire()
    executor = ThreadPoolExecutor(1)
    first = executor.submit(gate.acquire)
    others = [executor.submit(int) for _ in range(5)]
    while not first.running():
        wait_all_blocked()
    executor.shutdown(wait=False, cancel_futures=True)
    gate.release()
    executor.shutdown()
    assert first.result() is True
    assert all(future.cancelled() for future in others)
    with pytest.raises(RuntimeError):
        executor.submit(int)


def test_no_threads_are_refused() -> None:
    with pytest.raises(ValueError, match="max_workers"):
        ThreadPoolExecutor(0)
