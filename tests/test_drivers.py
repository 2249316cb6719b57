"""Drivers in C wait green, whether they are imported before the patch or after; undoing it gives them back."""

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from greenprobe import drivers
from greenprobe.doors import Doorkeeper
from greenprobe.green_socket import socketpair
from greenprobe.greenthread import spawn

PSYCOPG2 = """
class extensions:
    callback = None
    get_wait_callback = classmethod(lambda cls: cls.callback)
    @classmethod
    def set_wait_callback(cls, callback):
        cls.callback = callback
"""
WAITING = """
wait = _ready = "in C"
wait_poll = _ready_poll = "in Python"
"""


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stand-ins for both drivers, not imported yet."""
    (tmp_path / "psycopg2.py").write_text(PSYCOPG2)
    (tmp_path / "psycopg").mkdir()
    (tmp_path / "psycopg" / "__init__.py").write_text("from psycopg import waiting")
    (tmp_path / "psycopg" / "waiting.py").write_text(WAITING)
    monkeypatch.syspath_prepend(tmp_path)
    names = ["psycopg2", "psycopg", "psycopg.waiting"]
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield
    for name in names:
        sys.modules.pop(name, None)


def imported() -> tuple[Any, Any]:
    """Import both drivers; return psycopg2's wait callback and psycopg's wait function."""
    psycopg2: Any = import_module("psycopg2")
    waiting: Any = import_module("psycopg.waiting")
    return psycopg2.extensions.get_wait_callback(), waiting.wait


@pytest.mark.usefixtures("fakes")
def test_a_driver_that_is_imported_later_waits_green() -> None:
    undo = drivers.adopt_drivers()
    assert imported() == (drivers.wait_for_psycopg2, "in Python")
    undo()
    assert imported() == (None, "in C")
    assert not any(isinstance(finder, Doorkeeper) for finder in sys.meta_path)


@pytest.mark.usefixtures("fakes")
def test_a_driver_that_was_imported_before_waits_green() -> None:
    assert imported() == (None, "in C")
    undo = drivers.adopt_drivers()
    assert imported() == (drivers.wait_for_psycopg2, "in Python")
    undo()
    assert imported() == (None, "in C")


@pytest.mark.usefixtures("fakes")
def test_a_wait_callback_of_somebody_else_is_left_alone() -> None:
    psycopg2: Any = import_module("psycopg2")
    psycopg2.extensions.set_wait_callback(print)
    undo = drivers.adopt_drivers()
    undo()
    assert psycopg2.extensions.get_wait_callback() is print


def test_psycopg2_s_states_are_waited_for_one_after_the_other() -> None:
    ours, theirs = socketpair()
    with ours, theirs:
        states = iter([2, 1, 1, 0])
        connection = SimpleNamespace(fileno=ours.fileno, poll=lambda: next(states))
        waiter = spawn(drivers.wait_for_psycopg2, connection)
        spawn(theirs.send, b"x")
        waiter.wait(30)


def test_an_unknown_state_of_psycopg2_is_its_operational_error() -> None:
    connection = SimpleNamespace(poll=lambda: 3, OperationalError=OSError)
    with pytest.raises(OSError, match="unexpected state 3"):
        drivers.wait_for_psycopg2(connection)
