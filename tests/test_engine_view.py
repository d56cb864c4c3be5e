"""What a run looks like from outside, against a told story: sessions that break off anywhere and repeat themselves."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import product
from pathlib import Path
from random import Random
from statistics import fmean

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaspo.engine.journal.address import Address
from metaspo.engine.journal.events import (
    Barrier,
    Candidate,
    Event,
    Kept,
    Level,
    Malformed,
    Optimism,
    OptimizerAnswered,
    Proposal,
    Rejected,
    Score,
    Select,
    Spent,
    Start,
)
from metaspo.engine.journal.history import Point, Proposed
from metaspo.engine.journal.journal import MemoryJournal
from metaspo.engine.journal.proposals import Proposals
from metaspo.engine.journal.view import Barriers, BarrierWait, RunView, WatchedJournal
from metaspo.engine.runs.directory import write_json
from metaspo.engine.runs.summary import RunSummary
from metaspo.scheduling import Cost
from metaspo.scheduling.statistics import AccountStatistics

NO_USE = AccountStatistics(lanes={})

FIRST = {"": "S", "a": "A", "b": "B"}
DROPPED = "could not get above 50.0% any more; 0 examples were not asked"


@dataclass
class Told:
    """A run as it would go without any interruption, and what is to be read from it.

    Attributes:
        points: (the event that makes it, its address, its (score, task) pairs).
        proposals: in the order in which rounds select.
        best, scores: the prompts selected last, and what each task's are worth.
    """

    rng: Random
    events: list[Event] = field(default_factory=list)
    points: list[tuple[int, str, list[tuple[float, str]]]] = field(default_factory=list)
    proposals: list[Proposed] = field(default_factory=list)
    best: dict[str, str] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)

    def score(self) -> float:
        return self.rng.randint(0, 8) / 8

    def start(self, tasks: Sequence[str]) -> None:
        """The first prompts."""
        self.scores = {task: self.score() for task in tasks}
        self.events += [Score(address=f"init/task={task}", task=task, score=self.scores[task]) for task in tasks]
        self._point("init")

    def _point(self, address: str, *, made: int | None = None, mean: float | None = None) -> None:
        """The last event, or the one given, makes a point: of all tasks' best, or of a mean where no more is told."""
        scores = [(score, task) for task, score in self.scores.items()] if mean is None else [(mean, "")]
        self.points.append((len(self.events) - 1 if made is None else made, address, scores))

    def round(self, at: str, task: str, *, nodes: bool = True) -> Select:
        """One loop's candidates, and what it selects; `nodes`: whether an outer loop's are told task by task."""
        parent = self.best.get(task, FIRST[task])
        told: dict[str, Proposed] = {}
        for number in range(1, self.rng.randint(1, 4)):
            cand, text = f"{at}/cand={number}", f"{parent}{number}"
            fate = self.rng.choice(["none", "dropped", "scored", "scored"])
            score = self.score() if fate == "scored" else None
            why = "no answer" if fate == "none" else None
            level: Level = "user" if task else "system"
            prompt = Proposal(address=cand, none=why) if why else Proposal.of(text, level=level, address=cand)
            self.events.append(prompt)
            if fate == "dropped":
                self.events.append(Rejected(address=cand, bound=0.5))
            elif score is not None and task:
                self.events.append(Score(address=f"{cand}/score", task=task, score=score))
            elif score is not None:
                for of, prompt_number in product(self.scores if nodes else (), (1, 2)):
                    each = Score(address=f"{cand}/score/task={of}/{prompt_number}", task=of, score=self.score())
                    self.events.append(each)
                self.events.append(Candidate(address=cand, score=score))
            told[text] = Proposed(
                address=cand,
                level=level,
                task=task,
                text="" if why else text,
                parent=parent,
                score=score,
                outcome=why or ("dropped" if fate == "dropped" else "passed over"),
                why=DROPPED if fate == "dropped" else "",
            )
        winners = [one for one in told.values() if one.score is not None][: self.rng.randint(0, 2 if task else 1)]
        self.proposals += [replace(one, outcome="kept") if one in winners else one for one in told.values()]
        kept = [Kept(one.text, one.score) for one in winners] or [Kept(parent, self.score())]
        self.best[task] = kept[0].user
        if task:
            select = Select(address=at, kept=kept)
        else:
            chosen = int(winners[0].address.rpartition("=")[2]) if winners else 0
            select = Select(address=at, system=kept[0].user, chosen=chosen, score=kept[0].score)
        self.events.append(select)
        return select

    def iteration(self, number: int, tasks: Sequence[str]) -> None:
        """Inner loops, then the outer one."""
        for task in tasks:
            select = self.round(f"iter={number}/inner/task={task}", task)
            self.scores[task] = max(one.score for one in select.kept or () if one.score is not None)
        self._point(f"iter={number}/inner")
        if self.rng.random() < 0.5:
            self.events.append(Barrier(address=f"iter={number}/inner"))
        begun, nodes = len(self.events), self.rng.random() < 0.8
        select = self.round(f"iter={number}/outer", "", nodes=nodes)
        of_chosen = f"iter={number}/outer/cand={select.chosen}/score/"
        told = [
            event for event in self.events[begun:] if isinstance(event, Score) and event.address.startswith(of_chosen)
        ]
        for task in tasks if told else ():
            self.scores[task] = max(event.score or 0.0 for event in told if event.task == task)
        self._point(f"iter={number}/outer", mean=select.score if select.chosen and not nodes else None)


