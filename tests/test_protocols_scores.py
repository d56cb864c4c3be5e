"""What the cells of a comparison add up to: each law by a study whose figures are worked out by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from world import make_config, make_task

from metaspo.engine import Prepared
from metaspo.engine.config.schema import InnerTable
from metaspo.engine.evaluation.test_score import TestScore
from metaspo.engine.report import write_study
from metaspo.engine.studies import (
    AdaptTable,
    Cell,
    CellResult,
    Curve,
    Findings,
    Grid,
    GridConfig,
    Method,
    Point,
    Study,
    Table,
    comparisons,
    markdown,
    summarize_method,
)
from metaspo.engine.studies.scores import (
    adaptation,
    examples_needed,
    grades_of,
    improved_share,
    paired_grades,
    rounds_needed,
    source_contributions,
)
from metaspo.engine.tasks import Example, Task

Grades = Sequence[float | None]
Answers = Mapping[str, Grades]  # by task


def task_of(name: str, questions: str, *, weight: float = 1.0) -> Task:
    """A target task whose test split asks these questions, a letter each."""
    examples = tuple(Example(question=letter, answers=("yes",)) for letter in questions)
    return replace(make_task(name, role="target"), test=examples, weight=weight)


def row(task: str, grades: Grades, *, prompt: int = 0, **changes: Any) -> TestScore:  # noqa: ANN401 - a row's fields
    known = [grade for grade in grades if grade is not None]
    plain = TestScore(
        task=task,
        role="target",
        metric="accuracy",
        stage="given",
        prompt=prompt,
        system="s",
        user="u",
        score=sum(known) / len(known) if known else None,
        examples=len(grades),
        malformed=0,
        failed=len(grades) - len(known),
        grades=tuple(grades),
    )
    return replace(plain, **changes)


def curve_of(task: str, examples: int, scores: Sequence[float | None]) -> Curve:
    points = tuple(
        Point(round=number, prompts=1, user="u", train=0.5, test=row(task, [score]))
        for number, score in enumerate(scores)
    )
    return Curve(task=task, examples=examples, points=points)


def study_of(
    results: Sequence[CellResult],
    tasks: Mapping[int, Sequence[Task]],
    *,
    methods: Sequence[Method] = (),
    **grid: Any,  # noqa: ANN401 - a grid's fields
) -> Study:
    """A study of these results, cell by cell; `tasks` are each seed's."""
    names = list(dict.fromkeys(result.method for result in results))
    chosen = tuple(methods) or tuple(Method(name=name, about="") for name in names)
    by_name = {one.name: one for one in chosen}
    cells = tuple(
        Cell(
            method=by_name[result.method],
            domain=result.domain,
            seed=result.seed,
            prepared=Prepared(config=make_config(), tasks=tuple(tasks[result.seed]), folder=Path()),
        )
        for result in results
    )
    config = GridConfig(name="g", config="c.toml", methods=tuple(by_name), seeds=tuple(tasks), **grid)
    made = Grid(config=config, folder=Path(), methods=chosen, cells=cells, against=chosen[0].name, inner=InnerTable())
    return Study.of(made, results)


def cell(method: str, seed: int, answers: Answers, **changes: Any) -> CellResult:  # noqa: ANN401 - a result's fields
    tests = tuple(row(task, grades) for task, grades in answers.items())
    return CellResult(method=method, domain="", seed=seed, system_prompt="s", tests=tests, **changes)


def stopped(method: str, seed: int) -> CellResult:
    return CellResult(method=method, domain="", seed=seed, system_prompt="", stopped="no credit")


def table(study: Study, name: str) -> Table:
    return next(one for one in Findings.of(study).tables if one.name == name)


TWO = (task_of("a", "pq"), task_of("b", "rstu"))


def test_a_score_is_the_mean_over_tasks_then_over_seeds() -> None:
    """Seed 1: (1/2 + 1) / 2 = 3/4; seed 2: (0 + 1/4) / 2 = 1/8; both: 7/16. Tasks count alike, however long."""
    results = [cell("m", 1, {"a": [1, 0], "b": [1, 1, 1, 1]}), cell("m", 2, {"a": [0, 0], "b": [1, 0, 0, 0]})]
    found = summarize_method(study_of(results, {1: TWO, 2: TWO}), "m")
    assert found.by_seed == {1: 0.75, 2: 0.125}
    assert found.score == found.grade == 0.4375


