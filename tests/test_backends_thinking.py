"""Thinking is no answer: it is told from one by where it stands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaspo.backends.chat.thinking import may_hold_thinking, separate_thinking

TEXTS = [
    ("<think>hm</think>yes", "yes", "hm"),
    ("<think>\nhm\n</think>\n\nyes\n", "yes\n", "hm"),
    (" \n<think>hm</think>yes", "yes", "hm"),
    ("<THINK>hm</THINK>yes", "yes", "hm"),
    ("<think>\n\n</think>\n\nyes", "yes", ""),
    ("<think></think>", "", ""),
    ("hm, so\n</think>\n\nyes", "yes", "hm, so"),
    ("</think>yes", "yes", ""),
    ("[THINK]hm[/THINK]yes", "yes", "hm"),
    ("hm[/THINK]yes", "yes", "hm"),
    ("<thinking>hm</thinking>yes", "yes", "hm"),
    ("<thought>hm</thought>yes", "yes", "hm"),
    ("<seed:think>hm</seed:think>yes", "yes", "hm"),
    ("◁think▷hm◁/think▷yes", "yes", "hm"),
    ("<|START_THINKING|>hm<|END_THINKING|><|START_RESPONSE|>yes<|END_RESPONSE|>", "yes", "hm"),
    ("<|begin_of_thought|>hm<|end_of_thought|>\n<|begin_of_solution|>yes<|end_of_solution|>", "yes", "hm"),
    ("<longcat_think>hm</longcat_think>yes", "yes", "hm"),
    ("hm</longcat_think>yes", "yes", "hm"),
    ("<|inner_prefix|>hm<|inner_suffix|>yes", "yes", "hm"),
    ("<|channel>thought\nhm<channel|>yes", "yes", "hm"),
    ("<unused94>thought\nhm<unused95>yes", "yes", "hm"),
    ("<|channel>thought\n<channel|>yes", "yes", ""),
    ("hm<channel|>yes", "yes", "hm"),
    ("<|channel>thought\nLet me", "", "Let me"),
    ("<think>a</think>\n<think>b</think>yes", "yes", "a\n\nb"),
    ("<think>they say <think>x</think> here</think>yes", "yes", "they say <think>x</think> here"),
    ("<think>they say <think> here</think>yes", "yes", "they say <think> here"),
    ("<think>Let me see: the answer may be B, but", "", "Let me see: the answer may be B, but"),
    ("[THINK]Let me", "", "Let me"),
    ("<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>yes<|return|>", "yes", "hm"),
    ("<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>yes", "yes", "hm"),
    ("analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>yes", "yes", "hm"),
    ("<|channel|>final<|message|>yes", "yes", ""),
    ("<|channel|>analysis<|message|>hm, and so", "", "hm, and so"),
    ("<|channel|>commentary to=f <|constrain|>json<|message|>{}<|call|>", "", "{}"),
    ("analysisWe need to say yes.assistantfinalyes", "yes", "We need to say yes."),
    ("analysisWe need to", "", "We need to"),
]
ANSWERS = [
    "",
    "yes",
    "I think so </answer>",
    "Write your thoughts in <think></think>, then the answer.",
    "Reason first, and close with `</think>` before you answer.",
    'End your reasoning with "</think>".',
    "The tag <think> opens a block and </think> closes it.",
    "analysis of the text: it is good",
    "analysis",
    "a | b <| c",
    "Use /think to make it think.",
    "Let me think. <answer>B</answer>",
    "<answer>B</answer>",
    "[THE ANSWER] B",
]


@pytest.mark.parametrize(("text", "answer", "thinking"), TEXTS)
def test_thinking_before_an_answer_is_taken_out_of_it(text: str, answer: str, thinking: str) -> None:
    """In the marks of every model that we know of, whole or cut off by the token limit."""
    assert separate_thinking(text) == (answer, thinking)


@pytest.mark.parametrize("text", ANSWERS)
def test_an_answer_that_is_about_thinking_is_left_alone(text: str) -> None:
    """A prompt that an optimizer proposes may well hold these tags."""
    assert separate_thinking(text) == (text, "")


PIECES = st.sampled_from([piece for text, _, _ in TEXTS for piece in text.replace(">", "> ").split(" ")])


@given(st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=12).map("".join))
def test_no_text_is_made_up(text: str) -> None:
    """Whatever the marks are in: both parts are pieces of the text."""
    answer, thinking = separate_thinking(text)
    assert set(answer + thinking) <= {*text, "\n"}
    assert len(answer) + len(thinking) <= len(text) + 2 * text.count("<")


@given(st.text(st.characters(exclude_characters="<>[]◁▷|")), st.text(st.characters(exclude_characters="<>[]◁▷|")))
def test_a_block_comes_apart_as_it_was_put_together(thinking: str, answer: str) -> None:
    """But for the space around."""
    assert separate_thinking(f"<think>{thinking}</think>{answer}") == (answer.lstrip(), thinking.strip())


def test_of_a_flood_of_blocks_the_first_are_taken_off_and_the_others_are_left() -> None:
    """Each costs a look at all that follows."""
    block = "<think>a</think>"
    assert separate_thinking(block * 300 + "b") == (block * 200 + "b", "\n\n".join("a" * 100))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("piece", ["<think>", "</think>", "<think></think>", "`</think>`", "<|channel|>x", "[THINK]"])
def test_a_flood_of_marks_is_gone_through_in_one_way(piece: str) -> None:
    """No long text takes more than a moment: this would be minutes."""
    separate_thinking(piece * 200_000)


@pytest.mark.parametrize(
    ("text", "may"),
    [
        ("", False),
        ("yes", False),
        ("I think> so", False),
        ("a | b", False),
        ("1/2 of a < b", False),
        ("</p>", False),
        ("<think>", True),
        ("hm</THINK>yes", True),
        ("hm[/THINK]yes", True),
        ("hm</thought>yes", True),
        ("a <|b", True),
        ("a|> b", True),
    ],
)
def test_most_answers_are_told_by_a_glance_to_hold_no_thinking(text: str, may: bool) -> None:
    """Only the others are taken apart."""
    assert may_hold_thinking(text) is may
