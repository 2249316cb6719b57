"""A fetch on several cores: processes that each fetch the URLs of some hosts, fed and read by this one.

A host belongs to one process, so what is bounded by host (connections, delay, rate, back-off) is bounded exactly; what
is bounded in all is divided. The processes make the lines of the output, and this one writes them: one writer, one
journal. It forwards Ctrl-C; if it is killed, they end when they find their pipes closed.
"""

import os
import signal
import sys
from collections.abc import Callable, Generator
from typing import IO, Any, Final, NamedTuple
from zlib import crc32

from greenprobe.engine.fetchplan import FetchStatistics
from greenprobe.engine.frames import Entry, Extras, FrameReader, frame_of, write_frame
from greenprobe.engine.tally import Tally
from greenprobe.engine.urllist import UrlList
from greenprobe.errors import GreenprobeError
from greenprobe.greenthread import GreenThread, spawn
from greenprobe.http.cookies import Cookie, CookieJar, site_of
from greenprobe.hub import Hub
from greenprobe.lazy import Lazy
from greenprobe.queue import Queue

__all__ = ["ArchivePiece", "NumberedRow", "ShardBatch", "ShardReport", "Shards"]

subprocess = Lazy("subprocess")
tempfile = Lazy("tempfile")

# A row of the output, and the number of the entry it is about.
NumberedRow = tuple[int, dict[str, Any]]

MANY: Final = 256  # entries in a frame
AHEAD: Final = 64  # frames that wait for a slow process
LONGEST_END_S: Final = 10.0
ARCHIVE_IN_MEMORY_BYTES: Final = 1 << 22


class ShardBatch(NamedTuple):
    """What a process has done since its last one: the numbers of entries that are over, and the lines to write.

    Where more is written than lines, `rows` are what they are made of, and `archive` is what the process has archived
    of them.
    """

    numbers: list[int]
    lines: bytes
    statistics: FetchStatistics
    rows: list[NumberedRow] = []  # noqa: RUF012 - nobody changes it
    archive: IO[bytes] | None = None


class ArchivePiece(NamedTuple):
    """A part of the archive of the next batch, which may be of any size."""

    data: bytes


class ShardReport(NamedTuple):
    """The last that a process says. The cookies are those that it gained and those that it lost, if it kept any."""

    statistics: FetchStatistics
    tally: Tally
    cookies: tuple[list[Cookie], list[Cookie]] = ([], [])


class Shard:
    """One process."""

    def __init__(self, hub: Hub, command: list[str], words: dict[str, Any]) -> None:
        # SIGINT is held back until the process can answer it; a terminal sends it to us alone, and we pass it on.
        held_back = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0, bufsize=0
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held_back)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        os.set_blocking(self.stdin.fileno(), False)
        self.frames: Queue[bytes | None] = Queue(AHEAD)
        self.statistics: FetchStatistics | None = None
        self.report: ShardReport | None = None
        self.is_over = False  # all of its batches were handed over
        self.entries: list[Entry] = []
        self.carried: dict[int, Extras] = {}
        self._hub = hub
        self.frames.put(frame_of(words))

    def write(self) -> None:
        """Write frames as they come, until None."""
        try:
            while (frame := self.frames.get()) is not None:
                write_frame(self._hub, self.stdin.fileno(), frame)
        except BrokenPipeError:
            pass  # the process has ended: its reader tells
        finally:
            self.close_input()

    def close_input(self) -> None:
        """Tell the process that there are no more entries. A second call does nothing."""
        if not self.stdin.closed:
            self._let_go(self.stdin.fileno())
            self.stdin.close()

    def close(self) -> None:
        """End the process if it has not ended, and let go of everything."""
        self.close_input()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(LONGEST_END_S)
        self._let_go(self.stdout.fileno())
        self.stdout.close()

    def _let_go(self, fd: int) -> None:
        slot = self._hub.poller.slots.get(fd)
        if slot is not None:
            self._hub.poller.close(slot, shared=True)


