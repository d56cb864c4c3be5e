"""Stragglers: whether a call that is out is only slow, or hangs, by how long calls of its size take that are answered.

Without it one call that hangs holds a whole round for as long as the lane's time limit. What takes far longer than all
of the last answers took, while later calls are answered, is broken off and asked again. A server that has become slow
for everybody is waited for, and those asked again stay a small share of those answered.
"""

from collections import deque
from collections.abc import Mapping
from math import inf
from typing import Literal

from metaspo.scheduling.settings import Billing

FIRST, ENOUGH = 4, 16
"""Answers that it takes to know how long they take, the less surely the fewer; and to know that others overtake."""

FEW, FEW_OF = 4, 20
"""Calls out, or one in so many slots, that are the last of a round: they may be asked again although nobody overtook
them."""

RECENT = 64
TIMES = 1.5
LAST_TIMES = 1.04
"""As long as the slowest of the recent answers took; less where few are out, and all else waits for them; twice as long
with each of its calls that was broken off."""

MAX_TIMES: Mapping[Billing, float] = {"time": inf, "tokens": 2}
"""So often one request is asked again; then it may take until the time limit."""

SOONEST = 1.0
"""Seconds that any call gets."""

SHARE = 0.1
"""Of the answers: so many calls may be asked again, and one more."""

Remedy = Literal["wait", "break off", "hedge"]


def remedy(billing: Billing, *, last: bool, queued: bool, room: bool, wanted: bool) -> Remedy:
    """What to do about a call that hangs. Cases: it costs money, and there is room for something else to ask; nobody
    waits for it, or others wait for its slot; it costs time, and many are out, from whom it takes a place on their
    server. Else the first answer of the two counts: most calls that hang never end, but some were only slow."""
    if billing == "tokens" and queued and room:
        return "wait"
    if not wanted or not room or (billing == "time" and not last):
        return "break off"
    return "hedge"


class Lateness:
    """How long a lane's calls take that are answered, and how many were asked again; synchronous, told the time."""

    __slots__ = ("_asked_again", "_billing", "_recent", "_slowest", "answered")

    def __init__(self, billing: Billing) -> None:
        self.answered = 0
        self._asked_again = 0
        self._billing: Billing = billing
        self._recent: deque[tuple[int, float, int]] = deque(maxlen=RECENT)
        self._slowest: tuple[float, float] | None = None

    def note_answer(self, number: int, seconds: float, tokens: int) -> None:
        """A call that could take `tokens` at most was answered after so many seconds; calls are numbered as sent."""
        self.answered += 1
        self._recent.append((number, seconds, tokens))
        self._slowest = None

    def soonest(self) -> float:
        """Seconds within which no call is late, whatever it can take; infinite if not known."""
        return self.limit(0, broken_off=0, last=True)

    def limit(self, tokens: int, *, broken_off: int, last: bool) -> float:
        """Seconds within which a call that can take `tokens` at most is answered, if ever; infinite if not known.

        A call that can take more tokens than another may take as much longer. `last` if it is one of few that are out.
        """
        if len(self._recent) < FIRST:
            return inf
        if self._slowest is None:
            self._slowest = (
                max(seconds for _, seconds, _ in self._recent),
                max(seconds / max(1, size) for _, seconds, size in self._recent),
            )
        slowest, per_token = self._slowest
        times = (LAST_TIMES if last else TIMES) * max(1.0, ENOUGH / len(self._recent))
        return max(SOONEST, times * max(slowest, per_token * tokens)) * 2.0**broken_off

    def may_ask_again(self, number: int, *, last: bool, asked_again: int) -> bool:
        """Whether one that is late is best asked again, if it was so often asked again before.

        Where many are out and no later one is answered, all wait in a queue, and asking again would make that longer.
        """
        overtaken = asked_again > 0 or last or sum(later > number for later, _, _ in self._recent) >= ENOUGH
        return overtaken and asked_again < MAX_TIMES[self._billing] and self.has_share()

    def has_share(self) -> bool:
        """Whether one more call may be asked again: they stay a small share of the answers."""
        return self._asked_again <= SHARE * self.answered

    def note_asked_again(self) -> None:
        """Count a call that was asked again."""
        self._asked_again += 1
