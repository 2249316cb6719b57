"""Programs written for eventlet print under greenprobe what they print under eventlet."""

from importlib.util import find_spec

import pytest
from core_tools import needs_ipv6
from eventlet_scripts import SCRIPTS, recorded, run_all_by_us, run_by_eventlet

WANTS = {"sockets": needs_ipv6}


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """Exit status and output of each script under greenprobe."""
    return run_all_by_us(tmp_path_factory.mktemp("out"))


@pytest.mark.parametrize("name", [pytest.param(each, marks=WANTS.get(each, ())) for each in SCRIPTS])
def test_a_script_prints_what_eventlet_printed(name: str, ours: dict[str, tuple[int, str]]) -> None:
    status, output = ours[name]
    assert output.splitlines() == recorded(name).splitlines()
    assert status == 0


@pytest.mark.slow
@pytest.mark.skipif(find_spec("eventlet") is None, reason="eventlet is not installed (pip install '.[bench]')")
@pytest.mark.parametrize("name", SCRIPTS)
def test_the_recordings_are_what_eventlet_prints(name: str) -> None:
    """Slow: a process of eventlet, whose import takes most of a second."""
    assert run_by_eventlet(name) == recorded(name)
