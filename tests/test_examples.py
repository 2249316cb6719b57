"""Every example runs, as its first lines say, and does what it is for."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from select import select
from socket import create_connection

import pytest

from greenprobe.websocket import connect

pytestmark = pytest.mark.slow  # each is a process or two

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
ANY = "127.0.0.1:0"
Start = Callable[..., int]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start an example that serves, and return its port; it is ended after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(name: str, *words: str) -> int:
        command = [sys.executable, "-W", "error", str(EXAMPLES / name), *words]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        readable, _, _ = select([process.stdout], [], [], 20)
        assert readable, f"{name} says nothing"
        line = os.read(process.stdout.fileno(), 1000).decode()
        found = re.search(r"127\.0\.0\.1:(\d+)", line)
        assert found, line
        return int(found[1])

    yield begin
    for process in started:
        process.terminate()
        process.communicate(timeout=20)


@pytest.fixture
def site(tmp_path: Path, start: Start) -> Iterator[str]:
    """The URL of a small site."""
    (tmp_path / "index.html").write_text("<title>Start</title><a href=a.html>a</a><a href='b.html#x'>b</a>")
    (tmp_path / "a.html").write_text("<title>A &amp; B</title><a href=/>back</a><a href=http://other.test/>away</a>")
    (tmp_path / "b.html").write_text("<title>B</title><a href=a.html>a</a>")
    command = [sys.executable, "-m", "greenprobe", "serve", str(tmp_path), "--bind", ANY]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    yield process.stderr.readline().rpartition(" at ")[2].strip()
    process.terminate()
    process.communicate(timeout=20)


def run(name: str, *words: str) -> list[str]:
    """Run an example to its end and return the lines it prints."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / name), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def curl(*words: str, data: str | None = None) -> str:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    command = ["curl", "-sS", "--noproxy", "", *words]
    return subprocess.run(command, input=data, capture_output=True, text=True, timeout=30, check=True).stdout


def test_every_example_has_its_test() -> None:
    tests = Path(__file__).read_text("utf-8")
    assert not [path.name for path in EXAMPLES.glob("*.py") if path.name not in tests]


@pytest.mark.parametrize("name", [path.name for path in sorted(EXAMPLES.glob("*.py")) if "Server" in path.read_text()])
def test_ctrl_c_ends_a_server_without_a_word(name: str) -> None:
    words = [ANY, ANY] if name == "port_forwarder.py" else [ANY]
    command = [sys.executable, "-W", "error", str(EXAMPLES / name), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, b"")


def test_echo_server(start: Start) -> None:
    with create_connection(("127.0.0.1", start("echo_server.py", ANY)), 20) as sock:
        sock.sendall(b"hello")
        assert sock.recv(100) == b"hello"


def test_chat_server(start: Start) -> None:
    port = start("chat_server.py", ANY)
    with create_connection(("127.0.0.1", port), 20) as first, create_connection(("127.0.0.1", port), 20) as second:
        one, other = first.makefile("rb"), second.makefile("rb")
        first.sendall(b"ann\n")
        assert one.readline() == b"your name: * ann is here\n"
        second.sendall(b"bob\n")
        assert one.readline() == b"* bob is here\n"
        second.sendall(b"hi\n")
        assert one.readline() == b"bob: hi\n"
        other.close()
        second.close()
        assert one.readline() == b"* bob has left\n"
        one.close()


def test_port_forwarder(start: Start) -> None:
    there = start("echo_server.py", ANY)
    with create_connection(("127.0.0.1", start("port_forwarder.py", ANY, f"127.0.0.1:{there}")), 20) as sock:
        sock.sendall(b"hello")
        assert sock.recv(100) == b"hello"


def test_web_proxy(start: Start, site: str) -> None:
    proxy = f"http://127.0.0.1:{start('web_proxy.py', ANY)}"
    assert "<title>B</title>" in curl("-x", proxy, f"{site}b.html")
    assert "<title>B</title>" in curl("-x", proxy, "--proxytunnel", f"{site}b.html")


def test_producer_consumer(site: str) -> None:
    lines = run("producer_consumer.py", f"{site}a.html", f"{site}b.html", f"{site}nothing")
    assert sorted(line[:3] for line in lines) == ["200", "200", "404"]


def test_recursive_crawler(site: str) -> None:
    lines = run("recursive_crawler.py", site)
    assert lines[-1] == "3 pages"


def test_feed_scraper(start: Start, site: str) -> None:
    port = start("feed_scraper.py", ANY)
    lines = curl("--data-binary", "@-", f"http://127.0.0.1:{port}/", data=f"{site}a.html\n{site}b.html\n").splitlines()
    assert lines == [f"{site}a.html: A & B", f"{site}b.html: B"]


def test_websocket_chat(start: Start) -> None:
    port = start("websocket_chat.py", ANY)
    assert "new WebSocket" in curl(f"http://127.0.0.1:{port}/")
    url = f"ws://127.0.0.1:{port}/chat"
    with connect(url) as one, connect(url) as other:
        one.send("hello")
        assert (one.receive(), other.receive()) == ("hello", "hello")


def test_connection_pool(start: Start) -> None:
    port = start("echo_server.py", ANY)
    assert run("connection_pool.py", f"127.0.0.1:{port}") == ["1000 answers over 10 connections"]