def spent_at(calls: int) -> Spent:
    """What a session says after so many calls."""
    cost = Cost(calls + 1, 20 * calls, calls / 2)
    return Spent(
        calls=calls,
        prompt_tokens=10 * calls,
        completion_tokens=3 * calls,
        dollars=calls / 4,
        unpriced=calls % 7,
        seconds=calls / 8,
        of_budget=cost,
    )


@settings(max_examples=60)
@given(
    st.integers(0, 2**32),
    st.integers(1, 2),
    st.integers(0, 3),
    st.lists(st.floats(0, 1), max_size=2),
    st.sampled_from([{}, {"a": 3.0}, {"b": 0.5}]),
)
def test_a_run_is_told_as_if_it_had_never_been_interrupted_with_all_that_its_sessions_spent(
    seed: int, tasks: int, iterations: int, cuts: list[float], weights: dict[str, float]
) -> None:
    """Whatever sessions broke off and said again; what is spent counts when a thing was selected for the first time."""
    names = ["a", "b"][:tasks]
    rng = Random(seed)
    told = Told(rng)
    told.start(names)
    for number in range(1, iterations + 1):
        told.iteration(number, names)
    view = RunView(texts=True)
    seen_with: dict[int, Spent] = {}
    before = Spent()
    for cut in [*cuts, 1.0]:
        view.apply(Start(name="run", seed=3))
        said = Spent()
        for index, event in enumerate(told.events[: int(cut * len(told.events)) if cut < 1 else None]):
            view.apply(event)
            seen_with.setdefault(index, before.plus(said))
            said = spent_at(rng.randint(said.calls, said.calls + 9))
            view.apply(said)
        assert view.session == said
        before = before.plus(said)
    assert view.spent == before
    assert view.sessions == 1 + len(cuts)
    assert view.all_sessions.sessions == view.sessions
    assert view.all_sessions.dollars == pytest.approx(before.dollars)

    def point(index: int, address: str, scores: Sequence[tuple[float, str]]) -> Point:
        mean = fmean([score for score, _ in scores], weights=[weights.get(task, 1.0) for _, task in scores])
        spent = seen_with[index]
        return Point(
            address=address,
            score=mean,
            calls=spent.calls,
            dollars=spent.dollars,
            unpriced=spent.unpriced,
            seconds=spent.seconds,
        )

    assert view.history.points(weights) == tuple(point(*one) for one in told.points)
    assert view.history.best_prompts == told.best
    assert sorted(view.history.proposals(FIRST), key=str) == sorted(told.proposals, key=str)
    without = RunView.of(told.events)
    assert without.history.proposals(FIRST) == ()
    assert without.history.best_prompts == told.best


def test_inner_loops_broken_off_are_not_ended_by_the_barrier_of_an_iteration_that_is_repeated() -> None:
    """The point of an iteration's inner loops is made when all of its tasks have selected."""
    begun: list[Event] = [Score(address=f"init/task={task}", task=task, score=0.25) for task in "ab"]
    for number in (1, 2):
        begun += [Select(address=f"iter={number}/inner/task={task}", kept=[Kept("x", number / 4)]) for task in "ab"]
        begun.append(Barrier(address=f"iter={number}/inner"))
    broken_off = begun[: begun.index(Barrier(address="iter=2/inner")) - 1]
    points = RunView.of([Start(), *broken_off, Start(), *begun]).history.points({})
    assert [(point.address, point.score) for point in points] == [
        ("init", 0.25),
        ("iter=1/inner", 0.25),
        ("iter=2/inner", 0.5),
    ]


