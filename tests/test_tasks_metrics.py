"""Metrics against their definitions, computed here a second way, and against examples worked out by hand."""

import asyncio
import math
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from world import score_of, split_score

from metaspo.engine.tasks import (
    Accuracy,
    ExactMatch,
    Example,
    Grade,
    MacroF1,
    Metric,
    MetricError,
    TaskError,
    TokenF1,
    UserMetric,
    build_metric,
    squad_normalize,
)
from metaspo.engine.tasks.tally import MeanTally

BUILT_IN: tuple[Metric, ...] = (Accuracy(), ExactMatch(), MacroF1(), TokenF1())
labels = st.sampled_from(["a1", "b2", "c3"])
predicted_labels = st.lists(
    st.tuples(st.none() | labels | st.just("zz"), labels.map(lambda label: (label,))), min_size=1
)
words = st.lists(st.sampled_from(["red", "green", "blue", "tree"]), min_size=1).map(" ".join)


Answered = tuple[str | None, tuple[str, ...]]


def bounds(metric: Metric, answered: Sequence[Answered]) -> list[float]:
    """Before the first answer, and after each."""
    tally = metric.tally([answers for _, answers in answered])
    found = [tally.bound]
    for prediction, answers in answered:
        tally.add(prediction, answers, score_of(metric, prediction, answers))
        found.append(tally.bound)
    return found


def _f1(answered: Sequence[Answered], label: str) -> float:
    """F1 of one label from precision and recall, as the textbooks define it."""
    hit = sum(prediction == label == answers[0] for prediction, answers in answered)
    predicted = sum(prediction == label for prediction, _ in answered)
    true = sum(answers[0] == label for _, answers in answered)
    precision, recall = hit / predicted if predicted else 0.0, hit / true
    return 2 * precision * recall / (precision + recall) if hit else 0.0


@given(predicted_labels)
def test_macro_f1_is_the_mean_f1_over_the_labels_of_the_split(answered: list[Answered]) -> None:
    present = {answers[0] for _, answers in answered}
    expected = sum(_f1(answered, label) for label in present) / len(present)
    assert split_score(MacroF1(), answered) == pytest.approx(expected)


@given(predicted_labels)
def test_a_malformed_answer_is_worth_no_more_than_any_wrong_label(answered: list[Answered]) -> None:
    """Malformed instead of a prediction outside the split's labels makes no difference."""
    only = [("outside" if prediction is None else prediction, answers) for prediction, answers in answered]
    assert split_score(MacroF1(), answered) == split_score(MacroF1(), only)


def test_macro_f1_by_hand() -> None:
    """Right labels y y n; predicted y, malformed, y: F1 of y is 2*1/(2+2), of n 0."""
    assert split_score(MacroF1(), [("y", ("y",)), (None, ("y",)), ("y", ("n",))]) == pytest.approx(0.25)


def test_macro_f1_refuses_several_accepted_answers() -> None:
    with pytest.raises(ValueError, match="one accepted answer"):
        split_score(MacroF1(), [("y", ("y", "n"))])


@given(st.sampled_from(BUILT_IN), words, st.lists(words))
def test_a_right_answer_scores_one_and_a_malformed_one_zero(metric: Metric, answer: str, others: list[str]) -> None:
    assert score_of(metric, answer, (*others, answer)) == 1.0
    assert score_of(metric, None, (*others, answer)) == 0.0


@given(st.sampled_from((Accuracy(), ExactMatch(), TokenF1())), st.lists(st.tuples(words, words), min_size=1))
def test_a_split_scores_the_mean_of_its_examples(metric: Metric, pairs: list[tuple[str, str]]) -> None:
    answered = [(predicted, (right,)) for predicted, right in pairs]
    assert split_score(metric, answered) == math.fsum(score_of(metric, *example) for example in answered) / len(
        answered
    )
    assert 0 <= split_score(metric, answered) <= 1


