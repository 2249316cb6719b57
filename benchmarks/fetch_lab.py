"""`greenprobe fetch` and the clients of a fetch laboratory, in turn, on the laboratory's servers.

    python benchmarks/fetch_lab.py --lab FOLDER [--runs 3] [--peers PYTHON] [CASE ...]

FOLDER holds `lab.sh` (nginx on core 1, an authority for TLS, 10,000 names, in a network namespace) and `clients/`:
minimal programs on Go's net/http, aiohttp, pycurl, httpx and bare greenlets, which write no record. PYTHON runs those
in Python and has their packages. What is not installed is left out. Clients run on core 0; CPU is user + system of the
whole process, its start included, from wait4. greenprobe writes JSON lines with all headers, and every row is checked.
Needs root.

The `floor` is `fetch_floor.py`: one epoll loop that does nothing but send, receive and write the rows.

Cases: `kept` (50,000 GETs of 1 kB), `pages` (the same of 500 files in turn, so that no head is that of the answer
before), `closing` (20,000, a connection each), `tls` (2,000 full handshakes, verified), `hosts` and `names` (10,000
hosts by address and over the laboratory's DNS, 1,000 at once), `http2` (10,000 GETs, greenprobe and curl on 10
connections).
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).resolve().parent.parent
NAMESPACE = "greenprobe-fetch"
LIMIT_S = 60
PAGES = 500  # files of `pages`


class Case(NamedTuple):
    """A list, and how it is fetched."""

    urls: list[str]
    at_once: int = 100
    http2: bool = False
    has_floor: bool = False

    @property
    def is_tls(self) -> bool:
        """Tell whether the laboratory's authority is needed."""
        return self.urls[0].startswith("https")


CASES = {
    "kept": Case(["http://127.0.0.1/1k"] * 50_000, has_floor=True),
    "pages": Case([f"http://127.0.0.1/pages/{n % PAGES}" for n in range(50_000)], has_floor=True),
    "closing": Case(["http://127.0.0.1:81/1k"] * 20_000),
    "tls": Case(["https://127.0.0.1:8444/1k"] * 2_000),
    "hosts": Case([f"http://127.40.{n // 250}.{n % 250 + 1}/1k" for n in range(10_000)], at_once=1000),
    "names": Case([f"http://b{n:04}.bench.test/1k" for n in range(10_000)], at_once=1000),
    "http2": Case(["https://127.0.0.1/1k"] * 10_000, http2=True),
}


class Used(NamedTuple):
    """What a run took."""

    cpu: float
    wall: float
    peak_mb: float


