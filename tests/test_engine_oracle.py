"""A run selects what the plain sequential oracle selects, whatever the timing and however often it is interrupted."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from engine_sessions import Runs
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from oracle import Oracle, Refused
from sizes import examples
from world import JUDGE, LOOK_TWICE, World, doubted, judged, make_config, make_task, with_more, with_prompts

from metaspo.backends import Request
from metaspo.engine import RunConfig, selections
from metaspo.engine.journal.view import RunView
from metaspo.engine.tasks import Task


def tasks_of(
    count: int,
    *,
    programs: int = 0,
    guards: Sequence[float] = (),
    users: Sequence[int] = (),
    fixed: int = 0,
    named: str = "",
) -> tuple[Task, ...]:
    """So many source tasks, the last `programs` of which, and the target task then, are answered by a program; and a
    guard of each of these tolerances, by a program, too, then. Sources have so many further first user prompts, and the
    first ones of them a fixed part. The last source and the target have `named` prompts, changed "in turn" or
    "together", if that is said."""
    sources = [
        replace(
            make_task(name, train=4 + n),
            user_prompts=USERS[: users[n]] if n < len(users) else (),
            fixed=(f"About {name}:",) if n < fixed else (),
        )
        for n, name in enumerate("abcd"[:count])
    ]
    guarding = [
        replace(make_task(f"guard{number}", role="guard", train=3 + 2 * number, test=number), tolerance=tolerance)
        for number, tolerance in enumerate(guards)
    ]
    tasks = (*sources, make_task("unseen", role="target"), *guarding)
    first = count - programs if programs else len(tasks)
    tasks = tuple(replace(task, program=LOOK_TWICE if n >= first else None) for n, task in enumerate(tasks))
    return tuple(
        with_prompts(replace(task, user_prompts=()), together=named == "together")
        if named and n in (count - 1, count)
        else task
        for n, task in enumerate(tasks)
    )


JUDGES: tuple[dict[str, Any] | None, ...] = (
    {"scale": 5},
    {"scale": ["bad", "fair", "4", "good"]},
    {"against": "gold"},
    {"against": "first"},
    {},  # a grader of one's own
    None,
    None,
)


def graded(tasks: tuple[Task, ...], world: int) -> tuple[Task, ...]:
    """The same; in some worlds the first one's answers, and the unseen one's, are graded by a judge, or a function that
    asks."""
    if world % 7 < 2:
        tasks = tuple(with_more(task, random.Random(world)) for task in tasks)
    settings = JUDGES[world // 2 % len(JUDGES)]
    if settings is None:
        return tasks
    return tuple(
        (judged(task, **settings) if settings else doubted(task))
        if n in (0, len(tasks) - 1) and not task.form
        else task
        for n, task in enumerate(tasks)
    )


def count_words(text: str) -> int:
    """A tokenizer of its kind."""
    return len(text.split())


def config_of(sizes: dict[str, Any], named: str) -> RunConfig:
    """The config; named prompts have no demonstrations."""
    config = make_config({**sizes, "judge": JUDGE})
    return (
        config.model_copy(update={"inner": config.inner.model_copy(update={"demonstrations": 0})}) if named else config
    )


def is_gradable(oracle: Oracle) -> bool:
    """Run it, if what answers are worth under the first prompts is to be had."""
    try:
        oracle.run()
    except Refused:
        return False
    return True


USERS = ("Be exact. Is {question} even?", "Is {question} even?", "Be careful, brief and literal. Is {question} even?")
SYSTEMS = ("You are careful and brief.", "Help.", "You are curious, patient, literal and exact.")
NAMED = st.sampled_from(["", "in turn", "together"])
STARTS = st.lists(st.integers(0, 3), max_size=2)
GUARDS = st.lists(st.sampled_from([0.0, 0.1, 0.25, 1.0]), max_size=2)
WORDINGS: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {},
        {"max_chars": 40},
        {"max_prompt_tokens": 4},
        {"must_contain": ["assistant"]},
        {"must_not_contain": ["patient", "brief"]},
        {"fixed": ["You are a helpful assistant."]},
        {"fixed": ["helpful"], "must_not_contain": ["exact"]},
    ]
)


def outer_table(drawn: dict[str, Any]) -> dict[str, Any]:
    """What was drawn, as a config may have it."""
    table = {name: drawn[name] for name in drawn if name != "wording"}
    same = drawn["under"] in ("first", "induced")  # user prompts from round to round
    shared = drawn["shared"] and same
    margin = drawn["shared_margin"] if shared else 0.0
    return {
        **table,
        **drawn["wording"],
        "keep": drawn["keep"] if same else 1,
        "shared": shared,
        "shared_margin": margin,
        "gate_doubles": doubling(drawn)["gate_doubles"],
    }


def doubling(drawn: dict[str, Any]) -> dict[str, Any]:
    """A loop's table, in which only a gate doubles."""
    return {**drawn, "gate_doubles": bool(drawn["gate"]) and drawn["gate_doubles"]}


