"""What the commands say of words that are wrong: one line that names them and says what to do, and exit code 2."""

import pytest

from greenprobe.cli import cli, run


def said_of(words: str, capfd: pytest.CaptureFixture[str]) -> str:
    """Run the words, which are wrong, and return the line that says so."""
    assert run(cli, words.split()) == 2
    out, err = capfd.readouterr()
    assert out == ""
    line = err.splitlines()[-1]
    assert line.startswith("Error: ")
    return line.removeprefix("Error: ")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("fetch x.test -c many", "Invalid value for '-c' / '--concurrency': 'many' is not a valid whole number."),
        ("fetch x.test --timeout soon", "Invalid value for '--timeout': 'soon' is not a valid number."),
        ("fetch x.test --processes 999", "Invalid value for '--processes': 999 is not in the range 1<=x<=64."),
        ("scan 127.0.0.1 1 --timeout nan", "Invalid value for '--timeout': 'nan' is no finite number."),
        ("scan 127.0.0.1 1 --min-rate inf", "Invalid value for '--min-rate': 'inf' is no finite number."),
        ("crawl http://x.test/ --delay inf", "Invalid value for '--delay': 'inf' is no finite number."),
    ],
)
def test_a_number_that_is_none_is_named(words: str, line: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert said_of(words, capfd) == line
