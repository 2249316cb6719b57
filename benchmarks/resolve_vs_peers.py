"""CPU time of names: `greenprobe resolve` beside aiodns, dnspython in threads and eventlet's greendns, in turn.

    python benchmarks/resolve_vs_peers.py [--runs 3] [--names 100000] [--pairs 10000] [--concurrency 100]

A knot of its own on core 1, clients on core 0. CPU is user + system of the whole process, its start included, from
wait4. greenprobe writes a JSON line a name to a file, which is checked; the peers only count. aiodns runs on uvloop if
that is installed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import knot

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent
A_PEERS = ("aiodns", "dnspython", "greendns")


class Bench:
    """Runs contenders in a directory of their own."""

    def __init__(self, state: Path, server: str, concurrency: int) -> None:
        self.state = state
        self.server = server
        self.concurrency = str(concurrency)
        self.out = state / "out.jsonl"
        self.environ = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        self.environ |= {"PYTHONPATH": str(SOURCE), "PYTHONPYCACHEPREFIX": str(state / "bytecode")}

    def listed(self, count: int) -> Path:
        """Write a list of `count` names."""
        path = self.state / f"names{count}"
        path.write_text("".join(f"{name}\n" for name in knot.names(count)))
        return path

    def run(self, command: list[str]) -> tuple[float, str]:
        """Run a client on core 0; return its CPU seconds and what it printed."""
        running = subprocess.Popen(
            ["taskset", "-c", "0", *command], env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert running.stdout is not None
        printed = running.stdout.read().decode()
        _, status, usage = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
        running.stdout.close()
        if running.returncode:
            raise RuntimeError(f"{command} ended with {running.returncode}: {printed}")
        return usage.ru_utime + usage.ru_stime, printed

    def peer(self, kind: str, names: Path) -> tuple[float, str]:
        """Run a contender of resolve_peers.py."""
        program = str(HERE / "resolve_peers.py")
        return self.run([sys.executable, program, kind, str(names), self.server, self.concurrency])

    def resolve(self, names: Path, count: int) -> float:
        """Run `greenprobe resolve` and check its records."""
        command = [sys.executable, "-m", "greenprobe", "resolve", str(names), "-s", self.server, "-o", str(self.out)]
        cpu, _ = self.run([*command, "-c", self.concurrency])
        with self.out.open("rb") as lines:
            found = {row["name"]: row["answers"][0]["data"] for row in map(json.loads, lines)}
        if len(found) != count:
            raise RuntimeError(f"{len(found)} of {count} names were answered")
        return cpu


def compare(bench: Bench, count: int, runs: int) -> None:
    """Compare A look-ups; print a table."""
    names = bench.listed(count)
    cpu: dict[str, list[float]] = {}
    for _ in range(runs):
        cpu.setdefault("greenprobe resolve", []).append(bench.resolve(names, count))
        for kind in A_PEERS:
            used, printed = bench.peer(kind, names)
            if printed.split() != [f"ok={count}"]:
                print(f"{kind} answered {printed.strip()} of {count}")
            cpu.setdefault(kind, []).append(used)
    table("A", cpu, count)


def compare_pairs(bench: Bench, count: int, runs: int) -> None:
    """Compare getaddrinfo for both families; print a table."""
    names = bench.listed(count)
    cpu: dict[str, list[float]] = {}
    for _ in range(runs):
        for kind in ("greenprobe-pair", "greendns-pair"):
            cpu.setdefault(kind, []).append(bench.peer(kind, names)[0])
    table("A and AAAA by getaddrinfo", cpu, count)


def table(title: str, cpu: dict[str, list[float]], count: int) -> None:
    """Print the medians, and what part of each peer's ours is."""
    medians = {kind: statistics.median(values) / count * 1e6 for kind, values in cpu.items()}
    ours = next(iter(medians.values()))
    print(f"\n| {title}, {count:,} names | µs a name | ours of it |\n| --- | --- | --- |")
    for kind, micros in medians.items():
        print(f"| {kind} | {micros:.1f} | {ours / micros:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--names", type=int, default=100_000)
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--concurrency", type=int, default=100)
    options = parser.parse_args()
    most = max(options.names, options.pairs)
    with knot.running(most) as server, tempfile.TemporaryDirectory() as state:
        bench = Bench(Path(state), server, options.concurrency)
        bench.resolve(bench.listed(100), 100)  # compiles
        compare(bench, options.names, options.runs)
        compare_pairs(bench, options.pairs, options.runs)
        few = bench.listed(1)
        print(f"\ncached getaddrinfo (hundredths of a µs each): {bench.peer('greenprobe-cached', few)[1].strip()}")
        print(f"1,000 greenthreads, one uncached name: {bench.peer('greenprobe-burst', few)[1].strip()}")


if __name__ == "__main__":
    main()
