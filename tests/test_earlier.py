"""Asking only for what has changed, once for each URL, with the cookies of the last run."""

import json
from pathlib import Path
from typing import Any

import pytest
from fakes import ok, recording_server, web_server

from greenprobe.cli import cli, run
from greenprobe.engine.earlier import EarlierResults
from greenprobe.engine.repeats import Repeats
from greenprobe.errors import LocalProtocolError
from greenprobe.http.client import Client
from greenprobe.http.conditional import revalidation
from greenprobe.http.cookies import Cookie, CookieJar, cookies_txt, read_cookies_txt, site_of
from greenprobe.hub import Hub

DATE = "Wed, 21 Oct 2015 07:28:00 GMT"


def fetch(tmp_path: Path, text: str, *words: str, fails: int = 0) -> list[dict[str, Any]]:
    """Fetch a list and return the rows, by line."""
    (tmp_path / "urls").write_text(text)
    out = tmp_path / "rows"
    out.unlink(missing_ok=True)
    assert run(cli, ["fetch", str(tmp_path / "urls"), "-o", str(out), "-c", "1", *words]) == fails
    lines = out.read_text().splitlines() if out.exists() else []
    return sorted(map(json.loads, lines), key=lambda row: row["line"])


# -- conditional requests


def test_validators_become_conditions() -> None:
    headers = {"etag": ('W/"a"', "b"), "last-modified": (DATE,), "date": (DATE,)}
    assert revalidation(headers) == (("If-None-Match", 'W/"a"'), ("If-Modified-Since", DATE))
    assert revalidation({}) == revalidation({"etag": ("",)}) == revalidation({"etag": ("x" * 5000,)}) == ()
    with pytest.raises(LocalProtocolError):
        revalidation({"etag": ("a\r\nX: y",)})


def test_a_script_asks_again_with_what_it_knows(hub: Hub) -> None:
    seen: list[bytes] = []
    with recording_server(seen) as port, Client() as client:
        client.get(f"http://127.0.0.1:{port}/", headers=revalidation({"etag": ('"1"',)}))
    assert b'\r\nIf-None-Match: "1"\r\n' in seen[0]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "earlier"


