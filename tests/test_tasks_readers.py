"""Our readers beside independent ones written from their definitions; docs/answers.md says where they differ."""

import re
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from world import score_of

from metaspo.engine.tasks import (
    AnswerSpec,
    ExactMatch,
    Integer,
    Label,
    Letter,
    Tagged,
    TokenF1,
    build_format,
    squad_normalize,
)

PAGE = Path(__file__).resolve().parent.parent / "docs" / "answers.md"
ROW = re.compile(r"^\| `(.+?)` \| `(.+?)` \| (?:`(.+?)`|malformed) \|$", re.MULTILINE)
ROWS = ROW.findall(PAGE.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("answer", "text", "read"), ROWS)
def test_the_examples_in_the_documents_are_read_as_they_say(answer: str, text: str, read: str) -> None:
    spec = AnswerSpec.model_validate(tomllib.loads(f"answer = {answer}")["answer"])
    assert build_format(spec).parse(text) == (read or None)


def test_every_row_of_the_documents_examples_is_tested() -> None:
    section = PAGE.read_text(encoding="utf-8").split("## Examples")[1].split("##")[0]
    assert len(ROWS) == sum(line.startswith("| `") for line in section.splitlines()) - 1 >= 30


# SQuAD's rule, without a regular expression: lower case, no ASCII punctuation, no articles, single spaces


def _official_words(text: str) -> list[str]:
    kept = "".join(
        char for char in text.lower() if not (char.isascii() and char.isprintable()) or char.isalnum() or char == " "
    )
    words, word = [], ""
    for char in kept + " ":
        if char.isalnum() or char == "_":
            word += char
        else:
            words += [word, char]
            word = ""
    return "".join(" " if part in ("a", "an", "the") else part for part in words).split()


def _official_exact(said: str, golds: Sequence[str]) -> float:
    return float(any(_official_words(said) == _official_words(gold) for gold in golds))


def _official_f1(said: str, gold: str) -> float:
    ours, theirs = _official_words(said), _official_words(gold)
    common = sum(min(count, theirs.count(word)) for word, count in Counter(ours).items())
    if not common:
        return 0.0
    precision, recall = common / len(ours), common / len(theirs)
    return 2 * precision * recall / (precision + recall)


phrases = st.lists(
    st.sampled_from(
        ["the", "The", "a", "An", "Paris", "paris,", "1999", "U.S.", "it's", "—", "über", "the-a", " ", "\n"]
    )
).map(" ".join)


@given(st.one_of(phrases, st.text(alphabet=st.characters(codec="ascii", exclude_categories=["Cc"]))))
def test_the_normalization_is_squads(text: str) -> None:
    assert squad_normalize(text) == " ".join(_official_words(text))


@given(phrases, st.lists(phrases, min_size=1, max_size=3))
def test_exact_match_and_f1_are_squads_but_for_answers_of_which_nothing_is_left(said: str, golds: list[str]) -> None:
    assume(all(_official_words(text) for text in (said, *golds)))
    assert score_of(ExactMatch(), said, tuple(golds)) == _official_exact(said, golds)
    assert score_of(TokenF1(), said, tuple(golds)) == pytest.approx(max(_official_f1(said, gold) for gold in golds))


def test_answers_of_which_squad_leaves_nothing_are_compared_as_written() -> None:
    assert _official_exact("The", ["A"]) == 1
    assert score_of(ExactMatch(), "The", ("A",)) == 0
    assert score_of(ExactMatch(), "The", ("the",)) == 1


# The authors' rule: the content of the tag as it is, a rating as its first integer; without a tag malformed


def _authors_content(text: str) -> str | None:
    start = text.rfind("<answer>")
    end = text.find("</answer>", start)
    return None if start < 0 or end < 0 else text[start + len("<answer>") : end].strip()


def _authors_integer(text: str) -> str | None:
    digits = re.search(r"\d+", _authors_content(text) or "")
    return None if digits is None else digits[0]


reasoning = st.text(alphabet="xyz ,.\n").map(lambda text: f"{text}<answer>{{}}</answer>")
LABELS = ("entailment", "non-entailment")


@given(reasoning, st.sampled_from("ABCD"), st.sampled_from(LABELS), st.integers(0, 10_000))
def test_on_answers_as_asked_for_we_read_what_the_authors_read(
    before: str, letter: str, label: str, rating: int
) -> None:
    assert Tagged(Letter()).parse(before.format(letter)) == _authors_content(before.format(letter))
    assert Tagged(Label(LABELS)).parse(before.format(label)) == _authors_content(before.format(label))
    stars = before.format(f"{rating} stars")
    assert Tagged(Integer()).parse(stars) == _authors_integer(stars) == str(rating)
    assert Tagged(Integer()).parse(f"{rating}") is _authors_integer(f"{rating}") is None


@pytest.mark.parametrize(("text", "ours", "theirs"), [("1-5", None, "1"), ("-3", "-3", "3"), ("1.5", None, "1")])
def test_where_a_rating_is_read_otherwise(text: str, ours: str | None, theirs: str) -> None:
    tagged = f"<answer>{text}</answer>"
    assert (Tagged(Integer()).parse(tagged), _authors_integer(tagged)) == (ours, theirs)


# GSM8K's own reader: what follows "#### ", commas taken out


def _gsm8k(text: str) -> str | None:
    match = re.search(r"#### (\-?[0-9\.\,]+)", text)
    return None if match is None else match[1].replace(",", "")


@given(reasoning, st.integers(-(10**9), 10**9), st.booleans())
def test_gold_answers_of_gsm8k_are_what_its_own_reader_reads(before: str, number: int, grouped: bool) -> None:
    text = f"{before.partition('<')[0]}\n#### {number:,}" if grouped else f"{before.partition('<')[0]}\n#### {number}"
    spec = AnswerSpec.model_validate({"kind": "integer", "gold_pattern": "#### (.+)"})
    assert (
        build_format(spec).canonical(str(re.findall(str(spec.gold_pattern), text)[-1])) == _gsm8k(text) == str(number)
    )


# The reader of the MATH benchmark: the last \boxed{…} with its braces in balance


def _math_boxed(text: str) -> str | None:
    start = text.rfind("\\boxed{")
    depth, position = 0, start + len("\\boxed")
    while start >= 0 and position < len(text):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[start + len("\\boxed{") : position]
        position += 1
    return None


expressions = st.recursive(
    st.sampled_from(["x", "2", "y+1", "\\pi"]),
    lambda inner: st.one_of(
        st.builds("\\frac{{{}}}{{{}}}".format, inner, inner), st.builds("\\sqrt{{{}}}".format, inner)
    ),
    max_leaves=6,
)


@given(st.lists(expressions, min_size=1, max_size=3), st.sampled_from(["", " is it.", "\nDone"]))
def test_expressions_in_boxes_are_what_the_benchmarks_own_reader_reads(boxed: list[str], after: str) -> None:
    text = " and ".join(f"so $\\boxed{{{expression}}}$" for expression in boxed) + after
    assert build_format(AnswerSpec(kind="math")).parse(text) == _math_boxed(text) == boxed[-1]