@pytest.mark.parametrize("metric", BUILT_IN)
def test_no_examples_have_no_score(metric: Metric) -> None:
    with pytest.raises(ValueError, match="example"):
        metric.tally([])


@given(st.sampled_from(BUILT_IN), st.lists(st.tuples(labels, labels), min_size=1, max_size=6), st.randoms())
def test_no_way_to_answer_the_rest_scores_more_than_the_bound(
    metric: Metric, pairs: list[tuple[str, str]], rng: Random
) -> None:
    """At every point of a split; with everything answered rightly from there on it is reached, to the bit."""
    answered: list[Answered] = [(predicted, (right,)) for predicted, right in pairs]
    rng.shuffle(answered)
    for count, bound in enumerate(bounds(metric, answered)):
        rest = [(rng.choice([None, "a1", "b2", "c3", "zz"]), answers) for _, answers in answered[count:]]
        assert split_score(metric, [*answered[:count], *rest]) <= bound
        assert (
            split_score(metric, [*answered[:count], *((answers[0], answers) for _, answers in answered[count:])])
            == bound
        )


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.randoms())
def test_the_order_of_answers_is_nothing_to_a_mean(grades: list[float], rng: Random) -> None:
    shuffled = rng.sample(grades, len(grades))
    found = []
    for order in (grades, shuffled):
        tally = MeanTally([("x",)] * len(order))
        for grade in order:
            tally.add(None, ("x",), grade)
        found.append(tally.bound)
    assert found == [math.fsum(grades) / len(grades)] * 2


def test_accuracy_ignores_case_only() -> None:
    assert score_of(Accuracy(), "Grey", ("grey",)) == 1.0
    assert score_of(Accuracy(), "the grey", ("grey",)) == 0.0


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Quick, brown-fox!", "quick brownfox"),
        ("an apple a day", "apple day"),
        ("Plymouth Argyle F.C.", "plymouth argyle fc"),
        ("$1,000.50", "100050"),
        ("anthem", "anthem"),
        ("“the”", "“ ”"),
        ("A", ""),
    ],
)
def test_squad_normalization_by_hand(text: str, normal: str) -> None:
    assert squad_normalize(text) == normal


@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_squad_normalization_is_idempotent(text: str) -> None:
    once = squad_normalize(text)
    assert squad_normalize(once) == once


def test_answers_of_articles_and_punctuation_alone_are_not_all_equal() -> None:
    assert score_of(ExactMatch(), "the", ("A",)) == 0.0
    assert score_of(ExactMatch(), "a", ("A",)) == 1.0
    assert score_of(TokenF1(), "!", ("?",)) == 0.0


@pytest.mark.parametrize("metric", [Accuracy(), ExactMatch(), TokenF1()])
def test_a_text_is_itself_however_unicode_writes_its_letters(metric: Metric) -> None:
    said = "\u200bCafe\u0301 \ufeffZu\u00adrich\u200e"
    assert score_of(metric, said, ("Café Zurich",)) == 1.0
    assert score_of(metric, "Cafe", ("Café",)) == 0.0


def test_exact_match_does_not_take_several_answers_at_once() -> None:
    assert score_of(ExactMatch(), "Paris and London", ("Paris", "London")) == 0.0


def test_token_f1_by_hand() -> None:
    """Said 3 words, 2 of them among the 4 right ones: 2*2/(3+4); the better of two accepted answers counts."""
    assert score_of(TokenF1(), "big red dog", ("one red dog house", "cat")) == pytest.approx(4 / 7)


@given(words, words)
def test_token_f1_is_the_harmonic_mean_of_precision_and_recall(said: str, right: str) -> None:
    left = right.split()
    common = 0
    for word in said.split():
        if word in left:
            left.remove(word)
            common += 1
    precision, recall = common / len(said.split()), common / len(right.split())
    expected = 2 * precision * recall / (precision + recall) if common else 0.0
    assert score_of(TokenF1(), said, (right,)) == pytest.approx(expected)


