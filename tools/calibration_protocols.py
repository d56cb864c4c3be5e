"""Generalizing and adapting: whether the share of better user prompts, and what is saved, are as sure as they say."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import inf

import numpy as np
from calibration_figures import (
    MOST,
    Bounds,
    Floats,
    covered,
    gain_bounds,
    lowest_to_highest,
    marked,
    measured_again,
    share_bounds,
)
from calibration_world import ALIKE, CHUNK, PER_POINT, Cell
from numpy.typing import NDArray
from scipy.stats import norm

from metaspo.backends.counted import counted
from metaspo.engine.statistics import SplitGrades
from metaspo.engine.studies.protocol_scores import share_better
from metaspo.engine.studies.savings import first_passage

SIZES = ((2, 20), (2, 100), (3, 500), (5, 50), (14, 20))
SHARES = (0.02, 0.5, 0.98)
SEEDS = ((1, 0.0), (2, 0.1), (3, 0.0), (3, 0.1), (5, 0.0), (5, 0.1))  # and their spread
PROMPTS = 10  # user prompts of each task, under every seed
USER, BOTH = 0.1 * PER_POINT, 0.03 * PER_POINT  # spread of user prompts; of what a system prompt makes of each
SYSTEM = np.float32(0.5)  # its square is how alike answers under one system prompt are, beyond what examples make alike
REST = np.sqrt(1 - ALIKE**2 - SYSTEM**2, dtype=np.float32)
ROUNDS, RISE = 7, 0.15 * PER_POINT  # of the curves: how many rounds, and what they gain
PASSED = {0: "0", 3: "3", ROUNDS: "7, equal methods"}  # the round in which a method comes to the default's end
CHECKED = 2


@dataclass(frozen=True, slots=True)
class Result:
    """What a cell comes to, in percent by figure: coverage; how often a difference is told, where none is and where."""

    cell: Cell
    covers: dict[str, float]
    alarms: dict[str, float]
    power: dict[str, float]


def protocol_results(repetitions: int, *, quick: bool) -> list[Result]:
    """Every cell, of shares and of rounds saved."""
    sizes, shares, seeds = (SIZES[3:4], SHARES[1:2], SEEDS[:3:2]) if quick else (SIZES, SHARES, SEEDS)
    made = []
    for (number, spread), (tasks, examples), share in product(seeds, sizes, shares):
        cell = Cell(tasks=tasks, examples=examples, share=share, seeds=number, spread=spread, fixed=True)
        rng = np.random.default_rng([tasks, examples, round(100 * share), number, round(1e3 * spread), 7])
        made.append(_shares(rng, cell, repetitions))
        made.append(_saved(rng, replace(cell, fixed=False), repetitions))
    return made


def protocol_table(results: Sequence[Result]) -> list[str]:
    """By size and seeds, over shares of right answers and spreads."""
    lines = ["**Generalizing and adapting**, %: lowest to highest over shares and spreads."]
    for kind, figures in (("Coverage", "covers"), ("Equal methods called different", "alarms"), ("Seen", "power")):
        for figure in dict.fromkeys(name for each in results for name in getattr(each, figures)):
            seeds = sorted({each.cell.seeds for each in results})
            lines += ["", f"| {kind}: {figure} | " + " | ".join(counted(n, "seed") for n in seeds) + " |"]
            lines.append("|---" * (len(seeds) + 1) + "|")
            for tasks, examples in dict.fromkeys(each.cell.size for each in results):
                there = [
                    lowest_to_highest(
                        getattr(each, figures)[figure]
                        for each in results
                        if (each.cell.size, each.cell.seeds) == ((tasks, examples), n)
                        and figure in getattr(each, figures)
                    )
                    for n in seeds
                ]
                lines.append(f"| {tasks}×{examples} | " + " | ".join(there) + " |")
    return lines


def _shares(rng: np.random.Generator, cell: Cell, repetitions: int) -> Result:
    """A method that searches against a fixed prompt, under ten user prompts each."""
    toward = 1 if cell.share < 0.75 else -1
    varied = wins(rng, replace(cell, gain=0.05 * toward, gain_spread=0.05), repetitions)
    same_share_as_engine(varied, CHECKED)
    name = "share of better user prompts"
    return Result(
        cell=cell,
        covers={name: covered(share_bounds(varied), varied.mean(dtype=float) + np.zeros(1))},
        alarms={name: measured_again(lambda rng, many: _told(wins(rng, cell, many)), rng, repetitions)},
        power={f"{name}, of 10 points": _told(wins(rng, replace(cell, gain=0.1 * toward), repetitions))},
    )


def wins(rng: np.random.Generator, cell: Cell, repetitions: int) -> Floats:
    """Whether each user prompt does better (ties: a half): repetitions x tasks x seeds x user prompts.

    Answers to a question have in common what the example, and what the system prompt makes of it. Two methods are equal
    if each of a task's user prompts is as likely to do better with either.
    """
    seed, task = PER_POINT * cell.spread, PER_POINT * cell.task_spread
    shape = (cell.tasks, cell.seeds, PROMPTS)
    made: Floats = np.empty((repetitions, *shape), np.float32)
    step = max(1, CHUNK // (2 * cell.tasks * cell.seeds * PROMPTS * cell.examples))
    middle = norm.ppf(cell.share) * np.sqrt(1 + task**2 + USER**2 + BOTH**2)
    for start in range(0, repetitions, step):
        many = min(step, repetitions - start)
        draw = _Draws(rng, many, cell)
        gain = PER_POINT * (cell.gain + cell.gain_spread * draw(1, cell.tasks, 1, 1))
        bars = middle + task * draw(1, cell.tasks, 1, 1) + USER * draw(1, *shape) + BOTH * draw(2, *shape)
        gain = gain + seed / np.sqrt(2) * (draw(1, 1, cell.seeds, 1) + draw(1, cell.tasks, cell.seeds, 1))
        a, b = (grades.sum(axis=-1)[:, 0] for grades in draw.grades(bars[:, :1] + gain, bars[:, 1:]))
        made[start : start + many] = (a > b) + 0.5 * (a == b)
    return made


def same_share_as_engine(won: Floats, repetitions: int) -> None:
    """Raises `AssertionError` if metaspo says anything else of the first repetitions."""
    low, high = share_bounds(won[:repetitions])
    for number, by_task in enumerate(won[:repetitions]):
        scores = {(f"t{place[0]}", *place[1:]): float(win) for place, win in np.ndenumerate(by_task)}
        share = share_better(scores, dict.fromkeys(scores, 0.5), given=False)
        assert share is not None
        assert share.over_tasks is not None
        theirs = [share.over_tasks.low, share.over_tasks.high]
        assert np.allclose([low[number], high[number]], theirs, atol=1e-6), (low[number], high[number], theirs)


def _saved(rng: np.random.Generator, cell: Cell, repetitions: int) -> Result:
    """Curves over rounds, of a method and of the default, that pass the default's end in a known round."""
    found = {count: passages(rng, cell, count, repetitions) for count in PASSED}
    told = {count: 100 * float(((high < ROUNDS) | (low > ROUNDS)).mean()) for count, (low, high) in found.items()}
    return Result(
        cell=cell,
        covers={f"rounds needed, truly {PASSED[count]}": covered(found[count], np.array(count)) for count in PASSED},
        alarms={"rounds needed": told[ROUNDS]},
        power={f"rounds needed, truly {PASSED[count]}": told[count] for count in PASSED if count != ROUNDS},
    )


