"""Greenthreads that are used again: jobs run, fail alone, and none is lost when all are killed."""

import pytest
from greenlet import GreenletExit, getcurrent

from greenprobe.dns.crew import Crew
from greenprobe.hub import Hub


@pytest.mark.fifo
def test_a_greenthread_that_is_done_takes_the_next_job(hub: Hub) -> None:
    crew = Crew(hub)
    first = crew.run(getcurrent).wait()
    assert crew.run(getcurrent).wait() is first


def test_many_jobs_run_at_once(hub: Hub) -> None:
    crew = Crew(hub)
    outcomes = [crew.run(hub.sleep, 0) for _ in range(10)]
    assert [outcome.wait() for outcome in outcomes] == [None] * 10


def test_a_job_that_fails_fails_alone(hub: Hub) -> None:
    crew = Crew(hub)
    bad, good = crew.run(int, "x"), crew.run(int, "1")
    with pytest.raises(ValueError, match="invalid literal"):
        bad.wait()
    assert good.wait() == 1


def test_killing_all_ends_those_that_run_and_those_that_wait(hub: Hub) -> None:
    crew = Crew(hub)
    crew.run(int, "1").wait()  # its greenthread is about to look for another job
    waiting = [crew.run(hub.sleep, 3600) for _ in range(3)]
    crew.close()
    for outcome in waiting:
        with pytest.raises(GreenletExit):
            outcome.wait(1)


def test_killing_all_ends_those_that_have_not_begun(hub: Hub) -> None:
    crew = Crew(hub)
    waiting = [crew.run(hub.sleep, 3600) for _ in range(3)]
    crew.close()
    for outcome in waiting:
        with pytest.raises(GreenletExit):
            outcome.wait(1)
