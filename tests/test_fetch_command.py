"""`greenprobe fetch` as somebody types it: words in, lines and an exit code out."""

import csv
import io
import json
import os
import signal
import sqlite3
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from fakes import ok, recording_server, web_server
from killing import Killer
from warcio.archiveiterator import ArchiveIterator

from greenprobe.cli import cli, run
from greenprobe.commands.fetch import fetch
from greenprobe.commands.fetch_plan import ENDS, PARTS, choice_of, client_options, plan_of

PAGES = {
    "/": ok(b"hello", "Content-Type: text/html", "X-Formula: =1"),
    "/moved": ok(b"", "Location: /", status="301 Moved"),
    "/gone": ok(b"no", status="404 Not Found"),
    "/empty": b"",
    "/favicon.ico": ok(b"an icon"),
}


@pytest.fixture
def port() -> Iterator[int]:
    """A port of 127.0.0.1 where PAGES are served."""
    with web_server(PAGES.__getitem__) as port:
        yield port


@pytest.fixture
def urls(tmp_path: Path, port: int) -> Path:
    """A list with a line of each kind."""
    path = tmp_path / "urls.txt"
    site = f"http://127.0.0.1:{port}"
    path.write_text(f"{site}/\nno url\n\n{site}/moved\n{site}/gone\n")
    return path


def rows(text: str) -> dict[int, dict[str, Any]]:
    found = [json.loads(line) for line in text.splitlines()]
    return {row["line"]: row for row in found}


def test_every_line_becomes_a_json_line(urls: Path, port: int, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["fetch", str(urls), "--fail"]) == 1
    out, err = capfd.readouterr()
    found = rows(out)
    assert sorted(found) == [1, 2, 4, 5]
    assert {line: row["status"] for line, row in found.items()} == {1: 200, 2: None, 4: 200, 5: 404}
    assert (found[1]["bytes"], found[1]["content_type"]) == (5, "text/html")
    assert found[1]["headers"]["x-formula"] == ["=1"]
    message = "'http://no url' has a space or control character in it; write %20 for it"
    assert found[2]["error"] == {"class": "UrlError", "message": message}
    assert found[4]["final_url"] == f"http://127.0.0.1:{port}/"
    assert found[4]["redirects"] == [{"status": 301, "url": f"http://127.0.0.1:{port}/moved"}]
    assert list(found[1]["elapsed"]) == ["dns", "connect", "tls", "first_byte", "total"]
    assert err.startswith("4 URLs in ")
    assert err.endswith(": 2 2xx, 1 4xx, 1 failed, 12 bytes\n")


def test_a_list_that_goes_round_over_many_hosts_opens_one_connection_to_each(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with web_server(PAGES.__getitem__, address="0.0.0.0") as port:  # all of 127.0.0.0/8
        lap = "".join(f"http://127.0.1.{n}:{port}/\n" for n in range(1, 31))
        (tmp_path / "urls").write_text(3 * lap)
        assert run(cli, ["fetch", str(tmp_path / "urls"), "-c", "8", "--per-host", "1", "--fail"]) == 0
    found = rows(capfd.readouterr().out)
    assert sum(row["elapsed"]["connect"] is not None for row in found.values()) == 30


def test_all_answered_is_exit_code_0(port: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "urls").write_text(f"http://127.0.0.1:{port}/gone\n")
    assert run(cli, ["fetch", str(tmp_path / "urls")]) == 0


def test_an_empty_list_is_no_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "urls").write_text("\n")
    assert run(cli, ["fetch", str(tmp_path / "urls")]) == 0
    assert capfd.readouterr().out == ""


def test_csv_has_a_heading_and_no_formulas(urls: Path, capfd: pytest.CaptureFixture[str]) -> None:
    urls.write_text("=cmd|calc\n")
    run(cli, ["fetch", str(urls), "--format", "csv"])
    (row,) = csv.DictReader(capfd.readouterr().out.splitlines())
    assert (row["line"], row["url"], row["error"]) == ("1", "'=cmd|calc", "UrlError")


def test_text_is_for_reading(urls: Path, capfd: pytest.CaptureFixture[str]) -> None:
    urls.write_text("http://h/\x1b[2J\n")
    run(cli, ["fetch", str(urls), "--format", "text"])
    out = capfd.readouterr().out
    assert out.startswith("status        bytes   seconds  url")
    assert "\x1b" not in out


