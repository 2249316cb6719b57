"""A browser to look at pages with: Chromium without a screen, driven over its own protocol."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import pytest

from greenprobe.http.client import Client
from greenprobe.websocket import WebSocket, connect

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Page:
    """A page that is open in a browser."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._numbers = count(1)

    def evaluate(self, script: str) -> Any:
        """Run a script in the page and return its value; raises AssertionError if it throws."""
        result = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def show(self, url: str) -> None:
        """Load a page, and wait for it."""
        self._call("Page.enable")
        self._call("Page.navigate", url=url)
        self._read(lambda said: said.get("method") == "Page.loadEventFired")

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._socket.send(orjson.dumps({"id": number, "method": method, "params": params}).decode())
        result: dict[str, Any] = self._read(lambda said: said.get("id") == number)["result"]
        return result

    def _read(self, is_it: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        return next(filter(is_it, map(orjson.loads, self._socket)))


@contextmanager
def opened(page: Path, folder: Path) -> Iterator[Page]:
    """Open a page, once it is loaded; skip the test if there is no browser."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    with subprocess.Popen(
        [*command, "--remote-debugging-port=0", "about:blank"], stderr=subprocess.PIPE, text=True
    ) as browser:
        try:
            assert browser.stderr is not None
            found = next(filter(None, (re.search(r"listening on ws://([\w.:]+)/", line) for line in browser.stderr)))
            with Client() as client:
                tabs = client.get(f"http://{found[1]}/json/list").json()
            url = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
            with connect(url) as socket:
                shown = Page(socket)
                shown.show(page.as_uri())
                yield shown
        finally:
            browser.kill()
