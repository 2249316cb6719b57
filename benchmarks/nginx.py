"""A private nginx on a free port: the peer that costs little, pinned to the second core."""
import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

CONFIG = """
daemon off;
worker_processes 1; {affinity}
pid {state}/nginx.pid;
error_log {state}/error.log warn;
events {{ worker_connections 8192; multi_accept on; }}
http {{
    access_log off;
    sendfile on; tcp_nopush on; tcp_nodelay on;
    keepalive_timeout 60s; keepalive_requests 100000000;
    open_file_cache max=1000 inactive=600s; open_file_cache_valid 600s;
    client_body_temp_path {state}/t1; proxy_temp_path {state}/t2; fastcgi_temp_path {state}/t3;
    uwsgi_temp_path {state}/t4; scgi_temp_path {state}/t5;
    default_type text/plain;
    server {{
        listen 127.0.0.1:{port} backlog=8192;
        root {state}/www;
        location /1k {{ try_files /1k =404; }}
        location /closing/ {{ keepalive_timeout 0; alias {state}/www/; }}
    }}
}}
"""


def free_port() -> int:
    """Return a TCP port that was free a moment ago; nginx cannot say which one it got for port 0."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def running(core: int = 1) -> Iterator[str]:
    """Run nginx pinned to `core` and give its "host:port"; every path under /1k is the same 1,024 bytes.

    /closing/1k is the same, on a connection that nginx closes after it.
    """
    if shutil.which("nginx") is None:
        raise FileNotFoundError("nginx is not installed: apt-get install nginx-light")
    with tempfile.TemporaryDirectory() as state:
        os.chmod(state, 0o755)  # nginx's worker may be another user
        www = Path(state, "www")
        www.mkdir()
        (www / "1k").write_bytes(b"x" * 1023 + b"\n")
        port = free_port()
        config = Path(state, "nginx.conf")
        affinity = f"worker_cpu_affinity {1 << core:b};" if core in os.sched_getaffinity(0) else ""
        config.write_text(CONFIG.format(state=state, port=port, affinity=affinity))
        command = ["nginx", "-p", state, "-c", str(config), "-e", f"{state}/error.log"]
        server = subprocess.Popen(command)
        try:
            wait_until_open(server, port)
            yield f"127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(10)


def wait_until_open(server: "subprocess.Popen[bytes]", port: int) -> None:
    """Return when `port` accepts; raise if the server ended first."""
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
        except ConnectionRefusedError:
            if server.poll() is not None:
                raise RuntimeError(f"nginx ended with {server.returncode}") from None
        else:
            return
