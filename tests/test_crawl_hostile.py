"""Pages that are made to hurt: bounded in time, memory and what is asked for; recorded; never followed out of scope."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from crawl_site import Answer, FakeSite, page
from fakes import web_server
from hostile_site import HREFS, PAGES, served

from greenprobe.engine import readers
from greenprobe.engine.canonical import Address, QueryRule
from greenprobe.engine.crawler import Crawler
from greenprobe.engine.crawlplan import CrawlPlan, PageRecord, start_of
from greenprobe.engine.readers import LONGEST, Readers
from greenprobe.engine.scope import ScopeRules, Within
from greenprobe.engine.sqlite_frontier import SqliteFrontier
from greenprobe.errors import UnreadablePage
from greenprobe.greenthread import spawn
from greenprobe.http.client import Client, ClientOptions
from greenprobe.http.wire import Headers
from greenprobe.hub import Hub
from greenprobe.testing import JumpClock

HTML: Headers = {"content-type": ("text/html",)}
HERE = Address("http://a.test", "/")
ATTRIBUTES = b"<a " + b" ".join([b"a%x" % number for number in range(400_000)]) + b">"
SERVE = "import sys, hostile_site, fakes\nwith fakes.web_server(hostile_site.served) as p: print(p); sys.stdin.read()"
LONGEST_SLICE = 1.0  # seconds of CPU between two turns of others; an undivided page of the table took 2 to 60


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_a_site_of_hostile_pages_is_read_in_bounds_and_told(tmp_path: Path) -> None:
    """Slow: pages of 100 MB, one of which takes all the seconds that reading a page may take."""
    asked: list[str] = []

    def respond(path: str) -> bytes:
        asked.append(path)
        return served(path)

    with web_server(respond) as port:
        site = f"http://127.0.0.1:{port}"
        words = ["crawl", f"{site}/", "--depth", "1", "-o", str(tmp_path / "out"), "--links", str(tmp_path / "links")]
        began = time.monotonic()
        running = subprocess.Popen([sys.executable, "-m", "greenprobe", *words])
        _, status, usage = os.wait4(running.pid, 0)
        running.returncode = status
    assert status == 0
    assert time.monotonic() - began < 300
    assert usage.ru_maxrss / 1024 < 400  # MB
    assert set(asked) == {"/", "/robots.txt", "/bombed", *(each.path for each in PAGES)}
    rows = {row["url"].removeprefix(site): row for row in rows_of(tmp_path / "out")}
    found = {path: (row["links"], (row["error"] or {}).get("class")) for path, row in rows.items()}
    assert {path: said for path, said in found.items() if path not in {"/", "/bombed"}} == {
        each.path: (0 if rows[each.path]["status"] == 302 else each.links, each.error) for each in PAGES
    }
    hrefs = [row for row in rows_of(tmp_path / "links") if row["from"] == f"{site}/hrefs"]
    assert len(hrefs) == len(HREFS)
    assert "secret" not in json.dumps(hrefs)


class Turns:
    """Another greenthread, which notes how much CPU time this thread spends between two of its turns."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.longest = 0.0

    def take(self) -> None:
        last = time.thread_time()
        while True:
            self.hub.sleep(0.005)
            now = time.thread_time()
            self.longest = max(self.longest, now - last)
            last = now


@pytest.mark.slow
def test_others_have_their_turns_while_hostile_pages_are_read(hub: Hub) -> None:
    """Slow: the pages of 100 MB once more, served by a process of their own."""
    serve = (
        "import sys, hostile_site, fakes\nwith fakes.web_server(hostile_site.served) as p: print(p); sys.stdin.read()"
    )
    command = [sys.executable, "-u", "-c", serve]
    options = ClientOptions(max_redirects=0, max_body_bytes=10 << 20)
    turns = Turns(hub)
    with subprocess.Popen(command, stdin=-1, stdout=-1, cwd=Path(__file__).parent) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        start = start_of(f"http://127.0.0.1:{int(server.stdout.readline())}/")
        plan = CrawlPlan((start,), ScopeRules(max_depth=1), client=options, per_host=4)
        frontier = SqliteFrontier(":memory:", per_host=4)
        with Client(options, hub=hub) as client:
            watcher = spawn(turns.take)
            records = [each.record for batch in Crawler(hub, plan, frontier, client).run() for each in batch]
            watcher.kill()
        frontier.close()
        server.stdin.close()
    assert len(records) == len(PAGES) + 2
    assert turns.longest < LONGEST_SLICE


# -- reading elsewhere


