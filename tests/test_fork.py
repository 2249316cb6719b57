"""A forked child goes on with the greenthread that forked, on a hub of its own; nothing else runs there."""

import os
import threading

import pytest
from core_tools import in_child, run_python, status_of, turns
from greenlet import greenlet

from greenprobe.condition import Condition
from greenprobe.errors import Cancelled
from greenprobe.green_socket import socketpair
from greenprobe.greenthread import sleep, spawn
from greenprobe.hub import Hub, get_hub
from greenprobe.pool import GreenPool
from greenprobe.sync import Event, RLock, Semaphore
from greenprobe.timeout import Timeout, move_on_after

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def test_the_child_has_a_hub_of_its_own_that_works(hub: Hub) -> None:
    def child() -> bool:
        sleep(0.001)
        return get_hub() is not hub and spawn(lambda: 7).wait() == 7

    assert in_child(child) == (0, "True")
    assert get_hub() is hub
    assert not hub.closed


def test_parked_greenthreads_never_run_in_the_child(hub: Hub) -> None:
    ran: list[int] = []
    event, semaphore = Event(), Semaphore(0)
    greens = [spawn(event.wait), spawn(semaphore.acquire), spawn(sleep, 0.001), spawn(sleep, 0)]
    for green in greens:
        green.link(lambda _: ran.append(os.getpid()))
    turns(1)

    def child() -> list[int]:
        event.set()
        semaphore.release()
        get_hub().schedule(spawn(sleep))
        sleep(0.005)
        return [pid for pid in ran if pid == os.getpid()]

    assert in_child(child) == (0, "[]")
    event.set()
    semaphore.release()
    for green in greens:
        green.wait()
    assert ran == [os.getpid()] * 4


def test_a_permit_released_in_the_child_is_not_handed_to_a_waiter_of_the_parent() -> None:
    semaphore = Semaphore(0)
    waiter = spawn(semaphore.acquire)
    turns(1)

    def child() -> bool:
        semaphore.release()
        return semaphore.acquire(blocking=False)

    assert in_child(child) == (0, "True")
    semaphore.release()
    assert waiter.wait()


def test_a_place_given_in_the_child_is_not_handed_to_a_waiter_of_the_parent() -> None:
    pool = GreenPool(0)
    waiter = spawn(pool.spawn, int)
    turns(1)

    def child() -> int:
        pool.resize(1)
        return pool.free()

    assert in_child(child) == (0, "1")
    pool.resize(1)
    assert waiter.wait().wait() == 0


def test_what_waits_for_something_is_made_new_in_the_child_when_the_standard_library_asks() -> None:
    """`threading` calls `_at_fork_reinit` on what its threads wait with: waiters are the parent's, a state stays."""
    condition, event, flag, mutex = Condition(), Event(), Event(), RLock()
    flag.set()
    greens = [spawn(event.wait), spawn(wait_with, condition), spawn(hold, mutex, event)]
    turns()

    def child() -> object:
        for one in (condition, event, flag, mutex):
            one._at_fork_reinit()
        return flag.is_set(), event.is_set(), condition.acquire(False), mutex.acquire(False), repr(event)

    assert in_child(child) == (0, "(True, False, True, True, '<Event clear, 0 waiting>')")
    event.set()
    with condition:
        condition.notify_all()
    for green in greens:
        green.wait()


def wait_with(condition: Condition) -> None:
    with condition:
        condition.wait()


def hold(lock: RLock, until: Event) -> None:
    with lock:
        until.wait()


def test_a_child_that_ends_leaves_the_parents_waits_alone() -> None:
    left, right = socketpair()
    with left, right:
        reader = spawn(left.recv, 10)
        turns(1)

        def child() -> None:
            left.close()
            right.close()
            sleep(0.001)

        assert in_child(child)[0] == 0
        right.send(b"after")
        assert reader.wait(5) == b"after"
        reader = spawn(left.recv, 10)
        turns(1)
        right.send(b"again")
        assert reader.wait(5) == b"again"


def test_a_socket_works_in_both_processes() -> None:
    left, right = socketpair()
    with left, right:
        reader = spawn(left.recv, 1)  # registers in the parent's epoll set
        turns(1)
        right.send(b"1")
        assert reader.wait(5) == b"1"

        def child() -> object:
            asker = spawn(left.recv, 5)
            sleep(0.001)
            right.send(b"child")
            return asker.wait(5)

        assert in_child(child) == (0, "b'child'")
        reader = spawn(left.recv, 6)
        turns(1)
        right.send(b"parent")
        assert reader.wait(5) == b"parent"


