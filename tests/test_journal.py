"""The journal of a run: what it says after any death, and what it refuses."""

import os
from errno import ENOSPC
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from greenprobe.engine.journal import Done, Journal, identify, spans_of
from greenprobe.errors import GreenprobeError, TargetError

OPTIONS = {"format": "jsonl"}


@pytest.fixture
def urls(tmp_path: Path) -> Path:
    path = tmp_path / "urls"
    path.write_text("http://a/\nhttp://b/\n")
    return path


def journal_of(urls: Path, options: dict[str, str] | None = None) -> Journal:
    return Journal(str(urls.with_name("state")), identify(str(urls)), options or OPTIONS, list_path=str(urls))


def test_a_full_disk_is_named(urls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int) -> None:
        raise OSError(ENOSPC, os.strerror(ENOSPC))

    journal = journal_of(urls)
    monkeypatch.setattr(os, "fdatasync", refuse)
    with pytest.raises(GreenprobeError, match=r"cannot write to .*/state: No space left on device"):
        journal.commit({"output": 100}, [1])
    journal.close()


@given(st.sets(st.integers(0, 200)))
def test_spans_hold_what_was_put_in(numbers: set[int]) -> None:
    done = Done(spans_of(numbers))
    assert {number for number in range(202) if number in done} == numbers
    assert len(done) == len(numbers)
    assert all(number in done for number in sorted(numbers, reverse=True))


def test_a_journal_goes_on_where_it_was(urls: Path) -> None:
    journal = journal_of(urls)
    assert journal.is_new
    journal.commit({"output": 100}, [3, 1, 2])
    journal.commit({"output": 200}, [7])
    journal.close()
    journal = journal_of(urls)
    assert (journal.is_new, journal.lengths, journal.done.spans) == (False, {"output": 200}, [(1, 3), (7, 7)])
    journal.close()


def test_any_cut_leaves_a_whole_state(urls: Path) -> None:
    state = urls.with_name("state")
    journal = journal_of(urls)
    begun = state.stat().st_size
    journal.commit({"output": 100}, [1])
    first = state.stat().st_size
    journal.commit({"output": 200}, [2])
    journal.close()
    data = state.read_bytes()
    for size in (*range(begun, len(data), 7), len(data) - 1, len(data)):
        state.write_bytes(data[:size])
        journal = journal_of(urls)
        expected = {"output": 200} if size == len(data) else {"output": 100} if size >= first else {}
        assert journal.lengths == expected
        journal.close()


def test_a_damaged_line_ends_the_journal(urls: Path) -> None:
    journal = journal_of(urls)
    journal.commit({"output": 100}, [1])
    journal.commit({"output": 200}, [2])
    journal.close()
    state = urls.with_name("state")
    state.write_bytes(state.read_bytes().replace(b'"output":200', b'"output":900'))
    journal = journal_of(urls)
    assert journal.lengths == {"output": 100}
    journal.close()


def test_a_changed_list_is_refused_and_a_longer_one_is_not(urls: Path) -> None:
    journal_of(urls).close()
    urls.write_text(urls.read_text() + "http://c/\n")
    journal = journal_of(urls)
    assert journal.has_grown
    journal.close()
    urls.write_text("http://other/\nhttp://b/\nhttp://c/\nhttp://d/\n")
    with pytest.raises(TargetError, match="has changed since"):
        journal_of(urls)


def test_other_options_are_refused_by_name(urls: Path) -> None:
    journal_of(urls).close()
    with pytest.raises(TargetError, match="begun with format 'jsonl', not 'csv'"):
        journal_of(urls, {"format": "csv"})


@pytest.mark.parametrize("text", ("hello\n", "{}", '{"a": 1} 00000000\n'))
def test_another_file_is_not_overwritten(urls: Path, text: str) -> None:
    state = urls.with_name("state")
    state.write_text(text)
    with pytest.raises(TargetError, match="no state of a greenprobe run"):
        journal_of(urls)
    assert state.read_text() == text


def test_two_runs_do_not_share_a_state(urls: Path) -> None:
    journal = journal_of(urls)
    with pytest.raises(GreenprobeError, match="in use by another run"):
        journal_of(urls)
    journal.close()
