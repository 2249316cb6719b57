"""The core beside eventlet and gevent: the figures of one run as Markdown tables.

usage: core.py [CASE ...] [--python PATH ...] [--rounds N] [--scale X] [--only NAME ...]

Every figure is the median of `--rounds` runs. A run is a fresh process pinned to core 0 (nginx sits on core 1) and the
contenders take turns, so that a slow minute of the machine hits all of them. What is compared is CPU time, user and
system, never wall time. `--scale 0.1` makes it ten times shorter. Cases: those of workloads.py, and `syscalls` (needs
strace) and `import`. The floor is what the same work takes with no library at all, see contender_bare.py,
and `least` what it takes a library that does hardly anything, see contender_least.py.
"""

import argparse
import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nginx

HERE = Path(__file__).resolve().parent
LONGEST = 300  # seconds for one run of one case
CONTENDERS = ("greenprobe", "eventlet", "gevent")
BENEATH = ("bare", "least")  # programs that no contender can be cheaper than


@dataclass(frozen=True)
class Row:
    """One line of the table: what is measured, how often, and which ratios are asked for."""

    what: str
    unit: str
    count: int = 0
    of_eventlet: float | None = None
    of_gevent: float | None = None
    at_most: float | None = None
    beside: str = ""  # another case of greenprobe's that this one is compared with, in the same rounds
    of_beside: float | None = None
    floor: bool = False  # whether contender_bare.py can do it
    least: bool = False  # whether contender_least.py can


ROWS = {
    "echo": Row("1-byte echo over TCP in one process, a round trip", "µs", 30_000, 0.55, 0.70, floor=True, least=True),
    "echo_timeout": Row("the same with `settimeout(5)`", "µs", 30_000),
    "syscalls": Row("system calls of a round trip", "calls", 2_000, at_most=6),
    "http": Row("1 kB keep-alive GET from nginx, 100 connections", "µs", 50_000, 0.55, 0.75, floor=True, least=True),
    "http_timeout": Row("the same with `settimeout(5)`", "µs", 50_000, beside="http", of_beside=1.05, floor=True),
    "connect": Row("refused connect through a pool of 100", "µs", 20_000, 0.40, 0.55, floor=True, least=True),
    "spawn": Row("spawn and wait of a no-op, 50,000 alive at once", "µs", 50_000, 0.5, 0.8, floor=True, least=True),
    "sleep0": Row("`sleep(0)`", "µs", 200_000, None, 1.0),
    "queue": Row("put and get of a queue of 10, two greenthreads", "µs", 200_000, 0.7),
    "timeout": Row("start and cancel of a timeout", "µs", 200_000, 0.7),
    "timeouts_memory": Row("memory growth over a million timeouts set and cancelled", "KiB", 1_000_000, at_most=5_000),
    "parked": Row("memory of a parked greenthread, 100,000 of them", "KiB", 100_000, at_most=6.5, floor=True),
    "import": Row("`import` of the package in a fresh process", "ms", of_gevent=0.3),
    "import_core": Row("the same, with spawn, pool, queue, timeout and socket", "ms"),
}

# What a program imports that uses these; the bare package is the contender's name.
CORE_IMPORTS = {
    "greenprobe": "from greenprobe import GreenPool, Queue, Timeout, create_connection, spawn",
    "eventlet": "from eventlet import GreenPool, Queue, Timeout, connect, spawn",
    "gevent": "from gevent import Timeout, pool, queue, socket, spawn",
}


def child(command: list[str]) -> str | None:
    """Run `command` and return its output, or None with the last line of its complaint on stderr."""
    env = dict(os.environ, PYTHONPATH=os.pathsep.join([str(HERE.parent), str(HERE)]))
    with tempfile.TemporaryFile("w+") as complaint:
        try:
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=complaint, text=True, env=env, timeout=LONGEST, check=False
            )
        except subprocess.TimeoutExpired as error:
            print(error, file=sys.stderr)
            return None
        if done.returncode == 0:
            return done.stdout
        complaint.seek(0)
        print(f"{' '.join(command)}: {complaint.read(100_000).strip().splitlines()[-1:]}", file=sys.stderr)
    return None


def workload(python: str, contender: str, case: str, count: int, where: str) -> list[str]:
    """Return the command that runs one case."""
    return [python, "-W", "ignore", str(HERE / "workloads.py"), contender, case, str(count), where]


def measure_case(python: str, contender: str, case: str, count: int, where: str) -> float | None:
    """Return the figure of one run of one case."""
    output = child(workload(python, contender, case, count, where))
    return None if output is None else float(json.loads(output))


def count_syscalls(command: list[str]) -> dict[str, int] | None:
    """Return how often a command made each system call, all its threads counted."""
    with tempfile.NamedTemporaryFile("r") as report:
        if child(["strace", "-f", "-c", "-U", "calls,name", "-o", report.name, *command]) is None:
            return None
        rows = re.findall(r"^\s*(\d+)\s+(\w+)$", report.read(), re.MULTILINE)
    return {name: int(calls) for calls, name in rows if name != "total"}


