"""The parts of fetch that know no sockets: forms of lists, conditions, facts, pace, tally, names of files."""

import os
from collections.abc import Callable
from errno import EDQUOT
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from greenprobe.commands.fetch_summary import reading
from greenprobe.engine.bodystore import BodyStore, file_name
from greenprobe.engine.conditions import is_wanted, read_condition
from greenprobe.engine.facts import MAX_TITLE, BodyFacts, mmh3, technologies, title_of
from greenprobe.engine.fetchplan import Failure, FetchRecord, FetchStatistics, Timings
from greenprobe.engine.lineforms import MAX_ROW_LINES, TEMPLATE_STEP, CsvRows, JsonRows, PlainLines, expanded, parts_of
from greenprobe.engine.politeness import Pace, PaceOptions
from greenprobe.engine.similarity import simhash
from greenprobe.engine.tally import Tally, Timing
from greenprobe.errors import StorageError, TargetError
from greenprobe.http.trace import Trace
from greenprobe.http.urls import read_url

# -- forms of lists


@pytest.mark.parametrize(
    ("line", "urls"),
    (
        (b"http://h/{1..3}", [b"http://h/1", b"http://h/2", b"http://h/3"]),
        (b"http://h/{08..10}", [b"http://h/08", b"http://h/09", b"http://h/10"]),
        (b"http://h/{2..1}{a..b}", [b"http://h/2a", b"http://h/2b", b"http://h/1a", b"http://h/1b"]),
        (b"http://{one,two}.test/", [b"http://one.test/", b"http://two.test/"]),
        (b"http://h/{x}", [b"http://h/{x}"]),
        (b"http://h/{1..}", [b"http://h/{1..}"]),
        (b"http://h/{5..5}/{b..b}{1..2}", [b"http://h/5/b1", b"http://h/5/b2"]),
        (b"http://h/" + b"{1..1}" * 2000, [b"http://h/" + b"1" * 2000]),
    ),
)
def test_templates_stand_for_many(line: bytes, urls: list[bytes]) -> None:
    assert list(expanded(parts_of(line))) == urls


def test_what_stands_for_too_many_is_an_entry_that_says_so() -> None:
    form = PlainLines()
    assert list(form.entries(7, [b"http://h/{0..8000000}", b"http://h/{0..9}{1..999999999999999999}"])) == [
        (7, b""),
        (8, b""),
    ]
    assert form.carried[7] == {"fault": "'http://h/{0..8000000}' stands for 8,000,001 URLs; at most 8,000,000 may"}


def test_urls_of_a_template_have_numbers_of_their_own_and_know_their_line() -> None:
    form = PlainLines()
    entries = list(form.entries(7, [b"http://a/", b"http://b/{1..2}", b"", b"http://c/"]))
    assert entries == [
        (7, b"http://a/"),
        (8 + TEMPLATE_STEP, b"http://b/1"),
        (8 + 2 * TEMPLATE_STEP, b"http://b/2"),
        (10, b"http://c/"),
    ]
    assert form.carried == {8 + TEMPLATE_STEP: {"line": 8}, 8 + 2 * TEMPLATE_STEP: {"line": 8}}


def test_rows_of_json_carry_their_other_columns() -> None:
    form = JsonRows("u")
    lines = [b'{"u": "http://a/", "n": [1]}', b"", b'{"u": " http://b/ "}']
    assert form.entries(1, lines) == [(1, b"http://a/"), (3, b"http://b/")]
    assert form.carried == {1: {"input": {"n": [1]}}}


@pytest.mark.parametrize(
    ("line", "carried"),
    (
        (b"http://a/", {"fault": "line 7 is no JSON object: 'http://a/'"}),
        (b"[1]", {"fault": "line 7 is no JSON object: '[1]'"}),
        (b"x" * 99, {"fault": f"line 7 is no JSON object: '{'x' * 60}...'"}),
        (b'{"u": 5}', {"fault": "line 7: column 'u' holds '5', which is no text"}),
        (b'{"u": null, "n": 1}', {"input": {"n": 1}, "fault": "line 7: column 'u' is empty"}),
        (b'{"n": 1, "m": 2}', {"input": {"n": 1, "m": 2}, "fault": "line 7 has no column 'u'; it has n, m"}),
        (b"{}", {"fault": "line 7 has no column 'u'; it has none"}),
    ),
)
def test_a_row_of_json_without_a_url_says_its_line_and_column(line: bytes, carried: dict[str, Any]) -> None:
    form = JsonRows("u")
    assert form.entries(7, [line]) == [(7, b"")]
    assert form.carried == {7: carried}


