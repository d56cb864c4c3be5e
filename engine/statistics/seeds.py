"""Several seeds of one run: the mean of their figures, and how sure it is.

Answers of several seeds to the same questions must not be pooled as if they were independent: they are not so many
examples more. What other seeds would give is told by how far the seeds' figures lie apart, and by nothing else.
"""

from collections.abc import Iterable
from statistics import fmean, stdev
from typing import NamedTuple

from metaspo.engine.statistics.crossed import Part
from metaspo.engine.statistics.interval import Interval
from metaspo.engine.statistics.student import quantile


class OverSeeds(NamedTuple):
    """A figure (a score, a gain) of several seeds.

    Attributes:
        interval: 95%, of the mean over all seeds there could be (Student's t); None for one seed. Very wide for two.
    """

    mean: float
    interval: Interval | None


def over_seeds(figures: Iterable[float]) -> OverSeeds:
    """The mean of each seed's figure. Raises `ValueError` if there is none."""
    values = list(figures)
    if not values:
        raise ValueError("there must be at least one seed")
    mean = fmean(values)
    if len(values) == 1:
        return OverSeeds(mean, None)
    reach = quantile([Part(1.0, len(values) - 1)]) * stdev(values) / len(values) ** 0.5
    return OverSeeds(mean, Interval(mean - reach, mean + reach))
