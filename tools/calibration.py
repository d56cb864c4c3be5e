"""Whether intervals and verdicts are as sure as they say: tables of docs/statistics.md and docs/calibration.md.

    python tools/calibration.py             the record, nine minutes of CPU
    python tools/calibration.py --quick     a rough look, under a minute

Methods whose truth is known answer tasks; how often does the 95% interval hold the truth, how often are two equal
methods called different, how often is a real difference seen? Every cell is many thousand comparisons, so it works all
of them out at once (`calibration_figures`), and checks that metaspo says the same of the first few, to the last digit.
"""

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from calibration_figures import (
    HIGH,
    LOW,
    Bounds,
    covered,
    gain_bounds,
    lowest_to_highest,
    marked,
    measured_again,
    same_as_engine,
    score_bounds,
)
from calibration_luck import luck_table
from calibration_macro_f1 import macro_f1_table
from calibration_protocols import protocol_outside, protocol_results, protocol_table
from calibration_world import Cell, draw

from metaspo.backends.counted import counted

SIZES = ((2, 20), (2, 100), (3, 50), (3, 500), (5, 50), (7, 40), (14, 20), (14, 100))
SHARES = (0.02, 0.1, 0.5, 0.98)
SEEDS = (1, 2, 3, 5)
SPREADS = (0.0, 0.02, 0.05, 0.1)
CHECKED = 2
FIGURES = ("score, other examples", "score, other tasks", "gain, other examples", "gain, other tasks")


@dataclass(frozen=True, slots=True)
class Result:
    """What a cell comes to, in percent.

    Attributes:
        covers: by figure how often the interval holds the truth.
        alarms: how often two equal methods are called different; the same against a fixed prompt.
        power: how often 5 and 10 points of difference are seen.
    """

    cell: Cell
    covers: dict[str, float]
    alarms: tuple[float, float]
    power: tuple[float, float]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few cells of 300 repetitions")
    parser.add_argument("--repetitions", type=int, help="of each cell (1,000)")
    given = parser.parse_args()
    repetitions = given.repetitions or (300 if given.quick else 1_000)
    results = [measure(cell, repetitions) for cell in cells(quick=given.quick)]
    print(f"{len(results)} cells, {repetitions:,} repetitions each\n")
    for lines in (coverage_table(results), alarm_table(results), power_table(results)):
        print("\n".join(lines), end="\n\n")
    print("\n".join(macro_f1_table(repetitions, quick=given.quick)), end="\n\n")
    protocols = protocol_results(repetitions, quick=given.quick)
    print("\n".join(protocol_table(protocols)), end="\n\n")
    print("\n".join(luck_table(repetitions, quick=given.quick)), end="\n\n")
    print("\n".join([*outside(results), *protocol_outside(protocols)]))


def cells(*, quick: bool) -> Iterator[Cell]:
    """Every combination; of one seed nothing is known but this seed, so that its spread is none."""
    sizes, shares = (((2, 20), (5, 50)), (0.02, 0.5)) if quick else (SIZES, SHARES)
    for seeds, (tasks, examples), share in product((1, 3) if quick else SEEDS, sizes, shares):
        for spread in SPREADS[:1] if seeds == 1 else SPREADS:
            yield Cell(tasks=tasks, examples=examples, share=share, seeds=seeds, spread=spread)


def measure(cell: Cell, repetitions: int) -> Result:
    """Draw the cell's worlds: one where methods differ from task to task, one where they are equal, two that differ."""
    rng = np.random.default_rng(
        [cell.tasks, cell.examples, round(100 * cell.share), cell.seeds, round(1e3 * cell.spread)]
    )
    toward = 1 if cell.share < 0.75 else -1
    varied = draw(rng, replace(cell, gain=0.05 * toward, gain_spread=0.05), repetitions)
    same_as_engine(varied, CHECKED)
    scores, gains = score_bounds(varied.grades[:, 0]), gain_bounds(varied.grades)
    covers = (
        covered(scores.examples, varied.on_tasks[:, 0]),
        covered(scores.tasks, varied.everywhere[0]),
        covered(gains.examples, varied.on_tasks[:, 0] - varied.on_tasks[:, 1]),
        covered(gains.tasks, varied.everywhere[0] - varied.everywhere[1]),
    )
    return Result(
        cell=cell,
        covers=dict(zip(FIGURES, covers, strict=True)),
        alarms=(alarm(rng, cell, 2 * repetitions), alarm(rng, replace(cell, fixed=True), 2 * repetitions)),
        power=(
            told(rng, replace(cell, gain=0.05 * toward), repetitions),
            told(rng, replace(cell, gain=0.1 * toward), repetitions),
        ),
    )


