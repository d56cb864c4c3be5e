"""What a run looks like from outside: one fold over its journal, from which everything is read that is told of it."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

from metaspo.engine.journal.address import Address
from metaspo.engine.journal.events import (
    NAMES,
    Barrier,
    Event,
    Gap,
    Malformed,
    Optimism,
    OptimizerAnswered,
    Proposal,
    Score,
    Select,
    Spent,
    Start,
)
from metaspo.engine.journal.history import History
from metaspo.engine.journal.journal import Journal
from metaspo.engine.journal.proposals import Proposals
from metaspo.engine.journal.system_search import SystemTrials
from metaspo.engine.journal.warn import Warn

Reached = tuple[int, int]
"""An iteration, and whether its outer loop has begun. Iteration 0 is the first prompts; the test splits come last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BarrierWait:
    """The wait at one barrier; see `events.Barrier`."""

    address: str
    seconds: float
    waited: float
    idle: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Barriers:
    """The waits of a session: each barrier's, and added up; `share` is of the rounds' seconds."""

    idle: float = 0.0
    share: float = 0.0
    each: tuple[BarrierWait, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AllSessions:
    """What all sessions of a run spent together: the last that each said of itself before the next one started.

    A session says it with every scorecard, now and then between two, and at its end; for one that was killed the next
    one says it, see `engine.journal.ledger`. The budget has paid for calls without an answer, too: `Spent.of_budget`.

    Attributes:
        set_aside: how many such calls there are at most; they are not in the other figures.
        at_least: whether there may have been more of everything: what the journal told is not all there any more.
    """

    sessions: int = 0
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    dollars: float = 0.0
    unpriced: int = 0
    seconds: float = 0.0
    set_aside: int = 0
    at_least: bool = False


SPENT = tuple(each.name for each in fields(AllSessions) if each.name in NAMES[Spent.event])


class RunView:
    """A run as its events tell it, taken one by one.

    Attributes:
        sessions: how many have begun.
        has_gaps: whether some of what was told is not known any more.
        start: of the last one; what follows is of the last one, too, where nothing else is said.
        seconds: from its beginning to its last line.
        session: what it spent for sure: what it said with its last scorecard.
        spent: by all sessions together.
        proposals: how many there were, and could not be used.
        trials: what became of the system prompts that were tried.
        optimism: how much of the last selected system prompt's score is likely to be luck, in words; of any session.
        history: the way of the score, and the prompts, of all sessions; of those alone that agree with the last one.
    """

    def __init__(self, *, texts: bool = False) -> None:
        """`texts`: whether the history holds the prompts."""
        self.sessions = 0
        self.has_gaps = False
        self.seconds = 0.0
        self.optimism = ""
        self.spent = Spent()
        self._texts = texts
        self.history = self._of_session = History(texts=texts)
        self._begin(Start())

    def _begin(self, start: Start) -> None:
        self.start = start
        self.session = Spent()
        self.proposals = Proposals(asked=False)
        self.trials = SystemTrials()
        self._before = self.spent
        if self.sessions > 1:
            self._of_session = History(texts=self._texts)
        self._waits: list[BarrierWait] = []
        self._scored: Counter[str] = Counter()
        self._tested = False
        self._reached: Reached = (0, 0)

    @classmethod
    def of(cls, events: Iterable[Event], *, texts: bool = False) -> "RunView":
        """The view after these events."""
        view = cls(texts=texts)
        for event in events:
            view.apply(event)
        return view

    def apply(self, event: Event) -> None:
        """The next event."""
        if isinstance(event, Gap):
            self.has_gaps = True
            return
        self.seconds = event.t
        match event:
            case Start():
                self.sessions += 1
                self._begin(event)
            case Spent():
                self.session, self.spent = event, self._before.plus(event)
            case Barrier(seconds=seconds, waited=waited, idle=idle):
                self._waits.append(BarrierWait(address=event.address, seconds=seconds, waited=waited, idle=idle))
            case Optimism():
                self.optimism = event.says
            case Proposal():
                self.proposals = self.proposals.after(event)
            case Malformed():
                self.proposals = self.proposals.after_unfit(event)
            case OptimizerAnswered() if not self.proposals.asked:
                self.proposals = replace(self.proposals, asked=True)
        if event.address:
            self._advance(event, Address.parse(event.address))

    def _advance(self, event: Event, address: Address) -> None:
        self._scored[address.loop] += isinstance(event, Score)
        self._tested |= address.loop == "test" and address.step.startswith("after")
        self._reached = max(self._reached, _begun(event, address))
        self.trials.apply(event, address)
        self._of_session.apply(event, address, self.spent)
        if self.history.contradicts(event, address):
            self.history = self._of_session  # the sessions before graded otherwise: nothing of them belongs beside it
        elif self.history is not self._of_session:
            self.history.apply(event, address, self.spent)

    def stage(self, *, iterations: int | None, sources: int, induced: int = 0) -> str:
        """How far the last session got, as its observer is told, in a run of so many iterations and source tasks.

        `iterations`: None for a run that ends by its calls. `induced`: prompts that are induced and scored at first.
        """
        begun = 0 < sources <= self._scored["init"] and induced <= self._scored["induced"]
        first = (1, 0) if begun else (0, 0)
        iteration, outer = max(self._reached, first)
        if not iteration:
            return "first prompts"
        if self._tested or (iterations is not None and iteration > iterations):
            return "test splits"
        of_all = "" if iterations is None else f" of {iterations}"
        return f"iteration {iteration}{of_all}: {'outer' if outer else 'inner'} loop"

    @property
    def barriers(self) -> Barriers:
        """The waits of the last session."""
        seconds = math.fsum(wait.seconds for wait in self._waits)
        idle = round(math.fsum(wait.idle for wait in self._waits), 3)
        return Barriers(idle=idle, share=idle / round(seconds, 3) if seconds else 0.0, each=tuple(self._waits))

    @property
    def all_sessions(self) -> AllSessions:
        """What all of them spent."""
        aside = max(0, self.spent.of_budget.calls - self.spent.calls)
        sums = {name: getattr(self.spent, name) for name in SPENT}
        return AllSessions(sessions=self.sessions, set_aside=aside, at_least=self.has_gaps, **sums)


def _begun(event: Event, address: Address) -> Reached:
    """What has begun when this happens: a barrier ends the inner loops, a selection the outer loop."""
    if not address.iteration or address.loop not in ("inner", "outer"):
        return 0, 0
    if address.loop == "inner":
        return address.iteration, int(isinstance(event, Barrier) and address == address.round._replace(task=""))
    through = isinstance(event, Select) and address == address.round
    return (address.iteration + 1, 0) if through else (address.iteration, 1)


class WatchedJournal:
    """Hands events on to a journal; warns once, as the first loop ends with a good part of the proposals lost.

    Attributes:
        view: of all that was written, so that nobody has to read it again; it goes on from that of earlier sessions.
    """

    def __init__(self, journal: Journal, warn: Warn, *, view: RunView | None = None) -> None:
        self.view = view or RunView()
        self._journal = journal
        self._warn = warn
        self._warned = False

    def write(self, event: Event) -> None:
        """Append one event."""
        self._journal.write(event)
        self.view.apply(event)
        if isinstance(event, Barrier) and not self._warned and (text := self.view.proposals.warning):
            self._warned = True
            self._warn(f"so far {text}")
