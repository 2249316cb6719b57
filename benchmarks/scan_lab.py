"""`greenprobe scan` and `nmap -sT -T4` in the scenes of a scan laboratory, scored against its truth, turn by turn.

usage: scan_lab.py --lab FOLDER [--rounds N] [--peer-rounds N] [--python PATH] [--jsonl FILE] SCENE...

FOLDER holds `lab.py` (hosts with known ports, delay, loss and filters in network namespaces) and `score.py` (an output
against the truth). The time is that of the whole process, start to end. Needs root and nmap.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parent.parent
TOP100 = "TOP100"  # the laboratory's own list
V6 = "fd5c:0:0:2::1"
NAME = f"scan{os.getpid()}"  # two runs may go side by side
ROUTER = f"scanlab-{NAME}-rtr"
MOST_ENTRIES = Path("/proc/sys/net/netfilter/nf_conntrack_max")  # the same for all namespaces


@dataclass(frozen=True)
class Scene:
    """A preset of the laboratory, what of it is scanned, and what `greenprobe scan` and nmap are told besides."""

    preset: str
    hosts: str
    ports: str
    sets: tuple[str, ...] = ()
    ours: tuple[str, ...] = ()
    peer: tuple[str, ...] = ()
    shell: str = ""  # runs before the scanner, in the same shell
    router: str = ""  # runs once in the namespace of the router on the way
    services: bool = False
    entries: int = 0  # in the table of connection tracking of this machine, while the scene runs; 0 leaves it


TRACKING = """nft add table inet tracking
nft 'add chain inet tracking sent { type filter hook output priority 0; }'
nft add rule inet tracking sent ct state new accept
sysctl -qw net.netfilter.nf_conntrack_tcp_timeout_syn_sent=30"""

SCENES = {
    "full65k": Scene("full65k", "198.19.0.1", "1-65535"),
    "full65k6": Scene("full65k", V6, "1-65535", peer=("-6",)),
    "lossy": Scene("lossy", "198.19.0.1", "10001-12050"),
    "lossy6": Scene("lossy", V6, "10001-12050", peer=("-6",)),
    "slash24": Scene("slash24", "198.19.4.0/24", TOP100),
    "slash24dead": Scene("slash24dead", "198.19.4.0/24", TOP100),
    "narrow": Scene("narrow", "198.19.0.1", "1-10000"),
    "narrow6": Scene("narrow", V6, "1-10000", sets=(f'targets.0.v6=["{V6}"]',), peer=("-6",)),
    "rstlimit": Scene("rstlimit", "198.19.0.1", "1-5000"),
    "rstlimit6": Scene("rstlimit", V6, "1-5000", sets=(f'targets.0.v6=["{V6}"]',), peer=("-6",)),
    "zoo": Scene("zoo", "198.19.0.1 198.19.0.2 198.19.0.3 198.19.0.4 198.19.0.5", "1-200"),
    "zoo6": Scene("zoo", V6, "1-200", peer=("-6",)),
    "fd256": Scene("full65k", "198.19.0.1", "1-65535", shell="ulimit -n 256"),
    "fd256lossy": Scene("lossy", "198.19.0.1", "10001-12050", shell="ulimit -n 256"),
    "ports200": Scene(
        "lossy", "198.19.0.1", "10001-12050", shell="sysctl -qw net.ipv4.ip_local_port_range='40000 40199'"
    ),
    "ports200slash24": Scene(
        "slash24", "198.19.4.0/24", TOP100, shell="sysctl -qw net.ipv4.ip_local_port_range='40000 40199'"
    ),
    "conntrack300": Scene("lossy", "198.19.0.1", "10001-12050", shell=TRACKING, entries=300),
    "router300": Scene("lossy", "198.19.0.1", "10001-12050", router=TRACKING.replace("output", "forward"), entries=300),
    "router300hosts": Scene(
        "slash24",
        "198.19.4.0/27",
        "1-60",
        sets=('targets.0.v4=["198.19.4.0/27"]', 'targets.0.filtered={"count":30,"from":"1-60","seed":4}'),
        router=TRACKING.replace("output", "forward"),
        entries=300,
    ),
    "banners": Scene(
        "banners", "198.19.0.1", "20001-20200", ours=("--service",), peer=("-sV", "--version-light"), services=True
    ),
    "banners6": Scene(
        "banners", V6, "20001-20200", ours=("--service",), peer=("-6", "-sV", "--version-light"), services=True
    ),
}


@dataclass(frozen=True)
class Run:
    """One scan of a scene, timed and scored."""

    scene: str
    tool: str
    code: int
    wall: float
    cpu: float
    probes: int
    recall: float
    accuracy: float
    wrong_reasons: int
    duplicates: int
    services: dict[str, Any] | None
    says: str


class Lab:
    """The laboratory, up with one scene while the block runs."""

    def __init__(self, folder: Path, scene: Scene) -> None:
        self._base = [sys.executable, str(folder / "lab.py"), "--name", NAME]
        self._scene = scene
        self._entries = MOST_ENTRIES.read_text() if scene.entries else ""

    def __enter__(self) -> Self:
        sets = [word for one in self._scene.sets for word in ("--set", one)]
        subprocess.run([*self._base, "up", "--config", self._scene.preset, *sets], check=True, stdout=sys.stderr)
        if self._scene.router:
            subprocess.run(["ip", "netns", "exec", ROUTER, "sh", "-ec", self._scene.router], check=True)
        if self._entries:
            MOST_ENTRIES.write_text(str(self._scene.entries))
        return self

    def __exit__(self, *exc: object) -> None:
        if self._entries:
            MOST_ENTRIES.write_text(self._entries)
        subprocess.run([*self._base, "down"], check=False)

    def truth(self) -> dict[str, Any]:
        return json.loads(subprocess.check_output([*self._base, "truth"]))

    def command(self, words: list[str], shell: str) -> list[str]:
        script = f'{shell or ":"}; exec "$@"'
        return [*self._base, "exec", "--", "bash", "-c", script, "scan", *words]


def commands(scene: Scene, python: str, out: Path) -> dict[str, list[str]]:
    ours = [python, "-m", "greenprobe", "scan", *scene.hosts.split(), scene.ports, "--format", "jsonl", "-o", str(out)]
    nmap = ["nmap", "-n", "-Pn", "-sT", "-T4", "-p", scene.ports, "-oX", str(out), *scene.peer, *scene.hosts.split()]
    return {"greenprobe": [*ours, *scene.ours], "nmap": nmap}


def run(lab: Lab, name: str, scene: Scene, tool: str, words: list[str], out: Path, limit: float, score: Any) -> Run:
    out.unlink(missing_ok=True)
    env = dict(os.environ, PYTHONPATH=str(ROOT), PYTHONPYCACHEPREFIX=str(out.parent / "pycache"))
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    command = ["timeout", "-s", "INT", "-k", "5", str(limit), *lab.command(words, scene.shell)]
    with (out.parent / "stderr").open("w+") as complaint:
        started = time.perf_counter()
        process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=complaint)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        complaint.seek(0)
        says = complaint.read().strip().replace("\n", " | ")[-400:]
    found = score.Found()
    text = out.read_text(errors="replace") if out.exists() else ""
    if text:
        score.READ[score.guess(text)](text, found)
    hosts = {scene.hosts} if ":" in scene.hosts else None
    truth = lab.truth()
    ports = score.ports_of(scene.ports)
    result = score.score(truth, found, hosts=hosts, ports=ports, services=scene.services)
    return Run(
        scene=name,
        tool=tool,
        code=process.returncode,
        wall=wall,
        cpu=usage.ru_utime + usage.ru_stime,
        probes=result["probed"],
        recall=result["recall"],
        accuracy=result["state_accuracy"],
        wrong_reasons=wrong_reasons(score.truth_of(truth, hosts, ports), found),
        duplicates=result["duplicates"],
        services=result.get("services"),
        says=says,
    )


REASONS = {"reset": {"reset", "refused", "conn-refused"}, "no-response": {"no-response", "timeout"}}


def wrong_reasons(wanted: dict[Any, tuple[str, str, Any]], found: Any) -> int:
    """Count the ports that got the right state for a reason that is not the truth's."""
    return sum(
        found.state.get(key) == state and found.reason.get(key) not in REASONS.get(reason, {reason})
        for key, (state, reason, _) in wanted.items()
    )


