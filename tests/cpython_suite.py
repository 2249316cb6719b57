"""CPython's own tests for the modules that are patched, run in patched processes: which of them are lost by it.

    python tests/cpython_suite.py                        # all modules, on this Python
    python tests/cpython_suite.py test_socket test_ssl   # some
    python tests/cpython_suite.py --patch ''             # nothing patched

Each module runs in a process of its own (`cpython_child`), in a network namespace with only loopback where that can be
had. A test that hangs is ended and has failed; its module goes on behind it, and so after a crash. Whatever failed or
was skipped runs again unpatched; what passes then runs once more patched, and is lost if it does not pass. So there is
no list of what passes on which Python, and neither a flaw of the machine nor a moment's stall is a loss.
"""

import argparse
import ctypes
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

PATCH: Final = "import greenprobe; greenprobe.monkey_patch()"
CHILD: Final = Path(__file__).with_name("cpython_child.py")
ROOT: Final = Path(__file__).resolve().parent.parent
SILENCE: Final = 40.0  # seconds without news from a process: its test hangs
AT_ONCE: Final = 2
MODULES: Final = """
    test_multiprocessing_fork
    test_socket test_subprocess test_threading test_signal test_logging test_concurrent_futures test_ssl test_imaplib
    test_queue test_selectors test_ftplib test_poplib test_wait3 test_wait4 test_fork1
    test_select test_poll test_epoll test_thread test_threading_local test_threadsignals
    test_sched test_context test_contextlib test_time test_timeout
    test_httplib test_urllib test_urllib2 test_urllib2_localnet test_http_cookiejar test_http_cookies
    test_httpservers test_socketserver test_wsgiref test_xmlrpc test_smtplib test_smtpnet
    test_telnetlib test_asyncore test_asynchat test_smtpd
    test_asyncio.test_events test_asyncio.test_subprocess test_asyncio.test_ssl test_asyncio.test_sslproto
    test_asyncio.test_taskgroups test_asyncio.test_streams test_asyncio.test_sock_lowlevel test_asyncio.test_sendfile
    test_asyncio.test_base_events test_asyncio.test_unix_events test_asyncio.test_selector_events
    test_asyncio.test_server test_asyncio.test_threads test_asyncio.test_runners test_asyncio.test_locks
    test_asyncio.test_queues test_asyncio.test_timeouts test_asyncio.test_context
""".split()  # those that take long first; of asyncio what waits, so not its tasks and futures
RESOURCES: Final = {"test_socketserver": ["network"]}  # it asks for it, and talks to itself only
WITHOUT: Final = {
    # Process pools are no part of what is patched.
    "test_concurrent_futures": ["ProcessPool", "test_deadlock", "test_process_pool", "FailingInitializerResources"],
    "test_socket": ["ThreadedVSOCKSocketStreamTest"],  # it has no peer in a network namespace, and waits for it
}


@dataclass
class Outcomes:
    """What became of the tests of a module. `note` says why it has none."""

    name: str
    results: dict[str, str] = field(default_factory=dict)  # test id -> passed, failed, skipped
    why: dict[str, str] = field(default_factory=dict)
    tests: list[str] = field(default_factory=list)
    running: str | None = None
    note: str = ""
    done: bool = False

    def take(self, event: str, fields: list[str]) -> None:
        """Take an event of the child's log."""
        match event:
            case "tests":
                self.tests = fields
            case "start":
                self.running = fields[0]
            case "end":
                self.results[fields[0]], self.running = fields[1], None
            case "why":
                self.why[fields[0]] = fields[1].strip()
            case "fixture":
                self.spread(*fields)
            case "module":
                self.note, self.done = ": ".join(fields), True
            case "done":
                self.done = True

    def spread(self, fixture: str, outcome: str) -> None:
        """Give the outcome of a fixture, "setUpClass (test.test_x.Class)", to all tests that it is for."""
        scope = fixture.partition("(")[2].rstrip(")")
        for test in self.tests:
            if test.startswith(f"{scope}."):
                self.results.setdefault(test, outcome)

    def end(self, reason: str) -> None:
        """The child has ended; unless it was done, the test that ran has failed."""
        if self.done:
            return
        if self.running is not None:
            self.results[self.running], self.why[self.running], self.running = "failed", reason, None
        else:
            self.note = reason

    def close(self) -> None:
        """Count tests that never ran as failed."""
        for test in self.tests:
            if self.results.setdefault(test, "not run") == "not run":
                self.results[test], self.why[test] = "failed", "NOT RUN"

    def passed(self) -> list[str]:
        """Return the tests that passed."""
        return [test for test, outcome in self.results.items() if outcome == "passed"]

    def others(self) -> list[str]:
        """Return the tests that did not pass."""
        return [test for test, outcome in self.results.items() if outcome != "passed"]

    def reason(self, test: str) -> str:
        """Return why a test did not pass."""
        return self.why.get(test, self.results.get(test, self.note))


