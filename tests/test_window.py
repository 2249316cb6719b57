"""The window: rounds in, a size out, without a clock. How it fares on whole paths is in test_scanner.py."""

from greenprobe.engine.window import FIRST, LEAST, SMALLEST_ROUND, Round, Window

TIMEOUT = 0.1


class Path:
    """Sends whole rounds through a window and says what became of them."""

    def __init__(self, *, limit: int = 1000) -> None:
        self.window = Window(limit)
        self.now = 0.0

    def send(self, count: int) -> list[Round]:
        return [self.window.sent() for _ in range(count)]

    def answer(self, probe: Round, *, is_late: bool = False, queue: float = 0.0) -> None:
        self.window.answered(probe, is_late=is_late, queue=queue, now=self.now, timeout=TIMEOUT)

    def leave(self, probe: Round) -> None:
        self.window.gone(probe, now=self.now, timeout=TIMEOUT)

    def round(self, *, answered: float = 1.0, queue: float = 0.0) -> list[Round]:
        """Send a round of which a share is answered in time; return its probes."""
        probes = self.send(max(self.window.size, SMALLEST_ROUND))
        for place, probe in enumerate(probes):
            if place < len(probes) * answered:
                self.answer(probe, queue=queue)
            self.leave(probe)
        return probes

    def late(self, probes: list[Round], count: int) -> None:
        """Answer some probes of a round to a re-send."""
        self.now += TIMEOUT
        for probe in probes[:count]:
            self.answer(probe, is_late=True)


def test_it_doubles_while_everything_is_answered() -> None:
    path = Path()
    sizes = []
    for _ in range(3):
        path.round()
        sizes.append(path.window.size)
    assert sizes == [FIRST * 2, FIRST * 4, FIRST * 8]


def test_it_opens_by_the_share_that_is_answered() -> None:
    path = Path()
    path.round(answered=0.25)
    assert path.window.size == FIRST * 1.25


def test_it_opens_blindly_while_nobody_has_ever_answered() -> None:
    path = Path()
    path.round(answered=0)
    assert path.window.size == FIRST * 2


def test_silence_opens_nothing_once_somebody_has_answered() -> None:
    path = Path()
    path.round(answered=0.25)
    size = path.window.size
    path.round(answered=0)
    assert path.window.size == size


def test_it_never_opens_beyond_its_limit() -> None:
    path = Path(limit=100)
    for _ in range(9):
        path.round()
    assert path.window.size == 100
    assert Window(3).size == 3


def test_a_lossy_round_closes_it_once_to_three_quarters_of_what_it_was_then() -> None:
    path = Path()
    probes = path.round(answered=0.5)
    path.late(probes, 20)
    assert path.window.size == FIRST * 3 // 4
    assert probes[0].is_lossy


def test_some_random_loss_closes_nothing() -> None:
    path = Path()
    probes = path.round(answered=0.95)
    size = path.window.size
    path.late(probes, 3)
    assert path.window.size == size
    assert not probes[0].is_lossy


def test_late_answers_at_the_end_of_a_scan_are_counted_in_the_rounds_they_were_sent_in() -> None:
    path = Path()
    rounds = [path.round(answered=0.97) for _ in range(5)]
    size = path.window.size
    for probes in rounds:
        path.late(probes, 2)
    assert path.window.size == size


def test_a_queue_closes_it_before_anything_is_lost() -> None:
    path = Path()
    probes = path.round(queue=0.05)
    assert path.window.size == FIRST * 3 // 4
    assert not probes[0].is_lossy


def test_rounds_sent_before_a_closing_close_it_no_further_than_their_own_width() -> None:
    path = Path()
    first, second = path.send(FIRST), path.send(FIRST)
    for probe in first + second:
        path.answer(probe, queue=0.05)
        path.leave(probe)
    assert path.window.size == FIRST * 3 // 4


def test_after_a_closing_it_waits_until_loss_could_show_and_then_opens_slowly() -> None:
    path = Path()
    path.late(path.round(answered=0.5), 20)
    closed = path.window.size
    path.round()
    assert path.window.size == closed
    path.now += 2 * TIMEOUT
    path.round()
    assert path.window.size == closed + closed // 16


def test_it_never_closes_below_its_least() -> None:
    path = Path()
    for _ in range(60):
        path.round(queue=1.0)
    assert path.window.size == LEAST
