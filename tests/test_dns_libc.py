"""Names agree with libc: a thousand calls, on a hosts file, a zone and a configuration of our own, in namespaces."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from core_tools import succeeds

PROGRAM = Path(__file__).with_name("libc_comparison.py")


@pytest.mark.slow
@pytest.mark.parametrize("network", ["both", "ipv4"])
def test_every_call_has_libcs_result(tmp_path: Path, network: str) -> None:
    """Slow: a thousand calls to libc, some of which wait. Needs root, for namespaces; skips without."""
    if not succeeds("unshare", "--mount", "--net", "ip", "link"):
        pytest.skip("needs root, unshare and ip, to lay its own files over /etc in a namespace")
    path = os.pathsep.join([str(PROGRAM.parent.parent), str(PROGRAM.parent)])
    command = ["unshare", "--mount", "--net", sys.executable, str(PROGRAM), str(tmp_path), network]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stdout, done.stdout
    assert int(done.stderr.split()[0]) > 900
