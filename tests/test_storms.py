"""Storms over the core: whatever happens in whichever order, nothing is lost, nothing comes twice, nothing is left.

A test of its own shows one order of events; these look for the orders that nobody thought of. Each kind of storm is a
class of shared things: its deeds use them and assert what must hold meanwhile, `settled` what must hold when the last
greenthread has ended, and `tide` gives those who wait for others what they wait for. Greenthreads, descriptors and
threads that are left behind are found by the fixture that every test has. See `storm.py` for the rest.

They are slow for one reason: what is looked for is rare, so each seed does thousands of deeds.
"""

import socket as stdlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from itertools import count

import pytest
from core_tools import in_child
from greenlet import GreenletExit, getcurrent, greenlet
from storm import Deed, Hit, Storm

from greenprobe import pool as pools
from greenprobe.channel import Channel
from greenprobe.condition import Barrier, BrokenBarrierError, Condition
from greenprobe.errors import BusyError, Cancelled
from greenprobe.green_socket import socket, socketpair
from greenprobe.greenthread import GreenThread, sleep, spawn, spawn_after, spawn_n
from greenprobe.hub import Hub
from greenprobe.outcome import AsyncResult
from greenprobe.queue import Empty, Full, LifoQueue, PriorityQueue, Queue
from greenprobe.sync import BoundedSemaphore, Event, Lock, RLock, Semaphore
from greenprobe.taskgroup import TaskGroup
from greenprobe.testing import JumpClock, RandomOrder
from greenprobe.threadpool import ThreadPool
from greenprobe.timeout import Timeout, move_on_after

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")]
seeds = pytest.mark.parametrize("seed", range(4))


class Locks:
    """Locks of every kind: never more holders than permits, and all are free in the end."""

    def __init__(self) -> None:
        self.lock, self.rlock, self.condition, self.event = Lock(), RLock(), Condition(), Event()
        self.semaphore, self.bounded, self.barrier = Semaphore(3), BoundedSemaphore(2), Barrier(3)
        self.holders: dict[object, list[None]] = {each: [] for each in (self.lock, self.semaphore, self.bounded)}
        self.deeds: list[Deed] = [
            partial(self.hold, lock=self.lock, permits=1),
            partial(self.hold, lock=self.semaphore, permits=3),
            partial(self.hold, lock=self.bounded, permits=2),
            self.hold_twice,
            self.notify,
            self.wait_for_notice,
            self.raise_flag,
            self.wait_for_flag,
            self.meet,
            Storm.nudge,
        ]

    def hold(self, storm: Storm, lock: Lock | Semaphore, permits: int) -> None:
        with lock:
            holders = self.holders[lock]
            holders.append(None)
            try:
                assert len(holders) <= permits
                storm.pause()
            finally:
                holders.pop()

    def hold_twice(self, storm: Storm) -> None:
        with self.rlock:
            storm.pause()
            with self.rlock:
                storm.pause()

    def notify(self, storm: Storm) -> None:
        with self.condition:
            self.condition.notify(storm.random.choice((1, 2, 5)))

    def wait_for_notice(self, storm: Storm) -> None:
        with self.condition:
            self.condition.wait(storm.patience())

    def raise_flag(self, _: Storm) -> None:
        self.event.set()
        self.event.clear()

    def wait_for_flag(self, storm: Storm) -> None:
        self.event.wait(storm.patience())

    def meet(self, _: Storm) -> None:
        try:
            self.barrier.wait(0.005)
        except BrokenBarrierError:
            self.barrier.reset()

    def tide(self, storm: Storm) -> None:
        self.raise_flag(storm)
        if self.condition.acquire(blocking=False):
            self.condition.notify_all()
            self.condition.release()

    def settled(self) -> None:
        assert not any(self.holders.values())
        assert (self.semaphore.balance, self.bounded.balance) == (3, 2)
        assert not self.lock.locked()
        assert self.rlock.acquire(blocking=False)
        assert self.condition.acquire(blocking=False)


