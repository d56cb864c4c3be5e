"""Demonstrations in user prompts: right answers of the train split, never the test split's, never the asked one's."""

import re
from dataclasses import replace

import pytest
from engine_sessions import Runs, whole_but_own
from hypothesis import given
from hypothesis import strategies as st
from test_engine_search import CASES, TASKS, config_of, is_base
from world import World, make_config, make_task, with_prompts

from metaspo.engine import RunConfig
from metaspo.engine.config.calls import count_calls
from metaspo.engine.journal.events import Proposal
from metaspo.engine.prompts import PromptPair
from metaspo.engine.runs.identity import fingerprint, fingerprint_of, identity_of, later
from metaspo.engine.strategies.worked_examples import WorkedExample, join_system, join_user, split_user, without_own

SEARCHED = [case for case in CASES if case[0] == "mipro"]
INNER = [name for name, loop in CASES if loop == "inner"]
SHOWN = re.compile(r"Input: (.*)\nOutput: (.*)")
lines = st.text("ab c?", min_size=1, max_size=8).map(lambda text: " ".join(text.split())).filter(bool)


def demonstrating(name: str, *, candidates: int = 3, shown: int = 2) -> RunConfig:
    """A run of a strategy in the inner loop, one of whose candidates shows right answers."""
    table = {} if name not in INNER else config_of(name, loop="inner").inner.model_dump()
    inner = {**table, "strategy": name, "candidates": candidates, "keep": 2, "demonstrations": shown}
    return make_config({"inner": inner, "early_rejection": False})


def runs_of(config: RunConfig) -> Runs:
    """A run in a world where much is answered rightly, and much is not."""
    return Runs(config, TASKS, World(5, malformed=0.0), timing=1, width=4)


def demonstrated(runs: Runs) -> list[str]:
    """The user prompts with right answers that were proposed."""
    users = [event.user or "" for event in runs.journal.events if isinstance(event, Proposal)]
    return [user for user in users if split_user(user)[0]]


@pytest.mark.parametrize("name", whole_but_own([*INNER, "metaspo", "embedded", "informed"]))
def test_every_strategy_has_a_candidate_with_right_answers_of_the_train_split_and_no_others(name: str) -> None:
    runs = runs_of(demonstrating(name))
    assert runs.session() is not None
    train = {example.question for task in TASKS for example in task.train}
    right = {example.question: example.answers[0] for task in TASKS for example in (*task.train, *task.test)}
    prompts = [user for user in demonstrated(runs) if name not in ("embedded", "mipro") or "train number" in user]
    assert prompts
    for user in prompts:
        shown = SHOWN.findall(user)
        assert 0 < len(shown) <= 4
        assert all(question in train and answer == right[question] for question, answer in shown)


def test_no_example_is_asked_with_its_own_answer_before_it() -> None:
    runs = runs_of(demonstrating("metaspo"))
    assert runs.session() is not None
    asked = [request.messages[-1].content for request in runs.answered if is_base(request)]
    beside = [text for text in asked if SHOWN.search(text)]
    assert beside
    for text in beside:
        own = re.findall(r"\w+ (?:train|test) number \d+", text)[-1]
        assert own not in [question for question, _ in SHOWN.findall(text)]
    whole = {len(SHOWN.findall(user)) for user in demonstrated(runs)}
    assert any(len(SHOWN.findall(text)) < max(whole) for text in beside), "some were asked without their own"


def test_demonstrations_take_no_call_of_the_optimizer_and_are_planned() -> None:
    config = demonstrating("metaspo")
    runs = runs_of(config)
    assert runs.session() is not None
    planned, plain = count_calls(config, TASKS), count_calls(demonstrating("metaspo", shown=0), TASKS)
    assert (planned.base, planned.optimizer) == (plain.base, plain.optimizer - 2 * 2 * 2)
    assert sum(is_base(request) for request in runs.answered) <= planned.base
    assert sum(not is_base(request) for request in runs.answered) <= planned.optimizer
    alone = demonstrating("metaspo", candidates=1)
    unasked = alone.model_copy(update={"outer": alone.outer.model_copy(update={"candidates": 0})})
    assert count_calls(unasked, TASKS).optimizer == 0


