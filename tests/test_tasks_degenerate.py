"""What a model that has run away writes is read in no time: a reader must not hold up the event loop.

What is read once costs milliseconds here; what is gone back over for each of its characters costs minutes, which no
test has.
"""

from collections.abc import Iterable

import pytest

from metaspo.engine.tasks import AnswerSpec, build_format
from metaspo.engine.tasks.formats import plain

KINDS = {
    "label": AnswerSpec(kind="label", labels=("yes", "no", "not-yes")),
    "label in words": AnswerSpec(kind="label", labels=("1", "2", "twenty"), number_words=True),
    "label alone": AnswerSpec(kind="label", labels=("yes", "no"), alone=True),
    "labels": AnswerSpec(kind="labels", labels=("anger", "fear", "joy")),
    "letter": AnswerSpec(kind="letter"),
    "integer": AnswerSpec(kind="integer"),
    "number": AnswerSpec(kind="number", number_words=True),
    "number with units": AnswerSpec(kind="number", units={"m": 1, "km": 1000, "%": 0.01}),
    "text": AnswerSpec(kind="text", number_words=True, unanswerable="unanswerable"),
    "tagged": AnswerSpec(kind="letter", tag="answer"),
    "math": AnswerSpec(kind="math"),
    "json": AnswerSpec(kind="json"),
}
LENGTH = 100_000
BLANKS = (" ", "\n", "\u3000", "\u200b", "\u0301", *".,:;-—_*#=!?/|^%()[]{}<>$`\"'~", "\\(", "\\[", "\\)", "\\]", "```")
TOKENS = (
    *(
        "1",
        "1 ",
        "1,",
        "1.",
        "1/",
        "1/2 ",
        "1,000 ",
        "-1",
        "½",
        "²",
        "√",
        "1e",
        "1 km ",
        "[1,",
        '{"a":',
        '{"a": 1}',
        '"a",',
    ),
    *(
        "a",
        "a ",
        "a-",
        "a_",
        "x=",
        "B ",
        "B,",
        "B)",
        "(B) ",
        "B or ",
        "~~B~~ ",
        "yes ",
        "yes, ",
        "joy and ",
        "答案",
        "不是",
    ),
    *(
        "not ",
        "never ",
        "n't ",
        "wait, it's ",
        "Actually, ",
        "let me re",
        "answer is ",
        "answer: ",
        "Step 1: ",
        "#### ",
    ),
    *(
        "twenty-",
        "hundred ",
        "\\frac{",
        "\\frac{1}{2}",
        "\\boxed{",
        "\\boxed{1}",
        "<answer>",
        "</answer>",
        "<answer>B</answer>",
    ),
)
pytestmark = pytest.mark.timeout(15)
each_kind = pytest.mark.parametrize("spec", KINDS.values(), ids=KINDS)


def runaway(units: Iterable[str], length: int) -> list[str]:
    """Answers that go on with one thing for so long, and then end in another."""
    return [f"The answer is x{unit * (length // len(unit))}y" for unit in units]


@each_kind
def test_a_run_of_blanks_or_signs_is_read_once(spec: AnswerSpec) -> None:
    reader = build_format(spec)
    for text in runaway(BLANKS, LENGTH):
        answer = reader.parse(text)
        assert answer is None or len(answer) <= len(text)


@pytest.mark.slow
@pytest.mark.timeout(60)
@each_kind
def test_a_run_of_words_numbers_or_answers_is_read_once(spec: AnswerSpec) -> None:
    reader = build_format(spec)
    for text in runaway(TOKENS, LENGTH):
        answer = reader.parse(text)
        assert answer is None or len(answer) <= len(text)


@pytest.mark.parametrize("kind", ["label", "labels", "letter", "integer", "number"])
def test_of_an_answer_that_goes_on_for_ever_the_beginning_and_the_end_are_read(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Megabytes of one label took minutes."""
    reader = build_format(AnswerSpec(kind=kind, labels=("yes", "no") if kind.startswith("label") else ()))
    right, wrong = {"letter": ("B", "C"), "integer": ("1", "2"), "number": ("1", "2")}.get(kind, ("yes", "no"))
    begun, between, ended = f"The answer is {right}. ", f"The answer is {wrong}. " * 9, f"The answer is {right}."
    assert reader.parse(begun + ended) == right
    assert reader.parse(begun + between + ended) != right
    monkeypatch.setattr(plain, "MOST", 2 * len(ended) + 4)
    assert reader.parse(begun + between + ended) == right


def test_ends_are_cut_between_words_and_no_longer_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "MOST", 40)
    words = [f"{number:0{number % 7}}" for number in range(1, 60)]
    for length in range(len(words)):
        text = " ".join(words[:length])
        read = plain.ends(text)
        assert len(read) <= 40
        assert read == text or (len(text) > 40 and set(read.split()) <= set(words))
