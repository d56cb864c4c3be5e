"""How the paper's defaults, run to their end, compare with metaspo+ on a tenth of the base calls that they took."""

from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from itertools import product

from metaspo.bench.known_truth.method_run import Job, MethodRun, run_method
from metaspo.bench.known_truth.method_shapes import METHODS, REFERENCE
from metaspo.bench.known_truth.methods import WORLDS, Comparison
from metaspo.bench.known_truth.world import World
from metaspo.bench.report import Report

PAPER = "metaspo, the paper's defaults"
PART = 10
Pair = tuple[MethodRun, MethodRun]


def measure_tenth(*, seeds: int, first_seed: int, jobs: int = 1, worlds: Iterable[str] = WORLDS) -> Report:
    """Both in the same worlds, by kind and over all."""
    kinds, numbers = list(worlds), range(first_seed, first_seed + seeds)
    asked = [World(seed, **WORLDS[kind]) for kind, seed in product(kinds, numbers)]
    with ProcessPoolExecutor(jobs) as pool:
        pairs = list(pool.map(compare, asked, chunksize=2))
    by_cell = {
        (0, kind, name): [pair[which] for pair in pairs[number * seeds : (number + 1) * seeds]]
        for number, kind in enumerate(kinds)
        for which, name in enumerate((REFERENCE, PAPER))
    }
    comparison = Comparison(by_cell, kinds)
    rows = [comparison.row(0, kind, name) for kind in (*kinds, "all") for name in (REFERENCE, PAPER)]
    return Report(
        scenario="methods --tenth",
        title=f"The paper's defaults and a tenth of their calls, simulated; {seeds} seeds from {first_seed}",
        rows=[{name: figure for name, figure in row.items() if name != "calls"} for row in rows],
        notes=(
            "source: chance of being right on the source tasks, in points; unseen: on others, under induced prompts.",
            f"ahead: how far {REFERENCE} is ahead, with its 95% interval over seeds.",
            comparison.sharing,
            f"In every world {REFERENCE} may ask a tenth of what the paper's three iterations asked in it.",
        ),
    )


def compare(world: World) -> Pair:
    """metaspo+ and the paper's defaults in one world."""
    paper = run_method(Job(world=world, calls=0, changes={"iterations": 3}))
    calls = paper.base // PART
    return run_method(Job(world=world, calls=calls, changes=METHODS[REFERENCE](calls))), paper
