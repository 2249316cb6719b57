"""`greenprobe serve` as its users run it: processes, signals, reloads, wrong arguments."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from select import select
from typing import Any

import pytest

pytestmark = pytest.mark.slow  # each test starts a supervisor and its workers

APP = """
import os
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""
Start = Callable[..., "Serving"]


class Serving:
    """A `greenprobe serve` that runs, and where."""

    def __init__(self, *words: str, folder: Path, env: dict[str, str] | None = None) -> None:
        command = [sys.executable, "-u", "-m", "greenprobe", "serve", *words]
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
        )
        self.log = ""
        self.wait_for("serving")
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", self.log)
        self.port = int(found[1]) if found else 0

    def wait_for(self, word: str, seconds: float = 20) -> None:
        """Wait until `word` has come on standard error."""
        assert self.process.stderr is not None
        while word not in self.log:
            readable, _, _ = select([self.process.stderr], [], [], seconds)
            assert readable, f"no {word!r} in {self.log!r}"
            more = os.read(self.process.stderr.fileno(), 65536).decode()
            assert more, f"it ended: {self.log}"
            self.log += more

    def get(self, path: str = "/") -> tuple[int, bytes]:
        """GET a path on a connection of its own."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def end(self, signum: int = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal and return the exit status and standard output."""
        self.process.send_signal(signum)
        out, err = self.process.communicate(timeout=30)
        self.log += err
        return self.process.returncode, out


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start `greenprobe serve` in a folder with an application; it is ended after the test."""
    (tmp_path / "site_x.py").write_text(APP)
    started: list[Serving] = []

    def begin(*words: str, **options: Any) -> Serving:
        serving = Serving(*words, folder=tmp_path, **options)
        started.append(serving)
        return serving

    yield begin
    for serving in started:
        if serving.process.poll() is None:
            serving.process.kill()
        serving.process.communicate()


def run(*words: str, folder: Path) -> tuple[int, str]:
    command = [sys.executable, "-m", "greenprobe", "serve", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stderr


def test_an_application_is_served_and_logged(start: Start) -> None:
    serving = start("site_x:app", "--bind", "127.0.0.1:0", "--access-log", "common", "--processes", "2")
    assert serving.get("/x")[0] == 200
    status, out = serving.end()
    assert status == 0
    assert re.search(r'127\.0\.0\.1 - - \[.*\] "GET /x HTTP/1\.1" 200 \d+\n', out)


def test_an_asgi_application_is_served(start: Start, tmp_path: Path) -> None:
    (tmp_path / "site_a.py").write_text(
        "async def app(scope, receive, send):\n"
        "    assert scope['type'] == 'http'\n"
        "    await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
        "    await send({'type': 'http.response.body', 'body': scope['path'].encode()})\n"
    )
    serving = start("site_a:app", "--asgi", "--bind", "127.0.0.1:0")
    assert serving.get("/x") == (200, b"/x")
    assert serving.end()[0] == 0


def test_a_folder_is_served(start: Start) -> None:
    serving = start(".", "--bind", "127.0.0.1:0")
    assert serving.get("/site_x.py") == (200, APP.encode())
    assert serving.get("/")[0] == 404
    assert serving.end(signal.SIGINT)[0] == 130


def test_a_worker_that_dies_is_replaced(start: Start) -> None:
    serving = start("site_x:app", "--bind", "127.0.0.1:0")
    first = int(serving.get()[1])
    os.kill(first, signal.SIGKILL)
    assert int(serving.get()[1]) != first
    serving.wait_for("starting another")
    assert serving.end()[0] == 0


def test_workers_end_when_their_supervisor_is_killed(start: Start) -> None:
    serving = start("site_x:app", "--bind", "127.0.0.1:0")
    worker = int(serving.get()[1])
    descriptor = os.pidfd_open(worker)
    serving.process.kill()
    readable, _, _ = select([descriptor], [], [], 20)
    os.close(descriptor)
    assert readable


def test_new_code_is_served_after_sighup_without_a_failed_request(start: Start, tmp_path: Path) -> None:
    serving = start("site_x:app", "--bind", "127.0.0.1:0")
    failures: list[BaseException] = []
    seen: list[bytes] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            try:
                seen.append(serving.get()[1])
            except (OSError, HTTPException) as error:
                failures.append(error)

    asking = threading.Thread(target=ask)
    serving.get()
    asking.start()
    (tmp_path / "site_x.py").write_text(APP.replace("str(os.getpid()).encode()", "b'new'"))
    serving.process.send_signal(signal.SIGHUP)
    try:
        while b"new" not in seen[-1:]:
            assert asking.is_alive()
    finally:
        over.set()
        asking.join()
    assert failures == []
    assert serving.end()[0] == 0


def test_code_that_cannot_start_changes_nothing(start: Start, tmp_path: Path) -> None:
    serving = start("site_x:app", "--bind", "127.0.0.1:0")
    before = serving.get()
    (tmp_path / "site_x.py").write_text("syntax error")
    serving.process.send_signal(signal.SIGHUP)
    serving.wait_for("the old ones serve on")
    assert serving.get() == before


def test_reload_notices_new_code(start: Start, tmp_path: Path) -> None:
    serving = start("site_x:app", "--bind", "127.0.0.1:0", "--reload")
    serving.get()
    (tmp_path / "site_x.py").write_text(APP.replace("str(os.getpid()).encode()", "b'new'"))
    while serving.get()[1] != b"new":
        pass


def test_a_running_request_is_finished_and_a_second_signal_does_not_wait(start: Start, tmp_path: Path) -> None:
    (tmp_path / "site_x.py").write_text(
        "from greenprobe import sleep\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    yield b'begun'\n"
        "    sleep(float(environ['QUERY_STRING']))\n"
        "    yield b'done'\n"
    )
    serving = start("site_x:app", "--bind", "127.0.0.1:0")
    with socket.create_connection(("127.0.0.1", serving.port), 20) as sock:
        sock.sendall(b"GET /?0.5 HTTP/1.1\r\nHost: a\r\n\r\n")
        while b"begun" not in sock.recv(1000):
            pass
        serving.process.send_signal(signal.SIGTERM)
        assert b"done" in sock.recv(1000)
    assert serving.process.wait(20) == 0
    serving = start("site_x:app", "--bind", "127.0.0.1:0")
    with socket.create_connection(("127.0.0.1", serving.port), 20) as sock:
        sock.sendall(b"GET /?1000 HTTP/1.1\r\nHost: a\r\n\r\n")
        while b"begun" not in sock.recv(1000):
            pass
        serving.process.send_signal(signal.SIGTERM)
        serving.wait_for("stopping")
        serving.end(signal.SIGTERM)


def test_a_service_manager_passes_the_socket(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        script = (
            f"import os, runpy, sys; os.dup2({listener.fileno()}, 3)\n"
            "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))\n"
            "sys.argv[1:] = ['serve', '.', '--listing']\n"
            "runpy.run_module('greenprobe', run_name='__main__')\n"
        )
        process = subprocess.Popen([sys.executable, "-c", script], pass_fds=[listener.fileno()], stderr=subprocess.PIPE)
    try:
        connection = HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        connection.close()
    finally:
        process.terminate()
        process.communicate(timeout=20)


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["site_x:app", "--bind", "nonsense"], 2, "no place to listen at"),
        (["site_x:app", "--bind", "192.0.2.1:80"], 1, "cannot listen at 192.0.2.1:80"),
        (["nothing_here:app", "--bind", "127.0.0.1:0"], 1, "no module 'nothing_here'"),
        (["site_x:nothing", "--bind", "127.0.0.1:0"], 1, "has no 'nothing'"),
        (["site_x:app", "--tls-key", "site_x.py"], 2, "--tls-key needs --tls-cert"),
        (["site_x:app", "--tls-cert", "site_x.py"], 2, "no certificate and key in site_x.py"),
        (["site_x:app", "--trust-proxy", "x"], 2, "'x' is no address or network"),
        (
            ["site_x:app", "--bind", "127.0.0.1:0", "--access-log", "json", "--access-log-file", "/no/where"],
            1,
            "/no/where",
        ),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, words: list[str], status: int, message: str) -> None:
    (tmp_path / "site_x.py").write_text(APP)
    found, err = run(*words, folder=tmp_path)
    assert found == status, err
    assert message in err
    assert "Traceback" not in err


def test_an_application_that_cannot_be_imported_shows_where(tmp_path: Path) -> None:
    (tmp_path / "site_y.py").write_text("1 / 0")
    status, err = run("site_y:app", "--bind", "127.0.0.1:0", folder=tmp_path)
    assert status == 1
    assert "site_y.py" in err
    assert "cannot be loaded: ZeroDivisionError" in err
