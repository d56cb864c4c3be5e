"""The tables of what is done with the prompts that methods found: generalizing, adapting, transferring."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf

from metaspo.engine.statistics import MeanScore
from metaspo.engine.studies.protocol_scores import ProtocolScores, Shares, adaptation
from metaspo.engine.studies.savings import Needed, Savings
from metaspo.engine.studies.study import Study
from metaspo.engine.studies.table_formats import Table, Value
from metaspo.engine.studies.tables import against_table, intervals, percent, span

Own = tuple[tuple[str, ...], Mapping[str, tuple[Value, ...]], str]  # columns, each method's cells, a note


def protocol_tables(study: Study, protocol: ProtocolScores, extras: Own) -> list[Table]:
    """A protocol's scores with what is its own, and its comparisons."""
    columns, cells, note = extras
    score = "mean score" if protocol.name == "generalize" else "score"
    scores = Table(
        name=protocol.name,
        title=f"{protocol.title}, %",
        columns=("method", score, *intervals(study), *columns),
        rows=tuple(
            (method, *_score(protocol.scores.get(method)), *cells.get(method, (None,) * len(columns)))
            for method in study.methods
        ),
        note=note,
    )
    return [scores, against_table(study, protocol.comparisons, name=f"{protocol.name}-against", title=protocol.title)]


def transfer_tables(study: Study, models: Sequence[ProtocolScores]) -> list[Table]:
    """Every method with every other model, side by side; and its comparisons with each."""
    about = intervals(study)
    scores = Table(
        name="transfer",
        title="With other models, %",
        columns=(
            "method",
            *(head for to in models for head in (to.model, *(f"{to.model}: {interval}" for interval in about))),
        ),
        rows=tuple(
            (method, *(cell for to in models for cell in _score(to.scores.get(method)))) for method in study.methods
        )
        if models
        else (),
    )
    against = [against_table(study, to.comparisons, title="With other models") for to in models]
    rows = tuple((to.model, *row) for to, table in zip(models, against, strict=True) for row in table.rows)
    if not rows:
        return [scores]
    return [scores, replace(against[0], name="transfer-against", columns=("model", *against[0].columns), rows=rows)]


def _score(score: MeanScore | None) -> tuple[Value, Value, Value]:
    if score is None:
        return None, None, None
    return percent(score.score), span(score.over_examples), span(score.over_tasks)


def improved_cells(study: Study, shares: Shares) -> Own:
    """Of generalizing: how many user prompts do better with each method."""
    columns = (f"user prompts better than with {study.grid.against}", "of them 95%, other tasks")
    cells = {method: _score(share)[::2] for method, share in shares.items()}
    return columns, cells, "A user prompt that ties counts half: 50% of them do better by luck alone."


def needed_cells(study: Study, saved: Savings) -> Own:
    """Of adapting: how many rounds and examples each method needs."""
    curves = {method: adaptation(study, method) for method in study.methods}
    columns = ("at the start", "rounds needed", "of the rounds", "train examples needed", "of the examples")
    cells: dict[str, tuple[Value, ...]] = {}
    for method, sizes in curves.items():
        rounds, examples = saved.get(method, (None, None))
        cells[method] = (
            percent(sizes[max(sizes)][0]) if sizes else None,
            *_counted(rounds),
            *_counted(examples),
        )
    goals = curves.get(study.grid.against) or {}
    goal = f" ({100 * goals[max(goals)][-1]:.1f}%)" if goals else ""
    note = f"Needed to reach what {study.grid.against} has at its end{goal}, with 95% in brackets; – where it does not."
    return columns, cells, note


def _counted(need: Needed | None) -> tuple[Value, Value]:
    return (None, None) if need is None else (None if need.count == inf else int(need.count), need.words)
