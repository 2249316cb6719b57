"""The file of links: each line ends with what its target answered, whenever a crawl is interrupted."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import ok, web_server

from greenprobe.cli import cli, run
from greenprobe.commands import crawl_links
from greenprobe.commands.crawl_links import LinkFile, completed
from greenprobe.engine.crawlplan import LinkRecord
from greenprobe.engine.links import Link

FOUND = {"/old": 301, "/gone": 404, "/page": 200, "/secret": None, "http://127.0.0.2:1/": None}
LINKS = " ".join(f'<a href="{href}">"status":null}} &#10;</a>' for href in FOUND)


def answer(path: str) -> bytes:
    """Serve a home page with all kinds of links, and what they lead to."""
    if path == "/robots.txt":
        return ok(b"User-agent: *\nDisallow: /secret\n", "Content-Type: text/plain")
    if path == "/old":
        return ok(b"moved", "Location: /page", status="301 Moved Permanently")
    if path == "/gone":
        return ok(b"no", status="404 Not Found")
    return ok(LINKS.encode() if path == "/" else b"<p>here", "Content-Type: text/html")


@pytest.fixture
def site() -> Iterator[str]:
    with web_server(answer) as port:
        yield f"http://127.0.0.1:{port}"


def statuses(path: Path, site: str) -> dict[str, Any]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {row["to"].removeprefix(site): row["status"] for row in rows if row["from"] == site + "/"}


def record(url: str) -> LinkRecord:
    return LinkRecord("http://a/", url, Link(url, "a"), "")


def test_each_link_says_what_its_target_answered(site: str, tmp_path: Path) -> None:
    links = tmp_path / "links"
    assert run(cli, ["crawl", site, "-o", str(tmp_path / "out"), "--links", str(links)]) == 0
    assert statuses(links, site) == FOUND


def test_a_crawl_that_goes_on_fills_in_what_an_earlier_one_could_not_know(site: str, tmp_path: Path) -> None:
    links = tmp_path / "links"
    words = ["crawl", site, "-o", str(tmp_path / "out"), "--links", str(links), "--state", str(tmp_path / "state")]
    assert run(cli, [*words, "--max-pages", "1"]) == 0
    assert set(statuses(links, site).values()) == {None}
    length = links.stat().st_size
    with links.open("ab") as file:
        file.write(b"what a crash left behind")
    assert run(cli, words) == 0
    assert statuses(links, site) == FOUND
    with links.open("r+b") as file:  # as a power cut in the middle of a status would leave it
        file.seek(length - len(b"null}\n"))
        file.write(b" 4ll")
    assert run(cli, words) == 0
    assert statuses(links, site) == FOUND
    assert len(links.read_bytes().splitlines()) == len(FOUND) + 1  # and the redirect


@pytest.mark.parametrize(("status", "written"), [(404, b" 404"), (None, b"null"), (999, b" 999")])
def test_a_line_stays_as_long_as_it_was(status: int | None, written: bytes) -> None:
    before = b'{"to":"http://a/","text":"\\"status\\":null}","status":null}\n'
    after = completed(before, {"http://a/": status}.__getitem__)
    assert after == before[:-6] + written + b"}\n"
    assert completed(after, lambda _: None) == before


def test_a_file_is_completed_chunk_by_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crawl_links, "CHUNK_BYTES", 300)
    path = tmp_path / "links"
    file = LinkFile(str(path))
    file.write(record(f"http://a/{number}") for number in range(100))
    file.complete(lambda url: 200 + int(url[9:]) if int(url[9:]) % 3 else None)
    file.close()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["to"] for row in rows] == [f"http://a/{number}" for number in range(100)]
    assert [row["status"] for row in rows] == [200 + number if number % 3 else None for number in range(100)]


def test_no_more_time_is_taken_than_there_is(tmp_path: Path) -> None:
    path = tmp_path / "links"
    file = LinkFile(str(path))
    file.write([record("http://a/1")])
    file.complete(lambda _: 200, seconds=0.0)
    file.close()
    assert json.loads(path.read_text())["status"] is None


def test_what_cannot_be_gone_back_in_keeps_null(site: str, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(cli, ["crawl", site, "-o", str(tmp_path / "out"), "--links", "/dev/null"]) == 0
    assert "Traceback" not in capfd.readouterr().err