def test_a_task_counts_by_its_weight() -> None:
    """A task of weight 3 at 1 and one of weight 1 at 0 make 3/4, in scores, grades and comparisons."""
    tasks = (task_of("a", "pq", weight=3.0), task_of("b", "rs"))

    def weighed(method: str, a: Grades, b: Grades) -> CellResult:
        rows = (row("a", a, weight=3.0), row("b", b))
        return CellResult(method=method, domain="", seed=1, system_prompt="s", tests=rows, generalized=rows)

    study = study_of([weighed("base", [0, 0], [0, 0]), weighed("m", [1, 1], [0, 0])], {1: tasks}, generalize={})
    found = summarize_method(study, "m")
    assert (found.score, found.grade) == (0.75, 0.75)
    assert [one.difference for one in comparisons(study)] == [0.75]
    assert improved_share(study, "m") == (0.75, 0.5)


def test_a_question_that_several_seeds_drew_counts_once_with_its_mean_grade() -> None:
    """Both seeds drew q: it is one example of grade 1/2, beside p and r of one seed each."""
    results = [cell("m", 1, {"a": [1, 1]}), cell("m", 2, {"a": [0, 1]})]
    study = study_of(results, {1: [task_of("a", "pq")], 2: [task_of("a", "qr")]})
    assert grades_of(study, "m") == {"/a": [1.0, 0.5, 1.0]}


def test_sub_samples_of_seeds_are_aligned_by_question_whatever_their_order() -> None:
    results = [cell("m", 1, {"a": [1, 0]}), cell("m", 2, {"a": [0, 1]})]
    study = study_of(results, {1: [task_of("a", "pq")], 2: [task_of("a", "qp")]})
    assert grades_of(study, "m") == {"/a": [1.0, 0.0]}


def test_an_unanswered_question_is_no_zero() -> None:
    study = study_of([cell("m", 1, {"a": [1, None]})], {1: [task_of("a", "pq")]})
    assert grades_of(study, "m") == {"/a": [1.0, None]}
    assert summarize_method(study, "m").score == 1.0


def test_a_seed_that_one_method_lacks_counts_for_neither_in_their_comparison() -> None:
    """Equal where both answered: the other's easy second seed must not make it the better one."""
    task = task_of("a", "pq")
    results = [cell("base", 1, {"a": [1, 0]}), cell("base", 2, {"a": [1, 1]}), cell("m", 1, {"a": [1, 0]})]
    study = study_of([*results, stopped("m", 2)], {1: [task], 2: [task]})
    assert paired_grades(study, "m", "base") == ({"/a": [1.0, 0.0]}, {"/a": [1.0, 0.0]})
    (found,) = comparisons(study)
    assert found.difference == 0
    assert "m (seed 2)" in table(study, "scores").note
    assert "Without a result" not in table(study_of(results[:2], {1: [task], 2: [task]}), "scores").note


def test_a_question_that_one_seed_answered_for_one_method_only_is_paired_under_the_other_seeds() -> None:
    task = task_of("a", "pq")
    results = [
        cell("base", 1, {"a": [0, 0]}),
        cell("base", 2, {"a": [1, 1]}),
        cell("m", 1, {"a": [0, 0]}),
        cell("m", 2, {"a": [None, 1]}),
    ]
    assert paired_grades(study_of(results, {1: [task], 2: [task]}), "m", "base") == (
        {"/a": [0.0, 0.5]},
        {"/a": [0.0, 0.5]},
    )


def test_methods_without_a_shared_answer_are_not_compared() -> None:
    task = task_of("a", "p")
    results = [cell("base", 1, {"a": [1]}), stopped("base", 2), stopped("m", 1), cell("m", 2, {"a": [1]})]
    assert comparisons(study_of(results, {1: [task], 2: [task]})) == ()


def test_leaving_a_task_out_is_held_against_the_method_that_it_is_a_variant_of() -> None:
    """Another method that optimizes stands first: it is not the one with all source tasks."""
    changes = {"outer.strategy": "metaspo"}
    methods = [
        Method(name="sprig", about="", changes={"outer.strategy": "sprig"}),
        Method(name="full", about="", changes=changes),
        Method(name="less", about="", changes=changes, without="x"),
    ]
    results = [cell("sprig", 1, {"a": [0, 0]}), cell("full", 1, {"a": [1, 1]}), cell("less", 1, {"a": [1, 0]})]
    study = study_of(results, {1: [task_of("a", "pq")]}, methods=methods)
    full, (found,) = source_contributions(study)
    assert (full, found.task, found.gain) == ("full", "x", 0.5)
    assert source_contributions(study_of(results[:1], {1: [task_of("a", "pq")]})) == ("", ())


