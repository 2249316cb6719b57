"""Storms of what the kernel sends: signals, which come between any two steps, and the bytes of pipes.

See `test_storms.py` for what a storm is, and why it is slow.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from typing import IO

import pytest
from storm import Deed, Hit, Storm

import greenprobe
from greenprobe.channel import Channel
from greenprobe.descriptors import read, write
from greenprobe.green_files import fdopen
from greenprobe.greenthread import sleep, spawn
from greenprobe.hub import Hub
from greenprobe.queue import Empty, Full, Queue
from greenprobe.sync import Event, Semaphore
from greenprobe.testing import RandomOrder
from greenprobe.timeout import fail_after

pytestmark = pytest.mark.slow
seeds = pytest.mark.parametrize("seed", range(4))


class Signals:
    """Things that a signal handler gives and greenthreads take: each is taken once, and nobody waits beside it."""

    def __init__(self) -> None:
        self.numbers = count()
        self.queue: Queue[int] = Queue()
        self.channel: Channel[int] = Channel()
        self.event, self.semaphore = Event(), Semaphore(0)
        self.sent: list[int] = []
        self.got: list[int] = []
        self.released = self.acquired = self.spawned = self.ran = 0
        self.deeds: list[Deed] = [
            self.get_one,
            self.meet_one,
            self.acquire,
            self.wait_for_flag,
            self.send,
            self.send_to_greenthread,
            Storm.nudge,
        ]

    def handle(self, *_: object) -> None:
        """What the handler does, wherever the program stands."""
        for put in (self.queue.put_nowait, self.channel.put_nowait):
            number = next(self.numbers)
            with suppress(Full):
                put(number)
                self.sent.append(number)
        self.semaphore.release()
        self.released += 1
        self.event.set()
        self.event.clear()

    def run(self) -> None:
        """What a greenthread does that a signal starts."""
        self.ran += 1

    def get_one(self, storm: Storm) -> None:
        self.got.append(self.queue.get(timeout=storm.patience()))

    def meet_one(self, storm: Storm) -> None:
        self.got.append(self.channel.get(timeout=storm.patience()))

    def acquire(self, storm: Storm) -> None:
        if self.semaphore.acquire(timeout=storm.patience()):
            self.acquired += 1

    def wait_for_flag(self, storm: Storm) -> None:
        self.event.wait(storm.patience())

    def send(self, _: Storm) -> None:
        signal.raise_signal(signal.SIGUSR1)

    def send_to_greenthread(self, _: Storm) -> None:
        self.spawned += 1
        signal.raise_signal(signal.SIGUSR2)

    def settled(self) -> None:
        for way in (self.queue, self.channel):
            with suppress(Empty):
                while True:
                    self.got.append(way.get_nowait())
        assert sorted(self.got) == sorted(self.sent)
        free = 0
        while self.semaphore.acquire(blocking=False):
            free += 1
        assert self.acquired + free == self.released
        with fail_after(10):
            while self.ran < self.spawned:  # the last ones wait for their turn
                sleep(0)
        assert self.ran == self.spawned


@pytest.fixture
def signals() -> Iterator[Signals]:
    """Handlers for two signals, the first of which comes every millisecond, too."""
    kind = Signals()
    before = signal.signal(signal.SIGUSR1, kind.handle), signal.signal(signal.SIGALRM, kind.handle)
    greenprobe.signal(signal.SIGUSR2, kind.run)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    yield kind
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGUSR1, before[0])
    signal.signal(signal.SIGALRM, before[1])
    greenprobe.signal(signal.SIGUSR2, signal.SIG_DFL)


@seeds
def test_a_storm_in_which_signals_come(hub: Hub, seed: int, signals: Signals) -> None:
    """Slow: ten thousand deeds by 2,000 greenthreads."""
    with RandomOrder(seed):
        storm = Storm(seed)
        storm.blow(signals.deeds, 2000)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signals.settled()
    assert min(storm.done[deed] for deed in signals.deeds) > 0
    assert (len(hub.timers), hub.overdue, hub.expected) == (0, 0, 0)


@seeds
def test_a_storm_in_which_ctrl_c_is_pressed(hub: Hub, seed: int) -> None:
    """Slow: some thousand deeds by 1,000 greenthreads. Main alone gets the interrupts, and none of them is lost."""
    pressed = 0

    def press(_: Storm) -> None:
        nonlocal pressed
        if not hub._interrupts.pending:  # a second one is raised where the program stands
            pressed += 1
            signal.raise_signal(signal.SIGINT)

    events = [Event() for _ in range(3)]

    def wait(storm: Storm) -> None:
        storm.random.choice(events).wait(storm.random.choice((0, 0.001)))

    def wake(storm: Storm) -> None:
        storm.random.choice(events).set()

    with RandomOrder(seed):
        storm = Storm(seed)
        got = 0
        all_of_it = spawn(storm.blow, [press, wait, wake], 1000)
        while not all_of_it.ready() or hub._interrupts.pending:
            try:
                sleep(0.001)
            except KeyboardInterrupt:
                got += 1
        all_of_it.wait()
    assert got == pressed > 0


class Pipes:
    """Pipes whose users are killed in the middle of it: every byte arrives, in order, once.

    An end is closed by nobody but its last user, as nothing tells who waits for a descriptor that it is closed.
    """

    def __init__(self) -> None:
        self.words = count()
        self.deeds: list[Deed] = [self.talk, self.take_over, self.flood, self.share, Storm.nudge]

    def word(self) -> bytes:
        """Return nine bytes that nobody else says."""
        return b"%09d" % next(self.words)

    def talk(self, storm: Storm) -> None:
        """Say words, and hear them back from a peer."""
        (here, to_here), (there, to_there) = os.pipe(), os.pipe()
        storm.spawn(echo, storm, there, to_here)
        try:
            for _ in range(3):
                word = self.word()
                write(to_there, word)
                storm.pause()  # so that the answer may come when nobody waits for it
                assert read(here, 100) == word
        finally:
            os.close(to_there)
            os.close(here)

    def take_over(self, storm: Storm) -> None:
        """Kill who reads, perhaps when its word has come, and read in its place."""
        source, sink = os.pipe()
        reader = storm.spawn(read, source, 100)
        try:
            word = self.word()
            write(sink, word)
            storm.pause()
            reader.kill(Hit)
            reader.join()
            assert (reader.value or read(source, 100)) == word
        finally:
            os.close(sink)
            reader.kill(Hit)
            reader.link(lambda _: os.close(source))

    def flood(self, storm: Storm) -> None:
        """Write more than fits, and kill who writes: what arrived is the beginning of it."""
        source, sink = os.pipe()
        data = self.word() * 20_000
        writer = storm.spawn(write, sink, data)
        writer.link(lambda _: os.close(sink))
        arrived = b""
        try:
            while len(arrived) < len(data) and not storm.chance(0.1):
                arrived += read(source, 50_000)
            writer.kill(Hit)
            while more := read(source, 1_000_000):
                arrived += more
        finally:
            os.close(source)
        assert data.startswith(arrived)
        assert writer.value in {None, len(arrived)}

    def share(self, storm: Storm) -> None:
        """Read lines of one file by two, one of whom may be killed: each line comes whole, and once."""
        source, sink = os.pipe()
        lines = [self.word() + b"\n" for _ in range(6)]
        got: list[bytes] = []
        file = fdopen(source, "rb")
        readers = [storm.spawn(take_lines, storm, file, got) for _ in range(2)]
        for reader in readers:
            reader.link(lambda _: all(each.ready() for each in readers) and file.close())
        try:
            for line in lines:
                write(sink, line)
                storm.pause()
            if storm.chance(0.2):
                readers[0].kill(Hit)
        finally:
            os.close(sink)
        for reader in readers:
            reader.join()
        assert sorted(got) == lines


def echo(storm: Storm, source: int, sink: int) -> None:
    """Send back what comes until the other end is closed."""
    try:
        while data := read(source, 100):
            storm.pause()
            write(sink, data)
    finally:
        os.close(source)
        os.close(sink)


def take_lines(storm: Storm, file: IO[bytes], got: list[bytes]) -> None:
    """Read lines to the end of the file."""
    while line := file.readline():
        got.append(line)
        storm.pause()


@seeds
def test_a_storm_over_pipes(hub: Hub, seed: int) -> None:
    """Slow: a thousand deeds by 200 greenthreads, of up to four descriptors each."""
    kind = Pipes()
    with RandomOrder(seed):
        storm = Storm(seed)
        storm.blow(kind.deeds, 200)
    assert min(storm.done[deed] for deed in kind.deeds) > 0
    assert (len(hub.timers), hub.overdue, hub.expected) == (0, 0, 0)