def test_results_go_to_a_file(urls: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run(cli, ["fetch", str(urls), "-o", str(tmp_path / "out")])
    assert capfd.readouterr().out == ""
    assert sorted(rows((tmp_path / "out").read_text())) == [1, 2, 4, 5]


def test_failures_have_a_class_and_a_message(port: int, urls: Path, capfd: pytest.CaptureFixture[str]) -> None:
    urls.write_text(f"http://127.0.0.1:{port}/empty\nhttp://127.0.0.1:{port}/moved\n")
    run(cli, ["fetch", str(urls), "--max-redirects", "0"])
    found = rows(capfd.readouterr().out)
    assert {line: row["error"]["class"] for line, row in found.items()} == {1: "EmptyReply", 2: "RedirectError"}


def test_a_name_is_looked_up(port: int, urls: Path, capfd: pytest.CaptureFixture[str]) -> None:
    urls.write_text(f"http://localhost:{port}/\n")
    assert run(cli, ["fetch", str(urls)]) == 0
    (row,) = rows(capfd.readouterr().out).values()
    assert row["elapsed"]["dns"] >= 0


def test_tls_is_verified_unless_told_otherwise(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with web_server(PAGES.__getitem__, context=context) as port:
        (tmp_path / "urls").write_text(f"https://127.0.0.1:{port}/\n")
        codes = [
            run(cli, ["fetch", str(tmp_path / "urls"), "--fail", *words])
            for words in ([], ["--insecure"], ["--ca-file", str(tmp_path / "ca.pem")])
        ]
    assert codes == [1, 0, 0]
    first, *others = map(json.loads, capfd.readouterr().out.splitlines())
    assert first["error"]["class"] == "TlsError"
    assert all(row["elapsed"]["tls"] > 0 for row in others)


def test_a_certificate_says_the_same_of_itself_verified_or_not(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    authority = trustme.CA(organization_name="An Authority")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    issued = authority.issue_cert("127.0.0.1", "a.test", "*.b.test", "me@c.test", common_name="d.test")
    issued.configure_cert(context)
    with web_server(PAGES.__getitem__, context=context) as port:
        for words in (["--ca-file", str(tmp_path / "ca.pem")], ["--insecure"]):
            run(cli, ["fetch", f"https://127.0.0.1:{port}/", "--tls-facts", "--fields", "tls.certificate", *words])
    verified, unverified = map(json.loads, capfd.readouterr().out.splitlines())
    assert verified == unverified
    assert set(verified["tls.certificate"]["names"]) == {"127.0.0.1", "a.test", "*.b.test", "me@c.test"}
    assert verified["tls.certificate"]["subject"].endswith("commonName=d.test")
    assert "organizationName=An Authority" in verified["tls.certificate"]["issuer"]


@pytest.mark.parametrize(
    ("words", "message"),
    (
        (["none.txt"], "no such file: 'none.txt'"),
        (["."], "is a directory"),
        (["URLS", "--concurrency", "0"], "0 is not in the range"),
        (["URLS", "--timeout", "0"], "0.0 is not in the range"),
        (["URLS", "--timeout", "nan"], "'nan' is no finite number"),
        (["URLS", "--delay", "inf"], "'inf' is no finite number"),
        (["URLS", "--format", "xml"], "'xml' is not one of"),
        (["URLS", "--ca-file", "none.pem"], "does not exist"),
        ([], "Missing argument 'URLS'"),
    ),
)
def test_wrong_words_are_exit_code_2(
    words: list[str], message: str, urls: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(cli, ["fetch", *(str(urls) if word == "URLS" else word for word in words)]) == 2
    assert message in capfd.readouterr().err


def test_output_must_not_be_the_input(urls: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = urls.read_text()
    assert run(cli, ["fetch", str(urls), "-o", str(urls)]) == 2
    assert capfd.readouterr().err.endswith(f"Error: {urls} is the input too; write the results to another file\n")
    assert urls.read_text() == before


def test_files_that_do_not_hold_our_certificate_are_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ours = trustme.CA().issue_cert("me@example.test")
    ours.cert_chain_pems[0].write_to_path(str(cert := tmp_path / "cert.pem"))
    trustme.CA().issue_cert("other@example.test").private_key_pem.write_to_path(str(other := tmp_path / "other.pem"))
    key = load_pem_private_key(ours.private_key_pem.bytes(), None)
    locked = BestAvailableEncryption(b"secret")
    (secret := tmp_path / "secret.pem").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption_algorithm=locked)
    )
    faults = {
        (): f"--cert {cert}: no certificate in it, or no key",
        ("--key", str(other)): f"--cert {cert} and {other}: the key is not the certificate's",
        ("--key", str(secret)): f"--cert {cert} and {secret}: the key is encrypted; decrypt it",
    }
    for words, message in faults.items():
        assert run(cli, ["fetch", "https://127.0.0.1:1/", "--cert", str(cert), *words]) == 2
        assert message in capfd.readouterr().err


def test_every_field_that_a_row_may_have_can_be_named(urls: Path, tmp_path: Path) -> None:
    words = ["--facts", "all", "--favicon", "--save", str(tmp_path / "bodies"), "--warc", str(tmp_path / "warc")]
    assert run(cli, ["fetch", str(urls), "-o", str(tmp_path / "out"), *words]) == 0
    found = {name for row in rows((tmp_path / "out").read_text()).values() for name in row}
    assert found == {*ENDS, *PARTS} - {"input", "tls", "not_modified"}
    documented = (Path(__file__).parent.parent / "docs" / "fetch-records.md").read_text()
    assert all(f"`{name}`" in documented for name in (*ENDS, *PARTS))


# -- lists


def test_urls_may_be_given_as_words(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["fetch", f"http://127.0.0.1:{port}/", f"http://127.0.0.1:{port}/gone"]) == 0
    assert {row["status"] for row in rows(capfd.readouterr().out).values()} == {200, 404}


def test_hosts_without_a_scheme_get_one(port: int, urls: Path, capfd: pytest.CaptureFixture[str]) -> None:
    urls.write_text(f"127.0.0.1:{port}/gone\n127.0.0.1:{port}\n")
    run(cli, ["fetch", str(urls)])
    assert {row["status"] for row in rows(capfd.readouterr().out).values()} == {200, 404}


def test_columns_of_the_list_come_along(port: int, urls: Path, capfd: pytest.CaptureFixture[str]) -> None:
    urls.write_text(f"id,link\n7,http://127.0.0.1:{port}/\n8,nowhere at all\n")
    run(cli, ["fetch", str(urls), "--input-format", "csv", "--url-column", "link"])
    found = rows(capfd.readouterr().out)
    assert {line: row["input"] for line, row in found.items()} == {2: {"id": "7"}, 3: {"id": "8"}}


@pytest.mark.parametrize("processes", ("1", pytest.param("2", marks=pytest.mark.slow)))
def test_a_row_without_a_url_says_what_is_wrong_with_it(
    port: int, urls: Path, capfd: pytest.CaptureFixture[str], processes: str
) -> None:
    """With two processes it starts them: 0.5 s."""
    urls.write_text(f'{{"url": "http://127.0.0.1:{port}/"}}\n{{"id": 7}}\n{{"id": 8}}\n')
    words = ["fetch", str(urls), "--input-format", "jsonl", "--unique", "--processes", processes]
    assert run(cli, words) == 0
    found = rows(capfd.readouterr().out)
    assert {line: row["status"] for line, row in found.items()} == {1: 200, 2: None, 3: None}
    assert found[3]["input"] == {"id": 8}
    assert found[3]["error"] == {"class": "UrlError", "message": "line 3 has no column 'url'; it has id"}


def test_a_mistyped_list_is_no_host(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["fetch", "no-such-list"]) == 2
    said = capfd.readouterr()
    assert said.out == ""
    assert "no such file: 'no-such-list'; if it is a host, write http://no-such-list, or -- before it" in said.err


def test_a_body_may_come_from_standard_input(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    seen: list[bytes] = []
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a=\xff")))
    with recording_server(seen) as port:
        assert run(cli, ["fetch", "-d", "@-", f"http://127.0.0.1:{port}/", "--fail"]) == 0
    assert seen[0].endswith(b"\r\n\r\na=\xff")
    assert run(cli, ["fetch", "-d", "@-", "-"]) == 2
    assert "standard input is the list already" in capfd.readouterr().err


def test_templates_are_expanded(port: int, urls: Path, capfd: pytest.CaptureFixture[str]) -> None:
    urls.write_text(f"http://127.0.0.1:{port}/{{gone,moved}}\n")
    run(cli, ["fetch", str(urls)])
    found = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert {(row["line"], row["status"]) for row in found} == {(1, 404), (1, 200)}


# -- requests


def test_a_request_is_what_the_words_say(capfd: pytest.CaptureFixture[str]) -> None:
    seen: list[bytes] = []
    with recording_server(seen) as port:
        words = ["-X", "put", "-H", "X-A: b", "-d", "body", "--user", "u:secret", "--user-agent", "me"]
        assert run(cli, ["fetch", f"http://127.0.0.1:{port}/p", *words]) == 0
    request = seen[0].decode()
    assert request.startswith("PUT /p HTTP/1.1\r\n")
    for line in ("User-Agent: me", "X-A: b", "Authorization: Basic dTpzZWNyZXQ=", "Content-Length: 4"):
        assert f"\r\n{line}\r\n" in request
    assert request.endswith("\r\n\r\nbody")
    assert "secret" not in "".join(capfd.readouterr())


def test_passwords_in_urls_are_in_no_output(port: int, urls: Path, capfd: pytest.CaptureFixture[str]) -> None:
    urls.write_text(f"http://user:secret@127.0.0.1:{port}/moved\nhttp://user:secret@[::/\n")
    run(cli, ["fetch", str(urls)])
    out, err = capfd.readouterr()
    assert "secret" not in out + err
    assert "http://***@127.0.0.1" in out


def test_private_addresses_can_be_refused(urls: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["fetch", str(urls), "--no-private", "--fail"]) == 1
    assert rows(capfd.readouterr().out)[1]["error"]["class"] == "ForbiddenAddress"


@pytest.mark.slow
def test_what_fails_is_tried_again(capfd: pytest.CaptureFixture[str]) -> None:
    """Slow: the first pause is between a quarter and half a second."""
    answers = [ok(status="503 No"), ok(b"in")]
    with web_server(lambda _: answers.pop(0)) as port:
        run(cli, ["fetch", f"http://127.0.0.1:{port}/", "--retries", "1"])
    (row,) = rows(capfd.readouterr().out).values()
    assert (row["status"], row["attempts"]) == (200, 2)


# -- what is found, and where it goes

TITLED = ok(b"<title>Hi \x1b[2J</title> a b", "Content-Type: text/html", "Server: nginx")


def test_facts_of_bodies_are_fields(capfd: pytest.CaptureFixture[str]) -> None:
    with web_server(lambda _: TITLED) as port:
        run(cli, ["fetch", f"http://127.0.0.1:{port}/", "--facts", "all", "--favicon"])
    (row,) = rows(capfd.readouterr().out).values()
    assert row["facts"]["title"] == "Hi \x1b[2J"
    assert row["facts"]["tech"] == ["nginx"]
    assert len(row["facts"]["sha256"]) == 64
    assert isinstance(row["favicon"], int)


def test_a_favicon_is_asked_for_once_however_many_come_for_it_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    pages, asked = threading.Semaphore(0), []

    def respond(path: str) -> bytes:
        if path != "/favicon.ico":
            pages.release()
            return ok()
        asked.append(path)
        for _ in range(6):  # an icon is not answered before all pages are
            pages.acquire(timeout=5)
        return ok(b"x")

    with web_server(respond) as port:
        assert run(cli, ["fetch", f"http://127.0.0.1:{port}/{{1..6}}", "--favicon"]) == 0
    assert len({row["favicon"] for row in rows(capfd.readouterr().out).values()} - {None}) == 1
    assert len(asked) == 1


def test_only_what_is_wanted_is_written(urls: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run(cli, ["fetch", str(urls), "--match", "status=200", "--filter", "body~^nothing$"])
    assert sorted(rows(capfd.readouterr().out)) == [1, 4]


def test_fields_are_columns(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    run(cli, ["fetch", f"http://127.0.0.1:{port}/", "--fields", "status,elapsed.total,headers.x-formula,error"])
    (row,) = map(json.loads, capfd.readouterr().out.splitlines())
    assert list(row) == ["status", "elapsed.total", "headers.x-formula", "error"]
    assert (row["status"], row["headers.x-formula"], row["error"]) == (200, ["=1"], None)


def test_bodies_are_saved(urls: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run(cli, ["fetch", str(urls), "--save", str(tmp_path / "bodies")])
    found = rows(capfd.readouterr().out)
    assert (tmp_path / "bodies" / found[1]["file"]).read_bytes() == b"hello"
    assert not list((tmp_path / "bodies").rglob(".part*"))


def test_sqlite_has_a_row_for_each(urls: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "out.sqlite"
    run(cli, ["fetch", str(urls), "--sqlite", str(path)])
    with closing(sqlite3.connect(path)) as database:
        found = database.execute(
            "SELECT line, status, json_extract(row, '$.bytes') FROM results ORDER BY line"
        ).fetchall()
    assert found == [(1, 200, 5), (2, None, 0), (4, 200, 5), (5, 404, 2)]
    assert run(cli, ["fetch", str(urls), "--sqlite", str(path)]) == 1
    assert "has results in it already" in capfd.readouterr().err


def test_the_summary_is_json(urls: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run(cli, ["fetch", str(urls), "--summary", str(tmp_path / "summary.json")])
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["urls"], summary["statuses"]) == (4, {"200": 2, "404": 1})
    assert summary["errors"]["UrlError"]["count"] == 1
    assert summary["timings"]["total"]["count"] == 4


def test_facts_have_short_names_as_columns(urls: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run(cli, ["fetch", str(urls), "--facts", "words", "--match", "status=200", "--fields", "status,words"])
    assert capfd.readouterr().out.splitlines() == ['{"status":200,"words":1}'] * 2


def test_a_folder_that_cannot_be_made_is_one_line(urls: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["fetch", str(urls), "--save", "/proc/none"]) == 1
    assert "cannot write to /proc/none: " in capfd.readouterr().err


def test_hosts_that_were_quick_are_known_when_they_are_to_be_adapted_to() -> None:
    context = fetch.make_context("fetch", ["u", "--adapt"])
    words = dict(context.params)
    pace = plan_of(words, client_options(words), choice_of(words)).pace
    assert pace is not None
    assert pace.knows_all


@pytest.mark.parametrize(
    ("words", "message"),
    (
        (["--match", "status"], "is no condition"),
        (["--facts", "colour"], "'colour' is unknown"),
        (["--proxy", "ftp://u:secret@h"], "has the scheme 'ftp'"),
        (["-H", "a b: c"], "is no name that a header may have"),
        (["-H", "a: b\nc: d"], "line break"),
        (["--pin", "x"], "is no SHA-256"),
        (["--data", "@none"], "No such file"),
        (["--state", "s"], "--state needs the results in a file"),
        (["--rate", "0"], "0.0 is not in the range"),
        (["--cookie-jar", "/dev/full"], "--cookie-jar /dev/full is no file that could be read and replaced"),
    ),
)
def test_words_that_cannot_be_are_one_line_and_exit_code_2(
    words: list[str], message: str, urls: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(urls.parent)
    assert run(cli, ["fetch", str(urls), *words]) == 2
    err = capfd.readouterr().err
    assert message in err
    assert "secret" not in err


# -- going on


def test_a_finished_run_has_nothing_left_to_do(urls: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["fetch", str(urls), "-o", str(tmp_path / "out"), "--state", str(tmp_path / "state")]
    run(cli, words)
    before = (tmp_path / "out").read_bytes()
    run(cli, words)
    assert (tmp_path / "out").read_bytes() == before
    assert "4 URLs are done already" in capfd.readouterr().err


def test_a_list_that_grew_is_gone_on_with(urls: Path, tmp_path: Path, port: int) -> None:
    words = ["fetch", str(urls), "-o", str(tmp_path / "out"), "--state", str(tmp_path / "state")]
    run(cli, words)
    with urls.open("a") as file:
        file.write(f"http://127.0.0.1:{port}/gone\n")
    run(cli, words)
    assert sorted(rows((tmp_path / "out").read_text())) == [1, 2, 4, 5, 6]


def test_another_list_is_refused(urls: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["fetch", str(urls), "-o", str(tmp_path / "out"), "--state", str(tmp_path / "state")]
    run(cli, words)
    urls.write_text("http://127.0.0.1:1/\n")
    assert run(cli, words) == 2
    assert "has changed since" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_kill_9_at_any_moment_leaves_every_url_exactly_once(tmp_path: Path, seed: int) -> None:
    """Slow: processes that are killed and started again until the list is done."""
    count = 6000
    killer = Killer(lambda path: ok(path.encode()), seed)
    with web_server(killer.respond) as port:
        (tmp_path / "urls").write_text("".join(f"http://127.0.0.1:{port}/{n}\n" for n in range(count)))
        words = ["urls", "-o", "out", "--state", "state", "--warc", "w.gz", "--sqlite", "db", "-c", "20"]
        for _ in range(4):
            with process(*words, cwd=tmp_path) as child:
                killer.aim(child, count // 4)
                child.communicate()
        child = process(*words, cwd=tmp_path)
        _, err = child.communicate()
    assert child.returncode == 0, err
    assert killer.kills == 4
    found = sorted(json.loads(line)["line"] for line in (tmp_path / "out").read_text().splitlines())
    assert found == list(range(1, count + 1))
    with (tmp_path / "w.gz").open("rb") as file:
        archived = [r.content_stream().read() for r in ArchiveIterator(file) if r.rec_type == "response"]
    assert len(archived) == len(set(archived)) == count
    with closing(sqlite3.connect(tmp_path / "db")) as database:
        assert database.execute("SELECT count(*), min(line), max(line) FROM results").fetchone() == (count, 1, count)


# -- as a process


def process(*words: str, **options: Any) -> "subprocess.Popen[str]":
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.Popen(
        [sys.executable, "-m", "greenprobe", "fetch", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
        **options,
    )


@pytest.mark.slow
def test_ctrl_c_writes_what_is_finished_and_says_how_many_are_not(port: int) -> None:
    """Slow: starts an interpreter."""
    with process("-", "-c", "3", stdin=subprocess.PIPE) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.write(f"http://127.0.0.1:{port}/\n" * 5)
        running.stdin.flush()
        lines = [running.stdout.readline() for _ in range(5)]  # a live pipe sees its lines soon
        running.send_signal(signal.SIGINT)
        code = running.wait(timeout=20)  # with its standard input still open
        out, err = running.communicate()
    assert [json.loads(line)["status"] for line in [*lines, *out.splitlines()]] == [200] * 5
    assert "5 URLs in " in err
    assert "the list was not read to its end" in err
    assert "Traceback" not in err
    assert code == 130


@pytest.mark.slow
def test_ctrl_c_counts_the_rest_of_a_file(tmp_path: Path) -> None:
    """Slow: starts an interpreter."""
    with web_server(lambda path: ok(b"x" * 10)[:-5]) as silent:
        (tmp_path / "urls").write_text(f"http://127.0.0.1:{silent}/\n" * 100)
        with process(str(tmp_path / "urls"), "-c", "2") as running:
            assert running.stderr is not None
            wait_for_connections(running.pid, 2)
            running.send_signal(signal.SIGINT)
            _, err = running.communicate(timeout=20)
    assert "100 URLs are not finished" in err
    assert running.returncode == 130


def wait_for_connections(pid: int, count: int) -> None:
    """Wait until a process has so many sockets: its state, not a time, says that it is under way."""
    while True:
        links = []
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                links.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
            except OSError:
                pass  # closed meanwhile
        if sum(link.startswith("socket:") for link in links) >= count:
            return


@pytest.mark.slow
def test_a_reader_that_leaves_ends_the_run_with_one_line(port: int, tmp_path: Path) -> None:
    """Slow: starts an interpreter."""
    (tmp_path / "urls").write_text(f"http://127.0.0.1:{port}/\n" * 20_000)
    with process(str(tmp_path / "urls")) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()
        running.stdout.close()
        err = running.stderr.read()
        code = running.wait(timeout=20)
    assert err.splitlines()[-1] == "Error: cannot write to standard output: Broken pipe"
    assert "Traceback" not in err
    assert code == 1
