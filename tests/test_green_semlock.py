"""multiprocessing in a patched process: its locks let others run, its processes, pools and queues work."""

from multiprocessing import get_context
from typing import Any

import pytest
from core_tools import turns
from patched import run as run_patched

from greenprobe.green_semlock import GreenAccess, is_alone
from greenprobe.greenthread import sleep, spawn
from greenprobe.hub import Hub

CONTEXT = get_context("fork")


def access(lock: Any) -> GreenAccess:
    """Return the green methods of a lock."""
    return GreenAccess(lock._semlock)


def test_who_waits_for_a_lock_lets_its_holder_run() -> None:
    lock = access(CONTEXT.Lock())
    order = []

    def hold() -> None:
        lock.acquire()
        sleep(0.001)
        order.append("holder")
        lock.release()

    spawn(hold)
    turns()
    assert lock.acquire()
    assert order == ["holder"]
    lock.release()


def test_a_wait_ends_at_its_deadline(clock: Any) -> None:
    lock = access(CONTEXT.Lock())
    lock.acquire()
    keeps_the_hub_busy = spawn(sleep, 3600)
    assert not lock.acquire(True, 5)
    assert clock.now() == 5
    assert not lock.acquire(False)
    assert not lock.acquire(timeout=-1)
    keeps_the_hub_busy.kill()


def test_who_is_alone_blocks_for_real_and_no_longer_than_asked(hub: Hub) -> None:
    lock = access(CONTEXT.Lock())
    lock.acquire()
    assert is_alone(hub)
    assert not lock.acquire(True, 0.001)


def test_a_recursive_lock_belongs_to_one_greenthread() -> None:
    lock = access(CONTEXT.RLock())
    assert lock.acquire()
    assert lock.acquire()
    assert not spawn(lock.acquire, False).wait(30)
    with pytest.raises(AssertionError, match="not owned"):
        spawn(lock.release).wait(30)
    waiter = spawn(lock.acquire)
    turns()
    lock.release()
    turns()
    assert not waiter.ready()
    lock.release()
    assert waiter.wait(30)


def test_a_semaphore_counts() -> None:
    semaphore = access(CONTEXT.Semaphore(2))
    assert [semaphore.acquire(False) for _ in range(3)] == [True, True, False]
    semaphore.release()
    assert semaphore.acquire(False)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_pools_queues_and_managers_work_patched(method: str, tmp_path: Any) -> None:
    """Slow: starts a dozen processes."""
    (tmp_path / "work.py").write_text(
        "def work(queue, pipe):\n    queue.put('put')\n    pipe.send(pipe.recv() + 1)\n"
        "def square(number):\n    return number * number\n"
    )
    lines = run_patched(
        f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        import multiprocessing, threading, time, work
        from concurrent.futures import ProcessPoolExecutor
        context = multiprocessing.get_context({method!r})
        if __name__ == "__main__":
            over, ticks = threading.Event(), []
            def tick():
                while not over.wait(0.001):
                    ticks.append(1)
            ticker = threading.Thread(target=tick)
            ticker.start()
            queue, (ours, theirs) = context.Queue(), context.Pipe()
            process = context.Process(target=work.work, args=(queue, theirs))
            process.start()
            ours.send(41)
            print(ours.recv(), queue.get(timeout=30))
            process.join(30)
            sleeper = context.Process(target=time.sleep, args=(3600,))
            sleeper.start()
            sleeper.join(0.01)
            print(process.exitcode, sleeper.is_alive())
            sleeper.terminate()
            sleeper.join(30)
            with context.Pool(2) as pool:
                print(pool.map(work.square, range(4)))
            with ProcessPoolExecutor(2, mp_context=context) as executor:
                print(list(executor.map(work.square, range(4))))
            with context.Manager() as manager:
                shared = manager.dict(key="value")
                print(shared["key"])
            queue.close()
            queue.join_thread()
            over.set()
            ticker.join()
            print(len(ticks) > 10)
        """,
        patch="import warnings; warnings.simplefilter('ignore')\nimport greenprobe; greenprobe.monkey_patch()\n",
        timeout=60,
    )
    assert lines == ["42 put", "0 True", "[0, 1, 4, 9]", "[0, 1, 4, 9]", "value", "True"]


def test_each_greenthread_has_its_own_connection_to_a_manager_patched_after_multiprocessing() -> None:
    lines = run_patched(
        """
        import threading
        manager = multiprocessing.get_context("fork").Manager()
        lock = manager.RLock()
        lock.acquire()
        got = []
        other = threading.Thread(target=lambda: got.append(lock.acquire(False)))
        other.start()
        other.join()
        lock.release()
        manager.shutdown()
        print(got)
        """,
        patch="import multiprocessing.managers, greenprobe; greenprobe.monkey_patch()\n",  # as a spawned process does
    )
    assert lines == ["[False]"]
