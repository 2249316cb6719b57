"""Pages as a browser makes them: on a real Chromium where there is one, and what is said where there is none."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from core_tools import wait_until
from fakes import ok, web_server

from greenprobe.cli import cli, run
from greenprobe.engine import browser
from greenprobe.engine.browser import find_browser
from greenprobe.engine.rendering import Renderer, Reply, fulfilment
from greenprobe.http.client import Client, ClientOptions
from greenprobe.hub import Hub

HTML = "Content-Type: text/html"
SCRIPT = b"""
document.title = 'made';
function add(href) { const a = document.createElement('a'); a.href = href; document.body.append(a); }
fetch('/data.json').then(answer => answer.json()).then(hrefs => hrefs.forEach(add));
fetch('/forbidden').catch(() => add('/was-refused'));
fetch('/changes-something', {method: 'POST'}).catch(() => 0);
"""
PAGES = {
    "/robots.txt": ok(b"User-agent: *\nDisallow: /forbidden\n", "Content-Type: text/plain"),
    "/": ok(b"<title>empty</title><body><img src=/picture.png><script src=/app.js></script>", HTML),
    "/app.js": ok(SCRIPT, "Content-Type: text/javascript"),
    "/data.json": ok(b'["/one", "/loop", "/goes"]', "Content-Type: application/json"),
    "/one": ok(b"<title>one</title><body><script src=/app.js></script>", HTML),
    "/loop": ok(b"<title>loop</title><a href=/below>x</a><script>while (true);</script>", HTML),
    "/goes": ok(b"<title>goes</title><script>alert(1); location = '/gone-to'</script>", HTML),
}

needs_chromium = pytest.mark.skipif(
    not any(map(shutil.which, browser.NAMES)), reason="there is no Chromium on this machine"
)


class Site:
    """The pages, and what was asked of them."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def respond(self, path: str) -> bytes:
        self.asked.append(path)
        return PAGES.get(path) or ok(b"no", status="404 Not Found")


