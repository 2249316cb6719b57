"""Applications that people run: Flask, Django, Bottle, httpbin; asked by requests, curl, wget, ab and h2load.

They come with the extra `apps` (pip install 'greenprobe[apps]'); those that are missing are skipped.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from served_suites import can_run, run_suite

from greenprobe.convenience import connect
from greenprobe.green_socket import socket
from greenprobe.hub import get_hub
from greenprobe.threadpool import run_in_thread
from greenprobe.wsgi import Server

pytestmark = pytest.mark.slow  # frameworks take half a second to import, and clients are processes

LOOPBACK = ("127.0.0.1", 0)


def ask(server: Server, path: str, *, method: str = "GET", body: bytes = b"", fields: str = "") -> tuple[int, bytes]:
    """Make one request on a connection of its own; return status and body."""
    with connect(server.address) as sock:
        head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}"
        sock.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return read_answer(sock)


def read_answer(sock: socket) -> tuple[int, bytes]:
    answer = b""
    while data := sock.recv(65536):
        answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head.lower():
        whole = b""
        while body:
            size, _, body = body.partition(b"\r\n")
            whole, body = whole + body[: int(size, 16)], body[int(size, 16) + 2 :]
        body = whole
    return int(head[9:12]), body


def run(*words: str) -> str:
    """Run a client in a real thread, while the server serves in this one."""

    def call() -> str:
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run_in_thread(call)


def test_flask_routes_forms_streams_and_errors() -> None:
    flask = pytest.importorskip("flask")
    app = flask.Flask("site")

    @app.post("/form")  # type: ignore[untyped-decorator]
    def form() -> Any:
        return {"a": flask.request.form["a"], "address": flask.request.remote_addr}

    @app.get("/stream")  # type: ignore[untyped-decorator]
    def stream() -> Any:
        return flask.Response(str(number) for number in range(10))

    @app.get("/file")  # type: ignore[untyped-decorator]
    def file() -> Any:
        return flask.send_file(__file__, conditional=True)

    with Server(LOOPBACK, app) as server:
        kind = "Content-Type: application/x-www-form-urlencoded\r\n"
        status, body = ask(server, "/form", method="POST", body=b"a=%C3%A4", fields=kind)
        assert (status, json.loads(body)) == (200, {"a": "ä", "address": "127.0.0.1"})
        assert ask(server, "/stream") == (200, b"0123456789")
        assert ask(server, "/file") == (200, Path(__file__).read_bytes())
        assert ask(server, "/file", fields="Range: bytes=0-2\r\n") == (206, b'"""')
        assert ask(server, "/nothing")[0] == 404


def test_django_serves_a_view_and_reads_an_upload() -> None:
    django = pytest.importorskip("django")
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
    from django.urls import path

    def upload(request: Any) -> Any:
        return JsonResponse({"size": request.FILES["f"].size, "host": request.get_host()})

    def stream(request: Any) -> Any:
        return StreamingHttpResponse(iter([b"a", b"b"]))

    urls = [path("upload", upload), path("stream", stream), path("ä", lambda request: HttpResponse("found"))]
    settings.configure(DEBUG=False, ALLOWED_HOSTS=["a"], ROOT_URLCONF=tuple(urls), SECRET_KEY="x", USE_TZ=True)
    django.setup()
    with Server(LOOPBACK, get_wsgi_application()) as server:
        part = b'--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
        part += b"y" * 100_000 + b"\r\n--x--\r\n"
        kind = "Content-Type: multipart/form-data; boundary=x\r\n"
        status, body = ask(server, "/upload", method="POST", body=part, fields=kind)
        assert (status, json.loads(body)) == (200, {"size": 100_000, "host": "a"})
        assert ask(server, "/stream") == (200, b"ab")
        assert ask(server, "/%C3%A4") == (200, b"found")
        assert ask(server, "/nothing")[0] == 404


