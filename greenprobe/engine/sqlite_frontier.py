"""A frontier in one SQLite file: on disk what must outlive us, in memory what must be fast.

On disk is every address, known by a 64-bit digest, with its state and what it answered; and the mark. One transaction
is always open, and `commit` ends it, so that a process that is killed leaves the state of its last commit, with no
lease in it. The file is locked: two crawls cannot share it.

In memory is, for each host that has something to do, when it may be asked and a few addresses ahead of that; so memory
follows the number of such hosts, never the number of addresses. The heap holds (time, turn, host): equal times go round
by turn. An entry whose host has moved on is passed over.

In-links: whether an address is known is asked first of RECENT digests in memory, which spares most look-ups on disk and
counts how often each is linked to. At 4, 16, 64... links its rank improves by one, if it is still pending.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from hashlib import blake2b
from heapq import heappop, heappush
from typing import Any, Final

from greenprobe.engine.canonical import Address
from greenprobe.engine.frontier import NO_STATUSES, Claim, Found, FrontierStatistics
from greenprobe.errors import FrontierError

__all__ = ["SqliteFrontier"]

APPLICATION: Final = 0x6770_6672  # "gpfr", in the file's header
VERSION: Final = 2
RECENT: Final = 200_000  # digests; 20 MB
AHEAD: Final = 8192  # addresses in memory over all hosts
MOST_AHEAD: Final = 64  # of one host
PENDING, LEASED, DONE, BLOCKED = range(4)

SCHEMA: Final = f"""
CREATE TABLE host (id INTEGER PRIMARY KEY, origin TEXT NOT NULL UNIQUE, blocked INTEGER NOT NULL DEFAULT 0);
CREATE TABLE address (
    id INTEGER PRIMARY KEY, digest INTEGER NOT NULL UNIQUE, host INTEGER NOT NULL, target TEXT NOT NULL,
    depth INTEGER NOT NULL, via INTEGER NOT NULL, rank INTEGER NOT NULL, state INTEGER NOT NULL DEFAULT 0,
    status INTEGER
);
CREATE INDEX pending ON address (host, rank, id) WHERE state = 0;
CREATE TABLE mark (text TEXT NOT NULL);
INSERT INTO mark VALUES ('');
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {VERSION};
"""
PRAGMAS: Final = ("journal_mode = WAL", "synchronous = NORMAL", "cache_size = -32768", "temp_store = MEMORY")  # 32 MiB
PUT: Final = (
    "INSERT OR IGNORE INTO address (digest, host, target, depth, via, rank, state) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
TAKE: Final = """
UPDATE address SET state = 1 WHERE id IN (
    SELECT id FROM address WHERE host = ? AND state = 0 ORDER BY rank, id LIMIT ?
) RETURNING id, target, depth, via, rank
"""


class Host:
    """What is in memory of a host that has something to do."""

    __slots__ = ("ahead", "free_at", "is_queued", "leases", "number", "origin")

    def __init__(self, number: int, origin: str) -> None:
        self.number = number
        self.origin = origin
        self.free_at = 0.0
        self.leases = 0
        self.is_queued = False
        self.ahead: list[tuple[int, str, int, int]] | None = None  # the next one last


class SqliteFrontier:
    """A `Frontier` in the file `path` (":memory:" for none), which is made if it is not there."""

    def __init__(self, path: str, *, per_host: int = 1) -> None:
        self._path = path
        self._per_host = per_host
        self._database = opened(path)
        self._hosts: dict[str, Host] = {}
        self._heap: list[tuple[float, int, Host]] = []
        self._turn = 0
        self._recent: dict[int, int] = {}
        self._ahead = 0
        self._counts = [0, 0, 0, 0]
        self._begin()

    def _begin(self) -> None:
        execute = self._database.execute
        execute("UPDATE address SET state = 0 WHERE state = 1")  # leases of whoever had this file before
        self._recount()
        rows = execute("SELECT id, origin FROM host WHERE id IN (SELECT DISTINCT host FROM address WHERE state = 0)")
        for number, origin in rows.fetchall():
            self._queue(self._remember(number, origin))
        self._mark: str = execute("SELECT text FROM mark").fetchone()[0]

    @property
    def mark(self) -> str:
        """What the last commit was given."""
        return self._mark

    # -- put

    def put(self, found: Iterable[Found]) -> int:
        """Add addresses that are not known yet; return how many were new."""
        rows = list(self._unknown(found))
        before = self._database.total_changes
        self._database.executemany(PUT, rows)
        new = self._database.total_changes - before
        blocked = sum(row[6] == BLOCKED for row in rows)
        if blocked and new < len(rows):
            self._recount()
        else:
            self._counts[BLOCKED] += blocked
            self._counts[PENDING] += new - blocked
        return new

    def _unknown(self, found: Iterable[Found]) -> Iterator[tuple[int, int, str, int, int, int, int]]:
        recent = self._recent
        for address, depth, via, rank in found:
            digest = digest_of(address.url)
            links = recent.get(digest, 0) + 1
            recent[digest] = links
            if links > 1:
                if links & 3 == 0 and links & (links - 1) == 0 and links.bit_length() & 1:
                    self._improve(digest)
                continue
            host = self._host(address.origin)
            if host is None:
                yield (digest, self._number(address.origin), address.target, depth, via, rank, BLOCKED)
                continue
            yield (digest, host.number, address.target, depth, via, rank, PENDING)
            if not host.is_queued and host.leases < self._per_host:
                self._queue(host)
        if len(recent) > RECENT:
            for digest in list(recent)[: len(recent) - RECENT // 2]:
                del recent[digest]

    def _improve(self, digest: int) -> None:
        self._database.execute("UPDATE address SET rank = rank - 1 WHERE digest = ? AND state = 0", (digest,))

    def _host(self, origin: str) -> Host | None:
        """Return the host of an origin, None if it is blocked."""
        host = self._hosts.get(origin)
        if host is not None:
            return host
        row = self._database.execute("SELECT id, blocked FROM host WHERE origin = ?", (origin,)).fetchone()
        if row is None:
            cursor = self._database.execute("INSERT INTO host (origin) VALUES (?)", (origin,))
            assert cursor.lastrowid is not None
            return self._remember(cursor.lastrowid, origin)
        return None if row[1] else self._remember(row[0], origin)

    def _number(self, origin: str) -> int:
        number: int = self._database.execute("SELECT id FROM host WHERE origin = ?", (origin,)).fetchone()[0]
        return number

    def _remember(self, number: int, origin: str) -> Host:
        host = self._hosts[origin] = Host(number, origin)
        return host

    def _recount(self) -> None:
        self._counts = [0, 0, 0, 0]
        for state, count in self._database.execute("SELECT state, count(*) FROM address GROUP BY state"):
            self._counts[state] = count
        self._counts[PENDING] += self._ahead
        self._counts[LEASED] -= self._ahead

    # -- claim and ack

    def claim(self, count: int, now: float) -> list[Claim]:
        """Lease up to `count` addresses of hosts that are ready at `now`."""
        claims: list[Claim] = []
        heap = self._heap
        while heap and len(claims) < count and heap[0][0] <= now:
            _, _, host = heappop(heap)
            host.is_queued = False
            if host.free_at > now:
                self._queue(host)
                continue
            row = self._next_of(host)
            if row is None:
                self._forget_if_idle(host)
                continue
            number, target, depth, via = row
            host.leases += 1
            self._counts[PENDING] -= 1
            self._counts[LEASED] += 1
            claims.append(Claim(number, Address(host.origin, target), depth, via))
            if host.leases < self._per_host:
                self._queue(host)
        return claims

    def _queue(self, host: Host) -> None:
        self._turn += 1
        host.is_queued = True
        heappush(self._heap, (host.free_at, self._turn, host))

    def _next_of(self, host: Host) -> tuple[int, str, int, int] | None:
        if not host.ahead:
            most = max(1, min(MOST_AHEAD, (AHEAD - self._ahead) // (1 + len(self._heap))))
            rows = self._database.execute(TAKE, (host.number, most)).fetchall()
            if not rows:
                host.ahead = None
                return None
            rows.sort(key=lambda row: (-row[4], -row[0]))  # RETURNING has no order
            host.ahead = [row[:4] for row in rows]
            self._ahead += len(rows)
        self._ahead -= 1
        return host.ahead.pop()

    def _forget_if_idle(self, host: Host) -> None:
        if not host.leases:
            self._hosts.pop(host.origin, None)

    def ack(self, claims: Iterable[Claim], statuses: Mapping[int, int | None] = NO_STATUSES) -> None:
        """Say that these are done, and by their numbers what was answered."""
        claims = list(claims)
        rows = [(statuses.get(claim.number), claim.number) for claim in claims]
        self._database.executemany("UPDATE address SET state = 2, status = ? WHERE id = ?", rows)
        self._counts[LEASED] -= len(claims)
        self._counts[DONE] += len(claims)
        for claim in claims:
            host = self._hosts.get(claim.address.origin)
            if host is None:
                continue  # it was blocked meanwhile
            host.leases -= 1
            if not host.is_queued:
                self._queue(host)

    # -- hosts

    def delay(self, origin: str, until: float) -> None:
        """Let nobody claim from a host before `until`; an earlier time than it has already changes nothing."""
        host = self._hosts.get(origin)
        if host is not None:
            host.free_at = max(host.free_at, until)

    def block(self, origin: str) -> None:
        """Give up a host: nothing of it is claimed any more, now or later."""
        host = self._host(origin)
        if host is None:
            return
        ahead = host.ahead or []
        execute = self._database.execute
        execute("UPDATE host SET blocked = 1 WHERE id = ?", (host.number,))
        self._database.executemany("UPDATE address SET state = 3 WHERE id = ?", [(row[0],) for row in ahead])
        blocked = execute("UPDATE address SET state = 3 WHERE host = ? AND state = 0", (host.number,)).rowcount
        self._ahead -= len(ahead)
        host.ahead = None
        self._counts[PENDING] -= blocked + len(ahead)
        self._counts[BLOCKED] += blocked + len(ahead)
        del self._hosts[origin]
        host.free_at = float("inf")  # an entry in the heap may still name it
        self._heap = [entry for entry in self._heap if entry[2] is not host]

    def next_time(self) -> float | None:
        """Return from when on there is something to claim; None if that takes an `ack` or a `put`."""
        while self._heap:
            when, _, host = self._heap[0]
            if host.free_at <= when:
                return when
            heappop(self._heap)
            self._queue(host)
        return None

    # -- the file

    def commit(self, mark: str = "") -> None:
        """Make what happened since the last commit last."""
        if mark:
            self._mark = mark
            self._database.execute("UPDATE mark SET text = ?", (mark,))
        self._database.execute("COMMIT")
        self._database.execute("BEGIN")

    def statistics(self) -> FrontierStatistics:
        """Count the addresses by state."""
        pending, leased, done, blocked = self._counts
        return FrontierStatistics(pending, leased, done, blocked, len(self._hosts))

    def status_of(self, url: str) -> int | None:
        """Return what was answered at a URL; None if that was nothing, or is not known."""
        row = self._database.execute("SELECT status FROM address WHERE digest = ?", (digest_of(url),)).fetchone()
        return row[0] if row else None

    def url_of(self, number: int) -> str | None:
        """Return the URL of an address by its number."""
        row = self._database.execute(
            "SELECT origin || target FROM address JOIN host ON host.id = address.host WHERE address.id = ?", (number,)
        ).fetchone()
        return None if row is None else str(row[0])

    def close(self) -> None:
        """Let go of the file; what was not committed has not happened."""
        self._database.close()


def digest_of(url: str) -> int:
    """Return the number by which a URL is known."""
    return int.from_bytes(blake2b(url.encode(), digest_size=8).digest(), "little", signed=True)


def opened(path: str) -> sqlite3.Connection:
    """Return the open database of a frontier, with a transaction begun. Raises FrontierError."""
    refuse_other_files(path)
    with ExitStack() as undo:
        try:
            database = sqlite3.connect(path, isolation_level=None, timeout=0.0)
            undo.callback(database.close)
            check(path, database)
            for pragma in PRAGMAS:
                database.execute(f"PRAGMA {pragma}")
            database.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as exc:
            raise FrontierError(complaint(path, exc)) from exc
        undo.pop_all()
    return database


def refuse_other_files(path: str) -> None:
    """Raise FrontierError for a file that is not a database: SQLite takes a short one for empty, and writes over it."""
    try:
        with open(path, "rb") as file:
            start = file.read(16)
    except OSError:
        return  # it is not there, or SQLite says what is wrong with it
    if start and start != b"SQLite format 3\0":
        raise FrontierError(f"{path} is damaged or no frontier (file is not a database); begin anew with another file")


def check(path: str, database: sqlite3.Connection) -> None:
    """Make a new file a frontier; see that another one is one. Raises FrontierError, sqlite3.Error."""
    database.execute("PRAGMA locking_mode = EXCLUSIVE")
    application = pragma_of(database, "application_id")
    version = pragma_of(database, "user_version")
    if not application and not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        database.executescript(f"BEGIN;{SCHEMA}COMMIT;")
    elif application != APPLICATION:
        raise FrontierError(f"{path} is a database of something else; name another file with --state")
    elif version != VERSION:
        raise FrontierError(f"{path} is a frontier of version {version}, and this greenprobe writes {VERSION}")
    else:
        found = database.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise FrontierError(f"{path} is damaged ({found}); begin anew with another file")


def pragma_of(database: sqlite3.Connection, name: str) -> Any:
    """Return the value of a pragma."""
    return database.execute(f"PRAGMA {name}").fetchone()[0]


def complaint(path: str, error: sqlite3.Error) -> str:
    """Return what an error of SQLite means for whoever named the file."""
    text = str(error)
    if "locked" in text:
        return f"{path} is in use by another crawl; wait for its end, or name another file with --state"
    if "not a database" in text or "malformed" in text:
        return f"{path} is damaged or no frontier ({text}); begin anew with another file"
    return f"{path} cannot be used: {text}"
