"""A bet against the claim that a candidate is at least as good as the prompts it must beat.

Rows of a fixed, finite set come in random order, without replacement. Of each, the grade of the prompts to beat is
known beforehand, and the candidate's is seen as the row comes. The claim, the null hypothesis, is that the candidate's
grades over ALL rows add up to at least those to beat. While it holds, the next row's grade is at least `need` in the
mean (what is still needed, spread over the rows that are left), and its known grade is `rest` in the mean, exactly. So

    surprise = (grade - need) - slope * (known - rest)

has a mean of at least zero given all that was seen, whatever `slope` was chosen from it, and capital that is
multiplied by `1 - stake * surprise` does not grow in the mean: a nonnegative supermartingale that starts at 1. By
Ville's inequality it ever reaches 1 / rate with a probability of at most `rate`; who then gives the claim up errs no
more often, however often he looks.

Source: I. Waudby-Smith and A. Ramdas, Estimating means of bounded random variables by betting, J. R. Stat. Soc. B 86
(2024): the capital process without replacement (section 5), stakes by predictable plug-in (section 3). Ours: the known
grades as a control. With a slope of 1 the bet is on paired differences; the slope that is fitted as rows come leaves
less noise whenever the two agree less than fully.
"""

import math
from collections.abc import Sequence

SLACK = 1e-9  # taken off what is needed: scores that are floats, and rounded, are compared elsewhere
BOLD = 0.75  # of the capital that one row can cost at most
HORIZON = 0.2  # the share of the rows that stakes are tuned to: differences that show by then show soonest
PRIOR_ROWS, PRIOR_SLOPE, MIN_VARIANCE = 8, 0.6, 0.05


class Wager:
    """Capital that grows as rows speak against the claim, which is given up at 1 / rate.

    Args:
        known: the grades to beat of all rows, 0 to 1 (scaled by a row's weight, if weights differ), in any order.
        rate: how often at most a true claim may be given up.
    """

    def __init__(self, incumbent: Sequence[float], *, rate: float) -> None:
        rows = len(incumbent)
        self.capital = 1.0
        self._left = rows
        self._incumbent_left = math.fsum(incumbent)
        self._needed = self._incumbent_left - SLACK
        self._mean = self._incumbent_left / rows
        self._variance = math.fsum((grade - self._mean) ** 2 for grade in incumbent) / rows
        self._scale = 2 * math.log(1 / rate) / (HORIZON * rows)
        self._seen = 0
        self._grades = self._incumbents = self._products = self._squares = 0.0
        self._noise = PRIOR_ROWS * max(self._variance, MIN_VARIANCE)

    def take(self, grade: float, incumbent: float) -> None:
        """The next row: the candidate's grade and the known one, both scaled by the row's weight."""
        need = max(self._needed / self._left, 0.0)
        rest = self._incumbent_left / self._left
        slope = self._slope()
        if need < 1:  # else the claim is false for certain, which exact bounds say as well
            stake = self._stake(worst=1 - need + slope * rest)
            self.capital *= 1 - stake * (grade - need - slope * (incumbent - rest))
        self._learn(grade, incumbent, slope)
        self._left -= 1
        self._needed -= grade
        self._incumbent_left -= incumbent

    def _slope(self) -> float:
        """How much of a known grade shows in the candidate's, as fitted so far; 0 to 1."""
        if not self._variance:
            return 0.0
        seen = max(self._seen, 1)
        together = self._products - self._grades * self._incumbents / seen
        alone = self._squares - self._incumbents * self._incumbents / seen
        prior = PRIOR_ROWS * self._variance
        return min(max((together + PRIOR_SLOPE * prior) / (alone + prior), 0.0), 1.0)

    def _stake(self, *, worst: float) -> float:
        """What suits the noise so far; never so much that the largest surprise there can be takes all."""
        variance = self._noise / (self._seen + PRIOR_ROWS)
        return min(math.sqrt(self._scale / variance), BOLD / worst)

    def _learn(self, grade: float, incumbent: float, slope: float) -> None:
        weight = self._seen + PRIOR_ROWS
        middle = (self._grades + PRIOR_ROWS * self._mean) / weight
        incumbent_middle = (self._incumbents + PRIOR_ROWS * self._mean) / weight
        self._noise += (grade - middle - slope * (incumbent - incumbent_middle)) ** 2
        self._seen += 1
        self._grades += grade
        self._incumbents += incumbent
        self._products += grade * incumbent
        self._squares += incumbent * incumbent
