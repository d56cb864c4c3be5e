"""Which refusals say nothing of the pace: a server may refuse a share of all calls, for what others ask of it.

Below a limit nothing is refused; what is refused at random is refused at any pace. So the share is taken of the calls
that go more slowly than the server has lately let through, and the first that are refused there count only when the
pace has been lowered once more. A refusal is one by chance as long as no more are refused, of the last ones, than that
share and luck explain. Many in a row count once: a server that takes nothing for a while does not do so at random.

Where a limit is known more is to be explained: what was refused of the last calls, however often the pace was lowered
meanwhile, for luck explains nearly anything of the few since then, each time anew; and how many in a row.

Synchronous.
"""

from math import sqrt

UNSEEN = 4  # calls that count as taken before there are any
REMEMBERED = 200  # slow calls that were taken
RECENT = 100  # calls whose share is compared, since the pace was lowered last ...
LATELY = 400  # ... and, where a limit is known, at any pace
LUCK = 3.0  # standard deviations
MOST = 0.5  # is refused by chance on the whole ...
MOST_RECENT = 0.8  # ... or of the last calls
RARE = 1e-5  # a chance that is none
CALM = 0.25  # of the share is refused, at any pace: then the share is smaller


class Chance:
    """Of one lane.

    Attributes:
        share: refused whatever the pace, as far as is known.
    """

    __slots__ = (
        "_calls", "_in_a_row", "_lately", "_limited", "_new", "_recent", "_refused", "_sent", "_taken", "share",
    )  # fmt: skip

    def __init__(self, *, limited: bool = False) -> None:
        """`limited`: the limit is known, so that hardly a call is refused while its pace is found."""
        self.share = 0.0
        self._taken = self._refused = 0.0  # slow calls
        self._new = 0  # slow calls refused that do not count yet
        self._sent = UNSEEN  # calls since the pace was lowered last, up to those that are compared
        self._recent = 0.0  # the share refused of them
        self._limited = limited
        self._calls = UNSEEN  # the last ones at any pace, up to those that are compared
        self._lately = 0.0  # the share refused of them
        self._in_a_row = 0  # calls that were refused last

    def sent(self, *, slowly: bool) -> None:
        """A call goes, `slowly` if the server has lately let more through."""
        self._sent = min(self._sent + 1, RECENT)
        self._recent -= self._recent / self._sent
        self._calls = min(self._calls + 1, LATELY)
        self._lately -= self._lately / self._calls
        if slowly or self._recent < CALM * self.share:
            self._count(1, 0)

    def explains(self, *, slowly: bool, apart: bool) -> bool:
        """Whether a call that is refused is so by chance; `apart`: calls were taken since the refusal before."""
        self._recent += 1 / self._sent
        self._lately += 1 / self._calls
        self._in_a_row = 1 if apart else self._in_a_row + 1
        share, is_luck = self.share, self._is_luck()
        if slowly:
            self._count(-1, apart if share else 0)
            self._new += apart and not share
        return share > 0 and is_luck

    def lowered(self) -> None:
        """The pace is lower from here on."""
        self._count(0, self._new)
        self._new, self._sent, self._recent = 0, UNSEEN, self.share

    def _is_luck(self) -> bool:
        """Whether no more is refused than that share and luck explain."""
        if self._recent > min(self._at_most(self._sent), MOST_RECENT):
            return False
        return not self._limited or (self._lately <= self._at_most(self._calls) and self.share**self._in_a_row >= RARE)

    def _at_most(self, calls: int) -> float:
        """What luck may make of the share in so many calls."""
        share = self.share
        return share + LUCK * sqrt(share * (1 - share) * (1 / calls + 1 / (self._taken + UNSEEN)))

    def _count(self, taken: int, refused: int) -> None:
        self._taken = max(0.0, self._taken + taken)
        self._refused += refused
        if self._taken > REMEMBERED:
            self._refused *= REMEMBERED / self._taken
            self._taken = REMEMBERED
        self.share = min(self._refused / (self._taken + UNSEEN), MOST)
