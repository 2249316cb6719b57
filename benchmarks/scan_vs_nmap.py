"""`greenprobe scan HOST -` beside `nmap -sT -T4`: one run, turn by turn, every state of both held against the truth.

usage: scan_vs_nmap.py [--host 127.0.0.1] [--rounds N] [--listeners N] [--python PATH] [--shared] [--syscalls]

All 65,535 ports of a loopback address, nearly all closed. The time is that of the whole process: start, scan, and the
output of every port's state. It runs in a network namespace of its own, where nobody else listens, so that every state
can be held against the truth; that takes root, `unshare` and `ip`. With --shared it runs where it was started: who
listens is then read from /proc before and after each scan, and a port that changed in between counts for nobody; but a
program that comes and goes in between, or does not accept, makes a difference that is no error. Needs nmap, and strace
for --syscalls.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from socket import create_server

ROOT = Path(__file__).resolve().parent.parent
PORTS = 65535
TARGET = 0.7  # of nmap's probes a second

States = dict[int, str]


@dataclass(frozen=True)
class Run:
    """One scan: seconds of wall and CPU time, memory, and how many ports it said something wrong or nothing of."""

    wall: float
    cpu: float
    rss_mib: float
    wrong: tuple[int, ...]


def greenprobe_command(python: str, host: str, out: Path) -> list[str]:
    return [python, "-m", "greenprobe", "scan", host, "-", "--format", "jsonl", "-o", str(out)]


def nmap_command(python: str, host: str, out: Path) -> list[str]:
    return ["nmap", "-sT", "-T4", "-n", "-Pn", "-p-", "-oX", str(out), host]


def greenprobe_states(out: Path) -> States:
    states: States = {}
    with out.open() as lines:
        for line in lines:
            row = json.loads(line)
            if row["port"] in states:
                sys.exit(f"port {row['port']} came twice")
            states[row["port"]] = row["state"]
    return states


def nmap_states(out: Path) -> States:
    states: States = {}
    for ports in ElementTree.parse(out).iter("ports"):
        for extra in ports.iter("extrareasons"):
            state = "closed" if extra.get("reason") == "conn-refused" else "filtered"
            for part in (extra.get("ports") or "").split(","):
                low, _, high = part.partition("-")
                states.update(dict.fromkeys(range(int(low), int(high or low) + 1), state))
        for port in ports.iter("port"):
            state_element = port.find("state")
            assert state_element is not None
            states[int(port.get("portid") or 0)] = state_element.get("state") or ""
    return states


TOOLS = {
    "nmap -sT -T4 -n -Pn": (nmap_command, nmap_states),
    "greenprobe scan": (greenprobe_command, greenprobe_states),
}


def listening(host: str) -> set[int]:
    """Return the ports of `host` where somebody listens now. /proc shows addresses as words of this machine."""
    address = ip_address(host)
    words = re.findall("........", address.packed.hex())
    ours = "".join("".join(reversed(re.findall("..", word))) for word in words).upper()
    places = {ours, "0" * len(ours), "0" * 32}
    found = set()
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            place, _, port = local.partition(":")
            if state == "0A" and place in places:
                found.add(int(port, 16))
    return found


def environment(out: Path) -> dict[str, str]:
    """Return an environment where greenprobe is found, and compiled as an installed program is."""
    env = dict(os.environ, PYTHONPATH=str(ROOT), PYTHONPYCACHEPREFIX=str(out.parent / "pycache"))
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    return env


def run(tool: str, python: str, host: str, out: Path) -> Run:
    """Scan once and judge it."""
    command, read = TOOLS[tool]
    before = listening(host)
    env = environment(out)
    started = time.perf_counter()
    process = subprocess.Popen(command(python, host, out), env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.stderr is not None
    complaint = process.stderr.read().decode()
    process.stderr.close()
    if process.returncode:
        sys.exit(f"{tool} failed: {complaint}")
    after = listening(host)
    states = read(out)
    steady = set(range(1, PORTS + 1)) - (before ^ after)
    wrong = sorted(port for port in steady if states.get(port) != ("open" if port in before else "closed"))
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, tuple(wrong))


def syscalls(python: str, host: str, out: Path) -> str:
    """Return what strace counts of one scan: the calls, and how many a probe."""
    counts = out.with_suffix(".strace")
    command = ["strace", "-c", "-f", "-o", str(counts), *greenprobe_command(python, host, out)]
    subprocess.run(command, check=True, env=environment(out), stderr=subprocess.DEVNULL)
    rows = [line.split() for line in counts.read_text().splitlines()[2:-2]]
    shown = [f"{row[-1]} {int(row[3]) / PORTS:.3f}" for row in rows if int(row[3]) > PORTS / 1000]
    total = sum(int(row[3]) for row in rows) / PORTS
    return f"system calls a probe: {total:.2f} ({', '.join(shown)})"


def table(runs: dict[str, list[Run]]) -> str:
    """Return the medians as a Markdown table, and the ratio."""
    lines = [
        "| scanner | wall s, median (min-max) | probes/s | CPU µs a probe | peak RSS MiB | wrong states |",
        "|---|---|---|---|---|---|",
    ]
    walls = {tool: statistics.median(one.wall for one in many) for tool, many in runs.items()}
    for tool, many in runs.items():
        span = f"{min(one.wall for one in many):.2f}-{max(one.wall for one in many):.2f}"
        cpu = statistics.median(one.cpu for one in many) / PORTS * 1e6
        rss = statistics.median(one.rss_mib for one in many)
        wrong = ", ".join(str(len(one.wrong)) for one in many)
        rate = PORTS / walls[tool]
        lines.append(f"| {tool} | {walls[tool]:.2f} ({span}) | {rate:,.0f} | {cpu:.1f} | {rss:.0f} | {wrong} |")
    peer, ours = TOOLS
    best = min(one.wall for one in runs[peer]) / walls[ours]
    differ = sorted({port for many in runs.values() for one in many for port in one.wrong})
    lines.append("")
    if differ:
        lines += [f"ports that differ from the list of listeners: {', '.join(map(str, differ))}", ""]
    lines.append(
        f"probes a second, greenprobe / nmap: {walls[peer] / walls[ours]:.2f} by the medians, {best:.2f} against "
        f"nmap's best run (target: >= {TARGET})"
    )
    return "\n".join(lines)


def move_to_own_network() -> None:
    """Start this program anew in a network namespace of its own."""
    missing = [name for name in ("unshare", "ip") if shutil.which(name) is None]
    if os.geteuid() or missing:
        sys.exit("a network of its own takes root, unshare and ip; or run it with --shared")
    again = ["sh", "-c", 'ip link set lo up && exec "$@"', "sh", sys.executable, *sys.argv, "--shared"]
    os.execvp("unshare", ["unshare", "--net", *again])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--listeners", type=int, default=40)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--shared", action="store_true", help="stay in this network namespace")
    parser.add_argument("--syscalls", action="store_true")
    args = parser.parse_args()
    if not ip_address(args.host).is_loopback:
        sys.exit(f"{args.host} is no loopback address; this benchmark scans this machine only")
    if not args.shared:
        move_to_own_network()
    runs: dict[str, list[Run]] = {tool: [] for tool in TOOLS}
    with ExitStack() as stack:
        out = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "scan.out"
        for _ in range(args.listeners):
            stack.enter_context(create_server((args.host, 0)))
        subprocess.run(
            [args.python, "-m", "greenprobe", "scan", "--help"], env=environment(out), capture_output=True, check=True
        )
        for _ in range(args.rounds):
            for tool in TOOLS:
                runs[tool].append(run(tool, args.python, args.host, out))
        print(table(runs))
        if args.syscalls:
            print(syscalls(args.python, args.host, out))
    ours = runs["greenprobe scan"]
    return 1 if any(one.wrong for one in ours) else 0


if __name__ == "__main__":
    sys.exit(main())
