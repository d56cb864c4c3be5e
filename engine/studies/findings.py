"""What a study comes to, worked out once: the terminal, the files and the page show the same."""

from dataclasses import dataclass

from metaspo.engine.statistics import Comparison
from metaspo.engine.studies.scores import Summaries, comparisons, summarize_method
from metaspo.engine.studies.study import Study
from metaspo.engine.studies.table_formats import Table
from metaspo.engine.studies.tables import tables


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """A study with its figures; those with intervals are slow to work out.

    Attributes:
        summaries: of each method on each of the study's parts.
        comparisons: of every method with the one that the grid names.
    """

    study: Study
    summaries: Summaries
    comparisons: tuple[Comparison, ...]
    tables: tuple[Table, ...]

    @classmethod
    def of(cls, study: Study) -> "Findings":
        """Work everything out."""
        summaries = {
            (method, part): summarize_method(study, method, part or None)
            for method in study.methods
            for part in study.parts
        }
        against = comparisons(study)
        made = tables(study, summaries=summaries, against=against)
        return cls(study=study, summaries=summaries, comparisons=against, tables=tuple(made))
