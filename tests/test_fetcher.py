"""The fetch engine: lazily fed, bounded, in batches, and honest about every line."""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeWeb, Refused, ok, resolve_anything

from greenprobe.engine.fetcher import ASIDE_PER_WORKER, Fetcher
from greenprobe.engine.fetchplan import Failure, FetchPlan, FetchRecord
from greenprobe.engine.politeness import PaceOptions
from greenprobe.engine.urllist import UrlList
from greenprobe.engine.workers import MAX_WAITING
from greenprobe.greenthread import spawn
from greenprobe.http.client import Client, ClientOptions
from greenprobe.http.retries import RetryPolicy
from greenprobe.http.trace import Trace
from greenprobe.hub import Hub
from greenprobe.testing import JumpClock, wait_all_blocked
from greenprobe.whereabouts import parked


class Bench:
    """A fetcher on a list and a fake web."""

    def __init__(self, hub: Hub, path: Path) -> None:
        self.hub = hub
        self.path = path
        self.clients: list[Client] = []
        self.fds: list[int] = []

    def fetcher(
        self, lines: list[str], *scripts: object, concurrency: int = 10, per_host: int = 1000, **plan_options: Any
    ) -> Fetcher:
        self.path.write_text("\n".join(lines))
        self.fds.append(os.open(self.path, os.O_RDONLY))
        self.web = FakeWeb(*scripts)  # type: ignore[arg-type]
        plan = FetchPlan(concurrency, ClientOptions(per_host=per_host), **plan_options)
        self.clients.append(Client(plan.client, hub=self.hub, resolve=resolve_anything, connect=self.web.connect))
        return Fetcher(self.hub, plan, UrlList(self.hub, self.fds[-1]), self.clients[-1])

    def records(self, lines: list[str], *scripts: object, **options: Any) -> dict[int, FetchRecord]:
        fetcher = self.fetcher(lines, *scripts, **options)
        return {record.line: record for batch in fetcher.run() for record in batch}