def test_a_users_function_beside_the_config_is_found_and_leaves_the_import_path_alone(tmp_path: Path) -> None:
    (tmp_path / "own_length_metric.py").write_text("def ratio(prediction, answers):\n    return len(answers) / 4\n")
    before = list(sys.path)
    metric = build_metric("own_length_metric:ratio", base_dir=tmp_path)
    assert metric.name == "own_length_metric:ratio"
    assert split_score(metric, [(None, ("x",)), ("y", ("x", "z", "u"))]) == pytest.approx(0.5)
    assert sys.path == before


@pytest.mark.parametrize("returned", [1.5, -0.1, float("nan"), None, "1"])
def test_a_users_score_outside_0_to_1_is_named(returned: float) -> None:
    metric = UserMetric("mine:fn", lambda _prediction, _answers: returned)
    with pytest.raises(MetricError, match=r"'mine:fn' returned .* number from 0 to 1"):
        score_of(metric, "x", ("x",))


@pytest.mark.parametrize(
    ("path", "message"),
    [("no_such_module_xyz:fn", "cannot import 'no_such_module_xyz'"), ("json:no_such", "no function 'no_such'")],
)
def test_a_function_that_is_not_there_is_named(path: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=message):
        build_metric(path, base_dir=tmp_path)


@pytest.mark.parametrize(
    ("code", "path", "lies_nowhere"),
    [
        ("", "own_faulty:fn", False),
        ("def fn(:", "own_faulty:fn", False),
        ("fn = nothing", "own_faulty:fn", False),
        ("import no_such_module_xyz", "own_faulty:fn", False),
        ("from own_faulty import nothing", "own_faulty:fn", False),
        ("", "own_faulty.part:fn", True),
        ("", "own_absent:fn", True),
        ("", "own_absent.part:fn", True),
        ("", "json.own_absent:fn", True),
    ],
)
def test_a_module_is_asked_for_only_where_it_is_missing(
    code: str, path: str, lies_nowhere: bool, tmp_path: Path
) -> None:
    (tmp_path / "own_faulty").mkdir()
    (tmp_path / "own_faulty" / "__init__.py").write_text(code, encoding="utf-8")
    with pytest.raises(TaskError) as caught:
        build_metric(path, base_dir=tmp_path)
    assert ("must be installed or lie in" in str(caught.value)) is lies_nowhere
    assert str(caught.value).endswith("; mend it") is (bool(code) and not lies_nowhere)


def test_a_metric_module_that_does_not_compile_is_named(tmp_path: Path) -> None:
    (tmp_path / "own_broken_metric.py").write_text("def fn(:\n")
    with pytest.raises(TaskError, match="cannot import 'own_broken_metric'"):
        build_metric("own_broken_metric:fn", base_dir=tmp_path)


@pytest.mark.parametrize("metric", BUILT_IN)
def test_a_config_names_every_metric(metric: Metric, tmp_path: Path) -> None:
    assert build_metric(metric.name, base_dir=tmp_path) == metric


def test_a_users_function_may_see_the_whole_example_and_say_what_was_wrong(tmp_path: Path) -> None:
    (tmp_path / "own_grader.py").write_text(
        "from metaspo import Grade\n"
        "def grade(prediction, example):\n"
        "    longest = example.metadata['longest']\n"
        "    right = prediction in example.answers and len(prediction) <= longest\n"
        "    return Grade(1) if right else Grade(0, f'{example.question} wants {longest} letters at most')\n"
    )
    metric = build_metric("own_grader:grade", base_dir=tmp_path)
    example = Example("Q", ("long", "ok"), metadata={"longest": 2})
    assert metric.grade("ok", example) == Grade(1.0)
    assert metric.grade("long", example) == Grade(0.0, "Q wants 2 letters at most")


@pytest.mark.parametrize("returned", [Grade(1.5), Grade(0.5, feedback=3), Grade("1")])  # type: ignore[arg-type]
def test_a_users_grade_that_is_none_is_named(returned: Grade) -> None:
    metric = UserMetric("mine:fn", lambda _prediction, _answers: returned)
    with pytest.raises(MetricError, match=r"'mine:fn' returned .* number from 0 to 1"):
        score_of(metric, "x", ("x",))


