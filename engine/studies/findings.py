"""What a study comes to, worked out once: the terminal, the files and the page show the same."""

from dataclasses import dataclass

from metaspo.engine.statistics import Comparison
from metaspo.engine.studies.protocol_scores import ProtocolScores, protocol_scores
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
        protocols: the same of what was done with each method's prompts.
    """

    study: Study
    summaries: Summaries
    comparisons: tuple[Comparison, ...]
    protocols: tuple[ProtocolScores, ...]
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
        protocols = tuple(protocol_scores(study))
        made = tables(study, summaries=summaries, against=against, protocols=protocols)
        return cls(study=study, summaries=summaries, comparisons=against, protocols=protocols, tables=tuple(made))

    @property
    def verdicts(self) -> list[str]:
        """Every comparison in a sentence."""
        of_protocols = [f"{of.title}: {comparison.sentence}" for of in self.protocols for comparison in of.comparisons]
        return [*(comparison.sentence for comparison in self.comparisons), *of_protocols]
