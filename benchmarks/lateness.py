"""How late a timer is beside greenthreads that compute: the price of few looks at the clock, in milliseconds.

usage: lateness.py [CONTENDER ...] [--seconds N]

A greenthread sleeps for 10 ms, again and again. Beside it one other computes for so long between two `sleep(0)`, or two
compute in turns and hand on by a queue. Each contender runs in a process of its own.
"""

import argparse
import importlib
import statistics
import subprocess
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

CONTENDERS = ("greenprobe", "eventlet", "gevent")
STEPS_MS = (1, 5, 20)
NAP = 0.01


def compute(seconds: float) -> None:
    """Keep the processor busy."""
    end = perf_counter() + seconds
    while perf_counter() < end:
        pass


def yielding(lib: Any, step: float) -> None:
    """Have one greenthread compute and yield."""

    def work() -> None:
        while True:
            compute(step)
            lib.sleep(0)

    lib.spawn(work)


def in_turns(lib: Any, step: float) -> None:
    """Have two greenthreads compute in turns."""
    there, back = lib.Queue(1), lib.Queue(1)

    def work(take: Any, give: Any) -> None:
        while True:
            take.get()
            compute(step)
            give.put(None)

    lib.spawn(work, there, back)
    lib.spawn(work, back, there)
    there.put(None)


LOADS: dict[str, Callable[[Any, float], None]] = {"one, `sleep(0)`": yielding, "two, a queue": in_turns}


def measure(contender: str, load: str, step_ms: int, seconds: float) -> str:
    """Return by how much the sleeper was late: the median, and the worst."""
    lib = importlib.import_module(f"contender_{contender}")
    LOADS[load](lib, step_ms / 1000)
    late = []
    end = perf_counter() + seconds
    while perf_counter() < end:
        began = perf_counter()
        lib.sleep(NAP)
        late.append((perf_counter() - began - NAP) * 1000)
    return f"{statistics.median(late):.0f}, {max(late):.0f}"


def main() -> None:
    """Print a table, or one cell of it in a child."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("contenders", nargs="*", metavar="CONTENDER", default=list(CONTENDERS))
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--cell", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.cell:
        print(measure(args.contenders[0], args.cell[0], int(args.cell[1]), args.seconds))
        return
    print("| who computes | ms each |", *(f" {name} |" for name in args.contenders), sep="")
    print("| --- | --- |", " --- |" * len(args.contenders), sep="")
    for load in LOADS:
        for step in STEPS_MS:
            cells = [child(name, load, step, args.seconds) for name in args.contenders]
            print(f"| {load} | {step} |", *(f" {cell} |" for cell in cells), sep="", flush=True)


def child(contender: str, load: str, step: int, seconds: float) -> str:
    """Run one cell in a fresh process."""
    cell = ["--seconds", str(seconds), "--cell", load, str(step)]
    command = [sys.executable, "-W", "ignore", __file__, contender, *cell]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
