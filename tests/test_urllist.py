"""Lists of URLs: numbered, read lazily, from files and from pipes that take their time."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenprobe.engine.urllist import CHUNK_BYTES, MAX_LINE_BYTES, MAX_READY, UrlList
from greenprobe.greenthread import spawn
from greenprobe.hub import Hub, get_hub
from greenprobe.testing import wait_all_blocked

Lines = list[tuple[int, bytes]]


def take_all(urls: UrlList) -> Lines:
    found: Lines = []
    while urls.refill():
        found += urls.lines
        urls.lines.clear()
    return found


@pytest.fixture
def pipe(hub: Hub) -> Iterator[tuple[UrlList, int]]:
    """A list on a pipe, and the end to write it at."""
    source, sink = os.pipe()
    urls = UrlList(hub, source)
    yield urls, sink
    urls.close()
    os.close(source)
    try:
        os.close(sink)
    except OSError:
        pass  # the test did


def on_file(path: Path, data: bytes) -> Lines:
    path.write_bytes(data)
    with path.open("rb") as file:
        return take_all(UrlList(get_hub(), file.fileno()))


@pytest.mark.parametrize(
    ("data", "lines"),
    (
        (b"", []),
        (b"a", [(1, b"a")]),
        (b"a\nb\n", [(1, b"a"), (2, b"b")]),
        (b"a\r\nb", [(1, b"a"), (2, b"b")]),
        (b"\n\n a \n\t\nb\n\n", [(3, b"a"), (5, b"b")]),
        (b"\xef\xbb\xbfa\nb", [(1, b"a"), (2, b"b")]),
        (b"\xef\xbb\xbf", []),
    ),
)
def test_lines_are_numbered_and_blank_ones_left_out(
    tmp_path: Path, data: bytes, lines: list[tuple[int, bytes]]
) -> None:
    assert on_file(tmp_path / "list", data) == lines


def test_lines_across_chunks_are_whole(tmp_path: Path) -> None:
    lines = [b"http://h/%d" % number for number in range(3 * CHUNK_BYTES // 10)]
    assert on_file(tmp_path / "list", b"\n".join(lines)) == list(enumerate(lines, 1))


def test_a_line_without_end_is_cut_and_the_next_is_not_harmed(tmp_path: Path) -> None:
    (first, cut), (second, line) = on_file(tmp_path / "list", b"x" * (5 * MAX_LINE_BYTES) + b"\nb")
    assert (first, second, line) == (1, 2, b"b")
    assert len(cut) <= MAX_LINE_BYTES + CHUNK_BYTES


def test_entries_of_one_line_are_made_some_at_a_time(tmp_path: Path, hub: Hub) -> None:
    path = tmp_path / "list"
    path.write_bytes(b"http://h/{1..9999}\nhttp://h/")
    with path.open("rb") as file:
        urls = UrlList(hub, file.fileno())
        assert urls.refill()
        assert len(urls.lines) == MAX_READY
        assert not urls.is_over
        assert len(take_all(urls)) == 10_000
        assert urls.is_over


def test_one_chunk_is_read_at_a_time(tmp_path: Path, hub: Hub) -> None:
    path = tmp_path / "list"
    path.write_bytes(b"http://h/\n" * CHUNK_BYTES)
    with path.open("rb") as file:
        urls = UrlList(hub, file.fileno())
        urls.refill()
        assert urls.read_bytes == CHUNK_BYTES
        assert urls.size_bytes == 10 * CHUNK_BYTES
        assert urls.count_rest() == CHUNK_BYTES


def test_a_slow_pipe_holds_nobody_up(pipe: tuple[UrlList, int], hub: Hub) -> None:
    urls, sink = pipe
    reader = spawn(urls.refill)
    wait_all_blocked()
    os.write(sink, b"http://a")
    wait_all_blocked()
    assert not urls.lines
    os.write(sink, b"/\nhttp://b/")
    assert reader.wait() is True
    assert list(urls.lines) == [(1, b"http://a/")]
    urls.lines.clear()
    os.close(sink)
    assert take_all(urls) == [(2, b"http://b/")]


def test_readers_in_line_get_what_the_first_one_read(pipe: tuple[UrlList, int]) -> None:
    urls, sink = pipe
    readers = [spawn(urls.refill) for _ in range(3)]
    wait_all_blocked()
    os.write(sink, b"a\nb\n")
    assert [reader.wait() for reader in readers] == [True] * 3
    assert list(urls.lines) == [(1, b"a"), (2, b"b")]


def test_the_rest_of_a_pipe_is_not_waited_for(pipe: tuple[UrlList, int]) -> None:
    urls, _ = pipe
    assert urls.count_rest() is None
