"""A private knot name server on a free port of loopback, pinned to the second core."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

CONFIG = """
server:
    rundir: "{state}"
    listen: {host}@{port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: "{state}"
log:
  - target: stderr
    any: error
zone:
  - domain: bench.test
    file: "{state}/zone"
    zonefile-sync: -1
    journal-content: none
"""
HOST = "127.0.0.2"


def names(count: int) -> list[str]:
    """Return the first names of the zone."""
    return [f"b{number:06}.bench.test" for number in range(count)]


@contextlib.contextmanager
def running(count: int, core: int = 1) -> Iterator[str]:
    """Serve `count` names, each with an A and an AAAA record, and give "host:port"."""
    if shutil.which("knotd") is None:
        raise FileNotFoundError("knotd is not installed: apt-get install knot")
    with tempfile.TemporaryDirectory() as state, socket.socket(type=socket.SOCK_DGRAM) as probe:
        os.chmod(state, 0o777)  # knotd may become another user
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
        probe.close()
        with Path(state, "zone").open("w") as zone:
            zone.write("$ORIGIN bench.test.\n$TTL 60\n@ SOA ns host 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.2\n")
            for number in range(count):
                ipv4, name = f"127.1.{number // 250 % 250}.{number % 250}", f"b{number:06}"
                zone.write(f"{name} A {ipv4}\n{name} AAAA fd00::{number >> 16:x}:{number & 0xFFFF:x}\n")
        Path(state, "conf").write_text(CONFIG.format(state=state, host=HOST, port=port))
        pin = ["taskset", "-c", str(core)] if core in os.sched_getaffinity(0) else []
        server = subprocess.Popen([*pin, "knotd", "-c", f"{state}/conf"], stderr=subprocess.DEVNULL)
        try:
            wait_until_open(server, port)
            yield f"{HOST}:{port}"
        finally:
            server.terminate()
            server.wait(10)


def wait_until_open(server: "subprocess.Popen[bytes]", port: int) -> None:
    """Return when the server answers; raise if it ended first."""
    query = b"\0\1\0\0\0\1\0\0\0\0\0\0\5bench\4test\0\0\6\0\1"
    while True:
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.settimeout(0.2)
            sock.connect((HOST, port))
            try:
                sock.send(query)
                if sock.recv(512)[3] & 15 == 0:
                    return
            except OSError:
                if server.poll() is not None:
                    raise RuntimeError(f"knotd ended with {server.returncode}") from None
