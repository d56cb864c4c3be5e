"""What candidates race on: rows that weigh what they do in the score, each once, in an order of the candidate's own."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import chain
from statistics import fmean
from typing import cast

import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_engine_racing import Column, outcome_of

from metaspo.engine.evaluation.evaluation import CHUNK, Evaluation, Part
from metaspo.engine.evaluation.scorecard import Scorecard
from metaspo.engine.prompts import PromptPair
from metaspo.engine.runtime.priorities import inner
from metaspo.engine.selection.betting import Wager
from metaspo.engine.selection.objective import KeepBest, Objective, ScoredPrompt
from metaspo.engine.selection.pruning import CacheFirstGate, CandidateRun, Pruner, hard_and_easy
from metaspo.engine.selection.race import WAVE_ROWS, Race, RaceDesign
from metaspo.engine.selection.races import Races

GRADE = st.sampled_from([0.0, 0.25, 0.5, 1.0])


@given(st.lists(st.lists(st.tuples(GRADE, GRADE), min_size=1, max_size=6), min_size=1, max_size=4), st.data())
def test_weighted_rows_add_up_as_scores_do(nodes: list[list[tuple[float, float]]], data: st.DataObject) -> None:
    """The weighted differences over all rows are above zero exactly if the candidate's mean of means is."""
    weights = data.draw(st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=len(nodes), max_size=len(nodes)))
    sizes = tuple(len(rows) for rows in nodes)
    design = RaceDesign(seed=1, address="iter=1/outer", sizes=sizes, node_weights=tuple(weights), rate=0.1)
    assert max(design.weights) == 1
    ahead = sum(
        weight * sum(grade - known for grade, known in rows) for weight, rows in zip(design.weights, nodes, strict=True)
    )
    scores = [
        Fraction(weight) * sum(Fraction(grade) - Fraction(known) for grade, known in rows) / len(rows)
        for weight, rows in zip(weights, nodes, strict=True)
    ]
    assert abs(ahead) < 1e-9 if sum(scores) == 0 else (ahead > 0) == (sum(scores) > 0)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=5), st.integers(0, 99), st.integers(1, 9))
def test_waves_hold_every_row_once_and_follow_the_order(sizes: list[int], seed: int, number: int) -> None:
    weights = (1.0,) * len(sizes)
    design = RaceDesign(seed=seed, address="iter=1/outer", sizes=tuple(sizes), node_weights=weights, rate=0.1)
    order, done = design.order(number), 0
    for wave in design.waves(number):
        places = {(node, row) for node, rows in enumerate(wave) for row in rows}
        assert places == set(order[done : done + len(places)])
        done += len(places)
    assert done == len(order) == len(set(order)) == sum(sizes)


def design_of(sizes: list[int], *, rate: float = 0.1, seed: int = 1) -> RaceDesign:
    weights = tuple(1.0 + node for node in range(len(sizes)))
    return RaceDesign(seed=seed, address="iter=1/outer", sizes=tuple(sizes), node_weights=weights, rate=rate)


