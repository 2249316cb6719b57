"""What a crawl writes beside its results: an archive, a database; files that are one, too short, or older."""

import json
import os
import pty
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from core_tools import wait_until
from fakes import ok, web_server
from warcio.archiveiterator import ArchiveIterator

from greenprobe.cli import cli, run
from greenprobe.engine.sqlite_frontier import SqliteFrontier

HTML = "Content-Type: text/html"


def answer(path: str) -> bytes:
    """Serve a few pages, one that moved, one that is gone, a picture."""
    if path == "/robots.txt":
        return ok(b"User-agent: *\nDisallow: /private\n", "Content-Type: text/plain")
    if path == "/":
        links = " ".join(f"<a href=/{name}>x</a>" for name in ("old", "gone", "picture", "p1", "p2", "p3"))
        return ok(f"<title>home</title>{links}".encode(), HTML)
    if path == "/old":
        return ok(b"moved", "Location: /p1", status="301 Moved Permanently")
    if path == "/picture":
        return ok(b"\x89PNG" + bytes(10_000), "Content-Type: image/png")
    if path.startswith("/p"):
        return ok(f"<p>page {path}</p><a href=/gone>x</a>".encode(), HTML)
    return ok(b"no", status="404 Not Found")


PATHS = {"/", "/old", "/gone", "/picture", "/p1", "/p2", "/p3"}


@pytest.fixture
def site() -> Iterator[str]:
    with web_server(answer) as port:
        yield f"http://127.0.0.1:{port}"


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def records(path: Path) -> list[tuple[str, str, bytes]]:
    """Return kind, URL and body of the records of a WARC."""
    with path.open("rb") as file:
        return [
            (record.rec_type, record.rec_headers.get_header("WARC-Target-URI") or "", record.content_stream().read())
            for record in ArchiveIterator(file)
        ]


# -- --warc


def test_the_archive_holds_every_exchange_robots_txt_and_redirects_too(site: str, tmp_path: Path) -> None:
    out, warc = tmp_path / "out", tmp_path / "crawl.warc.gz"
    assert run(cli, ["crawl", site, "-o", str(out), "--warc", str(warc)]) == 0
    found = records(warc)
    responses = {url.removeprefix(site): body for kind, url, body in found if kind == "response"}
    assert responses.keys() == {*PATHS, "/robots.txt"}
    assert responses["/picture"].startswith(b"\x89PNG")
    assert sum(kind == "request" for kind, _, _ in found) == len(responses)
    with warc.open("rb") as file:
        for row in rows(out):
            file.seek(row["warc_offset"])
            record = next(iter(ArchiveIterator(file)))
            assert record.rec_headers.get_header("WARC-Target-URI") == row["url"]


@pytest.mark.slow
def test_each_result_says_where_its_own_response_lies_when_pages_are_read_side_by_side(tmp_path: Path) -> None:
    """Slow: a process that reads."""

    def respond(path: str) -> bytes:
        if path == "/robots.txt":
            return ok(b"User-agent: *\nDisallow: /no\n", "Content-Type: text/plain")
        links = "".join(f"<a href=/{number}>x</a>" for number in range(12)) + "<a href=/no>x</a>"
        filler = b" " * (60_000 if path[1:].isdigit() and int(path[1:]) % 2 else 10)  # read elsewhere, or here
        return ok(f"<title>{path}</title><p>{path * 9}</p>{links}".encode() + filler, HTML)

    out, warc = tmp_path / "out", tmp_path / "crawl.warc.gz"
    with web_server(respond) as port:
        assert run(cli, ["crawl", f"http://127.0.0.1:{port}", "-o", str(out), "--warc", str(warc)]) == 0
    found = rows(out)
    assert len(found) == 14
    with warc.open("rb") as file:
        for row in found:
            if row["skipped"]:
                assert "warc_offset" not in row
                continue
            file.seek(row["warc_offset"])
            assert next(iter(ArchiveIterator(file))).rec_headers.get_header("WARC-Target-URI") == row["url"]


def test_visits_that_are_made_again_are_in_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenprobe.engine.crawlvisits.FIRST_PAUSE", 0.0)
    monkeypatch.setattr("greenprobe.engine.politeness.FIRST_GAP", 0.0)
    out, warc = tmp_path / "out", tmp_path / "crawl.warc.gz"
    answers = [ok(b"too soon", status="503 No"), ok(b"still", status="503 No"), ok(b"there", HTML)]
    with web_server(lambda path: ok(b"") if path == "/robots.txt" else answers.pop(0)) as port:
        assert run(cli, ["crawl", f"http://127.0.0.1:{port}", "-o", str(out), "--warc", str(warc)]) == 0
    bodies = [body for kind, url, body in records(warc) if kind == "response" and not url.endswith("robots.txt")]
    assert bodies == [b"too soon", b"still", b"there"]
    with warc.open("rb") as file:
        file.seek(rows(out)[0]["warc_offset"])
        assert next(iter(ArchiveIterator(file))).content_stream().read() == b"there"


