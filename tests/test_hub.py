"""The loop: who runs when, what is fair, what is a deadlock, and that a wake-up too many harms nobody."""

import math
import os
import socket as stdlib
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from random import Random
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest
from core_tools import run_python, turns
from greenlet import greenlet

from greenprobe.condition import Condition
from greenprobe.errors import DeadlockError, HubError
from greenprobe.green_socket import socket, socketpair
from greenprobe.greenthread import GreenThread, sleep, spawn, spawn_n
from greenprobe.hub import Hub, get_hub
from greenprobe.outcome import AsyncResult
from greenprobe.queue import Queue, ShutDown
from greenprobe.sync import Event, Lock, Semaphore
from greenprobe.testing import JumpClock, LifoOrder, fresh_hub
from greenprobe.threadpool import ThreadPool

Errors = list[BaseException]


@pytest.fixture
def errors(hub: Hub) -> Errors:
    """What the hub would have printed."""
    found: Errors = []
    hub.on_error = found.append
    return found


# -- failures


def test_a_failure_that_cannot_be_printed_harms_nobody_else() -> None:
    done = run_python("""
        import os, sys
        from greenprobe.greenthread import sleep, spawn_n
        from greenprobe.hub import get_hub

        def fail():
            spawn_n(lambda: 1 / 0)
            get_hub().call_threadsafe(lambda: 1 / 0)
            sleep(0)

        os.dup2(os.open("/dev/full", os.O_WRONLY), 2)
        fail()
        sys.stderr = None
        fail()
        os.write(1, b"goes on")
        os._exit(0)
    """)
    assert (done.returncode, done.stdout) == (0, "goes on")


@pytest.mark.parametrize("part", ["its clock", "its idle policy"])
def test_what_the_loop_itself_fails_with_is_the_main_greenthreads(hub: Hub, errors: Errors, part: str) -> None:
    """It would come again every turn: printing it would have no end."""
    rest = iter(range(100))
    over = Event()

    def broken(*_: object) -> float:
        if next(rest, None) is None:
            over.set()
            return 0
        raise ZeroDivisionError

    hub.timers.add(hub.clock() + 5, int)
    if part == "its clock":
        hub.clock = broken
    else:
        hub.idle_policy = SimpleNamespace(patience=broken, idle=broken)
    with pytest.raises(ZeroDivisionError):
        over.wait()
    assert not errors
    hub.clock, hub.idle_policy = monotonic, None
    sleep(0)


# -- turns and sleeping


@pytest.mark.fifo
def test_sleep_0_lets_each_ready_greenthread_run_once() -> None:
    ran: list[int] = []
    for number in range(200):  # more than may hop in one turn
        spawn(ran.append, number)
    sleep(0)
    assert ran == list(range(200))


@pytest.mark.fifo
def test_two_who_only_yield_take_turns() -> None:
    ran: list[str] = []

    def run(name: str) -> None:
        for _ in range(100):
            ran.append(name)
            sleep(0)

    greens = [spawn(run, "a"), spawn(run, "b")]
    for green in greens:
        green.wait()
    assert "".join(ran) == "ab" * 100


@pytest.mark.fifo
def test_the_first_turn_after_a_timer_is_fair_to_the_newly_spawned(clock: JumpClock) -> None:
    """Who was thrown into by a timer runs inside the loop's timers; its spawns still go before it."""
    order: list[str] = []

    def fired() -> None:
        hub.main.throw(TimeoutError)

    hub = get_hub()
    hub.timers.add(1, fired)
    with pytest.raises(TimeoutError):
        sleep(5)
    spawn(order.append, "spawned")
    sleep(0)
    order.append("spawner")
    assert order == ["spawned", "spawner"]


def test_sleep_lasts_as_long_as_asked(clock: JumpClock) -> None:
    sleep(30)
    assert clock.now() == 30


def test_sleepers_wake_in_the_order_of_their_deadlines(clock: JumpClock) -> None:
    woken: list[int] = []

    def nap(seconds: int) -> None:
        sleep(seconds)
        woken.append(seconds)

    greens = [spawn(nap, seconds) for seconds in (5, 1, 4, 2, 3)]
    for green in greens:
        green.wait()
    assert woken == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("seconds", [-1, -0.001, math.nan])
def test_a_negative_time_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="cannot sleep"):
        sleep(seconds)


