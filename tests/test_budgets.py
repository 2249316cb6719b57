"""Budgets: a trap ends soon, a catalogue never."""

from itertools import count, takewhile

import pytest

from greenprobe.engine import budgets
from greenprobe.engine.budgets import REDIRECTS, START, Budgets, pattern_of, print_of
from greenprobe.engine.canonical import Address


def at(target: str) -> Address:
    return Address("http://h.test", target)


@pytest.mark.parametrize(
    ("target", "pattern"),
    [
        ("/", "/"),
        ("/d3/p123.html", "/d#/p#.html"),
        ("/2026/05/12.html", "/#/#/#.html"),
        ("/item/3fa9c1d2", "/item/#"),
        ("/about/team", "/about/team"),
        ("/list?color=1&size=2", "/list?"),
        ("/a/b/c/d/e/f", "/a/**"),
        ("/p1.html?sid=0aab12ff", "/p#.html?"),
    ],
)
def test_addresses_that_differ_in_numbers_and_codes_are_of_one_pattern(target: str, pattern: str) -> None:
    assert pattern_of(target) == pattern


def walked(of: Budgets, texts: "list[str] | count[int]") -> int:
    """Return how many pages of one pattern are fetched before the budget ends it."""

    def fetches(number: int, text: object) -> bool:
        address = at(f"/day/{number}")
        if not of.spend(address):
            return False
        of.learn(address, print_of(f"page {text} at {address.target}", address))
        return True

    return sum(1 for _ in takewhile(lambda pair: fetches(*pair), zip(range(2000), map(str, texts), strict=False)))


def test_a_long_path_costs_what_it_is() -> None:
    """A minute for 30 KB where each of its letters was the start of a search for a digit."""
    path = "/" + "g" * 100_000
    assert pattern_of(path) == path


def test_pages_that_say_nothing_new_use_their_budget_up() -> None:
    assert walked(Budgets(), ["the same"] * 2000) == START + budgets.REFILL


def test_pages_that_say_something_new_are_walked_to_the_end() -> None:
    words = ["".join(chr(97 + (number // 26**place) % 26) for place in range(4)) for number in range(2000)]
    assert walked(Budgets(), words) == 2000


def test_digits_and_the_own_address_are_no_news() -> None:
    one, other = at("/day/1"), at("/day/2")
    assert print_of("Day 1, see /day/1 and http://h.test/day/1", one) == print_of(
        "Day 2, see /day/2 and http://h.test/day/2", other
    )
    assert print_of("Day 1: rain", one) != print_of("Day 2: sun", other)


def test_an_error_costs_nothing() -> None:
    of = Budgets()
    for number in range(START * 3):
        assert of.spend(at(f"/day/{number}"))
        of.refund(at(f"/day/{number}"))


def test_redirects_of_a_pattern_end_too() -> None:
    of = Budgets()
    followed = 0
    for number in range(REDIRECTS * 2):
        assert of.spend(at(f"/n{number}"))
        followed += of.redirect(at(f"/n{number}"))
    assert followed == REDIRECTS


def test_budgets_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "MAX_PATTERNS", 10)
    of = Budgets()
    for word in range(100):
        of.spend(at("/" + "x" * word))
    assert len(of._patterns) == 10