def test_rows_of_csv_may_span_lines() -> None:
    form = CsvRows("url")
    lines = [b"name,url\r", b'"a ""b""\r', b'c",http://a/\r', b"", b"x,http://b/,more"]
    assert list(form.entries(1, lines)) == [(2, b"http://a/"), (5, b"http://b/")]
    assert form.carried == {2: {"input": {"name": 'a "b"\nc'}}, 5: {"input": {"name": "x"}}}


def test_a_row_of_csv_without_a_url_says_its_line_and_column() -> None:
    form = CsvRows("url")
    assert form.entries(1, [b"name,url", b"short", b"x, "]) == [(2, b""), (3, b"")]
    assert form.carried == {
        2: {"input": {"name": "short"}, "fault": "line 2 has no column 'url'; it has name"},
        3: {"input": {"name": "x"}, "fault": "line 3: column 'url' is empty"},
    }


def test_a_row_of_csv_that_lost_a_quote_is_given_up_after_a_while_or_at_the_end() -> None:
    form = CsvRows("url")
    assert form.entries(1, [b"url", b'"http://a/', *[b"http://b/"] * (MAX_ROW_LINES - 1), b"http://c/", b'"x']) == [
        (2, b""),
        (MAX_ROW_LINES + 2, b"http://c/"),
    ]
    assert form.carried.pop(2) == {"fault": f"line 2 opens a quote that is not closed by line {MAX_ROW_LINES + 1}"}
    assert form.end() == [(MAX_ROW_LINES + 3, b"")]
    assert form.carried == {MAX_ROW_LINES + 3: {"fault": "line 1003 opens a quote that is not closed by line 1003"}}
    assert form.end() == []


def test_a_row_of_csv_that_the_reader_refuses_is_a_fault() -> None:
    form = CsvRows("url")
    assert form.entries(1, [b"url", b"x" * 200_000]) == [(2, b"")]
    assert form.carried[2]["fault"].startswith("line 2 is no row of CSV: field larger than")


def test_csv_without_the_column_says_which_there_are() -> None:
    with pytest.raises(TargetError, match="has no column 'url'; it has a, b"):
        CsvRows("url").entries(1, [b"a,b"])


# -- conditions

ROW: dict[str, Any] = {
    "status": 301,
    "bytes": 1000,
    "content_type": "text/html",
    "error": None,
    "headers": {"server": ("nginx",)},
    "elapsed": {"total": 0.5},
    "facts": {"title": "Hello", "words": 12, "tech": ["PHP", "nginx"]},
    "body": "a secret word",
}


@pytest.mark.parametrize(
    ("text", "holds"),
    (
        ("status=301", True),
        ("status=200,300-308", True),
        ("status!=200", True),
        ("status=200", False),
        ("size>999", True),
        ("size>=1000", True),
        ("size<1000", False),
        ("time<=0.5", True),
        ("type~^text/", True),
        ("type!~html", False),
        ("type=text/html,text/plain", True),
        ("header.server~nginx", True),
        ("header.Server~nginx", True),
        ("header.absent~x", False),
        ("title~(?i)hello", True),
        ("words<10", False),
        ("tech=PHP", True),
        ("tech=Java", False),
        ("error=TlsError", False),
        ("error=", True),
        ("body~secret", True),
        ("lines>1", False),
    ),
)
def test_conditions_hold(text: str, holds: bool) -> None:
    assert read_condition(text).holds(ROW) is holds


@pytest.mark.parametrize("text", ("", "status", "status=x", "type<5", "nothing=1", "body~(", "size>1e", "= 5"))
def test_a_condition_that_cannot_be_read_is_named(text: str) -> None:
    with pytest.raises(TargetError):
        read_condition(text)


def test_all_matches_and_no_filter_make_a_row_wanted() -> None:
    good, bad = read_condition("status=301"), read_condition("status=200")
    assert is_wanted(ROW, (good,), ())
    assert not is_wanted(ROW, (good, bad), ())
    assert not is_wanted(ROW, (good,), (good,))


# -- facts


@pytest.mark.parametrize(
    ("text", "title"),
    (
        ("<title>Hello</title>", "Hello"),
        ("<TITLE lang=en>\n A &amp; B\n</TITLE>", "A & B"),
        ("<title>never closed", "never closed"),
        ("<title>" + "x" * 5_000_000, "x" * MAX_TITLE),
        ("<titlepage>no", None),
        ("", None),
    ),
)
def test_a_title_is_found_and_cut(text: str, title: str | None) -> None:
    assert title_of(text) == title


def test_facts_are_the_same_however_the_body_comes() -> None:
    body = b"<title>t</title>\nsome words here\n"
    whole, bytewise = BodyFacts(["title", "words", "lines", "sha256"]), BodyFacts(["title", "words", "lines", "sha256"])
    whole(body)
    for byte in body:
        bytewise(bytes([byte]))
    assert whole.row({}) == bytewise.row({})
    assert whole.row({})["lines"] == 2


