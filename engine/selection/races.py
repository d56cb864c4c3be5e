"""Racing, opt-in: a candidate is dropped when its answers so far speak against it strongly enough, at a stated rate.

What is tested, candidate by candidate: "scored in full it would be selected", which it can only be if it beats the
round's bar: of the prompts there were and the candidates before it (those that were scored in full and not dropped),
the one that is the last to be kept; in the outer loop, where one is kept, the best. Half of a candidate's capital is
wagered against that bar, half against the bar as it was when the round began, which is known from the start. Rows are
those of all its nodes, in a random order drawn from the run's seed and the candidate's address.

The guarantee is for a whole round: with a probability of at least 1 - `racing`, over the orders of rows, its selection
is that of full scoring. Selections differ only if a candidate is dropped that full scoring selects. Such a one beats
every bar, so each half is a supermartingale, and their sum too: the bar depends on the orders of earlier candidates,
but its own order is independent of those. In the outer loop there is one such candidate at most; each may be tested at
the full rate, as dropping any other changes nothing. In the inner loop there are at most min(keep, candidates); each is
tested at the rate divided by that.

Who is dropped is a function of the answers, not of their timing. Only answers count that a candidate's order has
reached without a gap, for wagers and for exact bounds alike. A candidate moves the bar only after all before it have
come to their end, in the order of their numbers. Wagers that were settled before the bar was known are settled again
from the first row: who had lost by then, loses again, at the same row or before. `raced_out` lists the candidates that
lost at a row where their bound was still ahead of what the round selected in the end; no exact bound can have dropped
them before that row in any timing. All others that were dropped provably lose.
"""

import math
from collections.abc import Callable, Mapping, Sequence

from metaspo.engine.evaluation.evaluation import Evaluation, Part
from metaspo.engine.evaluation.scorecard import Scorecard
from metaspo.engine.journal.events import Racing
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.runtime.priorities import node_by_node, staggered
from metaspo.engine.selection.pruning import BoundPruner, Pruner, hard_and_easy
from metaspo.engine.selection.race import Race, RaceDesign, Rows, ScoredPrompt
from metaspo.engine.tasks import Task
from metaspo.scheduling import Priority

MIN_ROWS = 150  # below, exact bounds and the hard rows first need no more calls than a race (docs/racing.md)
LEAD = 1 / 6  # of the rows: how far a candidate is ahead of the next one, if the server keeps up with neither