@pytest.mark.parametrize("number", [numpy.float32(0.5), numpy.float64(0.5), Fraction(1, 2)])
def test_every_kind_of_number_is_a_score(number: Any) -> None:  # noqa: ANN401 - that is the point
    grade = UserMetric("mine:fn", lambda _prediction, _answers: number).grade("x", Example("Q", ("x",)))
    assert (grade.score, type(grade.score)) == (0.5, float)


def test_what_a_metric_fails_on_is_named() -> None:
    def fail(prediction: str | None, example: Example) -> float:
        raise KeyError(f"{prediction} {example.question}")

    with pytest.raises(MetricError, match=r"'mine:fn' failed on the prediction 'x': KeyError: 'x Q'$"):
        UserMetric("mine:fn", fail).grade("x", Example("Q", ("x",), "a.jsonl:3"))


@pytest.mark.parametrize("raised", [SystemExit("4"), asyncio.CancelledError("4")])
def test_a_function_that_ends_the_program_or_its_task_has_failed_as_any_other(raised: BaseException) -> None:
    def ends(prediction: str | None, answers: tuple[str, ...]) -> float:
        raise raised

    with pytest.raises(MetricError, match=f"failed on the prediction 'x': {type(raised).__name__}: 4") as failed:
        UserMetric("mine:ends", ends).grade("x", Example("Q", ("x",)))
    assert failed.value.__cause__ is raised


def write_metric(folder: Path, value: float) -> None:
    """A module `grading`, a package `pack` and a helper of both, which only this folder's configs may see."""
    (folder / "pack").mkdir(parents=True)
    (folder / "helper.py").write_text(f"VALUE = {value}\n", encoding="utf-8")
    code = "def fn(prediction, answers):\n    return VALUE\n"
    (folder / "grading.py").write_text(f"from helper import VALUE\n{code}", encoding="utf-8")
    (folder / "pack" / "__init__.py").write_text("from .inner import fn\n", encoding="utf-8")
    (folder / "pack" / "inner.py").write_text(f"from helper import VALUE\n{code}", encoding="utf-8")


@pytest.mark.parametrize("name", ["grading:fn", "pack:fn", "pack.inner:fn"])
def test_configs_whose_metrics_share_a_name_are_each_scored_by_their_own(name: str, tmp_path: Path) -> None:
    for value in (0.25, 0.75):
        write_metric(tmp_path / str(value), value)
    before = set(sys.modules)
    metrics = [(value, build_metric(name, base_dir=tmp_path / str(value))) for value in (0.25, 0.75, 0.25)]
    assert all(score_of(metric, "x", ("x",)) == value for value, metric in metrics)
    assert not {"grading", "pack", "pack.inner", "helper"} & (set(sys.modules) - before)


def test_a_module_that_somebody_else_imported_under_that_name_is_not_taken_for_the_configs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_metric(tmp_path, 0.5)
    stranger = ModuleType("grading")
    stranger.__dict__["fn"] = lambda _prediction, _answers: 1.0
    monkeypatch.setitem(sys.modules, "grading", stranger)
    assert score_of(build_metric("grading:fn", base_dir=tmp_path), "x", ("x",)) == 0.5


def test_a_file_beside_the_config_never_stands_in_for_an_installed_module(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise AssertionError\n", encoding="utf-8")
    with pytest.raises(TaskError, match="the installed module 'json' has no 'no_such'"):
        build_metric("json:no_such", base_dir=tmp_path)


def test_a_metric_module_that_ends_the_program_is_named(tmp_path: Path) -> None:
    (tmp_path / "own_ending_metric.py").write_text("import sys\nsys.exit(0)\n")
    with pytest.raises(TaskError, match="'own_ending_metric' ends the program"):
        build_metric("own_ending_metric:fn", base_dir=tmp_path)
