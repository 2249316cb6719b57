"""What no recorded script has: asyncio, names, pyOpenSSL, debug, the limits of tpool, running patched."""

import asyncio
import builtins
import os
import signal
import socket as plain
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest
import trustme
from core_tools import run_python, turns
from greenlet import GreenletExit

from greenprobe import aio
from greenprobe.compat.eventlet import (
    Timeout,
    connect,
    convenience,
    debug,
    greenpool,
    hubs,
    kill,
    listen,
    optional,
    sleep,
    spawn,
    spawn_n,
    tpool,
    wrap_ssl,
)
from greenprobe.compat.eventlet.asyncio import spawn_for_awaitable
from greenprobe.compat.eventlet.greenio.base import GreenSocket
from greenprobe.compat.eventlet.hubs.hub import get_hub
from greenprobe.compat.eventlet.queue import LightQueue, Queue
from greenprobe.compat.eventlet.support import greendns, tools
from greenprobe.hub import Hub
from greenprobe.testing import JumpClock

# -- greenthreads and queues


def test_a_killed_unstarted_greenthread_raises_what_it_was_killed_with() -> None:
    green = spawn(int, "5")
    green.kill(KeyError("never ran"))
    with pytest.raises(KeyError, match="never ran"):
        green.wait()


def test_kill_takes_what_throw_takes() -> None:
    every: list[tuple[Any, ...]] = [(KeyError,), (KeyError("x"),), (KeyError, "x"), (KeyError, KeyError("x"), None)]
    for args in every:
        green = spawn(sleep, 10)
        sleep(0)
        green.kill(*args)
        with pytest.raises(KeyError):
            green.wait()


def test_a_kill_in_a_callback_of_the_hub_comes_back(hub: Hub) -> None:
    green = spawn(sleep, 10)
    bare = spawn_n(sleep, 10)
    turns()
    unstarted = spawn_n(sleep, 10)
    for victim in (green, bare, unstarted):
        get_hub().schedule_call_global(0, kill, victim)
    turns()
    assert green.dead
    assert bare.dead


def test_a_kill_from_another_thread_reaches_a_greenthread() -> None:
    green = spawn(sleep, 10)
    sleep(0)
    killer = threading.Thread(target=green.kill)
    killer.start()
    with pytest.raises(GreenletExit):
        green.wait()
    killer.join()


@pytest.mark.fifo  # the getter has to be killed between being handed the item and running
def test_an_item_for_a_getter_that_is_killed_goes_to_the_next() -> None:
    queue = Queue()
    getters = [spawn(queue.get) for _ in range(2)]
    turns()
    queue.put("item")
    get_hub().schedule_call_global(0, getters[0].kill)
    assert getters[1].wait() == "item"
    assert queue.unfinished_tasks == 1


def test_items_reach_getters_in_other_threads() -> None:
    queue, got = LightQueue(), []
    getter = threading.Thread(target=lambda: got.append(queue.get()))
    getter.start()
    while not queue.getting():
        sleep(0)
    queue.put("item")
    tpool.execute(getter.join)
    tpool.killall()
    assert got == ["item"]


def test_a_hub_is_the_same_in_one_thread_and_another_in_others() -> None:
    ours = hubs.get_hub()
    assert hubs.get_hub() is ours
    others: list[Any] = []
    thread = threading.Thread(target=lambda: others.append(hubs.get_hub()))
    thread.start()
    thread.join()
    assert others[0] is not ours


def test_abort_forgets_timers() -> None:
    ran: list[str] = []
    get_hub().schedule_call_global(0.001, ran.append, "timer")
    get_hub().abort(wait=True)
    sleep(0.002)
    assert ran == []


@pytest.mark.parametrize("name", [None, "epolls", "poll", "selects", "asyncio", "eventlet.hubs.epolls", " poll "])
def test_hubs_that_eventlet_has_may_be_chosen(name: str | None) -> None:
    hubs.use_hub(name)
    hubs.use_hub(hubs.get_default_hub())
    hubs.use_hub("eventlet.hubs.poll:Hub")
    hubs.use_hub(hubs.hub.Hub)
    assert hubs.get_hub() is get_hub()