def line(one: Run) -> str:
    named = f"  {one.services}" if one.services else ""
    return (
        f"{one.scene:12} {one.tool:10} {one.wall:7.2f} s  cpu {one.cpu:6.2f}  recall {one.recall}  "
        f"states {one.accuracy}  wrong reasons {one.wrong_reasons}{named}  {one.says}"
    )


def table(runs: list[Run]) -> str:
    lines = [
        "| scene | scanner | wall s | of nmap's | CPU µs a probe | recall (min) | states (min) | reasons | named |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(one.scene for one in runs):
        walls: dict[str, float] = {}
        for tool in ("nmap", "greenprobe"):
            many = [one for one in runs if one.scene == name and one.tool == tool]
            if not many:
                continue
            walls[tool] = wall = statistics.median(one.wall for one in many)
            span = f"{min(one.wall for one in many):.2f}-{max(one.wall for one in many):.2f}"
            ratio = f"{wall / walls['nmap']:.2f}" if "nmap" in walls else "-"
            cpu = statistics.median(one.cpu for one in many) / many[0].probes * 1e6
            recall = f"{statistics.median(one.recall for one in many):.4f} ({min(one.recall for one in many):.4f})"
            right = f"{statistics.median(one.accuracy for one in many):.5f} ({min(one.accuracy for one in many):.5f})"
            named = many[0].services
            said = f"{named['named']}/{named['expected']}" if named else ""
            lines.append(
                f"| {name} | {tool} x{len(many)} | {wall:.2f} ({span}) | {ratio} | {cpu:.1f} | {recall} | "
                f"{right} | {max(one.wrong_reasons for one in many)} | {said} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenes", nargs="+", choices=SCENES, metavar="SCENE")
    parser.add_argument("--lab", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-rounds", type=int, default=1)
    parser.add_argument("--limit", type=float, default=120)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--jsonl", type=Path)
    parser.add_argument("--ours", default="", help="more words for greenprobe scan")
    args = parser.parse_args()
    sys.path.insert(0, str(args.lab))
    import lab as lab_module  # the laboratory's
    import score

    runs: list[Run] = []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "scan.out"
        for name in args.scenes:
            scene = SCENES[name]
            if scene.ports == TOP100:
                scene = replace(scene, ports=lab_module.TOP100)
            with Lab(args.lab, scene) as lab:
                words = commands(scene, args.python, out)
                for turn in range(max(args.rounds, args.peer_rounds)):
                    for tool, rounds in (("nmap", args.peer_rounds), ("greenprobe", args.rounds)):
                        if turn >= rounds:
                            continue
                        more = args.ours.split() if tool == "greenprobe" else []
                        one = run(lab, name, scene, tool, [*words[tool], *more], out, args.limit, score)
                        runs.append(one)
                        print(line(one), file=sys.stderr, flush=True)
                        if args.jsonl:
                            with args.jsonl.open("a") as lines:
                                lines.write(json.dumps(asdict(one)) + "\n")
    print(table(runs))


if __name__ == "__main__":
    main()
