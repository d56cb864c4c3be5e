"""What generalizing, adapting and transferring come to: each protocol's own figures, with how sure they are."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isclose

from metaspo.engine.evaluation.test_score import TestScore
from metaspo.engine.statistics import Comparison, MeanScore, SplitGrades, mean_score, weighted_mean
from metaspo.engine.studies.adapt import Curve
from metaspo.engine.studies.grid_config import model_label
from metaspo.engine.studies.results import CellResult
from metaspo.engine.studies.scores import Rows, comparisons, splits
from metaspo.engine.studies.study import Study


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolScores:
    """What a protocol's rows come to.

    Attributes:
        name, title: of the protocol, for files and for people.
        model: that the prompts were transferred to; "" for their own.
        scores: by method, over user prompts, tasks and seeds; a method without scores is left out.
        comparisons: of every method with the one that the grid names, as one family.
    """

    name: str
    title: str
    scores: Mapping[str, MeanScore]
    comparisons: tuple[Comparison, ...]
    model: str = ""


def protocol_scores(study: Study) -> list[ProtocolScores]:
    """Every protocol of the grid that there are scores of."""
    config, made = study.grid.config, []
    if config.generalize is not None:
        induced = not config.generalize.given
        title = "Unseen tasks under several user prompts each"
        made.append(_scores(study, "generalize", title, lambda result: result.generalized, seeds_matter=induced))
    if config.adapt is not None:
        title = "User prompts adapted to unseen tasks, after the last round"
        made.append(_scores(study, "adapt", title, _adapted, seeds_matter=True))
    for model in map(model_label, config.transfer):
        scores = _scores(study, "transfer", f"With {model}", _transferred(study, model), seeds_matter=False)
        made.append(replace(scores, model=model))
    return [protocol for protocol in made if protocol.scores]


def _scores(study: Study, name: str, title: str, rows: Rows, *, seeds_matter: bool) -> ProtocolScores:
    graded = {method: splits(study, method, rows) for method in study.methods}
    return ProtocolScores(
        name=name,
        title=title,
        scores={
            method: mean_score(graded_splits, seeds_matter=seeds_matter or study.searches(method))
            for method, graded_splits in graded.items()
            if any(grade is not None for split in graded_splits for grade in split.grades)
        },
        comparisons=comparisons(study, rows, seeds_matter=seeds_matter),
    )


def _adapted(result: CellResult) -> list[TestScore]:
    """Of each task the test after the last round, with the most train examples."""
    largest: dict[str, Curve] = {}
    for curve in result.adapted:
        if curve.task not in largest or curve.examples > largest[curve.task].examples:
            largest[curve.task] = curve
    return [replace(curve.points[-1].test, prompt=0) for curve in largest.values()]


def _transferred(study: Study, model: str) -> Rows:
    return lambda result: [row for row in result.transferred.get(model, ()) if row.role == study.role]


Shares = Mapping[str, MeanScore | None]  # by method
PromptScores = Mapping[tuple[str, int, int], float]  # by task, seed and user prompt


def improved_shares(study: Study) -> dict[str, MeanScore | None]:
    """Every method's `improved_share`; nothing where nothing was generalized."""
    return {method: improved_share(study, method) for method in study.methods} if study.grid.config.generalize else {}


def improved_share(study: Study, method: str) -> MeanScore | None:
    """Of the generalize protocol: `share_better` against the method that the grid names; None of that method itself."""
    if method == study.grid.against:
        return None
    given = study.grid.config.generalize is not None and bool(study.grid.config.generalize.given)
    return share_better(_by_prompt(study, method), _by_prompt(study, study.grid.against), given=given)


def share_better(scores: PromptScores, base_scores: PromptScores, *, given: bool) -> MeanScore | None:
    """The share of user prompts that do better than with the other system prompt; one that ties counts half.

    So it is a half by luck alone, however many tie. User prompts of one task are asked the same questions, whose luck
    they share: only other tasks tell how far the share could be off, `over_tasks`.

    Args:
        given: whether the user prompts of a task are the same under every seed.
    """
    better: dict[tuple[str, int], dict[str, float]] = {}
    for (task, seed, prompt), score in scores.items():
        if (base := base_scores.get((task, seed, prompt))) is not None:
            name = f"{prompt}" if given else f"{seed}/{prompt}"
            better.setdefault((task, seed), {})[name] = 0.5 if isclose(score, base) else float(score > base)
    rows = [
        SplitGrades(task=task, seed=seed, grades=list(wins.values()), questions=list(wins), weight=len(wins))
        for (task, seed), wins in better.items()
    ]
    return mean_score(rows) if rows else None


def share_sentence(share: MeanScore, *, names: tuple[str, str]) -> str:
    """What a share of improved user prompts comes to, for people: its interval against the half that luck gives."""
    said = f"{100 * share.score:.1f}% of the user prompts do better with {names[0]} than with {names[1]}"
    if share.over_tasks is None:
        return f"{said}; one task does not tell how much of it is luck, which alone gives 50."
    low, high = share.over_tasks.low, share.over_tasks.high
    told = "more than by luck" if low > 0.5 else "fewer than by luck" if high < 0.5 else "no more than luck can explain"
    return f"{said}: {told} (95% interval {100 * low:.1f} to {100 * high:.1f}, other tasks; by luck alone 50)."


def _by_prompt(study: Study, method: str) -> PromptScores:
    return {
        (f"{result.domain}/{row.task}", result.seed, row.prompt): row.score
        for _, result in study.of_method(method)
        for row in result.generalized
        if row.score is not None
    }


@dataclass(frozen=True, slots=True)
class CurveUnit:
    """Where a curve stands: its task (with its domain), that task's test questions and weight, the seed."""

    task: str
    seed: int
    questions: Sequence[str]
    weight: float


Curves = Sequence[tuple[CurveUnit, Curve]]


def adaptation(study: Study, method: str) -> dict[int, list[float]]:
    """Of the adapt protocol: by train size, the mean test score of each round over tasks and seeds."""
    return {size: mean_curve(curves) for size, curves in curves_by_size(study, method).items()}


def curves_by_size(study: Study, method: str) -> dict[int, Curves]:
    """The curves of all tasks and seeds by amount of data, the smallest first.

    A size is that of the task with the most examples: where a task has fewer, its curve is on all that it has. A curve
    with a test that nothing was answered in is left out.
    """
    asked: dict[int, list[tuple[CurveUnit, Curve]]] = {}
    for cell, result in study.of_method(method):
        tasks = {task.name: task for task in cell.prepared.tasks}
        seen: Counter[str] = Counter()
        for curve in result.adapted:
            task = tasks[curve.task]
            questions = [example.content for example in task.test]
            task_seed = CurveUnit(f"{result.domain}/{task.name}", result.seed, questions, task.weight)
            if all(point.test.score is not None for point in curve.points):
                asked.setdefault(seen[curve.task], []).append((task_seed, curve))
            seen[curve.task] += 1
    sizes = {max(curve.examples for _, curve in curves): curves for curves in asked.values()}
    return dict(sorted(sizes.items()))


def mean_curve(curves: Curves) -> list[float]:
    """The mean score of each round, each task with its weight."""
    scores = [[point.test.score or 0.0 for point in curve.points] for _, curve in curves]
    return [weighted_mean(there, [task_seed.weight for task_seed, _ in curves]) for there in zip(*scores, strict=True)]
