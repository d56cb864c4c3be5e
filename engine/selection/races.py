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
from collections.abc import Sequence

from metaspo.engine.evaluation.scorecard import Scorecard
from metaspo.engine.journal.events import Racing, Rejected
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.runtime.priorities import staggered
from metaspo.engine.selection.gate import Gate
from metaspo.engine.selection.objective import KeepBest, Objective, ScoredPrompt
from metaspo.engine.selection.pruning import Pruner, Stage
from metaspo.engine.selection.race import Race, RaceDesign, Rows
from metaspo.engine.tasks import Task
from metaspo.scheduling import Priority

MIN_ROWS = 150  # below, exact bounds and the hard rows first need no more calls than a race (docs/racing.md)
LEAD = 1 / 6  # of the rows: how far a candidate is ahead of the next one, if the server keeps up with neither


class Races(Pruner):
    """A raced round; with `exact` bounds drop candidates, too. Candidates have numbers from 1, and each of them ends.

    Attributes:
        lined_up: the races of the candidates that are scored, or were.
    """

    raced = True
    watched = True

    def __init__(self, design: RaceDesign, best: KeepBest, *, objective: Objective, exact: bool) -> None:
        super().__init__(best, objective=objective, exact=exact)
        self._design = design
        self._first_bar = best.bar
        self.lined_up: dict[int, Race] = {}
        self._ended: dict[int, ScoredPrompt | None] = {}
        self._next = 1  # the first candidate that has not come to its end, or that others before it keep waiting

    def stages(self, number: int, _starts: Sequence[Scorecard], first: Sequence[Priority]) -> list[Stage]:
        """Along the race's order."""
        waves = list(self._design.waves(number))
        lead = math.ceil(LEAD * len(waves))
        return [
            [
                [(staggered(priority, part=part, lead=lead), wave[node]) for part, wave in enumerate(waves)]
                for node, priority in enumerate(first)
            ]
        ]

    def enter(self, number: int, prompt: str, evaluations: Sequence[Rows]) -> None:
        """A candidate lines up; it goes as far as there are answers if it is this one's turn."""
        self._prompts[number] = prompt
        race = self.lined_up[number] = Race(self._design, number, evaluations)
        race.start([(0.5, self._first_bar)] if self._first_bar else [])
        if number == self._next:
            self._meet(race)

    def on_answers(self, number: int) -> None:
        """Go on along the order."""
        self.lined_up[number].go_on()
        self._settle()

    def violation(self, number: int) -> str:
        """A refusal that the order has reached."""
        return self.lined_up[number].refusal

    def bound(self, number: int) -> float:
        """By the rows that the order has reached."""
        return self.lined_up[number].bound

    def has_lost(self, number: int) -> bool:
        """Whether a candidate is raced out."""
        return number in self.lined_up and self.lined_up[number].raced_out

    def rejection(self, number: int) -> Rejected:
        """What is certain first; else the capital, and after how many rows."""
        race = self.lined_up[number]
        if race.refusal or self.cannot_win(number) or not race.raced_out:
            return super().rejection(number)
        return Rejected(raced=race.capital, rows=race.rows)

    def ended(self, number: int, scored: ScoredPrompt | None = None) -> None:
        """It moves the bar once all before it have."""
        self._ended[number] = scored
        self._settle()

    def _settle(self) -> None:
        """Let candidates move the bar in the order of their numbers, as far as they have come to their ends.

        Of the next one in order one of these is true:
        - nothing is heard of it yet: it and all after it wait;
        - it races and is out, maybe before its scoring has noticed: it moves nothing;
        - it races and is not through: it and all after it wait;
        - it was scored in full: it moves the bar;
        - it came to its end otherwise (no proposal, a refusal): it moves nothing.
        """
        while self._next in self.lined_up or self._next in self._ended:
            race = self.lined_up.get(self._next)
            if race is None or not (race.refusal or race.raced_out or self.cannot_win(self._next)):
                if self._next not in self._ended:
                    return
                if scored := self._ended[self._next]:
                    self._best.add(scored)
            self._next += 1
            if self._next in self.lined_up:
                self._meet(self.lined_up[self._next])

    def raced_out(self) -> list[int]:
        """The candidates that statistics alone have dropped, once all have ended."""
        races = (self.lined_up[number] for number in sorted(self.lined_up))
        return [race.number for race in races if race.raced_out and not self._is_beaten(race.number)]

    def _meet(self, race: Race) -> None:
        """Race against the bar, now that all candidates before this one have moved it."""
        bar, first = self._best.bar, self._first_bar
        if bar is not None and bar is first:
            race.start([(1.0, bar)])
        elif bar is not None:
            race.start([(0.5, standing) for standing in (first, bar) if standing is not None])
        race.go_on()


def make_pruner(
    context: RunContext,
    address: str,
    tasks: Sequence[Task],
    best: KeepBest,
    *,
    objective: Objective,
    winners: int,
    starts: Sequence[ScoredPrompt],
    gate: int = 0,
    doubles: bool = False,
) -> Pruner:
    """How a round drops its candidates, as the config says; why it is not raced where it should be is in the journal.

    Args:
        tasks: the task of each node; its train split is raced on.
        winners: how many candidates the round can select at most.
        starts: the prompts that candidates start from, in turn.
        gate: rows of each task on which they must beat theirs before they are scored on the rest; 0: no gate.
        doubles: whether gates of twice as many rows each follow, at which they may be as good.
    """
    config = context.config
    if gate:
        return Gate(
            best,
            objective=objective,
            exact=config.early_rejection,
            starts=starts,
            rows=gate,
            doubles=doubles,
            seed=config.seed,
            address=address,
        )
    design = design_race(context, address, tasks, winners=winners, penalized=objective.penalty > 0)
    if design is None:
        return Pruner(best, objective=objective, exact=config.early_rejection)
    return Races(design, best, objective=objective, exact=config.early_rejection)


def design_race(
    context: RunContext, address: str, nodes: Sequence[Task], *, winners: int, penalized: bool = False
) -> RaceDesign | None:
    """The track of a round; None where it is not raced, with the reason in the journal.

    Args:
        penalized: whether prompts are compared by more than their scores.
    """
    rate = context.config.racing
    if rate is None or not winners:
        return None
    if off := _not_raced(nodes, penalized=penalized):
        context.journal.write(Racing(address=address, off=off))
        return None
    sizes, weights = tuple(len(task.train) for task in nodes), tuple(task.weight for task in nodes)
    context.journal.write(Racing(address=address, rate=rate / winners, rows=sum(sizes)))
    return RaceDesign(seed=context.config.seed, address=address, sizes=sizes, node_weights=weights, rate=rate / winners)


def _not_raced(nodes: Sequence[Task], *, penalized: bool) -> str:
    """Why a round is left to exact bounds; "" if it is raced."""
    if penalized:
        return "with a length_penalty prompts are compared by more than their scores"
    for task in nodes:
        if task.role == "guard":
            return f"guard '{task.name}' is kept by exact bounds"
        if not task.metric.additive:
            return f"{task.metric.name} of task '{task.name}' is no mean over examples"
    rows = sum(len(task.train) for task in nodes)
    return f"{rows} rows: below {MIN_ROWS}, exact bounds need fewer calls" if rows < MIN_ROWS else ""