def test_a_hub_that_cannot_be_chosen_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="'kqueue' is not available"):
        hubs.use_hub("kqueue")
    with pytest.raises(RuntimeError, match="Need to specify a hub"):
        hubs.use_hub(" ")
    with pytest.raises(ModuleNotFoundError, match="epools"):
        hubs.use_hub("epools")
    with pytest.raises(AttributeError, match="NoHub"):
        hubs.use_hub("eventlet.hubs.poll:NoHub")


def test_a_hub_of_ones_own_is_warned_of_once_and_ours_serves() -> None:
    class MyHub(hubs.hub.BaseHub):
        pass

    with pytest.warns(RuntimeWarning, match=r"MyHub is not run: greenprobe has one hub"):
        hubs.use_hub(MyHub)
    hubs.use_hub(MyHub)  # a warning would be an error here
    assert spawn(int, "5").wait() == 5


def test_the_environment_may_choose_a_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENTLET_HUB", "poll")
    hubs.use_hub()
    monkeypatch.setenv("EVENTLET_HUB", "nosuch")
    with pytest.raises(ModuleNotFoundError, match="nosuch"):
        hubs.use_hub()
    done = run_python("from greenprobe.compat.eventlet import install; install()")
    assert "No module named 'greenprobe.compat.eventlet.hubs.nosuch'" in done.stderr


def test_greenmap_is_what_imap_returns() -> None:
    assert isinstance(greenpool.GreenPool(1).imap(abs, []), greenpool.GreenMap)
    turns()


# -- asyncio


async def answer() -> int:
    await asyncio.sleep(0)
    two: int = await spawn(int, "2")
    return 5 + two


def test_a_coroutine_runs_from_a_greenthread_and_awaits_one() -> None:
    try:
        assert spawn_for_awaitable(answer()).wait() == 7
    finally:
        aio.stop_background_loop()


def test_awaiting_a_greenthread_needs_a_loop() -> None:
    green = spawn(int)
    with pytest.raises(RuntimeError):
        green.__await__()
    green.wait()


# -- names


def test_names_are_looked_up_by_the_cores_resolver() -> None:
    assert [str(each) for each in greendns.resolve("127.0.0.1")] == ["127.0.0.1"]
    assert greendns.getaddrinfo("127.0.0.1", 80, type=plain.SOCK_STREAM)[0][4] == ("127.0.0.1", 80)
    assert all(greendns.is_ip_addr(each) for each in ("1.2.3.4", "::1", b"::1"))
    assert not any(greendns.is_ip_addr(each) for each in ("name", "", "1.2.3"))
    assert greendns.is_ipv6_addr("::1")
    assert not greendns.is_ipv4_addr("::1")


def test_errors_have_numbers() -> None:
    assert tools.get_errno(OSError(9, "x")) == 9
    assert tools.get_errno(ValueError("x")) is None
    assert tools.bytes_to_str(b"x") == tools.bytes_to_str("x") == "x"
    with pytest.warns(DeprecationWarning, match="use new"):
        assert tools.wrap_deprecated("old", "new")(abs)(-1) == 1