def measure_syscalls(python: str, contender: str, count: int) -> float | None:
    """Return the system calls of one echo round trip: the difference of two runs, start-up cancelled out."""
    short = count_syscalls(workload(python, contender, "echo", count, ""))
    long = count_syscalls(workload(python, contender, "echo", count * 3, ""))
    if short is None or long is None:
        return None
    trips = (count * 3 + count * 3 // 20) - (count + count // 20)
    each = {name: (calls - short.get(name, 0)) / trips for name, calls in long.items()}
    named = ", ".join(f"{calls:.2f} {name}" for name, calls in sorted(each.items()) if calls > 0.05)
    print(f"  {contender}: {named}", file=sys.stderr)
    return sum(each.values())


def import_cpu(python: str, code: str) -> float | None:
    """Return the CPU milliseconds of a fresh process that runs `code`."""
    measured = f"import resource;{code};u=resource.getrusage(resource.RUSAGE_SELF);print(u.ru_utime+u.ru_stime)"
    output = child([python, "-W", "ignore", "-c", measured])
    return None if output is None else float(output) * 1e3


def measure_import(python: str, code: str) -> float | None:
    """Return the CPU milliseconds that importing adds to a bare interpreter: medians of 15, taking turns."""
    bare, loaded = [], []
    for _ in range(15):
        without, with_it = import_cpu(python, "pass"), import_cpu(python, code)
        if without is None or with_it is None:
            return None
        bare.append(without)
        loaded.append(with_it)
    return statistics.median(loaded) - statistics.median(bare)


def measure(python: str, contender: str, case: str, count: int, where: str) -> float | None:
    """Return one figure, by whichever way the case is measured."""
    if case == "syscalls":
        return measure_syscalls(python, contender, count)
    if case == "import":
        return measure_import(python, f"import {contender}")
    if case == "import_core":
        return measure_import(python, CORE_IMPORTS[contender])
    return measure_case(python, contender, case, count, where)


def medians(args: argparse.Namespace, python: str, case: str, where: str) -> dict[str, float]:
    """Return each contender's median, and that of the case beside it; one that failed is left out."""
    count = max(1, int(ROWS[case].count * args.scale))
    figures: dict[str, list[float]] = {}
    rounds = 1 if case == "syscalls" else args.rounds
    for _ in range(rounds):
        for contender in [*args.only, *BENEATH[: ROWS[case].floor + ROWS[case].least]]:
            figure = measure(python, contender, case, count, where)
            if figure is not None:
                figures.setdefault(contender, []).append(figure)
        beside = measure(python, "greenprobe", ROWS[case].beside, count, where) if ROWS[case].beside else None
        if beside is not None:
            figures.setdefault("beside", []).append(beside)
    return {contender: statistics.median(values) for contender, values in figures.items()}


def verdict(value: float, target: float | None) -> str:
    """Return a figure with its target: "0.48 (<= 0.55)", and " MISSED" where it is."""
    if target is None:
        return f"{value:.2f}"
    return f"{value:.2f} (<= {target:g}{'' if value <= target else ', MISSED'})"


def table_row(row: Row, found: dict[str, float]) -> str:
    """Return one line of Markdown."""
    ours = found.get("greenprobe")
    cells = [row.what, row.unit]
    for contender in CONTENDERS:
        figure = found.get(contender)
        target = row.at_most if contender == "greenprobe" else None
        cells.append("-" if figure is None else verdict(figure, target))
    cells += [f"{found[beneath]:.2f}" if beneath in found else "-" for beneath in BENEATH]
    if ours and "beside" in found:
        cells[2] += f"; of {row.beside}: {verdict(ours / found['beside'], row.of_beside)}"
    for contender, target in (("eventlet", row.of_eventlet), ("gevent", row.of_gevent)):
        theirs = found.get(contender)
        cells.append("-" if not ours or not theirs or theirs <= 0 else verdict(ours / theirs, target))
    return f"| {' | '.join(cells)} |"


@contextlib.contextmanager
def http_server(cases: list[str]) -> Iterator[str]:
    """Give the address of an nginx if a case needs one, else nothing."""
    if not any(case.startswith("http") for case in cases):
        yield ""
        return
    with nginx.running() as where:
        yield where


def versions(python: str) -> str:
    """Return what runs: "Python 3.13.0, eventlet 0.41.3, gevent 26.9.0"."""
    code = """
import importlib.metadata, platform
peers = [f"{name} {importlib.metadata.version(name)}" for name in ("greenlet", "eventlet", "gevent")]
print(", ".join(["Python " + platform.python_version(), *peers]))
"""
    return (child([python, "-c", code]) or python).strip()


def run(args: argparse.Namespace, python: str) -> None:
    """Print the table of one Python."""
    print(f"\n{versions(python)}; median of {args.rounds}, CPU time, core 0\n")
    print("| what | unit | greenprobe | eventlet | gevent | floor | least | of eventlet | of gevent |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    with http_server(args.cases) as where:
        for case in args.cases:
            print(table_row(ROWS[case], medians(args, python, case, where)), flush=True)


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"default all: {', '.join(ROWS)}")
    parser.add_argument("--python", nargs="+", default=[sys.executable], help="interpreters that have the peers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies every count")
    parser.add_argument("--only", nargs="+", default=list(CONTENDERS), choices=CONTENDERS)
    args = parser.parse_args()
    unknown = set(args.cases) - set(ROWS)
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    args.cases = args.cases or list(ROWS)
    for python in args.python:
        run(args, python)


if __name__ == "__main__":
    main()
