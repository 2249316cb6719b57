"""`greenprobe serve` as its users run it: processes, signals, reloads, wrong arguments."""

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from select import select
from typing import Any

import pytest
import trustme
from core_tools import needs_ipv6, wait_until
from tls_contexts import trusting_only

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
        found = re.search(r"https?://127\.0\.0\.1:(\d+)/", self.log)
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


@needs_ipv6
def test_several_places_are_served_at_once(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    serving = start("site_x:app", "--bind", "127.0.0.1:0", "--bind", "[::1]:0", "--bind", f"unix:{path}")
    serving.wait_for(f"http+unix:{path}")
    six = re.search(r"http://\[::1\]:(\d+)/", serving.log)
    assert six is not None
    worker = serving.get()[1]
    places: list[tuple[socket.AddressFamily, Any]] = [
        (socket.AF_INET6, ("::1", int(six[1]))),
        (socket.AF_UNIX, str(path)),
    ]
    for family, address in places:
        with socket.socket(family) as sock:
            sock.connect(address)
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert sock.makefile("rb").read().endswith(worker)
    assert serving.end()[0] == 0
    assert not path.exists()


def alpn_and_status(port: int, authority: trustme.CA) -> tuple[str | None, int]:
    """GET / over TLS, verified; return what ALPN chose and the status. Raises SSLCertVerificationError."""
    context = trusting_only(authority)
    context.set_alpn_protocols(["h2", "http/1.1"])
    connection = HTTPSConnection("127.0.0.1", port, timeout=20, context=context)
    try:
        connection.connect()
        chosen = connection.sock.selected_alpn_protocol()
        connection.request("GET", "/")
        return chosen, connection.getresponse().status
    finally:
        connection.close()


def test_tls_is_spoken_and_sighup_takes_a_new_certificate(start: Start, tmp_path: Path) -> None:
    old, new = trustme.CA(), trustme.CA()
    chain = tmp_path / "chain.pem"
    old.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(chain)
    serving = start("site_x:app", "--bind", "127.0.0.1:0", "--tls-cert", str(chain))
    assert alpn_and_status(serving.port, old) == ("http/1.1", 200)
    with pytest.raises(ssl.SSLCertVerificationError):
        alpn_and_status(serving.port, new)
    new.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(chain)
    serving.process.send_signal(signal.SIGHUP)
    while True:
        try:
            assert alpn_and_status(serving.port, new) == ("http/1.1", 200)
            break
        except ssl.SSLCertVerificationError:
            pass  # an old worker's
    assert serving.end()[0] == 0


V2_LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"
V2_IPV4 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes([198, 51, 100, 7, 192, 0, 2, 1]) + b"\x11\x5c\0\x50"


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (b"PROXY TCP4 198.51.100.7 192.0.2.1 4444 80\r\n", b"198.51.100.7 4444"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 4444 80\r\n", b"2001:db8::7 4444"),
        (V2_IPV4, b"198.51.100.7 4444"),
        (V2_LOCAL, b"127.0.0.1 "),
        (b"", None),
        (b"PROXY TCP4 nonsense\r\n", None),
    ],
)
def test_who_the_client_is_comes_from_the_proxy(
    start: Start, tmp_path: Path, header: bytes, client: bytes | None
) -> None:
    (tmp_path / "site_p.py").write_text(
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return ['{REMOTE_ADDR} {REMOTE_PORT}'.format_map(environ).encode()]\n"
    )
    serving = start("site_p:app", "--bind", "127.0.0.1:0", "--proxy-protocol", "--trust-proxy", "127.0.0.0/8")
    with socket.create_connection(("127.0.0.1", serving.port), 20) as sock:
        sock.sendall(header + b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = b""
        try:
            while more := sock.recv(4096):
                answer += more
        except ConnectionResetError:
            pass
    assert answer == b"" if client is None else answer.partition(b"\r\n\r\n")[2].startswith(client)


@pytest.mark.parametrize(
    ("option", "data", "answer"),
    [
        ("--head-timeout", b"GET / HTTP/1.1\r\nHost:", b" 408 "),
        ("--idle-timeout", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b" 200 "),
        ("--io-timeout", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx", b" 408 "),
    ],
)
def test_each_timeout_ends_who_takes_too_long(
    start: Start, tmp_path: Path, option: str, data: bytes, answer: bytes
) -> None:
    (tmp_path / "site_r.py").write_text(
        "def app(environ, start_response):\n"
        "    environ['wsgi.input'].read()\n"
        "    start_response('200 OK', [])\n"
        "    return [b'read']\n"
    )
    serving = start("site_r:app", "--bind", "127.0.0.1:0", option, "0.1")
    with socket.create_connection(("127.0.0.1", serving.port), 15) as sock:  # the other timeouts are longer
        sock.sendall(data)
        assert answer in sock.makefile("rb").read()


def test_a_full_disk_ends_the_log_and_not_the_service(start: Start) -> None:
    words = ["site_x:app", "--bind", "127.0.0.1:0", "--access-log", "common", "--access-log-file", "/dev/full"]
    serving = start(*words)
    assert serving.get()[0] == 200
    serving.wait_for("Warning: lines of the access log are lost: No space left on device\n")
    assert serving.get()[0] == 200
    assert serving.end()[0] == 0
    assert "Warning: 2 lines of the access log were lost" in serving.log


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


def test_all_processes_serve_and_each_that_dies_is_replaced(start: Start) -> None:
    serving = start("site_x:app", "--bind", "127.0.0.1:0", "--processes", "3")
    seen: set[int] = set()
    while len(seen) < 3:
        seen.add(int(serving.get()[1]))
    for worker in seen:
        os.kill(worker, signal.SIGKILL)
    later: set[int] = set()
    while len(later) < 3:
        try:
            later.add(int(serving.get()[1]))
        except (OSError, HTTPException):
            pass  # it was accepted by one that was killed
    assert not seen & later
    assert serving.end()[0] == 0


@pytest.mark.parametrize("processes", ["1", "2"])
def test_new_code_is_served_after_sighup_without_a_failed_request(start: Start, tmp_path: Path, processes: str) -> None:
    serving = start("site_x:app", "--bind", "127.0.0.1:0", "--processes", processes)
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


def test_many_reloads_start_no_more_workers_than_one(start: Start, tmp_path: Path) -> None:
    serving = start("site_x:app", "--bind", "127.0.0.1:0")
    children = Path(f"/proc/{serving.process.pid}/task/{serving.process.pid}/children")
    old = children.read_text().split()
    wait = (
        "import os, time\nus = os.getppid()\nwhile not os.path.exists('go') and os.getppid() == us: time.sleep(0.01)\n"
    )
    (tmp_path / "site_x.py").write_text(wait + APP.replace("str(os.getpid()).encode()", "b'new'"))

    def newest() -> list[str]:
        return [pid for pid in children.read_text().split() if pid not in old]

    for _ in range(3):
        before = newest()
        serving.process.send_signal(signal.SIGHUP)
        wait_until(lambda before=before: len(newest()) == 1 and newest() != before, "one new worker")  # type: ignore[misc]
    assert serving.get()[1] == old[0].encode()
    (tmp_path / "go").touch()
    while serving.get()[1] != b"new":
        assert serving.process.poll() is None
    assert serving.end()[0] == 0


def test_reload_notices_new_code(start: Start, tmp_path: Path) -> None:
    serving = start("site_x:app", "--bind", "127.0.0.1:0", "--reload")
    serving.get()
    (tmp_path / "site_x.py").write_text(APP.replace("str(os.getpid()).encode()", "b'new'"))
    while serving.get()[1] != b"new":
        pass


def test_a_running_request_is_finished_and_a_second_signal_does_not_wait(start: Start, tmp_path: Path) -> None:
    (tmp_path / "site_x.py").write_text(
        "import os\n"
        "from greenprobe import sleep\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    yield b'begun'\n"
        "    while not os.path.exists(environ['QUERY_STRING']): sleep(0.01)\n"
        "    yield b'done'\n"
    )
    serving = start("site_x:app", "--bind", "127.0.0.1:0")
    with socket.create_connection(("127.0.0.1", serving.port), 20) as sock:
        sock.sendall(b"GET /?go HTTP/1.1\r\nHost: a\r\n\r\n")
        while b"begun" not in sock.recv(1000):
            pass
        serving.process.send_signal(signal.SIGTERM)
        serving.wait_for("stopping")
        (tmp_path / "go").touch()
        assert b"done" in sock.recv(1000)
    assert serving.process.wait(20) == 0
    serving = start("site_x:app", "--bind", "127.0.0.1:0")
    with socket.create_connection(("127.0.0.1", serving.port), 20) as sock:
        sock.sendall(b"GET /?never HTTP/1.1\r\nHost: a\r\n\r\n")
        while b"begun" not in sock.recv(1000):
            pass
        serving.process.send_signal(signal.SIGTERM)
        serving.wait_for("stopping")
        serving.end(signal.SIGTERM)


@pytest.mark.parametrize(
    ("environ", "words"),
    [({"LISTEN_FDS": "2"}, []), ({}, ["--bind", "fd:3", "--bind", "fd:4"])],
    ids=["by socket activation", "by number"],
)
def test_a_service_manager_passes_the_sockets(environ: dict[str, str], words: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        ports = [listener.getsockname()[1] for listener in (one, other)]
        script = (
            f"import os, runpy, sys; os.dup2({one.fileno()}, 50); os.dup2({other.fileno()}, 51)\n"
            "os.dup2(50, 3); os.dup2(51, 4)\n"
            f"os.environ.update({environ}, LISTEN_PID=str(os.getpid()))\n"
            f"sys.argv[1:] = ['serve', '.', '--listing', *{words}]\n"
            "runpy.run_module('greenprobe', run_name='__main__')\n"
        )
        passed = [one.fileno(), other.fileno()]
        process = subprocess.Popen([sys.executable, "-c", script], pass_fds=passed, stderr=subprocess.PIPE)
        try:
            for port in ports:
                connection = HTTPConnection("127.0.0.1", port, timeout=20)
                connection.request("GET", "/")
                assert connection.getresponse().status == 200
                connection.close()
        finally:
            process.terminate()
            said = process.communicate(timeout=20)[1]
        assert [line for line in said.splitlines() if line.startswith(b"serving")] == [
            b"serving . at http://127.0.0.1:%d/" % port for port in ports
        ]
        for port in ports:  # whoever is started next will serve these
            socket.create_connection(("127.0.0.1", port), 5).close()


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["site_x:app", "--bind", "nonsense"], 2, "no place to listen at"),
        (["site_x:app", "--bind", "192.0.2.1:80"], 1, "at 192.0.2.1:80: Cannot assign requested address\n"),
        (["site_x:app", "--bind", "unix:/no/where"], 1, "Error: cannot listen at /no/where: No such file or directory"),
        (["site_x:app", "--bind", "fd:99"], 1, "Error: cannot listen at fd:99: Bad file descriptor"),
        (["./nothing"], 2, "./nothing is no folder"),
        (["site_x.py"], 2, "site_x.py is no folder"),
        (["site_x.py:app"], 2, "site_x.py is a file; write its module, as in site_x:app\n"),
        (["site_x:app", "--access-log-file", "log"], 2, "add --access-log FORMAT"),
        (["site_x:app", "--tls-cert", "nothing.pem"], 2, "'nothing.pem' does not exist"),
        (["nothing_here:app", "--bind", "127.0.0.1:0"], 1, "no module or folder 'nothing_here'"),
        (["site_x:nothing", "--bind", "127.0.0.1:0"], 1, "has no 'nothing'"),
        (["site_x:app", "--tls-key", "site_x.py"], 2, "add --tls-cert FILE"),
        (["site_x:app", "--tls-cert", "site_x.py"], 2, "Error: --tls-cert site_x.py: no certificate in it, or no key"),
        (["site_x:app", "--trust-proxy", "x"], 2, "'x' is no address or network"),
        (
            ["site_x:app", "--bind", "127.0.0.1:0", "--access-log", "json", "--access-log-file", "/no/where"],
            1,
            "Error: cannot write to /no/where: No such file or directory\n",
        ),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, words: list[str], status: int, message: str) -> None:
    (tmp_path / "site_x.py").write_text(APP)
    found, err = run(*words, folder=tmp_path)
    assert found == status, err
    assert message in err
    assert "Traceback" not in err
    assert "serving" not in err


@pytest.mark.parametrize("name", ["function", "instance"])
def test_an_asgi_application_without_the_option_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "site_a.py").write_text(
        "async def function(scope, receive, send): pass\n"
        "class App:\n"
        "    async def __call__(self, scope, receive, send): pass\n"
        "instance = App()\n"
    )
    status, err = run(f"site_a:{name}", "--bind", "127.0.0.1:0", folder=tmp_path)
    assert (status, err) == (1, f"Error: site_a:{name} is an ASGI application; say --asgi\n")


def test_an_application_that_cannot_be_imported_shows_where(tmp_path: Path) -> None:
    (tmp_path / "site_y.py").write_text("1 / 0")
    status, err = run("site_y:app", "--bind", "127.0.0.1:0", folder=tmp_path)
    assert status == 1
    assert "site_y.py" in err
    assert "cannot be loaded: ZeroDivisionError" in err
