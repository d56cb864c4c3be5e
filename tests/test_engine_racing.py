"""Racing: a raced run is a function of the answers, and it says whom it dropped."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from engine_sessions import Runs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from racing_oracle import RacingOracle
from sizes import examples
from world import World, fraction, make_config, make_task

from metaspo.backends import Request
from metaspo.engine import RunConfig, selections
from metaspo.engine.evaluation.scorecard import Outcome, Scorecard, Status
from metaspo.engine.journal.events import Racing, Rejected
from metaspo.engine.prompts import PromptPair
from metaspo.engine.runs.identity import fingerprint
from metaspo.engine.selection.objective import KeepBest, Objective, ScoredPrompt, mean
from metaspo.engine.selection.race import Race, RaceDesign
from metaspo.engine.selection.races import Races
from metaspo.engine.tasks import Example, Task
from metaspo.engine.tasks.metrics import build_metric


class Column:
    """One candidate's grades, None for a refused row; rows are revealed one by one."""

    def __init__(self, grades: Sequence[float | None]) -> None:
        self.grades = grades
        self.revealed: set[int] = set()

    def outcome(self, row: int, /) -> Outcome | None:
        if row not in self.revealed:
            return None
        return outcome_of(self.grades[row])


def outcome_of(grade: float | None) -> Outcome:
    status = Status.FAILED if grade is None else Status.SCORED
    return Outcome(example=Example("", ()), status=status, grade=grade, reason="too long")


def scored_prompt(grades: Sequence[float | None], position: int) -> ScoredPrompt:
    score = sum(grade or 0.0 for grade in grades) / len(grades)
    card = Scorecard(task="", pair=PromptPair("", ""), outcomes=tuple(map(outcome_of, grades)), score=score)
    return ScoredPrompt(prompt=str(position), value=mean([score]), cards=(card,), position=position)


def hold(
    rows: list[list[float | None]], *, keep: int, rate: float, exact: bool, timing: Random
) -> tuple[list[int], list[int]]:
    """Hold one round, answers coming in any order; who is kept, of old (0) and new, and who is raced out."""
    old, columns = scored_prompt(rows[0], 0), {n: Column(grades) for n, grades in enumerate(rows[1:], start=1)}
    design = RaceDesign(seed=1, address="here", sizes=(len(rows[0]),), node_weights=(1.0,), rate=rate)
    best = KeepBest(keep, [old])
    races = Races(design, best, objective=Objective(), exact=exact)
    finished: list[ScoredPrompt] = []
    while columns:
        number = timing.choice(list(columns))
        column = columns[number]
        if number not in races.lined_up:
            races.enter(number, str(number), [column])
        hidden = [row for row in range(len(column.grades)) if row not in column.revealed]
        column.revealed.update(timing.sample(hidden, min(len(hidden), timing.randint(1, 8))))
        races.on_answers(number)
        if races.has_lost(number) or races.violation(number) or races.cannot_win(number):
            races.ended(number)
            del columns[number]
        elif len(column.revealed) == len(column.grades):
            finished.append(scored_prompt(column.grades, number))
            races.ended(number, finished[-1])
            del columns[number]
    there = [old, *(scored for scored in finished if not races.has_lost(scored.position))]
    assert best.kept() == sorted(there, key=lambda scored: (-scored.value, scored.position))[:keep]
    return [scored.position for scored in best.kept()], races.raced_out()


@given(st.integers(0, 10**6), st.integers(1, 2), st.sampled_from([0.05, 0.15, 0.4]), st.booleans())
def test_who_is_kept_and_raced_out_depends_neither_on_the_order_of_answers_nor_on_exact_bounds(
    seed: int, keep: int, rate: float, refusals: bool
) -> None:
    rng = Random(seed)
    skills = [0.6, *(rng.uniform(0.3, 0.8) for _ in range(5))]
    rows: list[list[float | None]] = [[float(rng.random() < skill) for _ in range(30)] for skill in skills]
    if refusals:
        rows[rng.randint(1, 5)][rng.randrange(30)] = None
    found = [hold(rows, keep=keep, rate=rate, exact=timing < 3, timing=Random(timing)) for timing in range(4)]
    assert found == [found[0]] * 4


def test_a_race_stops_at_a_gap_and_ends_at_a_refusal() -> None:
    """Where the order comes to it, and not before; from the start it knows nothing of it."""
    design = RaceDesign(seed=1, address="here", sizes=(4,), node_weights=(1.0,), rate=0.1)
    rows = [row for _, row in design.order(1)]
    column = Column([None if row == rows[2] else 0.0 for row in range(4)])
    race = Race(design, 1, [column])
    told = []
    for revealed in (rows[2], rows[0], rows[1], rows[3]):
        column.revealed.add(revealed)
        race.go_on()
        told.append((race.rows, race.bound, race.refusal))
    assert [rows for rows, _, _ in told] == [0, 1, 2, 2]
    assert [bound for _, bound, _ in told] == [1.0, 0.75, 0.5, 0.5]
    assert [refusal for _, _, refusal in told] == ["", "", *[f"{outcome_of(None).example.where}: too long"] * 2]
    race.start([])
    assert (race.rows, race.bound, race.refusal) == (0, 1.0, "")


def tasks_of(*sizes: int) -> tuple[Task, ...]:
    return tuple(make_task(name, train=size, test=2) for name, size in zip("abc", sizes, strict=False))


RACED = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 10**6),
        "iterations": st.just(2),
        "racing": st.sampled_from([0.05, 0.2, 0.45]),
        "early_rejection": st.booleans(),
        "inner": st.fixed_dictionaries({"candidates": st.integers(0, 3), "keep": st.integers(1, 2)}),
        "outer": st.fixed_dictionaries({"candidates": st.integers(1, 4)}),
    }
)
SPLITS = st.sampled_from([(152,), (60, 92)])
SLOW = settings(max_examples=examples(2, random=6), deadline=None, suppress_health_check=[HealthCheck.too_slow])


