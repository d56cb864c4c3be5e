"""EvoPrompt: the first population, parents, children and survivors, traced by hand; counts; replays."""

import re
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scripted_search import RULE, Answer, Grade, ScriptedArena, examples, tagged, wanted

from metaspo.engine.strategies.base import NoProposal
from metaspo.engine.strategies.evoprompt import EvoPromptDE, EvoPromptGA, draw, roulette
from metaspo.engine.strategies.search import CallBound, Search, Trial

ROWS = 5


def prompt(name: str) -> str:
    return f"{name}: {{question}}"


def right(counts: Mapping[str, int]) -> Grade:
    """The prompt called X has its first counts[X] rows right."""
    return lambda text, task, row: float(row < counts[text.split(":")[0]])


def user_arena(
    counts: Mapping[str, int],
    answers: Mapping[str, str],
    *,
    first: Sequence[str],
    past: Sequence[str] = (),
    candidates: int = 3,
    seed: int = 0,
) -> ScriptedArena:
    """Answers by step, each the name of a prompt."""
    return ScriptedArena(
        level="user",
        tasks={"t": examples(ROWS)},
        first=[prompt(name) for name in first],
        past=[prompt(name) for name in past],
        grade=right(counts),
        answers={step: tagged("user_prompt", prompt(name)) for step, name in answers.items()},
        candidates=candidates,
        seed=seed,
    )


def shown(request: str, tag: str) -> str:
    """The name of the prompt that a request shows in a tag."""
    found = re.search(rf"<{tag}>\n(.*?):", request)
    assert found is not None
    return found.group(1)


def newborn(level: Literal["user", "system"]) -> Answer:
    """A new prompt from every call, named after the step."""
    rest = " {question}" if level == "user" else ""
    return lambda step, request: tagged(wanted(request), f"{step}{rest}")


def chance(text: str, task: str, row: int) -> float:
    """Some grade or other, always the same, and never right on the first row: there is always something to improve."""
    return Random(f"{text}/{task}/{row}").random() if row else 0.0


def full_arena(
    level: Literal["user", "system"], *, past: int = 0, jitter: int | None = None, seed: int = 0
) -> ScriptedArena:
    tasks = {"t": examples(ROWS)} if level == "user" else {"a": examples(3, task="a"), "b": examples(4, task="b")}
    users = None if level == "user" else {"a": ["A {question}", "B {question}"], "b": ["C {question}"]}
    rest = " {question}" if level == "user" else ""
    return ScriptedArena(
        level=level,
        tasks=tasks,
        users=users,
        first=[f"first{rest}"],
        past=[f"past {number}{rest}" for number in range(past)],
        grade=chance,
        answers=newborn(level),
        jitter=jitter,
        seed=seed,
    )


async def test_the_genetic_algorithm_keeps_the_best_of_old_and_new() -> None:
    """A 1/5; paraphrase P 2/5. Children C 3/5 and c 0: C, P survive. Children D 3/5 and d 2/5: C (older), D survive."""
    answers = {
        "initial/paraphrase=1/paraphrase": "P",
        "gen=1/child=1/evolve": "C",
        "gen=1/child=2/evolve": "c",
        "gen=2/child=1/evolve": "D",
        "gen=2/child=2/evolve": "d",
    }
    context = user_arena({"A": 1, "P": 2, "C": 3, "c": 0, "D": 3, "d": 2}, answers, first=["A"])
    strategy = EvoPromptGA(population=2, generations=2, initial="topk", selection="random")
    assert await strategy.search(context) == [prompt("C"), prompt("D")]
    assert context.asked == list(answers)
    parents = [
        {shown(context.requests[step], "first"), shown(context.requests[step], "second")} for step in context.asked[1:]
    ]
    assert parents == [{"A", "P"}, {"A", "P"}, {"C", "P"}, {"C", "P"}]
    assert [(scored.prompts, scored.rows) for scored in context.scored] == [
        ((prompt(name),), None) for name in ("P", "C", "c", "D", "d")
    ]
    assert strategy.work(context.size) == CallBound(base=5 * ROWS, optimizer=5)
    assert (context.base_calls, context.optimizer_calls) == (25, 5)


