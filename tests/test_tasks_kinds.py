"""Numbers with a tolerance, expressions, JSON, gold answers within a text, no answer at all, formats of one's own."""

import json
import re
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from metaspo.engine.tasks import (
    AnswerSpec,
    FormatError,
    Json,
    Math,
    Number,
    OrUnanswerable,
    Plugin,
    Tagged,
    Task,
    TaskError,
    TaskSpec,
    Text,
    load_task,
    similarity_of,
)
from metaspo.engine.tasks.formats import objects

ROOT = Path(__file__).resolve().parent.parent


def _load(folder: Path, *answers: object, **keys: object) -> Task:
    rows = [json.dumps({"question": f"q{number}", "answer": answer}) for number, answer in enumerate(answers)]
    (folder / "train.jsonl").write_text("\n".join(rows), encoding="utf-8")
    return load_task(TaskSpec.model_validate({"name": "t", "train": "train.jsonl", **keys}), base_dir=folder, seed=1)


def _graded(task: Task, said: str, row: int = 0) -> float:
    return task.metric.grade(task.answer_format.parse(said), task.train[row]).score


# Numbers


@given(st.fractions(-1000, 1000), st.floats(0, 10), st.floats(0, 1))
def test_a_number_counts_within_the_wider_of_its_tolerances(right: Fraction, absolute: float, relative: float) -> None:
    kind = Number(absolute, relative)
    slack = max(absolute, relative * abs(float(right)))
    inside, outside = float(right) + 0.99 * slack, float(right) + 1.01 * slack + 1e-6
    assert kind.similarity(f"{inside:.15f}", str(right)) == 1 or slack < 1e-9
    assert kind.similarity(f"{outside:.15f}", str(right)) == 0
    assert kind.similarity(str(right), str(right)) == 1


def test_a_number_task_takes_fractions_and_tolerance(tmp_path: Path) -> None:
    task = _load(tmp_path, "1/3", 2.5, answer={"kind": "number", "relative_tolerance": 0.01, "tag": True})
    assert [_graded(task, f"<answer>{said}</answer>") for said in ("0.333", "1/3", "0.34", "who knows")] == [1, 1, 0, 0]
    assert _graded(task, "<answer>5/2</answer>", row=1) == 1
    assert task.metric.name == "agreement"


def test_units_are_converted_and_unknown_ones_malformed(tmp_path: Path) -> None:
    task = _load(tmp_path, "1.5 km", answer={"kind": "number", "units": {"m": 1, "km": 1000}})
    assert task.train[0].answers == ("1500",)
    assert [_graded(task, said) for said in ("1500 m", "It is 1.5 km.", "1500", "1.5", "1500 miles")] == [1, 1, 1, 0, 0]
    assert task.answer_format.parse("1500 miles") is None
    share = Number(units={"%": 0.01, "": 1})
    assert (share.parse("50%"), share.parse("0.5")) == ("0.5", "0.5")


def test_without_units_they_do_not_count() -> None:
    assert [Number().parse(said) for said in ("5 km", "$5", "5%")] == ["5", "5", "5"]


# Expressions


@pytest.fixture(scope="module")
def maths() -> Math:
    return Math()


