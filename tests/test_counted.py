"""Numbers of things, for people."""

import pytest

from greenprobe.commands.counted import counted


@pytest.mark.parametrize(
    ("text", "said"),
    (
        (counted(0, "port"), "0 ports"),
        (counted(1, "port"), "1 port"),
        (counted(2000, "port"), "2,000 ports"),
        (counted(1, "query", "queries"), "1 query"),
        (counted(2, "query", "queries"), "2 queries"),
    ),
)
def test_one_is_singular_and_all_others_plural(text: str, said: str) -> None:
    assert text == said