@settings(max_examples=50)
@given(st.binary(max_size=300))
def test_any_body_has_facts(body: bytes) -> None:
    facts = BodyFacts(["title", "words", "lines", "sha256", "simhash", "tech"])
    facts(body)
    facts.row({"content-type": ("text/html; charset=utf-8",)})


def test_simhash_is_near_for_near_texts_and_far_for_others() -> None:
    words = [f"word{n}" for n in range(400)]
    near = (simhash(" ".join(words)) ^ simhash(" ".join([*words[:-4], "other", "things"]))).bit_count()
    far = (simhash(" ".join(words)) ^ simhash(" ".join(f"else{n}" for n in range(400)))).bit_count()
    assert near < 8 < 16 < far


@pytest.mark.parametrize(("data", "value"), ((b"", 0), (b"hello", 613153351), (b"foo", -156908512)))
def test_mmh3_is_murmur(data: bytes, value: int) -> None:
    assert mmh3(data) == value


def test_technologies_are_hints_from_headers_and_document() -> None:
    text = '<meta name="generator" content="WordPress 6.1"><link href="/wp-content/x">'
    assert technologies(text, {"server": ("nginx/1.2",), "x-powered-by": ("PHP/8",)}) == [
        "PHP",
        "WordPress",
        "WordPress 6.1",
        "nginx",
    ]


# -- pace

BUSY = {"retry-after": ("30",)}


def answered(pace: Pace, status: int | None, seconds: float = 0.1, now: float = 0.0, **headers: Any) -> None:
    asked = headers.get("asked", now)
    found = headers.get("headers", {})
    pace.answered("h", status=status, headers=found, seconds=seconds, asked=asked, now=now, unix_now=0.0)


def test_a_delay_spaces_the_starts_of_a_host_alone() -> None:
    pace = Pace(PaceOptions(delay=2.0))
    assert pace.start("h", 0.0) == 0.0
    assert (pace.ready_at("h"), pace.ready_at("other")) == (2.0, 0.0)


def test_a_rate_in_all_spaces_all_starts() -> None:
    pace = Pace(PaceOptions(rate_per_s=4.0))
    assert [pace.start(host, 0.0) for host in "abc"] == [0.0, 0.25, 0.5]


def test_a_busy_host_is_left_alone_for_its_time_and_then_asked_slower() -> None:
    pace = Pace(PaceOptions(longest_retry_after=20.0))
    answered(pace, 429, now=5.0, headers=BUSY)
    assert pace.ready_at("h") == 25.0
    pace.start("h", 25.0)
    assert pace.ready_at("h") == 25.5
    for _ in range(60):
        answered(pace, 200, now=26.0)
    pace.start("h", 30.0)
    assert pace.ready_at("h") == 30.0


def test_a_pace_that_was_asked_for_alone_does_not_adapt() -> None:
    pace = Pace(PaceOptions(delay=2.0, adapts=False))
    pace.start("h", 0.0)
    answered(pace, 429, now=1.0, headers=BUSY)
    assert pace.ready_at("h") == 2.0


def test_refusals_in_a_row_double_the_gap_up_to_a_limit() -> None:
    pace = Pace(PaceOptions())
    for _ in range(20):
        answered(pace, 503)
    assert pace.ready_at("h") == 60.0


def test_refusals_of_what_was_under_way_together_are_one() -> None:
    pace = Pace(PaceOptions())
    for _ in range(20):
        answered(pace, 429, asked=0.0, now=1.0)
    assert pace.ready_at("h") == 1.5
    answered(pace, 429, asked=1.5, now=2.0)
    assert pace.ready_at("h") == 3.0


def test_slow_answers_of_what_was_under_way_together_are_one() -> None:
    pace = Pace(PaceOptions(knows_all=True))
    answered(pace, 200, seconds=0.1)
    for _ in range(20):
        answered(pace, 200, seconds=5.0, asked=1.0, now=6.0)
    pace.start("h", 7.0)
    assert pace.ready_at("h") == pytest.approx(7.05)


def test_a_host_that_slows_down_is_given_gaps() -> None:
    pace = Pace(PaceOptions())
    pace.start("h", 0.0)
    answered(pace, 200, seconds=0.6)
    answered(pace, 200, seconds=9.0)
    pace.start("h", 10.0)
    assert pace.ready_at("h") > 10.0


# -- tally and progress


def record(status: int | None = 200, total: float = 0.1, kind: str | None = None) -> FetchRecord:
    failure = Failure(kind, "why") if kind else None
    timings = Timings(None, None, None, total / 2, total)
    return FetchRecord(1, "http://h/", "http://h/", status, 5, {}, (), timings, failure, "::1", 10, 20)


