"""Who waits where, as a deadlock and a dump of all greenthreads say it."""

import re

from core_tools import turns
from greenlet import getcurrent, greenlet

from greenprobe.greenthread import sleep, spawn, spawn_n
from greenprobe.hub import Hub
from greenprobe.sync import Event
from greenprobe.whereabouts import describe, name_of, parked, root_of, where


def wait_for_it(event: Event) -> bool:
    return event.wait()


def test_where_names_what_is_waited_in_and_the_users_line() -> None:
    event = Event()
    green = spawn(wait_for_it, event)
    turns(1)
    assert re.fullmatch(r"waits in Event\.wait, called by wait_for_it, .*test_whereabouts\.py:\d+", where(green)), (
        where(green)
    )
    event.set()
    green.wait()
    assert where(green) == "over"


def test_what_waits_in_greenprobe_only_says_in_what() -> None:
    green = spawn(sleep, 60)
    assert where(green) == "not started"
    turns(1)
    assert re.fullmatch(r"waits in .*sleep", where(green))
    green.kill()
    green.join()


def test_a_greenlet_of_the_users_that_switched_away_says_so() -> None:
    def away() -> None:
        getcurrent().parent.switch()  # type: ignore[union-attr]

    green = greenlet(away)
    green.switch()
    assert re.fullmatch(r"switched away in .*away, .*test_whereabouts\.py:\d+", where(green))
    green.switch()


def test_parked_yields_who_waits_and_not_who_runs(hub: Hub) -> None:
    event = Event()
    waiting, bare, unstarted = spawn(event.wait), spawn_n(event.wait), greenlet(turns)
    turns(1)
    found = set(parked(hub.loop))
    assert {waiting, bare} <= found
    assert not found & {unstarted, hub.loop, getcurrent()}
    event.set()
    turns(2)
    assert not set(parked(hub.loop)) & {waiting, bare}


def test_names_are_given_or_made(hub: Hub) -> None:
    named, bare = spawn(turns), spawn_n(turns)
    named.name = "given"
    assert name_of(named) == "given"
    assert name_of(bare) == f"BareGreenThread-{id(bare):x}"
    assert name_of(root_of(bare)) == "main"
    assert root_of(named) is root_of(hub.loop) is hub.main
    turns(5)


def test_a_description_has_a_line_each_and_an_end(hub: Hub) -> None:
    event = Event()
    greens = [spawn(wait_for_it, event) for _ in range(7)]
    turns(1)
    text = describe(hub.loop, most=5)
    assert len(text.splitlines()) == 6
    assert text.splitlines()[-1] == "  and 2 more"
    assert describe(hub.loop).count("Event.wait") == 7
    event.set()
    for green in greens:
        green.wait()