def told(rng: np.random.Generator, cell: Cell, repetitions: int) -> float:
    """How often the two methods are called different, in percent."""
    bounds: Bounds = gain_bounds(draw(rng, cell, repetitions).grades).examples
    return 100 * float(((bounds[0] > 0) | (bounds[1] < 0)).mean())


def alarm(rng: np.random.Generator, cell: Cell, repetitions: int) -> float:
    """How often equal methods are."""
    return measured_again(lambda rng, many: told(rng, cell, many), rng, repetitions)


def coverage_table(results: Sequence[Result]) -> list[str]:
    """By seeds and by size, over everything else."""
    groups: dict[str, list[Result]] = {}
    for each in results:
        groups.setdefault(counted(each.cell.seeds, "seed"), []).append(each)
    for each in results:
        groups.setdefault("{}×{}".format(*each.cell.size), []).append(each)
    return [
        "**Coverage of 95% intervals**, %: lowest–highest, by seeds and by tasks × examples.",
        "",
        f"| | {' | '.join(FIGURES)} |",
        "|---" * (len(FIGURES) + 1) + "|",
        *(
            f"| {name} | "
            + " | ".join(lowest_to_highest(each.covers[figure] for each in there) for figure in FIGURES)
            + " |"
            for name, there in groups.items()
        ),
    ]


def alarm_table(results: Sequence[Result]) -> list[str]:
    """By seeds and spread, over sizes and shares."""
    return [
        "**Two equal methods called different**, %: mean, and the highest cell.",
        "",
        "| seeds | spread, points | two that search | one that searches, one fixed |",
        "|---|---|---|---|",
        *(
            f"| {seeds} | {100 * spread:.0f} | {_mean(each.alarms[0] for each in there)} | "
            f"{_mean(each.alarms[1] for each in there)} |"
            for (seeds, spread), there in _groups(results).items()
        ),
    ]


def power_table(results: Sequence[Result]) -> list[str]:
    """By seeds and spread, at a share of 50%."""
    sizes = list(dict.fromkeys(each.cell.size for each in results))
    lines = [
        "**A true difference seen**, %: of 5 points/of 10 points, at a share of 50% (tasks × examples).",
        "",
        "| seeds | spread, points | " + " | ".join(f"{tasks}×{examples}" for tasks, examples in sizes) + " |",
        "|---" * (len(sizes) + 2) + "|",
    ]
    for (seeds, spread), there in _groups(results).items():
        powers = {each.cell.size: each.power for each in there if each.cell.share == 0.5}
        row = " | ".join(f"{powers[size][0]:.0f}/{powers[size][1]:.0f}" for size in sizes)
        lines.append(f"| {seeds} | {100 * spread:.0f} | {row} |")
    return lines


def outside(results: Sequence[Result]) -> list[str]:
    """By figure, the cells whose coverage is not 93 to 97%; what is below stands in bold."""
    lines = []
    for figure in FIGURES:
        sides = Counter((each.covers[figure] > HIGH) - (each.covers[figure] < LOW) for each in results)
        seeds = sorted({each.cell.seeds for each in results})
        lines += ["", f"**{figure[0].upper()}{figure[1:]}**: cells below: {sides[-1]}, above: {sides[1]}", ""]
        lines += ["| cell | " + " | ".join(counted(n, "seed") for n in seeds) + " |", "|---" * (len(seeds) + 1) + "|"]
        for size, share in dict.fromkeys((each.cell.size, each.cell.share) for each in results):
            there = [each for each in results if (each.cell.size, each.cell.share) == (size, share)]
            row = ["/".join(marked(each.covers[figure]) for each in there if each.cell.seeds == n) for n in seeds]
            lines.append(f"| {size[0]}×{size[1]}, {share:g} | " + " | ".join(row) + " |")
    return lines


def _groups(results: Sequence[Result]) -> dict[tuple[int, float], list[Result]]:
    groups: dict[tuple[int, float], list[Result]] = {}
    for each in results:
        groups.setdefault((each.cell.seeds, each.cell.spread), []).append(each)
    return groups


def _mean(figures: Iterable[float]) -> str:
    all_of_them = list(figures)
    return f"{sum(all_of_them) / len(all_of_them):.1f} ({max(all_of_them):.1f})"


if __name__ == "__main__":
    main()