@pytest.mark.slow
def test_a_page_that_takes_too_long_is_given_up_and_the_next_one_is_read(hub: Hub) -> None:
    """Slow: processes that start."""
    reading = Readers(hub, 1, longest=1.0)
    with pytest.raises(UnreadablePage, match="took more than 1 s"):
        reading.read(HERE, HTML, ATTRIBUTES, QueryRule.CLEAN)
    reading._longest = LONGEST  # a process has to start for the next one
    said = reading.read(HERE, HTML, b"<title>t</title><a href=/x>x</a>" + b" " * 100_000, QueryRule.CLEAN)
    assert said.reading.facts.title == "t"
    assert [link.address for link in said.outlinks] == [Address("http://a.test", "/x")]
    reading.close()


@pytest.mark.slow
def test_a_process_that_dies_over_a_page_is_replaced(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow: a process that starts and ends."""
    monkeypatch.setattr(readers, "COMMAND", [sys.executable, "-c", "import sys; sys.stdin.buffer.read(10)"])
    reading = Readers(hub, 1)
    with pytest.raises(UnreadablePage, match="more memory"):
        reading.read(HERE, HTML, b" " * 100_000, QueryRule.CLEAN)
    monkeypatch.undo()
    assert reading.read(HERE, HTML, b"<a href=/x>" + b" " * 100_000, QueryRule.CLEAN).outlinks
    reading.close()


@pytest.mark.slow
def test_what_is_read_elsewhere_is_what_would_be_read_here(hub: Hub) -> None:
    """Slow: a process that starts."""
    body = b"<title>t</title>" + b"".join([b"<p>word%d <a href='/%d'>x</a>" % (n, n) for n in range(9000)])
    here, elsewhere = Readers(hub, 0), Readers(hub, 1)
    assert elsewhere.read(HERE, HTML, body, QueryRule.SORT) == here.read(HERE, HTML, body, QueryRule.SORT)
    elsewhere.close()


# -- redirects and robots.txt, on a site in memory


def crawled(hub: Hub, pages: dict[str, Any], **plan: Any) -> tuple[FakeSite, list[PageRecord]]:
    """Crawl from http://a.test/ and return the site and the records."""
    site = FakeSite(hub, pages)
    what = CrawlPlan((start_of("http://a.test/"),), **plan)
    frontier = SqliteFrontier(":memory:", per_host=4)
    crawler = Crawler(hub, what, frontier, site, resolve=site.resolve)  # type: ignore[arg-type]
    records = [arrival.record for batch in crawler.run() for arrival in batch]
    frontier.close()
    return site, records


def hop(url: str) -> Answer:
    """Redirect from each host to the next, for ever."""
    number = int(url.removeprefix("http://h").partition(".")[0]) + 1
    return Answer(status=302, location=f"http://h{number}.test/")


def test_a_redirect_out_of_scope_is_told_and_not_followed(hub: Hub, clock: JumpClock) -> None:
    site, _ = crawled(hub, {"http://a.test/": Answer(status=302, location="http://h1.test/"), "http://h*": hop})
    assert {url.split("/")[2] for _, url in site.asked} == {"a.test"}


def test_an_endless_chain_of_redirects_between_hosts_ends_at_the_bounds_that_were_given(
    hub: Hub, clock: JumpClock
) -> None:
    pages = {"http://a.test/": page("home", "http://h1.test/"), "http://h*": hop}
    site, records = crawled(hub, pages, scope=ScopeRules(Within.ANY), max_pages=50, obeys_robots=False)
    assert len(site.requests()) == len(records) == 50


@pytest.mark.parametrize(
    ("rules", "allowed"),
    [
        (Answer("<!doctype html><p>Disallow: /"), True),
        (Answer("User-agent: *\nDisallow: /x\n" + "#" * (20 << 20)), False),
        (Answer("#" * (20 << 20) + "\nUser-agent: *\nDisallow: /x\n"), True),  # behind the bound
        (Answer(b"\x00\xff" * 200_000), True),
        (Answer("User-agent: *\nDisallow: /" + "*a" * 5000 + "b\n" + "Disallow: /x\n"), False),
    ],
    ids=["markup", "long", "hidden", "binary", "stars"],
)
def test_a_robots_txt_that_is_none_forbids_nothing_and_one_that_is_too_long_counts_in_part(
    hub: Hub, clock: JumpClock, rules: Answer, allowed: bool
) -> None:
    site, _ = crawled(hub, {"http://a.test/robots.txt": rules, "http://a.test/": page("home", "/x", "/" + "a" * 5000)})
    assert ("http://a.test/x" in site.requests()) is allowed
