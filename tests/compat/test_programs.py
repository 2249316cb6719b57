"""Programs from PyPI, written for eventlet, run on greenprobe: each started as its users start it, used, and stopped.

They are installed by the extra `third-party-eventlet`; what is missing is skipped.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from socket import socket
from textwrap import dedent
from typing import Any
from urllib.request import ProxyHandler, build_opener

import pytest
from core_tools import is_installed, wait_until
from real_servers import free_port, rabbitmq_server, redis_server

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 30.0  # seconds until a program counts as hung
RUN = [sys.executable, "-m", "greenprobe.compat.eventlet"]


def needs(*modules: str) -> pytest.MarkDecorator:
    """Skip a test where a module is not installed."""
    missing = [name for name in modules if not is_installed(name)]
    reason = f"needs {', '.join(missing)}: pip install '.[third-party-eventlet]'"
    return pytest.mark.skipif(bool(missing), reason=reason)


class Program:
    """A program that runs in a folder, and what it says."""

    def __init__(self, words: list[str], folder: Path, **environment: str) -> None:
        self.log = folder / "log"
        settings = {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "PYTHONUNBUFFERED": "1"}
        env = {**os.environ, **settings, **environment}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                words, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def said(self) -> str:
        """Return what it has said."""
        return self.log.read_text("utf-8", "replace")

    def hear(self, pattern: str) -> "re.Match[str]":
        """Wait until it says something."""
        has_ended = self.process.poll
        wait_until(lambda: re.search(pattern, self.said()) or has_ended() is not None, pattern, patience=PATIENCE)
        found = re.search(pattern, self.said())
        assert found is not None, self.said()
        return found

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Tell it to end, and return its status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@contextmanager
def running(words: list[str], folder: Path, **environment: str) -> Iterator[Program]:
    """Run a program for a block."""
    program = Program(words, folder, **environment)
    try:
        yield program
    finally:
        if program.process.poll() is None:
            program.process.kill()
            program.process.wait()
        sys.stdout.write(program.said())  # for who reads why a test failed


def get(url: str) -> str:
    """Fetch a page."""
    with build_opener(ProxyHandler({})).open(url, timeout=PATIENCE) as answer:
        text: str = answer.read().decode()
    return text


def get_all(urls: list[str]) -> list[str]:
    """Fetch pages at the same time."""
    with ThreadPoolExecutor(len(urls)) as threads:
        return list(threads.map(get, urls))


def is_refused(port: int) -> bool:
    """Tell whether nobody listens at a port of loopback."""
    with socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) != 0


def output_of(program: str, folder: Path) -> list[str]:
    """Run a script to its end, and return the lines it printed."""
    write(folder, "script.py", dedent(program))
    with running([*RUN, "script.py"], folder) as process:
        status = process.process.wait(PATIENCE)
        assert status == 0, process.said()
        return process.said().splitlines()


MEETING = """
import time

class Meeting:
    "Where so many come together, in blocking code: one after the other would wait for ever."
    def __init__(self, size):
        self.size, self.here = size, 0
    def wait(self):
        self.here += 1
        while self.here < self.size:
            time.sleep(0.01)
"""


def write(folder: Path, name: str, program: str) -> None:
    """Write a program, and beside it the module it takes a meeting from."""
    (folder / name).write_text(program)
    (folder / "meeting.py").write_text(MEETING)


# -- gunicorn

APP = """
import os, socket, time
from meeting import Meeting

meeting = Meeting(10)

def app(environ, start_response):
    if environ["PATH_INFO"] == "/meet":
        meeting.wait()
    if environ["PATH_INFO"] == "/slow":
        print("it has begun", flush=True)
        while not os.path.exists("go"):
            time.sleep(0.01)
    body = (environ["PATH_INFO"] + " " + socket.socket.__module__).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


@pytest.mark.slow
@needs("gunicorn.workers.geventlet" if is_installed("gunicorn") else "gunicorn")
def test_gunicorn_serves_with_its_eventlet_worker(tmp_path: Path) -> None:
    """Slow: gunicorn starts, works, and finishes what it is at when told to end."""
    write(tmp_path, "app.py", APP)
    words = [*RUN, "-m", "gunicorn", "-k", "eventlet", "-w", "1", "-b", "127.0.0.1:0", "app:app"]
    with running(words, tmp_path) as gunicorn:
        url = gunicorn.hear(r"Listening at: (http://\S+)")[1]
        gunicorn.hear("Booting worker")
        assert get(f"{url}/hello") == "/hello greenprobe.green_socket"
        assert set(get_all([f"{url}/meet"] * 10)) == {"/meet greenprobe.green_socket"}
        with ThreadPoolExecutor(1) as threads:
            late = threads.submit(get, f"{url}/slow")
            gunicorn.hear("it has begun")
            gunicorn.process.send_signal(signal.SIGTERM)
            gunicorn.hear("Handling signal: term")
            (tmp_path / "go").touch()
            assert late.result() == "/slow greenprobe.green_socket"
        assert gunicorn.process.wait(PATIENCE) == 0
    assert "Traceback" not in gunicorn.said()