def test_a_proposal_that_nothing_was_selected_from_yet_comes_last_with_the_score_it_has() -> None:
    """Its fate is open; what a later session says otherwise of it is not heard."""
    told = Told(Random(1))
    told.start(["a"])
    told.iteration(1, ["a"])
    waiting = [
        Proposal(address="iter=2/outer/cand=1", system="new"),
        Candidate(address="iter=2/outer/cand=1", score=0.25),
        Proposal(address="iter=2/outer/cand=1", system="other"),
        Candidate(address="iter=2/outer/cand=1", score=0.75),
        Proposal(address="iter=2/outer/cand=2", system="newer"),
        Rejected(address="iter=2/outer/cand=2", bound=0.1),
    ]
    *done, first, second = RunView.of([*told.events, *waiting], texts=True).history.proposals(FIRST)
    assert [*done] == told.proposals
    assert (first.text, first.score, first.outcome, first.parent) == ("new", 0.25, "", told.best[""])
    assert (second.text, second.score, second.outcome) == ("newer", None, "")


def test_spending_adds_up_field_by_field() -> None:
    """All of it, in any order."""
    a, b = spent_at(5), spent_at(8)
    for entry in fields(Spent):
        if entry.name == "of_budget":
            assert a.plus(b).of_budget == a.of_budget.plus(b.of_budget) == Cost(15, 260, 6.5)
        elif entry.name not in ("address", "t"):
            assert getattr(a.plus(b), entry.name) == getattr(a, entry.name) + getattr(b, entry.name)
    assert a.plus(b) == b.plus(a)


@pytest.mark.parametrize(
    ("event", "stage"),
    [
        (Score(address="init/task=a", score=0.5), "first prompts"),
        (Score(address="init/task=b", score=0.5), "iteration 1 of 2: inner loop"),
        (Proposal(address="iter=1/inner/task=b/cand=1", user="x"), "iteration 1 of 2: inner loop"),
        (Select(address="iter=1/inner/task=a", kept=[]), "iteration 1 of 2: inner loop"),
        (Barrier(address="iter=1/inner/task=a"), "iteration 1 of 2: inner loop"),
        (Barrier(address="iter=1/inner"), "iteration 1 of 2: outer loop"),
        (Proposal(address="iter=1/outer/cand=1", system="x"), "iteration 1 of 2: outer loop"),
        (Proposal(address="iter=1/inner/task=a/cand=3", user="x"), "iteration 1 of 2: outer loop"),
        (Select(address="iter=1/outer/cand=1"), "iteration 1 of 2: outer loop"),
        (Select(address="iter=1/outer"), "iteration 2 of 2: inner loop"),
        (Barrier(address="iter=2/inner"), "iteration 2 of 2: outer loop"),
        (Select(address="iter=2/outer"), "test splits"),
        (Score(address="test/task=a", score=0.5), "test splits"),
        (Start(), "first prompts"),
    ],
)
def test_a_run_is_as_far_as_the_last_thing_that_began(event: Event, stage: str) -> None:
    """Each row after those above it; a new session begins at the beginning."""
    mark = test_a_run_is_as_far_as_the_last_thing_that_began.pytestmark[0]  # type: ignore[attr-defined]
    rows: list[Event] = [row for row, _ in mark.args[1]]
    view = RunView.of(rows[: rows.index(event) + 1])
    assert view.stage(iterations=2, sources=2) == stage


def test_the_first_prompts_are_not_done_with_before_the_induced_ones_are() -> None:
    """Where fewer could be induced the first round says that they are."""
    view = RunView.of(
        [Score(address="init/task=a", score=0.5), Score(address="induced/task=a/prompt=1/score", score=1)]
    )
    assert view.stage(iterations=1, sources=1, induced=1) == "iteration 1 of 1: inner loop"
    assert view.stage(iterations=1, sources=1, induced=2) == "first prompts"
    view.apply(Proposal(address="iter=1/inner/task=a/cand=1", user="x"))
    assert view.stage(iterations=1, sources=1, induced=2) == "iteration 1 of 1: inner loop"


def test_a_run_that_ends_by_its_calls_has_no_last_iteration_and_tests_when_it_tests() -> None:
    """What fills gaps before is the test of the first prompts."""
    events: list[Event] = [Score(address="init/task=a", score=0.5), Select(address="iter=4/outer")]
    view = RunView.of([*events, Score(address="test/before/task=b/prompt=0", score=0.5)])
    assert view.stage(iterations=None, sources=1) == "iteration 5: inner loop"
    view.apply(Score(address="test/after/task=b/prompt=0", score=0.5))
    assert view.stage(iterations=None, sources=1) == view.stage(iterations=9, sources=1) == "test splits"
    view.apply(Start())
    assert view.stage(iterations=None, sources=1) == "first prompts"


