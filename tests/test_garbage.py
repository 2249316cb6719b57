"""Commands look for garbage rarely, and leave the collector as they found it."""

import gc
from collections.abc import Callable

import pytest

from greenprobe.commands import garbage
from greenprobe.commands.garbage import MANY_OBJECTS, rarely_collected


@pytest.mark.parametrize("is_frozen", [False, True])
def test_the_collector_is_left_as_it_was_found(
    is_frozen: bool, really_set_aside: Callable[[], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(garbage, "is_set_aside", really_set_aside)
    gc.unfreeze()
    if is_frozen:
        gc.freeze()
    before = gc.get_freeze_count(), gc.get_threshold()
    with rarely_collected():
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold()[0] == MANY_OBJECTS
    after = gc.get_freeze_count(), gc.get_threshold()
    gc.freeze()  # as it was: looking for leaks is quick then
    assert after == before
