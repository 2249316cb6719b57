"""A prompt into the running process: who may reach it, what it says, and whose output goes where."""

import builtins
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from core_tools import turns

from greenprobe.backdoor import MAX_LINE_BYTES, Backdoor
from greenprobe.compat.eventlet import backdoor as from_eventlet
from greenprobe.convenience import connect, listen
from greenprobe.green_socket import socket, socketpair
from greenprobe.greenthread import sleep, spawn
from greenprobe.testing import wait_all_blocked


class Peer:
    """Somebody at a prompt."""

    def __init__(self, sock: socket) -> None:
        self.sock = sock
        sock.settimeout(5)
        self.banner = self.hear()

    def hear(self) -> str:
        """Return what comes until the next prompt, or the end."""
        said = b""
        while not said.endswith((b">>> ", b"... ")):
            data = self.sock.recv(4096)
            if not data:
                return said.decode() + "(end)"
            said += data
        return said.decode().removesuffix(">>> ")

    def say(self, *lines: str) -> str:
        """Send lines; return what the last one is answered."""
        for line in lines:
            self.sock.sendall(line.encode() + b"\n")
            heard = self.hear()
        return heard


@pytest.fixture
def backdoor() -> Iterator[Backdoor]:
    """A backdoor on loopback whose sessions find x = 5."""
    with Backdoor(("127.0.0.1", 0), {"x": 5}) as server:
        yield server


@pytest.fixture
def peer(backdoor: Backdoor) -> Iterator[Peer]:
    """A session."""
    with connect(backdoor.address) as sock:
        yield Peer(sock)


def test_a_session_begins_by_saying_where_one_is(peer: Peer) -> None:
    assert f"process {os.getpid()}" in peer.banner
    assert "ps" in peer.banner


@pytest.mark.parametrize(
    ("lines", "answer"),
    [
        (["x + 1"], "6\n"),
        (["x + 1", "_ * 2"], "12\n"),
        (["None"], ""),
        (["print('hi')"], "hi\n"),
        (["import sys", "print('bad', file=sys.stderr)"], "bad\n"),
        (["def f():", "    return 3", "", "f()"], "3\n"),
        (["def f():"], "... "),
        (["x = 7", "x"], "7\n"),
        (["'ä'"], "'ä'\n"),
        (["ps = 3", "ps"], "3\n"),
    ],
)
def test_lines_are_answered_as_at_any_prompt(lines: list[str], answer: str, peer: Peer) -> None:
    assert peer.say(*lines) == answer


def test_an_error_is_shown_and_the_session_goes_on(peer: Peer) -> None:
    assert "ZeroDivisionError" in peer.say("1 / 0")
    assert "SyntaxError" in peer.say("1 +* 2")
    assert peer.say("x") == "5\n"


@pytest.mark.parametrize("line", ["exit()", "quit()", "raise SystemExit"])
def test_leaving_ends_the_session_and_not_the_process(line: str, backdoor: Backdoor, peer: Peer) -> None:
    assert peer.say(line) == "(end)"
    turns()
    assert backdoor.sessions == 0


def test_end_of_file_ends_the_session(backdoor: Backdoor, peer: Peer) -> None:
    peer.sock.shutdown(1)
    assert peer.hear() == "(end)"


def test_each_session_has_its_own_names_output_and_last_value(
    backdoor: Backdoor, peer: Peer, capsys: pytest.CaptureFixture[str]
) -> None:
    with connect(backdoor.address) as sock:
        other = Peer(sock)
        assert backdoor.sessions == 2
        peer.say("x = 1", "'mine'")
        assert other.say("x") == "5\n"
        assert peer.say("print(_)") == "mine\n"
        print("the program's own")  # noqa: T201 - what the test is about
        assert other.say("print('theirs')") == "theirs\n"
    assert capsys.readouterr().out == "the program's own\n"


def test_what_a_session_spawns_prints_to_the_session(peer: Peer, capsys: pytest.CaptureFixture[str]) -> None:
    peer.say("from greenprobe import spawn")
    assert peer.say("print(spawn(print, 'from', 'there').wait())") == "from there\nNone\n"
    assert capsys.readouterr().out == ""


def test_the_streams_of_the_process_are_back_when_the_last_session_ends(backdoor: Backdoor) -> None:
    before = sys.stdout, sys.stderr, sys.displayhook
    with connect(backdoor.address) as sock:
        Peer(sock)
        assert sys.stdout is not before[0]
    while backdoor.sessions:
        sleep(0)
    assert (sys.stdout, sys.stderr, sys.displayhook) == before


def test_ps_lists_greenthreads_and_where_shows_their_stacks(peer: Peer) -> None:
    def waits_for_ever() -> None:
        sleep(3600)

    waiter = spawn(waits_for_ever)
    waiter.name = "the-waiter"
    listed = peer.say("ps").splitlines()
    [line] = [each for each in listed if "the-waiter" in each]
    assert "waits in" in line
    assert "waits_for_ever" in peer.say(f"where {line.split()[0]}")
    assert "waits_for_ever" in peer.say("where")
    assert "ps" in peer.say("where 999")
    waiter.kill()


