"""A Python prompt into the running process, for whoever may connect to it: several at once, each with its own output.

    from greenprobe.backdoor import Backdoor

    Backdoor("/run/program.sock", {"pool": pool}).start()          # nc -U /run/program.sock

Whoever reaches it may do what the process may. So it listens at a path, which only its owner may open, or on loopback
or at an abstract address, where every user of the machine may connect; any other address has to be allowed by hand.

A session is a greenthread: what it calls may wait, and the program goes on meanwhile; what computes for long holds
everybody up. Beside Python, a session knows `ps`, which lists the greenthreads, and `where`, which shows their stacks:
`where 3` that of the third. `exit()` and end of file end the session.
"""

import os
import re
import socket as stdlib
import sys
import traceback
from code import InteractiveConsole
from contextlib import suppress
from ipaddress import ip_address
from types import CodeType
from typing import Any, Final, Self

from greenlet import GreenletExit, greenlet

from greenprobe import hub as hubs
from greenprobe.convenience import listen, take_over
from greenprobe.debug import doing, format_greenthreads, greenthreads_of
from greenprobe.green_socket import socket
from greenprobe.listeners import is_left_over
from greenprobe.redirect import Output, redirected
from greenprobe.server import Serves, StreamServer
from greenprobe.sync import Lock
from greenprobe.whereabouts import name_of

__all__ = ["Backdoor", "converse"]

MAX_LINE_BYTES: Final = 1 << 16
OWNER_ONLY: Final = 0o177  # umask: who else could open the socket could do anything
TELNET: Final = re.compile(rb"\xff[\xfb-\xfe].|\xff[^\xfb-\xfe]", re.DOTALL)  # RFC 854: with an option, without
INTERRUPT: Final = b"\xff\xf4"
COMMAND: Final = re.compile(r"(ps|where)(?:\s+(\w+))?\s*$")


class Backdoor(Serves):
    """Serves prompts at an address: (host, port) on loopback, a path, or a listening socket, which it then owns.

    `names` are what a session finds in its namespace; each session has its own copy. Raises ValueError for an address
    that others than this machine can reach, unless `anywhere`.
    """

    def __init__(
        self, listener: Any, names: dict[str, Any] | None = None, *, anywhere: bool = False, banner: str | None = None
    ) -> None:
        address = listener.getsockname() if isinstance(listener, stdlib.socket) else listener
        if not anywhere and not is_private(address):
            raise ValueError(
                f"a backdoor at {address!r}: whoever reaches it owns this process; give a path or a loopback address, "
                "or anywhere=True"
            )
        self._names = dict(names or {})
        self._banner = banner
        self._where = listener
        self._server: StreamServer | None = None

    def __repr__(self) -> str:
        return f"<Backdoor at {self._where!r}, {self.sessions} sessions>"

    @property
    def address(self) -> Any:
        """Where it listens, with the real port; None before `start`."""
        return self._server.address if self._server is not None else None

    @property
    def is_accepting(self) -> bool:
        """Whether it was started and not stopped."""
        return self._server is not None and self._server.is_accepting

    @property
    def sessions(self) -> int:
        """How many sessions there are."""
        return self._server.running if self._server is not None else 0

    def start(self) -> Self:
        """Listen, and serve in greenthreads; return self. Raises OSError if it cannot listen."""
        server = StreamServer(open_listener(self._where), self._converse)
        server.start()
        self._server = server
        return self

    def stop(self) -> None:
        """Stop listening, and end the sessions."""
        if self._server is not None:
            self._server.stop(0)
            self._server = None
            if isinstance(self._where, str | bytes):
                with suppress(OSError, ValueError):  # ValueError: an abstract address is no path
                    os.unlink(self._where)

    def wait_closed(self) -> None:
        """Wait until somebody calls `stop`."""
        if self._server is not None:
            self._server.wait_closed()

    def _converse(self, sock: socket, address: Any) -> None:
        converse(sock, self._names, banner=self._banner)


def is_private(address: Any) -> bool:
    """Tell whether only this machine can reach an address: a path, or loopback."""
    if isinstance(address, str | bytes):
        return True
    host = address[0].partition("%")[0]
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return bool(host == "localhost")