def test_a_descriptor_closed_after_a_fork_leaves_the_epoll_set(hub: Hub) -> None:
    """The child holds the description, so the kernel would go on reporting a number that is somebody else's."""
    left, right = socketpair()
    reader = spawn(left.recv, 1)
    turns(1)
    right.send(b"1")
    reader.wait(5)
    gate, opener = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(opener)
        os.read(gate, 1)
        os._exit(0)
    fd = left.fileno()
    left.close()
    right.send(b"late")
    events = hub.poller.poll(0, 10)
    os.close(opener)
    os.close(gate)
    right.close()
    assert status_of(pid)[0] == 0
    assert fd not in {number for number, _ in events}


def fork_in_greenthread(what_the_child_does: str) -> tuple[int, str, str]:
    """Run a program whose child does that in the greenthread that forked; return its status, output and errors."""
    done = run_python(f"""
        import atexit, os, select, sys, threading
        from greenprobe.greenthread import sleep, spawn
        from greenprobe.hub import get_hub
        atexit.register(print, "an exit handler of the parent ran", flush=True)
        def forking():
            pid = os.fork()
            if not pid:
                {what_the_child_does}
                return
            print("child", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        def parked():
            try:
                sleep(60)
            finally:
                print("parked ran in", "parent" if os.getpid() == parent else "child")
        parent = os.getpid()
        sleeper = spawn(parked)
        try:
            spawn(forking).wait()
        finally:
            print("main ran in", "parent" if os.getpid() == parent else "child", flush=True)
        os._exit(0)
    """)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("does", "status", "says"),
    [
        ("pass", 0, ""),
        ("sleep(0.001)", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("sleep(0); sys.exit(4)", 4, ""),
        ("sys.exit('no way')", 1, "no way\n"),
        ("sys.exit()", 0, ""),
        ("raise ValueError('boom')", 1, "ValueError: boom"),
        ("os.dup2(os.open('/dev/full', os.O_WRONLY), 2); sys.exit('no way')", 1, ""),
        ("sys.stderr = None; sys.exit('no way')", 1, ""),
        ("os.dup2(os.open('/dev/full', os.O_WRONLY), 2); raise KeyboardInterrupt", 1, ""),
        ("spawn(sys.exit, 5)", 5, ""),
        ("spawn(sleep, 0.001); spawn(lambda: None)", 0, ""),
    ],
)
def test_a_child_forked_in_a_greenthread_ends_when_its_greenthreads_have(does: str, status: int, says: str) -> None:
    """Slow: starts an interpreter."""
    code, out, errors = fork_in_greenthread(does)
    assert (code, out) == (0, f"child {status}\nmain ran in parent\n")
    assert says in errors
    assert errors.count("Traceback") == ("ValueError" in errors)


@pytest.mark.slow
def test_threads_of_the_parent_do_not_keep_the_child_alive() -> None:
    """Slow: starts an interpreter. The count of threads that Python keeps is inherited by the child."""
    code, out, _ = fork_in_greenthread("pass")
    assert (code, out) == (0, "child 0\nmain ran in parent\n")
    done = run_python("""
        import os, threading
        from greenprobe.greenthread import spawn
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        def forking():
            pid = os.fork()
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if pid else None
        print(spawn(forking).wait(), flush=True)
        os._exit(0)
    """)
    assert done.stdout == "0\n"


def test_a_fork_in_the_middle_of_a_greenlet_tree_keeps_the_branch() -> None:
    from_child: list[tuple[int, str]] = []

    def forking() -> None:
        from_child.append(in_child(child))

    def child() -> object:
        sleep(0.001)
        return spawn(lambda: "alive").wait()

    spawn(forking).wait()
    assert from_child == [(0, "alive")]


