"""The demo runs its own site, fetches and scans it, and leaves nothing behind."""

import gzip
import re
import subprocess
import sys

import pytest

from greenprobe.commands.demosite import BODY, DemoSite, respond


@pytest.mark.slow
def test_demo_shows_pages_trouble_and_open_ports() -> None:
    """Slow: a process of its own, and a page that takes its time. Others may listen near its three ports, too."""
    command = [sys.executable, "-m", "greenprobe", "demo"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert re.search(r"45 URLs in .* 1 failed", done.stdout)
    found = re.search(r"ports, (\d+) open", done.stdout)
    assert found is not None
    assert int(found[1]) >= 3
    assert "no URL" in done.stdout


def test_demo_site_answers_what_it_promises() -> None:
    assert respond("/page/1").endswith(BODY)
    assert gzip.decompress(respond("/packed").partition(b"\r\n\r\n")[2]) == BODY
    assert respond("/moved").startswith(b"HTTP/1.1 301 ")
    assert respond("/other").startswith(b"HTTP/1.1 404 ")


def test_demo_site_takes_free_ports_of_its_own() -> None:
    with DemoSite() as one, DemoSite() as other:
        assert not set(one.ports) & set(other.ports)
