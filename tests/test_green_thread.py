"""The green `_thread`: threads, handles, idents, the end of the program; and `threading` on top of it, patched."""

import sys
from typing import Any

import pytest
from core_tools import turns
from patched import python, run

from greenprobe import green_thread
from greenprobe.green_ident import get_ident
from greenprobe.green_lock import allocate_lock
from greenprobe.green_thread import ThreadHandle, set_sentinel, start_joinable_thread, start_new_thread
from greenprobe.hub import Hub

# -- _thread, in this process


def test_a_thread_runs_with_its_arguments_and_has_an_ident_of_its_own(hub: Hub) -> None:
    seen: list[Any] = []
    ident = start_new_thread(lambda *args, **kwargs: seen.append((args, kwargs, get_ident())), (1, 2), {"x": 3})
    turns()
    assert seen == [((1, 2), {"x": 3}, ident)]
    assert ident != get_ident()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((None, ()), "first arg must be callable"),
        ((print, []), "2nd arg must be a tuple"),
        ((print, (), []), "optional 3rd arg must be a dictionary"),
    ],
)
def test_wrong_arguments_are_refused_as_c_refuses_them(hub: Hub, args: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        start_new_thread(*args)


def test_a_thread_that_nobody_holds_lives_on(hub: Hub) -> None:
    lock = allocate_lock()
    lock.acquire()
    ended: list[bool] = []

    def work() -> None:
        lock.acquire()
        ended.append(True)

    start_new_thread(work, ())
    turns()
    assert green_thread.count() >= 1
    lock.release()
    turns()
    assert ended == [True]


def test_system_exit_ends_a_thread_silently_and_another_error_is_reported(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", reports.append)

    def fail() -> None:
        raise LookupError("gone")

    start_new_thread(sys.exit, ())
    start_new_thread(fail, ())
    turns()
    (report,) = reports
    assert type(report).__name__ == "UnraisableHookArgs"
    assert str(report.exc_value) == "gone"
    assert "in thread started by" in report.err_msg


def test_a_handle_is_joined_once_its_thread_has_ended(hub: Hub) -> None:
    lock = allocate_lock()
    lock.acquire()
    handle = start_joinable_thread(lambda: lock.acquire() and None)
    handle.join(0)
    assert not handle.is_done()
    lock.release()
    handle.join()
    handle.join()
    assert handle.is_done()


def test_a_handle_is_started_once_and_not_joined_before_that_nor_by_itself(hub: Hub) -> None:
    handle = ThreadHandle()
    with pytest.raises(RuntimeError, match="thread not started"):
        handle.join()
    with pytest.raises(RuntimeError, match="thread not started"):
        handle._set_done()
    errors: list[str] = []

    def join_myself() -> None:
        try:
            handle.join()
        except RuntimeError as error:
            errors.append(str(error))

    start_joinable_thread(join_myself, handle=handle)
    with pytest.raises(RuntimeError, match="thread already started"):
        start_joinable_thread(join_myself, handle=handle)
    handle.join()
    assert errors == ["Cannot join current thread"]


def test_the_end_of_the_program_waits_for_threads_that_are_no_daemons(hub: Hub) -> None:
    ended: list[str] = []

    def work(name: str) -> None:
        hub.sleep()
        ended.append(name)

    start_joinable_thread(lambda: work("waited for"), daemon=False)
    forgotten = allocate_lock()
    forgotten.acquire()
    start_joinable_thread(lambda: forgotten.acquire() and None, daemon=True)
    green_thread.shutdown()
    assert ended == ["waited for"]
    forgotten.release()
    turns()


@pytest.mark.fifo
def test_a_sentinel_is_released_when_its_thread_ends(hub: Hub) -> None:
    sentinels: list[Any] = []

    def work() -> None:
        sentinel = set_sentinel()
        sentinel.acquire()
        sentinels.append(sentinel)
        hub.sleep()

    start_new_thread(work, ())
    turns(1)
    assert sentinels[0].locked()
    turns()
    assert not sentinels[0].locked()


# -- threading, in a patched process


def test_the_api_of_threading_holds_on_green_threads() -> None:
    lines = run("""
        import threading
        names, errors = [], []
        threading.excepthook = lambda args: errors.append((args.exc_type.__name__, args.thread.name))
        end = threading.Event()
        def work():
            names.append(threading.current_thread().name)
            end.wait()
            raise LookupError
        thread = threading.Thread(target=work, name="worker", daemon=True)
        thread.start()
        print(thread.is_alive(), thread in threading.enumerate(), thread.daemon, thread.ident != threading.get_ident())
        end.set()
        thread.join()
        print(names, errors, thread.is_alive(), threading.active_count())
        fired = []
        timer = threading.Timer(0.001, fired.append, ["fired"]); timer.start(); timer.join()
        barrier = threading.Barrier(3)
        for _ in range(2): threading.Thread(target=barrier.wait).start()
        print(fired, barrier.wait(5) in range(3), threading.main_thread() is threading.current_thread())
        local = threading.local(); local.x = 1
        other = threading.Thread(target=lambda: fired.append(hasattr(local, "x"))); other.start(); other.join()
        print(fired[-1], threading.get_native_id() == __import__("os").getpid())
    """)
    assert lines == [
        "True True True True",
        "['worker'] [('LookupError', 'worker')] False 1",
        "['fired'] True True",
        "False True",
    ]


def test_the_books_of_threading_are_right_in_a_forked_child() -> None:
    lines = run("""
        import _thread, os, threading
        def fork():
            pid = os.fork()
            if not pid:
                me = threading.current_thread()
                print([thread.name for thread in threading.enumerate()], threading.main_thread() is me)
                print(_thread._count(), other.is_alive())
                thread = threading.Thread(target=print, args=["one more"]); thread.start(); thread.join()
                print(threading.active_count())
                raise SystemExit  # which waits for no thread of the parent
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), threading.active_count(), flush=True)
        end = threading.Event()
        other = threading.Thread(target=end.wait, name="other"); other.start()
        fork()
        forker = threading.Thread(target=fork, name="forker"); forker.start(); forker.join()
        end.set()
    """)
    assert lines == [
        "['MainThread'] True",
        "0 False",
        "one more",
        "1",
        "0 2",
        "['forker'] True",
        "1 False",
        "one more",
        "1",
        "0 3",
    ]


def test_a_thread_begins_with_an_empty_context() -> None:
    lines = run("""
        import contextvars, threading
        variable = contextvars.ContextVar("variable", default="default")
        variable.set("main's")
        seen = []
        thread = threading.Thread(target=lambda: seen.append(variable.get())); thread.start(); thread.join()
        print(seen[0], variable.get())
    """)
    assert lines == ["default main's"]


def test_a_thread_pool_of_the_standard_library_runs_green() -> None:
    lines = run("""
        import os, time
        from concurrent.futures import ThreadPoolExecutor, wait
        from greenprobe.testing import JumpClock
        with JumpClock() as clock, ThreadPoolExecutor(50) as pool:
            futures = [pool.submit(time.sleep, 60) for _ in range(50)]
            print(len(wait(futures).done), len(list(pool.map(str, range(5)))))
            print(clock.now(), len(os.listdir("/proc/self/task")))
    """)
    assert lines == ["50 5", "60.0 1"]


def test_what_asks_who_it_is_in_a_greenthread_is_forgotten_with_it() -> None:
    lines = run("""
        import gc, threading
        for _ in range(100):
            greenprobe.spawn(lambda: threading.current_thread().name).wait()
        gc.collect()
        print(threading.active_count())
    """)
    assert lines == ["1"]


def test_a_timeout_around_join_leaves_the_thread_alive() -> None:
    lines = run("""
        import threading
        end = threading.Event()
        thread = threading.Thread(target=end.wait); thread.start()
        try:
            with greenprobe.Timeout(0.001): thread.join()
        except greenprobe.Timeout:
            print(thread.is_alive())
        end.set(); thread.join()
        print(thread.is_alive())
    """)
    assert lines == ["True", "False"]


def test_a_kill_hands_its_notification_on_and_leaves_with_the_lock() -> None:
    lines = run("""
        import threading
        condition = threading.Condition(threading.Lock())
        got = []
        def wait(name):
            with condition:
                condition.wait()
                got.append(name)
        first, second = greenprobe.spawn(wait, "first"), greenprobe.spawn(wait, "second")
        greenprobe.sleep(); greenprobe.sleep()
        first.kill()  # it is woken by both, and the kill comes first
        with condition: condition.notify()
        second.join(5)
        print(got, condition._lock.locked())
    """)
    assert lines == ["['second'] False"]


def test_daemon_threads_end_with_the_program_without_a_word() -> None:
    done = python(
        "-c",
        "import greenprobe; greenprobe.monkey_patch()\n"
        "import threading, time\n"
        "def work():\n"
        "    try: time.sleep(1000)\n"
        "    finally: print('a daemon ran on')\n"
        "threading.Thread(target=work, daemon=True).start()\n"
        "threading.Thread(target=lambda: (time.sleep(0.01), print('waited for'))).start()\n"
        "print('main ends')\n",
    )
    assert (done.stdout, done.stderr, done.returncode) == ("main ends\nwaited for\n", "", 0)


FORKS = """
import os, socket, sys, threading, time
stop, ticks = threading.Event(), []
def tick():
    while not stop.wait(0.002): ticks.append(1)
def echo(sock):
    while data := sock.recv(100): sock.sendall(data)
def parked():
    try: time.sleep(1000)
    finally: os.write(2, b"a parked greenthread ran on\\n")
pairs = [socket.socketpair() for _ in range(20)]
for _, served in pairs: greenprobe.spawn(echo, served)
threads = [threading.Thread(target=tick) for _ in range(10)]
for thread in threads: thread.start()
waiting = [greenprobe.spawn(parked) for _ in range(20)]
time.sleep(0.01)
def epolls():
    found = []
    for name in os.listdir("/proc/self/fd"):
        try: found.append(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError: pass
    return found.count("anon_inode:[eventpoll]")
def child():
    assert threading.active_count() == 1 and threading.main_thread() is threading.current_thread()
    thread = threading.Thread(target=time.sleep, args=(0.001,)); thread.start(); thread.join()
    here, there = socket.socketpair()
    greenprobe.spawn(echo, there)
    here.sendall(b"x")
    assert here.recv(1) == b"x" and epolls() == 1, epolls()
    here.close()
    there.close()
    return 7
def fork():
    pid = os.fork()
    if not pid:
        status = 1
        try: status = child()
        finally: os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
statuses = [fork() for _ in range(50)]
def fork_in_thread():
    thread = threading.Thread(target=lambda: statuses.append(fork())); thread.start(); thread.join()
for _ in range(50): fork_in_thread()
print(set(statuses), len(statuses), len(ticks) > 10)
for mine, _ in pairs:
    mine.sendall(b"hi")
    assert mine.recv(2) == b"hi"
stop.set()
for thread in threads: thread.join()
print(threading.active_count(), sum(each.ready() for each in waiting), epolls())
sys.stdout.flush()
os._exit(0)
"""


@pytest.mark.slow
def test_a_hundred_forks_of_a_busy_process_hang_nobody_and_disturb_nothing() -> None:
    """Slow: a hundred processes are forked, each of a process with fifty greenthreads, threads and sockets."""
    assert run(FORKS, timeout=120) == ["{7} 100 True", "1 0 1"]
