"""Real servers for tests, private ones: in a temporary folder, as somebody who is not root, on a Unix socket or a port.

Each is a context manager that yields where it is reached, and skips the test, saying so, if it is not installed.
"""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

PATIENCE = 60.0  # seconds for a server to start: they create a database first
PLACES = "/usr/sbin:/usr/local/bin:/usr/bin:/bin"


def program(name: str, folders: str = PLACES) -> str:
    """Return the path of a server's program, or skip the test."""
    found = shutil.which(name, path=folders) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def unprivileged() -> str | None:
    """Return the user to run a server as: nobody for root, else oneself."""
    return "nobody" if os.getuid() == 0 else None


@contextmanager
def private_folder() -> Iterator[Path]:
    """Yield a folder that belongs to the user whom servers run as."""
    folder = Path(tempfile.mkdtemp(prefix="greenprobe-server-"))
    user = unprivileged()
    try:
        if user is not None:
            entry = pwd.getpwnam(user)
            os.chown(folder, entry.pw_uid, entry.pw_gid)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_once(command: list[str], folder: Path) -> None:
    """Run a program that prepares a server's folder."""
    user = unprivileged()
    done = subprocess.run(
        command, cwd=folder, user=user, group=user and "nogroup", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def running(command: list[str], folder: Path, is_up: Callable[[], bool], *, as_root: bool = False) -> Iterator[None]:
    """Run a server for the block, from when `is_up()` holds; it gets SIGTERM at the end.

    `as_root` lets one run as who we are that gives root away by itself.
    """
    user = None if as_root else unprivileged()
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            command,
            cwd=folder,
            user=user,
            group=user and "nogroup",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # some end their whole process group
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while not is_up():
            if server.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{command[0]} does not run: {(folder / 'log').read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)
        yield
    finally:
        end(server)


def end(server: "subprocess.Popen[bytes]") -> None:
    """Ask a server to end, and do not let it take its time for that."""
    server.terminate()
    try:
        server.wait(5)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def answers(family: int, address: object) -> Callable[[], bool]:
    """Return a function that tells whether somebody listens there."""

    def is_up() -> bool:
        with socket.socket(family) as sock:
            return sock.connect_ex(address) == 0  # type: ignore[arg-type]

    return is_up


def free_port() -> int:
    """Return a port of loopback that was free a moment ago, for servers that cannot choose one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


# -- servers


@contextmanager
def redis_server() -> Iterator[int]:
    """Yield the port of a Redis server without a disk."""
    name, port = program("redis-server"), free_port()
    with private_folder() as folder:
        command = [name, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        with running(command, folder, answers(socket.AF_INET, ("127.0.0.1", port))):
            yield port


@contextmanager
def memcached_server() -> Iterator[int]:
    """Yield the port of a memcached server."""
    name, port = program("memcached"), free_port()
    with private_folder() as folder:
        command = [name, "-l", "127.0.0.1", "-p", str(port), "-U", "0"]
        with running(command, folder, answers(socket.AF_INET, ("127.0.0.1", port))):
            yield port


@contextmanager
def rabbitmq_server() -> Iterator[int]:
    """Yield the port of a RabbitMQ server without plugins; user and password are "guest"."""
    name, mapper, port = program("rabbitmq-server", "/usr/lib/rabbitmq/bin"), program("epmd"), free_port()
    with private_folder() as folder:
        settings = {
            "ERL_CRASH_DUMP": folder / "crash",
            "HOME": folder,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": free_port(),
            "RABBITMQ_CONFIG_FILE": folder / "none",
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_DIST_PORT": free_port(),
            "RABBITMQ_ENABLED_PLUGINS_FILE": folder / "none",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_LOG_BASE": folder,
            "RABBITMQ_MNESIA_BASE": folder / "data",
            "RABBITMQ_NODENAME": f"greenprobe{port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": port,
            "RABBITMQ_PID_FILE": folder / "pid",
        }
        with_settings = ["env", *(f"{key}={value}" for key, value in settings.items())]
        try:
            with running([*with_settings, name], folder, answers(socket.AF_INET, ("127.0.0.1", port))):
                yield port
        finally:
            subprocess.run([*with_settings, mapper, "-kill"], capture_output=True, check=False)  # it started its own


@contextmanager
def mariadb_server() -> Iterator[str]:
    """Yield the path of the Unix socket of a MariaDB server; user "root" needs no password."""
    name, install = program("mariadbd"), program("mariadb-install-db")
    with private_folder() as folder:
        data, path = folder / "data", str(folder / "socket")
        options = ["--no-defaults", f"--datadir={data}"]
        run_once([install, *options, "--auth-root-authentication-method=normal", "--skip-test-db"], folder)
        command = [name, *options, f"--socket={path}", "--skip-networking", f"--pid-file={folder / 'pid'}"]
        with running(command, folder, answers(socket.AF_UNIX, path)):
            yield path


@contextmanager
def postgres_server() -> Iterator[str]:
    """Yield the folder of the Unix socket of a PostgreSQL server; user and database are "postgres", no password."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name.split(".")[0]))
    folders = os.pathsep.join([*(str(path) for path in reversed(versions)), PLACES])
    name, initdb = program("postgres", folders), program("initdb", folders)
    with private_folder() as folder:
        data = str(folder / "data")
        run_once([initdb, "-D", data, "-A", "trust", "-U", "postgres", "--no-sync"], folder)
        command = [name, "-D", data, "-k", str(folder), "-c", "listen_addresses=", "-c", "fsync=off"]
        with running(command, folder, answers(socket.AF_UNIX, str(folder / ".s.PGSQL.5432"))):
            yield str(folder)


@contextmanager
def unbound_server(lines: str, files: Mapping[str, bytes] = {}) -> Iterator[tuple[int, int]]:
    """Yield the ports of an unbound, for UDP and TCP, and for TLS. `lines` go into its configuration."""
    name, port, tls_port = program("unbound"), free_port(), free_port()
    with private_folder() as folder:
        for each, data in files.items():
            (folder / each).write_bytes(data)
        (folder / "conf").write_text(UNBOUND.format(folder=folder, port=port, tls_port=tls_port) + lines)
        command = [name, "-d", "-c", str(folder / "conf")]
        with running(command, folder, answers(socket.AF_INET, ("127.0.0.1", port))):
            yield port, tls_port


UNBOUND = """
server:
    directory: "{folder}"
    chroot: ""
    username: ""
    pidfile: "{folder}/pid"
    use-syslog: no
    interface: 127.0.0.1@{port}
    interface: 127.0.0.1@{tls_port}
    tls-port: {tls_port}
    do-not-query-localhost: no
    module-config: "validator iterator"
"""


@contextmanager
def dnsmasq_server(*options: str) -> Iterator[int]:
    """Yield the port of a dnsmasq that knows what the options tell it, and asks nobody."""
    name, port = program("dnsmasq"), free_port()
    with private_folder() as folder:
        own = ["--conf-file=/dev/null", f"--pid-file={folder}/pid", "--user=", "--no-resolv", "--no-poll", "--no-hosts"]
        where = [f"--port={port}", "--listen-address=127.0.0.1", "--bind-interfaces"]
        command = [name, "-k", *own, *where, *options]
        with running(command, folder, answers(socket.AF_INET, ("127.0.0.1", port))):
            yield port


@contextmanager
def python_server(*words: str) -> Iterator[int]:
    """Run a Python program that prints the port it serves on as its first line; yield that."""
    with subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            assert line.strip().isdigit(), f"{words} printed {line!r}"
            yield int(line)
        finally:
            server.terminate()