# -- TLS in old words


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Who signs the certificates of this module."""
    return trustme.CA()


def test_wrap_ssl_takes_the_arguments_of_python_2(authority: trustme.CA, tmp_path: Any) -> None:
    certificate = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(str(tmp_path / "ca"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "key"))
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert"))
    listener = wrap_ssl(
        listen(("127.0.0.1", 0)), keyfile=str(tmp_path / "key"), certfile=str(tmp_path / "cert"), server_side=True
    )

    def handle(sock: Any, address: Any) -> None:
        sock.sendall(sock.recv(100).upper())
        raise convenience.StopServe

    server = spawn(convenience.serve, listener, handle)
    plain_client = connect(listener.getsockname())
    with wrap_ssl(plain_client, ca_certs=str(tmp_path / "ca"), cert_reqs=2, server_hostname="localhost") as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"HELLO"
    server.wait()
    listener.close()


def test_green_openssl_speaks_tls(authority: trustme.CA) -> None:
    pytest.importorskip("OpenSSL")
    from_green = pytest.importorskip("greenprobe.compat.eventlet.green.OpenSSL.SSL")
    context = from_green.Context(from_green.TLS_METHOD)
    certificate = authority.issue_cert("localhost")
    with certificate.private_key_and_cert_chain_pem.tempfile() as path:
        context.use_certificate_chain_file(path)
        context.use_privatekey_file(path)
    with listen(("127.0.0.1", 0)) as raw:
        listener = from_green.Connection(context, raw)

        def serve() -> None:
            connection, _ = listener.accept()
            connection.sendall(connection.recv(100) * 20000)
            connection.shutdown()
            connection.close()

        server = spawn(serve)
        client = from_green.Connection(from_green.Context(from_green.TLS_METHOD), connect(raw.getsockname()))
        client.set_connect_state()
        client.sendall(b"hello")
        received = b"".join(iter(lambda: client.recv(65536), b""))
        client.close()
        server.wait()
    assert received == b"hello" * 20000


GREEN = (
    "os select selectors socket _socket_nodns ssl subprocess thread threading time Queue builtin profile http "
    "http.client http.server http.cookies http.cookiejar httplib BaseHTTPServer SimpleHTTPServer CGIHTTPServer "
    "SocketServer ftplib urllib urllib.request urllib.parse urllib.error urllib.response urllib2"
).split()


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")  # of what Python is about to drop
@pytest.mark.parametrize("name", [*GREEN, *(["asyncore", "asynchat"] if sys.version_info < (3, 12) else [])])
def test_every_green_module_is_there(name: str) -> None:
    assert import_module(f"greenprobe.compat.eventlet.green.{name}").__doc__


def test_green_modules_are_private_and_use_green_sockets() -> None:
    requests = import_module("greenprobe.compat.eventlet.green.urllib.request")
    assert requests.socket.socket is GreenSocket
    assert not issubclass(plain.socket, GreenSocket)


def test_mysqldb_makes_its_calls_in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    class Connection:
        def cursor(self) -> "Connection":
            return self

        def where(self) -> int:
            return threading.get_ident()

    driver: Any = ModuleType("MySQLdb")
    driver.connect = driver.Connection = Connection
    driver.OperationalError = KeyError
    monkeypatch.setitem(sys.modules, "MySQLdb", driver)
    optional.patch_mysqldb()
    patched: Any = sys.modules["MySQLdb"]
    assert patched is not driver
    assert patched.OperationalError is KeyError
    assert patched.connect().cursor().where() != threading.get_ident()
    tpool.killall()


def test_psycopg2_waits_by_trampolines(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = plain.socketpair()
    states = ["write", "read", "ok"]
    callbacks: list[Any] = []
    extensions: Any = ModuleType("psycopg2.extensions")
    extensions.POLL_OK, extensions.POLL_READ, extensions.POLL_WRITE, extensions.Error = "ok", "read", "write", KeyError
    extensions.set_wait_callback = callbacks.append
    monkeypatch.setitem(sys.modules, "psycopg2", ModuleType("psycopg2"))
    monkeypatch.setitem(sys.modules, "psycopg2.extensions", extensions)
    optional.patch_psycopg()

    class Connection:
        def poll(self) -> str:
            return states.pop(0)

        def fileno(self) -> int:
            return one.fileno()

    with one, other:
        waiting = spawn(callbacks[0], Connection())
        turns()
        assert states == ["ok"]
        other.sendall(b"answer")
        waiting.wait()
        states.append("odd")
        with pytest.raises(KeyError, match="odd"):
            callbacks[0](Connection())


# -- the thread pool


@pytest.fixture
def pool_size() -> Iterator[None]:
    """Puts the number of threads back."""
    yield
    tpool.set_num_threads(20)


def test_a_negative_number_of_threads_is_an_error_and_none_a_warning(pool_size: None) -> None:
    tpool.set_num_threads(-1)
    with pytest.raises(AssertionError, match="-1 threads"):
        tpool.execute(int)
    tpool.set_num_threads(0)
    with pytest.warns(RuntimeWarning, match="no threads"):
        assert tpool.execute(threading.get_ident) == threading.get_ident()


def test_the_number_of_threads_comes_from_the_environment() -> None:
    program = "from greenprobe.compat.eventlet import tpool; print(tpool._size)"
    before = os.environ.get("EVENTLET_THREADPOOL_SIZE")
    os.environ["EVENTLET_THREADPOOL_SIZE"] = "7"
    try:
        assert run_python(program).stdout == "7\n"
    finally:
        os.environ.pop("EVENTLET_THREADPOOL_SIZE")
        if before is not None:
            os.environ["EVENTLET_THREADPOOL_SIZE"] = before


def test_errors_in_threads_are_printed_if_debug_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    for state, printed in ((True, True), (False, False)):
        debug.tpool_exceptions(state)
        with pytest.raises(ValueError, match="invalid"):
            tpool.execute(int, "x")
        assert ("ValueError" in capsys.readouterr().err) is printed
    tpool.killall()


# -- debug


def test_what_greenthreads_die_of_is_printed_unless_debug_says_not(capsys: pytest.CaptureFixture[str]) -> None:
    debug.hub_exceptions(False)
    try:
        spawn_n(int, "x")
        turns()
        assert capsys.readouterr().err == ""
    finally:
        debug.hub_exceptions(True)
    spawn_n(int, "x")
    turns()
    assert "ValueError" in capsys.readouterr().err


def test_the_dumps_name_waiters_timers_and_threads() -> None:
    read, write = os.pipe()

    def waits_here() -> None:
        hubs.trampoline(read, read=True, timeout=30)

    waiter = spawn(waits_here)
    turns()
    debug.hub_listener_stacks(True)
    debug.hub_timer_stacks(True)
    try:
        listeners, timers = debug.format_hub_listeners(), debug.format_hub_timers()
    finally:
        debug.hub_listener_stacks(False)
        debug.hub_timer_stacks(False)
    assert "READERS: 1" in listeners
    assert "waits_here" in listeners
    assert "TIMERS: 1" in timers
    assert "waits_here" in debug.format_threads_info()
    assert "TASKS: " in debug.format_asyncio_info()
    waiter.kill()
    os.close(read)
    os.close(write)


def test_spew_prints_lines_and_values(capsys: pytest.CaptureFixture[str]) -> None:
    def traced(value: int) -> int:
        doubled = value * 2
        return doubled + 1

    debug.spew([__name__], show_values=True)
    try:
        traced(21)
    finally:
        debug.unspew()
    out = capsys.readouterr().out
    assert "doubled = value * 2" in out
    assert "value=21" in out


def waits_unhindered(seconds: float) -> bool:
    """Sleep, and tell whether nothing interrupted that."""
    try:
        sleep(seconds)
    except RuntimeError:
        return False
    return True


def test_a_block_of_the_hub_is_interrupted() -> None:
    before = signal.getsignal(signal.SIGALRM)
    debug.hub_blocking_detection(True, resolution=0.1)
    try:
        assert any(waits_unhindered(0.12) for _ in range(5))  # a stall of the machine looks like a block
        with pytest.raises(RuntimeError, match="kept the hub"):
            while True:
                time.sleep(0.01)
    finally:
        debug.hub_blocking_detection(False)
    assert signal.getsignal(signal.SIGALRM) is before


# -- the patcher


def read_all(fd: int) -> str:
    with open(fd) as file:
        return file.read()


def test_builtin_open_becomes_green_when_named() -> None:
    before = builtins.open
    optional.patch_builtins()
    try:
        read, write = os.pipe()
        reader = spawn(read_all, read)
        turns()
        with open(write, "w") as out:
            out.write("hello")
        assert reader.wait() == "hello"
    finally:
        builtins.open = before


def test_programs_may_patch_before_they_run(tmp_path: Any) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import socket, eventlet.patcher as p\nprint(p.is_monkey_patched('socket'), socket.socket.__module__)\n"
    )
    program = f"import sys; sys.argv = ['x', {str(script)!r}]\nimport runpy\n"
    program += "runpy.run_module('greenprobe.compat.eventlet.patcher', run_name='__main__', alter_sys=True)"
    done = run_python(program)
    assert done.stdout == "True greenprobe.green_socket\n", done.stderr


def test_timeouts_follow_the_hubs_clock(clock: JumpClock) -> None:
    with pytest.raises(Timeout), Timeout(30):
        sleep(3600)
    assert clock.now() == 30


def test_listening_again_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with listen(("127.0.0.1", 0)) as listener:
            assert listener.getsockname()[1]