# -- celery

TASKS = """
import os, socket, time
from celery import Celery
from meeting import Meeting

app = Celery("tasks", broker=os.environ["BROKER"], backend=os.environ["BROKER"])

meeting = Meeting(20)

@app.task
def add(x, y):
    meeting.wait()
    return x + y

@app.task
def fail():
    raise KeyError("of the task")

@app.task
def sleep():
    time.sleep(3600)

@app.task
def where():
    return socket.socket.__module__
"""
CLIENT = """
from celery.exceptions import TaskRevokedError
from tasks import add, app, fail, sleep, where

print([result.get(timeout=20) for result in [add.delay(n, n) for n in range(20)]])
try:
    fail.delay().get(timeout=20)
except KeyError as error:
    print(repr(error))
print(where.delay().get(timeout=20))
sleeping = sleep.delay()
while not any(app.control.inspect().active().values()):
    pass
app.control.revoke(sleeping.id, terminate=True)
try:
    sleeping.get(timeout=20)
except TaskRevokedError as error:
    print("revoked", error)
"""


@pytest.mark.slow
@needs("celery", "redis")
def test_celery_works_with_its_eventlet_pool(tmp_path: Path) -> None:
    """Slow: celery's worker takes seconds to find that it is alone."""
    write(tmp_path, "tasks.py", TASKS)
    (tmp_path / "client.py").write_text(CLIENT)
    with redis_server() as port:
        broker = f"redis://127.0.0.1:{port}"
        words = [*RUN, "-m", "celery", "-A", "tasks", "worker", "-P", "eventlet", "-c", "50", "-l", "info"]
        with running(words, tmp_path, BROKER=broker) as worker:
            worker.hear("celery@.* ready")
            folder = tmp_path / "client"
            folder.mkdir()
            with running([sys.executable, "../client.py"], folder, BROKER=broker, PYTHONPATH=str(tmp_path)) as client:
                assert client.process.wait(2 * PATIENCE) == 0, client.said() + worker.said()
            assert client.said().splitlines() == [
                str([2 * number for number in range(20)]),
                "KeyError('of the task')",
                "greenprobe.green_socket",
                "revoked terminated",
            ]
            assert worker.stop() == 0
        assert "Warm shutdown" in worker.said()


# -- Flask-SocketIO

CHAT = """
import eventlet
eventlet.monkey_patch()
import sys
import time
from flask import Flask
from flask_socketio import SocketIO, emit
from meeting import Meeting

meeting = Meeting(10)
app = Flask(__name__)
chat = SocketIO(app, async_mode="eventlet")

@app.route("/")
def index():
    meeting.wait()
    return chat.async_mode

@chat.on("echo")
def echo(text):
    time.sleep(0.05)
    emit("answer", 2 * text)
    return "ack " + text

def tick():
    for number in range(3):
        chat.sleep(0.05)
        chat.emit("tick", number)

@chat.on("start")
def start():
    chat.start_background_task(tick)

chat.run(app, host="127.0.0.1", port=0, log_output=True)
"""
CHATTER = """
import sys, threading
import socketio

for transport in ("polling", "websocket"):
    client, heard, over = socketio.Client(), [], threading.Event()
    client.on("*", lambda name, said: (heard.append((name, said)), len(heard) == 4 and over.set()))
    client.connect(sys.argv[1], transports=[transport])
    said = client.call("echo", "hi", timeout=20)
    client.emit("start")
    over.wait(20)
    print(client.transport(), said, sorted(heard))  # each is handled in a thread of its own
    client.disconnect()
"""


@pytest.mark.slow
@needs("flask_socketio", "requests", "websocket")
def test_flask_socketio_chats_over_both_transports(tmp_path: Path) -> None:
    """Slow: Flask and the clients import much, and ticks take time."""
    write(tmp_path, "chat.py", CHAT)
    (tmp_path / "chatter.py").write_text(CHATTER)
    with running([*RUN, "chat.py"], tmp_path) as server:
        url = server.hear(r"starting up on (http://\S+)")[1]
        assert set(get_all([url] * 10)) == {"eventlet"}
        folder = tmp_path / "chatter"
        folder.mkdir()
        with running([sys.executable, "../chatter.py", url], folder) as client:
            assert client.process.wait(PATIENCE) == 0, client.said() + server.said()
        assert client.said().splitlines() == [
            "polling ack hi [('answer', 'hihi'), ('tick', 0), ('tick', 1), ('tick', 2)]",
            "websocket ack hi [('answer', 'hihi'), ('tick', 0), ('tick', 1), ('tick', 2)]",
        ]
        assert server.stop(signal.SIGINT) == 0
    assert "Traceback" not in server.said()


# -- oslo.messaging


