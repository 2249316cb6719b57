"""GreenPool of compat where it is better than eventlet's, whose imap and resize lose people."""

import gc
from collections.abc import Iterator
from weakref import ref

import pytest
from core_tools import turns

from greenprobe.compat.eventlet import GreenPool, greenpool, kill, sleep, spawn
from greenprobe.compat.eventlet.event import Event


def test_growing_lets_in_who_waits_for_a_place() -> None:
    pool = GreenPool(0)
    waiting = spawn(pool.spawn, int, "5")
    turns()
    assert (pool.waiting(), pool.free()) == (1, 0)
    pool.resize(1)
    assert waiting.wait().wait() == 5


def test_places_taken_away_under_workers_are_paid_back_first() -> None:
    pool, event = GreenPool(3), Event()
    workers = [pool.spawn(event.wait) for _ in range(3)]
    pool.resize(1)
    assert (pool.free(), pool.running(), pool.waiting()) == (-2, 3, 0)
    pool.resize(2)
    assert pool.free() == -1
    event.send()
    pool.waitall()
    assert pool.free() == 2
    assert all(worker.dead for worker in workers)


def test_a_worker_killed_before_it_ran_gives_its_place_back() -> None:
    pool = GreenPool(1)
    pool.spawn_n(sleep, 10)
    for worker in list(pool.coroutines_running):
        kill(worker)
    assert (pool.free(), pool.running()) == (1, 0)


def test_imap_of_an_input_that_fails_raises_that_and_ends() -> None:
    def numbers() -> Iterator[int]:
        yield 1
        raise ValueError("the input")

    results = GreenPool(2).imap(abs, numbers())
    assert next(results) == 1
    with pytest.raises(ValueError, match="the input"):
        next(results)
    with pytest.raises(StopIteration):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_leaving_an_imap_early_ends_its_feeder_and_lets_workers_finish() -> None:
    done: list[int] = []
    read: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(1000):
            read.append(number)
            yield number

    for _ in GreenPool(3).imap(done.append, numbers()):
        break
    gc.collect()
    turns(20)
    assert set(done) <= set(read)
    assert len(read) < 12
    assert not [thing for thing in gc.get_objects() if isinstance(thing, greenpool.GreenMap)]


def test_an_imap_that_nobody_looks_at_runs_as_far_as_there_is_room() -> None:
    done: list[int] = []
    GreenPool(2).imap(done.append, range(100))
    turns(20)
    assert 2 <= len(done) <= 4


def test_results_of_a_pile_are_let_go_of() -> None:
    class Big:
        pass

    pile = greenpool.GreenPile(2)
    pile.spawn(Big)
    result = ref(next(pile))
    gc.collect()
    assert result() is None


def test_workers_of_spawn_n_are_printed_if_debug_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = GreenPool()
    pool.spawn_n(int, "x")
    pool.waitall()
    assert "ValueError" in capsys.readouterr().err
    monkeypatch.setattr(greenpool, "DEBUG", False)
    pool.spawn_n(int, "x")
    pool.waitall()
    assert capsys.readouterr().err == ""