@pytest.mark.parametrize(
    ("said", "right", "same"),
    [
        (r"\frac{1}{2}", "0.5", True),
        ("x^2 + 2x + 1", "(x+1)^2", True),
        (r"2\sqrt{2}", r"\sqrt{8}", True),
        (r"\{2, 1\}", r"\{1,2\}", True),
        ("(2, 1)", "(1, 2)", False),
        ("5", "x = 5", True),
        (r"2\pi", "2", False),
        ("x^2 - 1", "(x+1)^2", False),
        ("ungradable )(", "3", False),
    ],
)
def test_expressions_count_by_what_they_are_worth(maths: Math, said: str, right: str, same: bool) -> None:
    assert maths.similarity(said, right) == same


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        (
            r"Hence $x = 2$, so \boxed{\frac{1}{2}} it is, not \boxed{3}? No: \boxed{\frac{\sqrt{2}}{2}}.",
            r"\frac{\sqrt{2}}{2}",
        ),
        ("First 3 + 4.\nThe answer is $7$.", "7"),
        ("**Answer:** 3/4", "3/4"),
        ("First 7.\n\n## Final Answer\n\n3/4", "3/4"),
        ("**Answer**\n3/4.\n", "3/4"),
        ("**Answer**\n3/4\nor 5", None),
        ("No answer\n3/4", None),
        (r"\[ x^2 \]", "x^2"),
        ("We get $a$ and then $b+1$ as the sum.\nDone.", "b+1"),
        ("x + 1", "x + 1"),
        ("no idea\nat all", None),
        (r"The answer is not \boxed{5}", None),
        (r"\boxed{6}, not \boxed{5}", "6"),
        (r"\boxed{6} is wrong: \boxed{5}", "5"),
        ("$5$, not $6$", "5"),
        ("so $5$ is wrong\nand $6$ is right", "6"),
        ("The answer is not 5", None),
        ("The answer is no solution", "no solution"),
        ("答案是5。", "5"),
        ("**5**", "5"),
        ("#### 5", "5"),
        ("```\n5\n```", "5"),
        ("2**3", "2**3"),
        ("a number or a mathematical expression", None),
        ("...", None),
        ("\\boxed{" * 20_000, None),
    ],
)
def test_the_expression_that_a_text_gives(maths: Math, text: str, expression: str | None) -> None:
    assert maths.parse(text) == expression


@pytest.mark.whole
def test_the_time_limit_of_a_comparison_holds_and_the_next_one_is_made() -> None:
    """Powers of powers keep the library busy beyond any limit, some of them where no exception reaches it."""
    quick = Math(time_limit=0.5)
    assert quick.similarity("10^{10^{10}} + 1", "10^{10^{10}} + 2") == 0
    assert quick.similarity(r"(x+1)^{3000} (x-1)^{3000}", r"(x^2-1)^{3000} + 1") == 0
    assert quick.similarity("1/2", "0.5") == 1


def test_a_math_task_runs_with_its_default_metric(tmp_path: Path) -> None:
    task = _load(tmp_path, r"\frac{1}{2}", answer={"kind": "math", "tag": True})
    assert [_graded(task, f"<answer>{said}</answer>") for said in ("0.5", r"$\frac{2}{4}$", "0.6")] == [1, 1, 0]


@pytest.mark.parametrize(
    ("module", "answer", "extra"),
    [
        ("math_verify", "math", "metaspo[math]"),
        ("jsonschema", {"kind": "json", "json_schema": {"type": "object"}}, "metaspo[json]"),
    ],
)
def test_a_library_that_is_not_there_is_named_in_one_sentence(
    module: str, answer: object, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(TaskError, match=r"answer: .* not installed: pip install") as caught:
        _load(tmp_path, "1", answer=answer)
    assert extra in str(caught.value)


# JSON


PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name"],
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"b": 1, "a": [1, 2]}', {"a": [1, 2], "b": 1}),
        ('Here it is:\n```json\n{"a": 1}\n```\nDone.', {"a": 1}),
        ('I think {"a": {"b": null}} fits.', {"a": {"b": None}}),
        ('{"a": 1} and again {"a": 1.0}', None),
        ('{"a": 1} or {"a": 2}', None),
        ('{"a": 1, "a": 2}', None),
        ('{"a": NaN}', None),
        ('{"a": 1e999}', None),
        ("[1, 2]", None),
        ("{" * 5000, None),
        ('{"a":' * 5000, None),
        ("none", None),
    ],
)
def test_the_object_that_a_text_gives(text: str, value: object) -> None:
    said = Json().parse(text)
    assert (None if said is None else json.loads(said)) == value


json_values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**60), 2**60),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), json_values, max_size=4), st.booleans(), st.sampled_from([None, 2]))
def test_an_object_comes_back_however_it_is_laid_out(
    value: dict[str, Any], ascii_only: bool, indent: int | None
) -> None:
    kind = Json()
    gold = kind.canonical(json.dumps(value))
    assert gold is not None
    assert json.loads(gold) == value
    assert kind.canonical(gold) == gold
    said = kind.parse(json.dumps(value, ensure_ascii=ascii_only, indent=indent))
    assert said is not None
    assert kind.similarity(said, gold) == 1


