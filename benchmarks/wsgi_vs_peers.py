"""The WSGI server beside its peers: CPU a request, files, idle connections, slow clients, stopping under load.

    python benchmarks/wsgi_vs_peers.py                   # all cases
    python benchmarks/wsgi_vs_peers.py hello --rounds 5  # hello connect file idle slowloris stop

The server runs on core 0, the client (wrk, or this program) on core 1. CPU time is user and system of all processes of
the server; rounds alternate between the contenders, and medians are shown. Needs wrk and, for `file`, nginx
(apt-get install wrk nginx-light); peers that are not installed are left out.
"""

import argparse
import contextlib
import os
import re
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

SERVER_CORE, CLIENT_CORE = 0, 1
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")

APP = """
from pathlib import Path
BIG = Path(__file__).with_name("big")
def app(environ, start_response):
    if environ["PATH_INFO"] == "/big":
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return environ["wsgi.file_wrapper"](open(BIG, "rb"), 1 << 18)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return [b"Hello, world!"]
async def asgi(scope, receive, send):
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"13")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"Hello, world!"})
"""
GREENPROBE = """
import sys
from hello import app
from greenprobe.graceful import serve_until_stopped
from greenprobe.wsgi import Server
from greenprobe.wsgi_connection import Limits, Timeouts
serve_until_stopped([Server(("127.0.0.1", int(sys.argv[1])), app)])
"""
GEVENT = """
import sys
from hello import app
from gevent.pywsgi import WSGIServer
WSGIServer(("127.0.0.1", int(sys.argv[1])), app, log=None, backlog=2048).serve_forever()
"""
EVENTLET = """
import os, sys
os.environ["EVENTLET_TESTS"] = "1"
import eventlet, eventlet.wsgi
from hello import app
listener = eventlet.listen(("127.0.0.1", int(sys.argv[1])), backlog=2048)
eventlet.wsgi.server(listener, app, log_output=False, max_size=20000)
"""
WAITRESS = """
import sys
from hello import app
from waitress import serve
serve(app, host="127.0.0.1", port=int(sys.argv[1]), threads=8, connection_limit=2000, _quiet=True)
"""


def command(name: str, port: int) -> list[str]:
    """Return the command that starts a contender at a port."""
    inline = {"greenprobe": GREENPROBE, "gevent": GEVENT, "eventlet": EVENTLET, "waitress": WAITRESS}
    if name in inline:
        return [sys.executable, "-c", inline[name], str(port)]
    bind = f"127.0.0.1:{port}"
    gunicorn = ["gunicorn", "-b", bind, "--backlog", "2048", "--log-level", "error"]
    words = {
        "gunicorn sync": [*gunicorn, "hello:app"],
        "gunicorn gthread": [
            *gunicorn,
            "-k",
            "gthread",
            "--threads",
            "100",
            "--worker-connections",
            "2000",
            "hello:app",
        ],
        "uvicorn httptools": [
            "uvicorn",
            "--port",
            str(port),
            "--http",
            "httptools",
            "--loop",
            "asyncio",
            "--no-access-log",
            "--log-level",
            "error",
            "hello:asgi",
        ],
        "granian wsgi": ["granian", "--interface", "wsgi", "--port", str(port), "--log-level", "error", "hello:app"],
    }[name]
    return [sys.executable, "-m", *words]