@pytest.mark.parametrize("seconds", [1e7, 1e10, math.inf])
def test_a_very_long_sleep_does_not_break_the_poll(seconds: float) -> None:
    """epoll takes at most 2**31 ms; alone, the sleeper's deadline is what the hub polls for."""
    done = AsyncResult[int]()
    sleeper = spawn(sleep, seconds)
    thread = threading.Timer(0.005, done.set, [5])
    thread.start()
    assert done.wait() == 5
    thread.join()
    sleeper.kill()
    sleeper.join()


@pytest.mark.parametrize(
    "wait", [lambda h: h.sleep(0), lambda h: h.sleep(1), lambda h: h.sleep_until(1e9), lambda h: Event().wait()]
)
def test_a_callback_of_the_loop_cannot_wait(hub: Hub, errors: Errors, wait: Callable[[Hub], object]) -> None:
    hub.call_threadsafe(wait, hub)
    turns(2)
    assert [type(error) for error in errors] == [HubError]


# -- errors


def test_errors_of_callbacks_and_bare_greenthreads_are_printed_and_the_hub_goes_on(errors: Errors) -> None:
    hub = get_hub()
    for _ in range(3):
        hub.call_threadsafe(int, "callback")
        spawn_n(int, "bare")
        hub.timers.add(0, int, "timer")
    assert spawn(lambda: 5).wait() == 5
    turns(1000)  # each error begins a turn anew
    assert len(errors) == 9
    assert {type(error) for error in errors} == {ValueError}


def test_a_callback_that_raises_loses_nobody_of_its_turn(errors: Errors) -> None:
    ran: list[int] = []
    hub = get_hub()
    for number in range(100):
        spawn(ran.append, number)
        hub.call_threadsafe(int, "no number")
    turns(2)
    assert sorted(ran) == list(range(100))
    assert len(errors) == 100


# -- fairness


def starver(stop: Event, pause: float) -> None:
    while not stop.is_set():
        sleep(pause)


@pytest.mark.parametrize(("count", "pause"), [(1, 0), (2, 0), (50, 0), (1, 1e-9), (3, 1e-9)])
def test_those_who_never_rest_starve_neither_sockets_nor_timers(
    pair: tuple[socket, socket], count: int, pause: float
) -> None:
    left, right = pair
    stop = Event()
    greedy = [spawn(starver, stop, pause) for _ in range(count)]
    reader = spawn(left.recv, 1)
    timer = spawn(sleep, 0.001)
    turns(2)
    right.send(b"x")
    for _ in range(10_000):
        if reader.ready() and timer.ready():
            break
        sleep(0)
    assert reader.ready()
    assert reader.value == b"x"
    deadline = get_hub().clock() + 5
    while not timer.ready() and get_hub().clock() < deadline:
        sleep(0)
    assert timer.ready()
    stop.set()
    for green in greedy:
        green.join()


@pytest.mark.parametrize("count", [1, 3])
def test_who_computes_between_its_yields_delays_timers_and_sockets_by_little(
    hub: Hub, clock: JumpClock, pair: tuple[socket, socket], count: int
) -> None:
    hub.slice = 0.01
    left, right = pair
    stop = Event()

    def compute() -> None:
        while not stop.is_set():
            clock.advance(0.02)
            sleep(0)

    workers = [spawn(compute) for _ in range(count)]
    reader = spawn(left.recv, 1)
    sleep(0)
    began = clock.now()
    sleep(0.1)
    assert clock.now() - began <= 0.1 + 0.02 * 2 * count
    right.send(b"x")
    began = clock.now()
    reader.join()
    assert clock.now() - began <= 0.02 * 3 * count
    stop.set()
    for worker in workers:
        worker.join()


def test_time_counts_anew_once_who_parks_has_polled(hub: Hub, pair: tuple[socket, socket]) -> None:
    hub.slice = 0.01
    now = hub.clock()
    hub.clock = lambda: now
    left, right = pair
    right.send(b"x")

    def timers_started_by_a_yield() -> int:
        nonlocal now
        now += 1  # a long turn, in the middle of which it parks
        hub.wait(hub.poller.slot(left.fileno()).read)
        before = hub.timers._started
        sleep(0)
        return hub.timers._started - before

    assert spawn(timers_started_by_a_yield).wait() == 0


