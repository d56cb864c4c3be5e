"""A run's history out of its events: how the score rose, and where every prompt came from."""

from collections.abc import Mapping, Sequence

import pytest

from metaspo.engine.journal.address import Address
from metaspo.engine.journal.events import (
    Barrier,
    Candidate,
    Event,
    Kept,
    OptimizerAnswered,
    Proposal,
    Rejected,
    Score,
    Select,
    Spent,
)
from metaspo.engine.journal.history import History, Proposed, why_rejected

SPENT = Spent(calls=7, dollars=0.5, unpriced=2, seconds=3.0)


def history(*events: Event, texts: bool = True) -> History:
    """Of these events, after the n-th of which n calls were spent."""
    told = History(texts=texts)
    for calls, event in enumerate(events, start=1):
        told.apply(event, Address.parse(event.address), Spent(calls=calls))
    return told


def points(*events: Event, weights: Mapping[str, float] | None = None) -> list[tuple[str, float, int]]:
    return [(at.address, round(at.score, 6), at.calls) for at in history(*events).points(weights or {})]


def first(**scores: float) -> list[Event]:
    """The scores of the first prompts."""
    return [Score(address=f"init/task={task}", task=task, score=score) for task, score in scores.items()]


def inner(task: str, *scores: float | None, iteration: int = 1) -> Select:
    kept = [Kept(f"{task}{score}", score) for score in scores]
    return Select(address=f"iter={iteration}/inner/task={task}", kept=kept)


def node(candidate: int, task: str, score: float | None, prompt: int = 0) -> Score:
    return Score(address=f"iter=1/outer/cand={candidate}/score/task={task}/prompt={prompt}", task=task, score=score)


def outer(chosen: int | None, score: float | None = 0.5, iteration: int = 1) -> Select:
    return Select(address=f"iter={iteration}/outer", system=f"s{chosen}", chosen=chosen, score=score)


def test_a_point_is_the_mean_by_weight_with_all_that_was_spent() -> None:
    told = History(texts=False)
    told.apply(Score(address="init/task=a", task="a", score=0.5), Address.parse("init/task=a"), SPENT)
    (point,) = told.points({})
    assert (point.calls, point.dollars, point.unpriced, point.seconds) == (7, 0.5, 2, 3.0)
    both = first(a=0.5, b=1.0)
    assert points(*both) == [("init", 0.75, 2)]
    assert points(*both, weights={"a": 3.0}) == [("init", 0.625, 2)]
    assert points(*both, Score(address="init/task=b", task="b", score=0.1)) == [("init", 0.75, 2)]
    assert points(*both, Score(address="init/task=c", task="c", score=None)) == [("init", 0.75, 2)]
    late = [*both, outer(0), *first(c=0.9)]
    assert points(*late) == [("init", 0.8, 4), ("iter=1/outer", 0.75, 3)]


def test_first_prompts_of_which_not_all_are_scored_are_no_point() -> None:
    told = history(*first(a=0.5))
    assert told.points({}, sources=2) == ()
    assert len(told.points({}, sources=1)) == 1
    assert len(history(*first(a=0.5), inner("a", 0.75), outer(0)).points({}, sources=2)) == 3


def test_inner_loops_are_one_point_at_their_end_or_as_the_outer_loop_selects() -> None:
    rose = [*first(a=0.5, b=0.5), inner("a", 0.25, 0.75), inner("b", None)]
    assert points(*rose) == [("init", 0.5, 2)]
    ended = [("init", 0.5, 2), ("iter=1/inner", 0.625, 3)]
    assert points(*rose, Barrier(address="iter=1/inner")) == ended
    assert points(*rose, Barrier(address="iter=1/inner"), Barrier(address="iter=1/inner")) == ended
    assert points(*rose, Barrier(address="iter=1/outer")) == ended[:1]
    assert points(*rose, outer(0)) == [*ended, ("iter=1/outer", 0.625, 5)]
    assert points(*rose, outer(0, None)) == ended[:1]