class Races:
    """All races of a round; there are none without a track.

    Args:
        old: the prompts there were before the round.
        keep: how many of old and new the round keeps.
        exact: whether exact bounds drop candidates, too.
    """

    def __init__(self, track: RaceDesign | None, old: Sequence[ScoredPrompt], *, keep: int, exact: bool) -> None:
        self._track, self._keep, self._exact = track, keep, exact
        self._pool = list(old)
        self._first = self._last()
        self._races: dict[int, Race] = {}
        self._ended: dict[int, ScoredPrompt | None] = {}
        self._next = 1  # the first candidate that has not come to its end, or that others before it keep waiting

    @property
    def raced(self) -> bool:
        """Whether there are any."""
        return self._track is not None

    def enter(self, number: int, nodes: Sequence[Evaluation], *, rejects: Callable[[float], bool]) -> Pruner:
        """The prospect of candidate `number`; `rejects` says who is out for certain where there is no race."""
        if self._track is None:
            return BoundPruner(nodes, rejects if self._exact else None)
        return RacingPruner(self, self.line_up(self._track, number, nodes))

    def line_up(self, track: RaceDesign, number: int, nodes: Sequence[Rows]) -> Race:
        """The race of candidate `number`, gone as far as there are answers if it is this one's turn."""
        race = self._races[number] = Race(track, number, nodes)
        race.start([(0.5, self._first.grades)] if self._first else [])
        if number == self._next:
            self._meet(race)
        return race

    def parts(self, number: int, cards: Sequence[Scorecard], first: Sequence[Priority]) -> list[list[Part]]:
        """In which order each node's rows are best asked: along the race's order, or the hard ones first.

        Args:
            cards: of the prompts that candidates start from, node by node.
            first: the priority of what is asked first, node by node.
        """
        if self._track is None:
            return [
                [(node_by_node(priority, part=part), rows) for part, rows in enumerate(hard_and_easy(card))]
                for priority, card in zip(first, cards, strict=True)
            ]
        waves = list(self._track.waves(number))
        lead = math.ceil(LEAD * len(waves))
        return [
            [(staggered(priority, part=part, lead=lead), wave[node]) for part, wave in enumerate(waves)]
            for node, priority in enumerate(first)
        ]

    def beaten(self, race: Race) -> bool:
        """Whether the bar as it is known so far is out of a candidate's reach, for certain."""
        last = self._last()
        return self._exact and last is not None and race.bound <= last.score

    def ended(self, number: int, standing: ScoredPrompt | None = None) -> None:
        """A candidate has come to its end: scored in full, with its standing, or otherwise; the first word holds."""
        self._ended.setdefault(number, standing)
        self.settle()

    def settle(self) -> None:
        """Let candidates move the bar in the order of their numbers, as far as they have come to their ends."""
        while self._next in self._races or self._next in self._ended:
            race = self._races.get(self._next)
            if race and (race.refusal or race.lost or self.beaten(race)):
                self._ended.setdefault(self._next, None)
            if self._next not in self._ended:
                return
            standing = self._ended[self._next]
            known = {one.prompt for one in self._pool}
            if standing and not self.lost(self._next) and standing.prompt not in known:
                self._pool.append(standing)
            self._next += 1
            if self._next in self._races:
                self._meet(self._races[self._next])

    def lost(self, number: int) -> bool:
        """Whether a candidate is raced out."""
        return number in self._races and self._races[number].lost

    def raced_out(self) -> list[int]:
        """The candidates that statistics alone have dropped, once the round is over."""
        self.settle()
        last = self._last()
        lost = [(number, race.bound) for number, race in sorted(self._races.items()) if race.lost]
        return [number for number, bound in lost if last is None or (bound, -number) > (last.score, -last.place)]

    def _meet(self, race: Race) -> None:
        """Race against the bar, now that all candidates before this one have moved it."""
        bar = self._last()
        if bar and bar is self._first:
            race.start([(1.0, bar.grades)])
        elif bar:
            race.start([(0.5, one.grades) for one in (self._first, bar) if one])
        race.go_on()

    def _last(self) -> ScoredPrompt | None:
        """The last that would be kept; None while all would be."""
        ranking = sorted(self._pool, key=lambda one: (-one.score, one.place))
        return ranking[self._keep - 1] if len(ranking) >= self._keep else None


class RacingPruner:
    """A raced candidate as its scoring sees it: a `Pruner`."""

    watched = True

    def __init__(self, races: Races, race: Race) -> None:
        self._races, self._race = races, race

    @property
    def refusal(self) -> str:
        """A refusal that the order has reached."""
        return self._race.refusal

    @property
    def bound(self) -> float:
        """The best mean still within reach."""
        return self._race.bound

    @property
    def lost(self) -> bool:
        """Whether it is raced out."""
        return self._race.lost

    @property
    def beaten(self) -> bool:
        """Whether it is out for certain."""
        return self._races.beaten(self._race)

    @property
    def evidence(self) -> Mapping[str, float]:
        """The capital, and after how many rows."""
        return {"raced": self._race.capital, "rows": self._race.rows}

    def hear(self, _position: int, /) -> None:
        """Go on along the order."""
        self._race.go_on()
        self._races.settle()


def design_race(context: RunContext, address: str, nodes: Sequence[Task], *, winners: int) -> RaceDesign | None:
    """The track of a round; None where it is not raced, with the reason in the journal.

    Args:
        nodes: the task of each node; its train split is raced on.
        winners: how many candidates the round can select at most.
    """
    rate = context.config.racing
    if rate is None or not winners:
        return None
    if off := _not_raced(nodes):
        context.journal.write(Racing(address=address, off=off))
        return None
    sizes, weights = tuple(len(task.train) for task in nodes), tuple(task.weight for task in nodes)
    context.journal.write(Racing(address=address, rate=rate / winners, rows=sum(sizes)))
    return RaceDesign(seed=context.config.seed, address=address, sizes=sizes, node_weights=weights, rate=rate / winners)


def _not_raced(nodes: Sequence[Task]) -> str:
    """Why a round is left to exact bounds; "" if it is raced."""
    for task in nodes:
        if not task.metric.additive:
            return f"{task.metric.name} of task '{task.name}' is no mean over examples"
    rows = sum(len(task.train) for task in nodes)
    return f"{rows} rows: below {MIN_ROWS}, exact bounds need fewer calls" if rows < MIN_ROWS else ""