@SLOW
@given(RACED, SPLITS, st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 60), st.sampled_from([1.0, 2.5]))
def test_a_raced_run_selects_and_drops_as_the_sequential_oracle_does(
    changes: dict[str, Any], sizes: tuple[int, ...], world: int, timing: int, width: int, weight: float
) -> None:
    first, *others = tasks_of(*sizes)
    config, tasks = make_config(changes), [replace(first, weight=weight), *others]
    oracle = RacingOracle(config, tasks, World(world).answer)
    oracle.run()
    runs = Runs(config, tasks, World(world), timing=timing, width=width)
    result = runs.session()
    assert result is not None
    assert selections(runs.journal.events) == oracle.selections
    assert list(result.raced_out) == oracle.raced_out


@SLOW
@given(RACED, SPLITS, st.integers(0, 10**6), st.lists(st.floats(1, 60), max_size=2))
def test_timing_interruptions_and_early_rejection_change_nothing_in_the_result(
    changes: dict[str, Any], sizes: tuple[int, ...], world: int, stops: list[float]
) -> None:
    """And a finished run that is started again makes no call."""
    config = make_config(changes)
    undisturbed = Runs(config, tasks_of(*sizes), World(world), timing=1, width=7)
    result = undisturbed.session()
    other = config.model_copy(update={"early_rejection": not config.early_rejection})
    disturbed = Runs(other, tasks_of(*sizes), World(world), timing=2, width=40)
    for stop in stops:
        disturbed.session(stop_after=stop)
    assert disturbed.session() == result
    assert len(disturbed.answered) == len(set(disturbed.answered))
    calls = len(disturbed.answered)
    assert disturbed.session() == result
    assert len(disturbed.answered) == calls
    assert selections(disturbed.journal.events) == selections(undisturbed.journal.events)


def finished(config: RunConfig, tasks: Sequence[Task], *, world: World, width: int = 8) -> Runs:
    runs = Runs(config, tasks, world, timing=1, width=width)
    assert runs.session() is not None
    return runs


class Unsteady(World):
    """System prompts are right on a share of the examples that has nothing to do with the first one's."""

    def base(self, request: Request) -> str:
        system, user = (message.content for message in request.messages)
        skill = 0.6 if "helpful" in system else 0.3 + 0.4 * fraction(str(self.seed), system)
        right = fraction(str(self.seed), system, user) < skill
        return "yes" if (int(user.split("number ")[1].split(" ")[0]) % 2 == 0) == right else "no"


def test_racing_saves_calls_and_the_journal_says_who_was_dropped_and_on_what_evidence() -> None:
    tasks, world = tasks_of(100, 100), Unsteady(4, malformed=0)
    changes: dict[str, Any] = {"outer": {"candidates": 6}, "inner": {"candidates": 0}, "iterations": 1}
    plain = finished(make_config(changes), tasks, world=world)
    raced = finished(make_config({**changes, "racing": 0.05}), tasks, world=world)
    assert len(raced.answered) < 0.85 * len(plain.answered)
    (opened,) = [event for event in raced.journal.events if isinstance(event, Racing) and event.rate is not None]
    assert (opened.address, opened.rate, opened.rows) == ("iter=1/outer", 0.05, 200)
    dropped = [event for event in raced.journal.events if isinstance(event, Rejected) and event.raced is not None]
    assert dropped
    for event in dropped:
        assert event.raced is not None
        assert event.rows is not None
        assert event.raced >= 1 / 0.05
        assert 0 < event.rows < event.rows + event.unasked <= 200


def test_the_inner_loop_shares_the_rate_among_the_prompts_it_may_keep() -> None:
    config = make_config({"racing": 0.06, "inner": {"candidates": 3, "keep": 2}, "outer": {"candidates": 0}})
    runs = finished(config, tasks_of(150), world=World(1))
    opened = [event for event in runs.journal.events if isinstance(event, Racing)]
    assert opened == [Racing(address=f"iter={iteration}/inner/task=a", rate=0.03, rows=150) for iteration in (1, 2)]


@pytest.mark.parametrize(
    ("metric", "train", "why"),
    [("macro-f1", 80, "macro-f1 of task 'a' is no mean"), ("accuracy", 10, "20 rows: below")],
)
def test_a_round_that_cannot_be_raced_well_is_left_to_exact_bounds_and_says_so(
    metric: str, train: int, why: str
) -> None:
    """Its selections and calls are those of a run without racing."""
    tasks = [replace(task, metric=build_metric(metric, base_dir=Path())) for task in tasks_of(train, train)]
    changes: dict[str, Any] = {"iterations": 1, "inner": {"candidates": 0, "keep": 1}}
    raced = finished(make_config({**changes, "racing": 0.1}), tasks, world=World(2))
    plain = finished(make_config(changes), tasks, world=World(2))
    (said,) = [event for event in raced.journal.events if isinstance(event, Racing) and event.address == "iter=1/outer"]
    assert said.off is not None
    assert said.off.startswith(why)
    assert selections(raced.journal.events) == selections(plain.journal.events)
    assert raced.answered == plain.answered


def test_a_raced_run_has_a_directory_of_its_own_and_other_runs_keep_theirs() -> None:
    tasks = tasks_of(5)
    plain, raced = make_config(), make_config({"racing": 0.05})
    assert fingerprint(plain, tasks) != fingerprint(raced, tasks)
    assert fingerprint(plain, tasks) == fingerprint(make_config({"racing": None}), tasks)