def write_rows(path: Path, *rows: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def row_of(url: str, status: int | None = 200, **headers: str) -> dict[str, Any]:
    found = {name.replace("_", "-"): [value] for name, value in headers.items()}
    return {"url": url, "status": status, "error": None, "headers": found}


def test_earlier_results_are_found_by_url_and_the_last_counts(results: Path) -> None:
    write_rows(results, row_of("a", etag='"1"'), row_of("b", 404, etag='"2"'), row_of("c"), row_of("a", etag='"3"'))
    with results.open("a") as file:
        file.write('no row\n[]\n{"url": 5}\n{"url": "cut')
    earlier = EarlierResults(str(results))
    assert len(earlier) == 3
    assert earlier.revalidation("a") == (("If-None-Match", '"3"'),)
    assert [earlier.revalidation(url) for url in ("b", "c", "d", "")] == [()] * 4
    row = earlier.row("b")
    assert row is not None
    assert row["status"] == 404


@pytest.mark.parametrize("headers", ([], {"etag": []}, {"etag": 5}, {"etag": ["a\nb"]}, {"etag": [None]}, None))
def test_results_that_somebody_wrote_by_hand_do_no_harm(results: Path, headers: Any) -> None:
    write_rows(results, {"url": "a", "status": 200, "error": None, "headers": headers})
    assert EarlierResults(str(results)).revalidation("a") == ()


def test_what_has_not_changed_is_recorded_as_such(tmp_path: Path, results: Path) -> None:
    seen: list[bytes] = []
    not_modified = b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\nConnection: close\r\n\r\n'
    with recording_server(seen, not_modified) as port:
        url = f"http://127.0.0.1:{port}/"
        write_rows(results, row_of(url, etag='"1"', last_modified=DATE))
        words = ("--since", str(results), "--facts", "title,sha256", "--save", str(tmp_path / "bodies"))
        (row,) = fetch(tmp_path, url, *words)
    assert f'If-None-Match: "1"\r\nIf-Modified-Since: {DATE}\r\n'.encode() in seen[0]
    assert (row["status"], row["not_modified"], row["error"]) == (304, True, None)
    assert "facts" not in row
    assert not list((tmp_path / "bodies").rglob("*.*"))


def test_what_has_changed_is_fetched_and_what_was_never_seen_too(tmp_path: Path, results: Path) -> None:
    with web_server(lambda path: ok(b"new", 'ETag: "1"')) as port:
        urls = [f"http://127.0.0.1:{port}/{n}" for n in range(2)]
        write_rows(results, row_of(urls[0], etag='"0"'))
        first, second = fetch(tmp_path, "\n".join(urls), "--since", str(results))
    assert (first["status"], first["not_modified"]) == (200, False)
    assert "not_modified" not in second


def test_results_that_are_none_are_refused_and_never_overwritten(
    tmp_path: Path, results: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    results.write_text("url,status\n")
    fetch(tmp_path, "http://127.0.0.1:1/", "--since", str(results), fails=2)
    assert "holds no results of fetch" in capfd.readouterr().err
    write_rows(results, row_of("a"))
    run(cli, ["fetch", str(tmp_path / "urls"), "--since", str(results), "-o", str(results)])
    assert "is the input too" in capfd.readouterr().err
    assert results.stat().st_size > 0


# -- repeats


def test_one_url_in_other_words_is_a_repeat() -> None:
    lines = (
        b"h|http://H|http://h:80/|http://h/#x|http://h/a|https://h/|http://u:p@h/|no url|no url|http://h/b/../a".split(
            b"|"
        )
    )
    repeats = Repeats("http")
    said = [repeats.is_repeat(line) for line in lines]
    assert said == [False, True, True, True, False, False, False, False, True, True]
    assert repeats.count == 5


def test_a_url_is_fetched_once_also_when_the_run_goes_on(tmp_path: Path) -> None:
    with web_server(lambda path: ok(path.encode())) as port:
        site = f"http://127.0.0.1:{port}"
        words = ("--unique", "--state", str(tmp_path / "state"))
        assert [row["line"] for row in fetch(tmp_path, f"{site}/1\n{site}/2\n{site}/1\n", *words)] == [1, 2]
        urls = tmp_path / "urls"
        with urls.open("a") as file:
            file.write(f"{site}/2#x\n{site}/3\n")
        assert run(cli, ["fetch", str(urls), "-o", str(tmp_path / "rows"), "-c", "1", *words]) == 0
    rows = [json.loads(line)["line"] for line in (tmp_path / "rows").read_text().splitlines()]
    assert sorted(rows) == [1, 2, 5]


# -- cookies


def test_a_cookie_file_is_written_as_it_is_read() -> None:
    cookies = [
        Cookie("a", "1", "h.example", "/", None, False, True, True),
        Cookie("b", "\xe9=2", "example.com", "/x", 2_000_000_000.0, True, False),
        Cookie("", "nameless", "h", "/"),
    ]
    text = list(cookies_txt([*cookies, Cookie("tab", "a\tb", "h", "/")]))
    assert text[0].startswith("# Netscape")
    assert list(read_cookies_txt(text)) == cookies


def test_changes_of_one_jar_are_made_in_another() -> None:
    first, second, third = (Cookie(name, "1", "h", "/") for name in "abc")
    theirs = CookieJar([second, first._replace(value="2")])
    ours = CookieJar([first, third])
    ours.change(*theirs.changes_since([first, third]))
    assert set(ours) == {second, first._replace(value="2")}


@pytest.mark.parametrize(
    ("host", "site"),
    (("a.b.example.co.uk", "example.co.uk"), ("example.com", "example.com"), ("com", "com"), ("10.1.2.3", "10.1.2.3")),
)
def test_who_shares_cookies_is_a_site(host: str, site: str) -> None:
    assert site_of(host) == site


def test_a_jar_outlives_the_run(tmp_path: Path) -> None:
    jar = tmp_path / "jar"
    seen: list[bytes] = []
    with web_server(lambda path: ok(b"", "Set-Cookie: s=\xe9; Max-Age=1000; HttpOnly")) as port:
        fetch(tmp_path, f"http://127.0.0.1:{port}/", "--cookie-jar", str(jar))
    assert jar.stat().st_mode & 0o777 == 0o600
    assert jar.read_bytes().splitlines()[1].startswith(b"#HttpOnly_127.0.0.1\tFALSE\t/\tFALSE\t")
    with recording_server(seen) as port:
        fetch(tmp_path, f"http://127.0.0.1:{port}/", "--cookie-jar", str(jar))
    assert b"Cookie: s=\xe9\r\n" in seen[0]
    assert len(jar.read_bytes().splitlines()) == 2


def test_a_jar_that_cannot_be_written_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fetch(tmp_path, "", "--cookie-jar", str(tmp_path / "none" / "jar"), fails=1)
    assert "cannot write to" in capfd.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_processes_put_their_cookies_into_one_jar(tmp_path: Path) -> None:
    """Slow: starts processes."""
    jar = tmp_path / "jar"
    with web_server(lambda path: ok(b"", f"Set-Cookie: c{path[1:]}=v")) as port:
        urls = f"http://127.0.0.1:{port}/1\nhttp://localhost:{port}/2\n"
        fetch(tmp_path, urls, "--cookie-jar", str(jar), "--processes", "2")
    assert {cookie.name for cookie in read_cookies_txt(jar.read_text().splitlines())} == {"c1", "c2"}
