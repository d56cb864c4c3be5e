"""How many calls a run makes on train splits, counted so that no timing can change the count, and a cap on them.

An answer is counted once, however often it is looked at, and a candidate in full, also where it is dropped early: this
is what the algorithm asks, with an empty cache and without early rejection. Rounds that go on side by side have a share
each before they begin, so that which candidates still fit depends on nothing but what was proposed.
"""

from collections.abc import Iterable, Sequence
from typing import Self

from metaspo.engine.evaluation.scorecard import Scorecard
from metaspo.engine.prompts import PromptPair


class TrainCells:
    """A set of what answers are to: of each prompt pair and task the rows, as the bits of a number."""

    def __init__(self) -> None:
        self._rows: dict[tuple[PromptPair, str], int] = {}

    def __len__(self) -> int:
        return sum(rows.bit_count() for rows in self._rows.values())

    def add(self, pair: PromptPair, task: str, rows: Iterable[int]) -> None:
        """These rows of a task under a pair."""
        bits = self._rows.get((pair, task), 0)
        if isinstance(rows, range) and rows == range(len(rows)):
            bits |= (1 << len(rows)) - 1
        else:
            for row in rows:
                bits |= 1 << row
        self._rows[pair, task] = bits

    def __ior__(self, other: "TrainCells") -> Self:
        for cell, rows in other._rows.items():
            self._rows[cell] = self._rows.get(cell, 0) | rows
        return self

    def __isub__(self, other: "TrainCells") -> Self:
        for cell, rows in other._rows.items():
            if cell in self._rows:
                self._rows[cell] &= ~rows
        return self

    def __sub__(self, other: "TrainCells") -> "TrainCells":
        left = TrainCells()
        left._rows = {cell: rows & ~other._rows.get(cell, 0) for cell, rows in self._rows.items()}
        return left


class TrainCalls:
    """The count of a run, or of one of its rounds, which may take `limit` more of it; None for no cap.

    Attributes:
        taken: how many were made.
        offered: how many candidates there was room for so far.
    """

    def __init__(self, limit: int | None = None, *, counted: TrainCells | None = None) -> None:
        self._counted = TrainCells() if counted is None else counted
        self._limit = limit
        self.taken = 0
        self.offered = 0

    @property
    def left(self) -> int | None:
        """How many more may be made; None where there is no cap."""
        return None if self._limit is None else self._limit - self.taken

    def admit(self, cells: TrainCells, *, spare: int = 0) -> int | None:
        """Count what is new among the cells and say how much; None, with nothing done, if it leaves no `spare`."""
        new = len(self.new(cells))
        if self.left is not None and new > self.left - spare:
            return None
        self._counted |= cells
        self.taken += new
        return new

    def new(self, cells: TrainCells) -> TrainCells:
        """Those that were not counted yet."""
        return cells - self._counted

    def give_back(self, cells: TrainCells) -> None:
        """Cells that were new when they were admitted, and that a gate made it unnecessary to ask for."""
        self._counted -= cells
        self.taken -= len(cells)

    def shares(self, wanted: Sequence[int], rows: Sequence[int], *, spare: int = 0) -> list["TrainCalls"]:
        """A share for each of some rounds that want so many calls, in whole prompts of so many rows each.

        `spare` calls are left for what comes after them, if there are as many.
        """
        if self.left is None:
            return [TrainCalls(counted=self._counted) for _ in wanted]
        room = self.left - spare if spare <= self.left else self.left
        return [TrainCalls(share, counted=self._counted) for share in split(room, wanted, rows)]

    def join(self, shares: Sequence["TrainCalls"]) -> None:
        """Shares that are used up, or not needed any more."""
        self.taken += sum(share.taken for share in shares)
        self.offered += sum(share.offered for share in shares)


def cells_of(cards: Iterable[Scorecard]) -> TrainCells:
    """What scorecards hold answers to."""
    cells = TrainCells()
    for card in cards:
        cells.add(card.pair, card.task, range(len(card.outcomes)))
    return cells


def split(left: int, wanted: Sequence[int], rows: Sequence[int]) -> list[int]:
    """What each gets of the calls that are left: all that it wants, or as large a part as everybody, in whole prompts.

    What that leaves over goes to the first ones that have room for another prompt.
    """
    if sum(wanted) <= left:
        return list(wanted)
    parts = [left * want // sum(wanted) // size * size for want, size in zip(wanted, rows, strict=True)]
    over = left - sum(parts)
    for position, size in enumerate(rows):
        if size <= min(over, wanted[position] - parts[position]):
            parts[position] += size
            over -= size
    return parts
