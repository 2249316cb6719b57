"""A program: fetch from a thousand host names with the standard library, patched, and say whether a thread was started.

Prints how many were answered, how many questions each name cost, and how many threads were started. With an argument
"requests" that package is used instead of urllib.
"""

import sys

import greenprobe
import greenprobe.patcher

greenprobe.patcher.monkey_patch()

import http.server  # noqa: E402 - after the patch
import os  # noqa: E402
import threading  # noqa: E402
import urllib.request  # noqa: E402
from collections import Counter  # noqa: E402

from dns_servers import dns_server  # noqa: E402

from greenprobe import GreenPool, green_dns  # noqa: E402
from greenprobe.dns.conf import ResolvConf  # noqa: E402
from greenprobe.dns.resolver import Resolver  # noqa: E402

NAMES = 1000


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def get(url: str) -> int:
    """Return the status of an answer."""
    if "requests" in sys.argv:
        return int(requests.get(url, timeout=30).status_code)
    with urllib.request.urlopen(url, timeout=30) as answer:
        return int(answer.status)


if "requests" in sys.argv:
    import requests


class WebServer(http.server.ThreadingHTTPServer):
    request_queue_size = 1024


web = WebServer(("127.0.0.1", 0), Handler)
threading.Thread(target=web.serve_forever, daemon=True).start()
records = {(f"n{number}.test.", "A"): [f"n{number}.test. 60 IN A 127.0.0.1"] for number in range(NAMES)}
with dns_server(records) as server:
    green_dns.install(Resolver([server.server], conf=ResolvConf(), hosts_path=os.devnull))
    before = set(os.listdir("/proc/self/task"))
    pool = GreenPool(50)
    urls = [f"http://n{number}.test:{web.server_address[1]}/" for number in range(NAMES)]
    statuses = Counter(pool.imap(get, urls))
    started = set(os.listdir("/proc/self/task")) - before
sys.stdout.write(f"{statuses[200]} answered, {len(server.asked) / NAMES} questions a name, {len(started)} threads\n")
os._exit(0)
