"""Racing addresses: the decisions alone on a clock of their own, the acting on attempts that are told how to end."""

from socket import AF_INET, AF_INET6, SOCK_STREAM

import pytest
from hypothesis import given, settings, strategies as st

from greenprobe.greenthread import sleep, spawn
from greenprobe.happy_eyeballs import ATTEMPT_DELAY, Race, interleave, race
from greenprobe.names import AddrInfo
from greenprobe.testing import JumpClock, wait_all_blocked
from greenprobe.timeout import Timeout


def info(family: int, host: str) -> AddrInfo:
    return family, SOCK_STREAM, 6, "", (host, 80)


class Made:
    """What a successful attempt returns."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.closed = False

    def close(self) -> None:
        self.closed = True


class Attempts:
    """Attempts that succeed or fail after a time, by the candidate's name; keeps what began, ended and was made."""

    def __init__(self, clock: JumpClock, plan: dict[str, tuple[float, Exception | None]]) -> None:
        self.clock = clock
        self.plan = plan
        self.begun: list[tuple[str, float]] = []
        self.killed: list[str] = []
        self.made: list[Made] = []

    def __call__(self, name: str) -> Made:
        seconds, error = self.plan[name]
        self.begun.append((name, round(self.clock.now(), 6)))
        try:
            sleep(seconds)
        except BaseException:
            self.killed.append(name)
            raise
        if error is not None:
            raise error
        self.made.append(Made(name))
        return self.made[-1]


# -- deciding


def test_families_take_turns_and_each_keeps_its_order() -> None:
    six = [info(AF_INET6, f"::{n}") for n in range(1, 4)]
    four = [info(AF_INET, f"127.0.0.{n}") for n in range(1, 3)]
    assert interleave([*six, *four]) == [six[0], four[0], six[1], four[1], six[2]]


@settings(max_examples=30)
@given(st.lists(st.tuples(st.sampled_from([AF_INET, AF_INET6]), st.sampled_from("abc"))))
def test_interleaving_loses_and_adds_nothing_and_begins_with_the_first(pairs: list[tuple[int, str]]) -> None:
    addresses = [info(*pair) for pair in pairs]
    ordered = interleave(addresses)
    assert sorted(map(repr, ordered)) == sorted(map(repr, addresses))
    assert ordered[:1] == addresses[:1]
    for family in AF_INET, AF_INET6:
        assert [each for each in ordered if each[0] == family] == [each for each in addresses if each[0] == family]


def test_the_next_attempt_is_due_a_delay_after_the_last() -> None:
    plan = Race("ab", 0.25)
    assert plan.begin(10) == "a"
    assert plan.begin(10.2) is None
    assert plan.next_start == 10.25
    assert plan.begin(10.25) == "b"
    assert plan.next_start is None


def test_after_a_failure_the_next_attempt_is_due_at_once() -> None:
    plan = Race("abc", 0.25)
    plan.begin(0)
    plan.fail_one()
    assert plan.begin(0.01) == "b"
    assert plan.begin(0.02) is None


def test_a_race_is_lost_when_all_have_failed_not_before() -> None:
    plan = Race("ab", 0.25)
    lost = []
    for _ in "ab":
        plan.begin(0)
        lost.append(plan.is_lost)
        plan.fail_one()
    assert (lost, plan.is_lost) == ([False, False], True)


# -- acting


def test_one_that_answers_in_time_is_the_only_one_tried(clock: JumpClock) -> None:
    attempts = Attempts(clock, {"a": (0.1, None), "b": (0, None)})
    assert race(["a", "b"], attempts).name == "a"
    assert attempts.begun == [("a", 0)]


def test_a_slow_one_is_overtaken_and_killed(clock: JumpClock) -> None:
    attempts = Attempts(clock, {"a": (100, None), "b": (0.1, None)})
    assert race(["a", "b"], attempts).name == "b"
    wait_all_blocked()
    assert attempts.begun == [("a", 0), ("b", ATTEMPT_DELAY)]
    assert attempts.killed == ["a"]


def test_a_slow_one_may_still_win(clock: JumpClock) -> None:
    attempts = Attempts(clock, {"a": (0.3, None), "b": (100, None)})
    assert race(["a", "b"], attempts).name == "a"
    wait_all_blocked()
    assert attempts.killed == ["b"]


def test_a_refusal_begins_the_next_at_once(clock: JumpClock) -> None:
    attempts = Attempts(clock, {"a": (0.01, ConnectionRefusedError()), "b": (0.01, None)})
    assert race(["a", "b"], attempts).name == "b"
    assert attempts.begun == [("a", 0), ("b", 0.01)]


def test_when_all_fail_the_last_error_is_raised(clock: JumpClock) -> None:
    attempts = Attempts(clock, {"a": (0, OSError("first")), "b": (0, OSError("second"))})
    with pytest.raises(OSError, match="second"):
        race(["a", "b"], attempts)


@pytest.mark.parametrize("names", ["a", "ab"])
def test_all_errors_come_in_a_group_if_asked_for(clock: JumpClock, names: str) -> None:
    attempts = Attempts(clock, {"a": (0, OSError("first")), "b": (0, OSError("second"))})
    with pytest.raises(ExceptionGroup) as caught:
        race(list(names), attempts, all_errors=True)
    assert [str(each) for each in caught.value.exceptions] == ["first", "second"][: len(names)]


def test_without_an_address_there_is_an_oserror(clock: JumpClock) -> None:
    with pytest.raises(OSError, match="no address"):
        race([], Attempts(clock, {}))


def test_two_that_succeed_in_one_turn_leave_one_open(clock: JumpClock) -> None:
    attempts = Attempts(clock, {"a": (ATTEMPT_DELAY + 0.1, None), "b": (0.1, None)})
    won = race(["a", "b"], attempts)
    wait_all_blocked()
    assert [each for each in attempts.made if not each.closed] == [won]


def test_what_is_no_failure_to_connect_is_raised_and_kills_the_others(clock: JumpClock) -> None:
    attempts = Attempts(clock, {"a": (100, None), "b": (0, RuntimeError("a bug"))})
    with pytest.raises(RuntimeError, match="a bug"):
        race(["a", "b"], attempts)
    wait_all_blocked()
    assert attempts.killed == ["a"]


def test_a_timeout_around_the_race_kills_all(clock: JumpClock) -> None:
    attempts = Attempts(clock, {"a": (100, None), "b": (100, None)})
    with pytest.raises(Timeout), Timeout(5):
        race(["a", "b"], attempts)
    wait_all_blocked()
    assert sorted(attempts.killed) == ["a", "b"]


def test_a_killed_race_kills_all(clock: JumpClock) -> None:
    attempts = Attempts(clock, {"a": (100, None), "b": (100, None)})
    racing = spawn(race, ["a", "b"], attempts)
    sleep(1)
    racing.kill()
    wait_all_blocked()
    assert sorted(attempts.killed) == ["a", "b"]
