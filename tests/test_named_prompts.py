"""Programs of several named prompts and numbers: one text wherever a user prompt is, and what is made of it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from engine_sessions import Runs, whole_but_own
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sizes import examples
from test_engine_search import BOTH, SMALL
from world import World, make_config, make_task, with_prompts

from metaspo.engine import RunConfig
from metaspo.engine.config.calls import count_calls
from metaspo.engine.errors import PromptError
from metaspo.engine.journal import events
from metaspo.engine.prompts import PromptPair, check_user_prompt
from metaspo.engine.runs.identity import fingerprint, identity_of
from metaspo.engine.strategies.named_prompts import choose_numbers
from metaspo.engine.tasks import Task, TaskSpec, load_task
from metaspo.engine.tasks.named_prompts import NamedPrompts, NumberRange, PromptForm, read_named

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).filter(lambda name: name != "numbers")
TEXTS = st.text(st.characters(codec="utf-8"), min_size=1).map(str.strip).filter(lambda text: text and "===" not in text)
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
TOLD = {"name": "a", "train": "a.jsonl", "answer": "text", "program": "own:answer", "max_calls": 2}


def spec(**changes: object) -> TaskSpec:
    return TaskSpec.model_validate({**TOLD, **changes})


@settings(deadline=None)
@given(texts=st.dictionaries(NAMES, TEXTS, min_size=1, max_size=3), numbers=st.dictionaries(NAMES, NUMBERS, max_size=3))
def test_named_prompts_and_numbers_are_read_back_from_the_text_that_they_are(
    texts: Mapping[str, str], numbers: Mapping[str, int | float]
) -> None:
    named = NamedPrompts(texts, numbers)
    read = read_named(str(named))
    assert read == named
    assert list(read.texts) == list(texts)


@given(st.text() | st.sampled_from(["=== a ===\nx\n=== a ===\ny", "x\n=== a ===\ny", "=== numbers ===\nk = many"]))
def test_no_other_text_is_taken_for_named_prompts(text: str) -> None:
    named = read_named(text)
    assert named is None or read_named(str(named)) == named


def test_a_program_fills_the_places_of_a_prompt_once_and_is_told_which_it_left_empty() -> None:
    pair = PromptPair("Help.", str(NamedPrompts({"ask": "{notes} {question}", "rule": "Be brief."}, {"k": 3})))
    assert pair.text("ask", notes="see {question}", question="why?") == "see {question} why?"
    assert [message.content for message in pair.chat("rule")] == ["Help.", "Be brief."]
    assert pair.numbers == {"k": 3}
    with pytest.raises(KeyError, match=r"the prompt 'ask' has a place \{question\}, for which nothing is given"):
        pair.text("ask", notes="n")
    with pytest.raises(KeyError, match="there is no prompt 'answer': there are ask, rule"):
        pair.text("answer")
    with pytest.raises(PromptError, match=r"several named ones \(ask, rule\): use prompts.chat\(NAME"):
        pair.messages("why?")


FORM, FIRST = PromptForm.of(
    {"query": "Words for {{question}}", "answer": "{notes}\n\n{question}"},
    {"k": (3, 1, 10), "heat": NumberRange(low=0, high=1.5)},
)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("{notes}", "", r"the prompt 'answer' must hold \{notes\} exactly once, it holds it 0 times"),
        ("{notes}", "{notes}{notes}", r"exactly once, it holds it 2 times"),
        ("Words", "{notes} words", r"the prompt 'query' holds \{notes\}, for which the program gives no text"),
        ("Words for {question}", "", "the prompt 'query' is empty"),
        ("=== query ===", "=== ask ===", r"must have the sections === answer ===, === query ===, === numbers ==="),
        ("k = 3", "", "the last with heat = …, k = …"),
        ("k = 3", "k = 2", "k = 2 is none of 3, 1, 10"),
        ("heat = 0.0", "heat = 1.6", r"heat = 1.6 is not from 0 to 1.5"),
    ],
)
def test_a_user_prompt_of_another_form_is_refused_with_what_is_wrong(old: str, new: str, why: str) -> None:
    assert check_user_prompt(FIRST, FORM) == FIRST
    with pytest.raises(PromptError, match=why):
        check_user_prompt(FIRST.replace(old, new), FORM)


def test_the_order_of_the_sections_is_nobodys_to_keep() -> None:
    answer, query, numbers = FIRST.split("\n\n===")
    assert check_user_prompt(f"==={numbers}\n\n==={query}\n{answer}", FORM) == FIRST


def test_places_in_double_braces_and_loose_lines_are_the_same_user_prompt() -> None:
    loose = FIRST.replace("{notes}", "{{ notes }}").replace("\n\n===", "\n\n\n===").replace("k = 3", "k=3.0")
    assert check_user_prompt(loose, FORM) == FIRST


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"prompts": {"a": "x"}, "program": None, "max_calls": None}, "prompts are named for a program"),
        ({"numbers": {"k": [1, 2]}}, "numbers and together go with prompts"),
        ({"together": True}, "numbers and together go with prompts"),
        ({"prompts": {"a": "x"}, "fixed": ["x"]}, "fixed is of one user prompt, and a program names several here"),
        ({"prompts": {"Query": "x"}}, "'Query' is no name for one"),
        ({"prompts": {"numbers": "x"}}, "'numbers' is no name for one"),
        ({"prompts": {"a": "{x} {x}"}}, r"must hold \{x\} exactly once"),
        ({"prompts": {"a": ""}}, "the prompt 'a' is empty"),
        ({"prompts": {"a": "x\n=== b ===\ny"}}, "must have the sections"),
        ({"prompts": {"a": "x"}, "numbers": {"k": [1]}}, "two numbers or more"),
        ({"prompts": {"a": "x"}, "numbers": {"k": [1, 1.0]}}, "each once"),
        ({"prompts": {"a": "x"}, "numbers": {"k": 3}}, r"choose from, \[3, 1, 5\], or a range, \{low = 1, high = 5\}"),
        ({"prompts": {"a": "x"}, "numbers": {"k": {"low": 2, "high": 1}}}, "low = 2 must be below high = 1"),
        ({"prompts": {"a": "x"}, "numbers": {"k": {"low": 1, "high": 2, "first": 3}}}, "first = 3 is not among"),
        ({"prompts": {"a": "x"}, "user_prompt": "{question}"}, "must have the sections === a ==="),
        ({"prompts": {"a": "x"}, "user_prompts": ["{question}"]}, "must have the sections === a ==="),
    ],
)
def test_a_task_whose_prompts_cannot_be_is_refused_with_a_sentence(changes: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why) as refused:
        spec(**changes)
    assert refused.value.error_count() == 1


def test_first_prompts_and_numbers_are_the_first_user_prompt_and_other_numbers_are_another_run(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"question": "q", "answer": "a"}\n')
    (tmp_path / "own.py").write_text("async def answer(prompts, example, call):\n    return 'a'\n")

    def loaded(**changes: object) -> Task:
        given: dict[str, object] = {"prompts": {"ask": "{question}?"}, "numbers": {"k": [2, 1]}}
        told = spec(**{**given, **changes})
        assert TaskSpec.model_validate(told.model_dump(mode="json")) == told, "as a run's directory holds it"
        return load_task(told, base_dir=tmp_path, seed=0)

    task, config = loaded(), make_config()
    assert task.user_prompt == "=== ask ===\n{question}?\n\n=== numbers ===\nk = 2"
    others = [loaded(numbers={"k": [2, 3]}), loaded(together=True), loaded(numbers={"k": {"low": 1, "high": 2}})]
    assert len({fingerprint(config, [each]) for each in (task, *others)}) == 4


def changed(prompt: str, parent: str) -> set[str]:
    """What of named prompts and numbers differs."""
    form = with_prompts(make_task("a")).form
    assert form is not None
    new, old = form.read(prompt), form.read(parent)
    return {name for name in old.texts if new.texts[name] != old.texts[name]} | (
        {"numbers"} if new.numbers != old.numbers else set()
    )


def proposed(task: Task, config: RunConfig, *, world: int) -> list[tuple[str, set[str]]]:
    """The addresses of user prompts that a run proposes, and what each changes of the one it came from."""
    runs = Runs(config, (task, make_task("b", role="target")), World(world, malformed=0.0), timing=1, width=4)
    assert runs.session() is not None
    parent, told = task.user_prompt, []
    for event in runs.journal.events:
        if isinstance(event, events.Select) and event.kept:
            parent = event.kept[0].user
        if isinstance(event, events.Proposal) and event.user is not None:
            told.append((event.address, changed(event.user, parent)))
    return told


def test_candidates_change_one_prompt_or_the_numbers_each_in_turn_from_iteration_to_iteration() -> None:
    config = make_config({"iterations": 3, "inner": {"candidates": 2, "keep": 1}, "outer": {"candidates": 0}})
    told = dict(proposed(with_prompts(make_task("a")), config, world=3))
    turns = ["answer", "rules", "numbers"] * 2
    places = [f"iter={n}/inner/task=a/cand={candidate}" for n in (1, 2, 3) for candidate in (1, 2)]
    assert told == {place: {turn} for place, turn in zip(places, turns, strict=True)}


def test_together_every_candidate_changes_all() -> None:
    config = make_config({"iterations": 1, "inner": {"candidates": 3, "keep": 1}, "outer": {"candidates": 0}})
    told = proposed(with_prompts(make_task("a"), together=True), config, world=3)
    assert [change for _, change in told] == [{"rules", "answer", "numbers"}] * 3


def test_no_number_is_tried_twice_with_the_same_prompts_and_none_is_left_to_try_in_the_end() -> None:
    form, _ = PromptForm.of({"a": "x"}, {"k": (1, 2, 3, 4)})
    chosen = choose_numbers(form, [({"k": 1}, 0.5)], count=9, seed=1, without=[{"k": 1}])
    assert sorted(numbers["k"] for numbers in chosen) == [2, 3, 4]


def test_numbers_come_back_to_what_was_good_and_are_a_function_of_seed_and_scores() -> None:
    form, _ = PromptForm.of({"a": "x"}, {"heat": NumberRange(low=0.0, high=1.0), "k": (1, 2, 4, 8)})

    def search(seed: int, *, times: int) -> list[Mapping[str, int | float]]:
        history: list[tuple[Mapping[str, int | float], float]] = []
        for number in range(times):
            chosen = choose_numbers(form, history, count=3, seed=seed + number)
            history += [(numbers, 1 - abs(numbers["heat"] - 0.7) - (numbers["k"] != 4) / 2) for numbers in chosen]
        return [numbers for numbers, _ in history]

    found = search(5, times=24)
    assert found[:24] == search(5, times=8) != search(6, times=8)
    late = found[36:]
    assert sum(numbers["k"] == 4 for numbers in late) > 0.4 * len(late), "a quarter by chance"
    assert sum(abs(numbers["heat"] - 0.7) < 0.2 for numbers in late) > len(late) / 2, "two fifths by chance"
    assert all(numbers["heat"] == float(f"{numbers['heat']:.3g}") for numbers in found), "short to read"


@settings(max_examples=examples(3, random=8), deadline=None)
@given(world=st.integers(0, 10**6), candidates=st.integers(0, 4), together=st.booleans())
def test_no_run_of_named_prompts_makes_more_calls_than_its_plan_says(
    world: int, candidates: int, together: bool
) -> None:
    config = make_config({"inner": {"candidates": candidates}, "redraws": 0})
    tasks = (with_prompts(make_task("a"), together=together), make_task("b"), make_task("c", role="target"))
    runs = Runs(config, tasks, World(world), timing=world, width=4)
    assert runs.session() is not None
    planned = count_calls(config, tasks)
    assert sum(request.model == "answerer" for request in runs.answered) <= planned.base
    assert sum(request.model == "writer" for request in runs.answered) <= planned.optimizer


@pytest.mark.parametrize(
    ("strategy", "together"), whole_but_own([*((name, False) for name in ("embedded", *BOTH)), ("gepa", True)])
)
def test_every_strategy_works_on_a_named_prompt_as_on_any_and_a_rerun_makes_no_call(
    strategy: str, together: bool
) -> None:
    inner = {"strategy": strategy, "options": SMALL.get(strategy, {}), "candidates": 3, "keep": 2}
    config = make_config({"iterations": 1, "inner": inner, "outer": {"candidates": 1}})
    tasks = (with_prompts(make_task("a"), together=together), make_task("b", role="target"))
    runs = Runs(config, tasks, World(3, malformed=0.0), timing=1, width=4)
    first = runs.session()
    calls = len(runs.answered)
    assert calls <= count_calls(config, tasks).base + count_calls(config, tasks).optimizer
    assert runs.session() == first
    assert len(runs.answered) == calls
    made = [event.user for event in runs.journal.events if isinstance(event, events.Proposal) and event.user]
    assert any(changed(prompt, tasks[0].user_prompt) - {"numbers"} for prompt in made)


@pytest.mark.parametrize("strategy", ["ape", "mipro"])
def test_the_answer_rule_is_put_below_the_named_prompts_that_state_it_and_below_no_other(strategy: str) -> None:
    plain = with_prompts(make_task("a"))
    rule = plain.answer_format.describe()
    assert plain.form is not None
    named = plain.form.read(plain.user_prompt)
    stated = str(replace(named, texts={**named.texts, "answer": f"{named.texts['answer']} {rule}"}))
    task = replace(plain, user_prompt=plain.form.checked(stated))
    config = make_config({"iterations": 1, "inner": {"strategy": strategy, "keep": 1}, "outer": {"candidates": 0}})
    runs = Runs(config, (task, make_task("b", role="target")), World(3, malformed=0.0), timing=1, width=4)
    assert runs.session() is not None
    made = [event.user for event in runs.journal.events if isinstance(event, events.Proposal) and event.user]
    texts = [plain.form.read(prompt).texts for prompt in made]
    assert {text["rules"] for text in texts} - {named.texts["rules"]}, "the other one was written anew, too"
    assert len({text["answer"] for text in texts}) > 1
    assert all(rule in text["answer"] for text in texts)
    assert not any(rule in text["rules"] for text in texts)


def test_runs_whose_strategies_put_the_answer_rule_below_prompts_begin_anew_where_these_are_named() -> None:
    identity = identity_of(make_config({"inner": {"strategy": "ape"}}), [with_prompts(make_task("a"))])
    assert identity["rule"] == "where stated"
    for strategy, task in (("metaspo", with_prompts(make_task("a"))), ("ape", make_task("a"))):
        assert "rule" not in identity_of(make_config({"inner": {"strategy": strategy}}), [task])


@pytest.mark.parametrize("low", [0.0, 0.5, 2000.0, -2009.0, 1e6])
def test_a_range_of_fractions_has_many_numbers_however_far_from_zero_it_lies(low: float) -> None:
    space = NumberRange(low=low, high=low + 9)
    assert len({space.nearest(low + 9 * step / 90) for step in range(91)}) == 91
