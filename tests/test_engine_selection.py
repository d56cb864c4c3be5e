"""Who is kept: one rule, asked while answers are missing and when all are there; what breaks a constraint never is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations, product
from typing import cast

import pytest
from engine_sessions import Runs
from hypothesis import given, settings
from hypothesis import strategies as st
from sizes import examples
from test_engine_racing import Column, scored_prompt
from test_engine_search import is_base
from world import World, make_config, make_task

from metaspo.backends import Request, RequestRejected
from metaspo.engine.evaluation.evaluation import Evaluation, score
from metaspo.engine.evaluation.scorecard import Scorecard
from metaspo.engine.journal.events import Proposal, Racing, Rejected, Score
from metaspo.engine.optimize.bilevel import run
from metaspo.engine.optimize.result import RunResult
from metaspo.engine.optimize.round import Round, hold_round
from metaspo.engine.optimize.round_setup import RoundSetup
from metaspo.engine.optimize.state import TaskState
from metaspo.engine.prompts import PromptPair
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.runtime.priorities import initial
from metaspo.engine.selection.objective import KeepBest, Objective, ScoredPrompt
from metaspo.engine.selection.race import RaceDesign
from metaspo.engine.selection.races import Races, design_race
from metaspo.engine.strategies import CallBound, Level, RoundSize, SearchContext
from metaspo.engine.strategies.proposers import AllAtOnce
from metaspo.engine.tasks import Task

Grades = Mapping[str, tuple[int, ...]]  # of each prompt, row by row; a prompt that comes twice has the same ones
ROWS = 2


EARLIER = Objective(ties="earlier")


def scored(position: int, value: float, *, prompt: str = "", objective: Objective = EARLIER) -> ScoredPrompt:
    card = Scorecard(task="a", pair=PromptPair("s", "{question}"), outcomes=(), score=value)
    return objective.scored(position, prompt or f"prompt {position}", [card])


def selected_of(prompts: Sequence[str], grades: Grades, *, keep: int, objective: Objective = EARLIER) -> list[str]:
    """Full scoring, written out: every prompt once, where it came first; the best less what its length costs, of equals
    the shorter where ties go so, and the earlier."""

    def order(prompt: str) -> tuple[float, int]:
        worth = sum(grades[prompt]) / ROWS - objective.penalty * len(prompt)
        return -round(worth, 12), len(prompt) if objective.ties == "shorter" else 0

    return sorted(dict.fromkeys(prompts), key=order)[:keep]


@dataclass
class PartlyKnown:
    """A round of prompts, old ones first, of whose candidates' answers some are there."""

    prompts: Sequence[str]
    old: int
    grades: Grades
    objective: Objective
    seen: dict[int, set[int]] = field(default_factory=dict)

    def value(self, position: int) -> float:
        return sum(self.grades[self.prompts[position]]) / ROWS

    def scored(self, position: int) -> ScoredPrompt:
        return scored(position, self.value(position), prompt=self.prompts[position], objective=self.objective)

    def bound(self, position: int) -> float:
        seen = self.seen[position]
        return sum(self.grades[self.prompts[position]][row] if row in seen else 1 for row in range(ROWS)) / ROWS

    def may_be_selected(self, position: int, *, keep: int) -> bool:
        """Whether some way that the missing answers of all turn out has full scoring keep the candidate's prompt."""
        known = {
            (self.prompts[n], row): grade
            for n in range(len(self.prompts))
            for row, grade in enumerate(self.grades[self.prompts[n]])
            if n < self.old or row in self.seen[n]
        }
        open_cells = sorted({(prompt, row) for prompt in self.prompts for row in range(ROWS)} - known.keys())
        for turn_out in product((0, 1), repeat=len(open_cells)):
            all_known = known | dict(zip(open_cells, turn_out, strict=True))
            grades = {prompt: tuple(all_known[prompt, row] for row in range(ROWS)) for prompt in self.prompts}
            if self.prompts[position] in selected_of(self.prompts, grades, keep=keep, objective=self.objective):
                return True
        return False


