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
    types {{ text/html html; }}
    default_type text/plain;
    server {{
        listen 127.0.0.1:{port} backlog=8192;
        root {state}/www;
        location /1k {{ try_files /1k =404; }}
        location /closing/ {{ keepalive_timeout 0; alias {state}/www/; }}
    }}
}}
"""


TLS_CONFIG = """
    ssl_certificate {state}/cert.pem; ssl_certificate_key {state}/key.pem;
    server {{ listen 127.0.0.1:{http2} ssl http2 backlog=8192; root {state}/www; }}
    server {{
        listen 127.0.0.1:{closing} ssl backlog=8192; root {state}/www;
        keepalive_timeout 0; ssl_session_cache off; ssl_session_tickets off;
    }}
    server {{ listen 0.0.0.0:{everywhere} backlog=8192; root {state}/www; }}
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


@contextlib.contextmanager
def running_everything(core: int = 1) -> Iterator[dict[str, str]]:
    """Run nginx and give the "host:port" of each of its servers.

    `http2` speaks HTTP/2 over TLS, `closing` HTTP/1.1 over TLS with a full handshake each, `everywhere` is plain on all
    of 127.0.0.0/8. Each has /1k, /10m and /page.html. The certificate is nobody's: clients must not verify it.
    """
    with tempfile.TemporaryDirectory() as state:
        os.chmod(state, 0o755)
        www = Path(state, "www")
        www.mkdir()
        (www / "1k").write_bytes(b"x" * 1023 + b"\n")
        (www / "10m").write_bytes(os.urandom(10_000_000))
        words = " ".join(f"<p>word{n % 700} of {n}" for n in range(600))
        (www / "page.html").write_text(f"<title>A page</title>{words}")
        make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        make += ["-keyout", f"{state}/key.pem", "-out", f"{state}/cert.pem", "-subj", "/CN=localhost", "-days", "30"]
        subprocess.run(make, check=True, stderr=subprocess.DEVNULL)
        ports = {name: free_port() for name in ("port", "http2", "closing", "everywhere")}
        affinity = f"worker_cpu_affinity {1 << core:b};" if core in os.sched_getaffinity(0) else ""
        config = Path(state, "nginx.conf")
        whole = CONFIG.rstrip().removesuffix("}}") + TLS_CONFIG
        config.write_text(whole.format(state=state, affinity=affinity, **ports))
        server = subprocess.Popen(["nginx", "-p", state, "-c", str(config), "-e", f"{state}/error.log"])
        try:
            wait_until_open(server, ports["everywhere"])
            yield {name: f"127.0.0.1:{port}" for name, port in ports.items()}
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