class Run:
    """A run of one module in as many processes as it takes."""

    def __init__(self, name: str, patch: str, work: str, only: Iterable[str] | None = None) -> None:
        self.outcomes = Outcomes(name)
        self._order: dict[str, Any] = {
            "module": name,
            "patch": patch,
            "only": None if only is None else [*only],
            "resources": RESOURCES.get(name, []),
            "without": WITHOUT.get(name, []),
        }
        self._work = work

    def run(self) -> Outcomes:
        """Run it, starting again behind each test that hangs or ends the process."""
        while not self.outcomes.done:
            before = len(self.outcomes.results)
            self._once()
            if len(self.outcomes.results) == before:
                break
        self.outcomes.close()
        return self.outcomes

    def _once(self) -> None:
        with tempfile.TemporaryDirectory(dir=self._work, ignore_cleanup_errors=True) as folder:
            log = Path(folder, "log")
            order = {**self._order, "log": str(log), "done": [*self.outcomes.results]}
            cwd = Path(folder, "cwd")
            cwd.mkdir()
            with open(Path(folder, "out"), "wb") as out:
                process = subprocess.Popen(
                    [sys.executable, "-W", "ignore", str(CHILD), json.dumps(order)],
                    cwd=cwd,
                    env=environment(cwd),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                reason = self._follow(process, log)
                kill_session(process)
            self.outcomes.end(reason)

    def _follow(self, process: subprocess.Popen[bytes], log: Path) -> str:
        """Read the log until the process ends or falls silent; tell how it ended."""
        offset, since = 0, time.monotonic()
        while True:
            ended = ends_soon(process)
            offset, events = read_events(log, offset)
            for event, *fields in events:
                since = time.monotonic()
                self.outcomes.take(event, fields)
            if ended:
                return f"ended with status {process.returncode}"
            if time.monotonic() - since > SILENCE:
                return "HANG"


def ends_soon(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether a process has ended, or does so within a moment."""
    try:
        process.wait(0.05)
    except subprocess.TimeoutExpired:
        return False
    return True


def read_events(log: Path, offset: int) -> tuple[int, list[list[str]]]:
    """Return the whole lines of a log from an offset on, and where they end."""
    if not log.exists():
        return offset, []
    with open(log, "rb") as file:
        file.seek(offset)
        data = file.read()
    data = data[: data.rfind(b"\n") + 1]
    return offset + len(data), [json.loads(line) for line in data.splitlines()]


def environment(folder: Path) -> dict[str, str]:
    """Return what the child finds in its environment."""
    kept = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(folder)}


def kill_session(process: subprocess.Popen[bytes]) -> None:
    """End a child and all that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def leave_the_network() -> None:
    """Move this process into a network namespace of its own with only loopback, if it may."""
    if ctypes.CDLL(None, use_errno=True).unshare(0x40000000):
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sH14s", b"lo", 0, b"")
        flags = struct.unpack("16sH14s", fcntl.ioctl(sock, 0x8913, request))[1]
        fcntl.ioctl(sock, 0x8914, struct.pack("16sH14s", b"lo", flags | 1, b""))


# -- what is lost


@dataclass(frozen=True)
class Report:
    """A module's tests: which pass, and which are lost to the patch, with the reason each gives."""

    name: str
    passed: list[str]
    lost: dict[str, str]
    seconds: float
    note: str


def judge(name: str, patch: str, work: str) -> Report:
    """Run a module patched, what did not pass unpatched, and what passes so once more patched."""
    began = time.monotonic()
    patched = Run(name, patch, work).run()
    passed, doubtful = patched.passed(), patched.others()
    lost: dict[str, str] = {}
    if patch and (doubtful or not patched.tests):
        plain = Run(name, "", work, doubtful if patched.tests else None).run()
        if not plain.results and not plain.tests:
            patched.note = "not in this Python" if "No module named" in plain.note else plain.note
        again = Run(name, patch, work, plain.passed()).run() if patched.tests and plain.passed() else patched
        passed += [test for test in plain.passed() if again.results.get(test) == "passed"]
        lost = {test: again.reason(test) for test in plain.passed() if again.results.get(test) != "passed"}
    return Report(name, passed, lost, time.monotonic() - began, patched.note)


def run_all(names: Iterable[str], patch: str) -> Iterator[Report]:
    """Yield the reports of modules, a few running at once."""
    folder = tempfile.TemporaryDirectory(prefix="cs", ignore_cleanup_errors=True)  # short: sockets are bound in it
    with folder as work, ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(lambda name: judge(name, patch, work), names)


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("modules", nargs="*", help=f"of {' '.join(MODULES)}; all without any", metavar="MODULE")
    parser.add_argument("--patch", default=PATCH, help="the statement that patches (default: %(default)s)")
    parser.add_argument("--json", help="write the reports here, too")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & leaves it ignored, in children, too
    leave_the_network()
    reports = []
    for report in run_all(options.modules or MODULES, options.patch):
        reports.append(report)
        sys.stdout.write(f"{report.name:26} {len(report.passed):4} pass {len(report.lost):4} lost ")
        sys.stdout.write(f"{report.seconds:6.1f} s  {report.note[:90]}\n")
        sys.stdout.writelines(f"    LOST {test}  {why[:150]!r}\n" for test, why in sorted(report.lost.items()))
        sys.stdout.flush()
    passed, lost = sum(len(report.passed) for report in reports), sum(len(report.lost) for report in reports)
    sys.stdout.write(f"{passed} pass, {lost} lost: {100 * passed / max(1, passed + lost):.2f} % kept\n")
    if options.json:
        Path(options.json).write_text(json.dumps([asdict(report) for report in reports]))


if __name__ == "__main__":
    main()