@settings(max_examples=examples(50, random=150))
@given(
    st.data(),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 3),
    st.builds(Objective, ties=st.sampled_from(["shorter", "earlier"]), penalty=st.sampled_from([0.0, 0.1, 0.25])),
)
def test_a_rejected_candidate_could_never_have_been_selected_and_the_rest_is_what_full_scoring_keeps(
    data: st.DataObject, keep: int, old: int, candidates: int, objective: Objective
) -> None:
    """Answers come in any order, and a candidate that is rejected is heard of no more."""
    prompts = [f"old {n}" for n in range(old)]
    prompts += data.draw(
        st.lists(st.sampled_from(["a", "b", "longer", "old 0"]), min_size=candidates, max_size=candidates)
    )
    answers = st.tuples(*[st.integers(0, 1)] * ROWS)
    state = PartlyKnown(prompts, old, {prompt: data.draw(answers) for prompt in dict.fromkeys(prompts)}, objective)
    numbers = range(old, old + candidates)
    state.seen = {number: set() for number in numbers}
    first = sorted(range(old), key=lambda n: objective.rank(n, prompts[n], state.value(n)))
    state.prompts = [*(prompts[n] for n in first), *prompts[old:]]  # old ones are ranked, as a round's are
    best = KeepBest(keep, [state.scored(n) for n in range(old)])
    out: set[int] = set()
    for number, row in data.draw(st.permutations(list(product(numbers, range(ROWS))))):
        if number in out:
            continue
        state.seen[number].add(row)
        if len(state.seen[number]) == ROWS:
            best.add(state.scored(number))
        for other in numbers:
            repeated = state.prompts.index(state.prompts[other]) < other  # kept, if at all, as the earlier one
            at_best = objective.rank(other, state.prompts[other], state.bound(other))
            if other not in out and best.rejects(at_best):
                out.add(other)
                assert repeated or not state.may_be_selected(other, keep=keep)
    assert [kept.prompt for kept in best.kept()] == selected_of(
        state.prompts, state.grades, keep=keep, objective=objective
    )


@given(st.lists(st.sampled_from([0.25, 0.5, 0.75]), min_size=1, max_size=6), st.integers(1, 3))
def test_whoever_is_not_kept_is_rejected_once_all_others_have_their_values(values: list[float], keep: int) -> None:
    everybody = [scored(position, value) for position, value in enumerate(values)]
    kept = KeepBest(keep, everybody).kept()
    for candidate in everybody:
        others = KeepBest(keep, [other for other in everybody if other is not candidate])
        assert others.rejects(candidate.rank) == (candidate not in kept)


@dataclass(frozen=True)
class Scoring:
    """An evaluation as an objective sees it."""

    bound: float
    task: Task
    refusal: str = ""


def card_of(node: tuple[float, float]) -> Scorecard:
    score, weight = node
    return Scorecard(task="a", pair=PromptPair("s", "{question}"), outcomes=(), score=score, weight=weight)


@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from([1.0, 2.5])), min_size=1, max_size=4), st.data())
def test_no_value_is_above_its_bound_and_with_nothing_missing_they_are_equal(
    nodes: list[tuple[float, float]], data: st.DataObject
) -> None:
    def bound(bounds: list[float]) -> float:
        weighed = zip(bounds, nodes, strict=True)
        scorings = [Scoring(bound, make_task("a", weight=weight)) for bound, (_, weight) in weighed]
        return Objective().bound([cast(Evaluation, scoring) for scoring in scorings])

    value = Objective().value([card_of(node) for node in nodes])
    assert bound([score for score, _ in nodes]) == value
    assert bound([data.draw(st.floats(score, 1)) for score, _ in nodes]) >= value


@dataclass
class Refusing:
    """As much of an evaluation as tells whether its examples are refused."""

    refusal: str


def test_the_first_refusal_is_known_while_answers_are_missing() -> None:
    """So that a candidate is dropped before the rest of its examples are asked; nothing is held against others."""
    evaluations = [cast(Evaluation, Refusing(refusal)) for refusal in ("", "too long", "not allowed")]
    assert Objective().violation_so_far(evaluations) == "too long"
    assert Objective().violation_so_far(evaluations[:1]) == ""


def test_a_bound_equal_to_the_incumbents_value_rejects() -> None:
    best = KeepBest(1, [scored(0, 0.5)])
    assert best.rejects(EARLIER.rank(1, "short", 0.5))
    assert not best.rejects(EARLIER.rank(1, "", 0.5 + 1e-12))
    assert not best.rejects(EARLIER.rank(0, "", 0.5))  # nobody rejects himself
    assert not best.rejects(EARLIER.rank(-1, "", 0.5))


def test_of_equals_the_shorter_prompt_is_kept_whenever_it_comes() -> None:
    objective = Objective()
    old, short, long = [
        scored(number, 0.5, prompt=prompt, objective=objective)
        for number, prompt in enumerate(["the incumbent", "short", "a longer one"])
    ]
    for order in permutations([old, short, long]):
        assert KeepBest(1, order).kept() == [short]
    best = KeepBest(1, [old])
    assert not best.rejects(objective.rank(1, "shorter", 0.5))
    assert best.rejects(objective.rank(1, "as long as it", 0.5))