def test_a_call_that_waits_holds_nobody_up(backdoor: Backdoor, peer: Peer) -> None:
    peer.say("from greenprobe import Event", "go = Event()")
    peer.sock.sendall(b"go.wait()\n")
    with connect(backdoor.address) as sock:
        assert Peer(sock).say("x") == "5\n"


def test_telnet_may_interrupt_a_line_and_negotiate(peer: Peer) -> None:
    peer.sock.sendall(b"x + \xff\xf4\xff\xfd\x06")
    assert "KeyboardInterrupt" in peer.hear()
    assert peer.say("x") == "5\n"


def test_telnets_commands_may_come_in_pieces(peer: Peer) -> None:
    for piece in (b"x", b"\xff", b"\xfd", b"\x06\n"):
        peer.sock.sendall(piece)
        wait_all_blocked()
    assert peer.hear() == "5\n"
    for piece in (b"x + \xff", b"\xf4"):
        peer.sock.sendall(piece)
        wait_all_blocked()
    assert "KeyboardInterrupt" in peer.hear()


def test_a_line_without_end_ends_the_session(peer: Peer) -> None:
    peer.sock.sendall(b"x" * (MAX_LINE_BYTES + 4096))
    assert "this session ends" in peer.hear()


def test_a_peer_that_is_gone_costs_only_its_session(backdoor: Backdoor, peer: Peer) -> None:
    peer.say("from greenprobe import Event", "import builtins", "builtins.go = go = Event()")
    peer.sock.sendall(b"go.wait(); [print('x' * 10000) for _ in range(1000)]\n")
    turns()
    peer.sock.close()
    go: Any = vars(builtins).pop("go")
    go.set()
    while backdoor.sessions:
        sleep(0)
    with connect(backdoor.address) as sock:
        assert Peer(sock).say("x") == "5\n"


# -- who may reach it


@pytest.mark.parametrize("address", [("0.0.0.0", 0), ("192.0.2.1", 0), ("", 0), ("host.example", 0), ("::", 0)])
def test_an_address_that_others_can_reach_is_refused(address: tuple[str, int]) -> None:
    with pytest.raises(ValueError, match="owns this process"):
        Backdoor(address)


def test_a_listener_that_others_can_reach_is_refused_unless_told() -> None:
    with listen(("0.0.0.0", 0)) as listener:
        with pytest.raises(ValueError, match="owns this process"):
            Backdoor(listener)
        with Backdoor(listener, anywhere=True) as server:
            assert server.address[1] > 0


def test_a_unix_socket_is_its_owners_alone_and_is_gone_afterwards(tmp_path: Path) -> None:
    path = str(tmp_path / "door")
    with Backdoor(path), connect(path) as sock:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert Peer(sock).say("1 + 1") == "2\n"
    assert not os.path.exists(path)


def test_a_path_is_gone_also_when_whoever_serves_for_ever_is_killed(tmp_path: Path) -> None:
    path = str(tmp_path / "door")
    green = spawn(Backdoor(path).serve_forever)
    wait_all_blocked()
    assert os.path.exists(path)
    green.kill()
    green.join()
    assert not os.path.exists(path)


def test_stopping_one_that_did_not_start_leaves_anothers_path_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "door")
    with Backdoor(path):
        late = Backdoor(path)
        with pytest.raises(OSError, match="in use"):
            late.start()
        late.stop()
        with connect(path) as sock:
            assert Peer(sock).say("1 + 1") == "2\n"


def test_a_path_that_a_dead_process_left_is_taken_over(tmp_path: Path) -> None:
    path = str(tmp_path / "door").encode()
    listen(path).close()
    with Backdoor(path):
        pass
    assert not os.path.exists(path)


def test_an_abstract_address_needs_no_file(tmp_path: Path) -> None:
    name = f"\0{tmp_path}"
    with Backdoor(name), connect(name) as sock:
        assert Peer(sock).say("1 + 1") == "2\n"


def test_stopping_ends_the_sessions(backdoor: Backdoor, peer: Peer) -> None:
    backdoor.stop()
    assert peer.hear().endswith("(end)")
    assert backdoor.sessions == 0


# -- eventlet's


def test_eventlets_server_takes_a_socket_and_shares_its_names() -> None:
    listener = listen(("127.0.0.1", 0))
    names: dict[str, Any] = {"x": 1}
    server = spawn(from_eventlet.backdoor_server, listener, names)
    with connect(listener.getsockname()) as sock:
        assert Peer(sock).say("x") == "1\n"
    listener.close()
    server.wait()


def test_eventlets_backdoor_takes_a_connection() -> None:
    ours, theirs = socketpair()
    with theirs:
        from_eventlet.backdoor((ours, None), {"x": 2})
        assert Peer(theirs).say("x") == "2\n"
    turns()