def with_allowed(sizes: dict[str, Any]) -> dict[str, Any]:
    """Of the first system prompts those that keep to what is asked of every one: a config with others is refused."""
    outer = make_config({"outer": sizes["outer"]}).outer
    given = (prompt for prompt in sizes["system_prompts"] if not outer.fault(prompt, count=count_words))
    return {**sizes, "system_prompts": tuple(given)}


SIZES = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 10**6),
        "iterations": st.integers(1, 3),
        "inner": st.fixed_dictionaries(
            {
                "candidates": st.integers(0, 3),
                "keep": st.integers(1, 3),
                "gate": st.integers(0, 4),
                "gate_doubles": st.booleans(),
                "demonstrations": st.sampled_from([0, 0, 1, 3]),
            }
        ).map(doubling),
        "outer": st.fixed_dictionaries(
            {
                "candidates": st.integers(0, 4),
                "failures": st.integers(1, 2),
                "gate": st.integers(0, 3),
                "gate_doubles": st.booleans(),
                "under": st.sampled_from(["kept", "first", "induced", "mixed"]),
                "induced": st.integers(1, 2),
                "keep": st.integers(1, 3),
                "shared": st.booleans(),
                "shared_margin": st.sampled_from([0.0, 10.0]),
                "first_passes": st.sampled_from([1, 1, 2, 3]),
                "length_penalty": st.sampled_from([0.0, 0.0, 5.0, 100.0]),
                "wording": WORDINGS,
            }
        ).map(outer_table),
        "rows": st.none() | st.integers(1, 6),
        "redraws": st.integers(0, 2),
        "ties": st.sampled_from(["shorter", "earlier"]),
        "system_prompts": st.just(()) | st.lists(st.sampled_from(SYSTEMS), max_size=3, unique=True),
    }
).map(with_allowed)


@settings(max_examples=examples(12, random=60), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    sizes=SIZES,
    users=STARTS,
    guards=GUARDS,
    named=NAMED,
    world=st.integers(0, 10**6),
    timing=st.integers(0, 10**6),
    width=st.integers(1, 40),
)
def test_selections_equal_the_oracles_at_any_concurrency_and_answer_order(
    sizes: dict[str, Any], users: list[int], guards: list[float], named: str, world: int, timing: int, width: int
) -> None:
    config = config_of(sizes, named)
    fixed = 0 if named else world % 5 // 3
    drawn = tasks_of(1 + world % 3, programs=world % 2, guards=guards, users=users, fixed=fixed, named=named)
    tasks = graded(drawn, world)
    oracle = Oracle(config, list(tasks), World(world).answer, count_tokens=count_words)
    assume(is_gradable(oracle))
    runs = Runs(config, tasks, World(world), timing=timing, width=width, count_tokens=count_words)
    result = runs.session()
    assert result is not None
    assert selections(runs.journal.events) == oracle.selections
    last = RunView.of(runs.journal.events).history.points({task.name: task.weight for task in tasks})[-1]
    assert last.score == pytest.approx(result.train_after), "the journal alone says how good the best prompts are"


