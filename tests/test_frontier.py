"""The frontier: each address once, hosts in turn, and nothing lost or doubled whenever the process dies."""

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from greenprobe.engine import sqlite_frontier
from greenprobe.engine.canonical import Address
from greenprobe.engine.frontier import Claim, Found, rank_of
from greenprobe.engine.sqlite_frontier import SqliteFrontier
from greenprobe.errors import FrontierError


def found(url: str, depth: int = 0, rank: int | None = None) -> Found:
    """Return an entry for "host/path"."""
    host, _, path = url.partition("/")
    return Found(Address(f"http://{host}", f"/{path}"), depth, 0, rank_of(depth) if rank is None else rank)


def urls(claims: list[Claim]) -> list[str]:
    return [claim.address.url.removeprefix("http://") for claim in claims]


@pytest.fixture
def frontier() -> Iterator[SqliteFrontier]:
    frontier = SqliteFrontier(":memory:", per_host=1)
    yield frontier
    frontier.close()


def test_an_address_is_known_once(frontier: SqliteFrontier) -> None:
    assert frontier.put([found("a/1"), found("a/1"), found("a/2")]) == 2
    assert frontier.put([found("a/1")]) == 0
    assert frontier.statistics().pending == 2


def test_an_address_is_known_when_memory_has_forgotten_it(
    frontier: SqliteFrontier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_frontier, "RECENT", 4)
    assert frontier.put(found(f"a/{number}") for number in range(20)) == 20
    assert frontier.put(found(f"a/{number}") for number in range(20)) == 0
    assert frontier.statistics().pending == 20


def test_hosts_go_in_turn(frontier: SqliteFrontier) -> None:
    frontier.put([found("a/1"), found("a/2"), found("b/1"), found("c/1")])
    assert urls(frontier.claim(9, 0.0)) == ["a/1", "b/1", "c/1"]


def test_a_host_has_as_many_leases_as_it_may() -> None:
    frontier = SqliteFrontier(":memory:", per_host=2)
    frontier.put([found("a/1"), found("a/2"), found("a/3")])
    claims = frontier.claim(9, 0.0)
    assert urls(claims) == ["a/1", "a/2"]
    assert frontier.claim(9, 0.0) == []
    frontier.ack(claims[:1])
    assert urls(frontier.claim(9, 0.0)) == ["a/3"]
    frontier.close()


def test_the_lowest_rank_goes_first(frontier: SqliteFrontier) -> None:
    frontier.put([found("a/deep", 3), found("a/near", 1), found("a/listed", 1, rank_of(1, 1.0))])
    order = []
    while claims := frontier.claim(1, 0.0):
        order += urls(claims)
        frontier.ack(claims)
    assert order == ["a/listed", "a/near", "a/deep"]


def test_an_address_that_many_pages_link_to_goes_before_its_like(frontier: SqliteFrontier) -> None:
    frontier.put([found("a/lonely", 1), found("a/popular", 1)])
    for _ in range(20):
        frontier.put([found("a/popular", 1)])
    assert urls(frontier.claim(1, 0.0)) == ["a/popular"]


def test_a_delayed_host_waits_and_says_until_when(frontier: SqliteFrontier) -> None:
    frontier.put([found("a/1"), found("b/1")])
    frontier.delay("http://a", 5.0)
    assert urls(frontier.claim(9, 0.0)) == ["b/1"]
    assert frontier.next_time() == 5.0
    frontier.delay("http://a", 3.0)
    assert frontier.claim(9, 4.0) == []
    assert urls(frontier.claim(9, 5.0)) == ["a/1"]
    assert frontier.next_time() is None


def test_a_blocked_host_gives_nothing_now_or_later(frontier: SqliteFrontier) -> None:
    frontier.put([found("a/1"), found("a/2"), found("b/1")])
    frontier.block("http://a")
    frontier.put([found("a/3")])
    assert urls(frontier.claim(9, 0.0)) == ["b/1"]
    assert frontier.statistics().blocked == 3
    frontier.block("http://a")


def test_a_claim_of_a_host_that_is_blocked_meanwhile_can_be_acknowledged(frontier: SqliteFrontier) -> None:
    frontier.put([found("a/1"), found("a/2")])
    claims = frontier.claim(1, 0.0)
    frontier.block("http://a")
    frontier.ack(claims)
    assert frontier.claim(9, 0.0) == []
    assert frontier.statistics()[:4] == (0, 0, 1, 1)


def test_the_url_of_a_number_is_known(frontier: SqliteFrontier) -> None:
    frontier.put([found("a/1")])
    (claim,) = frontier.claim(1, 0.0)
    assert frontier.url_of(claim.number) == "http://a/1"
    assert frontier.url_of(999) is None


# -- the file


def test_what_was_committed_is_there_again_and_leases_are_not(tmp_path: Path) -> None:
    path = str(tmp_path / "frontier")
    frontier = SqliteFrontier(path)
    frontier.put([found("a/1"), found("b/1"), found("c/1")])
    frontier.ack(frontier.claim(1, 0.0))
    frontier.claim(1, 0.0)
    frontier.commit("17")
    frontier.ack(frontier.claim(1, 0.0))
    frontier.put([found("d/1")])
    frontier.close()
    again = SqliteFrontier(path)
    assert again.mark == "17"
    assert again.statistics()[:3] == (2, 0, 1)
    assert urls(again.claim(9, 0.0)) == ["b/1", "c/1"]
    again.close()


