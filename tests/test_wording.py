"""What the text of a system prompt must keep to: whatever is proposed, no prompt that breaks it is asked under."""

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from engine_sessions import Runs, whole_but_own
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from test_engine_search import CASES, config_of, is_base
from world import World, make_config, make_task

from metaspo.engine import RunConfig
from metaspo.engine.config.checks import check_optimizable
from metaspo.engine.config.schema import OuterTable
from metaspo.engine.config.wording import Wording, stand_in
from metaspo.engine.errors import ConfigError
from metaspo.engine.journal.events import Malformed
from metaspo.engine.journal.view import RunView
from metaspo.engine.prompts import DEFAULT_SYSTEM_PROMPT
from metaspo.engine.runs.identity import fingerprint
from metaspo.engine.tasks import TaskError, TaskSpec, load_task

TASKS = (make_task("a", train=7, test=1), make_task("b", train=5, test=1))
OUTER = [name for name, loop in CASES if loop == "outer"]
letters = st.text("abcXYZ", min_size=1, max_size=5)


def outer_of(name: str, **wording: object) -> RunConfig:
    """A run of one strategy in the outer loop, whose prompts must keep to a wording."""
    table = {"candidates": 4} if name in ("embedded", "metaspo") else config_of(name, loop="outer").outer.model_dump()
    return make_config({"iterations": 1, "outer": {**table, "strategy": name, **wording}, "inner": {"candidates": 0}})


def count_words(text: str) -> int:
    """A tokenizer of its kind."""
    return len(text.split())


@cache
def finished(name: str) -> Runs:
    """A run of a strategy whose prompts keep to nothing, which several laws look at."""
    runs = Runs(outer_of(name), TASKS, World(5), timing=1, width=4)
    assert runs.session() is not None
    return runs


def system_prompts(runs: Runs) -> set[str]:
    """The system prompts that examples were asked under."""
    return {request.messages[0].content for request in runs.answered if is_base(request)}


def new_words(runs: Runs) -> list[str]:
    """Words of system prompts that examples were asked under, which the first one does not hold."""
    return sorted(
        word for prompt in system_prompts(runs) for word in prompt.split() if not stand_in(DEFAULT_SYSTEM_PROMPT, word)
    )


def told(runs: Runs) -> list[str]:
    """What the optimizer was asked."""
    return [request.messages[-1].content for request in runs.answered if not is_base(request)]


@pytest.mark.parametrize("name", whole_but_own([*OUTER, "metaspo", "embedded"]))
def test_no_example_is_asked_under_a_system_prompt_without_the_words_that_must_stand_in_it(name: str) -> None:
    free = finished(name)
    bound = Runs(outer_of(name, must_contain=["helpful  Assistant"]), TASKS, World(5), timing=1, width=4)
    result = bound.session()
    assert result is not None
    assert all("helpful assistant" in prompt for prompt in system_prompts(bound))
    assert any("helpful assistant" not in prompt for prompt in system_prompts(free)) or name in ("embedded", "sprig")


@pytest.mark.parametrize("name", whole_but_own([*OUTER, "metaspo", "embedded"]))
def test_no_example_is_asked_under_a_system_prompt_with_words_that_must_not_stand_in_it(name: str) -> None:
    free = finished(name)
    word = new_words(free)[0]
    bound = Runs(outer_of(name, must_not_contain=[word]), TASKS, World(5), timing=1, width=4)
    assert bound.session() is not None
    assert not any(stand_in(prompt, word) for prompt in system_prompts(bound))


@pytest.mark.parametrize("name", whole_but_own([*OUTER, "metaspo", "embedded"]))
def test_no_example_is_asked_under_a_system_prompt_of_more_tokens_than_may_be(name: str) -> None:
    """A run of its own: where words are forbidden, too, the longest prompt of some strategies holds them."""
    most = max(map(count_words, system_prompts(finished(name)))) - 1
    bound = Runs(outer_of(name, max_prompt_tokens=most), TASKS, World(5), timing=1, width=4, count_tokens=count_words)
    assert bound.session() is not None
    assert all(count_words(prompt) <= most for prompt in system_prompts(bound) - {DEFAULT_SYSTEM_PROMPT})


