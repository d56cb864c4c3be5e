"""Several seeds of one run: each seed's figure by itself, their mean and spread.

Answers of several seeds to the same questions must not be pooled as if they were independent: they are not so many
examples more. What other seeds would give is told by how far the seeds' figures lie apart, and by nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, stdev

from metaspo.engine.statistics.crossed import Part
from metaspo.engine.statistics.interval import Interval
from metaspo.engine.statistics.student import quantile


@dataclass(frozen=True, slots=True, kw_only=True)
class OverSeeds:
    """A figure (a score, a gain) of several seeds.

    Attributes:
        figures: (seed, figure), in the order given.
        mean: the plain mean.
        deviation: the standard deviation from seed to seed; None for one seed.
        interval: 95%, of the mean over all seeds there could be (Student's t); None for one seed. Very wide for two.
    """

    figures: tuple[tuple[int, float], ...]
    mean: float
    deviation: float | None
    interval: Interval | None

    @property
    def lowest(self) -> float:
        """The lowest seed's figure."""
        return min(figure for _, figure in self.figures)

    @property
    def highest(self) -> float:
        """The highest seed's figure."""
        return max(figure for _, figure in self.figures)

    @property
    def sentence(self) -> str:
        """What it comes to, for people, in percent."""
        mean = f"{100 * self.mean:.1f}"
        if self.deviation is None or self.interval is None:
            return f"{mean}; one seed only, so nothing is known of others"
        return (
            f"{mean} over {len(self.figures)} seeds, {100 * self.lowest:.1f} to {100 * self.highest:.1f} (standard "
            f"deviation {100 * self.deviation:.1f}; 95% interval of the mean {100 * self.interval.low:.1f} to "
            f"{100 * self.interval.high:.1f})"
        )


def over_seeds(figures: Mapping[int, float]) -> OverSeeds:
    """Mean and spread of a figure by seed. Raises `ValueError` if there is none."""
    if not figures:
        raise ValueError("there must be at least one seed")
    values = list(figures.values())
    mean = fmean(values)
    deviation = stdev(values) if len(values) > 1 else None
    interval = None
    if deviation is not None:
        reach = quantile([Part(1.0, len(values) - 1)]) * deviation / len(values) ** 0.5
        interval = Interval(mean - reach, mean + reach)
    return OverSeeds(figures=tuple(figures.items()), mean=mean, deviation=deviation, interval=interval)
