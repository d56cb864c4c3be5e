"""What an interval is."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CONFIDENCE = 0.95
TAIL = (1 - CONFIDENCE) / 2


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95% confidence interval, in the unit of the scores."""

    low: float
    high: float


def percentile_interval(draws: "NDArray[np.float64]") -> Interval:
    """The middle 95% of resampled figures (percentile bootstrap: Efron and Tibshirani 1993, chapter 13)."""
    import numpy as np

    low, high = np.quantile(draws, [TAIL, 1 - TAIL])
    return Interval(float(low), float(high))
