"""Big pages are read by processes of their own, so that neither the hub nor the crawl ever hangs on one.

Facts. Reading 10 kB takes a third of a millisecond, 4 MB half a second, and a page may be made to take minutes: libxml2
looks through an element's attributes for each new one, so that 2 MB of `<a a1 a2 a3...` cost 10^10 comparisons; what
is packed (a gzipped sitemap) grows to 50 MB. No call into a parser can be ended from outside. Failure: a hub that reads
such a page serves nobody meanwhile. Choice: what is small is read here; what is not (`is_heavy`) by a process, which
has so many seconds and so much memory, and is killed when they are over. That also uses the other cores. Price: a
round trip of 0.2 ms, and a process of 30 MB that starts with the first big page.
"""

import os
import signal
import sys
from contextlib import suppress
from fcntl import F_SETPIPE_SZ, fcntl
from typing import Any, Final

from greenprobe.engine.canonical import Address, QueryRule
from greenprobe.engine.frames import FrameReader, frame_of, write_frame
from greenprobe.engine.reading import Understood, understood
from greenprobe.errors import UnreadablePage
from greenprobe.http.wire import Headers
from greenprobe.hub import Hub
from greenprobe.lazy import Lazy
from greenprobe.sync import Semaphore
from greenprobe.timeout import move_on_after

__all__ = ["Readers", "is_heavy"]

subprocess = Lazy("subprocess")

HERE_BYTES: Final = 48 << 10  # a hostile page of this size takes 0.1 s, any other 3 ms
GZIP: Final = b"\x1f\x8b"
LONGEST: Final = 10.0  # seconds for a page; an honest one of 4 MB takes one
PIPE_BYTES: Final = 1 << 20
COMMAND: Final = [sys.executable, "-m", "greenprobe.engine.reading_process"]


def is_heavy(body: bytes) -> bool:
    """Tell whether reading a body may take long."""
    return len(body) > HERE_BYTES or body.startswith(GZIP)


class Readers:
    """Up to `count` processes, each started when it is needed; 0 reads everything here."""

    def __init__(self, hub: Hub, count: int, *, longest: float = LONGEST) -> None:
        self._hub = hub
        self._count = count
        self._longest = longest
        self._free = Semaphore(max(1, count))
        self._idle: list[ReadingProcess] = []

    def read(self, address: Address, headers: Headers, body: bytes, rule: QueryRule) -> Understood:
        """Read an answer, here or elsewhere. Raises UnreadablePage."""
        if not self._count or not is_heavy(body):
            return understood(address, headers, body, rule)
        with self._free:
            process = self._idle.pop() if self._idle else ReadingProcess(self._hub)
            found = None
            try:
                with move_on_after(self._longest):
                    found = process.ask((address, headers, body, rule))
            finally:
                if found is None:
                    process.close()
                else:
                    self._idle.append(process)
        if found is None:
            how = f"took more than {self._longest:g} s" if process.is_alive else "took more memory than it may"
            raise UnreadablePage(f"{address.url} is a page of {len(body):,} bytes that {how} to read")
        return found

    def close(self) -> None:
        """End the processes."""
        while self._idle:
            self._idle.pop().close()


class ReadingProcess:
    """One process, which reads one page at a time."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._process = subprocess.Popen(  # a group of its own: Ctrl-C is ours to answer
            COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0, bufsize=0
        )
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        for pipe in (self._stdin, self._stdout):
            os.set_blocking(pipe.fileno(), False)
            with suppress(OSError):  # the system's bound for this user is reached
                fcntl(pipe.fileno(), F_SETPIPE_SZ, PIPE_BYTES)
        self._answers = FrameReader(hub, self._stdout.fileno()).read()
        self.is_alive = True

    def ask(self, job: tuple[Any, ...]) -> Understood | None:
        """Have a page read; None if the process ends over it."""
        found: Understood | None = None
        try:
            write_frame(self._hub, self._stdin.fileno(), frame_of(job))
            found = next(self._answers, None)
        except BrokenPipeError:
            pass
        self.is_alive = found is not None
        return found

    def close(self) -> None:
        """Kill it, and let go of everything."""
        for pipe in (self._stdin, self._stdout):
            self._hub.poller.forget(pipe.fileno())
            pipe.close()
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
