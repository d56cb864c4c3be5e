"""What a study comes to, worked out once: the terminal, the files and the page show the same."""

from collections.abc import Sequence
from dataclasses import dataclass

from metaspo.engine.statistics import Comparison
from metaspo.engine.studies.protocol_scores import (
    ProtocolScores,
    Shares,
    improved_shares,
    protocol_scores,
    share_sentence,
)
from metaspo.engine.studies.protocol_tables import improved_cells, needed_cells, protocol_tables, transfer_tables
from metaspo.engine.studies.savings import Savings, savings, savings_sentences
from metaspo.engine.studies.scores import Summaries, comparisons, summarize_method
from metaspo.engine.studies.study import Study
from metaspo.engine.studies.table_formats import Table
from metaspo.engine.studies.tables import (
    against_table,
    difference_table,
    score_table,
    seed_table,
    source_table,
    spent_table,
    task_table,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """A study with its figures; those with intervals are slow to work out.

    Attributes:
        summaries: of each method on each of the study's parts.
        comparisons: of every method with the one that the grid names.
        protocols: the same of what was done with each method's prompts.
        claims: a sentence each on what is a protocol's own: user prompts that do better, rounds and examples saved.
    """

    study: Study
    summaries: Summaries
    comparisons: tuple[Comparison, ...]
    protocols: tuple[ProtocolScores, ...]
    tables: tuple[Table, ...]
    claims: tuple[str, ...] = ()

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
        shares, saved, name = improved_shares(study), savings(study), study.grid.against
        made = _tables(study, summaries=summaries, against=against, protocols=protocols, shares=shares, saved=saved)
        claims = [share_sentence(share, names=(method, name)) for method, share in shares.items() if share is not None]
        return cls(
            study=study,
            summaries=summaries,
            comparisons=against,
            protocols=protocols,
            tables=tuple(made),
            claims=(*claims, *savings_sentences(saved, against=name)),
        )

    @property
    def verdicts(self) -> list[str]:
        """Every comparison in a sentence, and every claim."""
        of_protocols = [f"{of.title}: {comparison.sentence}" for of in self.protocols for comparison in of.comparisons]
        return [*(comparison.sentence for comparison in self.comparisons), *of_protocols, *self.claims]


def _tables(
    study: Study,
    *,
    summaries: Summaries,
    against: Sequence[Comparison],
    protocols: Sequence[ProtocolScores],
    shares: Shares,
    saved: Savings,
) -> list[Table]:
    """Every table that the study has something for; `against` compares each method with the one that it names."""
    extras = {"generalize": improved_cells(study, shares), "adapt": needed_cells(study, saved)}
    made = [
        score_table(study, summaries),
        seed_table(study, summaries),
        task_table(study),
        difference_table(study),
        against_table(study, against),
        source_table(study),
        *(
            table
            for protocol in protocols
            if not protocol.model
            for table in protocol_tables(study, protocol, extras[protocol.name])
        ),
        *transfer_tables(study, [protocol for protocol in protocols if protocol.model]),
        spent_table(study, summaries),
    ]
    return [table for table in made if table is not None and table.rows]
