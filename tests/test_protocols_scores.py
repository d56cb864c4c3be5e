"""What the cells of a comparison add up to: each law by a study whose figures are worked out by hand."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import orjson
import pytest
from matplotlib.figure import Figure
from world import make_config, make_task

from metaspo.engine import Prepared
from metaspo.engine.config.schema import InnerTable
from metaspo.engine.evaluation.test_score import TestScore
from metaspo.engine.optimize.test_splits import gains
from metaspo.engine.report import figures, write_study
from metaspo.engine.statistics import Interval, MeanScore, SplitGrades
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
from metaspo.engine.studies.protocol_scores import (
    adaptation,
    improved_share,
    protocol_scores,
    share_sentence,
)
from metaspo.engine.studies.savings import Needed, first_passage, needed
from metaspo.engine.studies.scores import source_contributions
from metaspo.engine.tasks import Example, Task

Grades = Sequence[float | None]
Answers = Mapping[str, Grades]  # by task


def task_of(name: str, questions: Sequence[str], *, weight: float = 1.0) -> Task:
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


def share_of(study: Study, method: str) -> float:
    found = improved_share(study, method)
    assert found is not None
    return found.score


def table(study: Study, name: str) -> Table:
    return next(one for one in Findings.of(study).tables if one.name == name)


TWO = (task_of("a", "pq"), task_of("b", "rstu"))


def test_a_score_is_the_mean_over_tasks_then_over_seeds() -> None:
    """Seed 1: (1/2 + 1) / 2 = 3/4; seed 2: (0 + 1/4) / 2 = 1/8; both: 7/16. Tasks count alike, however long."""
    results = [cell("m", 1, {"a": [1, 0], "b": [1, 1, 1, 1]}), cell("m", 2, {"a": [0, 0], "b": [1, 0, 0, 0]})]
    found = summarize_method(study_of(results, {1: TWO, 2: TWO}), "m")
    assert found.by_seed == {1: 0.75, 2: 0.125}
    assert found.score == 0.4375


def test_a_task_counts_by_its_weight() -> None:
    """A task of weight 3 at 1 and one of weight 1 at 0 make 3/4, in scores, grades and comparisons."""
    tasks = (task_of("a", "pq", weight=3.0), task_of("b", "rs"))

    def weighed(method: str, a: Grades, b: Grades) -> CellResult:
        rows = (row("a", a, weight=3.0), row("b", b))
        return CellResult(method=method, domain="", seed=1, system_prompt="s", tests=rows, generalized=rows)

    study = study_of([weighed("base", [0, 0], [0, 0]), weighed("m", [1, 1], [0, 0])], {1: tasks}, generalize={})
    found = summarize_method(study, "m")
    assert found.score == 0.75
    assert [one.difference for one in comparisons(study)] == [0.75]
    (generalized,) = protocol_scores(study)
    assert generalized.scores["m"].score == 0.75
    assert share_of(study, "m") == 0.75  # of user prompts; a tie is a half


def test_a_question_that_several_seeds_drew_is_one_example() -> None:
    """Both seeds drew q: of p, q and r there are three, and seeds count alike: (1 + 1/2) / 2 less 0."""
    results = [cell("base", 1, {"a": [0, 0]}), cell("base", 2, {"a": [0, 0]})]
    results += [cell("m", 1, {"a": [1, 1]}), cell("m", 2, {"a": [0, 1]})]
    study = study_of(results, {1: [task_of("a", "pq")], 2: [task_of("a", "qr")]})
    (found,) = comparisons(study)
    assert (found.examples, found.difference) == (3, 0.75)


def test_a_line_that_stands_twice_counts_twice_in_every_table() -> None:
    """A test file with p, p, q: a score, its comparison and the gain of a run are of three lines, all the same."""
    results = [cell("base", 1, {"a": [1, 1, 0]}), cell("m", 1, {"a": [0, 0, 0]})]
    study = study_of(results, {1: [task_of("a", "ppq")]})
    (found,) = comparisons(study)
    scores = {method: summarize_method(study, method).score for method in ("m", "base")}
    assert found.difference == pytest.approx((scores["m"] or 0) - (scores["base"] or 0)) == pytest.approx(-2 / 3)
    assert found.examples == 2
    assert scores["base"] == pytest.approx(2 / 3)
    tests = [replace(results[0].tests[0], stage="before"), replace(results[1].tests[0], stage="after")]
    (gain,) = gains([replace(one, repeats=(0, 0, 2)) for one in tests])
    assert gain.gain == pytest.approx(found.difference)
    assert (gain.interval.low, gain.p) == pytest.approx((found.interval.low, found.p))


def test_sub_samples_of_seeds_are_aligned_by_question_whatever_their_order() -> None:
    """The same five questions right under both seeds, or all ten under one of them each: the former is less sure."""
    results = [cell("base", seed, {"a": [0] * 10}) for seed in (1, 2)]
    results += [cell("m", 1, {"a": [1] * 5 + [0] * 5}), cell("m", 2, {"a": [0] * 5 + [1] * 5})]
    first, turned = "pqrstuvwxy", "uvwxypqrst"
    (same,) = comparisons(study_of(results, {1: [task_of("a", first)], 2: [task_of("a", turned)]}))
    (other,) = comparisons(study_of(results, {1: [task_of("a", first)], 2: [task_of("a", first)]}))
    assert (same.examples, other.examples) == (10, 10)
    assert same.interval.high > other.interval.high + 0.1


def test_an_unanswered_question_is_no_zero() -> None:
    results = [cell("base", 1, {"a": [0, 1]}), cell("m", 1, {"a": [1, None]})]
    study = study_of(results, {1: [task_of("a", "pq")]})
    assert summarize_method(study, "m").score == 1.0
    assert [(one.examples, one.difference) for one in comparisons(study)] == [(1, 1.0)]


def test_a_seed_that_one_method_lacks_counts_for_neither_in_their_comparison() -> None:
    """Equal where both answered: the other's easy second seed must not make it the better one."""
    task = task_of("a", "pq")
    results = [cell("base", 1, {"a": [1, 0]}), cell("base", 2, {"a": [1, 1]}), cell("m", 1, {"a": [1, 0]})]
    study = study_of([*results, stopped("m", 2)], {1: [task], 2: [task]})
    (found,) = comparisons(study)
    assert (found.difference, found.seeds, found.one_run) == (0, 1, True)
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
    (found,) = comparisons(study_of(results, {1: [task], 2: [task]}))
    assert (found.score_a, found.score_b, found.examples) == (0.5, 0.5, 2)


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
    full, ((task, found),) = source_contributions(study)
    assert (full, task, found.difference) == ("full", "x", 0.5)
    assert source_contributions(study_of(results[:1], {1: [task_of("a", "pq")]})) == ("", ())


