"""CPython's own tests in patched processes: what is lost is what `cpython_expected.toml` says, no more and no less."""

import json
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent
EXPECTED: dict[str, dict[str, str]] = tomllib.loads((FOLDER / "cpython_expected.toml").read_text())
HERE = "lost on {}.{}".format(*sys.version_info)
LOST = EXPECTED["lost"] | EXPECTED.get(HERE, {})
TARGET = 0.985  # of what passes unpatched

pytestmark = pytest.mark.skipif(
    find_spec("test.test_socket") is None, reason="this Python comes without its `test` package"
)


def reports_of(tmp_path: Path, *words: str) -> list[dict[str, Any]]:
    """Run the suite, or some modules of it, and return its reports."""
    out = tmp_path / "reports.json"
    command = [sys.executable, str(FOLDER / "cpython_suite.py"), "--json", str(out), *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    reports: list[dict[str, Any]] = json.loads(out.read_text())
    return reports


@pytest.mark.slow
def test_what_cpythons_tests_lose_is_what_is_expected(tmp_path: Path) -> None:
    """Slow: it runs three thousand tests of CPython, for two to four minutes."""
    reports = reports_of(tmp_path)
    lost: dict[str, str] = {test: why for report in reports for test, why in report["lost"].items()}
    unexpected = {test: why for test, why in lost.items() if test not in LOST | EXPECTED["flaky"]}
    assert not unexpected, "lost, and not in cpython_expected.toml"
    passed = {test for report in reports for test in report["passed"]}
    saved = sorted(passed & LOST.keys())
    assert not saved, "these pass: take them out of cpython_expected.toml"
    assert len(passed) / (len(passed) + len(lost)) >= TARGET


@pytest.mark.slow
def test_a_patch_that_breaks_something_is_a_loss(tmp_path: Path) -> None:
    """Slow: it runs a module of CPython's tests, three times what fails in it."""
    patch = "import sched; sched.scheduler.empty = lambda self: None"
    (report,) = reports_of(tmp_path, "test_sched", "--patch", patch)
    assert "test.test_sched.TestCase.test_empty" in report["lost"]
    assert report["passed"]


@pytest.mark.slow
def test_a_module_that_cannot_be_loaded_any_more_is_lost_as_a_whole(tmp_path: Path) -> None:
    """Slow: it runs a module of CPython's tests."""
    (report,) = reports_of(tmp_path, "test_sched", "--patch", "import sys; sys.modules['sched'] = None")
    assert not report["passed"]
    assert len(report["lost"]) > 5
