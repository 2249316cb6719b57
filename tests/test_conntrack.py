"""Drops of our own connection tracking: the kernel's counters, as text."""

import pytest

from greenprobe.engine.conntrack import INTERVAL, TRICKLE, Tracking, parse_drops, read_drops, read_fill

TEXT = """entries  clashres found new insert_failed drop early_drop search_restart
0000012c  00000000 00000000 00000000 00000001 0000000a 00000044 00000000
0000012c  00000000 00000000 00000000 00000000 00000010 00000048 00000000
"""


def test_drops_of_all_processors_are_added() -> None:
    assert parse_drops(TEXT) == 1 + 10 + 16


@pytest.mark.parametrize("text", ("", "entries found\n1 2", "drop\n", "drop\nzz", "a drop\n1"))
def test_any_other_text_is_no_drop(text: str) -> None:
    assert parse_drops(text) == 0


def test_what_the_kernel_says_here_can_be_read() -> None:
    assert read_drops() >= 0


def test_what_the_kernel_says_of_the_table_can_be_read() -> None:
    count, most = read_fill()
    assert count >= 0
    assert most >= 0


class Kernel:
    """A table of connections that drops what does not fit."""

    def __init__(self, most: int, count: int = 0, drops: int = 0) -> None:
        self.most, self.count, self.drops = most, count, drops
        self.looks = 0

    def tracking(self) -> Tracking:
        return Tracking(0.0, self.read_drops, lambda: (self.count, self.most))

    def read_drops(self) -> int:
        self.looks += 1
        return self.drops

    def send(self) -> None:
        if self.count >= self.most:
            self.drops += 1
        else:
            self.count += 1


def test_what_was_dropped_before_does_not_count() -> None:
    tracking = Kernel(300, drops=7).tracking()
    assert not tracking.since(0.0, 1.0)
    assert (tracking.drops, tracking.is_tight) == (0, False)


def test_a_drop_counts_for_what_was_sent_before_it_was_seen() -> None:
    kernel = Kernel(300, drops=5)
    tracking = kernel.tracking()
    assert not tracking.since(0.5, 1.0)
    kernel.drops = 8
    assert tracking.since(1.5, 2.0)
    assert (tracking.drops, tracking.is_tight) == (3, True)
    assert not tracking.since(2.5, 3.0)


def test_the_kernel_is_asked_now_and_then_only() -> None:
    kernel = Kernel(300)
    tracking = kernel.tracking()
    for step in range(100):
        tracking.since(0.0, INTERVAL * step / 100)
    assert kernel.looks == 1


def test_nothing_more_is_dropped_once_the_table_is_known_to_be_full() -> None:
    kernel = Kernel(300, drops=1)
    tracking = kernel.tracking()
    kernel.drops = 2
    assert tracking.has_dropped()
    now = 0.0
    for _ in range(1000):
        while (delay := tracking.delay(now)) > 0:
            now += delay
            kernel.count = max(0, kernel.count - 1)  # an entry ends
        kernel.send()
        assert not tracking.has_dropped()
    assert kernel.count <= 300 - 300 // 16


def test_a_table_that_others_fill_is_tried_now_and_then() -> None:
    kernel = Kernel(300, count=300)
    tracking = kernel.tracking()
    kernel.drops = 1
    assert tracking.has_dropped()
    starts, now = [], 0.0
    while now < 60:
        delay = tracking.delay(now)
        if not delay:
            starts.append(now)
            kernel.send()
            assert tracking.has_dropped()
        now += delay
    assert len(starts) == pytest.approx(60 / TRICKLE, abs=1)
