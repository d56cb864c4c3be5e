"""How sure a figure is: intervals, paired comparisons, the luck of the best, seeds. Pure functions over grades.

numpy and scipy are imported where they are used: no command should wait for them that shows no figures.
"""

from metaspo.engine.statistics.agreement import Agreement as Agreement
from metaspo.engine.statistics.agreement import agreement as agreement
from metaspo.engine.statistics.grades import Grade as Grade
from metaspo.engine.statistics.grades import Labels as Labels
from metaspo.engine.statistics.grades import SplitGrades as SplitGrades
from metaspo.engine.statistics.grades import TaskGrades as TaskGrades
from metaspo.engine.statistics.interval import TAIL as TAIL
from metaspo.engine.statistics.interval import Interval as Interval
from metaspo.engine.statistics.optimism import Optimism as Optimism
from metaspo.engine.statistics.optimism import at_most as at_most
from metaspo.engine.statistics.optimism import reselected as reselected
from metaspo.engine.statistics.paired import Comparison as Comparison
from metaspo.engine.statistics.paired import as_family as as_family
from metaspo.engine.statistics.paired import compare as compare
from metaspo.engine.statistics.paired import holm as holm
from metaspo.engine.statistics.paired import shared as shared
from metaspo.engine.statistics.scores import MeanScore as MeanScore
from metaspo.engine.statistics.scores import mean_score as mean_score
from metaspo.engine.statistics.scores import score_interval as score_interval
from metaspo.engine.statistics.scores import weighted_mean as weighted_mean
from metaspo.engine.statistics.scores import wilson_interval as wilson_interval
from metaspo.engine.statistics.seeds import OverSeeds as OverSeeds
from metaspo.engine.statistics.seeds import over_seeds as over_seeds