def test_a_penalty_is_for_what_is_compared_and_changes_no_value() -> None:
    """A point for each 100 characters: 300 more must bring more than three."""
    objective = Objective(penalty=0.01 / 100)
    old = scored(0, 0.5, prompt="x" * 100, objective=objective)
    assert (old.value, old.net_value) == (0.5, 0.49)
    best = KeepBest(1, [old])
    assert best.rejects(objective.rank(1, "x" * 400, 0.53))
    assert not best.rejects(objective.rank(1, "x" * 400, 0.531))
    assert not best.rejects(objective.rank(1, "x" * 50, 0.496))


def test_nobody_is_rejected_while_all_there_are_would_be_kept() -> None:
    best = KeepBest(2, [scored(0, 1.0)])
    assert not best.rejects(EARLIER.rank(1, "", 0.0))
    assert best.bar is None


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_a_repeated_prompt_counts_once_and_at_its_earlier_position(order: tuple[int, ...]) -> None:
    """In whatever order the values become known."""
    prompts = [scored(0, 0.5), scored(1, 0.75, prompt="a"), scored(2, 0.75), scored(3, 0.75, prompt="a")]
    best = KeepBest(3)
    for number in order:
        best.add(prompts[number])
    assert [kept.position for kept in best.kept()] == [1, 2, 0]


def test_a_candidate_scored_in_full_before_its_predecessor_moves_the_bar_and_beaten_by_it_is_not_selected() -> None:
    best = KeepBest(1, [scored_prompt([0.0] * 40, 0)])
    races = Races(design_of(rows=40), best, objective=Objective(), exact=True)
    columns = {1: Column([1.0] * 40), 2: Column([1.0] * 39 + [0.0])}
    for number, column in columns.items():
        races.enter(number, str(number), [column])
    for number in (2, 1):
        columns[number].revealed.update(range(40))
        races.on_answers(number)
        races.ended(number, scored_prompt(columns[number].grades, number))
    assert [kept.position for kept in best.kept()] == [1]
    assert races.cannot_win(2)


def test_who_is_raced_out_by_its_answers_keeps_nobody_waiting_until_its_scoring_has_noticed() -> None:
    """The next in order meets the bar at once, with all its capital."""
    first = scored_prompt([1.0] * 30 + [0.0] * 10, 0)
    races = Races(design_of(rows=40), KeepBest(1, [first]), objective=Objective(), exact=False)
    columns = {number: Column([0.0] * 40) for number in (1, 2, 3)}
    for number, column in columns.items():
        races.enter(number, str(number), [column])
    columns[1].revealed.update(range(40))
    columns[3].revealed.update(range(40))
    races.on_answers(1)
    assert races.has_lost(1)
    assert races.lined_up[2].capital == 1.0
    assert not races.has_lost(3)
    columns[2].revealed.update(range(40))
    races.on_answers(2)
    assert races.has_lost(2)
    assert races.has_lost(3), "its answers were there before its turn came"


def design_of(*, rows: int, rate: float = 0.1) -> RaceDesign:
    return RaceDesign(seed=1, address="here", sizes=(rows,), node_weights=(1.0,), rate=rate)


@given(st.lists(st.integers(0, 12), min_size=2, max_size=6), st.integers(1, 3))
def test_a_race_has_all_its_capital_after_every_meeting_with_the_bar(right: list[int], keep: int) -> None:
    """Before, the half that is wagered against the bar that is known from the start."""

    def prompt(number: int, count: int) -> ScoredPrompt:
        return scored_prompt([1.0] * count + [0.0] * (12 - count), number)

    old = [prompt(number, 6 - number) for number in range(1 - keep, 1)]
    races = Races(design_of(rows=12), KeepBest(keep, old), objective=Objective(), exact=False)
    for number in range(1, len(right) + 1):
        races.enter(number, str(number), [Column([1.0] * 12)])
    for number, count in enumerate(right, start=1):
        capital = [races.lined_up[waiting].capital for waiting in range(number, len(right) + 1)]
        assert capital == [1.0] + [0.5] * (len(right) - number)
        assert races.lined_up[number].rows == 0
        races.ended(number, prompt(number, count))


@pytest.mark.parametrize("winners", [1, 2, 3, 7])
def test_a_races_rate_times_its_winners_is_the_configs_and_the_journal_says_the_same(winners: int) -> None:
    async def design(context: RunContext) -> RaceDesign | None:
        return design_race(context, "here", context.sources, winners=winners)

    runs = Runs(make_config({"racing": 0.07}), [make_task("a", train=150)], World(1), timing=1, width=1)
    made = runs.do(design)
    assert made is not None
    assert made.rate * winners == pytest.approx(0.07)
    assert runs.journal.events == [Racing(address="here", rate=made.rate, rows=150)]


NEEDLE = "careful"


class RightButRefused(World):
    """Under prompts with the needle all answers are right, but for one example, which the server refuses."""

    def base(self, request: Request) -> str:
        text = "\n".join(message.content for message in request.messages)
        number = int(text.split("number ")[1].split()[0])
        if NEEDLE in text and number == 3:
            raise RequestRejected("too long")
        return ("no" if number % 2 else "yes") if NEEDLE in text else World.base(self, request)


