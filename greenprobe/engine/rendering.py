"""Pages as a browser makes them: an answer goes in, the HTML of its DOM after load and network idle comes out.

Facts. A page may be empty until its scripts have run. Failure: a browser that fetches by itself asks twice for each
page, follows redirects out of scope, and reaches private addresses. Choice: it never touches the network. The answer
that the crawl has fetched is given to it as the document; whatever else it asks for is fetched here, by the crawl's own
client with its limits, and given to it (`PageSession`). Scripts and stylesheets are remembered: a site's pages share
them. Pictures, media, fonts, requests that are no GET, and what robots.txt is known to forbid, it does not get. Each
page has a browser context of its own, so nothing goes from one to the next, and `longest` seconds; then its DOM is
taken as it is. Price: a process of 300 MB, and 0.1 to 1 s a page.
"""

from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from greenprobe.engine.browser import Browser
from greenprobe.engine.devtools import DevTools, Params
from greenprobe.errors import FetchError, PoolTimeout, RenderError, UrlError
from greenprobe.greenthread import spawn_n
from greenprobe.http.client import Client
from greenprobe.http.exchange import REDIRECTS
from greenprobe.http.trace import Trace
from greenprobe.http.urls import Url, read_url
from greenprobe.http.wire import Headers
from greenprobe.hub import Hub
from greenprobe.sync import Event, Lock, Semaphore
from greenprobe.timeout import move_on_after

__all__ = ["Rendered", "Renderer"]

IDLE_SECONDS: Final = 0.3  # without a request, after load
DOM_SECONDS: Final = 3.0  # to hand over the DOM
OPENING_SECONDS: Final = 2.0  # to make a context and a page in it, and to end them
MAX_DOM_CHARS: Final = 8 << 20
MAX_REQUESTS: Final = 200  # of a page
MAX_HREFS: Final = 20
REMEMBERED: Final = 64
MAX_REMEMBERED_BYTES: Final = 1 << 19
UNWANTED: Final = frozenset("Image Media Font TextTrack EventSource WebSocket Manifest Ping Prefetch Other".split())
SHARED: Final = frozenset({"Script", "Stylesheet"})
# Of the document: what decides how it is read, and what its scripts may do.
DOCUMENT_HEADERS: Final = ("content-type", "content-security-policy", "content-language", "link")
DOM: Final = f"document.documentElement ? document.documentElement.outerHTML.slice(0, {MAX_DOM_CHARS}) : ''"


class Rendered(NamedTuple):
    """What a browser made of a page: its HTML, where scripts wanted to go, and "ok", or why it is not whole."""

    body: bytes
    hrefs: tuple[str, ...]
    how: str


class Reply(NamedTuple):
    """An answer to a request of the browser's."""

    status: int
    headers: Headers
    body: bytes


class Renderer:
    """Renders up to `count` pages at once in one browser, which is started when it is needed, and again if it dies.

    `may_ask` tells whether a URL may be asked for; `trace` makes the trace of each request, `keep` gets it afterwards.
    """

    def __init__(
        self,
        hub: Hub,
        path: str,
        client: Client,
        *,
        count: int,
        longest: float,
        may_ask: Callable[[str], bool],
        trace: Callable[[Url], Trace] = Trace,
        keep: Callable[[Trace], None] = lambda _: None,
    ) -> None:
        self._hub = hub
        self._path = path
        self._client = client
        self._longest = longest
        self._may_ask = may_ask
        self._trace = trace
        self._keep = keep
        self._free = Semaphore(count)
        self._starting = Lock()
        self._browser: Browser | None = None
        self._shared: OrderedDict[str, Reply] = OrderedDict()

    def render(self, url: str, headers: Headers, body: bytes) -> Rendered:
        """Render a page; what cannot be rendered comes back as it was, with the reason."""
        with self._free:
            try:
                tools = self._running().tools
                with move_on_after(OPENING_SECONDS + self._longest + DOM_SECONDS):
                    return PageSession(self, tools, url, headers, body).run(self._longest)
                return Rendered(body, (), f"no DOM in {self._longest:g} s")
            except RenderError as exc:
                return Rendered(body, (), str(exc))

    def close(self) -> None:
        """End the browser."""
        if self._browser is not None:
            self._browser.close()
            self._browser = None

    def _running(self) -> Browser:
        with self._starting:
            if self._browser is not None and not self._browser.tools.is_open:
                self.close()
            if self._browser is None:
                self._browser = Browser(self._hub, self._path)
            return self._browser

    def fetch(self, url: str, kind: str) -> Reply | None:
        """Return the answer to a request of the browser's, None if it gets none."""
        known = self._shared.get(url)
        if known is not None:
            return known
        if not url.startswith(("http://", "https://")) or not self._may_ask(url):
            return None
        body = bytearray()
        try:
            trace = self._trace(read_url(url.partition("#")[0]))
        except UrlError:
            return None
        try:
            self._client.fetch(trace, body.extend)
        except (FetchError, PoolTimeout):
            if trace.status not in REDIRECTS:
                return None
        finally:
            self._keep(trace)
        reply = Reply(trace.status or 0, trace.headers, bytes(body))
        if kind in SHARED and reply.status == 200 and len(body) <= MAX_REMEMBERED_BYTES:
            self._shared[url] = reply
            if len(self._shared) > REMEMBERED:
                self._shared.popitem(last=False)
        return reply


