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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from metaspo.engine.address import join, rng_at
from metaspo.engine.betting import Wager
from metaspo.engine.node import CHUNK, Node, Part
from metaspo.engine.priorities import node_by_node, staggered
from metaspo.engine.rejection import AllAnswers, Prospect, hard_and_easy
from metaspo.engine.scope import Scope
from metaspo.engine.scoring import Outcome, Scorecard
from metaspo.engine.state import mean
from metaspo.engine.tasks import Task
from metaspo.scheduling import Priority

LEAST_ROWS = 150  # below, exact bounds and the hard rows first need no more calls than a race (docs/racing.md)
WAVE_ROWS = 4  # of each node in a wave, about: smaller ones stop sooner, larger ones are asked in better batches
LEAD = 1 / 6  # of the rows: how far a candidate is ahead of the next one, if the server keeps up with neither

Grades = tuple[tuple[float, ...], ...]  # by node and row


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A prompt that was scored in full.

    Attributes:
        place: 0 if it was there before the round, else the candidate's number; equals go by it.
    """

    prompt: str
    score: float
    grades: Grades
    place: int = 0

    @classmethod
    def of(cls, prompt: str, cards: Sequence[Scorecard], *, place: int = 0) -> "Standing":
        """The standing of a prompt by its cards, node by node."""
        grades = tuple(tuple(outcome.grade or 0.0 for outcome in card.outcomes) for card in cards)
        return cls(prompt=prompt, score=_score(grades, [card.weight for card in cards]), grades=grades, place=place)


class Rows(Protocol):
    """What a race looks at: a `Node`, or what stands for one."""

    def outcome(self, row: int, /) -> Outcome | None:
        """The outcome of one example, if it has one."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """What all candidates of a round race on.

    Attributes:
        sizes: how many rows each node has.
        node_weights: how much each node counts in the score.
        rate: how often at most a candidate that would be selected is dropped.
    """

    seed: int
    address: str
    sizes: tuple[int, ...]
    node_weights: tuple[float, ...]
    rate: float

    @property
    def weights(self) -> list[float]:
        """What a row of each node weighs: a node's weight is shared by its rows; 1 is the most."""
        shares = [weight / size for weight, size in zip(self.node_weights, self.sizes, strict=True)]
        return [share / max(shares) for share in shares]

    def order(self, number: int) -> list[tuple[int, int]]:
        """Every (node, row) in the random order of candidate `number`."""
        places = [(node, row) for node, size in enumerate(self.sizes) for row in range(size)]
        rng_at(self.seed, join(self.address, f"cand={number}", "race")).shuffle(places)
        return places

    def waves(self, number: int) -> Iterator[list[list[int]]]:
        """The rows of each node, wave by wave: what is best asked together, and before what comes later."""
        size, order = max(CHUNK, WAVE_ROWS * len(self.sizes)), self.order(number)
        for start in range(0, len(order), size):
            wave: list[list[int]] = [[] for _ in self.sizes]
            for node, row in order[start : start + size]:
                wave[node].append(row)
            yield wave


