"""The ledger: a set of places, small whatever is in it, that goes into a file and comes back."""

import json

import pytest
from hypothesis import given, settings, strategies as st

from greenprobe.engine.ledger import CHUNK, Ledger

PLACES = st.sets(st.integers(0, 5 * CHUNK), max_size=300)


@settings(max_examples=50)
@given(PLACES)
def test_what_was_added_is_in_it_also_after_a_file(places: set[int]) -> None:
    ledger = Ledger()
    for place in places:
        ledger.add(place)
    back = Ledger.of_state(json.loads(json.dumps(ledger.state())))
    for each in (ledger, back):
        assert each.count == len(places)
        assert {place for place in range(0, 5 * CHUNK + 1, 7) if place in each} == {p for p in places if p % 7 == 0}


def test_full_chunks_take_no_room() -> None:
    ledger = Ledger()
    for place in range(3 * CHUNK + 5):
        ledger.add(place)
    assert ledger.state()["full"] == [[0, 2]]
    assert list(ledger.state()["partial"]) == ["3"]
    assert Ledger.of_state(ledger.state()).count == 3 * CHUNK + 5


def test_a_place_that_is_done_twice_is_an_error() -> None:
    ledger = Ledger()
    ledger.add(7)
    with pytest.raises(ValueError, match="place 7 is done already"):
        ledger.add(7)


@pytest.mark.parametrize(
    "state", ({}, {"full": [[0, 1]]}, {"full": [], "partial": {"0": "zz"}}, {"full": [], "partial": {"0": "00"}})
)
def test_what_was_no_ledger_is_refused(state: dict[str, object]) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        Ledger.of_state(state)
