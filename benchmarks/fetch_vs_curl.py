"""CPU time of a fetch: `greenprobe fetch` beside `curl -Z`, in turn, on an nginx of its own.

    python benchmarks/fetch_vs_curl.py [--runs 5] [--urls 50000] [CASE ...]

Cases: `kept` (connections are kept), `closing` (a new one for each URL), `million` (a list of 1,000,000 URLs, for the
memory; greenprobe only). Clients run on core 0, nginx on core 1. CPU is user + system of the whole process, its start
included, from wait4. greenprobe writes JSON lines with all headers to a file; curl throws every body away and writes
nothing. The list is checked to have been answered to the last URL.
"""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import nginx

CONCURRENCY = 100
MILLION = 1_000_000


class Used(NamedTuple):
    """What a run took."""

    user: float
    system: float
    peak_mb: float

    @property
    def cpu(self) -> float:
        """CPU seconds."""
        return self.user + self.system


def measure(command: list[str], environ: dict[str, str]) -> Used:
    """Run a client on core 0 and return what it used."""
    running = subprocess.Popen(
        ["taskset", "-c", "0", *command], env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(running.pid, 0)
    running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        raise RuntimeError(f"{command} ended with {running.returncode}")
    return Used(usage.ru_utime, usage.ru_stime, usage.ru_maxrss / 1024)


class Bench:
    """Lists, configurations and commands in a directory of their own."""

    def __init__(self, state: Path, server: str) -> None:
        self.state = state
        self.server = server
        self.out = state / "out.jsonl"
        source = Path(__file__).resolve().parent.parent
        # Bytecode is cached, as it is where greenprobe is installed.
        self.environ = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        self.environ |= {"PYTHONPATH": str(source), "PYTHONPYCACHEPREFIX": str(state / "bytecode")}

    def listed(self, path: str, count: int) -> Path:
        """Write a list of `count` URLs."""
        urls = self.state / "urls.txt"
        with urls.open("w") as file:
            for _ in range(count // 1000):
                file.write(f"http://{self.server}{path}\n" * 1000)
        return urls

    def greenprobe(self, urls: Path) -> Used:
        """Fetch the list with greenprobe, into a file."""
        command = [sys.executable, "-m", "greenprobe", "fetch", str(urls), "-c", str(CONCURRENCY), "-o", str(self.out)]
        return measure(command, self.environ)

    def curl(self, urls: Path) -> Used:
        """Fetch the list with curl, to nowhere."""
        config = urls.with_suffix(".curl")
        with urls.open() as lines, config.open("w") as file:
            for line in lines:
                file.write(f'url = "{line.strip()}"\noutput = "/dev/null"\n')
        limits = ["-Z", "--parallel-immediate", "--parallel-max", str(CONCURRENCY)]
        return measure(["curl", "-s", "--http1.1", *limits, "-K", str(config)], self.environ)

    def check(self, count: int) -> None:
        """Make sure that every URL of the last list was answered, and written with its headers."""
        # One row at a time: a child inherits the peak of its parent's memory.
        good = 0
        with self.out.open("rb") as file:
            for row in map(json.loads, file):
                good += row["status"] == 200 and len(row["headers"]) >= 8
        if good != count:
            raise RuntimeError(f"{good:,} of {count:,} answers were good and written")


def compare(bench: Bench, case: str, path: str, *, count: int, runs: int) -> None:
    """Run both clients in turn and print a row of the table."""
    urls = bench.listed(path, count)
    ours: list[Used] = []
    theirs: list[Used] = []
    for _ in range(runs):
        ours.append(bench.greenprobe(urls))
        theirs.append(bench.curl(urls))
    bench.check(count)
    medians = [statistics.median(used.cpu for used in results) for results in (ours, theirs)]
    best = [min(used.cpu for used in results) for results in (ours, theirs)]
    cells = [case, f"{count:,}"]
    cells += [f"{1e6 * seconds / count:.1f}" for seconds in (*medians, *best)]
    cells += [f"{medians[0] / medians[1]:.2f}", f"{best[0] / best[1]:.2f}"]
    cells += [f"{max(used.peak_mb for used in results):.0f}" for results in (ours, theirs)]
    print("| " + " | ".join(cells) + " |", flush=True)


@contextlib.contextmanager
def prepared() -> Iterator[Bench]:
    """Start nginx, and fetch a little to have everything compiled and cached."""
    with nginx.running() as server, tempfile.TemporaryDirectory() as state:
        bench = Bench(Path(state), server)
        bench.greenprobe(bench.listed("/1k", 1000))
        yield bench


def main() -> None:
    """Read the words and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=["kept", "closing", "million"], metavar="CASE")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--urls", type=int, default=50_000, help="a multiple of 1,000")
    words = parser.parse_args()
    if shutil.which("curl") is None:
        parser.error("curl is not installed")
    paths = {"kept": "/1k", "closing": "/closing/1k"}
    with prepared() as bench:
        if paths.keys() & set(words.cases):
            print("| case | URLs | us a fetch | curl | best | curl's best | ratio | ratio of best | peak MB | curl |")
            print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
        for case, path in paths.items():
            if case in words.cases:
                compare(bench, case, path, count=words.urls, runs=words.runs)
        if "million" in words.cases:
            used = bench.greenprobe(bench.listed("/1k", MILLION))
            print(f"\na list of {MILLION:,} URLs: peak {used.peak_mb:.1f} MB, {used.cpu:.1f} s of CPU")


if __name__ == "__main__":
    main()