@pytest.mark.parametrize(
    ("scores", "chosen", "score"),
    [
        ([], 0, 0.5),
        ([node(1, "a", 0.9), node(1, "b", 0.7)], 1, 0.8),
        ([node(1, "a", 0.9), node(1, "b", 0.7)], 0, 0.5),
        ([node(2, "a", 0.9), node(1, "a", 0.7)], 2, 0.7),
        ([node(1, "a", 0.7, 0), node(1, "a", 0.9, 1), node(1, "a", 0.8, 2)], 1, 0.7),
        ([node(1, "a", None), node(1, "a", 0.9)], 1, 0.7),
        ([node(1, "a", 0.7), Score(address="iter=1/outer/kept/task=a", task="a", score=0.9)], 1, 0.7),
        ([node(1, "a", 0.9), Score(address="iter=1/outer/kept/task=a", task="a", score=0.7)], 1, 0.7),
        (
            [node(1, "a", 0.1), *(Score(address="iter=1/outer/kept/task=a", task="a", score=n) for n in (0.9, 0.7))],
            1,
            0.7,
        ),
        ([node(1, "a", 0.7), Score(address="iter=1/outer/kept/task=a", task="a", score=None)], 1, 0.6),
        ([], 1, 0.25),
    ],
)
def test_a_new_system_prompt_counts_with_the_best_of_each_task_under_it(
    scores: list[Score], chosen: int, score: float
) -> None:
    """And where a journal does not say it task by task, with what was selected."""
    told = points(*first(a=0.5, b=0.5), *scores, outer(chosen, 0.25))
    assert [(at, round(mean, 3)) for at, mean, _ in told] == [("init", 0.5), ("iter=1/outer", score)]


def test_what_one_round_was_scored_is_not_the_next_ones() -> None:
    under = Score(address="iter=1/outer/kept/task=a", task="a", score=0.9)
    later = Score(address="iter=2/outer/cand=1/score/task=a/prompt=0", task="a", score=0.6)
    told = points(*first(a=0.5), node(1, "a", 0.8), under, outer(0), later, outer(1, iteration=2))
    assert [round(mean, 3) for _, mean, _ in told] == [0.5, 0.5, 0.6]


def test_what_a_session_repeats_adds_nothing_and_what_it_says_otherwise_is_told() -> None:
    events = [*first(a=0.5), inner("a", 0.75), Barrier(address="iter=1/inner"), outer(0)]
    told = history(*events)
    once = told.points({})
    for event in events:
        assert not told.contradicts(event, Address.parse(event.address))
        told.apply(event, Address.parse(event.address), Spent(calls=99))
    assert told.points({}) == once
    others: list[tuple[Event, bool]] = [
        (first(a=0.25)[0], True),
        (first(b=0.25)[0], False),
        (Score(address="init/task=a", task="a", score=None), False),
        (inner("a", 0.5), True),
        (inner("b", 0.5), False),
        (outer(1), True),
        (outer(1, iteration=2), False),
        (Select(address="iter=1/outer", system="s0", chosen=0, score=0.5, t=99.0), False),
        (Score(address="iter=1/outer/cand=1/score/task=a", task="a", score=0.1), False),
    ]
    assert [told.contradicts(event, Address.parse(event.address)) for event, _ in others] == [is_ for _, is_ in others]
    assert not history().contradicts(first(a=0.25)[0], Address.parse("init/task=a"))


AT = "iter=1/inner/task=a"


def proposed(*events: Event, started: Mapping[str, str] | None = None) -> list[tuple[object, ...]]:
    """Of each proposal its place among the candidates, text, parent, score, fate and why."""
    return [
        (Address.parse(each.address).candidate, each.text, each.parent, each.score, each.outcome, each.why)
        for each in history(*events).proposals(started or {"a": "u0", "": "s0"})
    ]


def said(number: int, text: str) -> Proposal:
    return Proposal(address=f"{AT}/cand={number}", user=text)


def scored(number: int, score: float | None) -> Score:
    return Score(address=f"{AT}/cand={number}/score", task="a", score=score)


def chose(*kept: str) -> Select:
    return Select(address=AT, kept=[Kept(text, 0.5) for text in kept])


FELL = Rejected(address=f"{AT}/cand=2", bound=0.5, unasked=3)
WHY = "could not get above 50.0% any more; 3 examples were not asked"


def test_a_proposal_has_its_fate_once_its_round_has_selected() -> None:
    round_ = [said(1, "x"), scored(1, 0.75), said(2, "y"), FELL, said(3, "z"), scored(3, 0.25)]
    none = Proposal(address=f"{AT}/cand=4", none="malformed")
    waiting = [(1, "x", "u0", 0.75, "", ""), (2, "y", "u0", None, "", WHY), (3, "z", "u0", 0.25, "", "")]
    assert proposed(*round_) == waiting
    assert proposed(*round_, none, chose("x", "u0")) == [
        (1, "x", "u0", 0.75, "kept", ""),
        (2, "y", "u0", None, "dropped", WHY),
        (3, "z", "u0", 0.25, "passed over", ""),
        (4, "", "u0", None, "malformed", ""),
    ]
    late = [said(2, "y"), FELL, scored(2, 0.5)]  # scored in full all the same
    assert proposed(*late, chose("u0")) == [(2, "y", "u0", 0.5, "passed over", WHY)]
    told = [said(1, "x"), chose("x"), said(1, "never"), scored(1, 0.1)]
    assert proposed(*told) == [(1, "x", "u0", None, "kept", "")], "a round that has selected is over"