def generalized(method: str, seed: int, scores: Mapping[str, Sequence[float]]) -> CellResult:
    rows = tuple(row(task, [one], prompt=number) for task, each in scores.items() for number, one in enumerate(each))
    return cell(method, seed, {}, generalized=rows)


def test_the_share_of_improved_prompts_counts_one_that_ties_half() -> None:
    """Of four user prompts two do better, one ties, one does worse: 5/8. The default has no share against itself."""
    results = [
        generalized("base", 1, {"a": (0.5, 0.5, 0.5, 0.5)}),
        generalized("m", 1, {"a": (1.0, 0.75, 0.5, 0.25)}),
    ]
    study = study_of(results, {1: [task_of("a", "p")]}, generalize={})
    (found,) = protocol_scores(study)
    assert {method: score.score for method, score in found.scores.items()} == {"base": 0.5, "m": 0.625}
    assert share_of(study, "m") == 0.625
    assert Findings.of(study).claims == (
        "62.5% of the user prompts do better with m than with base; one task does not tell how much of it is luck, "
        "which alone gives 50.",
    )
    assert improved_share(study, "base") is None


def test_a_share_of_user_prompts_that_all_tie_is_what_luck_gives() -> None:
    same = {"a": (0.5, 0.5, 0.7), "b": (1.0, 0.9, 1 / 3)}
    study = study_of([generalized("base", 1, same), generalized("m", 1, same)], {1: TWO}, generalize={})
    (claim,) = Findings.of(study).claims
    assert claim.startswith("50.0% of the user prompts do better with m than with base: no more than luck can explain")