def test_stages_that_compute_and_never_yield_delay_timers_by_little(hub: Hub, clock: JumpClock) -> None:
    hub.slice = 0.01
    there: Queue[None] = Queue(1)
    back: Queue[None] = Queue(1)

    def stage(take: Queue[None], give: Queue[None]) -> None:
        for _ in take:
            clock.advance(0.02)
            give.put(None)

    stages = [spawn(stage, there, back), spawn(stage, back, there)]
    there.put(None)
    sleep(0.1)  # and longer, until the hub has seen what a turn takes
    for _ in range(5):
        began = clock.now()
        sleep(0.1)
        assert clock.now() - began <= 0.1 + 0.02 * 4
    for queue in (there, back):
        queue.shutdown(immediate=True)
    for green in stages:
        with suppress(ShutDown):
            green.wait()


def test_a_socket_that_is_always_ready_starves_nobody(pair: tuple[socket, socket]) -> None:
    left, right = pair
    turns_of_others: list[int] = []

    def other() -> None:
        while True:
            turns_of_others.append(1)
            sleep(0)

    green = spawn(other)
    right.sendall(bytes(1000))
    turns(1)
    had = len(turns_of_others)
    for _ in range(1000):
        left.recv(1)
    assert len(turns_of_others) - had >= 5
    green.kill()
    green.join()


# -- deadlock


def test_a_deadlock_names_who_waits_where() -> None:
    event, lock = Event(), Lock()
    lock.acquire()
    first, second = spawn(event.wait), spawn(lock.acquire)
    first.name, second.name = "first-one", "second-one"
    with pytest.raises(DeadlockError) as caught:
        event.wait()
    text = str(caught.value)
    assert "first-one waits in Event.wait" in text
    assert "second-one waits in Lock.acquire" in text
    assert "main waits in Event.wait, called by test_a_deadlock_names_who_waits_where" in text
    event.set()
    lock.release()
    for green in (first, second):
        green.wait()


def wakes_main(hub: Hub, event: Event, seconds: float) -> threading.Timer:
    """Start a thread that wakes main in a while: longer than the hub looks for a deadlock."""
    timer = threading.Timer(seconds, event.set)
    timer.start()
    return timer


def test_nothing_is_a_deadlock_while_another_thread_runs(hub: Hub) -> None:
    event = Event()
    thread = wakes_main(hub, event, 0.07)
    assert event.wait()
    thread.join()


def test_nothing_is_a_deadlock_in_a_thread_of_the_pool() -> None:
    """The main thread may wake it, though every other thread is one that wakes nobody unasked."""
    with ThreadPool(1) as pool:
        assert pool.run(lambda: get_hub()._may_be_woken_from_outside())


@pytest.mark.slow  # the hub counts the threads again after a second
def test_the_end_of_the_last_other_thread_makes_it_a_deadlock() -> None:
    over = threading.Lock()
    over.acquire()
    thread = threading.Thread(target=over.acquire, args=(True, 0.2))
    thread.start()
    with pytest.raises(DeadlockError):
        Event().wait()
    thread.join()


def test_nothing_is_a_deadlock_while_a_descriptor_is_waited_for(pair: tuple[socket, socket]) -> None:
    """The peer is a process of its own, which no one here knows of."""
    left, right = pair
    reader = spawn(left.recv, 1)
    pid = os.fork()
    if not pid:
        threading.Event().wait(0.07)
        os.write(right.fileno(), b"x")
        os._exit(0)
    assert reader.wait() == b"x"
    os.waitpid(pid, 0)


def test_nothing_is_a_deadlock_while_a_wake_up_is_expected(hub: Hub) -> None:
    hub.expected += 1
    event = Event()
    Hub.helper_threads += 1  # so that the thread alone is no reason
    thread = wakes_main(hub, event, 0.07)
    try:
        assert event.wait()
    finally:
        Hub.helper_threads -= 1
        hub.expected -= 1
        thread.join()


def test_a_sleeper_is_no_deadlock() -> None:
    sleeper = spawn(sleep, 0.06)
    assert sleeper.wait() is None


def test_main_can_go_on_after_a_deadlock() -> None:
    for _ in range(2):
        with pytest.raises(DeadlockError):
            Event().wait()
    assert spawn(lambda: 5).wait() == 5


# -- order, clock, end


