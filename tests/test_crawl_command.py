"""`greenprobe crawl` as somebody types it: on real sockets, with wrong words, Ctrl-C, a full disk, and kill -9."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import ok, web_server
from killing import Killer

from greenprobe.cli import cli, run
from greenprobe.engine.sqlite_frontier import SqliteFrontier

FORMS = ["jsonl", "text"]


def html(title: str, *hrefs: str) -> bytes:
    words = " ".join(f"{title}{letter}" for letter in "abcdefghijklmnopqrstuvwxyz")
    links = " ".join(f'<a href="{href}">x</a>' for href in hrefs)
    return ok(f"<title>{title}</title><p>{words}</p>{links}".encode(), "Content-Type: text/html")


def answer(path: str) -> bytes:
    """Serve a tree of pages, two links a page, and a few other things."""
    if path == "/robots.txt":
        return ok(b"User-agent: *\nDisallow: /private\n", "Content-Type: text/plain")
    if path == "/":
        return html("home", "/p1", "/private", "/gone", "/evil", "http://127.0.0.2:1/elsewhere")
    if path == "/evil":
        return html("\x1b[2Jevil")
    if path.startswith("/p"):
        number = int(path[2:])
        word = "".join(chr(97 + int(digit)) for digit in str(number))
        return html(f"page{word}", *[f"/p{child}" for child in (2 * number, 2 * number + 1) if child < 200])
    return ok(b"no", status="404 Not Found")


PATHS = {"/", "/private", "/gone", "/evil", *(f"/p{number}" for number in range(1, 200))}


@pytest.fixture
def site() -> Iterator[str]:
    with web_server(answer) as port:
        yield f"http://127.0.0.1:{port}"


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def crawl(*words: str, **options: Any) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "greenprobe", "crawl", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def test_every_page_becomes_a_json_line(site: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["crawl", site]) == 0
    out, err = capfd.readouterr()
    found = {row["url"].removeprefix(site): row for row in rows(out)}
    assert found.keys() == PATHS
    assert found["/private"]["skipped"] == "robots"
    assert (found["/gone"]["status"], found["/gone"]["referrer"]) == (404, site + "/")
    assert found["/p1"]["title"] == "pageb"
    assert err.startswith("202 pages in ")


def test_links_are_told_in_a_file_of_their_own(site: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["crawl", site, "--depth", "1", "--links", str(tmp_path / "links")]) == 0
    links = [row for row in rows((tmp_path / "links").read_text()) if row["from"] == site + "/"]
    verdicts = {row["to"].removeprefix(site): row["verdict"] for row in links}
    inside = dict.fromkeys(["/p1", "/private", "/gone", "/evil"], "followed")
    assert verdicts == {**inside, "http://127.0.0.2:1/elsewhere": "host"}


def test_a_scheme_that_is_not_wanted_is_not_followed(site: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["crawl", site, "--scheme", "https"]) == 0
    assert [row["url"] for row in rows(capfd.readouterr().out)] == [site + "/"]
    assert run(cli, ["crawl", site, "--scheme", "https", "--scheme", "http", "--depth", "1"]) == 0
    assert len(rows(capfd.readouterr().out)) == 5


def test_pages_that_fit_into_memory_one_at_a_time_all_come(site: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["crawl", site, "--body-memory", "1"]) == 0
    found = rows(capfd.readouterr().out)
    assert {row["url"].removeprefix(site) for row in found} == PATHS
    assert not any(row["error"] for row in found)


@pytest.mark.parametrize("form", FORMS)
def test_nothing_from_a_page_steers_a_terminal(site: str, form: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["crawl", f"{site}/evil", "--format", form]) == 0
    assert "\x1b" not in capfd.readouterr().out


WRONG = [
    (["mailto:x"], "cannot be a start"),
    (["urls.txt"], "'urls.txt' looks like a list; give URLs"),
    (["http://h/", "--include", "("], "no regular expression"),
    (["http://h/", "--within", "moon"], "moon"),
    (["http://h/", "--state", "/dev/null/x"], "/dev/null/x"),
    ([], "Missing argument"),
]


@pytest.mark.parametrize(("words", "message"), WRONG)
def test_wrong_words_get_one_clear_line(words: list[str], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["crawl", *words]) in {1, 2}
    err = capfd.readouterr().err
    assert message in err
    assert "Traceback" not in err


def test_a_state_needs_results_in_a_file(site: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["crawl", site, "--state", str(tmp_path / "state")]) == 2
    assert "add -o FILE" in capfd.readouterr().err


def test_a_state_that_was_begun_with_other_words_is_refused(
    site: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["crawl", site, "--state", str(tmp_path / "state"), "-o"]
    assert run(cli, [*words, str(tmp_path / "one"), "--max-pages", "3"]) == 0
    assert run(cli, [*words, str(tmp_path / "other")]) == 1
    assert "was begun with output" in capfd.readouterr().err


def test_a_crawl_that_has_ended_early_goes_on(site: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["crawl", site, "--state", str(tmp_path / "state"), "-o", str(tmp_path / "out")]
    assert run(cli, [*words, "--max-pages", "20"]) == 0
    assert len(rows((tmp_path / "out").read_text())) < 30
    assert run(cli, words) == 0
    found = Counter(row["url"].removeprefix(site) for row in rows((tmp_path / "out").read_text()))
    assert found == Counter(PATHS)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_is_one_clear_line(site: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["crawl", site, "-o", "/dev/full"]) == 1
    assert "No space left" in capfd.readouterr().err


def test_a_dead_server_is_a_result(capfd: pytest.CaptureFixture[str]) -> None:
    with web_server(answer) as port:
        pass
    assert run(cli, ["crawl", f"http://127.0.0.1:{port}/", "--ignore-robots", "--retries", "0"]) == 0
    (row,) = rows(capfd.readouterr().out)
    assert row["error"]["class"] == "ConnectError"


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_ends_it_soon_and_nothing_found_is_lost(number: int, code: int, tmp_path: Path) -> None:
    """Slow: a process that crawls for a while."""
    with web_server(lambda path: answer(path)) as port:
        out = tmp_path / "out"
        site = f"http://127.0.0.1:{port}"
        process = crawl(site, "--delay", "0.1", "--state", str(tmp_path / "state"), "-o", str(out))
        wait_for_lines(out, 5)
        process.send_signal(number)
        _, err = process.communicate(timeout=10)  # all of the site would take twice as long
        assert process.returncode == code
        assert b"left" in err
        frontier = SqliteFrontier(str(tmp_path / "state"))
        assert frontier.statistics().done == len(rows(out.read_text()))
        frontier.close()


def wait_for_lines(path: Path, count: int) -> None:
    """Wait until a process has written so many lines."""
    for _ in range(2000):
        if path.exists() and path.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.005)
    raise AssertionError(f"no {count} lines in {path}")


@pytest.mark.slow
def test_killed_twenty_times_each_page_is_in_the_results_once(tmp_path: Path) -> None:
    """Slow: twenty processes, each killed after some pages."""
    killer = Killer(answer, seed=1)
    with web_server(killer.respond) as port:
        site = f"http://127.0.0.1:{port}"
        out = tmp_path / "out"
        words = [site, "--per-host", "2", "--state", str(tmp_path / "state"), "-o", str(out)]
        for _ in range(20):
            with crawl(*words, "--delay", "0.001") as process:
                killer.aim(process, len(PATHS) // 20 - 1)
                process.communicate()
        last = crawl(*words)
        last.communicate(timeout=60)
        assert last.returncode == 0
    assert killer.kills == 20
    found = Counter(row["url"].removeprefix(site) for row in rows(out.read_text()))
    assert found == Counter(PATHS)