class PageSession:
    """One page in the browser. Events come from the socket's reader; what they ask for is done by greenthreads."""

    def __init__(self, renderer: Renderer, tools: DevTools, url: str, headers: Headers, body: bytes) -> None:
        self._renderer = renderer
        self._tools = tools
        self._url = url
        self._document: Reply | None = Reply(200, {n: headers[n] for n in DOCUMENT_HEADERS if n in headers}, body)
        self._session = ""
        self._frame = ""
        self._open = 0
        self._asked = 0
        self._is_loaded = False
        self._change = Event()
        self._hrefs: list[str] = []

    def run(self, longest: float) -> Rendered:
        """Load it, wait until it is still, and return what it is then. Raises RenderError."""
        context = self._tools.call("Target.createBrowserContext", {"disposeOnDetach": True})["browserContextId"]
        try:
            self._begin(context)
            is_still = False
            with move_on_after(longest):
                self._call("Page.navigate", {"url": self._url})
                is_still = self._wait()
            with move_on_after(DOM_SECONDS):
                html = self._call("Runtime.evaluate", {"expression": DOM, "returnByValue": True})["result"]["value"]
                how = "ok" if is_still else f"not still after {longest:g} s"
                return Rendered(html.encode("utf-8", "replace"), tuple(self._hrefs), how)
            raise RenderError(f"no DOM in {longest:g} s")
        finally:
            self._tools.listen(self._session, None)
            if self._tools.is_open:
                self._tools.begin("Target.disposeBrowserContext", {"browserContextId": context})

    def _begin(self, context: str) -> None:
        target = self._tools.call("Target.createTarget", {"url": "about:blank", "browserContextId": context})[
            "targetId"
        ]
        attached = self._tools.call("Target.attachToTarget", {"targetId": target, "flatten": True})
        self._session = attached["sessionId"]
        self._frame = target
        self._tools.listen(self._session, self._take)
        for method, params in PREPARATIONS:
            self._call(method, params)
        self._tools.call("Browser.setDownloadBehavior", {"behavior": "deny", "browserContextId": context})

    def _call(self, method: str, params: Params | None = None) -> Params:
        return self._tools.call(method, params, session=self._session)

    def _wait(self) -> bool:
        """Wait until it is loaded and has asked for nothing for a while."""
        while True:
            self._change.clear()
            if not self._is_loaded or self._open:
                self._change.wait()
            elif not self._change.wait(IDLE_SECONDS):
                return True

    # -- what the browser says

    def _take(self, method: str, params: Params) -> None:
        if method == "Fetch.requestPaused":
            self._open += 1
            self._asked += 1
            self._change.set()
            spawn_n(self._answer, params)
        elif method == "Page.loadEventFired":
            self._is_loaded = True
            self._change.set()
        elif method == "Page.javascriptDialogOpening":
            self._tools.begin("Page.handleJavaScriptDialog", {"accept": False}, session=self._session)

    def _answer(self, params: Params) -> None:
        try:
            kind, number = params.get("resourceType", ""), params["requestId"]
            is_document = kind == "Document" and params.get("frameId") == self._frame
            reply = self._documents(params["request"]) if is_document else self._asked_for(params["request"], kind)
            if reply is None:  # a navigation that is aborted leaves the page as it is
                reason = "Aborted" if is_document else "BlockedByClient"
                self._call("Fetch.failRequest", {"requestId": number, "errorReason": reason})
            else:
                self._call("Fetch.fulfillRequest", {"requestId": number, **fulfilment(reply)})
        except RenderError:
            pass  # the page is gone
        finally:
            self._open -= 1
            self._change.set()

    def _documents(self, request: Params) -> Reply | None:
        """Return the page itself, once; where a script wants to go after that is a link, for the crawl to judge."""
        document, self._document = self._document, None
        if document is None:
            self._is_loaded = True  # as loaded as it will be
            if len(self._hrefs) < MAX_HREFS:
                self._hrefs.append(request["url"])
        return document

    def _asked_for(self, request: Params, kind: str) -> Reply | None:
        if kind in UNWANTED or request["method"] != "GET" or self._asked > MAX_REQUESTS:
            return None
        return self._renderer.fetch(request["url"], kind)


PREPARATIONS: Final[tuple[tuple[str, Params], ...]] = (
    ("Page.enable", {}),
    ("Fetch.enable", {"patterns": [{"urlPattern": "*", "requestStage": "Request"}]}),
    ("Network.setBypassServiceWorker", {"bypass": True}),
)
# They speak of the bytes on the wire, and what is handed over is decoded.
HOP_HEADERS: Final = frozenset({"content-encoding", "content-length", "transfer-encoding", "connection", "set-cookie"})


def fulfilment(reply: Reply) -> Params:
    """Return an answer in the words of Fetch.fulfillRequest."""
    fields: list[dict[str, Any]] = [
        {"name": name, "value": value}
        for name, values in reply.headers.items()
        if name not in HOP_HEADERS
        for value in values
    ]
    return {"responseCode": reply.status, "responseHeaders": fields, "body": b64encode(reply.body).decode()}