def test_what_an_address_answered_is_there_again(tmp_path: Path) -> None:
    path = str(tmp_path / "frontier")
    frontier = SqliteFrontier(path)
    frontier.put([found("a/1"), found("b/1"), found("c/1")])
    first, second, _ = claims = frontier.claim(3, 0.0)
    frontier.ack(claims[:2], {first.number: 404, second.number: None})
    frontier.commit()
    frontier.close()
    again = SqliteFrontier(path)
    assert [again.status_of(f"http://{url}") for url in ("a/1", "b/1", "c/1", "d/1")] == [404, None, None, None]
    again.close()


def test_a_blocked_host_stays_blocked(tmp_path: Path) -> None:
    path = str(tmp_path / "frontier")
    frontier = SqliteFrontier(path)
    frontier.put([found("a/1")])
    frontier.block("http://a")
    frontier.commit()
    frontier.close()
    again = SqliteFrontier(path)
    again.put([found("a/2")])
    assert again.claim(9, 0.0) == []
    again.close()


def test_two_crawls_cannot_share_a_file(tmp_path: Path) -> None:
    path = str(tmp_path / "frontier")
    frontier = SqliteFrontier(path)
    with pytest.raises(FrontierError, match="in use by another crawl"):
        SqliteFrontier(path)
    frontier.close()


def test_another_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE t (x)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(FrontierError, match="something else"):
        SqliteFrontier(str(path))
    assert path.read_bytes() == before


def test_a_frontier_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "frontier"
    SqliteFrontier(str(path)).close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(FrontierError, match="version 99"):
        SqliteFrontier(str(path))


@pytest.mark.parametrize("content", [b"not a database, but long enough to be looked at as if it were one" * 9, b"x"])
def test_what_is_no_database_is_refused_and_left_alone(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "frontier"
    path.write_bytes(content)
    with pytest.raises(FrontierError, match="frontier"):
        SqliteFrontier(str(path))
    assert path.read_bytes() == content


def test_a_truncated_frontier_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "frontier"
    frontier = SqliteFrontier(str(path))
    frontier.put(found(f"h{number}/1") for number in range(2000))
    frontier.commit()
    frontier.close()
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(FrontierError, match="damaged"):
        SqliteFrontier(str(path))


def test_a_folder_cannot_be_a_frontier(tmp_path: Path) -> None:
    with pytest.raises(FrontierError, match=str(tmp_path)):
        SqliteFrontier(str(tmp_path))


# -- any order of calls, and a crash anywhere

HOSTS = ["a", "b", "c"]


class AnyOrder(RuleBasedStateMachine):
    """The frontier against a model: a set of what is pending, leased and done, now and at the last commit."""

    def __init__(self) -> None:
        super().__init__()
        self.path = f"/dev/shm/greenprobe-frontier-{os.getpid()}-{id(self)}"
        self.frontier = SqliteFrontier(self.path, per_host=2)
        self.pending: set[str] = set()
        self.leased: dict[str, Claim] = {}
        self.done: set[str] = set()
        self.kept: tuple[set[str], set[str], str] = (set(), set(), "")
        self.marks = 0

    @rule(names=st.lists(st.tuples(st.sampled_from(HOSTS), st.integers(0, 30)), max_size=8))
    def put(self, names: list[tuple[str, int]]) -> None:
        """Put addresses, known ones among them."""
        entries = [f"{host}/{number}" for host, number in names]
        new = {entry for entry in entries if entry not in self.pending | self.leased.keys() | self.done}
        assert self.frontier.put(found(entry) for entry in entries) == len(new)
        self.pending |= new

    @rule(count=st.integers(1, 5))
    def claim(self, count: int) -> None:
        """Claim some: never what is leased or done, never too many of a host, never none if there are some."""
        claims = self.frontier.claim(count, 0.0)
        free = {entry for entry in self.pending if sum(held[0] == entry[0] for held in self.leased) < 2}
        assert bool(claims) == bool(free)
        for claim, url in zip(claims, urls(claims), strict=True):
            assert url in self.pending
            self.pending.remove(url)
            self.leased[url] = claim
        for host in HOSTS:
            assert sum(held[0] == host for held in self.leased) <= 2

    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        """Acknowledge some of what is leased."""
        if self.leased:
            for url in data.draw(st.sets(st.sampled_from(sorted(self.leased)))):
                self.frontier.ack([self.leased.pop(url)])
                self.done.add(url)

    @rule()
    def commit(self) -> None:
        """Make it last."""
        self.marks += 1
        self.frontier.commit(str(self.marks))
        self.kept = (self.pending | self.leased.keys(), set(self.done), str(self.marks))

    @rule()
    def crash(self) -> None:
        """Die and come back: all is as at the last commit, and leases are pending again."""
        self.frontier.close()
        self.frontier = SqliteFrontier(self.path, per_host=2)
        pending, done, mark = self.kept
        self.pending, self.done, self.leased = set(pending), set(done), {}
        assert self.frontier.mark == mark

    @invariant()
    def counts_are_right(self) -> None:
        """The figures are those of the model."""
        assert self.frontier.statistics()[:3] == (len(self.pending), len(self.leased), len(self.done))

    def teardown(self) -> None:
        """Remove the file."""
        self.frontier.close()
        for suffix in ("", "-wal", "-shm"):
            Path(self.path + suffix).unlink(missing_ok=True)


TestAnyOrder = pytest.mark.slow(AnyOrder.TestCase)  # thousands of calls on a file
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