async def test_differential_evolution_replaces_a_member_only_by_a_strictly_better_child() -> None:
    """Members 3/5, 2/5, 1/5 and a paraphrase 1/5; their children: equal, better, worse, none."""
    answers = {
        "initial/paraphrase=1/paraphrase": "P",
        "gen=1/child=1/evolve": "a",
        "gen=1/child=2/evolve": "b",
        "gen=1/child=3/evolve": "c",
        "gen=2/child=1/evolve": "d",
        "gen=2/child=2/evolve": "e",
        "gen=2/child=3/evolve": "f",
        "gen=2/child=4/evolve": "g",
    }
    counts = {"M": 3, "N": 2, "O": 1, "P": 1, "a": 3, "b": 4, "c": 0, "d": 1, "e": 4, "f": 2, "g": 1}
    context = user_arena(counts, answers, first=["M", "N", "O"])
    found = await EvoPromptDE(population=4, generations=2, initial="topk").search(context)
    # After the first generation: M, b, O, P. After the second: M, b (e is only as good), f, P.
    assert found == [prompt("b"), prompt("f"), prompt("P")]
    populations = [["M", "N", "O", "P"], ["M", "b", "O", "P"]]
    for generation, (members, best) in enumerate(zip(populations, ["M", "b"], strict=True), 1):
        for number, member in enumerate(members, 1):
            request = context.requests[f"gen={generation}/child={number}/evolve"]
            assert (shown(request, "member"), shown(request, "donor")) == (member, best)
            pair = {shown(request, "first"), shown(request, "second")}
            assert len(pair) == 2
            assert pair <= set(members) - {member}


async def test_a_random_donor_is_the_third_of_the_others() -> None:
    answers = {"initial/paraphrase=1/paraphrase": "P"}
    context = user_arena({"M": 3, "N": 2, "O": 1, "P": 1}, answers, first=["M", "N", "O"])
    await EvoPromptDE(population=4, generations=1, initial="topk", donor_random=True).search(context)
    for number, member in enumerate("MNOP", 1):
        request = context.requests[f"gen=1/child={number}/evolve"]
        drawn = {shown(request, tag) for tag in ("first", "second", "donor")}
        assert drawn == set("MNOP") - {member}


@pytest.mark.parametrize(
    ("first", "population", "originals"),
    [("DCBA", 2, "A"), ("DCBA", 5, "AB"), ("DCBA", 8, "ABCD"), ("A", 4, "AAA"), ("BA", 7, "ABABA")],
)
async def test_para_topk_keeps_the_better_half_and_paraphrases_it_in_turn(
    first: str, population: int, originals: str
) -> None:
    context = user_arena({"A": 4, "B": 3, "C": 2, "D": 1}, {}, first=first)
    with pytest.raises(NoProposal):
        await EvoPromptGA(population=population, generations=1).search(context)
    paraphrased = [shown(context.requests[step], "prompt") for step in context.asked if "initial" in step]
    assert "".join(paraphrased) == originals


async def test_past_prompts_join_the_first_population_by_what_they_score_now() -> None:
    """Population 4, one there: the newest three of the past are scored, and the better half of these four is kept."""
    context = user_arena({"A": 1, "W": 4, "X": 3, "Y": 0, "Z": 2}, {}, first=["A"], past=["W", "X", "A", "Y", "Z"])
    found = await EvoPromptGA(population=4, generations=1).search(context)
    assert context.scored[0].step == "initial/past"
    assert context.scored[0].prompts == (prompt("X"), prompt("Y"), prompt("Z"))
    assert [shown(context.requests[step], "prompt") for step in context.asked if "initial" in step] == [
        "X",
        "Z",
    ]
    assert found == [prompt("X"), prompt("Z")]


@pytest.mark.parametrize(("strategy", "smallest"), [(EvoPromptGA, 2), (EvoPromptDE, 4)])
async def test_without_a_population_of_its_own_it_has_as_many_prompts_as_the_loop_has_candidates(
    strategy: Callable[..., Search], smallest: int
) -> None:
    for candidates in (1, 3, 9):
        context = full_arena("system")
        context.candidates = candidates
        size = max(candidates, smallest)
        evolved = strategy(population=0, generations=1)
        await evolved.search(context)
        assert sum("child" in step for step in context.asked) == size
        assert evolved.work(context.size).optimizer == 2 * size - 1


def trial(name: str, score: float) -> Trial:
    return Trial(prompt=name, score=score, grades=(), wrong=())


def test_a_roulette_draws_by_the_share_of_the_score() -> None:
    population = [trial("a", 0.0), trial("b", 0.25), trial("c", 0.75)]
    drawn = [member.prompt for member in roulette(population, 8000, rng=Random(1))]
    assert drawn.count("a") == 0
    assert drawn.count("b") == pytest.approx(2000, rel=0.1)


