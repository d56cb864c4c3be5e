"""What an interval is."""

from dataclasses import dataclass
from math import sqrt

CONFIDENCE = 0.95
TAIL = (1 - CONFIDENCE) / 2


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95% confidence interval, in the unit of the scores."""

    low: float
    high: float

    def wider(self, by: "Interval") -> "Interval":
        """The least interval that holds both."""
        return Interval(min(self.low, by.low), max(self.high, by.high))


def wilson(score: float, variance: float, examples: float, quantile: float) -> Interval:
    """Wilson's score interval (E. B. Wilson, J. Am. Stat. Assoc. 22, 1927) for a mean of grades between 0 and 1.

    For a share of right answers, whose variance is score (1 - score) / examples, it is Wilson's own. In general the
    squared width of a doubt of one example stands beside the variance: no interval is a point, or leaves 0 to 1.

    Args:
        variance: of the score.
        examples: how many of them tell of the score; fewer where the variance is that of fewer.
        quantile: of the normal or Student's distribution.
    """
    if variance > 0:
        examples = max(min(examples, score * (1 - score) / variance), 1)
    spread = quantile**2 / examples
    middle = (score + spread / 2) / (1 + spread)
    reach = quantile * sqrt(variance + spread / (4 * examples)) / (1 + spread)
    return Interval(max(middle - reach, 0.0) if score > 0 else 0.0, min(middle + reach, 1.0) if score < 1 else 1.0)
