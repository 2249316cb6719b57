"""Short children of a patched process beside a plain one, eventlet's and gevent's: CPU time and wall time as a table.

usage: subprocess_patched.py [--children N] [--rounds N] [--python PATH]

Each figure is the median of `--rounds` runs, which take turns. A run is a fresh process that starts `--children` times
/bin/true and waits for it (`run`), reads what /bin/echo says (`output`), and waits with a timeout (`timeout`), one
after the other. CPU time is the mean of a child, with what the child itself uses, which is the same for all; wall time
is the median child's.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

CONTENDERS = {
    "plain": "",
    "greenprobe": "import greenprobe; greenprobe.monkey_patch()",
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": "import eventlet; eventlet.monkey_patch()",
}
PROGRAM = """
{patch}
import json, resource, statistics, subprocess, time
CASES = {{
    "run": lambda: subprocess.run(["/bin/true"]),
    "output": lambda: subprocess.check_output(["/bin/echo", "words"]),
    "timeout": lambda: subprocess.run(["/bin/true"], timeout=30),
}}
def spent():
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
found = {{}}
for name, call in CASES.items():
    for _ in range(10):
        call()
    cpu, walls = spent(), []
    for _ in range({children}):
        started = time.perf_counter()
        call()
        walls.append(time.perf_counter() - started)
    found[name] = [(spent() - cpu) * 1e6 / {children}, statistics.median(walls) * 1e6]
print(json.dumps(found))
"""


def one_run(python: str, patch: str, children: int) -> dict[str, list[float]] | None:
    """Return microseconds of CPU and of wall time a child, by case."""
    env = dict(os.environ, PYTHONPATH=str(Path(__file__).resolve().parent.parent), PYTHONWARNINGS="ignore")
    command = [python, "-c", PROGRAM.format(patch=patch, children=children)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=300, check=False)
    if done.returncode:
        print(done.stderr.strip().splitlines()[-1], file=sys.stderr)
        return None
    found: dict[str, list[float]] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--children", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--python", default=sys.executable)
    args = parser.parse_args()
    runs: dict[str, list[dict[str, list[float]]]] = {name: [] for name in CONTENDERS}
    for _ in range(args.rounds):
        for name, patch in CONTENDERS.items():
            found = one_run(args.python, patch, args.children)
            if found is not None:
                runs[name].append(found)
    print("| case | contender | CPU µs | of plain | wall µs | of plain |\n| --- | --- | --- | --- | --- | --- |")
    for case in ("run", "output", "timeout"):
        plain = [statistics.median(run[case][i] for run in runs["plain"]) for i in (0, 1)]
        for name, found_runs in runs.items():
            if found_runs:
                cpu, wall = (statistics.median(run[case][i] for run in found_runs) for i in (0, 1))
                print(f"| {case} | {name} | {cpu:.0f} | {cpu / plain[0]:.2f} | {wall:.0f} | {wall / plain[1]:.2f} |")


if __name__ == "__main__":
    main()
