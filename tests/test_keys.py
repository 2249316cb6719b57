"""A key prints the status, and the terminal is as it was when it is over: on a pseudo-terminal."""

import os
import pty
import sys
import termios
from socket import create_server

import pytest

from greenprobe.cli import cli, run
from greenprobe.commands.keys import status_on_key
from greenprobe.hub import get_hub

SCRIPT = """
import os, sys, termios
from greenprobe.commands.keys import status_on_key
from greenprobe.hub import get_hub
before = termios.tcgetattr(0)
with status_on_key(lambda: (0.5, "half of it")):
    assert termios.tcgetattr(0) != before
    print("ready", flush=True)
    while True:
        get_hub().sleep(0.01)
        if os.path.exists(sys.argv[1]):
            break
assert termios.tcgetattr(0) == before
print("over", flush=True)
"""


@pytest.mark.slow
def test_a_key_prints_the_status_and_the_terminal_is_put_back(tmp_path: "os.PathLike[str]") -> None:
    """Slow: starts an interpreter on a pseudo-terminal."""
    stop = os.path.join(tmp_path, "stop")
    child, master = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", SCRIPT, stop])
    seen = b""
    try:
        while b"ready" not in seen:
            seen += os.read(master, 1024)
        os.write(master, b"x")
        while b"half of it" not in seen:
            seen += os.read(master, 1024)
        open(stop, "w").close()
        while b"over" not in seen:
            seen += os.read(master, 1024)
    finally:
        _, status = os.waitpid(child, 0)
        os.close(master)
    assert b" 50%  half of it" in seen
    assert status == 0


def test_without_a_terminal_nothing_happens() -> None:
    read, write = os.pipe()
    with status_on_key(lambda: (None, "never"), read):
        os.write(write, b"x")
        get_hub().sleep(0)
    assert os.read(read, 10) == b"x"
    os.close(read)
    os.close(write)


def test_a_terminal_of_others_is_left_alone() -> None:
    """A terminal that does not control us: its keys are nobody's business."""
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    try:
        with pytest.raises(OSError):  # ENOTTY of tcgetpgrp
            os.tcgetpgrp(slave)
        with status_on_key(lambda: (None, "never"), slave):
            assert termios.tcgetattr(slave) == before
    finally:
        os.close(master)
        os.close(slave)


@pytest.mark.slow
def test_the_table_has_colours_on_a_terminal_only(capfd: pytest.CaptureFixture[str]) -> None:
    """Slow: starts an interpreter on a pseudo-terminal."""
    with create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        assert run(cli, ["scan", "127.0.0.1", port]) == 0
        assert "\x1b" not in capfd.readouterr().out
        child, master = pty.fork()
        if child == 0:
            os.execv(sys.executable, [sys.executable, "-m", "greenprobe", "scan", "127.0.0.1", port])
        seen = b""
        try:
            while b"1 open" not in seen or b"syn-ack" not in seen:
                seen += os.read(master, 1024)
        finally:
            _, status = os.waitpid(child, 0)
            os.close(master)
    assert status == 0
    assert b"\x1b[1;32mopen\x1b[0m" in seen
    assert seen.index(b"syn-ack") < seen.index(b"1 port in")