@pytest.mark.fifo
def test_another_order_takes_over_who_is_queued(hub: Hub) -> None:
    ran: list[int] = []
    for number in range(5):
        spawn_n(ran.append, number)
    with LifoOrder():
        Event().wait(0.001)
    assert ran == [4, 3, 2, 1, 0]


def test_an_order_set_in_mid_turn_is_looked_at_before_the_poll(hub: Hub) -> None:
    """Else the hub polls for the next deadline, an hour away, with somebody in the new queue."""

    def change() -> float:
        hub.set_order(deque())
        before = hub.clock()
        sleep(0)
        return hub.clock() - before

    sleeper = spawn(sleep, 3600)
    turns(1)
    assert spawn(change).wait() < 1
    sleeper.kill()
    sleeper.join()


def test_the_clock_can_be_replaced(hub: Hub) -> None:
    now = [100.0]
    before, hub.clock = hub.clock, lambda: now[0]
    try:
        green = spawn(sleep, 50)
        turns(3)
        now[0] = 149.9
        turns(100)
        assert not green.ready()
        now[0] = 150.0
        turns(100)
        assert green.ready()
    finally:
        hub.clock = before


def test_a_closed_hub_refuses_waits_and_gives_its_descriptors_back() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with fresh_hub() as hub:
        sleep(0)
    assert len(os.listdir("/proc/self/fd")) == before
    assert hub.closed
    hub.close()
    with pytest.raises(HubError):
        hub.switch()
    assert "closed" in repr(hub)


def test_a_closed_hub_runs_nobody_who_was_about_to_run() -> None:
    ran: list[int] = []

    def run() -> None:
        for number in range(10):
            ran.append(number)
            sleep(0)

    with fresh_hub() as hub:
        greens = [spawn(run), spawn(run)]
        turns(2)
        del ran[:]
        hub.close()
        with pytest.raises(HubError):
            sleep(0)
        assert not ran
        for green in greens:
            assert not green.ready()
            green.throw()


def test_a_greenthread_that_closes_its_hub_goes_on() -> None:
    done: list[str] = []

    def closing() -> None:
        get_hub().close()
        done.append("closed")

    with fresh_hub():
        with pytest.raises(HubError):
            spawn(closing).wait()
        assert done == ["closed"]


def test_a_closed_hub_gives_ctrl_c_back_to_python() -> None:
    assert (
        "default_int_handler"
        in run_python("""
        import signal
        from greenprobe.hub import get_hub
        get_hub().sleep(0)
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        get_hub().close()
        print(signal.getsignal(signal.SIGINT))
        """).stdout
    )


def test_a_hub_says_what_it_has(hub: Hub) -> None:
    with fresh_hub() as other:
        assert "0 ready, 0 timers, 0 descriptors" in repr(other)


def test_in_greenthread_tells_the_loop_from_the_others(hub: Hub) -> None:
    said: list[bool] = [hub.in_greenthread()]
    hub.call_threadsafe(lambda: said.append(hub.in_greenthread()))
    turns(2)
    assert said == [True, False]


# -- a wake-up too many


def use_lock(random: Random, lock: Lock, inside: list[int]) -> None:
    for _ in range(10):
        with lock:
            assert inside == []
            inside.append(1)
            sleep(random.choice([0, 0, 0.001]))
            inside.pop()


def use_semaphore(semaphore: Semaphore, inside: list[int]) -> None:
    for _ in range(10):
        if semaphore.acquire(timeout=50):
            inside.append(1)
            assert len(inside) <= 2
            sleep(0)
            inside.pop()
            semaphore.release()


def ping(sock: socket, rounds: int) -> None:
    for number in range(rounds):
        sock.sendall(bytes([number]))
        assert sock.recv(1) == bytes([number])


def pong(sock: socket, rounds: int) -> None:
    for _ in range(rounds):
        sock.sendall(sock.recv(1))


def consume(queue: "Queue[int]", got: list[int], count: int) -> None:
    got.extend(queue.get() for _ in range(count))


def produce(queue: "Queue[int]", count: int) -> None:
    for number in range(count):
        queue.put(number)


def nap(hub: Hub) -> None:
    for seconds in (0.5, 1, 0, 2):
        before = hub.clock()
        sleep(seconds)
        assert hub.clock() >= before + seconds


