"""The demo runs its own site, fetches, scans and crawls it, and leaves nothing behind."""

import gzip
import re
import subprocess
import sys

import pytest

from greenprobe.commands.demosite import PAGES, DemoSite, page, respond
from greenprobe.engine.links import html_facts


@pytest.mark.slow
def test_demo_shows_pages_trouble_open_ports_and_what_a_crawl_finds() -> None:
    """Slow: a process of its own, and a page that takes its time. Others may listen near its three ports, too."""
    command = [sys.executable, "-m", "greenprobe", "demo"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert re.search(r"45 URLs in .* 1 failed", done.stdout)
    assert "no URL" in done.stdout
    found = re.search(r"ports, (\d+) open", done.stdout)
    assert found is not None
    assert int(found[1]) >= 3
    assert {"http", "ssh", "smtp"} <= set(done.stdout.split())
    assert re.search(r"/private/diary +- +robots\n", done.stdout)
    assert "46 addresses, each once" in done.stdout


def test_demo_site_answers_what_it_promises() -> None:
    assert respond("/page/1").endswith(page("/page/1"))
    assert gzip.decompress(respond("/packed").partition(b"\r\n\r\n")[2]) == page("/packed")
    assert respond("/moved").startswith(b"HTTP/1.1 301 ")
    assert respond("/robots.txt").endswith(b"\nDisallow: /private/\n")
    for path in ("/other", "/page/x", f"/page/{PAGES}", "/private/diary"):
        assert respond(path).startswith(b"HTTP/1.1 404 ")


def test_every_plain_page_of_the_demo_site_can_be_walked_to() -> None:
    reached, ahead = set[str](), ["/"]
    while ahead:
        path = ahead.pop()
        if path not in reached:
            reached.add(path)
            ahead += [link.href for link in html_facts(page(path)).links if link.href.startswith("/page/")]
    assert len(reached) == 1 + PAGES


def test_demo_site_takes_free_ports_of_its_own() -> None:
    with DemoSite() as one, DemoSite() as other:
        assert not set(one.ports) & set(other.ports)