def test_bottle_serves_a_route() -> None:
    bottle = pytest.importorskip("bottle")
    app = bottle.Bottle()

    @app.route("/hello/<name>", method=["GET", "POST"])  # type: ignore[untyped-decorator]
    def hello(name: str) -> str:
        return f"hello {name} {bottle.request.body.read().decode()}"

    with Server(LOOPBACK, app) as server:
        assert ask(server, "/hello/w", method="POST", body=b"x") == (200, b"hello w x")
        assert ask(server, "/nothing")[0] == 404


# -- httpbin, and clients


@pytest.fixture
def httpbin() -> Iterator[str]:
    """The URL of an httpbin."""
    app = pytest.importorskip("httpbin").app
    environ = {"SERVER_SOFTWARE": "gunicorn/-"}  # httpbin answers chunked requests with 501 unless it is this
    with Server(LOOPBACK, app, environ=environ) as server:
        yield f"http://127.0.0.1:{server.address[1]}"
    get_hub().sleep(0)


def test_requests_gets_from_httpbin_what_it_asks_for(httpbin: str) -> None:
    requests = pytest.importorskip("requests")

    def talk() -> None:
        with requests.Session() as session:
            session.trust_env = False
            assert session.get(f"{httpbin}/get", params={"a": "ä"}).json()["args"] == {"a": "ä"}
            assert session.post(f"{httpbin}/post", files={"f": b"x" * 100_000}).json()["files"]["f"] == "x" * 100_000
            assert session.put(f"{httpbin}/put", data=iter([b"a", b"b"])).json()["data"] == "ab"
            assert session.get(f"{httpbin}/stream/5").text.count("\n") == 5
            assert session.get(f"{httpbin}/redirect/3").status_code == 200
            assert session.get(f"{httpbin}/gzip").json()["gzipped"]
            assert session.get(f"{httpbin}/basic-auth/u/p", auth=("u", "p")).status_code == 200
            assert session.head(f"{httpbin}/get").status_code == 200
            assert session.get(f"{httpbin}/status/418").status_code == 418

    run_in_thread(talk)


@pytest.mark.parametrize(
    "words",
    [
        ["curl", "-sS", "--fail", "-d", "a=b", "{}/post"],
        ["curl", "-sS", "--fail", "--http1.0", "{}/get"],
        ["curl", "-sS", "--fail", "-H", "Transfer-Encoding: chunked", "-d", "a=b", "{}/post"],
        ["curl", "-sS", "--fail", "-H", "Expect: 100-continue", "-T", __file__, "{}/put"],
        ["curl", "-sS", "--fail", "--http2", "{}/get"],
        ["wget", "-nv", "-O", "-", "{}/get"],
        ["ab", "-q", "-k", "-n", "200", "-c", "10", "{}/get"],
        ["ab", "-q", "-n", "200", "-c", "10", "{}/get"],
        ["h2load", "--h1", "-n", "200", "-c", "10", "{}/get"],
        ["wrk", "-d", "1", "-c", "10", "-t", "1", "{}/get"],
    ],
    ids=lambda words: " ".join(words[:4]),
)
def test_a_client_is_served(httpbin: str, words: list[str]) -> None:
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    out = run(*(word.format(httpbin) for word in words))
    assert words[0] not in {"ab", "wrk"} or "Non-2xx" not in out
    if words[0] == "ab":
        assert "Failed requests:        0" in out
    if words[0] == "h2load":
        assert "200 succeeded, 0 failed" in out


@pytest.mark.parametrize("client", ["requests", "httpx"])
def test_the_suite_of_a_client_passes_when_we_serve(client: str) -> None:
    if not can_run(client):
        pytest.skip(f"{client}, what its tests need, or root and network namespaces are not here")
    try:
        status, out = run_suite(client)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"the sources of {client} cannot be had: {error}")
    assert status == 0, out[-8000:]
    assert int(re.findall(r"(\d+) passed", out)[-1]) > 500