def test_how_sure_a_share_of_user_prompts_is_goes_by_tasks() -> None:
    """All of 40 user prompts of one task do better, none of the other's: two tasks tell nothing of other tasks."""
    results = [
        generalized("base", 1, {"a": [0.5] * 40, "b": [0.5] * 40}),
        generalized("m", 1, {"a": [1.0] * 40, "b": [0.0] * 40}),
    ]
    study = study_of(results, {1: TWO}, generalize={})
    share = improved_share(study, "m")
    assert share is not None
    assert share.over_tasks is not None
    assert share.over_tasks.low < 0.01
    assert share.over_tasks.high > 0.99
    shown = next(one for one in Findings.of(study).tables if one.name == "generalize")
    assert shown.rows[1][-2:] == (50.0, f"{100 * share.over_tasks.low:.1f} to {100 * share.over_tasks.high:.1f}")


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


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [
        ({0: 0, 1: 20, 2: 40}, 1, 1, 2),
        ({0: 0, 1: 1, 2: 2}, inf, inf, inf),
        ({0: 40, 1: 40}, 0, 0, 0),
        ({30: 19, 3: 0}, inf, 30, inf),
        ({9: 40, 3: 21}, 3, 3, 9),
    ],
)
def test_a_score_passes_the_goal_between_where_it_may_be_and_where_it_surely_is(
    right: Mapping[int, int], count: float, low: float, high: float
) -> None:
    """The goal: half of 40 questions right, others than the method's first ones."""
    goal = [SplitGrades(task="a", grades=[float(number % 2) for number in range(40)])]
    scores = {
        number: [SplitGrades(task="a", grades=[1.0] * many + [0.0] * (40 - many))] for number, many in right.items()
    }
    found = first_passage(scores, goal, of=9)
    assert found is not None
    assert (found.count, found.low, found.high, found.of) == (count, low, high, 9)


def test_methods_that_have_no_seed_in_common_save_nothing_that_could_be_told() -> None:
    curves = {name: (curve_of("a", 9, [0.0, 1.0]),) for name in ("base", "m")}
    results = [
        cell("base", 1, {}, adapted=curves["base"]),
        stopped("base", 2),
        stopped("m", 1),
        cell("m", 2, {}, adapted=curves["m"]),
    ]
    tasks = [task_of("a", "p")]
    assert needed(study_of(results, {1: tasks, 2: tasks}, adapt=AdaptTable()), "m") == (None, None)


def test_every_protocol_compares_its_own_figure() -> None:
    """The final prompts do alike; under other user prompts, after adapting and with another model one does better."""

    def done(method: str, right: float) -> CellResult:
        beyond = tuple(row("a", [right] * 20, prompt=number) for number in range(3))
        curve = replace(
            curve_of("a", 9, [0.5]), points=(Point(round=0, prompts=1, user="u", train=1.0, test=beyond[2]),)
        )
        moved = {"other, 256 tokens": beyond[:1]}
        grades = {"a": [1.0] * 20}
        return cell(method, 1, grades, generalized=beyond, adapted=(curve,), transferred=moved)

    tasks = {1: [task_of("a", "abcdefghijklmnopqrst")]}
    other = {"model": "other", "max_tokens": 256, "endpoints": ["http://127.0.0.1:8000/v1"]}
    more: dict[str, Any] = {"generalize": {}, "adapt": {}, "transfer": [other]}
    study = study_of([done("base", 0.0), done("m", 1.0)], tasks, **more)
    found = Findings.of(study)
    assert [one.difference for one in found.comparisons] == [0.0]
    assert [(one.name, one.comparisons[0].difference, one.comparisons[0].verdict) for one in found.protocols] == [
        ("generalize", 1.0, "better"),
        ("adapt", 1.0, "better"),
        ("transfer", 1.0, "better"),
    ]
    names = [one.name for one in found.tables]
    assert {f"{name}{kind}" for name in ("generalize", "adapt", "transfer") for kind in ("", "-against")} <= {*names}
    assert any(sentence.startswith("With other, 256 tokens: m is better than base") for sentence in found.verdicts)


def test_rounds_and_examples_saved_are_shares_with_an_interval() -> None:
    """The default's end, after 4 rounds and 9 examples, is surely reached after one round, and with 3 examples."""

    def curves(method: str, *scores: float) -> CellResult:
        made = []
        for size in (3, 9):
            tests = [
                row("a", [1.0] * round(40 * score) + [0.0] * round(40 * (1 - score)), prompt=number)
                for number, score in enumerate(scores)
            ]
            points = tuple(
                Point(round=number, prompts=1, user="u", train=0.5, test=test) for number, test in enumerate(tests)
            )
            made.append(Curve(task="a", examples=size, points=points))
        return cell(method, 1, {}, adapted=tuple(made))

    task = task_of("a", [str(number) for number in range(40)])
    results = [curves("base", 0.1, 0.1, 0.1, 0.1, 0.15), curves("fast", 0.0, 0.9, 0.9, 0.9, 0.9), curves("never", 0.0)]
    study = study_of(results, {1: [task]}, adapt=AdaptTable(examples=(3, 9)))
    rounds, examples = needed(study, "fast")
    assert rounds is not None
    assert examples is not None
    assert (rounds.count, rounds.words) == (1, "25% (25% to 25%)")
    assert (examples.count, examples.words) == (3, "33% (33% to 33%)")
    rounds, _ = needed(study, "never")
    assert rounds is not None
    assert rounds.words == "– (– to –)"
    assert Findings.of(study).claims == (
        "fast comes to where base ends with 1 of 4 rounds, fewer: 25% (25% to 25%) of them, with 95% in brackets.",
        "fast comes to where base ends with 3 of 9 train examples, fewer: 33% (33% to 33%) of them, "
        "with 95% in brackets.",
        "never does not come to where base ends with any of its rounds.",
        "never does not come to where base ends with any of its train examples.",
    )