class Values:
    """Numbers passed through queues and a channel: what was put is got once, whoever was killed on the way."""

    def __init__(self) -> None:
        self.ways: list[Queue[int] | Channel[int]] = [Queue(5), LifoQueue(2), PriorityQueue(3), Channel()]
        self.numbers = count()
        self.put: list[int] = []
        self.undecided: list[int] = []  # put or not: who did so was killed or timed out meanwhile
        self.got: list[int] = []
        self.deeds: list[Deed] = [self.put_one, self.get_one, self.run_dry, Storm.nudge]

    def put_one(self, storm: Storm) -> None:
        self._put(storm.random.choice(self.ways), storm.patience())

    def get_one(self, storm: Storm) -> None:
        self.got.append(storm.random.choice(self.ways).get(timeout=storm.patience()))

    def _put(self, way: Queue[int] | Channel[int], patience: float | None) -> None:
        number = next(self.numbers)
        try:
            way.put(number, timeout=patience)
            self.put.append(number)
        except Full:
            raise
        except BaseException:
            self.undecided.append(number)
            raise

    def run_dry(self, storm: Storm) -> None:
        """Iterate over a queue of one's own until it is shut down, perhaps at once, in the middle."""
        queue: Queue[int] = Queue(2)

        def feed() -> None:
            for number in range(6):
                queue.put(number)
            queue.shutdown()

        feeder = storm.spawn(feed)
        try:
            for _ in queue:
                if storm.chance(0.05):
                    queue.shutdown(immediate=True)
            feeder.join()
        finally:
            feeder.kill(Hit)

    def tide(self, _: Storm) -> None:
        for way in self.ways:
            with suppress(Full):
                self._put(way, 0)
            with suppress(Empty):
                self.got.append(way.get_nowait())

    def settled(self) -> None:
        for way in self.ways:
            with suppress(Empty):
                while True:
                    self.got.append(way.get_nowait())
        assert len(self.got) == len(set(self.got)), "a value came twice"
        assert set(self.put) <= set(self.got), "a value was lost"
        assert set(self.got) <= {*self.put, *self.undecided}, "a value came from nowhere"


class Sockets:
    """Sockets that are closed under who reads, and whose numbers are used again: each hears its own peer only."""

    def __init__(self) -> None:
        self.names = count()
        self.adrift: list[socket] = []  # to be used and closed by anybody, in any thread
        self.deeds: list[Deed] = [
            self.converse,
            self.take_over,
            self.flood,
            self.set_adrift,
            self.pick_up,
            self.connect,
            Storm.nudge,
        ]

    def converse(self, storm: Storm) -> None:
        """Say words that nobody else says, and hear them back; one end may be closed before that."""
        left, right = storm.random.choice((socketpair, tcp_pair))()
        peer = storm.spawn(echo, right, storm)
        with left:
            left.settimeout(storm.random.choice((None, 0.0001, 0.05)))
            for _ in range(3):
                word = b"%09d" % next(self.names)
                left.sendall(word)
                storm.pause()  # so that the answer may come when nobody waits for it
                if storm.chance(0.1):
                    storm.random.choice((left, right)).close()
                assert left.recv(100) in {word, b""}
        peer.join()

    def take_over(self, storm: Storm) -> None:
        """Kill who reads, perhaps when its word has come, and read in its place."""
        left, right = storm.random.choice((socketpair, tcp_pair))()
        peer = storm.spawn(echo, right, storm)
        with left:
            word = b"%09d" % next(self.names)
            reader = storm.spawn(left.recv, 100)
            left.sendall(word)
            storm.pause()
            reader.kill(Hit)
            reader.join()
            assert (reader.value or left.recv(100)) == word
        peer.join()

    def flood(self, storm: Storm) -> None:
        """Send more than fits, so that both sides wait to write, too."""
        left, right = socketpair()
        peer = storm.spawn(echo, right, storm)
        with left:
            writer = storm.spawn(left.sendall, bytes(storm.random.choice((10, 1_000_000))))
            try:
                storm.pause()
                left.recv(1_000_000)
            finally:
                writer.kill(Hit)
        peer.join()

    def connect(self, storm: Storm) -> None:
        """Listen, accept and talk over TCP; the listener is closed under who accepts."""
        with socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            server = storm.spawn(serve, listener, storm)
            with socket() as client:
                client.settimeout(storm.random.choice((None, 0.05)))
                client.connect(listener.getsockname())
                word = b"%09d" % next(self.names)
                client.sendall(word)
                if storm.chance(0.1):
                    listener.close()
                assert client.recv(100) == word
        server.join()

    def set_adrift(self, storm: Storm) -> None:
        one, other = socketpair()
        self.adrift += [one, other]
        one.settimeout(storm.patience())
        with suppress(BusyError):
            one.recv(1)

    def pick_up(self, storm: Storm) -> None:
        found = self._found(storm)
        if found is None:
            return
        try:
            if storm.chance(0.5):
                found.send(b"x")
            else:
                found.settimeout(0.005)  # the other end may be somebody's who waits, too
                with suppress(BusyError):
                    found.recv(1)
        finally:
            found.close()

    def _found(self, storm: Storm) -> socket | None:
        try:
            return self.adrift.pop(storm.random.randrange(len(self.adrift)))
        except (IndexError, ValueError):
            return None  # another thread has taken the last one

    def tide(self, storm: Storm) -> None:
        found = self._found(storm)
        if found is not None:
            found.close()

    def settled(self) -> None:
        for each in self.adrift:
            each.close()