def test_where_nothing_is_optimized_the_first_prompts_are_never_through() -> None:
    """No source task, no first scores to wait for."""
    assert RunView().stage(iterations=2, sources=0) == "first prompts"
    assert RunView.of([Score(address="iter=1/x", score=1.0)]).stage(iterations=2, sources=1) == "first prompts"


def test_waits_and_seconds_are_the_last_sessions_and_luck_is_any_ones() -> None:
    """The share of idle seconds is that of the rounds' seconds."""
    luck = Optimism(score=0.5, luck=0.1, candidates=3, complete=3, kind="bound", says="some luck", t=8.0)
    before = [Start(), Barrier(address="iter=1/inner", seconds=9.0, waited=8.0, idle=7.0), luck]
    after: list[Event] = [
        Start(name="again", seed=4),
        Barrier(address="iter=1/inner", seconds=4.0, waited=1.0, idle=0.5),
        Barrier(address="iter=2/inner", seconds=1.0, waited=0.25, idle=0.75, t=3.0),
    ]
    view = RunView.of([*before, *after])
    waits = (
        BarrierWait(address="iter=1/inner", seconds=4.0, waited=1.0, idle=0.5),
        BarrierWait(address="iter=2/inner", seconds=1.0, waited=0.25, idle=0.75),
    )
    assert view.barriers == Barriers(idle=1.25, share=0.25, each=waits)
    assert (view.optimism, view.start.name, view.seconds) == ("some luck", "again", 3.0)
    assert RunView().barriers == Barriers()


def test_nothing_is_told_of_a_session_that_has_done_nothing_yet() -> None:
    """Neither time nor money, nor proposals; what the sessions before have spent is all sessions' still."""
    spent = Spent(calls=3, dollars=0.5)
    unfit = Malformed(address="iter=1/outer/cand=1", attempt=0, why="long", unfit=True)
    view = RunView.of([Start(), unfit, spent])
    assert (RunView().seconds, RunView().session) == (0.0, Spent())
    assert (view.session, view.proposals.unfit, view.proposals.last_unfit) == (spent, 1, "long")
    view.apply(Start())
    assert (view.session, view.proposals, view.all_sessions.calls) == (Spent(), Proposals(asked=False), 3)


def lost(count: int, used: int) -> list[Event]:
    """So many proposals that brought none, then so many that did."""
    none = [Proposal(address=f"iter=1/outer/cand={n}", none=f"why {n}", unusable=True) for n in range(1, count + 1)]
    return [*none, *(Proposal(address="iter=1/outer/cand=99", system="x") for _ in range(used))]


@pytest.mark.parametrize(
    ("count", "used", "says"),
    [
        (2, 0, ""),
        (3, 0, "none of the 3 proposals could be used (the last that could not: why 3). No prompt was changed"),
        (3, 3, "only 3 of the 6 proposals could be used (the last that could not: why 3). The others changed no"),
        (3, 4, ""),
        (8, 1, "only 1 of the 9 proposals"),
    ],
)
def test_lost_proposals_are_worth_a_warning_from_three_on_if_they_are_half_of_all(
    count: int, used: int, says: str
) -> None:
    """A strategy that had nothing to learn from has lost none."""
    nothing = Proposal(address="iter=1/outer/cand=98", none="nothing to learn from")
    proposals = RunView.of([*lost(count, used), nothing]).proposals
    assert (proposals.made, proposals.unusable, proposals.last_reason) == (count + used, count, f"why {count}")
    assert proposals.warning.startswith(says)
    assert bool(proposals.warning) == bool(says)
    assert proposals.as_json() == {
        "made": count + used,
        "unusable": count,
        "refused": 0,
        "last_reason": f"why {count}",
        "warning": proposals.warning,
        "unfit": 0,
        "last_unfit": "",
        "asked": False,
        "sentence": "",
    }
    assert Proposals().warning == ""


def test_the_warning_comes_once_with_the_first_barrier_after_which_it_is_due() -> None:
    """Not at once with the proposal, and not again; every event gets to the journal."""
    journal, warnings = MemoryJournal(), list[str]()
    watched = WatchedJournal(journal, warnings.append)
    events: list[Event] = [*lost(2, 0), Barrier(address="iter=1/inner"), *lost(1, 0)]
    for event in events:
        watched.write(event)
    assert warnings == []
    for barrier in (Barrier(address="iter=1/outer"), Barrier(address="iter=2/inner")):
        watched.write(barrier)
    assert len(warnings) == 1
    assert warnings[0].startswith("so far none of the 3 proposals")
    assert journal.events == [*events, Barrier(address="iter=1/outer"), Barrier(address="iter=2/inner")]


