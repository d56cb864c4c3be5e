"""What was taken counts from its slot on, a quarter of a second here, until a whole period after that slot's end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaspo.scheduling.limits.window import SLACK, Bucket, Window

END = 60.25  # of what was taken in the first slot


def taken(*amounts: tuple[float, int]) -> Window:
    """A minute in which these were, at these times."""
    window = Window(period=60.0)
    for at, amount in amounts:
        window.take(amount, at)
    return window


def test_a_slot_begins_with_its_first_moment() -> None:
    """The next one's is not its last."""
    window = Window(period=60.0)
    times = [0.0, 0.2, 0.25, 0.3, 0.5, 0.75, 0.8, 1.0, 59.9, 60.0, 500.0, 500.25]
    assert [window.take(1, at) for at in times] == [int(4 * at) for at in times]


@pytest.mark.parametrize(("at", "used"), [(60.0, 5), (60.2, 5), (END, 0), (61.0, 0), (900.0, 0)])
def test_what_was_taken_is_forgotten_a_period_after_its_slot(at: float, used: int) -> None:
    """Whoever asks first: who wants to take, has taken, or knows better now."""
    assert taken((0.1, 5), (at, 0)).used == used
    waiting, corrected = (taken((0.1, 5), (60.0, 0)) for _ in range(2))
    assert (waiting.wait(1, 5, at) > 0) == bool(used)
    assert waiting.used == used
    corrected.correct(0, 3, at)
    assert corrected.used == (8 if used else 0)


def test_nothing_comes_back_of_what_was_forgotten() -> None:
    """All that was taken before a long time in which nothing was, and each slot of a short one."""
    for later in (900.0, 61.0):
        window = taken((0.1, 5), (0.3, 7), (later, 2))
        assert [window.used, window.wait(1, 2, later), window.take(0, later + 60.0), window.used] == [
            2 + 0,
            60.25,
            int(4 * later) + 240,
            2,
        ]
        window.take(0, later + 60.25)
        assert window.used == 0
    window = taken((0.1, 5), (0.3, 7))
    for at, used in ((30.0, 12), (END, 7), (END + 0.25, 0), (90.0, 0), (121.0, 0), (150.0, 0)):
        window.take(0, at)
        assert window.used == used


@pytest.mark.parametrize(
    ("amount", "limit", "seconds"),
    [(1, 13, 0.0), (1, 12, END - 10), (6, 12, END + 1 - 10), (12, 12, END + 2 - 10), (99, 12, END + 2 - 10)],
)
def test_a_wait_ends_with_the_slot_that_gives_enough_back(amount: int, limit: int, seconds: float) -> None:
    """Of five, five and two that were taken a second after each other."""
    assert taken((0.1, 5), (1.1, 5), (2.1, 2)).wait(amount, limit, 10.0) == seconds


def test_what_is_known_better_counts_in_the_slot_where_it_was_taken() -> None:
    """Late in the window as well as early."""
    for at in (20.0, 50.0):
        window = taken((at, 5), (55.0, 1))
        window.correct(int(4 * at), -2, 55.0)
        for then, used in ((61.0, 4), (at + 60.0, 4), (at + 60.25, 1)):
            window.take(0, then)
            assert window.used == used


def test_what_floats_have_lost_is_not_waited_for() -> None:
    """Of whatever is counted, a millionth."""
    bucket = Bucket(rate=1.0, burst=0.0, now=0.0)
    assert [bucket.wait(amount, 0.0) for amount in (SLACK, 2 * SLACK)] == [0.0, 2 * SLACK]


@given(st.floats(1e-3, 1e15), st.floats(0.0, 1e9))
def test_what_is_to_be_waited_for_moves_the_clock(rate: float, at: float) -> None:
    """Else whoever waits by a timer would ring for ever at one moment, as where a rate has doubled often."""
    bucket = Bucket(rate=rate, burst=1.0, now=at)
    bucket.take(1, at)
    wait = bucket.wait(1, at)
    assert wait == 0 or at + wait > at


def test_what_came_back_before_something_is_taken_is_no_more_than_there_is_room_for() -> None:
    """However long that was."""
    bucket = Bucket(rate=1.0, burst=5.0, now=0.0)
    bucket.take(5, 100.0)
    assert bucket.wait(3, 101.0) == 2.0
