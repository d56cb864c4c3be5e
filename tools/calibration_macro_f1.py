"""Macro-F1: how often its intervals hold the truth, and two equal methods are called different."""

import numpy as np
from calibration_figures import AGAIN, MOST, Floats
from numpy.typing import NDArray

from metaspo.engine.statistics import SplitGrades, compare, mean_score

LABELS = ((0.5, 0.5), (0.9, 0.1), (0.6, 0.3, 0.1), (0.5, 0.3, 0.1, 0.07, 0.03))
RIGHT = (0.5, 0.8, 0.95)
EXAMPLES = (20, 50, 100, 500)


def macro_f1_table(repetitions: int, *, quick: bool) -> list[str]:
    """One task; the second method is right as often as the first, or 5 points less."""
    sizes = EXAMPLES[1:3] if quick else EXAMPLES
    lines = [
        "**Macro-F1 of one task**, %: coverage of the score/of a gain of about 5 points/two equal methods called "
        "different.",
        "",
        "| labels | right | " + " | ".join(f"{examples} examples" for examples in sizes) + " |",
        "|---" * (len(sizes) + 2) + "|",
    ]
    for labels in LABELS[1:3] if quick else LABELS:
        for right in RIGHT[1:2] if quick else RIGHT:
            row = [_measure(labels, right, examples, repetitions) for examples in sizes]
            cells = " | ".join("/".join(f"{figure:.1f}" for figure in three) for three in row)
            lines.append(f"| {'/'.join(f'{100 * share:.0f}' for share in labels)}% | {right:g} | {cells} |")
    return lines


def _measure(labels: tuple[float, ...], right: float, examples: int, repetitions: int) -> tuple[float, float, float]:
    rng = np.random.default_rng([len(labels), round(100 * right), examples])
    first, less = (_macro_f1(labels, share) for share in (right, right - 0.05))
    scores = gains = alarms = 0
    for _ in range(repetitions):
        a, b, c = _methods(rng, labels, (right, right - 0.05, right), examples)
        interval = mean_score([a]).over_examples
        scores += interval.low <= first <= interval.high
        interval = compare([a], [b]).interval
        gains += interval.low <= first - less <= interval.high
        alarms += compare([a], [c]).p < 0.05

    def told(rng: np.random.Generator, many: int) -> float:
        pairs = (_methods(rng, labels, (right, right), examples) for _ in range(many))
        return 100 * sum(compare([a], [b]).p < 0.05 for a, b in pairs) / many

    told_so_often = 100 * alarms / repetitions
    if told_so_often > MOST:
        told_so_often = told(rng, AGAIN * repetitions)
    return 100 * scores / repetitions, 100 * gains / repetitions, told_so_often


def _methods(
    rng: np.random.Generator, labels: tuple[float, ...], rights: tuple[float, ...], examples: int
) -> list[SplitGrades]:
    gold, luck = rng.choice(len(labels), size=examples, p=labels), rng.random(examples)
    return [_answers(rng, gold, right, luck, len(labels)) for right in rights]


def _answers(rng: np.random.Generator, gold: NDArray[np.int64], right: float, luck: Floats, labels: int) -> SplitGrades:
    """Right if the example's luck, shared with the other method half of the time, lies below."""
    draws = np.where(rng.random(len(gold)) < 0.5, luck, rng.random(len(gold)))
    wrong = (gold + rng.integers(1, labels, size=len(gold))) % labels
    given = np.where(draws < right, gold, wrong)
    return SplitGrades(
        task="t",
        grades=[(str(a), str(b)) for a, b in zip(gold, given, strict=True)],
    )


def _macro_f1(labels: tuple[float, ...], right: float) -> float:
    wrong = (1 - right) / (len(labels) - 1)
    shares = [right * share + wrong * (1 - share) for share in labels]
    return float(
        np.mean([2 * right * share / (share + given_share) for share, given_share in zip(labels, shares, strict=True)])
    )