@pytest.mark.slow
@needs("oslo_messaging")
def test_oslo_messaging_answers_calls_with_its_eventlet_executor(tmp_path: Path) -> None:
    """Slow: importing oslo takes a second."""
    program = """
        import eventlet
        eventlet.monkey_patch()
        import oslo_messaging as messaging
        from meeting import Meeting
        from oslo_config import cfg

        meeting = Meeting(10)

        class Endpoint:
            def double(self, context, x):
                meeting.wait()
                return 2 * x

        transport = messaging.get_rpc_transport(cfg.CONF, url="fake://")
        target = messaging.Target(topic="topic", server="server")
        server = messaging.get_rpc_server(transport, target, [Endpoint()], executor="eventlet")
        server.start()
        client = messaging.get_rpc_client(transport, messaging.Target(topic="topic"))
        print(list(eventlet.GreenPool(20).imap(lambda x: client.call({}, "double", x=x), range(10))))
        server.stop()
        server.wait()
        print("stopped")
    """
    assert output_of(program, tmp_path)[-2:] == [str([2 * number for number in range(10)]), "stopped"]


# -- nameko

SERVICE = """
import time
from meeting import Meeting
from nameko.timer import timer
from nameko.web.handlers import http

meeting = Meeting(10)

class Service:
    name = "service"

    @http("GET", "/double/<int:number>")
    def double(self, request, number):
        meeting.wait()
        return str(2 * number)

    @timer(interval=0.1)
    def tick(self):
        time.sleep(0.5)
        print("tick", flush=True)
"""


@pytest.mark.slow
@needs("nameko", "pkg_resources")
def test_nameko_runs_a_service(tmp_path: Path) -> None:
    """Slow: nameko imports much, and a tick takes half a second."""
    write(tmp_path, "service.py", SERVICE)
    port = free_port()
    (tmp_path / "config.yaml").write_text(f"AMQP_URI: 'memory://'\nWEB_SERVER_ADDRESS: '127.0.0.1:{port}'\n")
    script = Path(sys.executable).parent / "nameko"
    with running([*RUN, str(script), "run", "--config", "config.yaml", "service"], tmp_path) as nameko:
        nameko.hear("tick\ntick")
        answers = get_all([f"http://127.0.0.1:{port}/double/{number}" for number in range(10)])
        assert answers == [str(2 * number) for number in range(10)]
        assert nameko.stop(signal.SIGINT) == 0
        assert "stopping services: service" in nameko.said()


TALKING = """
from meeting import Meeting
from nameko.events import EventDispatcher, event_handler
from nameko.rpc import RpcProxy, rpc
from nameko.web.handlers import http

meeting = Meeting(10)

class Worker:
    name = "worker"

    @rpc
    def double(self, number):
        meeting.wait()
        return 2 * number

    @event_handler("caller", "shout")
    def hear(self, text):
        print("heard", text, flush=True)

class Caller:
    name = "caller"
    worker = RpcProxy("worker")
    dispatch = EventDispatcher()

    @http("GET", "/sum")
    def sum(self, request):
        calls = [self.worker.double.call_async(number) for number in range(10)]
        return str(sum(call.result() for call in calls))

    @http("GET", "/shout")
    def shout(self, request):
        self.dispatch("shout", "hello")
        return "shouted"
"""


def is_consumed(amqp: str, queue: str) -> bool:
    """Tell whether somebody takes messages from a queue of RabbitMQ."""
    kombu: Any = pytest.importorskip("kombu")
    with kombu.Connection(amqp) as connection:
        try:
            consumers: int = connection.channel().queue_declare(queue, passive=True).consumer_count
        except connection.channel_errors:
            return False  # it does not exist yet
    return consumers > 0


@pytest.mark.slow
@needs("nameko", "pkg_resources")
def test_nameko_services_call_each_other_over_rabbitmq(tmp_path: Path) -> None:
    """Slow: RabbitMQ takes seconds to start."""
    write(tmp_path, "talking.py", TALKING)
    port = free_port()
    script = Path(sys.executable).parent / "nameko"
    with rabbitmq_server() as broker:
        amqp = f"amqp://guest:guest@127.0.0.1:{broker}//"
        (tmp_path / "config.yaml").write_text(f"AMQP_URI: '{amqp}'\nWEB_SERVER_ADDRESS: '127.0.0.1:{port}'\n")
        with running([*RUN, str(script), "run", "--config", "config.yaml", "talking"], tmp_path) as nameko:
            nameko.hear("Connected to amqp")
            wait_until(lambda: not is_refused(port), "web server", patience=PATIENCE)
            for queue in ("rpc-worker", "evt-caller-shout--worker.hear"):
                wait_until(partial(is_consumed, amqp, queue), f"consumer of {queue}", patience=PATIENCE)
            assert get(f"http://127.0.0.1:{port}/sum") == str(2 * sum(range(10)))
            assert get(f"http://127.0.0.1:{port}/shout") == "shouted"
            nameko.hear("heard hello")
            assert nameko.stop(signal.SIGINT) == 0
        assert "Traceback" not in nameko.said()
