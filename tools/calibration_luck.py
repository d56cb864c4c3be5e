"""The luck of the best of several: what it is, what it is thought to be, and how often it passes its bound."""

import numpy as np

from metaspo.engine.statistics import TaskGrades, at_most, reselected

EXAMPLES = 50
MORE = 20  # times as many rounds for how often the bound is passed: it takes no halvings
ROUNDS = ((9, 1, 0.0), (9, 1, 0.03), (9, 1, 0.1), (9, 5, 0.0), (9, 5, 0.03), (9, 5, 0.1), (1, 5, 0.0))


def luck_table(repetitions: int, *, quick: bool) -> list[str]:
    """By candidates, tasks, and how far the candidates' true scores lie apart."""
    lines = [
        "**The luck of the best**, points: mean ± standard deviation; % of rounds above the bound.",
        "",
        "| candidates | tasks | true scores differ by (sd) | true luck | chosen again | bound | above it |",
        "|---|---|---|---|---|---|---|",
    ]
    for candidates, tasks, spread in ROUNDS[3:4] if quick else ROUNDS:
        rng = np.random.default_rng([candidates, tasks, round(100 * spread)])
        rounds = [
            draws
            for number in range(repetitions * (1 if quick else MORE))
            if (draws := _round(rng, candidates, tasks, spread, halved=number < repetitions))
        ]
        true, again, bound = np.transpose(rounds)
        again = again[~np.isnan(again)]
        figures = " | ".join(f"{100 * draws.mean():.1f}±{100 * draws.std():.1f}" for draws in (true, again, bound))
        above = 100 * float((true > bound).mean())
        lines.append(f"| {candidates} | {tasks} | {100 * spread:.0f} | {figures} | {above:.1f} |")
    return lines


def _round(
    rng: np.random.Generator, candidates: int, tasks: int, spread: float, *, halved: bool
) -> tuple[float, float, float] | None:
    """True luck, estimate (of one that is `halved`) and bound; None where the incumbent stays."""
    hard = rng.uniform(0.2, 0.8, size=(1, tasks, EXAMPLES))
    chances = np.clip(hard + spread * rng.standard_normal((candidates + 1, 1, 1)), 0, 1)
    grades = (rng.random(chances.shape) < chances).astype(float)
    scores = grades.mean(axis=(1, 2))
    winner = int(scores.argmax())
    if not winner:
        return None
    field: list[TaskGrades] = [{str(task): row.tolist() for task, row in enumerate(rows)} for rows in grades]
    again = reselected(field[1:], incumbent=field[0]) if halved else None
    bound = at_most(field[winner], field[0], candidates=candidates, score=float(scores[winner]))
    estimate = again.luck if again else 0.0
    return float(scores[winner] - chances[winner].mean()), estimate if halved else np.nan, bound.luck
