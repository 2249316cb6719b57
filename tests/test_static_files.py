"""A folder served: conditions, ranges, types, and no way out of it."""

import os
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path
from time import time
from typing import Any

import pytest
from hypothesis import given, strategies as st

from greenprobe.greenthread import spawn
from greenprobe.static_files import StaticFiles, Validators, content_type, evaluate, read_range, validators_of

FILE = Validators('"a"', 1_700_000_000)
BEFORE, THEN, AFTER = (
    "Tue, 14 Nov 2023 22:13:19 GMT",
    "Tue, 14 Nov 2023 22:13:20 GMT",
    "Tue, 14 Nov 2023 22:13:21 GMT",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "a.txt").write_bytes(b"0123456789")
    (root / ".env").write_text("secret")
    (root / "sub" / "ä <b>.html").write_text("x")
    (root / "indexed").mkdir()
    (root / "indexed" / "index.html").write_text("the index")
    (tmp_path / "outside.txt").write_text("secret")
    (root / "link.txt").symlink_to(tmp_path / "outside.txt")
    (root / "inner.txt").symlink_to(root / "a.txt")
    (root / "shown.txt").symlink_to(root / ".env")
    return root


def get(root: Path, path: str, *, method: str = "GET", listing: bool = False, **fields: str) -> Any:
    """Return (status, headers, body)."""
    seen: list[Any] = []
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": "", **fields}
    result = StaticFiles(root, listing=listing)(environ, lambda status, headers: seen.extend((status[:3], headers)))
    body = b"".join(result)
    if hasattr(result, "close"):
        result.close()
    length = dict(seen[1]).get("Content-Length")
    return seen[0], dict(seen[1]), body[: int(length)] if length is not None else body


def test_ranges_are_for_get_alone(root: Path) -> None:
    status, headers, _ = get(root, "/a.txt", method="HEAD", HTTP_RANGE="bytes=0-1")
    assert (status, headers["Content-Length"]) == ("200", "10")


def test_a_file_comes_with_what_it_is_known_by(root: Path) -> None:
    status, headers, body = get(root, "/a.txt")
    assert (status, body, headers["Content-Type"]) == ("200", b"0123456789", "text/plain; charset=utf-8")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert get(root, "/a.txt", HTTP_IF_NONE_MATCH=headers["ETag"])[::2] == ("304", b"")
    assert get(root, "/a.txt", HTTP_IF_MODIFIED_SINCE=headers["Last-Modified"])[0] == "304"
    assert get(root, "/inner.txt")[0] == "200"


@pytest.mark.parametrize(
    "path",
    [
        "/../outside.txt",
        "/sub/../../outside.txt",
        "/sub/..",
        "//..//outside.txt",
        "/link.txt",
        "/shown.txt",
        "/.env",
        "/a.txt/",
        "/a.txt/x",
        "/nothing",
        "/" + "x" * 5000,
        "/a\0.txt",
        "/\xff\xfe",
    ],
)
def test_there_is_no_way_out_and_nothing_hidden_comes_out(root: Path, path: str) -> None:
    status, _, body = get(root, path, listing=True)
    assert (status, b"secret" in body) == ("404", False)


def test_a_folder_shows_its_index_and_else_nothing_unless_asked_to(root: Path) -> None:
    assert get(root, "/indexed/")[2] == b"the index"
    assert get(root, "/sub/")[0] == "404"
    status, _, body = get(root, "/sub/", listing=True)
    assert status == "200"
    assert b'<a href="./%C3%A4%20%3Cb%3E.html">' in body
    assert "ä &lt;b&gt;.html".encode() in body
    assert b".env" not in get(root, "/", listing=True)[2]


def test_others_run_while_a_folder_is_listed(root: Path) -> None:
    ran: list[bool] = []
    spawn(ran.append, True)
    assert get(root, "/sub/", listing=True)[0] == "200"
    assert ran


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_may_not_be_read_is_not_there(root: Path) -> None:
    (root / "sub").chmod(0o300)
    assert get(root, "/sub/", listing=True)[0] == "404"


@pytest.mark.parametrize(("path", "location"), [("/sub", "./sub/"), ("//sub", "./sub/"), ("/indexed", "./indexed/")])
def test_a_folder_without_its_slash_is_sent_on(root: Path, path: str, location: str) -> None:
    status, headers, _ = get(root, path)
    assert (status, headers["Location"]) == ("301", location)


def test_nothing_can_be_written(root: Path) -> None:
    status, headers, _ = get(root, "/a.txt", method="PUT")
    assert (status, headers["Allow"]) == ("405", "GET, HEAD")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_may_not_be_read_is_not_there(root: Path) -> None:
    (root / "a.txt").chmod(0)
    assert get(root, "/a.txt")[0] == "404"


