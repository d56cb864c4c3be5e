"""How often racing changes what a round selects, and what it saves: rounds over made-up grades, the engine's own races.

No calls and no clock: candidates are scored one after the other, the least that each way of dropping them can ask. A
round has an incumbent and candidates that agree with it on half of the examples more than chance would have it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from metaspo.bench.report import Report, Row
from metaspo.engine.evaluation.scorecard import Outcome, Scorecard, Status
from metaspo.engine.prompts import PromptPair
from metaspo.engine.selection.objective import KeepBest, Objective, ScoredPrompt
from metaspo.engine.selection.race import RaceDesign
from metaspo.engine.selection.races import Races
from metaspo.engine.tasks import Example

CANDIDATES: Final = 9
INCUMBENT, AGREEMENT = 0.6, 0.5
RATES = (0.05, 0.2)
SIZES = (200, 600)

_EXAMPLE: Final = Example("", ())
_OUTCOMES: Final = {
    grade: Outcome(example=_EXAMPLE, status=Status.SCORED, grade=float(grade)) for grade in (False, True)
}
Accuracies = Callable[[Random], Sequence[float]]
WORLDS: Final[dict[str, Accuracies]] = {
    "one better, by one row": lambda _rng: (),
    "small differences": lambda rng: [INCUMBENT + rng.gauss(0, 0.02) for _ in range(CANDIDATES)],
    "large differences": lambda rng: [INCUMBENT + rng.gauss(-0.05, 0.1) for _ in range(CANDIDATES)],
    "most are better": lambda rng: [INCUMBENT + rng.uniform(-0.05, 0.2) for _ in range(CANDIDATES)],
}


@dataclass(frozen=True, slots=True)
class Column:
    """One prompt's grades, all rows of a round as one node."""

    grades: Sequence[bool]

    def outcome(self, row: int, /) -> Outcome:
        """The outcome of a row."""
        return _OUTCOMES[self.grades[row]]

    def scored(self, number: int) -> ScoredPrompt:
        """Candidate `number` scored in full."""
        outcomes = tuple(_OUTCOMES[grade] for grade in self.grades)
        score = round(sum(self.grades) / len(self.grades), 12)
        card = Scorecard(task="", pair=PromptPair("", ""), outcomes=outcomes, score=score)
        return ScoredPrompt(prompt=str(number), value=score, cards=(card,), position=number)


@dataclass(slots=True)
class Tally:
    """Sums over rounds: rows asked by each way of dropping, and what racing did."""

    full: int = 0
    exact: int = 0
    raced: int = 0
    changed: int = 0
    dropped: int = 0


def measure_racing(*, rounds: int, sizes: Sequence[int] = SIZES) -> Report:
    """Every world with every number of rows and every rate."""
    rows = [_row(world, rows, rate, rounds) for world in WORLDS for rows in sizes for rate in RATES]
    return Report(
        scenario="racing",
        title=f"Racing, simulated: {rounds:,} rounds of {CANDIDATES} candidates each",
        rows=rows,
        notes=(
            "selection changed: rounds whose selection is not that of full scoring; the stated rate is its bound.",
            "Rows asked are shares of full scoring, candidates one after the other: exact asks the rows first that "
            "the incumbent got wrong, racing draws its order.",
            f"The incumbent is right on {INCUMBENT:.0%} of the rows.",
        ),
    )


def _row(world: str, rows: int, rate: float, rounds: int) -> Row:
    rng, tally = Random(f"{world} {rows} {rate}"), Tally()
    for seed in range(rounds):
        incumbent, candidates = _round(world, rows, rng)
        _exact(incumbent, candidates, tally)
        _raced(incumbent, candidates, tally, rate=rate, seed=seed)
    return {
        "candidates": world,
        "rows": rows,
        "stated rate": rate,
        "selection changed": tally.changed / rounds,
        "raced out a round": tally.dropped / rounds,
        "asked, exact": tally.exact / tally.full,
        "asked, exact + racing": tally.raced / tally.full,
    }


def _round(world: str, rows: int, rng: Random) -> tuple[Column, list[Column]]:
    """An incumbent and its candidates."""
    incumbent = [row < INCUMBENT * rows for row in range(rows)]
    accuracies = WORLDS[world](rng)
    if accuracies:
        return Column(incumbent), [Column(_grades(incumbent, accuracy, rng)) for accuracy in accuracies]
    better = rng.randrange(CANDIDATES)
    return Column(incumbent), [
        Column(_with_right(_grades(incumbent, INCUMBENT, rng), sum(incumbent) + (n == better), rng))
        for n in range(CANDIDATES)
    ]


def _grades(incumbent: Sequence[bool], accuracy: float, rng: Random) -> list[bool]:
    alone = (accuracy - AGREEMENT * INCUMBENT) / (1 - AGREEMENT)
    return [grade if rng.random() < AGREEMENT else rng.random() < alone for grade in incumbent]


def _with_right(grades: list[bool], right: int, rng: Random) -> list[bool]:
    """The grades with as many changed as it takes to have so many right."""
    surplus = sum(grades) - right
    changeable = [row for row, grade in enumerate(grades) if grade == (surplus > 0)]
    for row in rng.sample(changeable, abs(surplus)):
        grades[row] = not grades[row]
    return grades


def _exact(incumbent: Column, candidates: Sequence[Column], tally: Tally) -> None:
    """Rows asked with exact bounds alone."""
    order = sorted(range(len(incumbent.grades)), key=incumbent.grades.__getitem__)
    best = sum(incumbent.grades)
    for candidate in candidates:
        tally.full += len(order)
        tally.exact += _rows_until_beaten(candidate, order, best)
        best = max(best, sum(candidate.grades))


def _raced(incumbent: Column, candidates: Sequence[Column], tally: Tally, *, rate: float, seed: int) -> None:
    """Rows asked with exact bounds and races, and whether the selection is that of full scoring."""
    rows, best, selected = len(incumbent.grades), sum(incumbent.grades), 0
    design = RaceDesign(seed=seed, address="bench", sizes=(rows,), node_weights=(1.0,), rate=rate)
    races = Races(design, KeepBest(1, [incumbent.scored(0)]), objective=Objective(), exact=True)
    for number, candidate in enumerate(candidates, start=1):
        order = [row for _, row in design.order(number)]
        races.enter(number, str(number), [candidate])
        race = races.lined_up[number]
        lost_at = race.rows if race.raced_out else rows
        beaten_at = _rows_until_beaten(candidate, order, best)
        tally.raced += min(lost_at, beaten_at)
        out = lost_at < rows or beaten_at < rows
        races.ended(number, None if out else candidate.scored(number))
        if not out and sum(candidate.grades) > best:
            best, selected = sum(candidate.grades), number
    tally.dropped += len(races.raced_out())
    tally.changed += selected != _best(incumbent, candidates)


def _rows_until_beaten(candidate: Column, order: Sequence[int], best: int) -> int:
    """After how many rows even a perfect remainder would not be better than `best`."""
    spare = len(order) - best
    for asked, row in enumerate(order, start=1):
        spare -= not candidate.grades[row]
        if spare <= 0:
            return asked
    return len(order)


def _best(incumbent: Column, candidates: Sequence[Column]) -> int:
    scores = [sum(column.grades) for column in (incumbent, *candidates)]
    return scores.index(max(scores))
