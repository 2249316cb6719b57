"""Worker processes: what comes at a bad moment, and what there is not enough of."""

import os
import subprocess
import sys
from math import inf

from greenprobe.supervisor import LONGEST_WAIT, Supervisor, Worker

BEGIN = """
import os, signal, sys
from greenprobe.supervisor import Supervisor

def stop():
    os.kill(os.getpid(), signal.SIGTERM)

def say(line):
    os.write(1, line.encode() + b"\\n")

def say_and_stop(line):
    say(line)
    stop()

def wait(links):
    links.say_ready()
    os.read(links.lifeline_fd, 1)
    return 0

def supervise(work, processes=1, tell=say, on_ready=stop):
    sys.exit(Supervisor(work, processes, stop_timeout=1, tell=tell, on_ready=on_ready, on_stop=int).run())
"""


def run(script: str) -> tuple[int, list[str]]:
    """Run a script; return its exit status and the lines it said."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + script], stdout=subprocess.PIPE, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout.splitlines()


def test_a_signal_to_a_worker_that_has_just_begun_is_its_own() -> None:
    status, said = run("os.register_at_fork(after_in_child=stop)\nsupervise(wait, tell=say_and_stop)\n")
    assert "ended by signal 15" in said[0]
    assert (status, said[1:]) == (0, ["stopping"])


def test_a_worker_that_cannot_be_forked_is_tried_again_later() -> None:
    status, said = run(
        "def fork():\n"
        "    raise BlockingIOError(11, 'Resource temporarily unavailable')\n"
        "os.fork = fork\n"
        "supervise(wait, tell=say_and_stop)\n"
    )
    assert said == ["cannot start a worker: Resource temporarily unavailable; trying again in 0.5 s", "stopping"]
    assert status == 0


def test_descriptors_may_have_big_numbers() -> None:
    status, said = run(
        "import resource\n"
        "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))\n"
        "while os.dup(1) < 1100: pass\n"
        "supervise(wait)\n"
    )
    assert (status, said) == (0, ["stopping"])


def test_a_worker_whose_last_words_nobody_takes_ends_alone() -> None:
    status, said = run(
        "sys.stdout = open('/dev/full', 'w')\n"
        "def work(links):\n"
        "    print('last words')\n"
        "    return 7\n"
        "supervise(work, tell=say_and_stop)\n"
    )
    assert "ended with status 7" in said[0]
    assert (status, said[1:]) == (0, ["stopping"])


def test_a_worker_that_lets_go_of_its_pipe_is_listened_to_no_more() -> None:
    reader, writer = os.pipe()
    worker = Worker(1, 0, 0.0, reader)
    os.close(writer)
    worker.listen()
    assert (worker.is_ready, worker.ready_fd) == (False, None)


def test_a_worker_is_killed_once() -> None:
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as process:
        worker = Worker(process.pid, 0, 0.0, None, kill_at=0.0)
        supervisor = Supervisor(lambda links: 0, 1, stop_timeout=0, tell=print, on_ready=int, on_stop=int)
        supervisor._workers[process.pid] = worker
        supervisor._retire()
        assert (worker.kill_at, supervisor._patience()) == (inf, LONGEST_WAIT)
        for fd in supervisor._lifeline:
            os.close(fd)
    assert process.returncode == -9
