"""Student's distribution where a variance is the sum of two parts, one of them known from few units."""

from collections.abc import Sequence
from math import exp, fsum, log, sqrt

from metaspo.engine.statistics.crossed import Part
from metaspo.engine.statistics.interval import TAIL

CERTAIN = 1e-15  # tails below it are not told apart
HALVINGS = 45  # of the logarithms of tails, to a relative 1e-12
NOTHING = 1e-18  # a variance below it is rounding


def total(parts: Sequence[Part]) -> float:
    """The variance that the parts add up to."""
    return fsum(part.variance for part in parts)


def quantile(parts: Sequence[Part], tail: float = TAIL) -> float:
    """How many standard errors leave so much above: each part's reach by Student's law, added as standard errors are.

    That is W. G. Howe's rule (J. Am. Stat. Assoc. 69, 1974). It is seldom too small, even where a part is known from
    two seeds only, where Satterthwaite's and Cochran's are.
    """
    from scipy.special import stdtrit  # here: it takes time to import, which no other command should wait for

    whole = total(parts)
    if whole < NOTHING:
        return -float(stdtrit(max(parts[-1].freedom, 1), tail))
    reaches = (part.variance * float(stdtrit(max(part.freedom, 1), tail)) ** 2 for part in parts)
    return sqrt(fsum(reaches) / whole)


def two_sided(difference: float, parts: Sequence[Part]) -> float:
    """The p of a difference: twice the tail whose `quantile` it reaches. Below 5% where 0 is outside the interval."""
    reached = abs(difference) / sqrt(total(parts))
    if quantile(parts, CERTAIN) <= reached:
        return 2 * CERTAIN
    low, high = log(CERTAIN), log(0.5)
    for _ in range(HALVINGS):  # no root finder of scipy: it takes longer to import than all of a small run
        middle = (low + high) / 2
        low, high = (low, middle) if quantile(parts, exp(middle)) <= reached else (middle, high)
    return 2 * exp(high)


def combined(a: Part, b: Part) -> Part:
    """The variance of a difference of two independent figures (B. L. Welch, Biometrika 34, 1947)."""
    whole = a.variance + b.variance
    squares = a.variance**2 / a.freedom + b.variance**2 / b.freedom
    return Part(whole, whole**2 / squares if squares > 0 else min(a.freedom, b.freedom))
