"""The crawl engine on a site in memory: coverage, politeness, budgets, retries, ends, and what a crash leaves."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from crawl_site import Answer, FakeSite, page

from greenprobe.engine import crawlvisits, readers
from greenprobe.engine.canonical import Address, canonical
from greenprobe.engine.crawler import Crawler
from greenprobe.engine.crawlplan import CrawlPlan, PageRecord
from greenprobe.engine.crawlvisits import Arrival
from greenprobe.engine.frontier import Frontier
from greenprobe.engine.scope import ScopeRules, Within
from greenprobe.engine.sqlite_frontier import SqliteFrontier
from greenprobe.errors import ConnectError, ConnectionLost
from greenprobe.greenthread import spawn
from greenprobe.hub import Hub
from greenprobe.testing import JumpClock

HOME = "http://a.test/"
Pages = dict[str, Any]


def start(url: str) -> Address:
    found = canonical("http://x.test/", url)
    assert isinstance(found, Address)
    return found


opened: list[Frontier] = []


@pytest.fixture(autouse=True)
def _close_frontiers() -> Iterator[None]:
    yield
    while opened:
        opened.pop().close()


class Crawl:
    """One crawl of a fake site, run to its end, and what came of it."""

    def __init__(self, hub: Hub, pages: Pages, *, frontier: Frontier | None = None, **plan: Any) -> None:
        self.site = FakeSite(hub, pages)
        plan.setdefault("starts", (start(HOME),))
        self.plan = CrawlPlan(**plan)
        self.frontier = frontier or SqliteFrontier(":memory:", per_host=self.plan.per_host)
        opened.append(self.frontier)
        self.crawler = Crawler(hub, self.plan, self.frontier, self.site, resolve=self.site.resolve)  # type: ignore[arg-type]
        self.arrivals: list[Arrival] = []

    def run(self) -> "Crawl":
        for batch in self.crawler.run():
            self.arrivals += batch
            self.crawler.mark = str(len(self.arrivals))
        return self

    def records(self) -> dict[str, PageRecord]:
        return {arrival.record.url: arrival.record for arrival in self.arrivals}

    def fetched(self) -> list[str]:
        return sorted(url.removeprefix("http://") for url in self.site.requests())


@pytest.fixture
def crawl(hub: Hub, clock: JumpClock) -> Callable[..., Crawl]:
    return lambda pages, **plan: Crawl(hub, pages, **plan).run()


# -- coverage


def test_every_page_in_scope_is_fetched_once(crawl: Callable[..., Crawl]) -> None:
    done = crawl(
        {
            HOME: page("home", "/b", "/b#x", "HTTP://A.test:80/%62", "/c", "http://b.test/"),
            "http://a.test/b": page("b", "/", "/c", "d"),
            "http://a.test/c": page("c", "/b"),
            "http://a.test/d": page("d", "mailto:x@y.test", "javascript:1"),
        }
    )
    assert done.fetched() == ["a.test/", "a.test/b", "a.test/c", "a.test/d"]
    assert done.crawler.statistics().pages == 4
    assert done.crawler.statistics().pending == 0


def test_a_record_says_what_the_page_said(crawl: Callable[..., Crawl]) -> None:
    home = page("home", "/b", "/gone", extra="<link rel=canonical href=/><meta name=robots content=noarchive>")
    done = crawl({HOME: home, "http://a.test/b": page("b")})
    record = done.records()[HOME]
    assert (record.status, record.title, record.depth, record.referrer) == (200, "home", 0, None)
    assert (record.links, record.canonical, record.robots) == (3, "/", ("noarchive",))
    gone = done.records()["http://a.test/gone"]
    assert (gone.status, gone.depth, gone.referrer) == (404, 1, HOME)
    row = record.row()
    assert row["type"] == "page"
    assert row["bytes"] == len(home.body)


def test_every_link_is_told_with_its_verdict(crawl: Callable[..., Crawl]) -> None:
    done = crawl(
        {HOME: page("home", "/b", "http://b.test/", "mailto:x", "http://u:p@a.test/"), "http://a.test/b": page("b")}
    )
    verdicts = {link.url: link.verdict for arrival in done.arrivals for link in arrival.links}
    assert verdicts == {
        "http://a.test/b": "",
        "http://b.test/": "host",
        "mailto:x": "scheme",
        "http://a.test/": "userinfo",
    }


def test_redirects_are_pages_of_their_own_and_end(crawl: Callable[..., Crawl]) -> None:
    done = crawl(
        {
            HOME: page("home", "/old", "/self", "/away"),
            "http://a.test/old": Answer(status=301, location="/new"),
            "http://a.test/new": page("new"),
            "http://a.test/self": Answer(status=302, location="/self"),
            "http://a.test/away": Answer(status=302, location="http://b.test/"),
        }
    )
    assert done.fetched() == ["a.test/", "a.test/away", "a.test/new", "a.test/old", "a.test/self"]
    assert done.records()["http://a.test/old"].location == "/new"
    assert done.records()["http://a.test/new"].depth == 1


def test_depth_is_the_number_of_links_from_the_start(crawl: Callable[..., Crawl]) -> None:
    chain: Pages = {f"http://a.test/{number}": page(f"p{number}", f"/{number + 1}") for number in range(9)}
    done = crawl({HOME: page("home", "/0"), **chain}, scope=ScopeRules(max_depth=3))
    assert done.fetched() == ["a.test/", "a.test/0", "a.test/1", "a.test/2"]


def test_base_canonical_and_refresh_are_followed(crawl: Callable[..., Crawl]) -> None:
    done = crawl(
        {
            HOME: page(
                "home", "t", extra="<base href=/x/><link rel=canonical href=/c><meta http-equiv=refresh content='0;/r'>"
            ),
            "http://a.test/c": Answer("", refresh="0; url=/h", link='</n>; rel="next"'),
        }
    )
    assert done.fetched() == [f"a.test/{path}" for path in ("", "c", "h", "n", "r", "x/t")]


def test_nofollow_of_a_page_a_header_or_a_link_is_honoured_unless_told_else(crawl: Callable[..., Crawl]) -> None:
    pages: Pages = {
        HOME: Answer("<a href=/meta>x</a><a href=/header>x</a><a rel='noopener nofollow' href=/a>x</a>"),
        "http://a.test/meta": page("meta", "/b", extra="<meta name=robots content=nofollow>"),
        "http://a.test/header": Answer("<a href=/c>x</a>", x_robots_tag="nofollow"),
    }
    assert crawl(pages).fetched() == ["a.test/", "a.test/header", "a.test/meta"]
    assert len(crawl(pages, follows_nofollow=True).fetched()) == 6


def test_duplicates_are_told_not_hidden(crawl: Callable[..., Crawl]) -> None:
    text = " ".join(f"word{chr(97 + number % 26)}{chr(97 + number // 26)}" for number in range(300))
    done = crawl(
        {
            HOME: page("home", "/one"),
            "http://a.test/one": Answer(f"<p>{text}</p><a href=/two>x</a>"),
            "http://a.test/two": Answer(f"<p>{text} else</p><a href=/two>x</a>"),
        }
    )
    records = done.records()
    assert records["http://a.test/one"].near_duplicate_of is None
    assert records["http://a.test/two"].near_duplicate_of == "http://a.test/one"
    assert records["http://a.test/two"].duplicate_of is None
    same = crawl({HOME: page("home", "/one", "/two"), "http://a.test/*": Answer("<p>the same</p>")}).records()
    assert {record.duplicate_of for record in same.values()} in (
        {None, "http://a.test/one"},
        {None, "http://a.test/two"},
    )


def test_sitemaps_and_feeds_are_read(crawl: Callable[..., Crawl]) -> None:
    pages: Pages = {
        "http://a.test/robots.txt": Answer("Sitemap: http://a.test/s.xml\n", content_type="text/plain"),
        HOME: page("home", extra="<link rel=alternate type=application/rss+xml href=/feed>"),
        "http://a.test/s.xml": Answer("<sitemapindex><sitemap><loc>http://a.test/t.xml</loc>", content_type="text/xml"),
        "http://a.test/t.xml": Answer("<urlset><url><loc>http://a.test/listed</loc></url>", content_type="text/xml"),
        "http://a.test/feed": Answer("<rss><item><link>/fed</link></item>", content_type="application/rss+xml"),
    }
    paths = ["", "fed", "feed", "listed", "s.xml", "t.xml"]
    assert crawl(pages).fetched() == [f"a.test/{path}" for path in paths]
    assert crawl(pages, reads_sitemaps=False).fetched() == ["a.test/"]


def test_assets_are_fetched_when_asked_for(crawl: Callable[..., Crawl]) -> None:
    pages: Pages = {
        HOME: Answer("<img src=/i.png><script src=/s.js></script><link rel=stylesheet href=/c.css>"),
        "http://a.test/c.css": Answer("a{background:url(/d.png)}", content_type="text/css"),
    }
    assert crawl(pages).fetched() == ["a.test/"]
    assert crawl(pages, fetches_assets=True).fetched() == [
        f"a.test/{path}" for path in ("", "c.css", "d.png", "i.png", "s.js")
    ]


# -- robots.txt


def test_robots_txt_is_asked_first_once_a_host_and_obeyed(crawl: Callable[..., Crawl]) -> None:
    pages: Pages = {
        "http://a.test/robots.txt": Answer("User-agent: *\nDisallow: /private\n"),
        HOME: page("home", "/private", "/public", "http://b.test/"),
    }
    done = crawl(pages, scope=ScopeRules(Within.ANY), concurrency=10)
    assert done.site.asked[0][1] == "http://a.test/robots.txt"
    assert done.site.counts()["http://a.test/robots.txt"] == 1
    assert done.site.counts()["http://b.test/robots.txt"] == 1
    assert "a.test/private" not in done.fetched()
    assert done.records()["http://a.test/private"].skipped == "robots"
    assert "a.test/private" in crawl(pages, obeys_robots=False).fetched()


def test_a_host_that_does_not_answer_is_an_error_not_a_rule(crawl: Callable[..., Crawl]) -> None:
    done = crawl({"http://a.test/robots.txt": Answer(error=ConnectError("refused"))})
    assert done.records()[HOME].error == ("ConnectError", "robots.txt: refused")
    assert done.crawler.statistics().errors == {"ConnectError": 1}
    done = crawl({"http://a.test/robots.txt": Answer(status=503)})
    kind, message = done.records()[HOME].error or ("", "")
    assert kind == "RobotsUnavailable"
    assert "status 503, so nothing is allowed" in message


def test_a_host_is_not_given_up_for_one_lost_connection(crawl: Callable[..., Crawl]) -> None:
    rules = [Answer(error=ConnectionLost("broken off")), Answer(status=503), Answer("User-agent: *\nDisallow: /x\n")]
    done = crawl({"http://a.test/robots.txt": rules, HOME: page("home", "/x", "/y")})
    assert done.fetched() == ["a.test/", "a.test/y"]


@pytest.mark.parametrize(
    ("answer", "allowed"),
    [(Answer(status=404), True), (Answer(status=500), False), (Answer(error=ConnectError("refused")), False)],
)
def test_a_host_without_rules_allows_all_or_nothing(crawl: Callable[..., Crawl], answer: Answer, allowed: bool) -> None:
    done = crawl({"http://a.test/robots.txt": answer, HOME: page("home")})
    assert bool(done.fetched()) is allowed


def test_a_redirected_robots_txt_is_followed_and_a_loop_of_them_is_none(crawl: Callable[..., Crawl]) -> None:
    pages: Pages = {
        "http://a.test/robots.txt": Answer(status=301, location="/r2"),
        "http://a.test/r2": Answer("User-agent: *\nDisallow: /private\n"),
        HOME: page("home", "/private"),
    }
    assert "a.test/private" not in crawl(pages).fetched()
    pages["http://a.test/r2"] = Answer(status=301, location="/robots.txt")
    assert "a.test/private" in crawl(pages).fetched()


# -- politeness


def gaps(done: Crawl, *hosts: str) -> list[float]:
    """Return the seconds from the end of each request to some hosts to the start of the next."""
    spans = sorted(span for span in done.site.spans if any(span[2].startswith(f"http://{host}/") for host in hosts))
    return [later[0] - earlier[1] for earlier, later in pairwise(spans)]


def test_a_delay_lies_between_the_requests_to_a_host(crawl: Callable[..., Crawl]) -> None:
    done = crawl({HOME: page("home", *[f"/{letter}" for letter in "bcdefgh"])}, delay=0.5, per_host=1)
    assert len(done.fetched()) == 8
    assert min(gaps(done, "a.test")) >= 0.5 - 1e-9
    assert max(gaps(done, "a.test")) < 0.6


def test_the_delay_that_robots_txt_asks_for_is_kept_by_all_visitors(crawl: Callable[..., Crawl]) -> None:
    pages: Pages = {
        "http://a.test/robots.txt": Answer("User-agent: *\nCrawl-delay: 2\n"),
        HOME: page("home", *[f"/{letter}" for letter in "bcdefgh"]),
    }
    done = crawl(pages, per_host=4)
    assert len(done.fetched()) == 8
    assert min(gaps(done, "a.test")) >= 2 - 1e-9


def test_hosts_of_one_address_share_its_clock(hub: Hub, clock: JumpClock) -> None:
    hosts = [f"{letter}.test" for letter in "abcdef"]
    run = Crawl(
        hub,
        {HOME: page("home", *[f"http://{host}/" for host in hosts])},
        delay=1.0,
        per_host=1,
        scope=ScopeRules(Within.ANY),
    )
    run.site.addresses = dict.fromkeys(hosts, "127.0.0.9")
    run.run()
    assert len(run.fetched()) == 6
    assert min(gaps(run, *hosts)) >= 1 - 1e-9
    assert clock.now() < 20


def test_hosts_of_their_own_do_not_wait_for_each_other(crawl: Callable[..., Crawl], clock: JumpClock) -> None:
    hosts = [f"{letter}.test" for letter in "abcdefgh"]
    pages: Pages = {HOME: page("home", *[f"http://{host}/" for host in hosts])}
    for host in hosts[1:]:
        pages[f"http://{host}/"] = page(host, *[f"/{letter}" for letter in "abcd"])
    began = clock.now()
    done = crawl(pages, delay=1.0, per_host=1, scope=ScopeRules(Within.ANY))
    assert len(done.fetched()) == 8 + 7 * 4
    assert clock.now() - began < 1.05 * 7


def test_a_host_has_no_more_requests_at_once_than_it_may(crawl: Callable[..., Crawl]) -> None:
    answers = {f"http://a.test/{number}": Answer("x", seconds=1.0) for number in range(12)}
    done = crawl({HOME: page("home", *[f"/{number}" for number in range(12)]), **answers}, per_host=3)
    edges = sorted([(began, 1) for began, _, _ in done.site.spans] + [(ended, -1) for _, ended, _ in done.site.spans])
    at_once, most = 0, 0
    for _, step in edges:
        at_once += step
        most = max(most, at_once)
    assert most == 3


def test_a_host_that_slows_down_is_asked_less_often(crawl: Callable[..., Crawl]) -> None:
    names = [first + second for first in "abcdefgh" for second in "abcdefgh"]
    answers = {f"http://a.test/{name}": page(name) for name in names}
    slow = dict(list(answers.items())[20:])
    for answer in slow.values():
        answer.seconds = 3.0
    done = crawl({HOME: page("home", *names), **answers}, per_host=4)
    starts = [began for began, _, url in done.site.spans if url in slow]
    assert len(starts) == 44
    late = starts[8:]
    assert all(second - first >= 0.05 for first, second in pairwise(late))


def test_hosts_of_other_addresses_than_the_starts_can_be_left_out(hub: Hub, clock: JumpClock) -> None:
    pages: Pages = {HOME: page("home", "http://b.test/", "http://c.test/"), "http://b.test/": page("b")}
    run = Crawl(hub, pages, same_ip=True, scope=ScopeRules(Within.ANY))
    run.site.addresses = {"a.test": "192.0.2.1", "b.test": "192.0.2.1", "c.test": "192.0.2.2"}
    run.run()
    assert run.fetched() == ["a.test/", "b.test/"]
    assert run.records()["http://c.test/"].skipped == "other address"
    assert "http://c.test/robots.txt" not in run.site.counts()


# -- what fails


def test_a_busy_host_is_asked_again_when_it_said(crawl: Callable[..., Crawl]) -> None:
    busy = Answer(status=429, retry_after="7")
    done = crawl({HOME: page("home", "/b"), "http://a.test/b": [busy, page("b")]}, per_host=1)
    first, second = (when for when, url in done.site.asked if url.endswith("/b"))
    assert second - first >= 7
    assert done.records()["http://a.test/b"].status == 200
    assert done.records()["http://a.test/b"].attempts == 2


def test_a_few_pages_that_always_refuse_do_not_bring_a_crawl_to_a_halt(
    crawl: Callable[..., Crawl], clock: JumpClock
) -> None:
    pages: Pages = {f"http://a.test/busy/{number}": Answer(status=503) for number in range(10)}
    done = crawl({HOME: page("home", *[f"/busy/{number}" for number in range(10)]), **pages})
    assert done.site.counts()["http://a.test/busy/9"] == 3
    assert clock.now() < 31 * crawlvisits.LONGEST_GAP


def test_an_endless_retry_after_is_cut(crawl: Callable[..., Crawl], clock: JumpClock) -> None:
    crawl({HOME: [Answer(status=503, retry_after="999999999"), page("home")]})
    assert clock.now() <= crawlvisits.LONGEST_PAUSE + 5


def test_what_fails_for_the_moment_is_asked_again_and_then_told(crawl: Callable[..., Crawl]) -> None:
    lost = Answer(error=ConnectionLost("broken off"))
    done = crawl(
        {HOME: page("home", "/flaky", "/dead"), "http://a.test/flaky": [lost, page("f")], "http://a.test/dead": lost}
    )
    counts = done.site.counts()
    assert (counts["http://a.test/flaky"], counts["http://a.test/dead"]) == (2, 3)
    assert done.records()["http://a.test/flaky"].error is None
    assert done.records()["http://a.test/dead"].error == ("ConnectionLost", "broken off")
    assert done.crawler.statistics().errors == {"ConnectionLost": 1}


def test_what_fails_for_good_is_asked_once(crawl: Callable[..., Crawl]) -> None:
    done = crawl(
        {
            HOME: page("home", "/b", "/c"),
            "http://a.test/b": Answer(error=ConnectError("refused")),
            "http://a.test/c": Answer(status=403),
        }
    )
    assert done.site.counts()["http://a.test/b"] == done.site.counts()["http://a.test/c"] == 1


# -- traps


def test_an_endless_calendar_ends_and_says_so(crawl: Callable[..., Crawl]) -> None:
    def month(url: str) -> Answer:
        number = int(url.rpartition("/")[2])
        return Answer(f"<title>Month {number}</title><a href=/m/{number + 1}>next</a><a href=/m/{number + 2}>x</a>")

    done = crawl({HOME: page("home", "/m/1"), "http://a.test/m/*": month})
    assert len(done.fetched()) < 60
    assert any(record.skipped == "budget" for record in done.records().values())


def test_who_finds_a_budget_spent_waits_for_news_that_are_under_way(crawl: Callable[..., Crawl]) -> None:
    words = "red green blue black white grey brown pink gold jade".split()
    names = [f"{one}-{other}" for one in words for other in words]
    pages = {f"http://a.test/{number}": page(name) for number, name in enumerate(names)}
    done = crawl({HOME: page("home", *(f"/{number}" for number in range(len(names)))), **pages}, per_host=100)
    assert len(done.fetched()) == 1 + len(names)


def test_an_endless_redirect_ends(crawl: Callable[..., Crawl]) -> None:
    def hop(url: str) -> Answer:
        return Answer(status=302, location=f"/n{int(url.rpartition('n')[2]) + 1}")

    done = crawl({HOME: page("home", "/n1"), "http://a.test/n*": hop})
    assert len(done.fetched()) < 100


# -- ends


def test_max_pages_ends_it_well(hub: Hub, clock: JumpClock) -> None:
    chain: Pages = {
        f"http://a.test/{number}": page(f"p{number}", *[f"/{number * 3 + step}" for step in range(1, 4)])
        for number in range(400)
    }
    run = Crawl(hub, {HOME: page("home", "/0"), **chain}, max_pages=25).run()
    assert len(run.fetched()) == 25
    assert len(run.arrivals) == 25
    assert run.frontier.statistics().pending > 0


def test_max_host_pages_is_each_hosts_own(crawl: Callable[..., Crawl]) -> None:
    hosts = {
        f"http://{host}.test/": page(host, *[f"/{number}" for number in range(9)], "http://b.test/") for host in "ab"
    }
    done = crawl(hosts, max_host_pages=3, scope=ScopeRules(Within.ANY))
    assert len([url for url in done.fetched() if url.startswith("a.")]) == 3
    assert len([url for url in done.fetched() if url.startswith("b.")]) == 3


def test_max_seconds_ends_it_in_time(hub: Hub, clock: JumpClock) -> None:
    def slow(url: str) -> Answer:
        if url.endswith("robots.txt"):
            return Answer(status=404)
        number = int(url.rpartition("/")[2])
        answer = page("".join(chr(97 + int(digit)) for digit in str(number)), f"/{number + 1}")
        answer.seconds = 1.0
        return answer

    run = Crawl(hub, {HOME: page("home", "/0"), "http://a.test/*": slow}, max_seconds=10.0).run()
    assert 9 <= len(run.arrivals) <= 12
    assert clock.now() < 12


def test_finish_lets_what_is_in_flight_arrive(hub: Hub, clock: JumpClock) -> None:
    answers = {f"http://a.test/{number}": Answer("x", seconds=5.0) for number in range(8)}
    run = Crawl(hub, {HOME: page("home", *[f"/{number}" for number in range(8)]), **answers}, per_host=4)

    def end() -> None:
        hub.sleep(3)
        run.crawler.finish()

    ender = spawn(end)
    run.run()
    ender.wait()
    assert len(run.arrivals) == 5
    assert run.frontier.statistics().leased == 0


def test_pause_starts_nothing_until_it_goes_on(hub: Hub, clock: JumpClock) -> None:
    run = Crawl(hub, {HOME: page("home", "/b")})
    run.crawler.pause(True)

    def go_on() -> None:
        hub.sleep(100)
        assert run.site.asked == []
        run.crawler.pause(False)

    waker = spawn(go_on)
    run.run()
    waker.wait()
    assert len(run.fetched()) == 2


def test_ctrl_c_hands_over_what_has_arrived(hub: Hub, clock: JumpClock) -> None:
    answers = {f"http://a.test/{number}": Answer("x", seconds=float(number)) for number in range(1, 9)}
    run = Crawl(hub, {HOME: page("home", *[f"/{number}" for number in range(1, 9)]), **answers}, per_host=20)
    hub.timers.add(4.5, hub.main.throw, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert len(run.arrivals) == 1 + 4
    assert run.frontier.statistics().done == 5
    hub.sleep(60)


def test_an_error_of_ours_is_raised(hub: Hub, clock: JumpClock, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(readers, "understood", fail)
    with pytest.raises(ZeroDivisionError):
        Crawl(hub, {HOME: page("home")}).run()


# -- a crash


@pytest.mark.parametrize("dies_after", range(0, 40, 3))
def test_after_a_crash_each_page_is_in_the_results_once(
    hub: Hub, clock: JumpClock, tmp_path: Path, dies_after: int
) -> None:
    pages: Pages = {HOME: page("home", "/0")}
    for number in range(40):
        pages[f"http://a.test/{number}"] = page(
            "p" + chr(97 + number // 26) + chr(97 + number % 26), f"/{number * 2 + 1}", f"/{number * 2 + 2}"
        )
    path = str(tmp_path / "state")
    results: list[str] = []
    for patience in (dies_after, 10_000):
        frontier = SqliteFrontier(path, per_host=4)
        del results[int(frontier.mark or 0) :]  # as a file is cut to the mark
        run = Crawl(hub, pages, frontier=frontier, per_host=4)
        running = run.crawler.run()
        for batch in running:
            results += [arrival.record.url for arrival in batch]
            if len(results) > patience:
                break  # killed: written, and not committed
            run.crawler.mark = str(len(results))
        running.close()
        frontier.close()
    assert len(results) == len(set(results))
    assert {url for url in results if not url.endswith("robots.txt")} >= pages.keys()
