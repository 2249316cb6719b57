"""Names under monkey patching: the standard library, and requests, resolve a thousand of them without a thread."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("patched_names.py")


@pytest.mark.slow
@pytest.mark.parametrize("client", ["urllib", "requests"])
def test_a_thousand_names_cost_a_question_a_type_and_no_thread(client: str) -> None:
    """Slow: a thousand requests, in a process of its own."""
    if find_spec(client) is None:
        pytest.skip(f"needs the package {client}")
    path = os.pathsep.join([str(PROGRAM.parent.parent), str(PROGRAM.parent)])
    done = subprocess.run(
        [sys.executable, str(PROGRAM), client],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout == "1000 answered, 2.0 questions a name, 0 threads\n", done.stderr
