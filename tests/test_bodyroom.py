"""Room for bodies: never more of them in memory than was said, and nobody waits for ever."""

import pytest

from greenprobe.engine.bodyroom import LARGEST_SHARE, Body, BodyRoom
from greenprobe.errors import BodyTooLarge
from greenprobe.greenthread import spawn
from greenprobe.hub import Hub

LONGEST = 1000
VISITS = 10
TOTAL = 4000  # a share of 100 for each visit, and three places


def receive(hub: Hub, bodies: list[Body], body: Body, size: int) -> int:
    """Take a body in pieces, others in between; return how many bytes all had at most."""
    bodies.append(body)
    sink = body.sink(None)
    most = 0
    for _ in range(size // 50):
        sink(bytes(50))
        most = max(most, sum(len(each.content) for each in bodies))
        hub.sleep(0)
    body.close()
    return most


@pytest.mark.parametrize("sizes", [[LONGEST] * VISITS, [100, LONGEST] * (VISITS // 2)], ids=["all long", "some long"])
def test_bodies_that_grow_side_by_side_all_arrive_and_stay_within_the_bound(hub: Hub, sizes: list[int]) -> None:
    room = BodyRoom(TOTAL, LONGEST, VISITS)
    bodies: list[Body] = []
    visits = [spawn(receive, hub, bodies, Body(room), size) for size in sizes]
    most = max(visit.wait() for visit in visits)
    assert LONGEST < most <= TOTAL  # in whatever order they grow
    assert room.places.balance == 3


def test_short_bodies_never_wait(hub: Hub) -> None:
    room = BodyRoom(TOTAL, LONGEST, VISITS)
    while room.places.acquire(blocking=False):
        pass
    bodies: list[Body] = []
    visits = [spawn(receive, hub, bodies, Body(room), 100) for _ in range(VISITS)]
    assert max(visit.wait() for visit in visits) <= VISITS * 100  # they end, though nobody ever gives a place back


def test_a_body_that_begins_anew_keeps_its_place_and_gives_it_back_once(hub: Hub) -> None:
    room = BodyRoom(TOTAL, LONGEST, VISITS)
    body = Body(room)
    body.sink(None)(bytes(500))
    body.sink(None)(bytes(600))
    assert (len(body.content), room.places.balance) == (600, 2)
    body.close()
    body.close()
    assert (len(body.content), room.places.balance) == (0, 3)


def test_what_was_taken_is_in_memory_once_and_keeps_its_place(hub: Hub) -> None:
    room = BodyRoom(TOTAL, LONGEST, VISITS)
    body = Body(room)
    body.sink(None)(bytes(500))
    assert body.whole() == bytes(500)
    assert (len(body.content), room.places.balance) == (0, 2)
    body.close()
    assert room.places.balance == 3


def test_a_body_over_the_bound_of_its_type_takes_no_place(hub: Hub) -> None:
    room = BodyRoom(TOTAL, LONGEST, VISITS)
    with pytest.raises(BodyTooLarge, match="longer than 200 bytes"):
        Body(room).sink(200)(bytes(201))
    assert room.places.balance == 3


def test_one_whole_body_is_always_taken(hub: Hub) -> None:
    assert BodyRoom(1, LONGEST, VISITS).places.balance == 1
    assert BodyRoom(1, 0, VISITS).places.balance == 1


def test_a_share_has_a_bound(hub: Hub) -> None:
    assert BodyRoom(1 << 40, LONGEST, 1).share == LARGEST_SHARE