@pytest.fixture
def site() -> Iterator[tuple[Site, str]]:
    found = Site()
    with web_server(found.respond) as port:
        yield found, f"http://127.0.0.1:{port}"


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder whose path is short enough for the profiles of browsers."""
    with tempfile.TemporaryDirectory(prefix="greenprobe-", dir="/tmp") as name:
        yield Path(name)


def crawled(url: str, temporary: Path, *words: str) -> dict[str, dict[str, Any]]:
    """Crawl with a browser in a process of its own, and return the rows by path."""
    command = [sys.executable, "-m", "greenprobe", "crawl", url, "--render", *words]
    environ = {**os.environ, "TMPDIR": str(temporary)}
    done = subprocess.run(command, check=True, timeout=120, stdout=-1, stderr=subprocess.DEVNULL, env=environ)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {row["url"].removeprefix(url): row for row in rows}


@needs_chromium
@pytest.mark.slow
def test_what_scripts_make_of_pages_is_read_and_a_page_is_asked_for_once(site: tuple[Site, str], folder: Path) -> None:
    """Slow: Chromium, and a page whose script never ends."""
    pages, url = site
    rows = crawled(url, folder, "--render-timeout", "5")
    assert rows.keys() == {"/", "/one", "/loop", "/goes", "/was-refused", "/gone-to", "/below"}
    assert (rows["/"]["title"], rows["/"]["rendered"]) == ("made", "ok")
    assert (rows["/goes"]["title"], rows["/goes"]["rendered"]) == ("goes", "ok")  # it stays where it is
    assert (rows["/loop"]["title"], rows["/loop"]["error"]) == ("loop", None)  # read as it came
    assert "no DOM" in rows["/loop"]["rendered"]
    assert pages.asked.count("/") == pages.asked.count("/one") == pages.asked.count("/app.js") == 1
    assert not {"/forbidden", "/picture.png", "/changes-something", "/favicon.ico"} & {*pages.asked}
    assert not list(folder.iterdir())


@needs_chromium
@pytest.mark.slow
def test_a_long_path_of_temporary_files_is_no_hindrance(site: tuple[Site, str], folder: Path) -> None:
    """Slow: Chromium."""
    long = folder / ("x" * 80)
    long.mkdir()
    assert crawled(site[1], long, "--depth", "0")["/"]["rendered"] == "ok"
    assert not list(long.iterdir())


@needs_chromium
@pytest.mark.slow
def test_a_browser_reaches_no_address_that_the_crawl_may_not(site: tuple[Site, str], hub: Hub) -> None:
    """Slow: Chromium. Scripts try a private address in every way, and the client is one that refuses those."""
    pages, url = site
    tries = f"fetch('{url}/one', {{mode: 'no-cors'}}); new WebSocket('{url.replace('http', 'ws')}/'); open('{url}/')"
    frames = (
        f"<iframe src='{url}/goes'></iframe><script src='{url}/app.js'></script><link rel=prefetch href='{url}/one'>"
    )
    body = f"<title>x</title><body>{frames}<script>{tries}; new Worker('data:,fetch(`{url}/`)')</script>".encode()
    with Client(ClientOptions(allows_private=False, max_redirects=0), hub=hub) as client:
        renderer = Renderer(hub, find_browser(), client, count=1, longest=5.0, may_ask=lambda _: True)
        done = renderer.render("http://public.test/", {"content-type": ("text/html",)}, body)
        renderer.close()
    assert done.how == "ok"
    assert b"<title>x</title>" in done.body
    assert pages.asked == []


@needs_chromium
@pytest.mark.slow
def test_the_browser_dies_with_a_crawl_that_is_killed(folder: Path) -> None:
    """Slow: Chromium."""
    with web_server(lambda path: PAGES["/loop"] if path == "/" else ok(b"", status="404 Not Found")) as port:
        words = ["crawl", f"http://127.0.0.1:{port}/", "--render", "--render-timeout", "60"]
        environ = {**os.environ, "TMPDIR": str(folder)}
        process = subprocess.Popen([sys.executable, "-m", "greenprobe", *words], stdout=-3, stderr=-3, env=environ)
        wait_until(lambda: browsers(folder), "browser", patience=20)
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_until(lambda: not browsers(folder), "end of the browser", patience=20)


def browsers(folder: Path) -> list[str]:
    """Return the processes whose profile is in a folder."""
    found = []
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            try:
                line = (each / "cmdline").read_bytes().decode()
                state = (each / "stat").read_text().rsplit(")", 1)[1].split()[0]
            except OSError:
                continue
            if f"user-data-dir={folder}" in line and state != "Z":
                found.append(each.name)
    return found


# -- without one


def test_a_missing_browser_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(browser, "NAMES", ("no-such-chromium",))
    assert run(cli, ["crawl", "http://127.0.0.1:1/", "--render"]) == 1
    assert "--render needs a Chromium, and none of no-such-chromium is in PATH; install one" in capfd.readouterr().err
    monkeypatch.setenv(browser.VARIABLE, "/no/such/file")
    assert run(cli, ["crawl", "http://127.0.0.1:1/", "--render"]) == 1
    assert "GREENPROBE_CHROMIUM=/no/such/file is none" in capfd.readouterr().err


def test_a_browser_that_ends_at_once_leaves_pages_as_they_came(
    site: tuple[Site, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(browser.VARIABLE, "/bin/false")
    assert run(cli, ["crawl", site[1], "--render", "--depth", "0"]) == 0
    row = json.loads(capfd.readouterr().out)
    assert (row["title"], row["error"]) == ("empty", None)
    assert "ended at once" in row["rendered"]


def test_a_browser_is_told_nothing_of_how_the_bytes_came() -> None:
    headers = {"content-type": ("a/b",), "content-encoding": ("gzip",), "content-length": ("9",), "x": ("1", "2")}
    said = fulfilment(Reply(200, headers, b"body"))
    assert said["responseHeaders"] == [
        {"name": "content-type", "value": "a/b"},
        {"name": "x", "value": "1"},
        {"name": "x", "value": "2"},
    ]
    assert said["body"] == "Ym9keQ=="