def test_a_tally_counts_and_has_percentiles() -> None:
    tally = Tally()
    tally.add([record(total=n / 1000) for n in range(1, 1001)])
    tally.add([record(None, 3.0, "TlsError")] * 5)
    row = tally.row()
    assert (row["records"], row["statuses"]) == (1005, {"200": 1000})
    assert row["errors"]["TlsError"] == {"count": 5, "examples": [{"url": "http://h/", "message": "why"}] * 3}
    assert row["timings"]["total"]["p50"] == pytest.approx(0.5, rel=0.03)
    assert row["timings"]["total"]["p99"] == pytest.approx(0.995, rel=0.03)
    assert row["timings"]["total"]["max"] == 3.0
    assert row["timings"]["dns"] is None
    assert row["slowest_hosts"][0]["host"] == "h"


def test_percentiles_of_many_are_those_of_an_even_sample() -> None:
    timing, other = Timing(), Timing()
    for start in range(0, 300_000, 1000):
        timing.add(tuple((start + n) / 300_000 for n in range(1000)))
    other.add((None, 5.0, None))
    timing.merge(other)
    row = timing.row()
    assert row is not None
    assert (row["count"], row["max"]) == (300_001, 5.0)
    assert [row["p50"], row["p99"]] == pytest.approx([0.5, 0.99], rel=0.001)


def test_the_progress_line_has_rate_errors_and_slowest_host() -> None:
    tally = Tally()
    tally.add([record(None, 3.0, "TlsError"), record()])
    now = FetchStatistics(100, 50, 1, (0, 0, 49, 0), 99, 10.0, 500, 1000, 7, 100)
    part, text = reading(now, tally)
    assert part == pytest.approx(0.25)
    assert text == "50 URLs, 5/s, 49 2xx, 1 failed, 50 under way (7 waiting), errors: 1 TlsError, slowest: h 3.0 s"


# -- files


@pytest.mark.parametrize(
    ("url", "content_type", "folder", "start", "end"),
    (
        ("http://h/a/b.html?q", None, "h", "a_b-", ".html"),
        ("http://h:81/", "text/html; charset=x", "h_81", "index-", ".html"),
        ("http://[::1]/x", None, "1", "x-", ".bin"),
        ("http://h/../../etc/passwd", None, "h", "etc_passwd-", ".bin"),
        ("http://h/%2e%2e%2fx", None, "h", "2e_2e_2fx-", ".bin"),
        ("http://h/.bashrc", None, "h", "index-", ".bashrc"),
        ("http://../x", None, "host", "x-", ".bin"),
        ("http://h/" + "a" * 3000, None, "h", "a" * 60 + "-", ".bin"),
    ),
)
def test_names_of_files_are_safe(url: str, content_type: str | None, folder: str, start: str, end: str) -> None:
    found, name = file_name(url, content_type)
    assert (found, name[: len(start)], name[-len(end) :]) == (folder, start, end)


@given(st.text(max_size=50), st.text(max_size=20))
def test_no_url_leaves_its_folder(path: str, content_type: str) -> None:
    folder, name = file_name("http://h/" + path, content_type)
    assert folder == "h"
    assert not {"/", "\\", "\0"} & set(name)
    assert not name.startswith(".")


def stored(store: BodyStore, body: bytes, failure: Failure | None = None) -> str | None:
    trace = Trace(read_url("http://h/x.txt"))
    taker = store.taker(1, trace)
    taker(body)
    found: str | None = taker.finish(trace, failure)["file"]
    return found


def test_bodies_are_whole_or_not_there_and_never_overwrite(tmp_path: Path) -> None:
    store = BodyStore(str(tmp_path / "new"))
    first, second = stored(store, b"one"), stored(store, b"two")
    assert stored(store, b"broken", Failure("X", "x")) is None
    assert first is not None
    assert second is not None
    assert [(tmp_path / "new" / name).read_bytes() for name in (first, second)] == [b"one", b"two"]
    assert len(list((tmp_path / "new" / "h").iterdir())) == 2


def test_a_folder_that_cannot_be_is_a_storage_error(tmp_path: Path) -> None:
    store = BodyStore(str(tmp_path))
    (tmp_path / "h").write_text("in the way")
    with pytest.raises(StorageError, match="cannot write to"):
        stored(store, b"x")


def test_a_disk_that_is_found_full_at_the_close_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def close(fd: int, close: Callable[[int], None] = os.close) -> None:
        close(fd)
        raise OSError(EDQUOT, "Disk quota exceeded")

    store = BodyStore(str(tmp_path))
    monkeypatch.setattr("greenprobe.engine.bodystore.os.close", close)
    with pytest.raises(StorageError, match="Disk quota exceeded"):
        stored(store, b"body")
    assert stored(store, b"body", Failure("ReadTimeout", "")) is None
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