class Race:
    """One candidate's race: by the answers that its order has reached without a gap.

    `known` are the grades to beat, each with the share of the capital that is wagered against it.
    """

    def __init__(self, track: Track, number: int, nodes: Sequence[Rows]) -> None:
        self._track, self._nodes, self._weights = track, nodes, track.weights
        self._order = track.order(number)
        self.start([])

    def start(self, known: Sequence[tuple[float, Grades]]) -> None:
        """Begin at the first row."""
        self.refusal = ""
        self.rows = 0
        self._grades = [[1.0] * size for size in self._track.sizes]
        self._wagers = [(share, grades, self._wager(grades)) for share, grades in known]

    def _wager(self, known: Grades) -> Wager:
        weighted = [weight * grade for weight, rows in zip(self._weights, known, strict=True) for grade in rows]
        return Wager(weighted, rate=self._track.rate)

    @property
    def bound(self) -> float:
        """The best mean still within reach."""
        return _score(self._grades, self._track.node_weights)

    @property
    def capital(self) -> float:
        """Of all wagers together, 1 at the start or less."""
        return math.fsum(share * wager.capital for share, _, wager in self._wagers)

    @property
    def lost(self) -> bool:
        """Whether the candidate is raced out."""
        return self.capital * self._track.rate >= 1

    def go_on(self) -> None:
        """Go on along the order, up to a gap, a refusal, or the row where the race is lost."""
        while self.rows < len(self._order) and not self.refusal and not self.lost:
            node, row = self._order[self.rows]
            outcome = self._nodes[node].outcome(row)
            if outcome is None:
                return
            if outcome.grade is None:
                self.refusal = f"{outcome.example.where}: {outcome.reason}"
                return
            self._grades[node][row] = outcome.grade
            self.rows += 1
            if self.rows < len(self._order):  # with the last row the score itself is known
                weight = self._weights[node]
                for _, known, wager in self._wagers:
                    wager.take(weight * outcome.grade, weight * known[node][row])


class Races:
    """All races of a round; there are none without a track.

    Args:
        old: the prompts there were before the round.
        keep: how many of old and new the round keeps.
        exact: whether exact bounds drop candidates, too.
    """

    def __init__(self, track: Track | None, old: Sequence[Standing], *, keep: int, exact: bool) -> None:
        self._track, self._keep, self._exact = track, keep, exact
        self._pool = list(old)
        self._first = self._last()
        self._races: dict[int, Race] = {}
        self._ended: dict[int, Standing | None] = {}
        self._next = 1  # the first candidate that has not come to its end, or that others before it keep waiting

    def enter(self, number: int, nodes: Sequence[Node], *, rejects: Callable[[float], bool]) -> Prospect:
        """The prospect of candidate `number`; `rejects` says who is out for certain where there is no race."""
        if self._track is None:
            return AllAnswers(nodes, rejects if self._exact else None)
        return RaceProspect(self, self.line_up(self._track, number, nodes))

    def line_up(self, track: Track, number: int, nodes: Sequence[Rows]) -> Race:
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

    def ended(self, number: int, standing: Standing | None = None) -> None:
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

    def _last(self) -> Standing | None:
        """The last that would be kept; None while all would be."""
        ranking = sorted(self._pool, key=lambda one: (-one.score, one.place))
        return ranking[self._keep - 1] if len(ranking) >= self._keep else None


class RaceProspect:
    """A raced candidate as its scoring sees it: a `Prospect`."""

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


def lay_track(scope: Scope, address: str, nodes: Sequence[Task], *, winners: int) -> Track | None:
    """The track of a round; None where it is not raced, with the reason in the journal.

    Args:
        nodes: the task of each node; its train split is raced on.
        winners: how many candidates the round can select at most.
    """
    rate = scope.config.racing
    if rate is None or not winners:
        return None
    if off := _not_raced(nodes):
        scope.journal.write("racing", address, {"off": off})
        return None
    sizes, weights = tuple(len(task.train) for task in nodes), tuple(task.weight for task in nodes)
    scope.journal.write("racing", address, {"rate": rate / winners, "rows": sum(sizes)})
    return Track(seed=scope.config.seed, address=address, sizes=sizes, node_weights=weights, rate=rate / winners)


def _not_raced(nodes: Sequence[Task]) -> str:
    """Why a round is left to exact bounds; "" if it is raced."""
    for task in nodes:
        if not task.metric.additive:
            return f"{task.metric.name} of task '{task.name}' is no mean over examples"
    rows = sum(len(task.train) for task in nodes)
    return f"{rows} rows: below {LEAST_ROWS}, exact bounds need fewer calls" if rows < LEAST_ROWS else ""


def _score(grades: Sequence[Sequence[float]], weights: Sequence[float]) -> float:
    """The mean over nodes of additive metrics' scores, by the sums that they take themselves."""
    scores = [math.fsum(rows) / len(rows) for rows in grades]
    return mean(scores, weights=weights if len(scores) > 1 else None)