def test_an_archive_goes_on_where_the_state_is(site: str, tmp_path: Path) -> None:
    words = ["crawl", site, "-o", str(tmp_path / "out"), "--state", str(tmp_path / "state")]
    words += ["--warc", str(tmp_path / "crawl.warc.gz")]
    assert run(cli, [*words, "--max-pages", "3"]) == 0
    with (tmp_path / "crawl.warc.gz").open("ab") as file:
        file.write(b"what a crash left behind")
    assert run(cli, words) == 0
    urls = [url.removeprefix(site) for kind, url, _ in records(tmp_path / "crawl.warc.gz") if kind == "response"]
    assert sorted(url for url in urls if url != "/robots.txt") == sorted(PATHS)


# -- --sqlite


def query(path: Path, statement: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def test_a_database_can_be_asked_for_broken_links(site: str, tmp_path: Path) -> None:
    base = tmp_path / "crawl.db"
    assert run(cli, ["crawl", site, "-o", str(tmp_path / "out"), "--sqlite", str(base)]) == 0
    assert {url.removeprefix(site) for (url,) in query(base, "SELECT url FROM page")} == PATHS
    broken = query(base, "SELECT source FROM link JOIN page ON link.target = page.url WHERE page.status >= 400")
    assert sorted(source.removeprefix(site) for (source,) in broken) == ["/", "/p1", "/p2", "/p3"]
    ((row,),) = query(base, f"SELECT row FROM page WHERE url = '{site}/'")
    assert json.loads(row)["title"] == "home"


def test_each_link_of_a_database_has_what_its_target_answered(site: str, tmp_path: Path) -> None:
    base = tmp_path / "crawl.db"
    words = ["crawl", site, "-o", str(tmp_path / "out"), "--state", str(tmp_path / "state"), "--sqlite", str(base)]
    assert run(cli, [*words, "--max-pages", "1"]) == 0
    assert {status for (status,) in query(base, "SELECT status FROM link")} == {None}
    assert run(cli, words) == 0
    found = query(base, "SELECT DISTINCT target, status FROM link")
    assert {target.removeprefix(site): status for target, status in found} == {
        "/old": 301, "/gone": 404, "/picture": 200, "/p1": 200, "/p2": 200, "/p3": 200
    }  # fmt: skip
    broken = query(base, "SELECT source FROM link WHERE status >= 400")
    assert sorted(source.removeprefix(site) for (source,) in broken) == ["/", "/p1", "/p2", "/p3"]


def test_a_database_goes_on_where_the_state_is(site: str, tmp_path: Path) -> None:
    base = tmp_path / "crawl.db"
    words = ["crawl", site, "-o", str(tmp_path / "out"), "--state", str(tmp_path / "state"), "--sqlite", str(base)]
    assert run(cli, [*words, "--max-pages", "3"]) == 0
    connection = sqlite3.connect(base)
    connection.execute("INSERT INTO page (url, row) VALUES ('what a crash left behind', '')")
    connection.execute("INSERT INTO link (source, target) VALUES ('a', 'b')")
    connection.commit()
    connection.close()
    assert run(cli, words) == 0
    assert sorted(url.removeprefix(site) for (url,) in query(base, "SELECT url FROM page")) == sorted(PATHS)
    assert query(base, "SELECT count(*) FROM link WHERE source = 'a'") == [(0,)]


def test_a_database_that_is_there_is_not_written_over(
    site: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["crawl", site, "-o", str(tmp_path / "out"), "--sqlite", str(tmp_path / "crawl.db")]
    assert run(cli, words) == 0
    assert run(cli, words) == 1
    assert "has a crawl in it already" in capfd.readouterr().err
    (tmp_path / "text").write_text("no database, and long enough to tell" * 100)
    assert run(cli, [*words[:-1], str(tmp_path / "text")]) == 1
    assert (tmp_path / "text").read_text().startswith("no database")


# -- files


@pytest.mark.parametrize(
    ("first", "second"), [("-o", "--links"), ("-o", "--state"), ("--links", "--graph"), ("--warc", "--sqlite")]
)
def test_two_outputs_in_one_file_are_refused_before_anything_is_touched(
    tmp_path: Path, first: str, second: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "same.csv"
    path.write_text("kept")
    (tmp_path / "alias.csv").symlink_to(path)
    assert run(cli, ["crawl", "http://127.0.0.1:1/", first, str(path), second, str(tmp_path / "alias.csv")]) == 2
    assert "are the same file" in capfd.readouterr().err
    assert path.read_text() == "kept"


def test_a_state_that_was_begun_before_an_output_was_known_goes_on_without_it(site: str, tmp_path: Path) -> None:
    state, out = tmp_path / "state", tmp_path / "out"
    words = ["crawl", site, "-o", str(out), "--state", str(state)]
    assert run(cli, [*words, "--max-pages", "2"]) == 0
    frontier = SqliteFrontier(str(state))
    mark = json.loads(frontier.mark)
    for name in ("graph", "warc", "sqlite"):
        del mark["of"][name]
    frontier.commit(json.dumps(mark))
    frontier.close()
    assert run(cli, words) == 0
    assert sorted(row["url"].removeprefix(site) for row in rows(out)) == sorted(PATHS)


def test_results_that_are_shorter_than_the_state_says_are_not_gone_on_with(
    site: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["crawl", site, "-o", str(out), "--state", str(tmp_path / "state")]
    assert run(cli, [*words, "--max-pages", "3"]) == 0
    os.truncate(out, 10)
    assert run(cli, words) == 1
    assert "shorter than the state says" in capfd.readouterr().err
    assert out.stat().st_size == 10


# -- which bodies are taken


def test_only_wanted_media_types_are_taken_and_the_others_told(site: str, tmp_path: Path) -> None:
    assert run(cli, ["crawl", site, "-o", str(tmp_path / "out"), "--content-type", "text/html"]) == 0
    found = {row["url"].removeprefix(site): row for row in rows(tmp_path / "out")}
    assert found.keys() == PATHS
    assert (found["/picture"]["skipped"], found["/picture"]["status"]) == ("content type", 200)
    assert found["/picture"]["error"] is None
    assert found["/"]["skipped"] is None


def test_a_media_type_can_have_a_bound_of_its_own(site: str, tmp_path: Path) -> None:
    assert run(cli, ["crawl", site, "-o", str(tmp_path / "out"), "--max-type-body", "image/*", "100"]) == 0
    found = {row["url"].removeprefix(site): row for row in rows(tmp_path / "out")}
    assert found["/picture"]["error"]["class"] == "BodyTooLarge"
    assert found["/"]["error"] is None


def test_a_media_type_that_is_none_is_one_clear_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["crawl", "http://127.0.0.1:1/", "--content-type", "html"]) == 2
    assert "'html' is no media type; write text/html" in capfd.readouterr().err


# -- keys


@pytest.mark.slow
def test_keys_pause_go_on_and_end_a_crawl(tmp_path: Path) -> None:
    """Slow: a process on a pseudo-terminal that crawls for as long as it is let."""

    def endless(path: str) -> bytes:
        if path == "/robots.txt":
            return ok(status="404 Not Found")
        number = int(path[1:] or 0)
        word = "".join(chr(97 + int(digit)) for digit in str(number))
        return ok(f"<p>{word} {word * 9}</p><a href=/{number + 1}>x</a>".encode(), HTML)

    out = tmp_path / "out"
    with web_server(endless) as port:
        words = ["crawl", f"http://127.0.0.1:{port}/", "-o", str(out), "--state", str(tmp_path / "state")]
        child, master = pty.fork()
        if child == 0:
            os.execv(sys.executable, [sys.executable, "-m", "greenprobe", *words, "--progress", "off"])
        try:
            wait_until(lambda: out.exists() and out.stat().st_size > 0, "results")
            press(master, b"p", b"paused; g goes on")
            press(master, b" ", b"in flight")
            press(master, b" ", b"0 in flight")
            before = out.stat().st_size
            press(master, b"g", b"going on")
            wait_until(lambda: out.stat().st_size > before, "more results")
            press(master, b"q", b"ending when")
        finally:
            _, status = os.waitpid(child, 0)
            os.close(master)
    assert status == 0
    frontier = SqliteFrontier(str(tmp_path / "state"))
    assert frontier.statistics().done == len(rows(out))
    assert orjson.loads(frontier.mark)["lengths"]["output"] == out.stat().st_size
    frontier.close()


def press(master: int, key: bytes, answer: bytes) -> None:
    """Press a key, and again, until what is said has the answer in it."""
    seen = b""
    while answer not in seen:
        os.write(master, key)
        seen += os.read(master, 4096)
