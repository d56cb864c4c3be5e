"""How far two who grade the same answers agree, beyond what chance would have them agree."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

from metaspo.engine.statistics.interval import TAIL, Interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DRAWS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Two graders on the same answers.

    Attributes:
        same: the share of answers with equal grades, or nearer than half a step of the scale.
        kappa: Cohen's, weighted by squared distance; of two grades Cohen's own. 1 is full agreement, 0 what chance
            would give. None where both give one and the same grade to all, which says nothing.
        interval: 95%, with other answers of this kind; None where `kappa` is, and where one of the two gives all the
            same grade: `kappa` is 0 then, whichever answers are drawn.
    """

    answers: int
    same: float
    kappa: float | None
    interval: Interval | None


def agreement(pairs: Sequence[tuple[float, float]], *, step: float = 0.0) -> Agreement:
    """Of the grades (0 to 1) of each answer: weighted kappa (J. Cohen, Psychological Bulletin 70, 1968), its interval
    by the bootstrap over answers.

    `step` of the scale is for grades that are means of several, which mostly lie between two of it.
    Where no two grades differ no draw would either; the interval is then what as many answers that all agree leave
    open, as Wilson's does for a share. Raises `ValueError` where there is no answer.
    """
    import numpy as np

    if not pairs:
        raise ValueError("an agreement needs at least one answer")
    table = np.asarray(pairs, dtype=float)
    apart = np.abs(table[:, 0] - table[:, 1])
    same, answers = float(np.mean((apart == 0) | (2 * apart < step - 1e-9))), len(pairs)
    kappa = float(_kappa(table, np.ones((1, answers)))[0])
    if np.isnan(kappa):
        return Agreement(answers=answers, same=same, kappa=None, interval=None)
    if np.any(np.ptp(table, axis=0) == 0):
        return Agreement(answers=answers, same=same, kappa=0.0, interval=None)
    if not apart.any():
        doubt = NormalDist().inv_cdf(1 - TAIL) ** 2
        opposed = np.concatenate([table, [[0.0, 1.0], [1.0, 0.0]]])
        least = float(_kappa(opposed, np.asarray([[1.0] * answers + [doubt / 2] * 2]))[0])
        return Agreement(answers=answers, same=same, kappa=kappa, interval=Interval(least, 1.0))
    drawn = np.random.default_rng(0).multinomial(answers, [1 / answers] * answers, size=DRAWS).astype(float)
    low, high = np.nanquantile(_kappa(table, drawn), [TAIL, 1 - TAIL])
    return Agreement(answers=answers, same=same, kappa=kappa, interval=Interval(float(low), float(high)))


def _kappa(table: "NDArray[np.float64]", times: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """By draw, each of which holds an answer so many times; nan where all grades of a draw are one."""
    import numpy as np

    first, second = table.T
    whole = times.sum(axis=1)
    mean_first, mean_second = times @ first / whole, times @ second / whole
    apart = times @ (first - second) ** 2 / whole
    by_chance = times @ first**2 / whole + times @ second**2 / whole - 2 * mean_first * mean_second
    by_chance = np.where(by_chance > 1e-12, by_chance, np.nan)
    kappa: NDArray[np.float64] = 1 - apart / by_chance
    return kappa
