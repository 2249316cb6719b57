"""A fetch on several cores: processes that each fetch the URLs of some hosts, fed and read by this one.

A host belongs to one process, so what is bounded by host (connections, delay, rate, back-off) is bounded exactly; what
is bounded in all is divided. The processes make the lines of the output, and this one writes them: one writer, one
journal.

Which process a host belongs to is chosen when it is first seen: the one with the least to do. A hash of its name would
need no memory, but of 50 hosts it gives one process 29 as often as not, and the other waits for a third of the time.
"""

from collections.abc import Callable
from functools import partial
from typing import IO, Any, Final, NamedTuple
from zlib import crc32

from greenprobe.engine.fetchplan import FetchStatistics
from greenprobe.engine.frames import Entry, Extras, frame_of
from greenprobe.engine.processes import Process, Processes
from greenprobe.engine.tally import Tally
from greenprobe.engine.urllist import UrlList
from greenprobe.errors import GreenprobeError
from greenprobe.http.cookies import Cookie, CookieJar, site_of
from greenprobe.hub import Hub
from greenprobe.lazy import Lazy

__all__ = ["ArchivePiece", "Homes", "NumberedRow", "ShardBatch", "ShardReport", "Shards"]

tempfile = Lazy("tempfile")

# A row of the output, and the number of the entry it is about.
NumberedRow = tuple[int, dict[str, Any]]

MANY: Final = 256  # entries in a frame
MAX_HOMES: Final = 100_000  # hosts whose process is remembered, 20 MB; of others, a hash of their name tells it
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


class Shard(Process):
    """One process, and what is on its way to it and from it."""

    def __init__(self, hub: Hub, command: list[str], words: dict[str, Any]) -> None:
        super().__init__(hub, command, words)
        self.entries: list[Entry] = []
        self.carried: dict[int, Extras] = {}
        self.given = 0
        self.archive: IO[bytes] | None = None

    @property
    def load(self) -> int:
        """How many entries it has been given and has not done."""
        return self.given - (self.statistics.done if self.statistics is not None else 0)


class Homes:
    """Which of `count` processes a host belongs to. `loads` tells how much each of them has to do."""

    def __init__(self, count: int, loads: Callable[[], list[int]]) -> None:
        self._count = count
        self._loads = loads
        self._known: dict[bytes, int] = {}

    def __getitem__(self, host: bytes) -> int:
        home = self._known.get(host)
        if home is None:
            if len(self._known) >= MAX_HOMES:
                return crc32(host) % self._count
            loads = self._loads()
            home = self._known[host] = loads.index(min(loads))
        return home


class Shards(Processes[Shard, ShardBatch]):
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
        self._jar = jar
        self._key = partial(host_of if jar is None else cookie_site, words["scheme"].encode())
        self._urls = urls
        self._tally = tally
        self._taken = 0
        self._began = hub.clock()
        super().__init__(hub, [Shard(hub, command, words) for _ in range(count)], what="fetch")

    def statistics(self) -> FetchStatistics:
        """Return how far all processes are together."""
        known = [shard.statistics for shard in self._processes if shard.statistics is not None]
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
            self._taken + len(self._urls.lines),
        )

    def _begin(self) -> None:
        self._start(self._feed)

    def _hear(self, shard: Shard, value: Any) -> ShardBatch | None:
        if isinstance(value, ArchivePiece):
            self._keep(shard, value.data)
            return None
        shard.statistics = value.statistics
        if isinstance(value, ShardReport):
            shard.report = value
            self._tally.merge(value.tally)
            if self._jar is not None:
                self._jar.change(*value.cookies)
            return None
        archive, shard.archive = shard.archive, None
        batch: ShardBatch = value._replace(archive=archive)
        return batch

    def _keep(self, shard: Shard, data: bytes) -> None:
        try:
            shard.archive = shard.archive or tempfile.SpooledTemporaryFile(ARCHIVE_IN_MEMORY_BYTES)
            shard.archive.write(data)
        except OSError as exc:
            raise GreenprobeError(f"cannot keep what is to be archived: {exc.strerror}") from exc

    def _feed(self) -> None:
        """Hand every entry to the process that its host belongs to."""
        lines, carried, shards = self._urls.lines, self._urls.carried, self._processes
        homes = Homes(len(shards), lambda: [shard.load for shard in shards])
        while lines or self._urls.refill():
            while lines:
                number, line = lines.popleft()
                shard = shards[homes[self._key(line)]]
                shard.entries.append((number, line))
                shard.given += 1
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


def host_of(default_scheme: bytes, line: bytes) -> bytes:
    """Return what tells the host of a URL, in the same words for the same host; whatever it is for what is no URL."""
    scheme, separator, rest = line.partition(b"://")
    if not separator:
        scheme, rest = default_scheme, line
    for end in ENDS:
        rest = rest.partition(end)[0]
    return rest.rpartition(b"@")[2].lower().removesuffix(DEFAULT_PORTS.get(scheme.lower(), b":80"))


def cookie_site(default_scheme: bytes, line: bytes) -> bytes:
    """Return what tells the hosts that share cookies with that of a URL."""
    host = host_of(default_scheme, line)
    name = host[: host.find(b"]") + 1] if host.startswith(b"[") else host.partition(b":")[0]
    return site_of(name.strip(b"[]").decode("ascii", "replace")).encode()


ENDS: Final = (b"/", b"?", b"#", b"\\")
DEFAULT_PORTS: Final = {b"https": b":443"}
