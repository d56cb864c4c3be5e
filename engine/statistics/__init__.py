"""How sure a figure is: intervals, paired comparisons, the luck of the best, seeds. Pure functions over grades.

numpy and scipy are imported where they are used: no command should wait for them that shows no figures.
"""

from typing import TYPE_CHECKING

from metaspo.backends.late_exports import late_exports

if TYPE_CHECKING:
    from metaspo.engine.statistics.grades import Grade, Labels, SplitGrades, TaskGrades
    from metaspo.engine.statistics.interval import Interval
    from metaspo.engine.statistics.optimism import Optimism, at_most, of_the_best, reselected
    from metaspo.engine.statistics.paired import Comparison, as_family, compare, holm, shared
    from metaspo.engine.statistics.scores import MeanScore, mean_score, score_interval, weighted_mean, wilson_interval
    from metaspo.engine.statistics.seeds import OverSeeds, over_seeds
else:
    __getattr__, __dir__ = late_exports(__name__)

__all__ = [
    "Comparison",
    "Grade",
    "Interval",
    "Labels",
    "MeanScore",
    "Optimism",
    "OverSeeds",
    "SplitGrades",
    "TaskGrades",
    "as_family",
    "at_most",
    "compare",
    "holm",
    "mean_score",
    "of_the_best",
    "over_seeds",
    "reselected",
    "score_interval",
    "shared",
    "weighted_mean",
    "wilson_interval",
]