def test_a_roulette_of_zeros_draws_all_alike() -> None:
    drawn = [member.prompt for member in roulette([trial("a", 0), trial("b", 0)], 4000, rng=Random(1))]
    assert drawn.count("a") == pytest.approx(2000, rel=0.1)


async def test_a_tournament_of_two_in_a_population_of_two_is_won_by_the_better() -> None:
    context = user_arena({"A": 1, "P": 2}, {"initial/paraphrase=1/paraphrase": "P"}, first=["A"])
    await EvoPromptGA(population=2, generations=1, selection="tournament").search(context)
    requests = [context.requests[f"gen=1/child={number}/evolve"] for number in (1, 2)]
    assert [(shown(request, "first"), shown(request, "second")) for request in requests] == [("P", "P")] * 2


@given(st.integers(1, 6), st.integers(1, 6), st.integers())
def test_parents_are_different_where_there_are_enough(pool: int, count: int, seed: int) -> None:
    drawn = draw(range(pool), count, rng=Random(seed))
    assert len(drawn) == count
    assert pool < count or len(set(drawn)) == count


SEARCHES = [
    EvoPromptGA(population=5, generations=3),
    EvoPromptGA(population=5, generations=3, initial="topk", selection="random"),
    EvoPromptGA(population=4, generations=2, selection="tournament"),
    EvoPromptDE(population=5, generations=3),
    EvoPromptDE(population=4, generations=2, initial="topk", donor_random=True),
]


@pytest.mark.parametrize("strategy", SEARCHES, ids=repr)
@pytest.mark.parametrize("level", ["user", "system"])
async def test_a_search_replays_whatever_finishes_first(strategy: Search, level: Literal["user", "system"]) -> None:
    plain = full_arena(level, past=3)
    found = await strategy.search(plain)
    for jitter in range(3):
        shaken = full_arena(level, past=3, jitter=jitter)
        assert await strategy.search(shaken) == found
        assert shaken.requests == plain.requests
    assert isinstance(strategy, Search)
    assert found == sorted(found, key=lambda text: -_score(plain, text))


def _score(context: ScriptedArena, text: str) -> float:
    trial = context.trial(text)
    assert trial is not None
    return trial.score


@pytest.mark.parametrize("strategy", SEARCHES, ids=repr)
@pytest.mark.parametrize("level", ["user", "system"])
@pytest.mark.parametrize("past", [0, 2, 4, 9])
async def test_work_is_a_bound_and_reached_where_there_is_nothing_yet_or_most(
    strategy: EvoPromptGA | EvoPromptDE, level: Literal["user", "system"], past: int
) -> None:
    context = full_arena(level, past=past)
    await strategy.search(context)
    work = strategy.work(context.size)
    assert context.base_calls <= work.base
    assert context.optimizer_calls <= work.optimizer
    if past == 0:
        assert context.optimizer_calls == work.optimizer
    if past >= 4 or (past == 0 and strategy.initial == "topk"):
        assert context.base_calls == work.base


@pytest.mark.parametrize("strategy", [EvoPromptGA(), EvoPromptDE()], ids=repr)
async def test_without_failures_nothing_is_asked(strategy: Search) -> None:
    context = user_arena({"A": ROWS}, {}, first=["A"])
    with pytest.raises(NoProposal, match="failures"):
        await strategy.search(context)
    assert context.asked == []


@pytest.mark.parametrize("strategy", [EvoPromptGA(), EvoPromptDE()], ids=repr)
async def test_a_search_that_never_gets_an_answer_finds_nothing(strategy: Search) -> None:
    with pytest.raises(NoProposal):
        await strategy.search(user_arena({"A": 1}, {}, first=["A"]))


@pytest.mark.parametrize("strategy", [EvoPromptGA(), EvoPromptDE()], ids=repr)
async def test_the_texts_fit_the_level(strategy: Search) -> None:
    context = full_arena("user")
    await strategy.search(context)
    assert all(RULE in request and "{question} exactly once" in request for request in context.requests.values())
    context = full_arena("system")
    await strategy.search(context)
    assert all(wanted(request) == "system_prompt" and RULE not in request for request in context.requests.values())


def test_options_are_checked() -> None:
    for build in (
        lambda: EvoPromptGA(population=-1),
        lambda: EvoPromptDE(population=-1),
        lambda: EvoPromptGA(generations=0),
    ):
        with pytest.raises(ValidationError):
            build()