class Shards:
    """Runs one list on several processes. Iterate over `run()`; look at `statistics()` meanwhile."""

    def __init__(
        self,
        hub: Hub,
        words: dict[str, Any],
        urls: UrlList,
        *,
        count: int,
        command: list[str],
        tally: Tally,
        jar: CookieJar | None = None,
    ) -> None:
        """`command` starts a process; `words` is what it is told first. With a `jar`, hosts that share cookies stay."""
        self._hub = hub
        self._jar = jar
        self._key = host_of if jar is None else cookie_site
        self._urls = urls
        self._tally = tally
        self._taken = 0
        self._began = hub.clock()
        self._batches: Queue[ShardBatch | Shard | GreenprobeError] = Queue(2 * count)
        self._shards = [Shard(hub, command, words) for _ in range(count)]
        self._green: list[GreenThread] = []

    def run(self) -> Generator[ShardBatch, None, None]:
        """Yield batches as they come. Raises GreenprobeError if a process ends before its time.

        KeyboardInterrupt stops all processes; what was completed before is yielded before it is raised again.
        """
        self._start(self._feed)
        for shard in self._shards:
            self._start(shard.write)
            self._start(self._read, shard)
        try:
            try:
                yield from self._gather()
            except KeyboardInterrupt:
                for shard in self._shards:
                    if shard.process.poll() is None:
                        shard.process.send_signal(signal.SIGINT)
                yield from self._gather()
                raise
        finally:
            self._stop()

    def statistics(self) -> FetchStatistics:
        """Return how far all processes are together."""
        known = [shard.statistics for shard in self._shards if shard.statistics is not None]
        by_class = [sum(counts) for counts in zip(*(each.by_class for each in known), strict=True)] or [0] * 10
        return FetchStatistics(
            self._taken,
            sum(each.done for each in known),
            sum(each.failed for each in known),
            tuple(by_class),
            sum(each.body_bytes for each in known),
            self._hub.clock() - self._began,
            self._urls.read_bytes,
            self._urls.size_bytes,
            sum(each.waiting for each in known),
        )

    def _start(self, function: Callable[..., None], *args: Any) -> None:
        self._green.append(spawn(function, *args))

    def _stop(self) -> None:
        for green in self._green:
            green.kill()
        for green in self._green:
            green.join()
        for shard in self._shards:
            shard.close()

    def _gather(self) -> Generator[ShardBatch, None, None]:
        """Yield batches until every process has said its last."""
        while not all(shard.is_over for shard in self._shards):
            found = self._batches.get()
            if isinstance(found, ShardBatch):
                yield found
            elif isinstance(found, GreenprobeError):
                raise found
            elif found.report is not None:
                found.is_over = True
            else:
                code = found.process.wait(LONGEST_END_S)
                raise GreenprobeError(f"a process of the fetch ended early, with {code}")

    def _read(self, shard: Shard) -> None:
        """Read what a process says, to its end."""
        try:
            self._take(shard)
        except OSError as exc:
            self._batches.put(GreenprobeError(f"cannot keep what is to be archived: {exc.strerror}"))
        self._batches.put(shard)

    def _take(self, shard: Shard) -> None:
        archive: IO[bytes] | None = None
        for value in FrameReader(self._hub, shard.stdout.fileno()).read():
            if isinstance(value, ArchivePiece):
                archive = archive or tempfile.SpooledTemporaryFile(ARCHIVE_IN_MEMORY_BYTES)
                archive.write(value.data)
                continue
            shard.statistics = value.statistics
            if isinstance(value, ShardReport):
                shard.report = value
                self._tally.merge(value.tally)
                if self._jar is not None:
                    self._jar.change(*value.cookies)
            else:
                self._batches.put(value._replace(archive=archive))
                archive = None

    def _feed(self) -> None:
        """Hand every entry to the process that its host belongs to."""
        lines, carried, shards = self._urls.lines, self._urls.carried, self._shards
        while lines or self._urls.refill():
            while lines:
                number, line = lines.popleft()
                shard = shards[crc32(self._key(line)) % len(shards)]
                shard.entries.append((number, line))
                if carried and number in carried:
                    shard.carried[number] = carried.pop(number)
                if len(shard.entries) >= MANY:
                    self._send(shard)
            for shard in shards:  # the list may be a pipe that takes its time
                if shard.entries:
                    self._send(shard)
        for shard in shards:
            shard.frames.put(None)

    def _send(self, shard: Shard) -> None:
        entries, shard.entries = shard.entries, []
        carried, shard.carried = shard.carried, {}
        self._taken += len(entries)
        shard.frames.put(frame_of((entries, carried)))


def host_of(line: bytes) -> bytes:
    """Return what tells the host of a URL, in the same words for the same host; whatever it is for what is no URL."""
    scheme, separator, rest = line.partition(b"://")
    rest = rest if separator else scheme
    for end in ENDS:
        rest = rest.partition(end)[0]
    return rest.rpartition(b"@")[2].lower().removesuffix(DEFAULT_PORTS.get(scheme.lower(), b":80"))


def cookie_site(line: bytes) -> bytes:
    """Return what tells the hosts that share cookies with that of a URL."""
    host = host_of(line)
    name = host[: host.find(b"]") + 1] if host.startswith(b"[") else host.partition(b":")[0]
    return site_of(name.strip(b"[]").decode("ascii", "replace")).encode()


ENDS: Final = (b"/", b"?", b"#", b"\\")
DEFAULT_PORTS: Final = {b"https": b":443"}


def shard_command(module: str) -> list[str]:
    """Return the command that runs a module of greenprobe in a process of its own."""
    return [sys.executable, "-m", module]
