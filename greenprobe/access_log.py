"""The access log: a line for each request that was answered, which never makes a request wait.

A file may be on a slow disk, a pipe may have a reader that sleeps. So lines are gathered, and a few times a second
formatted together and written by a real thread. If the thread cannot keep up, lines are dropped and counted: serving
matters more.
"""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from select import select
from typing import Final

from orjson import dumps

from greenprobe.greenthread import GreenThread, spawn
from greenprobe.sync import Event
from greenprobe.threadpool import run_in_thread
from greenprobe.wsgi_connection import Access

__all__ = ["FORMATS", "AccessLog", "combined", "common", "json_line"]

INTERVAL: Final = 0.25  # seconds
MAX_PENDING: Final = 50_000
CLOSE_TIMEOUT: Final = 2.0
MONTHS: Final = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


def common(access: Access) -> str:
    """Return a line in the Common Log Format of NCSA and Apache."""
    request = f"{access.method} {access.target} {access.version}" if access.method != "-" else "-"
    return (
        f"{access.client or '-'} - - [{local_time(access.when)}] "
        f'"{quoted(request)}" {access.status} {access.body_bytes or "-"}'
    )


def combined(access: Access) -> str:
    """Return a line in the Combined Log Format: the common one, the referer, and the user agent."""
    return f'{common(access)} "{quoted(access.referer) or "-"}" "{quoted(access.user_agent) or "-"}"'


def json_line(access: Access) -> str:
    """Return a JSON object; `time` is in UTC."""
    record = {
        "time": datetime.fromtimestamp(access.when, UTC).isoformat(timespec="milliseconds"),
        "client": access.client,
        "method": access.method,
        "target": access.target,
        "version": access.version,
        "status": int(access.status or 0),
        "bytes": access.body_bytes,
        "seconds": round(access.seconds, 6),
        "referer": access.referer,
        "user_agent": access.user_agent,
    }
    return dumps(record).decode()


FORMATS: Final[dict[str, Callable[[Access], str]]] = {"common": common, "combined": combined, "json": json_line}


def quoted(text: str) -> str:
    """Return text that cannot leave its quotes, or move a terminal's cursor: what could is written as `\\xhh`."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else f"\\x{ord(c):02x}" for c in text)


def local_time(when: float) -> str:
    """Return a time as Apache writes it, in the local zone, with English months whatever the locale."""
    moment = datetime.fromtimestamp(when, UTC).astimezone()
    return f"{moment.day:02}/{MONTHS[moment.month - 1]}/{moment:%Y:%H:%M:%S %z}"


class AccessLog:
    """Give it to `Server(log=...)`. It writes to the descriptor `fd`, which stays the caller's.

    `dropped` counts the lines that could not be written: nobody read them in time, or the disk was full. `tell` is
    called with a line of text when the first is, and again at the end.
    """

    def __init__(
        self,
        fd: int,
        form: Callable[[Access], str] = combined,
        *,
        max_pending: int = MAX_PENDING,
        tell: Callable[[str], object] | None = None,
    ) -> None:
        self.dropped = 0
        self._fd = fd
        self._form = form
        self._tell = tell
        self._max_pending = max_pending
        self._pending: list[Access] = []
        self._writer: GreenThread | None = None
        self._hurry = Event()

    def __call__(self, access: Access) -> None:
        """Note one request; it is written soon."""
        if len(self._pending) >= self._max_pending:
            self._drop(1, "nobody reads them in time")
            return
        self._pending.append(access)
        if self._writer is None:
            self._writer = spawn(self._write_soon)

    def _write_soon(self) -> None:
        try:
            self._hurry.wait(INTERVAL)
            while self._pending:
                accesses, self._pending = self._pending, []
                self._write(accesses)
        finally:
            self._writer = None

    def _write(self, accesses: list[Access]) -> None:
        try:
            run_in_thread(write_lines, self._fd, accesses, self._form)
        except OSError as error:
            self._drop(len(accesses), error.strerror or str(error))

    def _drop(self, lines: int, why: str) -> None:
        if not self.dropped and self._tell is not None:
            self._tell(f"Warning: lines of the access log are lost: {why}")
        self.dropped += lines

    def close(self) -> None:
        """Write what is left, for at most a few seconds."""
        writer = self._writer
        if writer is not None:
            self._hurry.set()
            writer.join(CLOSE_TIMEOUT)
            writer.kill()
        if self.dropped and self._tell is not None:
            self._tell(f"Warning: {self.dropped} lines of the access log were lost")


def write_lines(fd: int, accesses: list[Access], form: Callable[[Access], str]) -> None:
    """Format lines and write them, in a real thread; waits for whoever reads them. Raises OSError."""
    data = "".join([form(access) + "\n" for access in accesses]).encode()
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            select([], [fd], [])
