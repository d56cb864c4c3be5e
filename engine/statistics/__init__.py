"""How sure a figure is: intervals, paired comparisons, the luck of the best, seeds. Pure functions over grades.

numpy and scipy are imported where they are used: no command should wait for them that shows no figures.
"""

from metaspo.engine.statistics.interval import Interval
from metaspo.engine.statistics.intervals import (
    MeanScore,
    macro_f1_interval,
    mean_interval,
    mean_score,
    score_interval,
    weighted_mean,
    wilson_interval,
)
from metaspo.engine.statistics.leave_one_out import Contribution, contributions
from metaspo.engine.statistics.optimism import Optimism, at_most, reselected
from metaspo.engine.statistics.paired import (
    Comparison,
    as_family,
    compare,
    compare_all,
    holm,
    mcnemar,
    paired_gain_interval,
    shared,
    swap_test,
)
from metaspo.engine.statistics.resampling import RESAMPLES, TaskGrades
from metaspo.engine.statistics.seeds import OverSeeds, over_seeds

__all__ = [
    "RESAMPLES",
    "Comparison",
    "Contribution",
    "Interval",
    "MeanScore",
    "Optimism",
    "OverSeeds",
    "TaskGrades",
    "as_family",
    "at_most",
    "compare",
    "compare_all",
    "contributions",
    "holm",
    "macro_f1_interval",
    "mcnemar",
    "mean_interval",
    "mean_score",
    "over_seeds",
    "paired_gain_interval",
    "reselected",
    "score_interval",
    "shared",
    "swap_test",
    "weighted_mean",
    "wilson_interval",
]