def tcp_pair() -> tuple[socket, socket]:
    """Return two green sockets that are connected over TCP, whose short reads are hints."""
    with stdlib.create_server(("127.0.0.1", 0)) as listener:
        client = stdlib.create_connection(listener.getsockname())
        server, _ = listener.accept()
    return socket(fileno=client.detach()), socket(fileno=server.detach())


def echo(sock: socket, storm: Storm) -> None:
    """Send back what comes, sooner or later, until the other end is closed, or this one."""
    with sock:
        try:
            while data := sock.recv(100_000):
                storm.pause()
                sock.sendall(data)
        except OSError:
            pass


def serve(listener: socket, storm: Storm) -> None:
    """Echo on the first connection, if there is one before the listener is closed."""
    try:
        sock, _ = listener.accept()
    except OSError:
        return
    echo(sock, storm)


keeper: ContextVar[object] = ContextVar("keeper")


class Children:
    """Greenthreads that start others: none outlives its block, its pool is right about it, its context is its own."""

    def __init__(self) -> None:
        self.pool = pools.GreenPool(10)
        self.threads = ThreadPool(2)
        self.deeds: list[Deed] = [
            self.start_group,
            self.fill_pool,
            self.map,
            self.wait_for_some,
            self.start_later,
            self.ask_for_result,
            self.start_unwatched,
            self.work_in_thread,
            self.keep_context,
            self.switch_plainly,
        ]

    def start_group(self, storm: Storm) -> None:
        alive: list[GreenThread] = []

        def child(fails: bool) -> None:
            alive.append(getcurrent())  # type: ignore[arg-type]
            try:
                storm.pause()
                if fails:
                    raise Hit
            finally:
                alive.pop()

        try:
            with TaskGroup() as group:
                for _ in range(storm.random.randrange(5)):
                    group.spawn(child, storm.chance(0.1))
                storm.pause()
        finally:
            assert not alive, "children outlived their block"

    def fill_pool(self, storm: Storm) -> None:
        own = pools.GreenPool(2)
        for pool in (self.pool, own, own, own):
            pool.spawn_n(storm.pause)
            worker = pool.spawn(storm.pause)
            if storm.chance(0.2):
                worker.kill()
        if storm.chance(0.5):
            own.kill()
        own.waitall()
        assert (own.running(), own.free()) == (0, 2)

    def map(self, storm: Storm) -> None:
        def same(number: int) -> int:
            storm.pause()
            return number

        for expected, number in enumerate(self.pool.imap(same, range(5))):
            assert number == expected
            if storm.chance(0.1):
                break

    def wait_for_some(self, storm: Storm) -> None:
        greens = [spawn(storm.pause) for _ in range(4)]
        try:
            assert pools.wait_any(greens, count=2)[0].ready()
            assert all(green.ready() for green in pools.as_completed(greens))
        finally:
            for green in greens:
                green.kill()

    def start_later(self, storm: Storm) -> None:
        ran: list[int] = []
        green = spawn_after(0.001, ran.append, 1)
        try:
            storm.pause()
        finally:
            green.kill()
        assert green.successful() == bool(ran)

    def ask_for_result(self, storm: Storm) -> None:
        result: AsyncResult[int] = AsyncResult()
        setter = spawn_after(0.001, result.set, 3)
        try:
            assert result.wait(storm.patience()) == 3
        finally:
            setter.kill()

    def start_unwatched(self, _: Storm) -> None:
        event = Event()
        spawn_n(event.set)
        event.wait()

    def work_in_thread(self, storm: Storm) -> None:
        job = self.threads.submit(time.sleep, storm.random.choice((0, 0.001)))
        try:
            job.wait()
        finally:
            job.cancel()

    def keep_context(self, storm: Storm) -> None:
        mine = object()
        keeper.set(mine)

        def child() -> None:
            storm.pause()
            assert keeper.get() is mine
            keeper.set(None)

        children = spawn(child), self.pool.spawn(child)
        spawn_n(child)
        storm.pause()
        assert keeper.get() is mine
        for each in children:
            each.join()

    def switch_plainly(self, _: Storm) -> None:
        """Take values from a greenlet of one's own: no wake-up that came too late may end such a switch."""
        me = getcurrent()

        def numbers() -> None:
            for number in range(3):
                sleep(0)
                me.switch(number)

        own = greenlet(numbers)
        try:
            for number in range(3):
                assert own.switch() == number
        finally:
            own.throw()  # whoever is killed here takes it along

    def tide(self, _: Storm) -> None:
        """Nobody waits for anybody but his own children."""

    def settled(self) -> None:
        assert self.pool.join(10)
        assert (self.pool.running(), self.pool.free(), self.pool.waiting()) == (0, 10, 0)
        self.threads.shutdown()