def test_whoever_writes_system_prompts_is_told_what_they_must_keep_to_and_nobody_else_is() -> None:
    wording = Wording(max_chars=900, must_contain=("a helpful assistant",), must_not_contain=("sorry",))
    runs = Runs(make_config({"outer": {"candidates": 2, **wording.model_dump()}}), TASKS, World(5), timing=1, width=4)
    assert runs.session() is not None
    assert wording.request("system").startswith(
        "Whatever system prompt you write must have at most 900 characters; it must contain"
    )
    asked = [said.endswith(wording.request("system")) for said in told(runs)]
    assert {True, False} == set(asked)
    free = Runs(make_config({"outer": {"candidates": 2}}), TASKS, World(5), timing=1, width=4)
    free.session()
    assert not any("Whatever system prompt you write" in said for said in told(free))


def test_a_proposal_that_breaks_the_wording_is_drawn_again() -> None:
    free = finished("metaspo")
    bound = Runs(outer_of("metaspo", must_not_contain=[new_words(free)[0]]), TASKS, World(5), timing=1, width=4)
    assert bound.session() is not None
    assert any("(must_not_contain)" in event.why for event in bound.journal.events if isinstance(event, Malformed))


@given(letters, st.lists(letters, max_size=4))
def test_words_stand_in_a_prompt_where_they_are_words_of_it_whatever_their_case(word: str, prompt: list[str]) -> None:
    there = word.lower() in [other.lower() for other in prompt]
    assert stand_in(" ".join(prompt), word) == there


@pytest.mark.parametrize(
    ("prompt", "words", "there"),
    [
        ("Explain again.", "AI", False),
        ("You are an AI.", "ai", True),
        ("Answer in\nplain  words.", "in plain words", True),
        ("回答要简短，用中文。", "中文", True),
        ("Write <answer>…</answer>.", "<answer>", True),
        ("STRASSE", "straße", True),
        ("step2", "step", False),
        ("aab aa", "aa", True),
    ],
)
def test_words_are_found_as_a_reader_finds_them(prompt: str, words: str, there: bool) -> None:
    assert stand_in(prompt, words) is there