PEERS = {
    "gevent": "gevent",
    "eventlet": "eventlet",
    "gunicorn sync": "gunicorn",
    "gunicorn gthread": "gunicorn",
    "waitress": "waitress",
    "uvicorn httptools": "uvicorn",
    "granian wsgi": "granian",
}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Running:
    """A contender that serves, pinned to its core, in a session of its own."""

    def __init__(self, name: str, folder: str) -> None:
        self.name = name
        self.port = free_port()
        self.process = subprocess.Popen(
            ["taskset", "-c", str(SERVER_CORE), *command(name, self.port)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": folder},
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.wait_until_open()

    def wait_until_open(self) -> None:
        for _ in range(400):
            try:
                socket.create_connection(("127.0.0.1", self.port), 5).close()
                return
            except OSError:
                if self.process.poll() is not None:
                    raise RuntimeError(f"{self.name} ended with {self.process.returncode}") from None
                time.sleep(0.05)
        raise RuntimeError(f"{self.name} does not listen")

    def pids(self) -> list[int]:
        """Return all processes of the session."""
        return [
            int(entry) for entry in os.listdir("/proc") if entry.isdecimal() and session_of(entry) == self.process.pid
        ]

    def cpu(self) -> float:
        """Return the CPU seconds, user and system, of all its processes."""
        return sum(int(ticks) for pid in self.pids() for ticks in stat_of(str(pid))[11:13]) / TICKS

    def rss(self) -> int:
        """Return the resident bytes of all its processes."""
        return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE for pid in self.pids())

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def stat_of(pid: str) -> list[str]:
    """Return the fields of /proc/PID/stat from the third on."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return ["0"] * 50


def session_of(pid: str) -> int:
    return int(stat_of(pid)[3])


@contextlib.contextmanager
def running(name: str, folder: str) -> Iterator[Running]:
    server = Running(name, folder)
    try:
        yield server
    finally:
        server.stop()


def wrk(port: int, *words: str, path: str = "/", seconds: float = 2, connections: int = 100) -> dict[str, float]:
    """Run wrk and return its figures: requests, bytes a second, p50, p99 in ms, errors."""
    done = subprocess.run(
        [
            "taskset",
            "-c",
            str(CLIENT_CORE),
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{seconds}",
            "--latency",
            *words,
            f"http://127.0.0.1:{port}{path}",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    units = {"us": 0.001, "ms": 1.0, "s": 1000.0, "KB": 1e3, "MB": 1e6, "GB": 1e9, "B": 1.0}

    def figure(pattern: str) -> float:
        found = re.search(pattern, done)
        return 0.0 if found is None else float(found[1]) * units.get(found[2] if found.re.groups > 1 else "", 1.0)

    return {
        "requests": figure(r"(\d+) requests in"),
        "rate": figure(r"Requests/sec:\s+([\d.]+)"),
        "bytes": figure(r"Transfer/sec:\s+([\d.]+)(\w+)"),
        "p50": figure(r"50%\s+([\d.]+)(\w+)"),
        "p99": figure(r"99%\s+([\d.]+)(\w+)"),
        "errors": figure(r"Non-2xx or 3xx responses: (\d+)"),
    }


# -- cases


def cpu_case(title: str, folder: str, rounds: int, *words: str, skip: tuple[str, ...] = ()) -> None:
    """Print the CPU time a request of every contender."""
    names = ["greenprobe", *(name for name, module in PEERS.items() if find_spec(module) and name not in skip)]
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            with running(name, folder) as server:
                wrk(server.port, *words, seconds=1)
                before = server.cpu()
                result = wrk(server.port, *words, seconds=2)
                found[name].append(((server.cpu() - before) / max(1.0, result["requests"]) * 1e6, result["rate"]))
    ours = statistics.median(cpu for cpu, _ in found["greenprobe"])
    print(f"\n{title}\n\n| server | CPU a request, us | requests/s | greenprobe's CPU is |\n| --- | --- | --- | --- |")
    for name in names:
        cpu = statistics.median(cpu for cpu, _ in found[name])
        rate = statistics.median(rate for _, rate in found[name])
        print(f"| {name} | {cpu:.1f} | {rate:,.0f} | {ours / cpu:.2f} |", flush=True)


def hello(folder: str, rounds: int) -> None:
    cpu_case("hello world, keep-alive, 100 connections", folder, rounds)


def connect(folder: str, rounds: int) -> None:
    cpu_case("hello world, a new connection each", folder, rounds, "-H", "Connection: close")


def file(folder: str, rounds: int) -> None:
    """A file of 10 MB by file_wrapper, beside nginx."""
    sys.path.insert(0, str(Path(__file__).parent))
    port = free_port()
    config = Path(folder, "nginx.conf")
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config.write_text(
        f"daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ access_log off; sendfile on; tcp_nopush on; {temporary}\n"
        f"server {{ listen 127.0.0.1:{port}; root {folder}; }} }}\n"
    )
    os.chmod(folder, 0o755)
    nginx = subprocess.Popen(
        ["taskset", "-c", str(SERVER_CORE), "nginx", "-c", str(config), "-e", f"{folder}/error.log"]
    )
    try:
        time.sleep(0.5)
        rates: dict[str, list[float]] = {"nginx": [], "greenprobe": []}
        with running("greenprobe", folder) as server:
            for _ in range(rounds):
                for name, at in (("nginx", port), ("greenprobe", server.port)):
                    rates[name].append(wrk(at, path="/big", connections=10)["bytes"])
    finally:
        nginx.terminate()
        nginx.wait()
    ours, theirs = (statistics.median(rates[name]) / 1e6 for name in ("greenprobe", "nginx"))
    print(f"\n10 MB file: greenprobe {ours:,.0f} MB/s, nginx {theirs:,.0f} MB/s, ratio {ours / theirs:.2f}", flush=True)


REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def open_idle(port: int, count: int, data: bytes) -> list[socket.socket]:
    """Open connections that say something and then nothing."""
    found = []
    for _ in range(count):
        sock = socket.create_connection(("127.0.0.1", port), 30)
        sock.sendall(data)
        if data.endswith(b"\r\n\r\n"):
            sock.recv(4096)
        found.append(sock)
    return found


def idle(folder: str, rounds: int) -> None:
    """10,000 idle keep-alive connections: memory each, and the active ones beside them.

    Two servers of a kind take turns: one holds the idle connections, one has none. To measure one server first without
    and then with them would measure how the machine changed meanwhile.
    """
    count, turns = 10_000, 3 * rounds
    names = ["greenprobe", *(name for name in ("gevent", "eventlet") if find_spec(name))]
    print(
        "\n| server | KiB an idle connection | CPU a request without, us | with 10,000 idle | ratio |\n"
        "| --- | --- | --- | --- | --- |"
    )
    for name in names:
        with running(name, folder) as alone, running(name, folder) as beside:
            for server in (alone, beside):
                wrk(server.port, seconds=1)
            before = beside.rss()
            socks = open_idle(beside.port, count, REQUEST)
            kib = (beside.rss() - before) / count / 1024
            found: dict[Running, list[float]] = {alone: [], beside: []}
            for turn in range(turns):
                for server in (alone, beside) if turn % 2 else (beside, alone):
                    found[server].append(cpu_of(server))
            for sock in socks:
                sock.close()
        one, other = statistics.median(found[alone]), statistics.median(found[beside])
        print(f"| {name} | {kib:.1f} | {one:.1f} | {other:.1f} | {other / one:.2f} |", flush=True)


def cpu_of(server: Running) -> float:
    before = server.cpu()
    requests = wrk(server.port, seconds=2)["requests"]
    return (server.cpu() - before) / requests * 1e6


def slowloris(folder: str, rounds: int) -> None:
    """1,000 clients that send a byte every now and then, beside 100 honest ones."""
    with running("greenprobe", folder) as server:
        wrk(server.port, seconds=1)
        alone = statistics.median(wrk(server.port)["p99"] for _ in range(rounds))
        slow = open_idle(server.port, 1000, b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
        over = threading.Event()

        def trickle() -> None:
            while not over.wait(1):
                for sock in slow:
                    with contextlib.suppress(OSError):
                        sock.send(b"x")

        thread = threading.Thread(target=trickle)
        thread.start()
        beside = statistics.median(wrk(server.port)["p99"] for _ in range(rounds))
        over.set()
        thread.join()
        for sock in slow:
            sock.close()
    print(
        f"\nslowloris: p99 of 100 honest clients {alone:.2f} ms alone, {beside:.2f} ms beside 1,000 slow ones, "
        f"ratio {beside / alone:.2f}",
        flush=True,
    )


def stop(folder: str, rounds: int) -> None:
    """SIGTERM under load: every request of clients that keep to the rules is answered."""
    times, failures, answered = 50, 0, 0
    for _ in range(times):
        server = Running("greenprobe", folder)
        clients = [Client(server.port) for _ in range(20)]
        for client in clients:
            client.start()
        time.sleep(0.1)
        os.kill(server.process.pid, signal.SIGTERM)
        for client in clients:
            client.join()
        server.process.wait(10)
        failures += sum(client.failures for client in clients)
        answered += sum(client.answered for client in clients)
    print(f"\nSIGTERM under load, {times} times: {failures} failures in {answered:,} requests", flush=True)


class Client(threading.Thread):
    """Asks until it is refused: on one connection as long as it lives, or (every other one) on a new one each time."""

    made = 0

    def __init__(self, port: int) -> None:
        super().__init__()
        Client.made += 1
        self.keeps = Client.made % 2
        self.port = port
        self.answered = self.failures = 0

    def run(self) -> None:
        while True:
            try:
                sock = socket.create_connection(("127.0.0.1", self.port), 10)
            except ConnectionRefusedError:
                return  # the server has gone: nobody asked it anything
            except OSError:
                self.failures += 1
                return
            with sock:
                while self.ask(sock):
                    pass

    def ask(self, sock: socket.socket) -> bool:
        """Make one request; tell whether the connection can be used again."""
        try:
            sock.sendall(REQUEST if self.keeps else REQUEST[:-2] + b"Connection: close\r\n\r\n")
            answer = sock.recv(4096)
        except OSError:
            answer = b""
        if not answer.endswith(b"Hello, world!"):
            self.failures += 1
            return False
        self.answered += 1
        return b"Connection: close" not in answer


CASES = {"hello": hello, "connect": connect, "file": file, "idle": idle, "slowloris": slowloris, "stop": stop}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"no such case: {', '.join(unknown)}; there are {', '.join(CASES)}")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.sched_setaffinity(0, {CLIENT_CORE})
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "hello.py").write_text(APP)
        Path(folder, "big").write_bytes(os.urandom(10_000_000))
        for name in options.cases or CASES:
            CASES[name](folder, options.rounds)


if __name__ == "__main__":
    main()
