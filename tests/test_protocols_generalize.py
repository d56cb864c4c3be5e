"""Generalizing: user prompts that were induced or given, the same for every system prompt."""

import re

import pytest
from engine_sessions import Runs
from world import World, make_config, make_task, with_prompts

from metaspo.engine import ConfigError, RunConfig
from metaspo.engine.evaluation.test_score import TestScore
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.studies import generalize, induce_user_prompts
from metaspo.engine.studies.grid_config import GeneralizeTable
from metaspo.engine.studies.needs import generalize_calls
from metaspo.engine.tasks import TaskError

TASKS = (make_task("a"), make_task("u", role="target", train=12), make_task("v", role="target", train=4))


def runs_of(config: RunConfig) -> Runs:
    return Runs(config, TASKS, World(2, malformed=0.0), timing=1, width=4)


def test_prompts_are_induced_from_ten_examples_for_every_target_task() -> None:
    runs = runs_of(make_config())

    async def what(context: RunContext) -> dict[str, tuple[str, ...]]:
        return await induce_user_prompts(context, count=4, demos=10)

    prompts = runs.do(what)
    assert prompts is not None
    assert list(prompts) == ["u", "v"]
    asked = [request.messages[-1].content for request in runs.answered]
    assert sorted(text.count("<pair>") for text in asked) == [4] * 4 + [10] * 4
    for user in (*prompts["u"], *prompts["v"]):
        assert user.count("{question}") == 1
        assert "Answer with one of: yes, no." in user


def test_induced_prompts_do_not_depend_on_the_system_prompt() -> None:
    async def what(context: RunContext) -> dict[str, tuple[str, ...]]:
        return await induce_user_prompts(context, count=3)

    one = runs_of(make_config({"system_prompt": "You are brief."})).do(what)
    other = runs_of(make_config({"system_prompt": "You are patient."})).do(what)
    assert one == other


@pytest.mark.parametrize("malformed", [0.0, 0.5])
def test_each_prompt_that_a_program_names_is_induced_and_numbers_stay(malformed: float) -> None:
    """A user prompt is had whole or not at all, and a call is planned for each of its texts."""
    task = with_prompts(make_task("u", role="target", train=12))
    runs = Runs(make_config(), (TASKS[0], task), World(2, malformed=malformed), timing=1, width=4)

    async def what(context: RunContext) -> dict[str, tuple[str, ...]]:
        return await induce_user_prompts(context, count=4)

    prompts = runs.do(what)
    assert prompts is not None
    assert task.form is not None
    for user in prompts["u"]:
        named, first = task.form.read(user), task.form.read(task.user_prompt)
        assert named.numbers == first.numbers
        assert all(named.texts[name] != first.texts[name] for name in ("answer", "rules"))
    asked = [request.messages[-1].content for request in runs.answered]
    if malformed:
        assert len(asked) > 8, "drawn again"
    else:
        assert len(prompts["u"]) > 1
        assert sorted(re.findall(r'prompt named "(\w+)" is lost', "\n".join(asked))) == ["answer"] * 4 + ["rules"] * 4
        assert all(text.count("<pair>") == 10 for text in asked)
        assert all(("Think of halves." in text) == ('"answer" is lost' in text) for text in asked)
        assert generalize_calls(GeneralizeTable(prompts=4), [TASKS[0], task]).optimizer == len(asked)


def test_every_user_prompt_of_every_target_task_is_scored_under_the_system_prompt() -> None:
    prompts = {"u": ("One: {question}", "Two: {question}"), "v": ("Three: {question}",)}

    async def what(context: RunContext) -> list[TestScore]:
        return await generalize(context, "You are exact.", prompts)

    rows = runs_of(make_config()).do(what)
    assert rows is not None
    assert [(row.task, row.prompt, row.user) for row in rows] == [
        ("u", 0, "One: {question}"),
        ("u", 1, "Two: {question}"),
        ("v", 0, "Three: {question}"),
    ]
    assert all(row.system == "You are exact." and len(row.grades) == 4 for row in rows)


def test_inducing_without_an_optimizer_or_without_examples_is_refused() -> None:
    async def what(context: RunContext) -> dict[str, tuple[str, ...]]:
        return await induce_user_prompts(context)

    bare = make_config().model_copy(update={"optimizer": None})
    with pytest.raises(ConfigError, match="optimizer"):
        runs_of(bare).do(what)
    tasks = (TASKS[0], make_task("w", role="target", train=0))
    with pytest.raises(TaskError, match="'w'"):
        Runs(make_config(), tasks, World(2), timing=1, width=4).do(what)
