"""The journal of a run: what is recorded, and how far the outputs reach, so that a killed run can go on.

Facts. A process may be killed, or the machine lose power, between any two bytes. Choice: the outputs come first. Some
times a second the writer forces its outputs to the disk, and their names, and then appends one line to the journal: how
long each output is, and which entries of the list are in it. To go on, cut the outputs to what the last whole line
says and leave out the entries of all lines: each is recorded exactly once, whatever was written after that line is
fetched again. Price: a quarter of a second of work may be done twice.

A line is JSON and ends with its CRC; a line that was cut in the middle is where the journal ends. Entries are written
as spans, as they complete nearly in order. The first line says which list and which options the journal is for.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any, Final, NamedTuple
from zlib import crc32

import orjson

from greenprobe.errors import GreenprobeError, TargetError

__all__ = ["Done", "Journal", "LastingFile", "ListIdentity", "identify", "spans_of"]

CHUNK_BYTES: Final = 1 << 20

Span = tuple[int, int]  # first and last, both inclusive


class ListIdentity(NamedTuple):
    """A list as it was: its length in bytes and the SHA-256 of them."""

    size_bytes: int
    sha256: str


def identify(path: str, size_bytes: int | None = None) -> ListIdentity:
    """Return the identity of a list, or of its first `size_bytes`. Raises OSError."""
    digest = sha256()
    seen_bytes = 0
    with open(path, "rb") as file:
        while size_bytes is None or seen_bytes < size_bytes:
            room = CHUNK_BYTES if size_bytes is None else min(CHUNK_BYTES, size_bytes - seen_bytes)
            data = file.read(room)
            if not data:
                break
            digest.update(data)
            seen_bytes += len(data)
    return ListIdentity(seen_bytes, digest.hexdigest())


class Done:
    """Entries that are recorded, as sorted spans. Ask in rising order of number: then a question takes no search."""

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self._spans = merged(spans)
        self._place = 0
        self._asked = -1

    def __contains__(self, number: object) -> bool:
        if not isinstance(number, int):
            return False
        if number < self._asked:
            self._place = 0
        self._asked = number
        spans = self._spans
        while self._place < len(spans) and spans[self._place][1] < number:
            self._place += 1
        return self._place < len(spans) and spans[self._place][0] <= number

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self._spans)

    @property
    def spans(self) -> list[Span]:
        """The spans, sorted, none touching another."""
        return self._spans


def merged(spans: Iterable[Span]) -> list[Span]:
    """Return spans in order, with those that touch or overlap made one."""
    found: list[Span] = []
    for first, last in sorted(spans):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


def spans_of(numbers: Iterable[int]) -> list[Span]:
    """Return numbers as spans."""
    return merged((number, number) for number in numbers)


class Journal:
    """The journal file of one run, locked while it is open."""

    def __init__(self, path: str, identity: ListIdentity, options: Mapping[str, Any], *, list_path: str) -> None:
        """Open `path`, or make it. `options` are what must be the same when the run goes on.

        Raises TargetError if the file is no journal, or one for another list or other options, GreenprobeError if
        another run has it open, OSError if it cannot be read or written.
        """
        self._path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            self._lock()
            self._begin(identity, options, list_path)
        except BaseException:
            os.close(self._fd)
            raise

    def _lock(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise GreenprobeError(f"{self._path} is in use by another run") from exc

    def _begin(self, identity: ListIdentity, options: Mapping[str, Any], list_path: str) -> None:
        with open(self._path, "rb") as file:
            lines = list(whole_lines(file))
        self.is_new = not lines
        self.has_grown = False
        self.lengths: dict[str, int] = {}
        spans: list[Span] = []
        if lines:
            self._check(lines[0], identity, options, list_path)
            for line in lines[1:]:
                self.lengths = line["lengths"]
                spans += map(tuple, line["done"])
        elif os.fstat(self._fd).st_size:
            raise TargetError(f"{self._path} is no state of a greenprobe run; name another file with --state")
        self.done = Done(spans)
        self._rewrite(identity, options)

    def _check(self, head: Mapping[str, Any], now: ListIdentity, options: Mapping[str, Any], list_path: str) -> None:
        if head.get("greenprobe") != "fetch state":
            raise TargetError(f"{self._path} is no state of a greenprobe run; name another file with --state")
        then = ListIdentity(*head["list"])
        if then != now:
            self.has_grown = then.size_bytes < now.size_bytes and identify(list_path, then.size_bytes) == then
            if not self.has_grown:
                raise TargetError(
                    f"{list_path} has changed since {self._path} was begun; name another state, or remove {self._path}"
                )
        for name, value in options.items():
            if head["options"].get(name) != value:
                before = head["options"].get(name)
                raise TargetError(
                    f"{self._path} was begun with {name} {before!r}, not {value!r}; use the same, or another state"
                )

    def _rewrite(self, identity: ListIdentity, options: Mapping[str, Any]) -> None:
        """Put a short journal in the place of a long one, whole or not at all."""
        head = {"greenprobe": "fetch state", "list": tuple(identity), "options": options}
        lines = [line_of(head), line_of({"lengths": self.lengths, "done": self.done.spans})]
        temporary = f"{self._path}.new"
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        try:
            os.write(fd, b"".join(lines))
            os.fsync(fd)
            fcntl.flock(fd, fcntl.LOCK_EX)
            os.replace(temporary, self._path)
            sync_folder(self._path)
        except BaseException:
            os.close(fd)
            raise
        os.close(self._fd)
        self._fd = fd
        os.lseek(fd, 0, os.SEEK_END)

    def commit(self, lengths: Mapping[str, int], numbers: Iterable[int]) -> None:
        """Note that the entries `numbers` are in the outputs, which are on the disk up to `lengths` bytes.

        Raises GreenprobeError if the disk is full.
        """
        try:
            os.write(self._fd, line_of({"lengths": lengths, "done": spans_of(numbers)}))
            os.fdatasync(self._fd)
        except OSError as exc:
            raise GreenprobeError(f"cannot write to {self._path}: {exc.strerror}") from exc

    def close(self) -> None:
        """Close and unlock the file. A second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class LastingFile:
    """A file that a power loss must not take: neither what was written before a sync, nor its name."""

    __slots__ = ("_has_name", "_path")

    def __init__(self, path: str) -> None:
        self._path = path
        self._has_name = False

    def sync(self, fd: int) -> None:
        """Have on the disk what was written to `fd`, which is the file. Raises OSError."""
        os.fdatasync(fd)
        if not self._has_name:
            sync_folder(self._path)
            self._has_name = True


def sync_folder(path: str) -> None:
    """Have the name of a file on the disk, which syncing the file itself need not do. Raises OSError."""
    fd = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def line_of(value: Mapping[str, Any]) -> bytes:
    """Return a line of a journal."""
    data = orjson.dumps(value)
    return b"%b %08x\n" % (data, crc32(data))


def whole_lines(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the values of lines, up to the first that is not whole."""
    for line in lines:
        data, _, check = line.rpartition(b" ")
        if not line.endswith(b"\n") or b"%08x\n" % crc32(data) != check:
            return
        yield orjson.loads(data)
