"""Patched `requests` against a server that takes 100 ms: wall and CPU time beside gevent and eventlet, as a table.

usage: requests_patched.py [--requests N] [--at-once N] [--rounds N] [--python PATH]

Each figure is the median of `--rounds` runs, which take turns. A run is a fresh process that makes `--requests`
requests, `--at-once` at a time, in the library's own greenthreads: `get`, with `requests.get` and so a connection each,
and `session`, with one Session a greenthread, which keeps its connection. The server is a process of its own.

The floor is what a library could reach that costs nothing: `requests` unpatched, one request after the other, of a
server that answers at once, costs c seconds of CPU time each. With one processor for all of them that makes c a request
and one delay at least, or five delays and c for each of those that wait at once, whichever is longer.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

WAITALL = "spawn, wait = lambda p: p.spawn, lambda p: p.waitall()"
SHUTDOWN = "spawn, wait = lambda p: p.submit, lambda p: p.shutdown()"
DELAY = 0.1  # seconds that the server takes
FLOOR = "floor"
CONTENDERS = {
    "greenprobe": (
        "import greenprobe; greenprobe.monkey_patch()",
        "from greenprobe import GreenPool as Pool; " + WAITALL,
    ),
    "gevent": (
        "from gevent import monkey; monkey.patch_all()",
        "from gevent.pool import Pool; spawn, wait = lambda p: p.spawn, lambda p: p.join()",
    ),
    "eventlet": ("import eventlet; eventlet.monkey_patch()", "from eventlet import GreenPool as Pool; " + WAITALL),
    FLOOR: ("", "Pool, spawn, wait = lambda n: None, lambda p: lambda f, job: f(job), lambda p: None"),
    "threads": ("", "from concurrent.futures import ThreadPoolExecutor as Pool\n" + SHUTDOWN),
}
SERVER = """
import asyncio, sys
HEAD = b"HTTP/1.1 200 OK\\r\\nContent-Type: text/plain\\r\\nContent-Length: 2\\r\\n\\r\\nok"
class Slow(asyncio.Protocol):
    def connection_made(self, transport): self.transport = transport
    def data_received(self, data): asyncio.get_running_loop().call_later(float(sys.argv[1]), self.transport.write, HEAD)
async def main():
    server = await asyncio.get_running_loop().create_server(Slow, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""
PROGRAM = """
{patch}
{pool}
import itertools, json, resource, sys, time
import requests
url = "http://127.0.0.1:{port}/"
def get(_):
    assert requests.get(url).text == "ok"
def session(count):
    with requests.Session() as mine:
        for _ in range(count):
            assert mine.get(url).text == "ok"
def spent():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
get(0)
found = {{}}
each = {requests} // {at_once}
for name, function, jobs in (("get", get, [0] * {requests}), ("session", session, [each] * {at_once})):
    cpu, started = spent(), time.perf_counter()
    pool = Pool({at_once})
    for job in jobs:
        spawn(pool)(function, job)
    wait(pool)
    found[name] = [time.perf_counter() - started, spent() - cpu]
print(json.dumps(found))
"""


def one_run(args: argparse.Namespace, name: str, port: int) -> dict[str, list[float]] | None:
    """Return seconds of wall time and of CPU time, by case."""
    patch, pool = CONTENDERS[name]
    program = PROGRAM.format(patch=patch, pool=pool, port=port, requests=args.requests, at_once=args.at_once)
    env = dict(os.environ, PYTHONPATH=str(Path(__file__).resolve().parent.parent), PYTHONWARNINGS="ignore")
    done = subprocess.run(
        [args.python, "-c", program], capture_output=True, text=True, env=env, timeout=300, check=False
    )
    if done.returncode:
        print(name, done.stderr.strip().splitlines()[-1], file=sys.stderr)
        return None
    found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def serve(delay: float) -> tuple["subprocess.Popen[str]", int]:
    """Start a server; return it and its port."""
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(delay)], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    return server, int(server.stdout.readline())


def floor(args: argparse.Namespace, cpu: float) -> list[float]:
    """Return the wall time that nobody can undercut, and the CPU time it is made of."""
    turns = args.requests / args.at_once
    return [max(DELAY + cpu, turns * DELAY + cpu / turns), cpu]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--python", default=sys.executable)
    args = parser.parse_args()
    server, port = serve(DELAY)
    prompt, prompt_port = serve(0)
    runs: dict[str, list[dict[str, list[float]]]] = {name: [] for name in CONTENDERS}
    try:
        for _ in range(args.rounds):
            for name in CONTENDERS:
                found = one_run(args, name, prompt_port if name == FLOOR else port)
                if found is not None:
                    runs[name].append(found)
    finally:
        for each in (server, prompt):
            each.terminate()
            each.wait()
    print("| case | contender | wall s | CPU s | greenprobe's wall / its | CPU / its |")
    print("| --- | --- | --- | --- | --- | --- |")
    for case in ("get", "session"):
        median = {
            name: [statistics.median(each[case][i] for each in found) for i in (0, 1)]
            for name, found in runs.items()
            if found
        }
        median[FLOOR] = floor(args, median[FLOOR][1])
        ours = median["greenprobe"]
        for name, (wall, cpu) in median.items():
            print(f"| {case} | {name} | {wall:.2f} | {cpu:.2f} | {ours[0] / wall:.2f} | {ours[1] / cpu:.2f} |")


if __name__ == "__main__":
    main()
