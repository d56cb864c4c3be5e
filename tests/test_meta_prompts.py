"""Meta-prompts are filled in whole; what comes back is read strictly."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaspo.engine.strategies import Malformed
from metaspo.engine.strategies.meta_prompts import (
    failure_block,
    read_analysis,
    read_prompt,
)
from metaspo.engine.strategies.texts import META, messages
from metaspo.engine.tasks import Example, Failure

SLOTS = {
    "system_prompt": "SYSTEM $5",
    "user_prompt": "USER {question}",
    "answer_rule": "RULE",
    "failures": "FAILURES",
    "analysis": "ANALYSIS",
    "form": "FORM",
}


@pytest.mark.parametrize("level", ["user", "system"])
@pytest.mark.parametrize("step", ["analyze", "generate"])
def test_no_slot_is_left_open_and_dollars_in_texts_survive(level: str, step: str) -> None:
    text = messages(META, "user" if level == "user" else "system", step, SLOTS)[1].content
    assert "SYSTEM $5" in text
    assert "$" not in text.replace("SYSTEM $5", "")


def test_the_outer_rewrite_does_not_see_the_failures() -> None:
    assert "FAILURES" not in messages(META, "system", "generate", SLOTS)[1].content
    assert "FAILURES" in messages(META, "user", "generate", SLOTS)[1].content


def test_a_failure_block_shows_what_the_grader_says_where_it_says_something() -> None:
    failure = Failure(example=Example("2+2?", ("4",)), response="five", prediction="5")
    told = replace(failure, feedback="one too many, $prediction")
    plain, with_feedback = (failure_block(one, system_prompt="S", user_prompt="{question}") for one in (failure, told))
    assert with_feedback == plain.replace("</case>", "<feedback>one too many, $prediction</feedback>\n</case>")
    assert "feedback" not in plain


def test_a_failure_block_shows_prompts_answer_reading_and_label() -> None:
    failure = Failure(example=Example("2+2?", ("4", "four")), response="five", prediction=None)
    block = failure_block(failure, system_prompt="S", user_prompt="Q: {question}")
    assert all(text in block for text in ("S", "Q: 2+2?", "five", "4 or four", "(not in the required form)"))


@pytest.mark.parametrize(
    "text",
    [
        "no tags",
        "<user_prompt></user_prompt>",
        "<user_prompt>no placeholder</user_prompt>",
        "<user_prompt>{question} and {question}</user_prompt>",
        "<user_prompt>{question}</user_prompt><user_prompt>{question}</user_prompt>",
        "<user_prompt>{question}",
    ],
)
def test_a_user_prompt_that_cannot_be_used_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        read_prompt(text, level="user")


def test_a_system_prompt_with_the_placeholder_is_malformed() -> None:
    with pytest.raises(Malformed):
        read_prompt("<system_prompt>Answer {question}</system_prompt>", level="system")


@given(st.text(max_size=60), st.text(max_size=60).filter(str.strip))
def test_whatever_stands_around_the_tags_what_is_inside_is_read(around: str, inside: str) -> None:
    if "analysis>" in around or "analysis>" in inside:
        return
    assert read_analysis(f"{around}<analysis>{inside}</analysis>{around}") == inside.strip()