@pytest.fixture
def bench(hub: Hub, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(hub, tmp_path / "urls")
    yield bench
    for client in bench.clients:
        client.close()
    for fd in bench.fds:
        os.close(fd)


def test_every_line_becomes_a_record(bench: Bench) -> None:
    records = bench.records(
        ["http://a/x", "no url", "", "http://b/"], [ok(b"hello", "Content-Type: text/x")], Refused(), concurrency=1
    )
    assert list(records) == [1, 2, 4]
    good, bad, refused = records.values()
    assert (good.url, good.final_url, good.status, good.size_bytes, good.error) == ("http://a/x",) * 2 + (200, 5, None)
    assert bad.error is not None
    assert (bad.url, bad.final_url, bad.error.kind) == ("no url", None, "UrlError")
    assert refused.error is not None
    assert (refused.status, refused.error.kind) == (None, "ConnectError")
    assert "Connection refused" in refused.error.message


def test_a_record_has_the_row_of_the_documentation(bench: Bench, clock: JumpClock) -> None:
    redirect = ok(b"", "Location: /there", status="302 Found")
    answer = ok(b"hello", "Content-Type: text/x", "A: 1", "A: 2")
    record = bench.records(["http://a/x"], 0.25, [redirect, 0.5, answer])[1]
    assert record.row() | {"ended": 0} == {
        "v": 1,
        "line": 1,
        "url": "http://a/x",
        "final_url": "http://a/there",
        "status": 200,
        "bytes": 5,
        "content_type": "text/x",
        "redirects": [{"status": 302, "url": "http://a/x"}],
        "elapsed": {"dns": 0.0, "connect": 0.25, "tls": None, "first_byte": 0.5, "total": 0.75},
        "address": "a",
        "sent_bytes": 218,
        "received_bytes": len(redirect + answer),
        "attempts": 1,
        "ended": 0,
        "headers": {"content-type": ("text/x",), "a": ("1", "2"), "content-length": ("5",)},
        "error": None,
    }


def test_the_time_of_a_failure_counts(bench: Bench, clock: JumpClock) -> None:
    record = bench.records(["http://a/"], [])[1]
    assert record.elapsed.total == pytest.approx(30.0)


def test_no_more_than_concurrency_run_at_once(bench: Bench, clock: JumpClock) -> None:
    fetcher = bench.fetcher([f"http://h{n}/" for n in range(20)], *[[1.0, ok()]] * 20, concurrency=4)
    running = spawn(list, fetcher.run())
    wait_all_blocked()
    assert len(bench.web.connections) == 4
    assert fetcher.statistics().taken == 4
    running.wait()
    assert clock.now() == pytest.approx(5.0)


def test_a_short_list_does_not_start_all_workers(bench: Bench, hub: Hub, clock: JumpClock) -> None:
    fetcher = bench.fetcher(["http://a/", "http://b/"], *[[1.0, ok()]] * 2, concurrency=1000)
    running = spawn(list, fetcher.run())
    wait_all_blocked()
    assert len(list(parked(hub.loop))) <= 6
    running.wait()


def test_the_rest_of_a_list_that_was_read_counts_as_still_to_do(bench: Bench, clock: JumpClock) -> None:
    fetcher = bench.fetcher([*["http://a/"] * 5, ""], *[[1.0, ok()]] * 5, concurrency=1)
    first = next(batches := fetcher.run())
    now = fetcher.statistics()
    assert (len(first), now.done, now.taken < 5, now.listed) == (1, 1, True, 5)
    batches.close()


def test_the_next_line_of_a_slow_list_finds_a_worker(hub: Hub, clock: JumpClock) -> None:
    source, sink = os.pipe()
    urls = UrlList(hub, source)
    web = FakeWeb([], [ok()])
    client = Client(FetchPlan().client, hub=hub, resolve=resolve_anything, connect=web.connect)
    fetcher = Fetcher(hub, FetchPlan(concurrency=5), urls, client)
    done: list[FetchRecord] = []

    def consume() -> None:
        for batch in fetcher.run():
            done.extend(batch)

    spawn(consume)
    os.write(sink, b"http://silent/\n")
    hub.sleep(1)
    os.write(sink, b"http://quick/\n")
    hub.sleep(1)
    assert [record.line for record in done] == [2]
    os.close(sink)
    hub.sleep(60)
    assert [record.line for record in done] == [2, 1]
    urls.close()
    os.close(source)
    client.close()


def test_a_crowded_host_holds_no_other_up(bench: Bench, clock: JumpClock) -> None:
    lines = [f"http://slow/{n}" for n in range(6)] + ["http://quick/"]
    slow = [item for _ in range(6) for item in (1.0, ok())]
    done: dict[int, float] = {}
    for batch in bench.fetcher(lines, slow, [ok()], concurrency=2, per_host=1).run():
        done |= {record.line: clock.now() for record in batch}
    assert done == pytest.approx({7: 0.0, 1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0, 5: 5.0, 6: 6.0})
    assert bench.web.requests()[:6] == [f"0 GET /{n} HTTP/1.1" for n in range(6)]


def test_only_so_many_are_put_aside(bench: Bench, clock: JumpClock) -> None:
    count = 10 * ASIDE_PER_WORKER
    fetcher = bench.fetcher(
        ["http://slow/"] * count, [item for _ in range(count) for item in (1.0, ok())], concurrency=2, per_host=1
    )
    running = spawn(list, fetcher.run())
    wait_all_blocked()
    assert fetcher.statistics().taken == 2 * ASIDE_PER_WORKER + 2
    assert sum(map(len, running.wait())) == count


def test_a_redirect_that_takes_long_holds_nobody_up_who_was_put_aside(bench: Bench, clock: JumpClock) -> None:
    away = ok(b"", "Location: http://slow/", status="302 Found")
    done: dict[int, float] = {}
    scripts = [1.0, away, ok()], [20.0, ok()]
    for batch in bench.fetcher(["http://h/", "http://h/"], *scripts, concurrency=2, per_host=1).run():
        done |= {record.line: clock.now() for record in batch}
    assert done == pytest.approx({2: 1.0, 1: 21.0})


def test_a_failing_host_lets_all_its_urls_through(bench: Bench, clock: JumpClock) -> None:
    records = bench.records(["http://slow/"] * 30, *[Refused()] * 30, concurrency=3, per_host=1)
    assert sorted(records) == list(range(1, 31))


@pytest.mark.fifo
def test_records_come_in_batches_of_what_is_done(bench: Bench, clock: JumpClock) -> None:
    fetcher = bench.fetcher([f"http://h{n}/" for n in range(6)], *[[1.0 if n < 4 else 2.0, ok()] for n in range(6)])
    assert [len(batch) for batch in fetcher.run()] == [4, 2]


def test_a_slow_consumer_holds_the_workers_back(bench: Bench, hub: Hub) -> None:
    count = 3 * MAX_WAITING
    fetcher = bench.fetcher(["nothing"] * count, concurrency=5)
    seen = 0
    for batch in fetcher.run():
        seen += len(batch)
        assert len(batch) <= MAX_WAITING + 5
        hub.sleep()
    assert seen == count


def test_leaving_early_stops_all_fetches(bench: Bench, clock: JumpClock) -> None:
    fetcher = bench.fetcher(["http://a/", "http://b/"], [ok()], [])
    with closing(fetcher.run()) as batches:
        next(batches)
        wait_all_blocked()
    assert bench.web.connections[1].closed


def test_ctrl_c_hands_over_what_is_done_and_is_raised_again(bench: Bench, hub: Hub, clock: JumpClock) -> None:
    fetcher = bench.fetcher(["http://a/", "http://b/", "bad"], [1.0, ok()], [])
    hub.timers.add(2.0, hub.main.throw, KeyboardInterrupt)
    done: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        for batch in fetcher.run():
            done += [record.line for record in batch]
    assert 3 in done
    assert len(done) == 2  # and of the other two whichever got the first connection
    assert all(connection.closed for connection in bench.web.connections[1:])
    end = fetcher.statistics()
    assert (end.taken, end.done, end.failed, end.by_class[2]) == (3, 2, 1, 1)


def test_a_fault_of_ours_ends_the_run_with_its_traceback(bench: Bench) -> None:
    fetcher = bench.fetcher(["http://a/", "http://b/"], ValueError("a bug"), [])
    with pytest.raises(ValueError, match="a bug"):
        list(fetcher.run())


# -- pace and retries


def test_a_delayed_host_holds_nobody_else_up(bench: Bench, clock: JumpClock) -> None:
    lines = ["http://slow/1", "http://slow/2", "http://slow/3", "http://quick/"]
    found = bench.records(lines, [ok(), ok(), ok()], [ok()], concurrency=2, pace=PaceOptions(delay=10.0))
    assert {line: record.status for line, record in found.items()} == {1: 200, 2: 200, 3: 200, 4: 200}
    assert list(found) == [1, 4, 2, 3]
    assert clock.now() == pytest.approx(20.0)


def test_the_rate_of_a_host_does_not_wait_for_its_answers(bench: Bench, clock: JumpClock) -> None:
    scripts = [[5.0, ok()] for _ in range(4)]
    found = bench.records([f"http://h/{n}" for n in range(4)], *scripts, pace=PaceOptions(host_rate_per_s=1.0))
    assert len(found) == 4
    assert clock.now() == pytest.approx(8.0)


def test_the_rate_in_all_is_kept_over_all_hosts(bench: Bench, clock: JumpClock) -> None:
    lines = [f"http://h{n}/" for n in range(5)]
    bench.records(lines, *[[ok()] for _ in range(5)], pace=PaceOptions(rate_per_s=2.0))
    assert clock.now() == pytest.approx(2.0)


def test_a_busy_host_is_asked_again_after_its_time_while_others_go_on(bench: Bench, clock: JumpClock) -> None:
    busy = ok(b"no", "Retry-After: 30", status="429 No")
    found = bench.records(
        ["http://busy/1", "http://other/"],
        [busy],
        [ok()],
        [ok(b"yes")],
        concurrency=1,
        pace=PaceOptions(),
        retries=RetryPolicy(3),
    )
    assert list(found) == [2, 1]
    assert (found[1].status, found[1].attempts) == (200, 2)
    assert clock.now() == pytest.approx(30.0)


def test_retries_come_to_an_end(bench: Bench, clock: JumpClock) -> None:
    refused = [Refused() for _ in range(3)]
    (record,) = bench.records(["http://h/"], *refused, retries=RetryPolicy(2)).values()
    assert (record.error is not None and record.error.kind, record.attempts) == ("ConnectError", 3)


def test_a_stopped_run_leaves_nothing_aside(bench: Bench, clock: JumpClock) -> None:
    fetcher = bench.fetcher([f"http://h/{n}" for n in range(5)], [ok()] * 5, pace=PaceOptions(delay=100.0))
    with closing(fetcher.run()) as batches:
        next(batches)
        assert fetcher.statistics().waiting == 4
    assert fetcher.statistics().waiting == 0


class Noted:
    """A taker that notes what it is given."""

    def __init__(self, notes: list[Any]) -> None:
        self.notes = notes

    def __call__(self, piece: bytes) -> None:
        self.notes.append(piece)

    def finish(self, trace: Trace, failure: Failure | None) -> dict[str, Any]:
        self.notes.append(failure and failure.kind)
        return {"noted": len(self.notes)}


def test_takers_get_bodies_and_add_to_the_row(bench: Bench, clock: JumpClock) -> None:
    notes: list[Any] = []
    lines = ["http://a/", "http://b/"]
    scripts = [[ok(b"", "Location: /x", status="302 F"), ok(b"body")], [ok(b"half")[:-2], b""]]
    found = bench.records(lines, *scripts, concurrency=1, takers=(lambda number, trace: Noted(notes),))
    assert notes == [b"body", None, b"ha", "IncompleteBody"]
    assert [record.row()["noted"] for record in found.values()] == [2, 4]


def test_a_favicon_waits_for_the_hosts_turn(bench: Bench, clock: JumpClock) -> None:
    pace = PaceOptions(delay=2.0)
    record = bench.records(["http://a/x"], [ok(), ok(b"an icon")], pace=pace, wants_favicons=True)[1]
    assert isinstance((record.extras or {})["favicon"], int)
    assert clock.now() == pytest.approx(2.0)
