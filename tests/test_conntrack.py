"""Drops of our own connection tracking: the kernel's counters, as text."""

from itertools import count

import pytest

from greenprobe.engine.conntrack import INTERVAL, ConntrackDrops, parse_drops, read_drops

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


def test_what_was_dropped_before_does_not_count() -> None:
    drops = ConntrackDrops(0.0, lambda: 7)
    assert not drops.since(0.0, 1.0)
    assert drops.count == 0


def test_a_drop_counts_for_what_was_sent_before_it_was_seen() -> None:
    counter = iter((5, 5, 8, 8))
    drops = ConntrackDrops(0.0, lambda: next(counter))
    assert not drops.since(0.5, 1.0)
    assert drops.since(1.5, 2.0)
    assert drops.count == 3
    assert not drops.since(2.5, 3.0)


def test_the_kernel_is_asked_now_and_then_only() -> None:
    asked = count(1)
    drops = ConntrackDrops(0.0, lambda: 0 * next(asked))
    for step in range(100):
        drops.since(0.0, INTERVAL * step / 100)
    assert next(asked) == 2