def test_every_candidate_and_every_seed_has_an_order_of_its_own() -> None:
    """Drawn, not as the rows stand; and the same again."""
    orders = [design_of([6, 6], seed=seed).order(number) for seed in (1, 2) for number in (1, 2)]
    plain = [(node, row) for node in range(2) for row in range(6)]
    assert all(sorted(order) == plain != order for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    assert design_of([6, 6], seed=1).order(1) == orders[0]


@pytest.mark.parametrize("nodes", [1, 3, 5, 9])
def test_a_wave_is_some_rows_of_each_node_and_no_less_than_is_asked_at_once(nodes: int) -> None:
    """All waves but the last are as large."""
    sizes = [sum(map(len, wave)) for wave in design_of([20] * nodes).waves(1)]
    assert set(sizes[:-1]) == {max(CHUNK, WAVE_ROWS * nodes)}
    assert 0 < sizes[-1] <= sizes[0]


def bar_of(rows: list[list[float]]) -> ScoredPrompt:
    cards = tuple(
        Scorecard(task="", pair=PromptPair("", ""), outcomes=tuple(map(outcome_of, grades)), score=fmean(grades))
        for grades in rows
    )
    return ScoredPrompt(position=0, prompt="bar", value=0.5, cards=cards)


ROW = st.tuples(GRADE, GRADE, GRADE, st.booleans(), st.sampled_from([False] * 9 + [True]))


@given(
    st.lists(st.lists(ROW, min_size=1, max_size=12), min_size=1, max_size=3),
    st.sampled_from([(), (1.0,), (0.5, 0.5)]),
    st.sampled_from([0.1, 0.6]),
    st.booleans(),
)
def test_a_race_goes_along_its_order_as_far_as_there_are_answers_and_no_farther_than_it_is_lost(
    nodes: list[list[tuple[float, float, float, bool, bool]]], shares: tuple[float, ...], rate: float, gaps: bool
) -> None:
    """Up to a gap, a refusal, or the row that lost it; in the last row there is nothing left to wager."""
    design, number = design_of([len(rows) for rows in nodes], rate=rate), 3
    bars = [[[row[1 + which] for row in rows] for rows in nodes] for which in range(len(shares))]
    columns = [Column([None if row[4] else row[0] for row in rows]) for rows in nodes]
    for column, rows in zip(columns, nodes, strict=True):
        column.revealed = {at for at, row in enumerate(rows) if not gaps or row[3]}
    race = Race(design, number, columns)
    assert (race.rows, race.capital, race.refusal) == (0, 0.0, "")
    race.start([(share, bar_of(bar)) for share, bar in zip(shares, bars, strict=True)])
    race.go_on()

    weights = design.weights
    wagers = [
        Wager([weight * grade for weight, rows in zip(weights, bar, strict=True) for grade in rows], rate=rate)
        for bar in bars
    ]
    order, passed, refusal = design.order(number), list[tuple[int, int]](), ""

    def capital() -> float:
        return sum(share * wager.capital for share, wager in zip(shares, wagers, strict=True))

    for node, row in order:
        if capital() * rate >= 1 or row not in columns[node].revealed:
            break
        grade = columns[node].grades[row]
        if grade is None:
            refusal = ": too long"
            break
        passed.append((node, row))
        for bar, wager in zip(bars, wagers, strict=True):
            if len(passed) < len(order):
                wager.take(weights[node] * grade, weights[node] * bar[node][row])
    assert (race.rows, race.refusal) == (len(passed), refusal)
    assert race.capital == pytest.approx(capital())
    assert race.raced_out == (capital() * rate >= 1)
    best_case = [
        fmean([nodes[node][row][0] if (node, row) in passed else 1.0 for row in range(len(nodes[node]))])
        for node in range(len(nodes))
    ]
    assert race.bound == pytest.approx(fmean(best_case, weights=design.node_weights))
    for column, rows in zip(columns, nodes, strict=True):
        column.revealed.update(range(len(rows)))
    race.start([])
    race.go_on()
    refused = [at for at, (node, row) in enumerate(order) if columns[node].grades[row] is None]
    assert race.rows == (refused[0] if refused else len(order))
    assert not race.raced_out


def test_the_hard_examples_are_those_that_were_not_wholly_right() -> None:
    """Refused ones, too; each part in the split's order."""
    outcomes = tuple(map(outcome_of, [1.0, 0.5, None, 1.0, 0.0]))
    card = Scorecard(task="", pair=PromptPair("", ""), outcomes=outcomes, score=0.5)
    assert hard_and_easy(card) == ([1, 2, 4], [0, 3])


class Losing(Pruner):
    """A candidate is out for good at its second answer."""

    watched = True

    def __init__(self) -> None:
        self._looks = 0

    def on_answers(self, number: int) -> None:
        self._looks += 1

    def has_lost(self, _number: int) -> bool:
        return self._looks > 2  # once at what the cache has

    def cannot_win(self, _number: int) -> bool:
        return False

    def violation(self, _number: int) -> str:
        return ""


class OneByOne:
    """Examples that are answered one after the other, as long as nobody takes them back."""

    def __init__(self, examples: int) -> None:
        self.missing = examples

    async def recall(self) -> None:
        """The cache has none."""

    async def ask(self, parts: Sequence[Part], *, on_answers: Callable[[], None]) -> None:
        for _ in chain.from_iterable(rows for _, rows in parts):
            self.missing -= 1
            on_answers()
            await anyio.lowlevel.checkpoint()


async def test_a_candidate_is_looked_at_with_each_answer_and_what_is_out_is_taken_back_at_once() -> None:
    """The rest costs nothing."""
    evaluation = OneByOne(9)
    run = CandidateRun(
        number=1,
        evaluations=[cast("Evaluation", evaluation)],
        stages=[[[((), range(5))]], [[((), range(4))]]],
        pruner=Losing(),
        gate=CacheFirstGate(1),
    )
    assert await run.score() is None
    assert evaluation.missing == 7


class Beaten(Losing):
    """A candidate is out as soon as another one has come to its end."""

    def __init__(self) -> None:
        super().__init__()
        self.beaten = False

    def has_lost(self, _number: int) -> bool:
        return self.beaten


async def test_a_candidate_that_another_one_has_beaten_meanwhile_is_asked_nothing_of_its_next_stage() -> None:
    """It heard of no answer since."""
    pruner, evaluation = Beaten(), OneByOne(9)

    class OvertakenAfterFive(OneByOne):
        async def ask(self, parts: Sequence[Part], *, on_answers: Callable[[], None]) -> None:
            await evaluation.ask(parts, on_answers=on_answers)
            pruner.beaten = True

    run = CandidateRun(
        number=1,
        evaluations=[cast("Evaluation", OvertakenAfterFive(9))],
        stages=[[[((), range(5))]], [[((), range(4))]]],
        pruner=pruner,
        gate=CacheFirstGate(1),
    )
    assert await run.score() is None
    assert evaluation.missing == 4


@pytest.mark.parametrize(("waves", "lead"), [(6, 1), (7, 2), (12, 2), (13, 3)])
def test_a_raced_candidate_is_ahead_of_the_next_one_by_a_sixth_of_its_waves(waves: int, lead: int) -> None:
    """So many of its waves go before the next one's first, and one abreast of that."""
    rows = waves * max(CHUNK, WAVE_ROWS)
    races = Races(design_of([rows]), KeepBest(1), objective=Objective(), exact=True)
    ahead, behind = (
        [priority for priority, _ in races.stages(number, (), [inner(1, task=0, candidate=number)])[0][0]]
        for number in (1, 2)
    )
    assert len(ahead) == waves
    assert sum(priority < behind[0] for priority in ahead) == lead + 1


@pytest.mark.virtual
@pytest.mark.parametrize("last", [1, 2, 3])
async def test_nobody_asks_before_all_have_taken_what_the_cache_has(last: int) -> None:
    """Whoever says so twice, or is no candidate, changes nothing."""
    gate, through = CacheFirstGate(3), list[int]()

    async def candidate(number: int) -> None:
        await anyio.sleep(1)
        gate.done(number)
        await gate.wait()
        through.append(number)

    async with anyio.create_task_group() as group:
        for number in {1, 2, 3} - {last}:
            group.start_soon(candidate, number)
        await anyio.sleep(2)
        for number in {0, 1, 2, 3, 4} - {last}:
            gate.done(number)
        await anyio.sleep(1)
        assert through == []
        await candidate(last)
    assert sorted(through) == [1, 2, 3]


@pytest.mark.virtual
async def test_a_candidate_asks_nothing_while_another_one_has_not_looked_into_the_cache() -> None:
    """What that finds there may put this one out."""
    evaluation, gate = OneByOne(2), CacheFirstGate(2)
    run = CandidateRun(
        number=1,
        evaluations=[cast("Evaluation", evaluation)],
        stages=[[[((), range(2))]]],
        pruner=Losing(),
        gate=gate,
    )
    async with anyio.create_task_group() as group:
        group.start_soon(run.score)
        await anyio.sleep(1)
        assert evaluation.missing == 2
        gate.done(2)
    assert evaluation.missing == 0