@pytest.mark.parametrize(
    ("wording", "said"),
    [
        ({"must_contain": [""]}, "one of them is empty"),
        ({"must_contain": ["never guess"], "must_not_contain": ["guess"]}, "can hold the words 'never guess'"),
        ({"must_contain": ["never guess"], "max_chars": 5}, "max_chars = 5"),
    ],
)
def test_what_no_prompt_could_keep_to_is_refused(wording: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        OuterTable.model_validate(wording)


@pytest.mark.parametrize("wording", [{"must_contain": ["JSON"]}, {"must_not_contain": ["helpful"]}])
def test_the_first_system_prompt_must_keep_to_it_where_others_are_looked_for(wording: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"^x.toml: system_prompt: \[outer\] says"):
        check_optimizable(make_config({"outer": wording}), TASKS, source="x.toml")
    for off in ({"outer": {**wording, "candidates": 0}}, {"outer": wording, "iterations": 0}):
        check_optimizable(make_config(off), TASKS, source="x.toml")


def test_a_first_system_prompt_may_be_longer_than_those_that_are_looked_for() -> None:
    check_optimizable(make_config({"outer": {"max_chars": 9}}), TASKS, source="x.toml")


def test_runs_of_different_wordings_are_different_runs() -> None:
    wordings: list[dict[str, object]] = [{}, {"must_contain": ["helpful"]}, {"must_not_contain": ["rude"]}]
    assert len({fingerprint(make_config({"outer": wording}), TASKS) for wording in wordings}) == 3


FIXED = "You are a helpful assistant."


@pytest.mark.parametrize("name", whole_but_own([*OUTER, "metaspo", "embedded"]))
def test_the_fixed_part_stands_in_every_system_prompt_letter_by_letter(name: str) -> None:
    free = finished(name)
    assert any(FIXED not in prompt for prompt in system_prompts(free)) or name in ("embedded", "sprig")
    bound = Runs(outer_of(name, fixed=[FIXED]), TASKS, World(5), timing=1, width=4)
    result = bound.session()
    assert result is not None
    assert FIXED in result.system_prompt
    assert all(prompt.count(FIXED) == 1 for prompt in system_prompts(bound))
    assert len(system_prompts(bound)) > 1, "a candidate that lost it is mended, not lost"


INNER = [name for name, loop in CASES if loop == "inner"]


@pytest.mark.parametrize("name", whole_but_own([*INNER, "metaspo", "embedded"]))
def test_the_fixed_part_stands_in_every_user_prompt_of_its_task(name: str) -> None:
    part = "Answer yes or no."
    tasks = tuple(
        replace(task, user_prompt=f"{task.user_prompt} {part}", fixed=(part,)) if task.name == "a" else task
        for task in TASKS
    )
    table = {"candidates": 3} if name in ("embedded", "metaspo") else config_of(name, loop="inner").inner.model_dump()
    changes = {"iterations": 1, "inner": {**table, "strategy": name}, "outer": {"candidates": 0}}
    runs = Runs(make_config(changes), tasks, World(5), timing=1, width=4)
    result = runs.session()
    assert result is not None
    asked = [
        request.messages[-1].content
        for request in runs.answered
        if is_base(request) and re.search(r"\ba (train|test) number", request.messages[-1].content)
    ]
    assert len({re.sub(r"\d", "", text) for text in asked}) > 2
    assert all(text.count(part) == 1 for text in asked)
    assert all(part in prompt for prompt in result.user_prompts["a"])


@given(st.lists(letters, min_size=1, max_size=4), st.lists(letters, max_size=4), st.booleans())
def test_what_is_mended_holds_the_fixed_part_and_is_mended_no_more(
    part: list[str], rest: list[str], ahead: bool
) -> None:
    fixed, other = " ".join(part), " ".join(rest)
    wording = Wording(fixed=(fixed,))
    first = f"{fixed} and more" if ahead else f"more and {fixed}"
    for prompt in (other, f"{other}\n\n{'  '.join(part).upper()}", f"{fixed} {other}"):
        mended = wording.mended(prompt, first=first)
        assert wording.fault(mended) == ""
        assert wording.mended(mended, first=first) == mended
        assert mended == prompt or mended.startswith(fixed) or not mended.endswith("more")


def test_a_lost_part_comes_back_where_the_first_prompt_has_it() -> None:
    wording = Wording(fixed=("Only speak of Acme.",))
    assert wording.mended("Be kind.", first="Only speak of Acme. Help.") == "Only speak of Acme.\n\nBe kind."
    assert wording.mended("Be kind.", first="Help. Only speak of Acme.") == "Be kind.\n\nOnly speak of Acme."
    assert wording.mended("Be kind. only speak\nof Acme.", first="Help.") == "Be kind. Only speak of Acme."


def test_whoever_wrote_what_breaks_the_wording_is_told_what_was_wrong_and_the_run_counts_it() -> None:
    free = finished("metaspo")
    word = new_words(free)[0]
    bound = Runs(outer_of("metaspo", must_not_contain=[word]), TASKS, World(5), timing=1, width=4)
    assert bound.session() is not None
    unfit = [event for event in bound.journal.events if isinstance(event, Malformed) and event.unfit]
    again = f"that was not taken: it holds the words '{word}' (must_not_contain). Write one"
    assert 0 < sum(again in said for said in told(bound)) <= len(unfit)
    proposals = RunView.of(bound.journal.events).proposals
    assert proposals.unfit == len(unfit)
    assert proposals.sentence.startswith(f"{len(unfit)} answer")
    assert f"(the last: it holds the words '{word}' (must_not_contain))" in proposals.sentence
    assert RunView.of(free.journal.events).proposals.sentence == ""


def test_a_first_user_prompt_without_its_fixed_part_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"question": "q", "answer": "yes"}\n', encoding="utf-8")
    table = {"name": "t", "train": "t.jsonl", "fixed": ["In English."], "user_prompts": ["In English. {question}"]}
    with pytest.raises(TaskError, match=r"fixed: every first user prompt must hold 'In English.', letter by letter"):
        load_task(TaskSpec.model_validate({**table, "user_prompt": "{question}"}), base_dir=tmp_path, seed=1)
    with pytest.raises(ValidationError, match="one of them is empty"):
        TaskSpec.model_validate({**table, "fixed": [" "]})
    with pytest.raises(ValidationError, match="it is for a source task"):
        TaskSpec.model_validate({**table, "user_prompts": [], "role": "guard"})


def test_a_lost_part_that_stands_within_another_in_other_letters_is_put_back_beside_it() -> None:
    wording = Wording(fixed=("Be brief.", "Whatever is asked, be brief."))
    mended = wording.mended("Whatever is asked, be brief.", first="Be brief. Whatever is asked, be brief.")
    assert mended == "Be brief.\n\nWhatever is asked, be brief."
    assert not wording.fault(mended)