def test_macro_f1_is_the_score_and_what_intervals_and_comparisons_are_of() -> None:
    """The right label found once and missed once, the other never asked for: F1 is 2/3, half are right."""
    tests = (row("a", [1, 0], metric="macro-f1", score=2 / 3, labels=(("yes", "yes"), ("yes", "no"))),)
    result = CellResult(method="m", domain="", seed=1, system_prompt="s", tests=tests)
    none = replace(result, method="n", tests=(replace(tests[0], labels=(("yes", "no"),) * 2, score=0.0),))
    study = study_of([none, result], {1: [task_of("a", "pq")]})
    found = summarize_method(study, "m")
    assert found.score == pytest.approx(2 / 3)
    assert [one.difference for one in comparisons(study)] == [pytest.approx(2 / 3)]
    assert "The score of a is macro-F1" in table(study, "scores").note


def test_a_cell_of_a_table_cannot_break_its_row() -> None:
    odd = Table(name="t", title="T", columns=("a|b",), rows=(("x|y\nz",),))
    assert markdown(odd).splitlines()[2:] == ["| a\\|b |", "| --- |", "| x\\|y z |"]


def test_what_is_written_and_shown_is_what_was_found_and_nothing_is_worked_out_again(tmp_path: Path) -> None:
    study = study_of([cell("m", 1, {"a": [1, 0]}), cell("n", 1, {"a": [0, 0]})], {1: [task_of("a", "pq")]})
    only = Table(name="only", title="The only table", columns=("a",), rows=((1,),))
    found = replace(Findings.of(study), tables=(only,), comparisons=(), protocols=(), summaries={})
    page = write_study(found, tmp_path).read_text(encoding="utf-8")
    assert "The only table" in page
    assert "Test scores" not in page
    assert {path.name for path in tmp_path.iterdir()} == {
        "only.csv",
        "only.tex",
        "report.html",
        "results.json",
        "tables.md",
    }
    assert orjson.loads((tmp_path / "results.json").read_bytes())["verdicts"] == []


def test_each_picture_is_drawn_once_in_a_form_and_stands_in_the_page_as_in_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    class Counted(Figure):
        def savefig(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - matplotlib's
            sizes.append((options["format"], *self.get_size_inches()))
            super().savefig(*args, **options)

    monkeypatch.setattr(figures, "Figure", Counted)
    study = study_of([cell("m", 1, {"a": [1, 0]}), cell("n", 1, {"a": [0, 0]})], {1: [task_of("a", "pq")]})
    page = write_study(Findings.of(study), tmp_path).read_text(encoding="utf-8")
    assert len(sizes) == len(set(sizes)) == 3  # one of them for phones
    assert base64.b64encode((tmp_path / "scores.svg").read_bytes()).decode() in page


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [(0.4, 0.9, "no more than luck"), (0.51, 0.9, "more than by luck"), (0.1, 0.49, "fewer than by luck")],
)
def test_a_share_of_user_prompts_is_held_against_luck(low: float, high: float, told: str) -> None:
    share = MeanScore(score=(low + high) / 2, over_examples=Interval(0.0, 0.1), over_tasks=Interval(low, high))
    assert f"with m than with base: {told}" in share_sentence(share, names=("m", "base"))


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [(0, 3, "2 of 4 rounds, fewer: 50% (0% to 75%)"), (0, 4, "not surely fewer"), (5, inf, "more: 50% (125% to –)")],
)
def test_what_is_saved_is_said_as_surely_as_it_is_known(low: float, high: float, told: str) -> None:
    assert told in Needed(count=2, of=4, low=low, high=high).sentence("rounds", names=("m", "base"))
