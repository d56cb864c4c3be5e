"""Metrics against their definitions, computed here a second way, and against examples worked out by hand."""

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaspo.engine.tasks import (
    Accuracy,
    ExactMatch,
    Graded,
    MacroF1,
    Metric,
    MetricError,
    TaskError,
    TokenF1,
    UserMetric,
    build_metric,
    squad_normalize,
)

BUILT_IN: tuple[Metric, ...] = (Accuracy(), ExactMatch(), MacroF1(), TokenF1())
labels = st.sampled_from(["a1", "b2", "c3"])
graded_labels = st.lists(
    st.builds(Graded, st.none() | labels | st.just("zz"), labels.map(lambda label: (label,))), min_size=1
)
words = st.lists(st.sampled_from(["red", "green", "blue", "tree"]), min_size=1).map(" ".join)


def _f1(graded: list[Graded], label: str) -> float:
    """F1 of one label from precision and recall, as the textbooks define it."""
    hit = sum(one.prediction == label == one.answers[0] for one in graded)
    said = sum(one.prediction == label for one in graded)
    true = sum(one.answers[0] == label for one in graded)
    precision, recall = hit / said if said else 0.0, hit / true
    return 2 * precision * recall / (precision + recall) if hit else 0.0


@given(graded_labels)
def test_macro_f1_is_the_mean_f1_over_the_labels_of_the_split(graded: list[Graded]) -> None:
    present = {one.answers[0] for one in graded}
    expected = sum(_f1(graded, label) for label in present) / len(present)
    assert MacroF1().aggregate(graded) == pytest.approx(expected)


@given(graded_labels, labels)
def test_a_malformed_answer_is_worth_no_more_than_any_wrong_label(graded: list[Graded], label: str) -> None:
    """Malformed instead of a prediction outside the split's labels makes no difference."""
    only = [Graded("outside" if one.prediction is None else one.prediction, one.answers) for one in graded]
    assert MacroF1().aggregate(graded) == MacroF1().aggregate(only)


def test_macro_f1_by_hand() -> None:
    """Right labels y y n; said y, malformed, y: F1 of y is 2*1/(2+2), of n 0."""
    graded = [Graded("y", ("y",)), Graded(None, ("y",)), Graded("y", ("n",))]
    assert MacroF1().aggregate(graded) == pytest.approx(0.25)


def test_macro_f1_refuses_several_accepted_answers() -> None:
    with pytest.raises(ValueError, match="one accepted answer"):
        MacroF1().aggregate([Graded("y", ("y", "n"))])


@given(st.sampled_from(BUILT_IN), words, st.lists(words))
def test_a_right_answer_scores_one_and_a_malformed_one_zero(metric: Metric, answer: str, others: list[str]) -> None:
    assert metric.grade(Graded(answer, (*others, answer))) == 1.0
    assert metric.grade(Graded(None, (*others, answer))) == 0.0


@given(st.sampled_from((Accuracy(), ExactMatch(), TokenF1())), st.lists(st.tuples(words, words), min_size=1))
def test_a_split_scores_the_mean_of_its_examples(metric: Metric, pairs: list[tuple[str, str]]) -> None:
    graded = [Graded(said, (right,)) for said, right in pairs]
    assert metric.aggregate(graded) == pytest.approx(sum(map(metric.grade, graded)) / len(graded))
    assert 0 <= metric.aggregate(graded) <= 1


@pytest.mark.parametrize("metric", BUILT_IN)
def test_no_examples_have_no_score(metric: Metric) -> None:
    with pytest.raises(ValueError, match="example"):
        metric.aggregate([])


def test_accuracy_ignores_case_only() -> None:
    assert Accuracy().grade(Graded("Grey", ("grey",))) == 1.0
    assert Accuracy().grade(Graded("the grey", ("grey",))) == 0.0


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
    assert ExactMatch().grade(Graded("the", ("A",))) == 0.0
    assert ExactMatch().grade(Graded("a", ("A",))) == 1.0
    assert TokenF1().grade(Graded("!", ("?",))) == 0.0


def test_exact_match_does_not_take_several_answers_at_once() -> None:
    assert ExactMatch().grade(Graded("Paris and London", ("Paris", "London"))) == 0.0


def test_token_f1_by_hand() -> None:
    """Said 3 words, 2 of them among the 4 right ones: 2*2/(3+4); the better of two accepted answers counts."""
    graded = Graded("big red dog", ("one red dog house", "cat"))
    assert TokenF1().grade(graded) == pytest.approx(4 / 7)


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
    assert TokenF1().grade(Graded(said, (right,))) == pytest.approx(expected)


def test_a_users_function_beside_the_config_is_found_and_leaves_the_import_path_alone(tmp_path: Path) -> None:
    (tmp_path / "own_length_metric.py").write_text("def ratio(prediction, answers):\n    return len(answers) / 4\n")
    before = list(sys.path)
    metric = build_metric("own_length_metric:ratio", base_dir=tmp_path)
    assert metric.name == "own_length_metric:ratio"
    assert metric.aggregate([Graded(None, ("x",)), Graded("y", ("x", "z", "u"))]) == pytest.approx(0.5)
    assert sys.path == before


@pytest.mark.parametrize("returned", [1.5, -0.1, float("nan"), None, "1"])
def test_a_users_score_outside_0_to_1_is_named(returned: float) -> None:
    metric = UserMetric("mine:fn", lambda _prediction, _answers: returned)
    with pytest.raises(MetricError, match=r"'mine:fn' returned .* number from 0 to 1"):
        metric.grade(Graded("x", ("x",)))


@pytest.mark.parametrize(
    ("path", "message"),
    [("no_such_module_xyz:fn", "cannot import 'no_such_module_xyz'"), ("json:no_such", "no function 'no_such'")],
)
def test_a_function_that_is_not_there_is_named(path: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=message):
        build_metric(path, base_dir=tmp_path)


def test_a_metric_module_that_does_not_compile_is_named(tmp_path: Path) -> None:
    (tmp_path / "own_broken_metric.py").write_text("def fn(:\n")
    with pytest.raises(TaskError, match="cannot import 'own_broken_metric'"):
        build_metric("own_broken_metric:fn", base_dir=tmp_path)


@pytest.mark.parametrize("metric", BUILT_IN)
def test_a_config_names_every_metric(metric: Metric, tmp_path: Path) -> None:
    assert build_metric(metric.name, base_dir=tmp_path) == metric