@given(st.lists(st.builds(WorkedExample, lines, lines), max_size=4), lines)
def test_what_is_left_out_is_the_questions_own_and_nothing_else(shown: list[WorkedExample], question: str) -> None:
    prompt = join_user(shown, "Be brief. {question}")
    left, text = split_user(without_own(PromptPair("Help.", prompt), f" {question} ").user)
    assert text == "Be brief. {question}"
    assert list(left) == [example for example in shown if example.question != question]


def test_a_run_with_demonstrations_is_another_and_one_without_keeps_its_name() -> None:
    plain = make_config()
    none = make_config({"inner": {**plain.inner.model_dump(), "demonstrations": 0}})
    some = make_config({"inner": {**plain.inner.model_dump(), "demonstrations": 2}})
    assert fingerprint(none, TASKS) == fingerprint(plain, TASKS) != fingerprint(some, TASKS)


def test_what_a_programs_named_prompts_come_to_is_no_demonstration_of_one_of_them() -> None:
    tasks = (with_prompts(make_task("a", train=7)),)
    runs = Runs(demonstrating("metaspo"), tasks, World(5, malformed=0.0), timing=1, width=4)
    assert runs.session() is not None
    users = [event.user for event in runs.journal.events if isinstance(event, Proposal) and event.user]
    assert users
    assert not any("Worked examples:" in user for user in users)


@pytest.mark.parametrize(("name", "loop"), [("embedded", "inner"), ("embedded", "outer"), *SEARCHED])
def test_no_strategy_has_an_example_answered_with_its_own_answer_shown(name: str, loop: str) -> None:
    """In a user prompt or in the system prompt, as it is or within an earlier user prompt."""
    config = make_config({loop: {"strategy": name, "candidates": 3}, "early_rejection": False})
    if (name, loop) in CASES:
        config = config_of(name, loop=loop)
    runs = runs_of(config)
    assert runs.session() is not None
    asked = [
        "\n\n".join(message.content for message in request.messages) for request in runs.answered if is_base(request)
    ]
    beside = [text for text in asked if SHOWN.search(text)]
    assert beside
    for text in beside:
        own = re.findall(r"\w+ (?:train|test) number \d+", text)[-1]
        assert not any(own in question for question, _ in SHOWN.findall(text))
    counts = {len(SHOWN.findall(text)) for text in beside}
    assert len(counts) > 1, "some were asked without their own"


@given(st.lists(st.builds(WorkedExample, lines, lines), max_size=4), lines, st.sampled_from(["", "Stay polite."]))
def test_an_example_is_left_out_wherever_it_stands_and_nothing_else(
    shown: list[WorkedExample], question: str, fixed: str
) -> None:
    """Also where a fixed part of the first prompt was put back before a block, or behind it."""
    asked = [WorkedExample(f"Answer this: {example.question}", example.answer) for example in shown]
    others = [example for example in shown if example.question != question]
    apart = [example for example in asked if question not in example.question]

    def around(first: str, last: str) -> str:
        return "\n\n".join(filter(None, [first, last]))

    whole = PromptPair(
        around(join_system("Help.", asked), fixed), around(fixed, join_user(shown, "Be brief. {question}"))
    )
    assert without_own(whole, f" {question} ") == PromptPair(
        around(join_system("Help.", apart), fixed), around(fixed, join_user(others, "Be brief. {question}"))
    )


def test_runs_whose_strategies_show_examples_begin_anew_and_all_others_keep_their_names() -> None:
    """The names of before."""
    embedded, plain = make_config({"outer": {"strategy": "embedded"}}), make_config({"outer": {"candidates": 0}})
    assert later(embedded)["rules"] == 4
    assert "rules" not in later(plain)


def test_a_run_whose_first_prompts_show_examples_begins_anew_too() -> None:
    """As one may that starts from another: such a prompt was the one that was asked, before."""
    plain = make_config({"ties": "earlier", "outer": {"candidates": 0}})
    shown = [WorkedExample("Is 7 even?", "no")]
    of_system = plain.model_copy(update={"system_prompt": join_system("Help.", shown)})
    of_user = [replace(task, user_prompt=join_user(shown, task.user_prompt)) for task in TASKS]
    for config, tasks in ((of_system, TASKS), (plain, of_user)):
        with_own = {**identity_of(config, tasks)}
        assert with_own.pop("own") == "left out"
        assert fingerprint_of(with_own) != fingerprint(config, tasks)
    assert "own" not in identity_of(plain, TASKS)
