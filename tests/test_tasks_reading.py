"""What a format says of how it reads an answer is how it does."""

from pathlib import Path
from typing import Any

import pytest

from metaspo.engine.tasks.answer_spec import ANSWER_KINDS, AnswerSpec
from metaspo.engine.tasks.base import reading_of
from metaspo.engine.tasks.formats import build_format

YES_NO = {"kind": "label", "labels": ("yes", "no")}
CLAIMS: list[tuple[dict[str, Any], str, str, str | None]] = [
    (YES_NO, "wherever it stands", "I have read it, and yes, it does.", "yes"),
    (YES_NO, "unless it is denied", "That is not yes.", None),
    (YES_NO, "at the very beginning", "No. One could say yes.", "no"),
    (YES_NO, 'after "the answer is"', "Some say no. The answer is yes", "yes"),
    (YES_NO, "as the last word after a colon", "One could say no.\nVerdict: yes", "yes"),
    (YES_NO, "none if these differ, too", "No. The answer is yes", None),
    ({**YES_NO, "alone": True}, "has to be all", "It is yes", None),
    ({**YES_NO, "tag": True}, "the last <answer> and </answer>", "<answer>no</answer> <answer>yes</answer>", "yes"),
    ({**YES_NO, "tag": True}, "nothing outside", "yes", None),
    ({"kind": "letter"}, "in parentheses", "It must be (B)", "B"),
    ({"kind": "letter"}, 'such as "choose"', "I choose B", "B"),
    ({"kind": "letter"}, 'after "the answer is"', "It may be (A). The answer is B", "B"),
    ({"kind": "labels", "labels": ("tall", "red")}, "names and does not deny", "It is tall, not red", "tall"),
    ({"kind": "labels", "labels": ("tall", "red")}, "only those behind that", "Is it tall? The answer is red", "red"),
    ({"kind": "integer"}, "those of steps", "Step 1: of 5 apples", "5"),
    ({"kind": "number"}, "several side by side", "It is 3 or 4", None),
    ({"kind": "integer"}, 'after "the answer is"', "3 and 2 make five. The answer is 5", "5"),
    ({"kind": "number"}, "else the first one", "3 apples and 2 pears", "3"),
    ({"kind": "text"}, "All of an answer", "The capital is Rome", "The capital is Rome"),
    ({"kind": "math"}, "the last one between dollar signs", "Of $x$ it is $2x$, and so on", "2x"),
    ({"kind": "math"}, "in \\boxed{}", "The answer is 3, \\boxed{4}", "4"),
    ({"kind": "json"}, "wherever it stands", 'Here: {"a": 1}, as asked', '{"a":1}'),
    ({"kind": "json"}, "several different ones cannot", '{"a": 1} {"a": 2}', None),
    ({"kind": "code"}, "The last block of code", "```\ndef f(): 1\n```\n```\ndef g(): 2\n```", "def g(): 2"),
]


@pytest.mark.parametrize(("spec", "claim", "answer", "read"), CLAIMS)
def test_what_is_said_of_how_an_answer_is_read_holds(
    spec: dict[str, Any], claim: str, answer: str, read: str | None
) -> None:
    answer_format = build_format(AnswerSpec(**spec), base_dir=Path())
    assert claim in reading_of(answer_format)
    assert answer_format.parse(answer) == read


def test_every_kind_says_how_it_reads() -> None:
    assert {spec["kind"] for spec, *_ in CLAIMS} >= set(ANSWER_KINDS) - {"tagged"}