def test_the_share_of_improved_prompts_is_of_those_that_do_strictly_better_than_under_the_default() -> None:
    """Of four user prompts two do better, one ties, one does worse: 1/2. The default has no share against itself."""

    def generalized(*scores: float) -> tuple[TestScore, ...]:
        return tuple(row("a", [score], prompt=number) for number, score in enumerate(scores))

    results = [
        cell("base", 1, {"a": [0]}, generalized=generalized(0.5, 0.5, 0.5, 0.5)),
        cell("m", 1, {"a": [0]}, generalized=generalized(1.0, 0.75, 0.5, 0.25)),
    ]
    study = study_of(results, {1: [task_of("a", "p")]}, generalize={})
    assert improved_share(study, "m") == (0.625, 0.5)
    assert improved_share(study, "base") == (0.5, None)


def test_adapting_is_averaged_over_tasks_of_any_size_of_train_split() -> None:
    """Two tasks with 9 and 20 train examples, adapted on all of them, are one curve, not two."""
    adapted = (curve_of("a", 9, [0.0, 0.5]), curve_of("b", 20, [0.5, 1.0]))
    study = study_of([cell("m", 1, {}, adapted=adapted)], {1: TWO}, adapt=AdaptTable())
    assert adaptation(study, "m") == {20: [0.25, 0.75]}


def test_a_curve_with_a_test_that_was_not_answered_is_left_out_and_no_zero() -> None:
    adapted = (curve_of("a", 9, [1.0, None]), curve_of("b", 9, [0.5, 1.0]))
    study = study_of([cell("m", 1, {}, adapted=adapted)], {1: TWO}, adapt=AdaptTable())
    assert adaptation(study, "m") == {9: [0.5, 1.0]}


def test_each_amount_of_data_is_a_curve_of_its_own() -> None:
    adapted = (curve_of("a", 3, [0.0, 0.5]), curve_of("a", 9, [0.0, 1.0]))
    study = study_of([cell("m", 1, {}, adapted=adapted)], {1: TWO}, adapt=AdaptTable(examples=(3, 9)))
    assert adaptation(study, "m") == {3: [0.0, 0.5], 9: [0.0, 1.0]}


@pytest.mark.parametrize(("goal", "rounds", "examples"), [(0.0, 0, 3), (0.5, 1, 9), (0.75, 2, 9), (0.9, None, None)])
def test_what_is_needed_is_the_first_round_and_the_fewest_examples_that_reach_the_goal(
    goal: float, rounds: int | None, examples: int | None
) -> None:
    assert rounds_needed([0.0, 0.5, 0.75], goal) == rounds
    assert examples_needed({9: [0.0, 0.75], 3: [0.5, 0.25]}, goal) == examples


def test_macro_f1_is_the_score_and_a_note_says_that_intervals_are_of_something_else() -> None:
    tests = (row("a", [1, 0], metric="macro-f1", score=0.25),)
    result = CellResult(method="m", domain="", seed=1, system_prompt="s", tests=tests)
    study = study_of([result], {1: [task_of("a", "pq")]})
    found = summarize_method(study, "m")
    assert (found.score, found.grade) == (0.25, 0.5)
    assert "The score of a is macro-F1" in table(study, "scores").note


def test_a_cell_of_a_table_cannot_break_its_row() -> None:
    odd = Table(name="t", title="T", columns=("a|b",), rows=(("x|y\nz",),))
    assert markdown(odd).splitlines()[2:] == ["| a\\|b |", "| --- |", "| x\\|y z |"]


def test_what_is_written_and_shown_is_what_was_found_and_nothing_is_worked_out_again(tmp_path: Path) -> None:
    study = study_of([cell("m", 1, {"a": [1, 0]}), cell("n", 1, {"a": [0, 0]})], {1: [task_of("a", "pq")]})
    only = Table(name="only", title="The only table", columns=("a",), rows=((1,),))
    found = replace(Findings.of(study), tables=(only,), comparisons=(), summaries={})
    page = write_study(found, tmp_path).read_text(encoding="utf-8")
    assert "The only table" in page
    assert "Test scores" not in page
    assert {path.name for path in tmp_path.iterdir()} == {"only.csv", "report.html", "results.json", "tables.md"}
    assert orjson.loads((tmp_path / "results.json").read_bytes())["verdicts"] == []