@pytest.mark.parametrize("worlds", [(2, 7), pytest.param(range(24), marks=pytest.mark.slow)], ids=str)
@pytest.mark.parametrize(("keep", "margin"), [(1, 0), (3, 0), (1, 20)])
def test_a_gain_that_tasks_do_not_share_is_passed_over_as_the_oracle_says(
    keep: int, margin: int, worlds: Sequence[int]
) -> None:
    passed_over, adopted = 0, 0
    for world in worlds:
        outer = {"candidates": 4, "failures": 1, "under": "first", "shared": True, "shared_margin": margin}
        outer |= {"keep": keep, "first_passes": 1 + world % 2}
        config = make_config({"seed": world, "iterations": 3, "inner": {"candidates": 1, "keep": 1}, "outer": outer})
        tasks = tasks_of(3)
        oracle = Oracle(config, list(tasks), World(world).answer)
        if not is_gradable(oracle):
            continue
        runs = Runs(config, tasks, World(world), timing=world, width=8)
        result = runs.session()
        assert result is not None
        assert selections(runs.journal.events) == oracle.selections
        rounds = [told for told in oracle.selections.values() if "system" in told]
        passed_over += sum("unshared" in told for told in rounds)
        adopted += sum(bool(told["chosen"]) for told in rounds)
        told_of = RunView.of(runs.journal.events).trials.search
        assert told_of.unshared == sum("unshared" in told for told in rounds)
        assert ("by one task alone" in told_of.sentence) == bool(told_of.unshared and not told_of.adopted)
    assert passed_over
    assert adopted


@pytest.mark.parametrize("world", [*range(3), *(pytest.param(n, marks=pytest.mark.slow) for n in range(3, 24))])
def test_gates_that_double_several_times_select_as_the_oracle_says(world: int) -> None:
    """Of tasks with different numbers of rows and weights, the smaller ones wholly within the later gates."""
    table = {"candidates": 3, "gate": 1, "gate_doubles": True}
    outer = {**table, "under": ("kept", "first", "induced", "mixed")[world % 4]}
    config = make_config({"seed": world, "iterations": 2, "inner": {**table, "keep": 2}, "outer": outer})
    weighed = zip("abc", (2, 17, 9), (0.1, 1.0, 2.5), strict=True)
    tasks = (*(make_task(name, train=rows, weight=weight) for name, rows, weight in weighed), *tasks_of(0))
    oracle = Oracle(config, list(tasks), World(world).answer)
    oracle.run()
    runs = Runs(config, tasks, World(world), timing=world, width=8)
    assert runs.session() is not None
    assert selections(runs.journal.events) == oracle.selections


@settings(max_examples=examples(4, random=15), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    sizes=SIZES,
    guards=GUARDS,
    named=NAMED,
    world=st.integers(0, 10**6),
    stops=st.lists(st.floats(0.1, 30), min_size=1, max_size=4),
)
def test_an_interrupted_run_selects_the_same_and_pays_for_no_answer_twice(
    sizes: dict[str, Any], guards: list[float], named: str, world: int, stops: list[float]
) -> None:
    config = config_of(sizes, named)
    tasks = graded(tasks_of(2, programs=world % 3, guards=guards, named=named), world)
    assume(is_gradable(Oracle(config, list(tasks), World(world).answer)))
    undisturbed = Runs(config, tasks, World(world), timing=1, width=8, count_tokens=count_words)
    result = undisturbed.session()
    disturbed = Runs(config, tasks, World(world), timing=2, width=5, count_tokens=count_words)
    for stop in stops:
        disturbed.session(stop_after=stop)
    assert disturbed.session() == result
    assert selections(disturbed.journal.events) == selections(undisturbed.journal.events)
    assert len(disturbed.answered) == len(set(disturbed.answered))