def test_a_fork_in_another_thread_gives_the_child_that_threads_branch_only(hub: Hub) -> None:
    ran: list[str] = []

    def parents() -> None:
        sleep(0.02)
        ran.append("parent's")

    green = spawn(parents)
    turns(1)
    result: list[tuple[int, str]] = []

    def child() -> str:
        hub.call_threadsafe(ran.append, "called")  # a grave: never
        sleep(0.002)
        return f"{ran} {spawn(lambda: 5).wait()} {hub.closed}"

    def in_thread() -> None:
        sleep(0)
        result.append(in_child(child))
        sleep(0)

    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    assert result == [(0, "[] 5 True")]
    green.join()
    assert ran == ["parent's"]


def test_ringing_a_buried_hub_does_not_write_into_a_reused_descriptor(hub: Hub) -> None:
    def child() -> bytes:
        read, write = os.pipe()
        os.dup2(write, bell)
        hub.asleep = True  # as it is for the hub of another thread that polled during the fork
        hub.schedule(spawn(sleep))
        os.set_blocking(read, False)
        try:
            return os.read(read, 8)
        except BlockingIOError:
            return b""

    bell = hub._bell
    assert in_child(child) == (0, "b''")


def test_a_wait_on_the_old_hub_is_refused_in_the_child(hub: Hub) -> None:
    assert in_child(hub.switch) == (1, "HubError('this wait began before a fork; start it again in the child')")


def test_timeouts_of_the_parent_do_not_reach_the_child() -> None:
    with Timeout(60):
        assert in_child(lambda: sleep(0.001))[0] == 0


def test_the_timeouts_of_the_greenthread_that_forked_run_on_in_the_child() -> None:
    def child() -> str:
        try:
            sleep(5)
        except Timeout as error:
            return f"{error is short}"
        return "not ended"

    with Timeout(60), Timeout(0.01) as short, Timeout(0.005) as cancelled:
        cancelled.cancel()
        assert in_child(child) == (0, "True")


def test_timeouts_of_main_stay_behind_when_a_greenthread_forks() -> None:
    with Timeout(60):
        assert spawn(in_child, lambda: len(get_hub().timers)).wait() == (0, "0")


def test_a_timeout_of_the_parent_can_be_cancelled_in_the_child() -> None:
    def child() -> str:
        timeout.cancel()
        sleep(0.02)
        return "slept"

    with Timeout(0.01) as timeout:
        assert in_child(child) == (0, "slept")


def test_timeouts_of_the_whole_branch_that_forked_run_on_in_the_child() -> None:
    """A greenlet that waits, by a plain switch, for the one that forked has its timeout, too."""

    def outer() -> str:
        try:
            with Timeout(0.01):
                return str(greenlet(sleep_in_child).switch())
        except Timeout:
            os._exit(7)
        return "swallowed"

    def sleep_in_child() -> int:
        pid = os.fork()
        if not pid:
            sleep(5)
            os._exit(1)
        return status_of(pid)[0]

    assert spawn(outer).wait() == "7"


@pytest.mark.parametrize("over", ["by its deadline", "by hand", "before the fork"])
def test_a_scope_around_the_fork_calls_its_block_off_in_the_child(over: str) -> None:
    def child() -> str:
        if over == "by hand":
            spawn(scope.cancel)
        try:
            sleep(5)
        except Cancelled:
            again = spawn(sleep, 0)
            try:
                again.wait()
            except Cancelled:
                return "called off, and again"
        return "not called off"

    with move_on_after(0.01 if over == "by its deadline" else None) as scope:
        if over == "before the fork":
            scope.cancel()
        assert in_child(child) == (0, "called off, and again")


def test_a_scope_left_in_the_child_leaves_the_hub_as_it_was() -> None:
    def child() -> int:
        scope.__exit__(None, None, None)
        return get_hub().overdue

    with move_on_after(None) as scope:
        scope.cancel()
        assert in_child(child) == (0, "0")


def test_ctrl_c_reaches_the_child() -> None:
    def child() -> str:
        sleep(0)
        os.kill(os.getpid(), 2)
        try:
            sleep(5)
        except KeyboardInterrupt:
            return "interrupted"
        return "lost"

    sleep(0)  # the parent's hub has taken the signal over by now
    assert in_child(child) == (0, "interrupted")


def test_ctrl_c_before_the_childs_first_switch_is_not_lost() -> None:
    def child() -> str:
        os.kill(os.getpid(), 2)
        try:
            sleep(0.01)
        except KeyboardInterrupt:
            return "interrupted"
        return "lost"

    sleep(0)
    assert in_child(child) == (0, "interrupted")
