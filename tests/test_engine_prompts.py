"""Prompts: what is refused, and what a model is sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaspo.backends import Message
from metaspo.engine import PromptError, PromptPair
from metaspo.engine.prompts import check_system_prompt, check_user_prompt, render
from metaspo.engine.tasks import TaskSpec

PAIR = PromptPair("Be brief.", "Is {question} even? {x} {{y}} %s $z")


@pytest.mark.parametrize("prompt", ["", "no place", "{question} and {question}", "{Question}", "{ question }"])
def test_a_user_prompt_without_exactly_one_placeholder_is_refused(prompt: str) -> None:
    with pytest.raises(PromptError, match="exactly once"):
        check_user_prompt(prompt)


@pytest.mark.parametrize("prompt", ["", " \n\t", "About {question}."])
def test_a_system_prompt_that_is_empty_or_holds_the_placeholder_is_refused(prompt: str) -> None:
    with pytest.raises(PromptError):
        check_system_prompt(prompt)


def test_a_prompt_that_no_file_and_no_server_could_take_is_refused() -> None:
    for check in (check_system_prompt, check_user_prompt):
        with pytest.raises(PromptError, match="half of a surrogate pair"):
            check("Answer. \ud83d {question}")


@given(question=st.text())
def test_a_question_is_put_in_as_it_is_whatever_it_holds(question: str) -> None:
    assert render(PAIR, question) == (
        Message("system", "Be brief."),
        Message("user", "Is " + question + " even? {x} {{y}} %s $z"),
    )


@given(question=st.text())
def test_merged_roles_send_both_prompts_in_one_user_message(question: str) -> None:
    (message,) = render(PAIR, question, roles="merged")
    assert message.role == "user"
    assert message.content == "Be brief.\n\nIs " + question + " even? {x} {{y}} %s $z"


@pytest.mark.parametrize("written", ["{{question}}", "{{ question }}", "{{{question}}}"])
def test_a_placeholder_in_double_braces_is_the_same_placeholder(written: str) -> None:
    assert check_user_prompt(f"Q: {written}\nA:") == "Q: {question}\nA:"
    assert TaskSpec(name="t", train="t.jsonl", user_prompt=f"Q: {written}").user_prompt == "Q: {question}"  # type: ignore[arg-type]
    with pytest.raises(PromptError, match="2 times"):
        check_user_prompt(f"{written} {{question}}")
    with pytest.raises(PromptError):
        check_system_prompt(f"About {written}.")