@pytest.mark.parametrize(
    ("value", "status", "body", "span"),
    [
        ("bytes=0-3", "206", b"0123", "bytes 0-3/10"),
        ("bytes=7-", "206", b"789", "bytes 7-9/10"),
        ("bytes=-2", "206", b"89", "bytes 8-9/10"),
        ("bytes=-99", "206", b"0123456789", "bytes 0-9/10"),
        ("bytes=5-99", "206", b"56789", "bytes 5-9/10"),
        ("bytes=10-", "416", None, "bytes */10"),
        ("bytes=-0", "416", None, "bytes */10"),
        ("bytes=5-2", "200", b"0123456789", None),
        ("bytes=0-1,3-4", "200", b"0123456789", None),
        ("bytes=-", "200", b"0123456789", None),
        ("lines=0-1", "200", b"0123456789", None),
    ],
)
def test_a_range_is_sent_as_one(root: Path, value: str, status: str, body: bytes | None, span: str | None) -> None:
    found, headers, sent = get(root, "/a.txt", HTTP_RANGE=value)
    assert (found, headers.get("Content-Range")) == (status, span)
    assert body is None or sent == body


def test_a_range_of_another_version_is_all_of_this_one() -> None:
    wanted = {"HTTP_RANGE": "bytes=0-1"}
    assert read_range({**wanted, "HTTP_IF_RANGE": '"a"'}, FILE, 10) == range(2)
    assert read_range({**wanted, "HTTP_IF_RANGE": THEN}, FILE, 10) == range(2)
    assert read_range({**wanted, "HTTP_IF_RANGE": '"b"'}, FILE, 10) is None
    assert read_range({**wanted, "HTTP_IF_RANGE": 'W/"a"'}, FILE, 10) is None


def test_a_date_is_no_proof_of_a_version_while_its_second_is_not_over(root: Path) -> None:
    status = os.stat(root / "a.txt")
    wanted = {"HTTP_RANGE": "bytes=0-1", "HTTP_IF_RANGE": formatdate(status.st_mtime, usegmt=True)}
    within, after = (validators_of(status, int(status.st_mtime) + passed) for passed in (0.9, 1))
    assert read_range(wanted, within, 10) is None
    assert read_range(wanted, after, 10) == range(2)
    assert read_range({**wanted, "HTTP_IF_RANGE": within.etag}, within, 10) == range(2)


def test_no_file_says_that_it_changes_later(root: Path) -> None:
    os.utime(root / "a.txt", (4_000_000_000, 4_000_000_000))
    assert parsedate_to_datetime(get(root, "/a.txt")[1]["Last-Modified"]).timestamp() <= time()


@given(st.integers(0, 20), st.integers(0, 20) | st.none(), st.integers(0, 20) | st.none())
def test_a_range_never_leaves_the_file(size: int, first: int | None, last: int | None) -> None:
    value = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    found = read_range({"HTTP_RANGE": value}, FILE, size)
    assert found is None or (0 <= found.start <= size and found.stop <= size)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"HTTP_IF_MATCH": '"a"'}, None),
        ({"HTTP_IF_MATCH": "*"}, None),
        ({"HTTP_IF_MATCH": '"b", "a"'}, None),
        ({"HTTP_IF_MATCH": '"b"'}, "412"),
        ({"HTTP_IF_MATCH": 'W/"a"'}, "412"),
        ({"HTTP_IF_MATCH": '"a"', "HTTP_IF_UNMODIFIED_SINCE": BEFORE}, None),
        ({"HTTP_IF_UNMODIFIED_SINCE": BEFORE}, "412"),
        ({"HTTP_IF_UNMODIFIED_SINCE": THEN}, None),
        ({"HTTP_IF_NONE_MATCH": '"b", W/"a"'}, "304"),
        ({"HTTP_IF_NONE_MATCH": "*"}, "304"),
        ({"HTTP_IF_NONE_MATCH": '"b"', "HTTP_IF_MODIFIED_SINCE": AFTER}, None),
        ({"HTTP_IF_MODIFIED_SINCE": THEN}, "304"),
        ({"HTTP_IF_MODIFIED_SINCE": BEFORE}, None),
        ({"HTTP_IF_MODIFIED_SINCE": "nonsense"}, None),
        ({"HTTP_IF_MATCH": '"a"', "HTTP_IF_NONE_MATCH": '"a"'}, "304"),
    ],
)
def test_conditions_are_looked_at_in_their_order(fields: dict[str, str], status: str | None) -> None:
    found = evaluate(fields, FILE)
    assert (found[:3] if found is not None else None) == status


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.html", "text/html; charset=utf-8"),
        ("a.png", "image/png"),
        ("a.tar.gz", "application/gzip"),
        ("a", "application/octet-stream"),
    ],
)
def test_the_type_is_that_of_the_name(name: str, kind: str) -> None:
    assert content_type(name) == kind