@pytest.mark.parametrize("early", [True, False])
def test_a_prompt_under_which_an_example_was_refused_is_no_selection_however_right_the_rest_is(early: bool) -> None:
    config = make_config({"early_rejection": early, "inner": {"candidates": 4}, "outer": {"candidates": 6}})
    runs = Runs(config, [make_task("a", train=12)], RightButRefused(3, malformed=0.0), timing=1, width=6)
    result = runs.session()
    assert result is not None
    refused = [event for event in runs.journal.events if isinstance(event, Rejected | Score) and event.invalid]
    assert {"inner", "outer"} <= {event.address.split("/")[1] for event in refused}
    assert not any(NEEDLE in prompt for prompt in (result.system_prompt, *result.user_prompts["a"]))


@dataclass(frozen=True)
class Generous:
    """A search that returns more than is wanted, some of it twice and some of no use."""

    name = "generous"
    levels: frozenset[Level] = frozenset({"user", "system"})

    def describe(self) -> str:
        return "gives"

    def work(self, _size: RoundSize, /) -> CallBound:
        return CallBound(base=0, optimizer=0)

    async def search(self, context: SearchContext, /) -> list[str]:
        usable = [f"{n}. {context.first[0].prompt}" for n in range(20)]
        return ["", "{question} {question}", usable[0], *usable]


def test_a_search_gets_at_most_as_many_prompts_scored_as_the_loop_has_candidates() -> None:
    async def search(context: RunContext) -> RunResult:
        generous = AllAtOnce(Generous())
        return await run(replace(context, inner=generous, outer=generous))

    changes = {"inner": {"candidates": 4}, "outer": {"candidates": 3}, "iterations": 1, "early_rejection": False}
    runs = Runs(make_config(changes), [make_task("a")], World(1), timing=1, width=4)
    assert runs.do(search) is not None
    proposed = [event.address for event in runs.journal.events if isinstance(event, Proposal)]
    assert sorted(proposed) == [
        *(f"iter=1/inner/task=a/cand={number}" for number in range(1, 5)),
        *(f"iter=1/outer/cand={number}" for number in range(1, 4)),
    ]
    scores = [event.address.split("/score")[0] for event in runs.journal.events if isinstance(event, Score)]
    assert {address for address in scores if address.startswith("iter=1")} == set(proposed)


@dataclass(frozen=True, slots=True)
class Short(Objective):
    """The objective with one more constraint: a user prompt of at most so many words."""

    words: int = 6

    def violation(self, cards: Sequence[Scorecard]) -> str:
        return Objective.violation(self, cards) or self._long([card.pair for card in cards])

    def violation_so_far(self, evaluations: Sequence[Evaluation]) -> str:
        return Objective.violation_so_far(self, evaluations) or self._long([each.pair for each in evaluations])

    def _long(self, pairs: Sequence[PromptPair]) -> str:
        return next((f"longer than {self.words} words" for pair in pairs if len(pair.user.split()) > self.words), "")


@pytest.mark.parametrize(("early", "racing"), [(True, None), (False, None), (True, 0.2), (False, 0.2)])
def test_a_constraint_of_the_objective_holds_for_all_that_is_kept_and_costs_no_call_where_it_is_known_before(
    early: bool, racing: float | None
) -> None:
    """Whoever drops candidates, and whether anybody does: the loop knows of no constraint."""

    async def hold(context: RunContext) -> Round:
        [task] = context.sources
        pair = PromptPair("You are exact.", task.user_prompt)
        card = await score(context, pair, task, examples=task.train, address="init", priority=initial(0))
        setup = RoundSetup(
            context=context,
            level="user",
            iteration=1,
            address="iter=1/inner/task=a",
            system="You are exact.",
            tasks=(TaskState(task=task, kept=(card,)),),
            candidates=8,
            keep=4,
            objective=Short(),
        )
        return await hold_round(setup, context.inner)

    config = make_config({"early_rejection": early, "racing": racing})
    tasks = [make_task("a", train=160 if racing else 20)]
    runs = Runs(config, tasks, World(2, malformed=0.0), timing=1, width=5)
    held = runs.do(hold)
    assert held is not None
    kept = [prompt.prompt for prompt in held.best.kept()]
    assert len(kept) > 1
    assert all(len(prompt.split()) <= 6 for prompt in kept)
    long = {prompt for prompt in held.prompts.values() if len(prompt.split()) > 6}
    assert long
    if early and not racing:
        asked = {
            request.messages[1].content.split("a train number")[0] for request in runs.answered if is_base(request)
        }
        assert not any(prompt.startswith(tuple(asked)) for prompt in long)