@pytest.mark.parametrize("begun", ['{"a": [', '{"a": 1, "a": ['])
def test_not_every_object_without_an_end_is_read_to_the_end_of_a_long_answer(
    begun: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All other answers would wait for seconds; in one of usual length the object that comes after them is found."""
    read = 0

    def number(text: str) -> int:
        nonlocal read
        read += 1
        return int(text)

    monkeypatch.setattr(objects, "_DECODER", json.JSONDecoder(object_pairs_hook=objects._unique, parse_int=number))
    assert Json().parse(begun * 50 + "1, " * 1_000 + '} {"b": 1}') == '{"b":1}'
    read = 0
    assert Json().parse(begun * 500 + "1, " * 300_000) is None
    assert read < 2_000_000


def test_fields_are_scored_one_by_one(tmp_path: Path) -> None:
    gold = {"name": "Ada Lovelace", "born": {"year": 1815, "city": "London"}, "tags": ["a", "b"]}
    task = _load(tmp_path, gold, answer="json")
    assert _graded(task, json.dumps(gold)) == 1
    assert _graded(task, json.dumps({**gold, "name": " ada  lovelace", "tags": ["a", "c"]})) == pytest.approx(4 / 5)
    assert _graded(task, json.dumps({**gold, "extra": True})) == pytest.approx(5 / 6)
    assert _graded(task, '{"name": "Ada Lovelace"}') == pytest.approx(1 / 5)
    assert _graded(task, "Ada") == 0
    assert Json().similarity('{"a": true}', '{"a": 1}') == 0


def test_an_object_must_fit_the_schema(tmp_path: Path) -> None:
    task = _load(tmp_path, '{"name": "Ada", "age": 36}', answer={"kind": "json", "json_schema": PERSON, "tag": True})
    assert task.answer_format.parse('<answer>{"age": 36}</answer>') is None
    assert task.answer_format.parse('<answer>{"name": "Ada", "age": "36"}</answer>') is None
    assert _graded(task, '<answer>{"name": "Ada", "age": 35}</answer>') == 0.5
    assert task.answer_format.parse(task.answer_format.describe()) is None
    with pytest.raises(TaskError, match="does not fit"):
        _load(tmp_path, '{"age": 1}', answer={"kind": "json", "json_schema": PERSON})
    with pytest.raises(TaskError, match="json_schema is no JSON schema"):
        _load(tmp_path, "{}", answer={"kind": "json", "json_schema": {"type": "person"}})


# Answers within the data's answers, and none at all


def test_a_gold_answer_is_extracted_by_its_pattern(tmp_path: Path) -> None:
    gold = "He buys 3 * 4 = <<3*4=12>>12 eggs.\n60 + 12 = 72\n#### 72"
    task = _load(tmp_path, gold, "#### 1,000", answer={"kind": "integer", "gold_pattern": "#### (.+)"})
    assert [example.answers for example in task.train] == [("72",), ("1000",)]
    with pytest.raises(TaskError, match=r"train.jsonl:1: the answer '72' has no match for answer.gold_pattern"):
        _load(tmp_path, "72", answer={"kind": "integer", "gold_pattern": "#### (.+)"})


BEYOND_64_BITS = 123456789012345678901234567890


def test_numbers_of_any_length_stay_what_they_are(tmp_path: Path) -> None:
    """In an object as answer, in a column that graders see, and in a row that falls into a part."""
    row = {"question": "?", "answer": {"a": BEYOND_64_BITS}, "n": BEYOND_64_BITS}
    (tmp_path / "train.jsonl").write_text(json.dumps(row) + "\n")
    source = {"path": "train.jsonl", "part": "0-100%"}
    spec = {"name": "long", "train": source, "role": "source", "user_prompt": "{question}", "answer": {"kind": "json"}}
    task = load_task(TaskSpec.model_validate({**spec, "columns": {"metadata": ["n"]}}), base_dir=tmp_path, seed=1)
    assert task.train[0].answers == (f'{{"a":{BEYOND_64_BITS}}}',)
    assert task.train[0].metadata == {"n": BEYOND_64_BITS}


def test_labels_are_those_within_the_answers(tmp_path: Path) -> None:
    task = _load(tmp_path, "I say: yes", "so: no", answer={"kind": "label", "gold_pattern": r"\w+$"})
    assert task.answer_format.describe() == "Answer with one of: no, yes."


@pytest.mark.parametrize("empty", [[], None, "", [""]])
@pytest.mark.parametrize("kind", ["text", "integer", "math"])
def test_an_empty_gold_answer_is_answered_by_the_agreed_word(empty: object, kind: str, tmp_path: Path) -> None:
    task = _load(tmp_path, empty, "7", answer={"kind": kind, "tag": True, "unanswerable": True})
    assert [example.answers for example in task.train] == [("unanswerable",), ("7",)]
    assert "unanswerable" in task.answer_format.describe()
    assert _graded(task, "<answer>Unanswerable.</answer>") == 1
    assert _graded(task, "<answer>7</answer>") == 0
    assert _graded(task, "<answer>7</answer>", row=1) == 1
    assert _graded(task, "<answer>unanswerable</answer>", row=1) == 0


def test_an_empty_gold_answer_is_a_mistake_where_no_word_was_agreed_on(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="the list of answers"):
        _load(tmp_path, [])


def test_the_agreed_word_may_be_another() -> None:
    kind = OrUnanswerable(Text(), "no answer")
    assert [kind.parse(said) for said in ("No answer", '"no answer".', "no answers", "Paris")] == [
        "no answer",
        "no answer",
        "no answers",
        "Paris",
    ]
    assert similarity_of(Tagged(kind))("no answer", "Paris") == 0


# Formats of one's own


def _documented(folder: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "answers.md").read_text(encoding="utf-8"), re.DOTALL)
    (folder / "dates_for_docs.py").write_text(code, encoding="utf-8")


def test_the_format_in_the_documents_runs(tmp_path: Path) -> None:
    _documented(tmp_path)
    answer = {"kind": "dates_for_docs:Date", "options": {"day_first": True}, "tag": True}
    task = _load(tmp_path, "3.4.2020", answer=answer)
    assert task.train[0].answers == ("2020-04-03",)
    assert _graded(task, "<answer>It was on 03/04/2020.</answer>") == 1
    assert _graded(task, "<answer>On 4/4/2020</answer>") == 0.5
    assert task.answer_format.parse("<answer>In spring</answer>") is None
    again = _load(tmp_path, "3.4.2020", answer=answer)
    assert repr(task.answer_format) == repr(again.answer_format)
    assert task.answer_format == again.answer_format


BROKEN = """
class Plain:
    def __init__(self, fails=False): self.fails = fails
    def parse(self, text):
        if self.fails and text == "raise": raise KeyError("gone")
        if self.fails and text == "leave": raise __import__("asyncio").CancelledError("left")
        return 5 if text == "number" else text
    def canonical(self, answer): return answer if answer != "unfit" else {}[answer]
    def describe(self): return "Answer."

class Late(Plain):
    def __init__(self): raise OSError("no table")

class Mute(Plain):
    def describe(self): raise KeyError("gone")

class Odd(Plain):
    def describe(self): return None

class Silent(Plain):
    def reading(self): return None

class Taken(Plain):
    reading = "slow"

nothing = 3
"""


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("no_such_module_xyz:Kind", "answer.kind: cannot import 'no_such_module_xyz'"),
        ("broken_format:Missing", "answer: kind = 'broken_format:Missing' names no class"),
        ("broken_format:nothing", "answer: kind = 'broken_format:nothing' names no class"),
        (
            {"kind": "broken_format:Plain", "options": {"x": 1}},
            "answer: kind = 'broken_format:Plain' cannot be made with",
        ),
        ({"kind": "broken_format:Plain", "tag": True}, "answer: kind = 'broken_format:Plain' has no wanted"),
        ("broken_format:Late", "answer: kind = 'broken_format:Late' cannot be made: OSError: no table"),
    ],
)
def test_a_format_that_cannot_be_made_is_told(answer: object, message: str, tmp_path: Path) -> None:
    (tmp_path / "broken_format.py").write_text(BROKEN, encoding="utf-8")
    with pytest.raises(TaskError) as caught:
        _load(tmp_path, "1", answer=answer)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("kind", "message"), [("Silent", "reading returned None"), ("Taken", "reading failed: TypeError")]
)
def test_what_a_format_of_ones_own_says_of_its_reading_is_looked_at_before_anything_is_asked(
    kind: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "broken_format.py").write_text(BROKEN, encoding="utf-8")
    with pytest.raises(TaskError, match=message):
        _load(tmp_path, "1", answer=f"broken_format:{kind}")


def test_a_row_that_a_format_of_ones_own_fails_on_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken_format.py").write_text(BROKEN, encoding="utf-8")
    with pytest.raises(
        FormatError, match=r"^task '\w+': \S+:1: answer.kind = 'broken_format:Plain' failed on 'unfit': Key"
    ):
        _load(tmp_path, "unfit", answer={"kind": "broken_format:Plain", "options": {"fails": True}})


def test_a_similarity_may_be_any_kind_of_number(tmp_path: Path) -> None:
    code = """
import numpy


class Near:
    def parse(self, text):
        return text

    def canonical(self, answer):
        return answer

    def describe(self):
        return "Answer."

    def similarity(self, prediction, answer):
        return numpy.float32(0.5) if prediction else numpy.float32("nan")
"""
    (tmp_path / "near_format.py").write_text(code, encoding="utf-8")
    answer_format = _load(tmp_path, "1", answer="near_format:Near").answer_format
    assert isinstance(answer_format, Plugin)
    assert (score := answer_format.similarity("a", "b")) == 0.5
    assert type(score) is float
    with pytest.raises(FormatError, match="not a number from 0 to 1"):
        answer_format.similarity("", "b")


def test_what_a_format_of_ones_own_does_wrong_is_told(tmp_path: Path) -> None:
    (tmp_path / "broken_format.py").write_text(BROKEN, encoding="utf-8")
    task = _load(tmp_path, "1", answer={"kind": "broken_format:Plain", "options": {"fails": True}})
    assert isinstance(task.answer_format, Plugin)
    with pytest.raises(FormatError, match="failed on 'raise': KeyError: 'gone'"):
        task.answer_format.parse("raise")
    with pytest.raises(FormatError, match="failed on 'leave': CancelledError: left"):
        task.answer_format.parse("leave")
    with pytest.raises(FormatError, match="returned 5 for 'number'"):
        task.answer_format.parse("number")


@pytest.mark.parametrize(
    ("kind", "message"), [("Mute", "describe failed: KeyError"), ("Odd", "describe returned None")]
)
def test_a_format_of_ones_own_that_does_not_describe_itself_is_told(kind: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "broken_format.py").write_text(BROKEN, encoding="utf-8")
    with pytest.raises(FormatError, match=message):
        _load(tmp_path, "1", answer=f"broken_format:{kind}")


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ({"kind": "nunber"}, 'did you mean "number"?'),
        ({"kind": "text", "units": {"m": 1}}, 'units does not go with kind = "text"'),
        ({"kind": "number", "units": {"m": 0}}, "greater than 0"),
        ({"kind": "integer", "absolute_tolerance": 1}, 'set kind = "number"'),
        ({"kind": "math", "number_words": True}, "remove them"),
        ({"kind": "text", "gold_pattern": "("}, "is no regular expression"),
        ({"kind": "text", "gold_pattern": "(a)(b)"}, "2 groups"),
        ({"kind": "text", "unanswerable": "<none>"}, "is no word to answer with"),
        ({"kind": "text", "options": {"a": 1}}, "for a class of your own"),
        ({"kind": "json", "json_schema": "file.json"}, "valid dictionary"),
    ],
)
def test_what_does_not_go_together_is_told(answer: dict[str, object], hint: str) -> None:
    with pytest.raises(ValidationError) as caught:
        AnswerSpec.model_validate(answer)
    assert hint in str(caught.value)
