"""How much of the train scores of chosen prompts is the luck of having been chosen."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from metaspo.engine.evaluation.scorecard import Scorecard
from metaspo.engine.statistics import Optimism, TaskGrades, at_most, of_the_best, reselected


def optimism_bound(
    winner: Sequence[Scorecard], incumbent: Sequence[Scorecard], *, candidates: int, score: float
) -> Optimism:
    """About the most that luck can be; a function of what is selected, and of nothing else that was scored."""
    return at_most(
        grades_of(winner), grades_of(incumbent), candidates=candidates, score=score, weights=_weights(incumbent)
    )


def estimate_of(
    scored: Sequence[Sequence[Scorecard] | None], incumbent: Sequence[Scorecard], *, seed: int
) -> Optimism | None:
    """What luck is likely to be, from all candidates that were scored to the end (None for the others).

    Which ones these are may depend on the order in which answers came in: for the journal, not for a result.
    """
    complete = grades_of(incumbent)
    dropped: TaskGrades = {task: [None] * len(grades) for task, grades in complete.items()}
    candidates = [grades_of(cards) if cards else dropped for cards in scored]
    return reselected(candidates, incumbent=complete, weights=_weights(incumbent), seed=seed)


def luck_of_users(first: Sequence[Scorecard], best: Sequence[Scorecard], tried: Mapping[str, int]) -> float:
    """About what luck has brought the best user prompts since the first ones, in the mean over tasks.

    Where the first one stays, none.

    Args:
        first, best: one of each task.
        tried: how many others there were, by task.
    """
    chosen = [new.pair.user != old.pair.user for old, new in zip(first, best, strict=True)]
    counts = {card.task: tried[card.task] * others for card, others in zip(best, chosen, strict=True)}
    return of_the_best(grades_of(first), grades_of(best), tried=counts, weights=_weights(best))


def grades_of(cards: Sequence[Scorecard]) -> TaskGrades:
    """Per task each example's grade, averaged over the task's user prompts: they answered the same examples."""
    rows: dict[str, list[list[float | None]]] = defaultdict(list)
    for card in cards:
        rows[card.task].append([outcome.grade for outcome in card.outcomes])
    return {task: [_mean(grades) for grades in zip(*prompts, strict=True)] for task, prompts in rows.items()}


def _mean(grades: Sequence[float | None]) -> float | None:
    complete = [grade for grade in grades if grade is not None]
    return sum(complete) / len(complete) if len(complete) == len(grades) else None


def _weights(cards: Sequence[Scorecard]) -> dict[str, float]:
    """A task counts as often in the meta score as it has user prompts."""
    weights: dict[str, float] = defaultdict(float)
    for card in cards:
        weights[card.task] += card.weight
    return weights