Kind = Locks | Values | Sockets | Children


def blow(hub: Hub, seed: int, kind: Kind, actors: int) -> None:
    """Let one storm blow on one hub, and see that nothing is left of it."""
    with RandomOrder(seed):
        storm = Storm(seed)
        storm.blow(kind.deeds, actors, kind.tide)
        kind.settled()
        sleep(0.01)  # the longest pause, of children that outlived who started them and was killed
    assert min(storm.done[deed] for deed in kind.deeds) > 0
    assert (len(hub.timers), hub.overdue, hub.expected) == (0, 0, 0)


@seeds
@pytest.mark.parametrize("kind", [Locks, Values, Sockets, Children])
def test_a_storm_on_one_hub(hub: Hub, kind: Callable[[], Kind], seed: int, clock: JumpClock) -> None:
    """Slow: some thousand deeds by 500 greenthreads."""
    blow(hub, seed, kind(), 500)


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Threads that pass the GIL on five hundred times as often as they would."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(before / 500)
    yield
    sys.setswitchinterval(before)


@seeds
@pytest.mark.usefixtures("hasty_threads")
@pytest.mark.parametrize("kind", [Locks, Values, Sockets])
def test_a_storm_over_several_threads(kind: Callable[[], Kind], seed: int) -> None:
    """Slow: four hubs whose greenthreads share everything, and kill each other."""
    shared, actors, faults = kind(), list[GreenThread](), list[BaseException]()

    def run(number: int) -> None:
        try:
            with RandomOrder(seed * 10 + number):
                Storm(seed * 10 + number, actors).blow(shared.deeds, 100)
        except BaseException as fault:  # raised by the test
            faults.append(fault)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    storm = Storm(seed)
    while any(thread.is_alive() for thread in threads):
        shared.tide(storm)
        sleep(0.002)
    if faults:
        raise faults[0]
    shared.settled()


@seeds
def test_a_storm_in_which_greenthreads_fork(hub: Hub, seed: int) -> None:
    """Slow: a dozen forked children, in each of which the core works anew."""
    kinds = Locks(), Values(), Sockets()
    left = count(12, -1)

    def fork(_: Storm) -> None:
        if next(left) > 0:
            assert in_child(partial(works_anew, kinds[0].semaphore)) == (0, "True")

    def tide(storm: Storm) -> None:
        for kind in kinds:
            kind.tide(storm)

    with RandomOrder(seed):
        Storm(seed).blow([fork, *(deed for kind in kinds for deed in kind.deeds)], 300, tide)
    for kind in kinds:
        kind.settled()
    assert next(left) < 0
    assert (len(hub.timers), hub.overdue) == (0, 0)


def works_anew(semaphore: Semaphore) -> bool:
    """Tell, in a forked child, whether the core works there, and a semaphore whose waiters have stayed behind."""
    try:
        left, right = socketpair()
        reader = spawn(left.recv, 1)
        sleep(0.001)
        right.send(b"x")
        assert reader.wait() == b"x"
        assert list(pools.GreenPool(3).imap(abs, range(6))) == list(range(6))
        with move_on_after(0.002) as scope:
            Event().wait()
        semaphore.release()
        return scope.cancelled_caught and semaphore.acquire(blocking=False)
    except (Timeout, TimeoutError, Cancelled, GreenletExit):
        return True  # of a deadline that the fork has passed on
