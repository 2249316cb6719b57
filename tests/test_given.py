"""What the words of a command are taken for: a list in a file, standard input, or what is asked about."""

import os
import sys
from pathlib import Path

import click
import pytest

from greenprobe.commands.given import WordsCommand, list_path, opened


@click.command()
@click.argument("things", nargs=-1)
def command(things: tuple[str, ...]) -> None: ...


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with one list."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "known").write_text("a.test\nb.test\n")


def path_of(*words: str, are_urls: bool = False) -> str:
    with click.Context(command):
        return list_path(words, are_urls=are_urls)


def content_of(*words: str) -> bytes:
    with opened(words, path_of(*words)) as fd:
        return os.read(fd, 100)


@pytest.mark.parametrize("word", ("a.test", "localhost", "192.0.2.0/24", "2001:db8::/64", "http://127.0.0.1/x.txt"))
def test_one_word_that_is_no_file_means_itself(word: str) -> None:
    assert content_of(word) == word.encode()


def test_one_word_that_is_a_file_is_a_list() -> None:
    assert content_of("known") == b"a.test\nb.test\n"


def test_a_file_among_several_words_means_itself() -> None:
    assert content_of("known", "a.test") == b"known\na.test"


def test_a_dash_is_standard_input() -> None:
    with opened(("-",), path_of("-")) as fd:
        assert fd == 0
    os.fstat(0)  # and stays open


def test_standard_input_that_is_closed_is_no_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)  # as Python has it then; descriptor 0 may be anything
    with pytest.raises(click.UsageError, match="closed"), opened(("-",), "-"):
        pass


@pytest.mark.parametrize("word", ("names.txt", "NAMES.TXT", "names.csv", "names.lst", "lists/names", "./names"))
def test_what_looks_like_a_file_and_is_none_is_an_error(word: str) -> None:
    with pytest.raises(click.BadParameter, match=f"no such file: '{word}'$"):
        path_of(word)


@pytest.mark.parametrize("words", (("known", "known.txt"), ("-", "a.test"), ("a.test", "./known")))
def test_a_list_has_nothing_beside_it(words: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "known.txt").write_text("a.test\n")
    with pytest.raises(click.BadParameter, match="is a list; give one list, and nothing beside it"):
        path_of(*words)


def test_urls_without_a_scheme_may_have_paths() -> None:
    assert path_of("example.test/a", "example.test/robots.txt", are_urls=True) == "-"


@pytest.mark.parametrize("words", (("urls",), ("urls.jsonl",), ("a.test/x",), ("a.test", "urls"), ("5",)))
def test_among_urls_a_name_without_a_dot_is_a_mistyped_file(words: tuple[str, ...]) -> None:
    wrong = words[-1]
    with pytest.raises(
        click.BadParameter, match=f"no such file: '{wrong}'; if it is a host, write http://{wrong}, or -- before it"
    ):
        path_of(*words, are_urls=True)


def test_among_urls_a_list_has_nothing_beside_it() -> None:
    with pytest.raises(click.BadParameter, match="'known' is a list"):
        path_of("a.test", "known", are_urls=True)


@pytest.mark.parametrize("word", ("a.test", "localhost", "urls:80", "[::1]", "web{1..3}", "http://urls", "127.0.0.1"))
def test_among_urls_a_host_is_one(word: str) -> None:
    assert path_of(word, are_urls=True) == "-"


def test_behind_dashes_every_word_means_itself(capfd: pytest.CaptureFixture[str]) -> None:
    @click.command(cls=WordsCommand)
    @click.argument("things", nargs=-1)
    def spoken(things: tuple[str, ...]) -> None:
        click.echo(list_path(things, are_urls=True))

    for words in (["--", "urls"], ["--", "known"], ["--", "a.test/robots.txt"]):
        spoken.main(words, standalone_mode=False)
    assert capfd.readouterr().out == "-\n" * 3