def open_listener(where: Any) -> socket:
    """Return a listener. A path is made so that only the owner may connect; one that a dead process left is taken over.

    Raises OSError.
    """
    if isinstance(where, stdlib.socket):
        return take_over(where)
    if not isinstance(where, str | bytes):
        return listen(where)
    before = os.umask(OWNER_ONLY)
    try:
        if is_left_over(os.fsdecode(where)):
            os.unlink(where)
        return listen(where)
    finally:
        os.umask(before)


def converse(sock: Any, names: dict[str, Any] | None = None, *, banner: str | None = None) -> None:
    """Hold one session on a connected socket, until its end; the socket is left open."""
    session = Session(sock, {"__builtins__": __builtins__, "__name__": "__console__", **(names or {})})
    with redirected(session.output):  # also between statements, for what they spawned
        session.run(banner if banner is not None else greeting())


def greeting() -> str:
    """Return what a session begins with."""
    return (
        f"Python {sys.version.split()[0]} in process {os.getpid()}, by greenprobe.\n"
        "`ps` lists the greenthreads, `where` shows their stacks, `exit()` ends this session.\n"
    )


class Session(InteractiveConsole):
    """One prompt. Code runs in the session's greenthread."""

    locals: dict[str, Any]

    def __init__(self, sock: Any, names: dict[str, Any]) -> None:
        super().__init__(names)
        self.output = Output(self.write, names)
        self._sock = sock
        self._received = b""
        self._writing = Lock()  # greenthreads that the session spawned print, too
        self._broken = False
        self._listed: list[greenlet | None] = []

    def run(self, banner: str) -> None:
        """Read and run until the peer has enough."""
        self.write(banner)
        more = False
        while not self._broken:
            self.write("... " if more else ">>> ")
            try:
                line = self._read_line()
                if line is None:
                    return
                more = self._take(line, more=more)
            except KeyboardInterrupt:
                self.write("\nKeyboardInterrupt\n")
                self.resetbuffer()
                more = False
            except SystemExit:
                return

    def _take(self, line: str, *, more: bool) -> bool:
        """Run a line, or a command; tell whether a statement is unfinished."""
        command = None if more else COMMAND.match(line)
        if command is None or command[1] in self.locals:
            return self.push(line)
        self.write(self._ps() if command[1] == "ps" else self._where(command[2]))
        return False

    def runcode(self, code: CodeType) -> None:
        """Run a statement; what it raises is shown, unless it ends the session."""
        try:
            with redirected(self.output):
                exec(code, self.locals)
        except (SystemExit, GreenletExit):
            raise
        except BaseException:
            self.showtraceback()

    # -- lines in, text out

    def _read_line(self) -> str | None:
        """Return the next line; None at the end. Raises KeyboardInterrupt if the peer interrupts."""
        while b"\n" not in self._received:
            try:
                data = self._sock.recv(4096)
            except OSError:
                return None
            if not data:
                return None
            self._received += data
            if INTERRUPT in self._received:
                self._received = b""
                raise KeyboardInterrupt
            self._received = TELNET.sub(b"", self._received)
            if len(self._received) > MAX_LINE_BYTES:
                self.write(f"a line of more than {MAX_LINE_BYTES} bytes; this session ends\n")
                return None
        line, _, self._received = self._received.partition(b"\n")
        return line.rstrip(b"\r").decode("utf-8", "replace")

    def write(self, data: str) -> None:
        """Send text to the peer. If it is gone, the text is dropped and the session ends soon."""
        if self._broken:
            return
        try:
            with self._writing:
                self._sock.sendall(data.encode("utf-8", "backslashreplace"))
        except OSError:
            self._broken = True

    # -- commands

    def _ps(self) -> str:
        """Return a numbered list of the greenthreads of all hubs, a line each."""
        self._listed, lines = [], []
        for hub in list(hubs._hubs):
            for green, _ in greenthreads_of(hub):
                self._listed.append(green)
                lines.append(f"{len(self._listed):4} {name_of(green) if green else 'running':30} {doing(hub, green)}")
        return "\n".join(lines) + "\n"

    def _where(self, number: str | None) -> str:
        """Return the stack of a greenthread, by its number in the last `ps`, or those of all."""
        if number is None:
            return format_greenthreads()
        if not number.isdigit() or not 0 < int(number) <= len(self._listed):
            return f"no greenthread {number!r}; `ps` numbers them\n"
        green = self._listed[int(number) - 1]
        if green is None or green.gr_frame is None:
            return "it runs, or is over\n"
        return "".join(traceback.format_stack(green.gr_frame))
