"""The known-truth world is what it says it is, and what the study finds there it finds in small, too."""

import subprocess
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from statistics import fmean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sizes import rest_is_slow

from metaspo.backends import Message, Request
from metaspo.engine.prompts import DEFAULT_SYSTEM_PROMPT
from metaspo.engine.strategies.registry import INNER, OUTER
from metaspo.engine.strategies.sprig_edits import library

TOOLS = Path(__file__).resolve().parent.parent / "tools"
sys.path.insert(0, str(TOOLS))

from known_truth import Job, Outcome, by_itself, measure  # noqa: E402 - tools is no package

from metaspo.bench.known_truth.skills import CATALOGUE, COMMON, named  # noqa: E402
from metaspo.bench.known_truth.world import (  # noqa: E402
    BASE,
    FICKLE,
    FORMAT,
    MAX_CHANCE,
    MIN_CHANCE,
    SOURCES,
    WHIM,
    WRITER,
    World,
    needs_of,
    truth,
)
from metaspo.bench.known_truth.writer import Writer  # noqa: E402

SEEDS = range(3)
CASES = [
    (name, level)
    for name in sorted(OUTER)
    for level, known in (("user", INNER), ("system", OUTER))
    if name in known and (name, level) != ("sprig", "user")
]
sentences = st.sampled_from([sentence for skill in CATALOGUE.values() for sentence in skill.sentences])
texts = st.lists(sentences, max_size=6).map("\n".join)


def ask(world: World, system: str, user: str, *, task: int = 0, example: int = 0) -> Request:
    question = world.tasks(train=8, test=1)[task].train[example].question
    return Request(model=BASE, messages=(Message("system", system), Message("user", f"{user}\n{question}")))


def chance(world: World, *skills: str) -> float:
    """Of the first question, under a system prompt that names these skills."""
    question = world.tasks(train=1, test=1)[0].train[0].question
    return world.chance("\n".join(CATALOGUE[skill].sentences[0] for skill in skills), "", question)


def first_needs(world: World) -> tuple[str, str]:
    return needs_of(world.tasks(train=1, test=1)[0].train[0].question)


@given(st.integers(0, 50), texts, texts, st.integers(0, 6), st.booleans())
def test_both_models_are_functions_of_the_request(seed: int, system: str, user: str, task: int, shared: bool) -> None:
    """Worlds made anew say the same, whatever they were asked before."""
    one, other = World(seed, shared=shared), World(seed, shared=shared)
    request = ask(one, system, user, task=task)
    one.base(ask(one, user, system, task=task, example=3))
    assert one.base(request) == other.base(request)
    rewrite = Request(
        model=WRITER,
        messages=(
            Message("system", "You improve system prompts."),
            Message("user", f"<system_prompt>\n{system}\n</system_prompt>\nNew: <system_prompt> and </system_prompt>"),
        ),
        draw=task,
    )
    assert Writer(one).answer(rewrite) == Writer(other).answer(rewrite)


@pytest.mark.parametrize("skills", [(), ("irony", "steps", "whole", "detail")])
def test_answers_are_right_as_often_as_the_chances_say(skills: tuple[str, ...]) -> None:
    """But for those without a label, which are few."""
    right, chances = [], []
    for seed in range(40):
        world = World(seed)
        system = "\n".join(CATALOGUE[skill].sentences[0] for skill in skills)
        for task in world.tasks(train=8, test=1):
            for example in task.train:
                user = task.user_prompt.replace("{question}", example.question)
                said = FORMAT.parse(
                    world.base(Request(model=BASE, messages=(Message("system", system), Message("user", user))))
                )
                if said is not None:
                    right.append(said == truth(example.question))
                    chances.append(world.chance(system, task.user_prompt, example.question))
    assert fmean(right) == pytest.approx(fmean(chances), abs=0.03)


def test_in_a_fickle_world_a_wording_counts_and_not_what_it_names() -> None:
    """First prompts have their chance; others are as much worse in the mean as is said, and spread; answers are so."""
    world, shifts, right = World(7, distraction=0.0, fickle=True, worse=0.3), [], []
    skills = " ".join(CATALOGUE[skill].sentences[0] for skill in sorted(world.needs["market"]))
    for task in world.tasks(train=30, test=1):
        assert world.chance(DEFAULT_SYSTEM_PROMPT, task.user_prompt, task.train[0].question) == FICKLE
        for number, example in enumerate(task.train):
            user = f"Wording {number}. {skills} {{question}}"
            shifts.append(world.chance(DEFAULT_SYSTEM_PROMPT, user, example.question) - FICKLE)
            asked = (Message("system", DEFAULT_SYSTEM_PROMPT), Message("user", user.format(question=example.question)))
            right.append(FORMAT.parse(world.base(Request(model=BASE, messages=asked))) == truth(example.question))
    assert fmean(shifts) == pytest.approx(-0.3, abs=0.02)
    assert pstdev(shifts) == pytest.approx(WHIM.stdev, rel=0.2)
    assert fmean(right) == pytest.approx(FICKLE - 0.3, abs=0.08)
    assert replace(world, helped=0.2).chance(skills, "{question}", example.question) > world.chance(
        skills, "{question}", example.question
    )


