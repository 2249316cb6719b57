"""A browser to look at pages with: the Chromium that crawls render with, without the crawl."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from greenprobe.engine.browser import Browser, find_browser
from greenprobe.engine.devtools import DevTools
from greenprobe.errors import RenderError
from greenprobe.hub import get_hub
from greenprobe.sync import Event
from greenprobe.timeout import fail_after

LOADING_SECONDS = 30.0  # at most


def chromium() -> str:
    """Return the path of a Chromium; skip the test if there is none."""
    try:
        return find_browser()
    except RenderError as exc:
        pytest.skip(str(exc))


class Page:
    """A page that is open in a browser."""

    def __init__(self, tools: DevTools) -> None:
        self._tools = tools
        target = tools.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session: str = tools.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        self._call("Page.enable")

    def evaluate(self, script: str) -> Any:
        """Run a script in the page and return its value; raises AssertionError if it throws."""
        result = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def show(self, url: str) -> None:
        """Load a page, and wait for it."""
        loaded = Event()
        self._tools.listen(self._session, lambda name, _: loaded.set() if name == "Page.loadEventFired" else None)
        self._call("Page.navigate", url=url)
        with fail_after(LOADING_SECONDS):
            loaded.wait()

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        return self._tools.call(method, params, session=self._session)


@contextmanager
def opened(page: Path) -> Iterator[Page]:
    """Open a page, once it is loaded; skip the test if there is no browser."""
    with closing(Browser(get_hub(), chromium())) as browser:
        shown = Page(browser.tools)
        shown.show(page.as_uri())
        yield shown