def test_first_prompts_that_are_scored_on_some_source_tasks_only_are_no_point() -> None:
    """A tracker that was told the mean over these would never be told the right one."""
    view = RunView.of([Start.now(name="r", seed=0), Score(address="init/task=a", task="a", score=0.25)])
    assert view.history.points({}, sources=2) == ()
    view.apply(Score(address="init/task=b", task="b", score=0.75))
    assert [point.score for point in view.history.points({}, sources=2)] == [0.5]


def test_a_task_whose_inner_loop_selects_nothing_with_a_score_counts_with_its_first_prompts() -> None:
    events: list[Event] = [
        Start.now(name="r", seed=0),
        Score(address="init/task=a", task="a", score=0.25),
        Score(address="init/task=b", task="b", score=0.75),
        Select(address="iter=1/inner/task=a", kept=[Kept("better", 0.5)]),
        Select(address="iter=1/inner/task=b", kept=[Kept("b", None)]),
        Barrier(address="iter=1/inner"),
    ]
    scores = [point.score for point in RunView.of(events).history.points({})]
    assert scores == [0.5, 0.625]


def test_a_watched_journal_goes_on_with_the_view_of_earlier_sessions() -> None:
    first = [Start(name="run", seed=0), Spent(calls=3, seconds=1.0), Barrier(address="iter=1/inner", seconds=2.0)]
    second = [Start(name="run", seed=0), Spent(calls=4, seconds=0.5), Barrier(address="iter=1/inner", seconds=1.0)]
    journal = MemoryJournal()
    watched = WatchedJournal(journal, list[str]().append, view=RunView.of(first))
    for event in second:
        watched.write(event)
    anew = RunView.of([*first, *journal.events])
    assert (watched.view.all_sessions, watched.view.barriers) == (anew.all_sessions, anew.barriers)
    assert watched.view.all_sessions.calls == 7


def test_a_selection_read_from_a_file_is_the_one_that_was_written() -> None:
    kept = Kept(user="{question}", score=0.5)
    view = RunView.of([Select(address="iter=1/inner/task=a", kept=(kept,))])
    again = Select(address="iter=1/inner/task=a", kept=[kept])
    assert not view.history.contradicts(again, Address.parse(again.address))


def test_a_session_that_graded_otherwise_than_those_before_is_told_once() -> None:
    """What came before belongs to other scores; what comes after counts as in a run of that session alone."""
    before: list[Event] = [Start.now(name="r", seed=0), Score(address="init/task=a", task="a", score=0.25)]
    session: list[Event] = [
        Start.now(name="r", seed=0),
        Score(address="init/task=a", task="a", score=0.75),
        OptimizerAnswered(address="iter=1/outer/cand=1", step="analyze", attempts=1, text="It is too short."),
        Proposal(address="iter=1/outer/cand=1", system="new"),
    ]
    view, alone = RunView.of([*before, *session], texts=True), RunView.of(session, texts=True)
    assert view.history.points({}) == alone.history.points({})
    assert [proposal.steps for proposal in view.history.proposals(FIRST)] == [(("analyze", "It is too short."),)]


def test_half_a_surrogate_pair_is_mended_in_a_file_of_json(tmp_path: Path) -> None:
    write_json(tmp_path / "summary.json", {"last": ("no \ud800",)})
    assert orjson.loads((tmp_path / "summary.json").read_bytes()) == {"last": ["no \ufffd"]}


def test_what_a_budget_counts_beyond_the_calls_that_were_answered_is_told_beside_them() -> None:
    """As after a kill; the sums of calls and dollars go by the answers alone."""
    killed = Spent(calls=7, dollars=0.5, of_budget=Cost(10, 0, 0.8))
    view = RunView.of([Start(), killed, Start(), Spent(calls=2, of_budget=Cost(2, 0, 0.0))])
    assert (view.all_sessions.calls, view.all_sessions.set_aside) == (9, 3)
    together = RunSummary(usage=NO_USE, all_sessions=view.all_sessions).together
    assert "9 calls (a budget counts up to 3 more, whose answers nobody saw), $0.5000" in together
    told = RunView.of([Start(), replace(killed, of_budget=Cost(7, 0, 0.5)), Start()]).all_sessions
    assert "more" not in RunSummary(usage=NO_USE, all_sessions=told).together