@given(st.integers(0, 200), st.booleans(), st.booleans())
def test_naming_what_is_needed_helps_and_anything_else_does_not(seed: int, shared: bool, entangled: bool) -> None:
    world = World(seed, shared=shared, entangled=entangled)
    subject, manner = first_needs(world)
    other = next(name for name in CATALOGUE if name not in world.needs[SOURCES[0]])
    assert chance(world) == MIN_CHANCE
    assert chance(world, subject, manner) == pytest.approx(MAX_CHANCE)
    assert MIN_CHANCE < chance(world, subject) < MAX_CHANCE
    assert (chance(world, manner) > MIN_CHANCE) is not entangled
    assert chance(world, subject, manner, other) < MAX_CHANCE - 0.01


@given(st.integers(0, 200))
def test_tasks_have_skills_in_common_only_in_a_shared_world(seed: int) -> None:
    shared, apart = (list(World(seed, shared=shared).needs.values()) for shared in (True, False))
    common = shared[0] & shared[1]
    assert common
    assert all(one & other == common for one, other in combinations(shared, 2))
    assert all(one.isdisjoint(other) for one, other in combinations(apart, 2))


def test_every_common_skill_stands_in_the_component_library() -> None:
    """Or strategies that only put components together could not find it; and every sentence names its own skill."""
    carried = set().union(*map(named, library()))
    assert {skill.name for skill in COMMON} <= carried
    assert all(named(sentence) == {skill.name} for skill in CATALOGUE.values() for sentence in skill.sentences)


def test_the_writer_sees_in_failures_what_their_prompts_lack() -> None:
    """Nearly always: it overlooks some hints, and sometimes has another idea."""
    world = World(3)
    subject, manner = first_needs(world)
    question = world.tasks(train=1, test=1)[0].train[0].question
    case = f"<case>\n{CATALOGUE[manner].sentences[0]}\n{question}\n</case>"
    text = f"{case}\nWrite your findings between <analysis> and </analysis>."
    messages = (Message("system", "You improve prompts."), Message("user", text))
    said = [Writer(world).answer(Request(model=WRITER, messages=messages, draw=draw)) for draw in range(200)]
    assert sum(f"[{subject}]" in one for one in said) > 120 > 20 > sum(f"[{manner}]" in one for one in said)


@pytest.mark.parametrize(
    ("name", "level", "role"), rest_is_slow([("metaspo", "user", "source"), ("metaspo", "system", "target")])
)
def test_metaspo_improves_on_the_default(name: str, level: str, role: str) -> None:
    found = [measure(Job(world=World(seed), changes=by_itself(name, level)), train=12, test=20) for seed in SEEDS]
    assert fmean(one.gain(role) for one in found) > 0.1


def test_early_rejection_changes_no_result() -> None:
    full, cut = (_both_loops(early_rejection) for early_rejection in (False, True))
    assert full.result == cut.result
    assert full.chosen == cut.chosen
    assert cut.calls < full.calls


@pytest.mark.slow
@pytest.mark.parametrize(("name", "level"), CASES)
def test_every_strategy_improves_on_the_default(name: str, level: str) -> None:
    """User prompts on their tasks' test splits, system prompts on tasks that it never saw."""
    role = "source" if level == "user" else "target"
    found = [measure(Job(world=World(seed), changes=by_itself(name, level))) for seed in range(8)]
    assert fmean(one.gain(role) for one in found) > 0.03


@pytest.mark.slow
def test_inner_loops_help_unseen_tasks_where_manners_are_shared_and_not_where_they_are_apart() -> None:
    """Where a manner shows only beside the subject, and the writer keeps to its level: docs/known-truth.md."""

    def lead(*, shared: bool) -> float:
        worlds = [World(seed, shared=shared, entangled=True, distraction=0.0) for seed in range(8)]
        alone = {"iterations": 6, "inner": {"candidates": 0}}
        both, outer = (
            fmean(measure(Job(world=world, changes=changes, tact=1.0, induced=2)).worth for world in worlds)
            for changes in ({}, alone)
        )
        return both - outer

    assert lead(shared=True) > 0.03
    assert abs(lead(shared=False)) < 0.02


@pytest.mark.slow
def test_the_study_prints_its_tables() -> None:
    command = [sys.executable, str(TOOLS / "known_truth.py"), "--seeds", "3", "--methods", "metaspo", "--jobs", "1"]
    ran = subprocess.run([*command, "--parts", "strategies", "savings"], capture_output=True, text=True, check=False)
    assert "| metaspo | system prompts | target tasks |" in ran.stdout, ran.stderr
    assert "| early rejection |" in ran.stdout


def _both_loops(early_rejection: bool) -> Outcome:
    job = Job(world=World(1), changes={"iterations": 2})
    return measure(replace(job, changes={**job.changes, "early_rejection": early_rejection}), train=8, test=4)