def passages(rng: np.random.Generator, cell: Cell, count: int, repetitions: int) -> Bounds:
    """The interval of the rounds that a method needs which truly needs so many."""
    curve = RISE * (1 - np.exp(-np.arange(ROUNDS + 1) / 2))
    before = curve[count] if count == ROUNDS else curve[count - 1] if count else 2 * curve[0] - curve[1]
    lead = curve[-1] - (before + curve[count]) / 2
    seed, task = PER_POINT * cell.spread, PER_POINT * cell.task_spread
    middle = norm.ppf(cell.share) * np.sqrt(1 + seed**2 + task**2)
    low, high = np.full(repetitions, inf), np.full(repetitions, inf)
    step = max(1, CHUNK // ((ROUNDS + 2) * cell.tasks * cell.seeds * cell.examples))
    for start in range(0, repetitions, step):
        many = min(step, repetitions - start)
        draw = _Draws(rng, many, cell)
        shape = (2, cell.tasks, cell.seeds, 1)
        bars = middle + task * draw(1, cell.tasks, 1, 1)
        bars = bars + seed / np.sqrt(2) * (draw(2, 1, cell.seeds, 1) + draw(*shape))
        method, default = draw.grades(bars[:, :1] + lead + curve, bars[:, 1:] + curve[-1])
        bounds = [
            gain_bounds(np.concatenate([method[..., number, :], default[..., 0, :]], axis=1)).examples
            for number in range(ROUNDS + 1)
        ]
        here = slice(start, start + many)
        low[here] = _first([high >= 0 for _, high in bounds])
        high[here] = _first([low >= 0 for low, _ in bounds])
        if not start:
            _same_passage_as_engine(method[:CHECKED, 0], default[:CHECKED, 0], low, high)
    return low, high


def _same_passage_as_engine(methods: Floats, defaults: Floats, low: Floats, high: Floats) -> None:
    for number, (method, default) in enumerate(zip(methods.astype(float), defaults.astype(float), strict=True)):
        scores = {count: _splits(method[:, :, count]) for count in range(ROUNDS + 1)}
        found = first_passage(scores, _splits(default[:, :, 0]), of=ROUNDS)
        assert found is not None
        assert (found.low, found.high) == (low[number], high[number])


def _splits(grades: Floats) -> list[SplitGrades]:
    return [
        SplitGrades(task=f"t{task}", seed=seed, grades=row.tolist())
        for task, rows in enumerate(grades)
        for seed, row in enumerate(rows)
    ]


@dataclass(frozen=True, slots=True)
class _Draws:
    """Standard normal draws for some repetitions."""

    rng: np.random.Generator
    repetitions: int
    cell: Cell

    def __call__(self, *shape: int) -> Floats:
        return self.rng.standard_normal((self.repetitions, *shape), np.float32)

    def grades(self, *bars: Floats) -> list[Floats]:
        """Right or wrong, of each method from its repetitions x 1 x tasks x seeds x prompts."""
        tasks, examples = self.cell.tasks, self.cell.examples
        example, made = ALIKE * self(1, tasks, 1, 1, examples), []
        for number, bar in enumerate(bars):
            seeds = 1 if self.cell.fixed and number else self.cell.seeds  # a fixed prompt's answers are the same
            answers = self(*bar.shape[1:], examples)
            answers *= REST
            answers += example + SYSTEM * self(1, tasks, seeds, 1, examples)
            made.append((answers < bar[..., None]).astype(np.float32))
        return made


def protocol_outside(results: Sequence[Result]) -> Iterator[str]:
    """By figure, the cells whose coverage is not 93 to 97%; and those where equal methods are too often called
    different."""
    for figure in dict.fromkeys(name for each in results for name in each.covers):
        cells = [each for each in results if figure in each.covers]
        yield f"\n**{figure[0].upper()}{figure[1:]}**\n"
        columns = list(dict.fromkeys((each.cell.seeds, each.cell.spread) for each in cells))
        yield "| cell | " + " | ".join(f"{counted(n, 'seed')}, {100 * spread:.0f}" for n, spread in columns) + " |"
        yield "|---" * (len(columns) + 1) + "|"
        for size, share in dict.fromkeys((each.cell.size, each.cell.share) for each in cells):
            there = [each.covers[figure] for each in cells if (each.cell.size, each.cell.share) == (size, share)]
            yield f"| {size[0]}×{size[1]}, {share:g} | " + " | ".join(map(marked, there)) + " |"
    for figure in dict.fromkeys(name for each in results for name in each.alarms):
        alarms = [each for each in results if each.alarms.get(figure, 0) > MOST]
        yield from (f"\n{figure}, equal methods called different: {each.cell}" for each in alarms)


def _told(won: Floats) -> float:
    low, high = share_bounds(won)
    return 100 * float(((low > 0.5) | (high < 0.5)).mean())


def _first(reached: Sequence[NDArray[np.bool_]]) -> Floats:
    """Per repetition the first that holds; `inf` if none does."""
    table = np.array(reached)
    return np.where(table.any(axis=0), table.argmax(axis=0), inf)