@settings(max_examples=examples(3, random=15), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    sizes=SIZES,
    users=STARTS,
    guards=GUARDS,
    named=NAMED,
    world=st.integers(0, 10**6),
    stop=st.none() | st.floats(0.1, 30),
)
def test_a_finished_run_started_again_makes_no_call(
    sizes: dict[str, Any], users: list[int], guards: list[float], named: str, world: int, stop: float | None
) -> None:
    config = config_of(sizes, named)
    tasks = graded(tasks_of(2, programs=world % 3, guards=guards, users=users, named=named), world)
    assume(is_gradable(Oracle(config, list(tasks), World(world).answer)))
    runs = Runs(config, tasks, World(world), timing=world, width=1 + world % 30, count_tokens=count_words)
    if stop:
        runs.session(stop_after=stop)
    first = runs.session()
    calls = len(runs.answered)
    assert runs.session() == first
    assert len(runs.answered) == calls


@pytest.mark.parametrize("worlds", [range(6), pytest.param(range(6, 12), marks=pytest.mark.slow)], ids=str)
def test_each_of_several_kept_system_prompts_is_what_its_candidates_must_beat(worlds: range) -> None:
    sizes = {"iterations": 3, "inner": {"candidates": 1}, "redraws": 0}
    outer = {"candidates": 4, "keep": 3, "under": "first", "gate": 2}
    for world in worlds:
        config, tasks = make_config({**sizes, "outer": outer}), tasks_of(2)
        oracle = Oracle(config, list(tasks), World(world).answer)
        oracle.run()
        runs = Runs(config, tasks, World(world), timing=world, width=4, count_tokens=count_words)
        assert runs.session() is not None
        assert selections(runs.journal.events) == oracle.selections


def test_early_rejection_saves_calls_and_changes_no_selection() -> None:
    found = {}
    tasks = tuple(make_task(name, train=16) for name in "ab")
    for early in (True, False):
        runs = Runs(make_config({"early_rejection": early}), tasks, World(4), timing=3, width=4)
        assert runs.session() is not None
        found[early] = (selections(runs.journal.events), len(runs.answered))
    assert found[True][0] == found[False][0]
    assert found[True][1] < found[False][1]


def test_other_seeds_draw_other_prompts() -> None:
    found = []
    for seed in (1, 2):
        runs = Runs(make_config({"seed": seed}), tasks_of(2), World(5), timing=1, width=8)
        result = runs.session()
        assert result is not None
        found.append(result.user_prompts)
    assert found[0] != found[1]


def test_no_failures_ask_for_no_analysis() -> None:
    class Perfect(World):
        def base(self, request: Request) -> str:
            return "yes" if int(request.messages[-1].content.split("number ")[1].split(" ")[0]) % 2 == 0 else "no"

    runs = Runs(make_config(), tasks_of(2), Perfect(1), timing=1, width=8)
    assert runs.session() is not None
    assert {request.model for request in runs.answered} == {"answerer"}


def test_a_malformed_proposal_is_never_scored() -> None:
    world = World(1, malformed=1.0)
    tasks = (make_task("a", train=30), make_task("b", train=30))  # enough that both have failures
    runs = Runs(make_config({"redraws": 2}), tasks, world, timing=1, width=8)
    result = runs.session()
    assert result is not None
    assert result.system_prompt == result.first_system_prompt
    prompts = {request.messages[0].content for request in runs.answered if request.model == "answerer"}
    assert prompts == {"You are a helpful assistant."}
    draws = [request.draw for request in runs.answered if request.model == "writer"]
    assert len(draws) == len(set(draws))
    assert len(draws) == 2 * (2 * 2 + 3) * 3  # iterations x (tasks x inner + outer candidates) x draws


def test_random_draws_do_not_touch_the_shared_generator() -> None:
    random.seed(1)
    before = random.getstate()
    runs = Runs(make_config(), tasks_of(2), World(2), timing=1, width=8)
    assert runs.session() is not None
    assert random.getstate() == before