def await_turn(condition: Condition, state: list[int], turn: int) -> None:
    with condition:
        assert condition.wait_for(lambda: state[0] == turn, 500)
        state[0] += 1
        condition.notify_all()


def workers(random: Random, left: socket, right: socket) -> tuple[list[GreenThread], Callable[[], None]]:
    """Spawn one of everything that waits; return them, and what must hold when all have ended."""
    hub = get_hub()
    lock, semaphore, queue, condition = Lock(), Semaphore(2), Queue[int](2), Condition()
    got: list[int] = []
    inside: list[list[int]] = [[], []]
    state = [0]
    result, event = AsyncResult[int](), Event()
    plan: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
        *[(use_lock, (random, lock, inside[0]))] * 3,
        *[(use_semaphore, (semaphore, inside[1]))] * 4,
        (ping, (left, 30)),
        (pong, (right, 30)),
        (consume, (queue, got, 30)),
        (produce, (queue, 30)),
        *[(nap, (hub,))] * 2,
        *[(await_turn, (condition, state, turn)) for turn in range(5)],
        (result.wait, (500,)),
        (event.wait, (500,)),
        (lambda: (sleep(3), result.set(1), event.set()), ()),  # type: ignore[func-returns-value]
    ]
    random.shuffle(plan)
    greens = [spawn(function, *args) for function, args in plan]

    def check() -> None:
        assert got == list(range(30))
        assert semaphore.balance == 2
        assert not lock.locked()
        assert state == [5]

    return greens, check


@pytest.mark.parametrize("seed", range(20))
def test_waking_anybody_at_any_time_harms_nobody(
    hub: Hub, clock: JumpClock, pair: tuple[socket, socket], seed: int
) -> None:
    random = Random(seed)
    greens, check = workers(random, *pair)
    for _ in range(200):
        alive = [green for green in greens if not green.ready()]
        if not alive:
            break
        for green in random.choices(alive, k=random.randrange(6)):
            hub.schedule(green)
        sleep(random.choice([0, 0, 0, 0.1]))
    for green in greens:
        green.wait(1000)
    check()


@pytest.mark.parametrize("seed", range(20))
def test_killing_anybody_at_any_time_leaves_the_others_whole(
    hub: Hub, clock: JumpClock, pair: tuple[socket, socket], seed: int
) -> None:
    random = Random(seed)
    lock, semaphore = Lock(), Semaphore(2)
    inside: list[list[int]] = [[], []]
    greens = [spawn(kind_of_user, number, random, lock, semaphore, inside) for number in range(12)]
    for _ in range(30):
        for green in random.choices(greens, k=random.randrange(2)):
            green.kill()
        sleep(random.choice([0, 0.001]))
    for green in greens:
        green.join(1000)
        assert green.ready()
        assert not isinstance(green.exception, AssertionError)
    assert lock.acquire(timeout=1)
    assert semaphore.balance == 2
    assert len(hub.timers) == 0


def kind_of_user(number: int, random: Random, lock: Lock, semaphore: Semaphore, inside: list[list[int]]) -> None:
    """Hold the lock or a permit for a while, again and again, and leave clean however it ends."""
    thing, members, most = ((lock, inside[0], 1), (semaphore, inside[1], 2))[number % 2]
    for _ in range(10):
        with thing:
            members.append(number)
            try:
                assert len(members) <= most
                sleep(random.choice([0, 0.001]))
            finally:
                members.remove(number)


# -- greenlets of the users


def test_a_plain_greenlet_may_wait_on_the_hub() -> None:
    left, right = socketpair()
    child = greenlet(left.recv)
    spawn(right.send, b"x")
    assert child.switch(1) == b"x"
    left.close()
    right.close()


@pytest.mark.slow
def test_a_program_ends_with_greenthreads_still_parked() -> None:
    """Slow: starts an interpreter."""
    done = run_python("""
        from greenprobe.greenthread import sleep, spawn
        from greenprobe.sync import Event
        spawn(sleep, 60); spawn(Event().wait)
        sleep(0)
        print("end")
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def test_a_refused_connection_ends_the_wait_of_its_connect() -> None:
    with stdlib.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with socket(stdlib.AF_INET) as sock, pytest.raises(ConnectionRefusedError):
            sock.settimeout(5)
            sock.connect(closed.getsockname())
