"""Runs in every kind of trouble, killed and started again, keep every promise (docs/simulation.md)."""

from collections import Counter
from typing import get_args

import pytest
from simulation import simulate
from simulation_conduct import Arrival
from simulation_dialects import Count, Form, Thinking
from simulation_doors import DoorName, simulate_door
from simulation_ledger import Ledger, most_above_pace, most_within
from simulation_plan import Kind, draw_plan
from sizes import rest_is_slow

from metaspo.backends import Usage

SEEDS = (
    185,
    237,
    378,
    521,
    590,
    745,
    845,
    2062,
)  # draw everything and are soon over; CI runs a thousand
PARTS = (SEEDS[:4], SEEDS[4:])
DOORS: tuple[DoorName, ...] = get_args(DoorName)
ASKED = [*zip(PARTS, DOORS, strict=True), *zip(PARTS, DOORS[::-1], strict=True)]


@pytest.mark.parametrize("seeds", PARTS, ids=str)
def test_every_promise_holds(seeds: tuple[int, ...]) -> None:
    """Raises `Broken` with the seed, what was broken and how to see it again."""
    calls = sum(simulate(seed).counts["calls"] for seed in seeds)
    assert calls > 10 * len(seeds)


@pytest.mark.parametrize(("seeds", "door"), rest_is_slow(ASKED, but=2), ids=str)
def test_every_promise_holds_for_programs_that_ask_through_a_client_or_a_server(
    seeds: tuple[int, ...], door: DoorName
) -> None:
    calls = sum(simulate_door(seed, door=door).counts["calls"] for seed in seeds)
    assert calls > 5 * len(seeds)


@pytest.mark.parametrize("seed", rest_is_slow([4, 3, 5]))
def test_a_seed_gives_the_same_events_at_the_same_times(seed: int) -> None:
    """But for the order in which calls of one moment are cancelled, which anyio leaves open."""
    traces: list[list[str]] = [[], []]
    for trace in traces:
        simulate(seed, note=trace.append)
    assert len(traces[0]) > 20
    assert sorted(traces[0]) == sorted(traces[1])


def test_the_seeds_of_the_default_tests_draw_everything() -> None:
    drawn, among_more = (
        sum((draw_plan(seed).drawn() for seed in seeds), Counter[str]()) for seeds in (SEEDS, range(200))
    )
    assert drawn.keys() == among_more.keys()
    assert len([name for name in drawn if name.startswith("fault: ")]) == len(get_args(Kind))
    odd = [*get_args(Form), *(f"thinking in {how}" for how in get_args(Thinking)[1:])]
    assert {*odd, *(f"usage: {how}" for how in get_args(Count)[1:])} <= drawn.keys()


def arrival(key: str, at: float) -> Arrival:
    return Arrival(session=1, lane="base", key=key, at=at, usage=Usage(10, 2))


def books(width: int = 2) -> Ledger:
    ledger = Ledger(lambda _: None)
    ledger.begin(1, lambda: {"base": width})
    return ledger


def test_the_books_notice_a_call_for_what_is_kept() -> None:
    ledger = books()
    ledger.keep("a")
    ledger.arrive(arrival("a", 0))
    assert "in the store" in ledger.broken[0]


def test_the_books_notice_a_call_for_what_was_answered_in_this_session() -> None:
    ledger = books()
    first = arrival("a", 0)
    ledger.arrive(first)
    ledger.deliver(first)
    ledger.end(first, "answered")
    ledger.arrive(arrival("a", 1))
    assert "answered in this session" in ledger.broken[0]


def test_the_books_notice_more_calls_at_once_than_a_lane_allows_itself() -> None:
    ledger = books(width=1)
    ledger.arrive(arrival("a", 0))
    ledger.arrive(arrival("b", 0))
    assert "calls at once" in ledger.broken[0]


def test_the_books_notice_a_minute_with_too_many_requests() -> None:
    ledger = books(width=100)
    for number in range(31):
        ledger.arrive(arrival(str(number), 2.0 * number - 0.02 * (number == 30)))
    ledger.check_limits("base", requests=30, tokens=None)
    assert "within a minute" in ledger.broken[0]


def test_the_books_notice_answers_that_a_stop_has_lost() -> None:
    ledger = books()
    ledger.deliver(arrival("a", 0))
    ledger.check_stop()
    assert "not kept" in ledger.broken[0]


def test_the_most_within_a_time_is_found_at_any_place() -> None:
    assert most_within([(0, 1), (5, 2), (64.9, 3), (65, 4), (66, 1)], 60) == 8


def test_a_burst_is_ahead_of_its_pace() -> None:
    assert most_above_pace([0, 1, 2, 3], 1.0) == 1
    assert most_above_pace([0, 0, 0, 1], 1.0) == 3
