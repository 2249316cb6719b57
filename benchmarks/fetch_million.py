"""A list of 1,000,000 URLs of 50,000 hosts: what memory it takes over time, and whether kill -9 loses or doubles any.

    python benchmarks/fetch_million.py [--urls 1000000] [--hosts 50000] [--concurrency 1000]
    python benchmarks/fetch_million.py kills [--urls 40000] [--kills 20]

The hosts are addresses of 127.0.0.0/8, all of one nginx on core 1; the client runs on core 0 and writes JSON lines with
all headers. The list goes round over the hosts, so that each comes back when its connection has been closed for others.
`kills` runs a shorter list with --state and kills the process at random moments until it has been killed that often;
then it lets it end, and looks whether each line is in the results once. It needs no namespace and no root.
"""

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import nginx

SOURCE = Path(__file__).resolve().parent.parent
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
LOOK_S = 0.2


def write_list(path: Path, port: str, urls: int, hosts: int) -> None:
    """Write a list that goes round over the hosts."""
    origins = [f"http://127.{10 + n // 62_500}.{n // 250 % 250}.{n % 250 + 1}:{port}" for n in range(hosts)]
    with path.open("w") as file:
        for n in range(urls):
            file.write(f"{origins[n % hosts]}/1k?{n}\n")


def start(urls: Path, out: Path, concurrency: int, *more: str) -> "subprocess.Popen[bytes]":
    """Start a fetch on core 0."""
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environ["PYTHONPATH"] = str(SOURCE)
    words = ["fetch", str(urls), "-o", str(out), "-c", str(concurrency), "--progress", "off", *more]
    command = ["taskset", "-c", "0", sys.executable, "-m", "greenprobe", *words]
    return subprocess.Popen(command, env=environ, stderr=subprocess.PIPE)


def resident_mb(pid: int) -> float:
    """Return the resident size of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES / 1e6


def measure(urls: Path, out: Path, count: int, concurrency: int) -> None:
    """Fetch the list once and print the resident size as it goes on."""
    began = time.monotonic()
    running = start(urls, out, concurrency)
    looks: list[tuple[int, float]] = []  # bytes written, resident MB
    while running.poll() is None:
        with contextlib.suppress(OSError, IndexError):
            looks.append((out.stat().st_size, resident_mb(running.pid)))
        time.sleep(LOOK_S)
    whole = out.stat().st_size
    print(f"{count:,} URLs in {time.monotonic() - began:.1f} s")
    print("| part of the results | resident MB, highest |\n| --- | --- |")
    for tenth in range(10):
        part = [mb for size, mb in looks if tenth <= 10 * size / whole < tenth + 1]
        print(f"| {10 * tenth} to {10 * (tenth + 1)} % | {max(part, default=0.0):.1f} |")
    assert running.stderr is not None
    print(running.stderr.read().decode().strip())
    check(out, count)


def kill(urls: Path, out: Path, count: int, concurrency: int, kills: int) -> None:
    """Kill the fetch again and again, then let it end, and check the results."""
    chance = random.Random(5)
    state = f"{out}.state"
    done = 0
    while done < kills:
        running = start(urls, out, concurrency, "--state", state)
        try:
            running.wait(0.25 + 0.5 * chance.random())
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
            done += 1
        else:
            raise RuntimeError(f"the list was done after {done} kills: give more --urls")
    if start(urls, out, concurrency, "--state", state).wait():
        raise RuntimeError("the last run failed")
    print(f"killed {done} times; ", end="")
    check(out, count)


def check(out: Path, count: int) -> None:
    """Print whether each line is in the results once, and how many were answered."""
    seen: Counter[int] = Counter()
    good = 0
    with out.open("rb") as file:
        for row in map(json.loads, file):
            seen[row["line"]] += 1
            good += row["status"] == 200
    twice = sum(number > 1 for number in seen.values())
    print(f"{count - len(seen):,} lines of {count:,} missing, {twice:,} twice, {good:,} answered with 200")


@contextlib.contextmanager
def prepared(urls: int, hosts: int) -> Iterator[tuple[Path, Path]]:
    """Start nginx and write the list; give its path, and one for the results."""
    with nginx.running_everything() as servers, tempfile.TemporaryDirectory() as state:
        path = Path(state, "urls.txt")
        write_list(path, servers["everywhere"].rpartition(":")[2], urls, hosts)
        yield path, Path(state, "out.jsonl")


def main() -> None:
    """Read the words and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="?", choices=["memory", "kills"], default="memory")
    parser.add_argument("--urls", type=int)
    parser.add_argument("--hosts", type=int, default=50_000)
    parser.add_argument("--concurrency", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=20)
    words = parser.parse_args()
    count = words.urls or {"memory": 1_000_000, "kills": 200_000}[words.case]
    with prepared(count, words.hosts) as (urls, out):
        if words.case == "memory":
            measure(urls, out, count, words.concurrency)
        else:
            kill(urls, out, count, words.concurrency, words.kills)


if __name__ == "__main__":
    main()