class Lab:
    """Where everything is; makes the commands."""

    def __init__(self, folder: Path, state: Path, peers: str) -> None:
        self.clients = folder / "clients"
        self.state = state
        self.peers = peers
        self.ca = str(state / "ca" / "ca.pem")
        self.list = state / "urls.txt"
        self.out = state / "out.jsonl"

    def prepare(self, case: Case) -> None:
        """Write the list in every form."""
        self.list.write_text("".join(f"{url}\n" for url in case.urls))
        config = "".join(f'url = "{url}"\noutput = "/dev/null"\n' for url in case.urls)
        self.list.with_suffix(".curl").write_text(config)
        # wget2 fetches the same URL once only
        self.list.with_suffix(".wget").write_text("".join(f"{url}?{n}\n" for n, url in enumerate(case.urls)))

    def prepare_pages(self) -> None:
        """Write the files of `pages`: of 1 kB each, and with a date and so an ETag of its own."""
        folder = self.state / "www" / "pages"
        folder.mkdir(exist_ok=True)
        for number in range(PAGES):
            file = folder / str(number)
            shutil.copyfile(self.state / "www" / "1k", file)
            os.utime(file, (0, 1_700_000_000 + number))

    def greenprobe(self, case: Case) -> list[str]:
        """Write everything there is to know, into a file."""
        more = ["--http2", "--max-streams", "10"] if case.http2 else []
        words = ["fetch", str(self.list), "-c", str(case.at_once), "-o", str(self.out), "--progress", "off", *more]
        return [sys.executable, "-m", "greenprobe", *words]

    def curl(self, case: Case) -> list[str]:
        """Throw every body away; no more than 300 at once."""
        more = ["--http2" if case.http2 else "--http1.1", *(["--cacert", self.ca] if case.is_tls else [])]
        limits = ["-Z", "--parallel-max", str(case.at_once), *([] if case.http2 else ["--parallel-immediate"])]
        return ["curl", "-s", *limits, *more, "-K", str(self.list.with_suffix(".curl"))]

    def wget2(self, case: Case) -> list[str]:
        """Throw every body away, with a thread each: 100 at the most."""
        how = ["--no-robots", "--tries=1", f"--http2={'on' if case.http2 else 'off'}", f"--ca-certificate={self.ca}"]
        how += [f"--max-threads={min(case.at_once, 100)}", "-O", "/dev/null", "-i", str(self.list.with_suffix(".wget"))]
        return ["wget2", "-q", "--no-config", *how]

    def go(self, case: Case) -> list[str]:
        """Go's net/http."""
        return [str(self.state / "c_go"), str(self.list), str(case.at_once), *([self.ca] if case.is_tls else [])]

    def floor(self, case: Case) -> list[str]:
        """What no client in Python can be cheaper than."""
        program = str(SOURCE / "benchmarks" / "fetch_floor.py")
        return [sys.executable, program, str(self.list), str(case.at_once), str(self.out.with_suffix(".floor"))]

    def python(self, program: str, *more: str) -> Callable[[Case], list[str]]:
        """Return what makes the command of a program in Python."""

        def command(case: Case) -> list[str]:
            tls = ["--ca", self.ca] if case.is_tls else []
            return [self.peers, str(self.clients / program), str(self.list), str(case.at_once), *tls, *more]

        return command

    def table(self, case: Case) -> dict[str, Callable[[Case], list[str]]]:
        """Return the clients that are there and can do the case."""
        found: dict[str, Callable[[Case], list[str]]] = {"greenprobe": self.greenprobe}
        found |= {"curl -Z": self.curl} if shutil.which("curl") else {}
        found |= {"wget2": self.wget2} if shutil.which("wget2") else {}
        found |= {"Go net/http": self.go} if (self.state / "c_go").exists() else {}
        found |= {"floor": self.floor} if case.has_floor else {}
        if case.http2:
            return found | (self._if_there("httpx", "httpx", "c_httpx.py", "--opt", "h2"))
        found |= self._if_there("pycurl", "pycurl", "c_pycurl.py")
        found |= self._if_there("aiohttp", "aiohttp", "c_aiohttp.py", "--opt", "asyncio")
        if len(case.urls) <= 5_000:  # of more, nobody would wait for httpx
            found |= self._if_there("httpx", "httpx", "c_httpx.py")
        return found | self._if_there("bare greenlets", "greenlet", "c_greenlet.py")

    def _if_there(self, name: str, package: str, *words: str) -> dict[str, Callable[[Case], list[str]]]:
        probed = subprocess.run([self.peers, "-c", f"import {package}"], check=False, stderr=subprocess.DEVNULL)
        return {} if probed.returncode else {name: self.python(*words)}

    def run(self, command: list[str]) -> Used | None:
        """Run a client on core 0; None if it failed or took too long."""
        environ = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        environ |= {"PYTHONPATH": str(SOURCE), "SSL_CERT_FILE": self.ca}
        began = time.monotonic()
        whole = ["timeout", "-k", "3", str(LIMIT_S), "taskset", "-c", "0", *command]
        running = subprocess.Popen(whole, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
        used = Used(usage.ru_utime + usage.ru_stime, time.monotonic() - began, usage.ru_maxrss / 1024)
        return None if running.returncode else used

    def check(self, case: Case) -> None:
        """Make sure that greenprobe has written every row, with its headers."""
        with self.out.open("rb") as file:
            good = sum(row["status"] == 200 and len(row["headers"]) >= 5 for row in map(json.loads, file))
        if good != len(case.urls):
            raise RuntimeError(f"{good:,} of {len(case.urls):,} answers were good and written")


def compare(lab: Lab, name: str, runs: int) -> None:
    """Run all clients in turn and print a table."""
    case = CASES[name]
    lab.prepare(case)
    lab.prepare_pages()
    clients = lab.table(case)
    found: dict[str, list[Used]] = {client: [] for client in clients}
    for _ in range(runs):
        for client, command in clients.items():
            used = lab.run(command(case))
            if used is not None:
                found[client].append(used)
    lab.check(case)
    each_us = 1e6 / len(case.urls)
    ours = found["greenprobe"]
    print(f"\n**{name}**: {len(case.urls):,} URLs, {case.at_once:,} at once\n")
    print("| client | us CPU a fetch, median | best | greenprobe is, by medians | by bests | s wall | peak MB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for client, all_used in found.items():
        if not all_used:
            print(f"| {client} | failed | | | | | |")
            continue
        middle, best = (pick(used.cpu for used in all_used) for pick in (statistics.median, min))
        ratios = statistics.median(used.cpu for used in ours) / middle, min(used.cpu for used in ours) / best
        wall = statistics.median(used.wall for used in all_used)
        peak = max(used.peak_mb for used in all_used)
        cells = [f"{middle * each_us:.1f}", f"{best * each_us:.1f}", *(f"{ratio:.2f}" for ratio in ratios)]
        print("| " + " | ".join([client, *cells, f"{wall:.2f}", f"{peak:.0f}"]) + " |", flush=True)


def outside(words: argparse.Namespace) -> int:
    """Start the laboratory and run ourselves inside its namespace."""
    with tempfile.TemporaryDirectory() as state:
        os.chmod(state, 0o755)
        environ = os.environ | {"FETCHLAB_STATE": state, "FETCHLAB_NS": NAMESPACE}
        script = str(words.lab / "lab.sh")
        subprocess.run([script, "up"], env=environ, check=True, stdout=subprocess.DEVNULL)
        try:
            if shutil.which("go"):
                program = str(words.lab / "clients" / "c_go.go")
                subprocess.run(["go", "build", "-o", f"{state}/c_go", program], check=True)
            inside = [sys.executable, *sys.argv, "--state", state]
            return subprocess.run(["ip", "netns", "exec", NAMESPACE, *inside], check=False).returncode
        finally:
            subprocess.run([script, "down"], env=environ, check=False, stdout=subprocess.DEVNULL)


def main() -> None:
    """Read the words and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=list(CASES), metavar="CASE")
    parser.add_argument("--lab", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peers", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--state", type=Path, help=argparse.SUPPRESS)  # of the laboratory that is up
    words = parser.parse_args()
    if unknown := set(words.cases) - CASES.keys():
        parser.error(f"no such case: {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    if words.state is None:
        sys.exit(outside(words))
    for name in words.cases:
        compare(Lab(words.lab, words.state, words.peers), name, words.runs)


if __name__ == "__main__":
    main()
