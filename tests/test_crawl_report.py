"""The report of a crawl: who holds what is broken, where redirects end, what nobody links to; and nothing gets out."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from browser import opened

from greenprobe.cli import cli, run
from greenprobe.reporting.crawl_findings import MAX_HOLDERS, SLOWEST, gather_crawl
from greenprobe.reporting.page import CRAWL_TEMPLATE, page_of

EVIL = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>\u2028&amp;"
SITE = "http://h.test"


def page(path: str, **fields: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"type": "page", "url": SITE + path, "depth": 1, "status": 200, "bytes": 10, "seconds": 0.1}
    return row | fields


def link(source: str, target: str, kind: str = "a", verdict: str = "followed", text: str = "x") -> dict[str, Any]:
    return {
        "type": "link", "from": SITE + source, "to": SITE + target, "kind": kind, "verdict": verdict, "text": text,
    }  # fmt: skip


def lines(*rows: dict[str, Any]) -> list[bytes]:
    return [json.dumps(row).encode() + b"\n" for row in rows]


def found(pages: list[dict[str, Any]], links: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return gather_crawl(lines(*pages), None if links is None else (lines(*links), lines(*links))).row()


GONE = page("/gone", status=404, referrer=SITE + "/first")


def test_a_broken_link_names_the_pages_that_hold_it() -> None:
    held = [link(f"/p{number}", "/gone", text="the end") for number in range(MAX_HOLDERS + 5)]
    ((url, why, links, holders),) = found([page("/"), GONE], [*held, link("/", "/fine")])["broken"]
    assert (url, why, links) == (SITE + "/gone", "404", MAX_HOLDERS + 5)
    assert holders[0] == [SITE + "/p0", "a", "the end"]
    assert len(holders) == MAX_HOLDERS


def test_without_links_the_page_it_was_first_found_on_is_named() -> None:
    assert found([GONE])["broken"] == [[SITE + "/gone", "404", 0, [[SITE + "/first", "", ""]]]]


def test_redirects_are_followed_to_their_end() -> None:
    moved = [("/a", "/b"), ("/b", "/gone"), ("/x", "/y"), ("/y", "/x"), ("/fine", "/")]
    pages = [page(source, status=301, location=target) for source, target in moved]
    links = [link(source, target, "redirect") for source, target in moved]
    rows = {row[0].removeprefix(SITE): row[3:5] for row in found([page("/"), *pages, GONE], links)["redirects"]}
    assert rows == {"/a": [2, "404"], "/b": [1, "404"], "/x": [2, "a loop"], "/y": [2, "a loop"], "/fine": [1, ""]}


def test_an_orphan_is_listed_and_no_other_page_links_to_it() -> None:
    links = [link("/sitemap.xml", path, "listed") for path in ("/linked", "/alone", "/itself")]
    links += [link("/itself", "/itself"), link("/", "/linked")]
    orphans = found([page("/")], links)["orphans"]
    assert orphans == [(SITE + path, SITE + "/sitemap.xml") for path in ("/alone", "/itself")]


def test_outcomes_are_counted_by_depth_and_skipped_pages_by_reason() -> None:
    skipped = page("/s", status=None, skipped="robots", depth=2)
    failed = page("/f", status=None, error={"class": "TlsError", "message": "x"}, depth=2)
    told = found([page("/"), GONE, skipped, failed])
    assert told["depths"] == [[1, 0, 1, 0, 1, 0, 0, 0], [2, 0, 0, 0, 0, 0, 1, 1]]
    assert told["skipped"] == [["robots", 1, [[SITE + "/s", "listed or a start"]]]]
    assert dict(told["statuses"]) == {"200": 1, "404": 1, "TlsError": 1}


def test_the_slowest_pages_and_the_groups_of_duplicates_are_told() -> None:
    pages = [page(f"/{number}", seconds=float(number), duplicate_of=SITE + "/0") for number in range(1, 100)]
    pages += [page("/like", near_duplicate_of=SITE + "/0")]
    told = found(pages)
    assert [row[0] for row in told["slowest"]] == [f"{SITE}/{number}" for number in range(99, 99 - SLOWEST, -1)]
    ((first, count, urls),) = told["same"]
    assert (first, count, len(urls)) == (SITE + "/0", 100, MAX_HOLDERS)
    assert told["alike"] == [[SITE + "/0", 2, [SITE + "/like"]]]


def test_the_picture_has_folders_of_one_host_and_hosts_of_many() -> None:
    links = [link("/a/1", "/b/1?x=/c/"), link("/a/2", "/b/2")]
    told = found([page("/")], links)
    assert (told["sections"], told["edges"]) == (["/a/", "/b/"], [[0, 1, 2]])
    told = found([page("/"), page("/", url="http://other.test/")], links)
    assert (told["sections"], told["edges"]) == (["h.test"], [[0, 0, 2]])


@pytest.mark.parametrize("row", [{"status": "x"}, {"depth": "deep", "seconds": None}, {"error": 7}, {"location": 5}])
def test_rows_that_are_not_as_they_should_be_do_no_harm(row: dict[str, Any]) -> None:
    assert found([page("/") | row], [{"type": "link", "to": "x"}])["records"] == 1


HOSTILE = [page(EVIL, status=404, referrer=EVIL), page("/r", status=301, location=EVIL), page("/s", skipped=EVIL)]
HOSTILE_LINKS = [link(EVIL, EVIL, text=EVIL, verdict=EVIL), link("/sitemap.xml", EVIL + "2", "listed")]


def test_nothing_from_outside_can_end_the_script_element() -> None:
    shown = page_of(found(HOSTILE, HOSTILE_LINKS), source=EVIL, template=CRAWL_TEMPLATE).decode()
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', shown, re.DOTALL)
    assert data is not None
    assert not set("<>&\u2028\u2029") & set(data[1])
    assert json.loads(data[1])["source"] == EVIL
    assert "innerHTML" not in shown
    assert "@@" not in shown


def test_the_command_tells_a_crawl_by_its_lines(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pages, links, out = (str(tmp_path / name) for name in ("pages", "links", "out.html"))
    Path(pages).write_bytes(b"".join(lines(page("/"), GONE)))
    Path(links).write_bytes(b"".join(lines(link("/holder", "/gone"))))
    assert run(cli, ["report", pages, "--links", links, "-o", out]) == 0
    assert SITE + "/holder" in Path(out).read_text()
    assert run(cli, ["report", pages, "--links", links, "-o", links]) == 2
    (tmp_path / "fetched").write_text('{"url": "http://h/", "status": 200}\n')
    assert run(cli, ["report", str(tmp_path / "fetched"), "--links", links]) == 2
    assert run(cli, ["report", pages, "--links", pages, "-o", out]) == 2
    assert "--links goes with the pages of a crawl" in capfd.readouterr().err


@pytest.mark.slow
def test_a_browser_shows_the_page_and_runs_nothing_from_outside(tmp_path: Path) -> None:
    """Slow: a browser."""
    path = tmp_path / "page.html"
    path.write_bytes(page_of(found(HOSTILE, HOSTILE_LINKS), source=EVIL, template=CRAWL_TEMPLATE))
    with opened(path) as shown:
        assert shown.evaluate("document.title") == "greenprobe crawl report"
        assert shown.evaluate("document.querySelectorAll('img').length") == 0
        assert "listed in" in shown.evaluate("document.body.innerText")
