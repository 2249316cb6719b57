"""Autobahn's test suite for WebSockets (RFC 6455, 7692) against both ends of ours.

    python tests/autobahn.py                         # what takes seconds, server and client: 247 cases each
    python tests/autobahn.py '9.*' '12.*' '13.*'     # large messages and compression: 270 cases, minutes

The suite is written for Python 2.7, which is looked for on the PATH and in pyenv, and is installed from PyPI into a
folder that goes with the run. Its fuzzing client asks `greenprobe serve`, its fuzzing server is asked by `connect`.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from greenprobe.convenience import connect as connect_tcp, listen
from greenprobe.errors import BrokenResourceError, ClosedResourceError
from greenprobe.websocket import WebSocket, WebSocketApp, connect

SUITE: Final = "autobahntestsuite==0.8.2"
QUICK: Final = ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*")
GOOD: Final = frozenset({"OK", "INFORMATIONAL"})
MAX_MESSAGE_BYTES: Final = 1 << 26  # 9.1.6 has 16 MiB
AGENT: Final = "greenprobe"
WSTEST: Final = """
import site, sys
site.addsitedir(sys.argv[1])
sys.path.insert(0, sys.argv[1])
sys.argv[:2] = ["wstest"]
from autobahntestsuite.wstest import run
run()
"""


class Verdict(NamedTuple):
    """What the suite says of a case: how the peer behaved, and how it closed."""

    case: str
    behavior: str
    closing: str

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong, or there is no right."""
        return self.behavior in GOOD and self.closing in GOOD


def python2() -> str | None:
    """Return the path of a Python 2.7 with pip."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    found = [*sorted(map(str, pyenv.glob("2.7.*/bin/python"))), shutil.which("python2.7")]
    return next((path for path in found if path and has_pip(path)), None)


def has_pip(python: str) -> bool:
    return not subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode


class Suite:
    """An installed suite. Raises CalledProcessError if it cannot be installed."""

    def __init__(self, python: str, folder: Path) -> None:
        self._python = python
        self._folder = folder
        self._site = folder / "site"
        pip = [python, "-m", "pip", "install", "-q", "--no-compile", "--target", str(self._site)]
        subprocess.run([*pip, SUITE], check=True, capture_output=True)

    @contextmanager
    def running(self, mode: str, settings: Mapping[str, Any]) -> Iterator[subprocess.Popen[bytes]]:
        """Run it as `fuzzingclient` or `fuzzingserver`; its reports go to the folder `mode`."""
        spec = self._folder / f"{mode}.json"
        spec.write_text(json.dumps({"outdir": str(self._folder / mode), "exclude-agent-cases": {}, **settings}))
        words = [self._python, "-c", WSTEST, str(self._site), "-m", mode, "-s", str(spec)]
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                yield process
            finally:
                process.kill()

    def verdicts(self, mode: str) -> list[Verdict]:
        """Return what the reports of a run say."""
        index = json.loads((self._folder / mode / "index.json").read_text())[AGENT]
        return [Verdict(case, found["behavior"], found["behaviorClose"]) for case, found in index.items()]


def judge_server(suite: Suite, cases: Sequence[str]) -> list[Verdict]:
    """Have the suite talk to `greenprobe serve`."""
    command = [sys.executable, "-m", "greenprobe", "serve", "autobahn:app", "--bind", "127.0.0.1:0"]
    folder = Path(__file__).parent
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        found = re.search(r"http://(\S+)", server.stderr.readline())
        assert found is not None
        peer = {"agent": AGENT, "url": f"ws://{found[1]}"}
        try:
            with suite.running("fuzzingclient", {"servers": [peer], "cases": cases, "exclude-cases": []}) as client:
                client.wait()
        finally:
            server.terminate()
    return suite.verdicts("fuzzingclient")


def judge_client(suite: Suite, cases: Sequence[str]) -> list[Verdict]:
    """Talk to the suite by `connect`."""
    with listen(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"ws://127.0.0.1:{port}"
    with suite.running("fuzzingserver", {"url": url, "cases": cases, "exclude-cases": []}):
        wait_until_open(port)
        with connect(f"{url}/getCaseCount") as websocket:
            count = int(websocket.receive() or 0)
        for number in range(1, count + 1):
            with connect(
                f"{url}/runCase?case={number}&agent={AGENT}", max_message_bytes=MAX_MESSAGE_BYTES
            ) as websocket:
                echo(websocket, {})
        with connect(f"{url}/updateReports?agent={AGENT}") as websocket:
            websocket.receive()
    return suite.verdicts("fuzzingserver")


def wait_until_open(port: int) -> None:
    for _ in range(1200):
        try:
            connect_tcp(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)  # Python 2 and Twisted take seconds to start
        else:
            return
    raise TimeoutError(f"nobody listens at port {port}")


def echo(websocket: WebSocket, environ: dict[str, Any]) -> None:
    """Send back what comes, until one of them has had enough."""
    try:
        for message in websocket:
            websocket.send(message)
    except (BrokenResourceError, ClosedResourceError):
        pass


app = WebSocketApp(echo, max_message_bytes=MAX_MESSAGE_BYTES)


def main() -> int:
    python = python2()
    if python is None:
        sys.stderr.write("Error: no Python 2.7 with pip here, which Autobahn's suite needs\n")
        return 2
    cases = sys.argv[1:] or QUICK
    bad = []
    with tempfile.TemporaryDirectory() as folder:
        suite = Suite(python, Path(folder))
        for name, judge in [("server", judge_server), ("client", judge_client)]:
            verdicts = judge(suite, cases)
            counts = Counter(verdict.behavior for verdict in verdicts)
            sys.stdout.write(f"{name}: {len(verdicts)} cases, {dict(counts)}\n")
            bad += [verdict for verdict in verdicts if not verdict.is_good]
    sys.stdout.writelines(f"{verdict}\n" for verdict in bad)
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
