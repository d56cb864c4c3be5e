"""Methods whose truth is known: their answers to tasks, many repetitions at once.

A method with a seed is right on an example if a normal draw, in part the example's own, lies below the bar of this
method, seed and task. The mean over seeds, and over all tasks there could be, of the share of right answers is then
known exactly, whatever the spread.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

Floats = NDArray[np.floating]
ALIKE = np.float32(0.7)  # correlation of what two methods make of an example is its square
PER_POINT = 1 / float(norm.pdf(0))  # what one point of spread is in standard deviations, at a share of 50%
CHUNK = 4_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Two methods on tasks.

    Attributes:
        share: of right answers, of the second method; `gain` is what the first has more.
        spread: standard deviation from seed to seed, half of its variance from task to task; at a share of 50%, less
            towards 0 and 1, where there is no room.
        task_spread, gain_spread: the same from task to task, of both methods together and of their difference.
        fixed: whether the second method is a fixed prompt: the same answers under every seed.
    """

    tasks: int
    examples: int
    share: float
    seeds: int
    spread: float
    gain: float = 0.0
    task_spread: float = 0.15
    gain_spread: float = 0.0
    fixed: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Tasks and examples of each."""
        return self.tasks, self.examples


@dataclass(frozen=True, slots=True)
class World:
    """Repetitions of a cell.

    Attributes:
        grades: repetitions x 2 methods x tasks x seeds x examples.
        on_tasks: repetitions x methods, the true score on these tasks.
        everywhere: by method, the true score on all tasks of this kind.
    """

    grades: Floats
    on_tasks: Floats
    everywhere: Floats


def draw(rng: np.random.Generator, cell: Cell, repetitions: int) -> World:
    """So many repetitions."""
    seed, task, gain = (PER_POINT * deviation for deviation in (cell.spread, cell.task_spread, cell.gain_spread))
    seed_of = np.array([seed, 0.0 if cell.fixed else seed])[:, None, None]
    everywhere = np.array([cell.share + cell.gain, cell.share])
    spreads = np.sqrt(1 + seed_of[:, 0, 0] ** 2 + task**2 + gain**2 / 2)
    middle = (norm.ppf(everywhere) * spreads)[:, None]
    apart = gain / np.sqrt(2) * rng.standard_normal((repetitions, 2, cell.tasks))
    by_task = middle + task * rng.standard_normal((repetitions, 1, cell.tasks)) + apart
    on_tasks = norm.cdf(by_task / np.sqrt(1 + seed_of[..., 0] ** 2)).mean(axis=2)
    moved = rng.standard_normal((repetitions, 2, 1, cell.seeds))
    moved = (moved + rng.standard_normal((repetitions, 2, cell.tasks, cell.seeds))) / np.sqrt(2)
    bars = by_task[..., None] + seed_of * moved
    return World(grades=_answers(rng, cell, bars.astype(np.float32)), on_tasks=on_tasks, everywhere=everywhere)


def _answers(rng: np.random.Generator, cell: Cell, bars: Floats) -> Floats:
    """Right or wrong, a few repetitions at a time: there can be too many for the memory."""
    grades = np.empty((*bars.shape, cell.examples), bool)
    step = max(1, CHUNK // (2 * cell.tasks * cell.seeds * cell.examples))
    for start in range(0, len(bars), step):
        there = bars[start : start + step, ..., None]
        example = rng.standard_normal((len(there), 1, cell.tasks, 1, cell.examples), np.float32)
        answer = rng.standard_normal((*there.shape[:-1], cell.examples), np.float32)
        if cell.fixed:
            answer[:, 1] = answer[:, 1, :, :1]
        grades[start : start + step] = ALIKE * example + np.sqrt(1 - ALIKE**2) * answer < there
    return grades