def test_a_parent_is_the_best_prompt_that_was_selected_before() -> None:
    later = Proposal(address="iter=2/inner/task=a/cand=1", user="z")
    of_system = Proposal(address="iter=1/outer/cand=1", system="t")
    told = history(said(1, "x"), chose("x", "y"), of_system, outer(1), later)
    assert [(each.text, each.level, each.task, each.parent) for each in told.proposals({"a": "u0", "": "s0"})] == [
        ("x", "user", "a", "u0"),
        ("t", "system", "", "s0"),
        ("z", "user", "a", "x"),
    ]
    assert told.best_prompts == {"a": "x", "": "s1"}
    other = Proposal(address="iter=2/outer/cand=1", system="v")
    assert history(outer(1), other).proposals({})[0].parent == "s1"
    assert history(said(1, "x"), texts=False).proposals({}) == ()


def test_rounds_beside_each_other_keep_what_is_theirs() -> None:
    """The first of two tasks selects while the other's candidates are still on their way."""
    beside = "iter=1/inner/task=b/cand=1"
    events: Sequence[Event] = [
        said(1, "x"),
        Proposal(address=beside, user="y"),
        Score(address=f"{beside}/score", task="b", score=0.25),
        Rejected(address=beside, invalid="refused"),
        chose("x"),
    ]
    told = history(*events).proposals({})
    assert [(each.task, each.outcome, each.score, each.why) for each in told] == [
        ("a", "kept", None, ""),
        ("b", "", 0.25, "could not be selected: refused"),
    ]


def test_what_the_optimizer_said_on_the_way_is_a_proposals_alone_and_the_prompt_is_no_step() -> None:
    def answered(step: str, text: str | None, number: int = 1) -> OptimizerAnswered:
        return OptimizerAnswered(address=f"{AT}/cand={number}", step=step, attempts=1, text=text)

    steps = [answered("analyze", "too long"), answered("critic", None), answered("write", "x")]
    told = history(*steps, answered("analyze", "other", 2), said(1, "x"), said(2, "y"))
    assert [each.steps for each in told.proposals({})] == [(("analyze", "too long"),), (("analyze", "other"),)]
    done = history(said(1, "x"), chose("x"), *steps)
    assert [each.steps for each in done.proposals({})] == [()]


def test_a_candidate_of_the_outer_loop_has_the_score_that_it_was_given_first() -> None:
    at = "iter=1/outer/cand=2"
    events = [
        Proposal(address=at, system="t"),
        node(2, "a", 0.9),
        Candidate(address=at, score=0.75),
        Candidate(address=at, score=0.1),
    ]
    assert history(*events).proposals({})[0].score == 0.75


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (Rejected(invalid="it was refused", gate=0.5), "could not be selected: it was refused"),
        (
            Rejected(guard="g", reach=0.5, floor=0.75, unasked=3, bound=0.25),
            "50.0% at most on guard 'g', where 75.0% is wanted; 3 examples were not asked",
        ),
        (Rejected(guard="g", reach=0.5, unasked=3), "3 examples were not asked"),
        (Rejected(guard="g", floor=0.5, unasked=3), "3 examples were not asked"),
        (Rejected(raced=0.0, rows=5, unasked=3), "unlikely to win after 5 examples; 3 more were not asked"),
        (Rejected(gate=0.0, unasked=3), "did not pass the gate (0.0% on its rows); 3 more were not asked"),
        (
            Rejected(gate=0.25, parent=0.5, unasked=3),
            "did not pass the gate (25.0% on its rows, its parent 50.0%); 3 more were not asked",
        ),
        (Rejected(bound=0.0, unasked=3), "could not get above 0.0% any more; 3 examples were not asked"),
        (Rejected(unasked=3), "3 examples were not asked"),
    ],
)
def test_why_a_candidate_was_out_is_said_in_words(event: Rejected, why: str) -> None:
    assert why_rejected(event) == why


def test_a_prompt_that_is_empty_is_a_text_all_the_same() -> None:
    assert Proposed.of(Proposal(address="iter=1/outer/cand=1"), "", "s", ()).text == ""
