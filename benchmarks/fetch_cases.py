"""`greenprobe fetch` beside `curl -Z` where TLS, HTTP/2, many hosts, large files and several cores come in.

    python benchmarks/fetch_cases.py [--runs 3] [CASE ...]

Cases: `tls` (2,000 full handshakes), `http2` (10,000 GETs on 10 connections), `hosts` (10,000 hosts by address, one GET
each), `disk` (200 files of 10 MB), `processes` (10,000 pages of 50 hosts with all facts, on one process and on two, on
both cores). Clients run on core 0 and nginx on core 1, in turn; CPU is user + system of the process and its children,
wall the time it took.
"""

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import nginx

CONCURRENCY = 100
SOURCE = Path(__file__).resolve().parent.parent


class Used(NamedTuple):
    """What a run took."""

    cpu: float
    wall: float
    peak_mb: float


def measure(command: list[str], *, pinned: bool = True) -> Used:
    """Run a client and return what it used."""
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environ["PYTHONPATH"] = str(SOURCE)
    began = time.monotonic()
    pinning = ["taskset", "-c", "0"] if pinned else []
    quiet = subprocess.DEVNULL
    running = subprocess.Popen([*pinning, *command], env=environ, stdout=quiet, stderr=quiet)
    _, status, usage = os.wait4(running.pid, 0)
    running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        raise RuntimeError(f"{command} ended with {running.returncode}")
    return Used(usage.ru_utime + usage.ru_stime, time.monotonic() - began, usage.ru_maxrss / 1024)


class Case(NamedTuple):
    """A list, and the words for each client."""

    urls: list[str]
    ours: list[str]
    curls: list[str]


def case_of(name: str, servers: dict[str, str], state: Path) -> Case:
    """Return a case by its name."""
    discard = ["-o", str(state / "out.jsonl"), "-k", "-c", str(CONCURRENCY)]
    if name == "tls":
        return Case([f"https://{servers['closing']}/1k"] * 2000, discard, ["-k", "--http1.1"])
    if name == "http2":
        urls = [f"https://{servers['http2']}/1k"] * 10_000
        return Case(urls, [*discard, "--http2", "--max-streams", "10"], ["-k", "--http2"])
    if name == "hosts":
        port = servers["everywhere"].rpartition(":")[2]
        urls = [f"http://127.{n // 250 % 250 + 1}.{n // 62_500 + 1}.{n % 250 + 1}:{port}/1k" for n in range(10_000)]
        return Case(urls, discard, ["--http1.1"])
    if name == "disk":
        urls = [f"http://{servers['everywhere']}/10m?{n}" for n in range(200)]
        return Case(urls, [*discard[:-1], "10", "--save", str(state / "bodies")], ["--http1.1"])
    raise ValueError(name)


def run_ours(case: Case, state: Path, *more: str, pinned: bool = True) -> Used:
    """Fetch with greenprobe."""
    (state / "urls").write_text("".join(f"{url}\n" for url in case.urls))
    words = ["fetch", str(state / "urls"), *case.ours, "--fail", "--progress", "off", *more]
    used = measure([sys.executable, "-m", "greenprobe", *words], pinned=pinned)
    shutil.rmtree(state / "bodies", ignore_errors=True)
    return used


def run_curl(case: Case, state: Path, *, to_disk: bool) -> Used:
    """Fetch with curl; to files only where the case is about files."""
    folder = state / "curled"
    folder.mkdir(exist_ok=True)
    outs = (folder / str(n) if to_disk else Path("/dev/null") for n in range(len(case.urls)))
    config = "".join(f'url = "{url}"\noutput = "{out}"\n' for url, out in zip(case.urls, outs, strict=False))
    (state / "curl").write_text(config)
    at_once = "10" if to_disk else str(CONCURRENCY)
    words = ["-s", "-Z", "--parallel-immediate", "--parallel-max", at_once, *case.curls, "-K", str(state / "curl")]
    used = measure(["curl", *words])
    shutil.rmtree(folder)
    return used


def compare(name: str, servers: dict[str, str], state: Path, runs: int) -> None:
    """Print a row: medians and ratios."""
    case = case_of(name, servers, state)
    ours, theirs = [], []
    for _ in range(runs):
        ours.append(run_ours(case, state))
        theirs.append(run_curl(case, state, to_disk=name == "disk"))
    cpu, curl_cpu = (statistics.median(used.cpu for used in each) for each in (ours, theirs))
    wall, curl_wall = (statistics.median(used.wall for used in each) for each in (ours, theirs))
    each_us = 1e6 / len(case.urls)
    peaks = [max(used.peak_mb for used in each) for each in (ours, theirs)]
    cells = [name, f"{cpu * each_us:,.0f}", f"{curl_cpu * each_us:,.0f}", f"{cpu / curl_cpu:.2f}"]
    cells += [f"{wall:.2f}", f"{curl_wall:.2f}", f"{wall / curl_wall:.2f}", *(f"{peak:.0f}" for peak in peaks)]
    print("| " + " | ".join(cells) + " |", flush=True)


def scale(servers: dict[str, str], state: Path, runs: int) -> None:
    """Print how much faster two processes are than one, on both cores, and how much they could be by their CPU time.

    The pages are of 10 kB and looked into for all facts, which takes the client fifteen times what it takes nginx: the
    server is not the limit on two cores either. It needs a machine on which nothing else runs.
    """
    port = servers["everywhere"].rpartition(":")[2]
    urls = [f"http://127.0.{n % 50 + 1}.1:{port}/page.html" for n in range(10_000)]
    facts = ["-o", str(state / "out.jsonl"), "--facts", "all", "-c", str(CONCURRENCY)]
    case = Case(urls, facts, [])
    used: dict[str, list[Used]] = {"1": [], "2": []}
    for _ in range(runs):
        for count, runs_of in used.items():
            runs_of.append(run_ours(case, state, "--processes", count, pinned=False))
    one, two = (min(each.wall for each in used[count]) for count in used)
    cpu_one, cpu_two = (min(each.cpu for each in used[count]) for count in used)
    print(f"\nprocesses: {one:.2f} s on one, {two:.2f} s on two: {one / two:.2f} times", flush=True)
    print(
        f"CPU {cpu_one:.2f} s and {cpu_two:.2f} s: on two idle cores at most {2 * cpu_one / cpu_two:.2f} times",
        flush=True,
    )


@contextlib.contextmanager
def prepared() -> Iterator[tuple[dict[str, str], Path]]:
    """Start nginx, and fetch a little to have everything compiled."""
    with nginx.running_everything() as servers, tempfile.TemporaryDirectory() as state:
        run_ours(Case([f"http://{servers['everywhere']}/1k"] * 100, ["-o", "/dev/null"], []), Path(state))
        yield servers, Path(state)


def main() -> None:
    """Read the words and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ["tls", "http2", "hosts", "disk", "processes"]
    parser.add_argument("cases", nargs="*", default=names, metavar="CASE")
    parser.add_argument("--runs", type=int, default=3)
    words = parser.parse_args()
    with prepared() as (servers, state):
        print("| case | us CPU a fetch | curl | ratio | s wall | curl | ratio | peak MB | curl |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
        for name in words.cases:
            if name == "processes":
                scale(servers, state, words.runs)
            else:
                compare(name, servers, state, words.runs)


if __name__ == "__main__":
    main()
