"""A browser as the client: Chromium loads a page of ours, what the page needs, and talks back over a WebSocket."""

import json
import subprocess
from collections import Counter
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext
from typing import Any

import pytest
import trustme
from browser import chromium

from greenprobe.outcome import AsyncResult
from greenprobe.static_files import StaticFiles
from greenprobe.threadpool import run_in_thread
from greenprobe.websocket import WebSocket, WebSocketApp
from greenprobe.wsgi import Server

pytestmark = pytest.mark.slow  # a browser takes a second to start

PAGE = """<!doctype html>
<link rel="stylesheet" href="/static/style.css">
<img id="picture" src="/static/picture.svg">
<script src="/static/script.js"></script>
"""
STYLE = "body { color: rgb(1, 2, 3) }"
PICTURE = '<svg xmlns="http://www.w3.org/2000/svg" width="7" height="5"></svg>'
SCRIPT = """
const loaded = new Promise(done => addEventListener("load", done));
const text = async (path, options) => (await fetch(path, options)).text();
const range = {headers: {Range: "bytes=0-3"}};

function talk() {
  return new Promise((done, failed) => {
    const socket = new WebSocket(`${location.protocol.replace("http", "ws")}//${location.host}/socket`, ["shout"]);
    socket.onopen = () => socket.send("hello \\u00e4");
    socket.onmessage = message => {
      done([message.data, socket.protocol, socket.extensions.split(";")[0]]);
      socket.close(3001, "enough");
    };
    socket.onerror = failed;
  });
}

async function report() {
  await loaded;
  const many = await Promise.all([...Array(30).keys()].map(n => text(`/echo?${n}`)));
  return {
    color: getComputedStyle(document.body).color,
    picture: document.getElementById("picture").naturalWidth,
    many: many.join(),
    posted: await text("/echo", {method: "POST", body: "x".repeat(100000)}),
    range: await text("/static/picture.svg", range),
    streamed: await text("/stream"),
    socket: await talk(),
  };
}

report().catch(error => ({error: String(error)})).then(
  found => fetch("/report", {method: "POST", body: JSON.stringify(found)}));
"""


class Site:
    """The application: the page, what it needs, and where it reports to; `clients` counts the requests of each port."""

    def __init__(self, folder: Path) -> None:
        for name, content in [("style.css", STYLE), ("picture.svg", PICTURE), ("script.js", SCRIPT)]:
            (folder / name).write_text(content)
        self.reported = AsyncResult[dict[str, Any]]()
        self.closes: list[int | None] = []
        self.clients: Counter[str] = Counter()
        self._files = StaticFiles(str(folder))
        self._socket = WebSocketApp(self._shout, subprotocols=["shout"])

    def __call__(self, environ: dict[str, Any], start: Any) -> Any:
        self.clients[environ["REMOTE_PORT"]] += 1
        path = environ["PATH_INFO"]
        if path.startswith("/static/"):
            environ["PATH_INFO"] = path.removeprefix("/static")
            return self._files(environ, start)
        if path == "/socket":
            return self._socket(environ, start)
        body = environ["wsgi.input"].read()
        start("200 OK", [("Content-Type", "text/html" if path == "/" else "text/plain")])
        if path == "/report":
            self.reported.set(json.loads(body))
        return self._answer(path, environ["QUERY_STRING"], body)

    def _answer(self, path: str, query: str, body: bytes) -> list[bytes]:
        if path == "/stream":
            return [b"a" * 1000, b"b" * 1000]  # of no length that was said: in chunks
        return [PAGE.encode() if path == "/" else f"{query}{len(body)}".encode()]

    def _shout(self, websocket: WebSocket, environ: dict[str, Any]) -> None:
        for message in websocket:
            websocket.send(str(message).upper())
        self.closes.append(websocket.close_code)


def browse(url: str, profile: Path) -> subprocess.Popen[bytes]:
    words = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server"]
    words += ["--no-first-run", "--disable-background-networking", "--ignore-certificate-errors"]
    command = [chromium(), *words, f"--user-data-dir={profile}", url]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_page_its_parts_and_its_websocket_work_in_a_browser(tmp_path: Path, scheme: str) -> None:
    (tmp_path / "site").mkdir()
    site = Site(tmp_path / "site")
    context = None
    if scheme == "https":
        context = SSLContext(PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["http/1.1"])
        trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with Server(("127.0.0.1", 0), site, context=context) as server:
        browser = browse(f"{scheme}://127.0.0.1:{server.address[1]}/", tmp_path / "profile")
        try:
            found = site.reported.wait(60)
        finally:
            browser.terminate()
            run_in_thread(browser.wait)
    assert found == {
        "color": "rgb(1, 2, 3)",
        "picture": 7,
        "many": ",".join(f"{number}0" for number in range(30)),
        "posted": "100000",
        "range": PICTURE[:4],
        "streamed": "a" * 1000 + "b" * 1000,
        "socket": ["HELLO Ä", "shout", "permessage-deflate"],
    }
    assert site.closes == [3001]
    assert max(site.clients.values()) > 5, "connections are used again"
    assert server.statistics().failures == 0
