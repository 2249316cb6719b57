"""The archive: what was on the wire, exchange by exchange, read back and checked by warcio."""

import gzip
import json
import ssl
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme
from fakes import ok, recording_server, web_server
from http2_server import Http2Server, http2_server
from warcio.archiveiterator import ArchiveIterator
from warcio.checker import Checker

from greenprobe.cli import cli, run
from greenprobe.engine.attempts import Attempts
from greenprobe.http.recorded import RecordedTrace, final_head, without_secret_lines
from greenprobe.http.retries import RetryPolicy
from greenprobe.http.urls import read_url
from greenprobe.lazy import Lazy

PACKED = gzip.compress(b"packed " * 100)
HEAD = b"HTTP/1.1 200 All  Right\r\nX-ODD:value\r\nx-Odd:  \xe9 \r\nContent-Length: 2\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
PAGES = {
    "/": ok(b"hello"),
    "/1": ok(b"away", "Location: /2", status="302 Found"),
    "/2": ok(b"", "Location: /packed", "Set-Cookie: a=b", status="301 Moved"),
    "/packed": ok(PACKED, "Content-Encoding: gzip"),
    "/head": HEAD + b"hi",
    "/chunked": CHUNKED,
    "/hinted": b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + ok(b"final"),
    "/stump": ok(b"0123456789").replace(b": 10", b": 100").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
    "/long": ok(b"x" * 3000),
    "/same": ok(b"x" * 3000),
    "/none": b"",
    "/rubbish": b"what?\r\n\r\n",
    "/favicon.ico": ok(b"an icon"),
}


class Archived:
    """A record of an archive, read."""

    def __init__(self, record: Any, raw: bytes) -> None:
        self.kind = record.rec_type
        self.headers = dict(record.rec_headers.headers)
        self.url: str = self.headers.get("WARC-Target-URI", "")
        head, _, self.body = raw.partition(b"\r\n\r\n")
        self.head = head + b"\r\n\r\n"

    @property
    def path(self) -> str:
        return "/" + self.url.partition("://")[2].partition("/")[2]


def archived(path: Path) -> list[Archived]:
    """Return what is in an archive, in order, after warcio found every digest right."""
    checker = Checker(SimpleNamespace(inputs=[str(path)], verbose=False))
    checker.process_all()
    assert checker.exit_value == 0
    with path.open("rb") as file:
        return [
            Archived(record, record.raw_stream.read())
            for record in ArchiveIterator(file, no_record_parse=True)
            if record.rec_type != "warcinfo"
        ]


def decoded(path: Path) -> dict[str, bytes]:
    """Return the bodies as a reader of archives sees them, by path."""
    with path.open("rb") as file:
        return {
            record.rec_headers.get_header("WARC-Target-URI").rpartition("/")[2]: record.content_stream().read()
            for record in ArchiveIterator(file)
            if record.rec_type == "response"
        }


@pytest.fixture
def port() -> Iterator[int]:
    with web_server(PAGES.__getitem__) as port:
        yield port


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "out.warc.gz"


def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let attempts follow each other without a pause."""
    monkeypatch.setattr(RetryPolicy, "pause", lambda *_, **__: 0.0)
    monkeypatch.setattr("greenprobe.engine.politeness.FIRST_GAP", 0.0)


def fetch(port: int, archive: Path, *paths: str, words: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Fetch paths into the archive, one after the other, and return the rows."""
    urls = archive.with_name("urls")
    urls.write_text("".join(f"http://127.0.0.1:{port}{path}\n" for path in paths))
    out = archive.with_name("rows")
    assert run(cli, ["fetch", str(urls), "-c", "1", "--warc", str(archive), "-o", str(out), *words]) == 0
    return [json.loads(line) for line in out.read_text().splitlines()]


