"""How many calls a run makes on train splits, counted so that no timing can change the count, and a cap on them.

An answer is counted once, however often it is looked at, and a candidate in full, also where it is dropped early: this
is what the algorithm asks, with an empty cache and without early rejection. Rounds that go on side by side have a share
each before they begin, so that which candidates still fit depends on nothing but what was proposed.
"""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet

from metaspo.engine.evaluation.scorecard import Scorecard
from metaspo.engine.prompts import PromptPair

TrainCell = tuple[PromptPair, str, int]  # what an answer is to: a pair, and an example's task and row


class TrainCalls:
    """The count of a run, or of one of its rounds, which may take `limit` more of it; None for no cap.

    Attributes:
        taken: how many were made.
        offered: how many candidates there was room for so far.
    """

    def __init__(self, limit: int | None = None, *, counted: set[TrainCell] | None = None) -> None:
        self._counted: set[TrainCell] = set() if counted is None else counted
        self._limit = limit
        self.taken = 0
        self.offered = 0

    @property
    def left(self) -> int | None:
        """How many more may be made; None where there is no cap."""
        return None if self._limit is None else self._limit - self.taken

    def admit(self, cells: AbstractSet[TrainCell], *, spare: int = 0) -> int | None:
        """Count what is new among the cells and say how much; None, with nothing done, if it leaves no `spare`."""
        new = self.new(cells)
        if self.left is not None and len(new) > self.left - spare:
            return None
        self._counted |= new
        self.taken += len(new)
        return len(new)

    def new(self, cells: AbstractSet[TrainCell]) -> AbstractSet[TrainCell]:
        """Those that were not counted yet."""
        return cells - self._counted

    def give_back(self, cells: AbstractSet[TrainCell]) -> None:
        """Cells that were new when they were admitted, and that a gate made it unnecessary to ask for."""
        self._counted -= cells
        self.taken -= len(cells)

    def shares(self, wanted: Sequence[int], rows: Sequence[int]) -> list["TrainCalls"]:
        """A share for each of some rounds that want so many calls, in whole prompts of so many rows each."""
        if self.left is None:
            return [TrainCalls(counted=self._counted) for _ in wanted]
        return [TrainCalls(share, counted=self._counted) for share in split(self.left, wanted, rows)]

    def join(self, shares: Sequence["TrainCalls"]) -> None:
        """Shares that are used up, or not needed any more."""
        self.taken += sum(share.taken for share in shares)
        self.offered += sum(share.offered for share in shares)


def cells_of(cards: Iterable[Scorecard]) -> set[TrainCell]:
    """What scorecards hold answers to."""
    return {(card.pair, card.task, row) for card in cards for row in range(len(card.outcomes))}


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
