"""The luck in a score of the best of several candidates, chosen on the examples that it is scored on.

The best of nine equally good prompts still looks better than they are: it is the one that the examples happened to
favour. How much of its score is that luck is estimated here, in two ways.

`reselected` is the estimate where every candidate was scored to the end: choose again on a random half of the examples
of each task, look at the chosen one's score on the other half, and take the mean fall over many such halves. Half the
examples leave sqrt(2) times the noise of all of them, so the fall is divided by that. In simulations
(docs/statistics.md) this is close to the true luck, a little above it where candidates differ much; the bootstrap's
estimate is too low by a quarter where they do not, and cross-validation's varies two to three times as much.

`at_most` needs the winner and the incumbent only. Whatever the candidates are worth, the winner's luck is at most the
highest luck of them all, and how high that is in 95 of 100 rounds follows from how many there are. A candidate that
early rejection has dropped has no grades for the rest of its examples, and which ones it has depends on the order in
which answers came in; what a run's result says must not, so it says this.

`of_the_best` is for prompts that many rounds have chosen, one after the other and on the same examples: an estimate
that needs the first and the best only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from math import fsum, sqrt
from statistics import NormalDist, fmean
from typing import TYPE_CHECKING, Literal

from metaspo.engine.statistics.crossed import Part
from metaspo.engine.statistics.grades import TaskGrades
from metaspo.engine.statistics.interval import CONFIDENCE
from metaspo.engine.statistics.student import combined, quantile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

HALVINGS = 1_000
DECIMALS = 12  # equal means are ties, as in selection


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimism:
    """What of a winner's train score is the luck of having been picked.

    Attributes:
        score: of the winner, on the examples that it was picked on.
        luck: the part of it that is luck, 0 or more.
        candidates: how many it was the best of; the incumbent, which it also had to beat, is not counted.
        complete: how many of these the figure is about: the others were not scored to the end.
        kind: "estimate" by choosing again on halves: a mean; "bound": passed in about 5 of 100 rounds.
    """

    score: float
    luck: float
    candidates: int
    complete: int
    kind: Literal["estimate", "bound"]

    @property
    def sentence(self) -> str:
        """What it comes to, for people."""
        points = f"{100 * self.luck:.1f} points"
        among = f"the best of {self.candidates}" if self.candidates > 1 else "it over the one before"
        picked = f"the luck of having picked {among}"
        if self.kind == "bound":
            return f"train score {self.score:.1%}, of which at most {points} (95% sure) are {picked}"
        if self.complete < self.candidates:
            caveat = f"only {self.complete} of them were scored to the end"
            return f"train score {self.score:.1%}, of which at least about {points} are {picked} ({caveat})"
        return f"train score {self.score:.1%}, of which about {points} are {picked}"


def reselected(
    candidates: Sequence[TaskGrades],
    *,
    incumbent: TaskGrades | None = None,
    weights: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Optimism | None:
    """The luck of the best candidate, by choosing again on random halves of the examples.

    A candidate with a grade missing is left out: it was dropped because it could not win, or refused. With candidates
    left out the estimate is on the low side, since some of them would be chosen on some halves.

    Args:
        candidates: of each the grades by task, examples in the same order; the same tasks for all.
        incumbent: takes part in the choice, and wins ties.
        weights: of tasks, by name; 1 for those left out.

    Returns:
        None if nothing was chosen (no candidate is complete, or none beats the incumbent), or no task has two examples.

    Raises:
        ValueError: if the candidates' grades are not of the same examples.
    """
    import numpy as np

    there = [each for each in candidates if all(grade is not None for task in each.values() for grade in task)]
    field = there if incumbent is None else [incumbent, *there]
    if not there or max(len(grades) for grades in field[0].values()) < 2:
        return None
    weigh = [(weights or {}).get(task, 1.0) for task in field[0]]
    tables = [_table(field, task) for task in field[0]]
    scores = np.round(np.average([table.mean(axis=1) for table in tables], axis=0, weights=weigh), DECIMALS)
    winner = int(scores.argmax())
    if incumbent is not None and not winner:
        return None
    return Optimism(
        score=float(scores[winner]),
        luck=max(0.0, _fall(tables, weigh, seed=seed) / sqrt(2)),
        candidates=len(candidates),
        complete=len(there),
        kind="estimate",
    )


def at_most(
    winner: TaskGrades,
    incumbent: TaskGrades,
    *,
    candidates: int,
    score: float,
    weights: Mapping[str, float] | None = None,
) -> Optimism:
    """The most that the luck of the best of so many candidates is in about 95 of 100 rounds.

    Equally good prompts differ from each other by as much noise as the winner from the incumbent, by nothing in the
    mean, so that each has half the mean square of that difference. The winner was lucky by no more than the luckiest of
    the candidates and the incumbent was: the highest of so many draws. Where all are equally good the winner is
    that one, and the bound is passed in about 5 of 100 rounds; elsewhere, and where candidates err alike, less often
    (Z. Šidák, J. Am. Stat. Assoc. 62, 1967). The draws are Student's: the noise is known from these examples only, and
    few of them tell little of it (the tasks' degrees of freedom together, by Welch).

    Args:
        score: of the winner.
        weights: of tasks, by name; 1 for those left out.

    Raises:
        ValueError: if the grades are not of the same examples.
    """
    pairs = _answered_by_both(winner, incumbent)
    weigh = {task: (weights or {}).get(task, 1.0) for task in pairs}
    whole = fsum(weigh.values())
    parts = [
        Part(
            (weigh[task] / whole) ** 2 * fmean(difference**2 for difference in differences) / len(differences),
            max(len(differences) - 1, 1),
        )
        for task, differences in pairs.items()
    ]
    spread = reduce(combined, parts)
    highest = quantile([spread], 1 - CONFIDENCE ** (1 / (candidates + 1)))
    luck = min(highest * sqrt(spread.variance / 2), score)
    return Optimism(score=score, luck=luck, candidates=candidates, complete=candidates, kind="bound")


def of_the_best(
    first: TaskGrades, best: TaskGrades, *, tried: Mapping[str, int], weights: Mapping[str, float] | None = None
) -> float:
    """About how much the best prompt of each task has gained on these examples by having been chosen there.

    With noise as in `at_most`, the best of equally good prompts is ahead of the first by M * sqrt(V / 2) where V is the
    sum of the squared differences and M the mean of the highest of so many normal draws (G. Blom, Statistical
    Estimates and Transformed Beta-Variables, 1958), given that it is not the first one's. What a prompt really mends
    is in V, too, and what it breaks is not, so V is told by the examples that it breaks: luck mends as many, and those
    that it is ahead by. Each task chooses for itself: what luck brings adds up over tasks, to no more than there was to
    gain, which normal draws on a few examples pass.

    Args:
        tried: prompts beside the first one, by task; 0 where that was not to be changed.
        weights: of tasks, by name; 1 for those left out.

    Raises:
        ValueError: if the grades are not of the same examples.
    """
    pairs = _answered_by_both(best, first)
    weigh = {task: (weights or {}).get(task, 1.0) for task in pairs}
    lucks = {task: _mended_by_luck(differences, tried[task]) / len(differences) for task, differences in pairs.items()}
    room = {task: fmean(1 - each for each in first[task] if each is not None) for task in pairs if tried[task]}
    most, about = (fsum(weigh[task] * share for task, share in of.items()) for of in (room, lucks))
    return min(most, about) / fsum(weigh.values())


def _mended_by_luck(differences: Sequence[float], tried: int) -> float:
    """Solves x = M * sqrt((2 * broken + size * x) / 2), in grades."""
    changed = fsum(abs(each) for each in differences)
    if not tried or not changed:
        return 0.0
    size = fsum(each**2 for each in differences) / changed
    broken = fsum(each**2 for each in differences if each < 0)
    highest = NormalDist().inv_cdf((tried + 0.625) / (tried + 1.25)) * (tried + 1) / tried
    half = size * highest**2 / 4
    return half + sqrt(half**2 + highest**2 * broken)


def _answered_by_both(winner: TaskGrades, incumbent: TaskGrades) -> dict[str, list[float]]:
    """Per task that both have the differences of the examples that both answered; tasks without any are left out."""
    pairs = {}
    for task in winner:
        if task not in incumbent:
            continue
        if len(winner[task]) != len(incumbent[task]):
            raise ValueError(f"task '{task}': the grades are not of the same examples")
        both = zip(winner[task], incumbent[task], strict=True)
        differences = [new - old for new, old in both if new is not None and old is not None]
        if differences:
            pairs[task] = differences
    if not pairs:
        raise ValueError("there is no example that both have answered")
    return pairs


def _table(field: Sequence[TaskGrades], task: str) -> "NDArray[np.float64]":
    """Grades of one task, candidates by examples."""
    import numpy as np

    if any(grades.keys() != field[0].keys() or len(grades[task]) != len(field[0][task]) for grades in field):
        raise ValueError(f"task '{task}': the candidates' grades are not of the same examples")
    return np.asarray([grades[task] for grades in field], float)


def _fall(tables: "Sequence[NDArray[np.float64]]", weights: Sequence[float], *, seed: int) -> float:
    """How much lower the best on random halves of the examples scores on the other halves, in the mean."""
    import numpy as np

    rng = np.random.default_rng(seed)
    chosen_on, looked_at = [np.zeros((HALVINGS, len(tables[0]))) for _ in range(2)]
    for table, weight in zip(tables, weights, strict=True):
        half, rest = _halves(table, rng.random((HALVINGS, table.shape[1])))
        chosen_on += weight * half
        looked_at += weight * rest
    chosen = np.round(chosen_on, DECIMALS).argmax(axis=1)[:, None]
    return float(np.take_along_axis(chosen_on - looked_at, chosen, axis=1).mean() / sum(weights))


def _halves(
    table: "NDArray[np.float64]", tickets: "NDArray[np.float64]"
) -> "tuple[NDArray[np.float64], NDArray[np.float64]]":
    """The candidates' means on a random half of the examples and on the other; on all, both, where there is but one."""
    import numpy as np

    examples = table.shape[1]
    if examples == 1:
        same = np.broadcast_to(table[:, 0], (len(tickets), len(table)))
        return same, same
    # An odd example falls to either half in turn, so that neither has more of them in the mean.
    size = examples // 2 + (examples % 2) * (np.arange(len(tickets)) % 2)
    picked = (tickets.argsort(axis=1).argsort(axis=1) < size[:, None]).astype(float)
    return picked @ table.T / size[:, None], (1 - picked) @ table.T / (examples - size)[:, None]