@pytest.mark.parametrize("command", ["fetch", "crawl"])
def test_without_warcio_no_file_is_touched(
    command: str, archive: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("greenprobe.commands.warc.warcwriter", Lazy("warcio.that_is_not_there"))
    archive.write_bytes(b"an archive")
    out = archive.with_name("rows")
    out.write_bytes(b"results")
    assert run(cli, [command, "http://127.0.0.1:1/", "--warc", str(archive), "-o", str(out)]) == 1
    assert "pip install 'greenprobe[warc]'" in capfd.readouterr().err
    assert (archive.read_bytes(), out.read_bytes()) == (b"an archive", b"results")


def test_every_hop_is_a_pair_of_its_own(port: int, archive: Path) -> None:
    (row,) = fetch(port, archive, "/1")
    records = archived(archive)
    assert [(record.kind, record.path) for record in records] == [
        (kind, path) for path in ("/1", "/2", "/packed") for kind in ("response", "request")
    ]
    for response, request in zip(records[::2], records[1::2], strict=True):
        assert request.headers["WARC-Concurrent-To"] == response.headers["WARC-Record-ID"]
        assert request.headers["WARC-IP-Address"] == response.headers["WARC-IP-Address"] == "127.0.0.1"
        assert request.head.startswith(f"GET {request.path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n".encode())
    assert records[0].body == b"away"
    with archive.open("rb") as file:
        file.seek(row["warc_offset"])
        assert next(iter(ArchiveIterator(file))).rec_headers.get_header("WARC-Target-URI").endswith("/packed")


def test_a_body_is_stored_in_the_coding_that_came(port: int, archive: Path) -> None:
    (row,) = fetch(port, archive, "/packed", words=("--facts", "words"))
    (response, request) = archived(archive)
    assert response.head + response.body == PAGES["/packed"]
    assert b"Accept-Encoding: gzip, deflate\r\n" in request.head
    assert decoded(archive) == {"packed": b"packed " * 100}
    assert (row["bytes"], row["facts"]["words"]) == (700, 100)


def test_a_head_is_stored_byte_for_byte(port: int, archive: Path) -> None:
    fetch(port, archive, "/head")
    assert archived(archive)[0].head == HEAD


def test_chunks_are_joined_and_interim_answers_left_out(port: int, archive: Path) -> None:
    fetch(port, archive, "/chunked", "/hinted")
    chunked, _, hinted, _ = archived(archive)
    lines = [b"HTTP/1.1 200 OK", b"Content-Type: a/b", b"X-Archive-Orig-Transfer-Encoding: chunked"]
    assert chunked.head == b"\r\n".join([*lines, b"Content-Length: 5", b"", b""])
    assert chunked.body == b"hello"
    assert hinted.head + hinted.body == ok(b"final")


def test_what_broke_off_is_stored_as_far_as_it_came(port: int, archive: Path) -> None:
    stump, long, none, rubbish = fetch(
        port, archive, "/stump", "/long", "/none", "/rubbish", words=("--max-body", "2000")
    )
    assert [row["error"]["class"] for row in (stump, long, none, rubbish)] == [
        "IncompleteBody",
        "BodyTooLarge",
        "EmptyReply",
        "ProtocolError",
    ]
    records = archived(archive)
    assert [(record.path, record.headers.get("WARC-Truncated")) for record in records[::2]] == [
        ("/stump", "disconnect"),
        ("/long", "length"),
    ]
    assert records[0].body == b"0123456789"
    assert "warc_offset" in stump
    assert "warc_offset" not in none


def test_a_request_has_its_body_and_none_of_our_secrets(archive: Path) -> None:
    seen: list[bytes] = []
    with recording_server(seen) as port:
        words = ("--data", "a=b", "--user", "me:secret", "-H", "Cookie: c=secret", "-H", "X-Mine: 1")
        fetch(port, archive, "/", words=words)
    assert seen[0].count(b"secret") == 1
    assert b"Authorization: Basic" in seen[0]
    request = archived(archive)[1]
    assert (request.body, b"X-Mine: 1" in request.head) == (b"a=b", True)
    assert not {b"authorization", b"cookie"} & {line.partition(b":")[0].lower() for line in request.head.split(b"\r\n")}


def test_an_exchange_of_http2_is_written_as_http1(archive: Path, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with http2_server(context, Http2Server()) as port:
        (tmp_path / "urls").write_text(f"https://localhost:{port}/one\n")
        words = ["--http2", "--ca-file", str(tmp_path / "ca.pem"), "--warc", str(archive), "-o", str(tmp_path / "rows")]
        assert run(cli, ["fetch", str(tmp_path / "urls"), *words, "--fail"]) == 0
    response, request = archived(archive)
    assert response.head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert request.head.startswith(f"GET /one HTTP/1.1\r\nHost: localhost:{port}\r\n".encode())
    row = json.loads((tmp_path / "rows").read_text())
    assert len(response.body) == row["bytes"] > 0


# -- revisits

NOT_MODIFIED = b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n\r\n'
TAGGED = {"/": [ok(b"x" * 2000, 'ETag: "1"'), NOT_MODIFIED, NOT_MODIFIED]}
PROFILE = "http://netpreserve.org/warc/1.1/revisit/"


def test_what_has_not_changed_is_a_revisit_of_the_body_in_the_earlier_archive(archive: Path, tmp_path: Path) -> None:
    """Also where the results that are named are of a revisit themselves."""
    answers = iter(TAGGED["/"])
    with web_server(lambda _: next(answers)) as port:
        fetch(port, archive, "/")
        whole = archived(archive)[0]
        for _ in range(2):
            (tmp_path / "rows").rename(tmp_path / "earlier")
            (row,) = fetch(port, archive, "/", words=("--since", str(tmp_path / "earlier")))
            assert row["not_modified"]
            revisit, request = archived(archive)
            assert (revisit.kind, revisit.head, revisit.body) == ("revisit", NOT_MODIFIED, b"")
            assert b'\r\nIf-None-Match: "1"\r\n' in request.head
            assert revisit.headers["WARC-Profile"] == PROFILE + "server-not-modified"
            assert revisit.headers["WARC-Refers-To-Target-URI"] == whole.url == row["warc_body"]["url"]
            assert revisit.headers["WARC-Refers-To-Date"] == whole.headers["WARC-Date"] == row["warc_body"]["date"]


@pytest.mark.parametrize("spoilt", (None, {"url": "http://a/"}, {"url": "a\r\nb: c", "date": "d"}, 5))
def test_what_has_not_changed_refers_to_nothing_if_nothing_is_known(archive: Path, tmp_path: Path, spoilt: Any) -> None:
    with web_server(lambda _: NOT_MODIFIED) as port:
        url = f"http://127.0.0.1:{port}/"
        known = {"v": 1, "url": url, "status": 200, "headers": {"etag": ['"1"']}, "error": None, "warc_body": spoilt}
        (tmp_path / "earlier").write_text(json.dumps(known))
        (row,) = fetch(port, archive, "/", words=("--since", str(tmp_path / "earlier")))
    revisit = archived(archive)[0]
    assert (revisit.kind, row["warc_body"]) == ("revisit", None)
    assert not {name for name in revisit.headers if "Refers-To" in name}


def test_a_304_that_nobody_asked_for_is_a_response(archive: Path) -> None:
    with web_server(lambda _: NOT_MODIFIED) as port:
        fetch(port, archive, "/")
    assert [record.kind for record in archived(archive)] == ["response", "request"]


@pytest.mark.parametrize("words", ((), ("--warc-dedup",)))
def test_a_payload_that_is_there_already_is_referred_to_if_wanted(
    port: int, archive: Path, words: tuple[str, ...]
) -> None:
    rows = fetch(port, archive, "/long", "/", "/", "/same", "/long", words=words)
    records = archived(archive)[::2]
    again = "revisit" if words else "response"
    assert [record.kind for record in records] == ["response", "response", "response", again, again]
    first = {"url": records[0].url, "date": records[0].headers["WARC-Date"]}
    if words:
        assert records[3].headers["WARC-Profile"] == PROFILE + "identical-payload-digest"
        assert records[3].headers["WARC-Payload-Digest"] == records[0].headers["WARC-Payload-Digest"]
        assert records[3].headers["WARC-Refers-To-Target-URI"] == records[0].url
        assert records[3].headers["WARC-Refers-To-Date"] == records[0].headers["WARC-Date"]
        assert (records[3].head, records[3].body) == (records[0].head, b"")
        assert rows[0]["warc_body"] == rows[3]["warc_body"] == rows[4]["warc_body"] == first
    else:
        assert records[3].body == records[0].body


def test_a_broken_body_is_no_payload_to_refer_to(archive: Path) -> None:
    stump = ok(b"x" * 2000).replace(b": 2000", b": 3000").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with web_server(lambda _: stump) as port:
        rows = fetch(port, archive, "/", "/", words=("--warc-dedup",))
    assert [record.kind for record in archived(archive)[::2]] == ["response", "response"]
    assert [row["warc_body"] for row in rows] == [None, None]


def test_the_oldest_payload_is_forgotten(port: int, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenprobe.commands.warc.MAX_PAYLOADS", 1)
    monkeypatch.setattr("greenprobe.commands.warc.MIN_PAYLOAD_BYTES", 1)
    fetch(port, archive, "/long", "/", "/long", "/long", words=("--warc-dedup",))
    assert [record.kind for record in archived(archive)[::2]] == ["response", "response", "response", "revisit"]


def test_every_attempt_is_a_pair_before_the_last(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once(monkeypatch)
    answers = [ok(b"first", status="503 No"), ok(b"second", "Location: /x", status="302 Found"), ok(status="429 Slow")]
    answers += [b"", ok(b"third"), ok(b"other")]
    with web_server(lambda _: answers.pop(0)) as port:
        rows = fetch(port, archive, "/a", words=("--retries", "9"))
    assert [(row["status"], row["attempts"]) for row in rows] == [(200, 3)]
    responses = archived(archive)[::2]
    said = [(record.path, int(record.head.split()[1]), record.body) for record in responses]
    assert said == [("/a", 503, b"first"), ("/a", 302, b"second"), ("/x", 429, b"ok"), ("/a", 200, b"third")]
    with archive.open("rb") as file:
        file.seek(rows[0]["warc_offset"])
        assert next(iter(ArchiveIterator(file))).content_stream().read() == b"third"


def test_bodies_of_attempts_that_wait_for_the_last_one_are_bounded(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once(monkeypatch)
    monkeypatch.setattr("greenprobe.engine.attempts.KEPT_BYTES", 10)
    answers = [ok(b"x" * 9, status="503 No"), ok(b"y" * 9, status="503 No"), ok(b"z" * 99)]
    with web_server(lambda _: answers.pop(0)) as port:
        fetch(port, archive, "/", words=("--retries", "9"))
    kept, cut, last = archived(archive)[::2]
    assert [record.body for record in (kept, cut, last)] == [b"x" * 9, b"", b"z" * 99]
    assert "WARC-Truncated" not in kept.headers
    assert (cut.headers["WARC-Truncated"], cut.head.split()[1]) == ("length", b"503")


def test_an_entry_that_is_tried_again_makes_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def attempt(number: int) -> RecordedTrace:
        trace = RecordedTrace(read_url("http://127.0.0.1/"))
        attempts.resume(number, trace)
        list(trace.begin(b"").pieces(iter([b"123456"])))  # type: ignore[arg-type]
        attempts.put_off(number, trace)
        return trace

    monkeypatch.setattr("greenprobe.engine.attempts.KEPT_BYTES", 12)
    attempts = Attempts()
    seen = [attempt(number) for number in (1, 2, 1)]
    assert [[each.body_bytes for each in trace.exchanges] for trace in seen] == [[6, 0], [6], [6, 0]]
    last = RecordedTrace(seen[0].url)
    attempts.resume(1, last)
    assert (last.attempts, last.exchanges) == (3, seen[0].exchanges)
    assert [each.body_bytes for each in attempt(3).exchanges] == [6]
    attempts.clear()
    assert all(each.body.closed for each in seen[1].exchanges)
    last.close()


def test_a_favicon_that_was_asked_for_is_there_too(port: int, archive: Path) -> None:
    rows = fetch(port, archive, "/", "/2", words=("--favicon",))
    assert [record.path for record in archived(archive)[::2]] == ["/favicon.ico", "/", "/2", "/packed"]
    data = archive.read_bytes()
    for row in rows:
        record = next(iter(ArchiveIterator(BytesIO(data[row["warc_offset"] :]))))
        assert record.rec_headers.get_header("WARC-Target-URI") == row["final_url"]


def test_rows_that_are_not_written_are_not_archived(port: int, archive: Path) -> None:
    assert len(fetch(port, archive, "/", "/head", words=("--match", "url~head"))) == 1
    assert [record.path for record in archived(archive)] == ["/head", "/head"]


def test_a_full_disk_is_one_line(port: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["fetch", f"http://127.0.0.1:{port}/", "--warc", "/dev/full"]) == 1
    assert "cannot write to /dev/full" in capfd.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_processes_share_one_archive_and_one_database(port: int, archive: Path, tmp_path: Path) -> None:
    """Slow: starts processes."""
    hosts = ("127.0.0.1", "localhost")
    urls = [f"http://{hosts[n % 2]}:{port}{path}" for n in range(60) for path in ("/1", "/long", "/chunked")]
    (tmp_path / "urls").write_text("\n".join(urls))
    words = ["--processes", "2", "-c", "8", "--warc", str(archive), "--sqlite", str(tmp_path / "db"), "--state"]
    assert run(cli, ["fetch", str(tmp_path / "urls"), "-o", str(tmp_path / "rows"), *words, str(tmp_path / "s")]) == 0
    rows = [json.loads(line) for line in (tmp_path / "rows").read_text().splitlines()]
    assert sorted(row["line"] for row in rows) == list(range(1, len(urls) + 1))
    records = archived(archive)
    assert len(records) == 2 * (3 + 1 + 1) * 60
    data = archive.read_bytes()
    for row in rows:
        record = next(iter(ArchiveIterator(BytesIO(data[row["warc_offset"] :]))))
        assert record.rec_headers.get_header("WARC-Target-URI") == row["final_url"]


@pytest.mark.slow
def test_processes_refer_to_bodies_that_are_in_the_archive(port: int, archive: Path, tmp_path: Path) -> None:
    """Slow: starts processes."""
    hosts = ("127.0.0.1", "localhost")
    urls = [f"http://{hosts[n % 2]}:{port}{path}" for n in range(60) for path in ("/long", "/same")]
    (tmp_path / "urls").write_text("\n".join(urls))
    words = ["--processes", "2", "--warc", str(archive), "--warc-dedup", "-o", str(tmp_path / "rows")]
    assert run(cli, ["fetch", str(tmp_path / "urls"), *words]) == 0
    responses = archived(archive)[::2]
    whole = {(record.url, record.headers["WARC-Date"]) for record in responses if record.kind == "response"}
    again = [record for record in responses if record.kind == "revisit"]
    assert len(whole) <= 2  # one a process, at the most
    assert len(whole) + len(again) == 120
    for record in again:
        assert (record.headers["WARC-Refers-To-Target-URI"], record.headers["WARC-Refers-To-Date"]) in whole


@pytest.mark.parametrize(
    ("heard", "head"),
    (
        (b"HTTP/1.1 200 OK\r\n\r\nbody\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"),
        (b"\r\nHTTP/1.1 100 C\r\n\r\nHTTP/1.1 103 E\r\na: b\r\n\r\nHTTP/1.0 404\r\n\r\n", b"HTTP/1.0 404\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n", None),
        (b"HTTP/1.1 200 OK\n\nrest", None),
        (b"HTTP/1.1\r\n\r\n", b"HTTP/1.1\r\n\r\n"),
        (b"", None),
    ),
)
def test_the_final_head_is_found(heard: bytes, head: bytes | None) -> None:
    assert final_head(heard) == head


def test_secret_lines_are_left_out() -> None:
    head = b"GET /cookie:x HTTP/1.1\r\ncookie: a\r\nProxy-Authorization: b\r\nX-Cookie: c\r\n\r\n"
    assert without_secret_lines(head) == b"GET /cookie:x HTTP/1.1\r\nX-Cookie: c\r\n\r\n"
